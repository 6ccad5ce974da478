import Core
import HTTPTypes
import HummingbirdCore

/// What was verified of an image's data, for whoever sees the image; and the images whose data was found changed, for
/// operators.
struct ProvenanceRoutes: Sendable {
    let images: Images
    let view: OperatorView

    func add(to routes: inout RouteTable) {
        routes.get(OperatorRoutes.root + "/images/{image}/provenance", provenance)
        routes.get(OperatorRoutes.root + "/flagged-images", flagged)
        routes.on(.delete, OperatorRoutes.root + "/flagged-images/{image}", body: .refused, unflag)
    }

    private func provenance(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        _ = try OperatorQuery(exchange)
        let (record, flag) = try await images.provenance(of: exchange.image, as: caller)
        return .json(.ok) { json in
            json.object { json in
                ProvenanceJSON.write(record, to: &json)
                json.key("flagged")
                if let flag { ProvenanceJSON.write(flag, to: &json) } else { json.null() }
            }
        }
    }

    private func flagged(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        try view.requireOperator(caller)
        let query = try OperatorQuery(exchange, allowed: ["limit", "marker"])
        let page = try await view.flaggedImages(try query.page(), as: caller)
        return .json(.ok) { json in
            json.object { json in
                json.member(
                    "flagged_images",
                    array: { json in for one in page.entries { ProvenanceJSON.write(one, to: &json) } })
                if let next = page.next { json.member("next", query.link("/flagged-images", next)) }
            }
        }
    }

    private func unflag(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        try view.requireOperator(caller)
        _ = try OperatorQuery(exchange)
        try await view.unflag(exchange.image, as: caller)
        return .empty(.noContent)
    }
}

enum ProvenanceJSON {
    /// The members of a record, in an object that is open.
    static func write(_ sealed: Provenance.Sealed, to json: inout JSONWriter) {
        let record = sealed.provenance
        json.member("image_id", record.image.rawValue)
        json.member("seal", sealed.seal.rawValue)
        json.member("size_bytes", record.sizeBytes)
        json.member(
            "digest",
            object: { json in
                json.member("algorithm", record.algorithm)
                json.member("value", record.digest)
            })
        json.member("verified_at", record.verifiedAt.iso8601)
        json.key("signer")
        if let signer = record.signer { write(signer, to: &json) } else { json.null() }
    }

    private static func write(_ signer: Provenance.Signer, to json: inout JSONWriter) {
        json.object { json in
            json.member("subject", signer.subject)
            json.member("fingerprint_sha256", signer.fingerprint)
            json.member("certificate_id", signer.certificate.rawValue)
            json.member("key_type", signer.keyTypeName)
            json.member("hash_method", signer.hashName)
            json.member("chain", object: { json in write(signer.chain, to: &json) })
        }
    }

    private static func write(_ chain: Provenance.Chain, to json: inout JSONWriter) {
        switch chain {
        case .unchecked:
            json.member("result", "unchecked")
        case .trusted(let subjects):
            json.member("result", "trusted")
            json.member("certificates", array: { json in for subject in subjects { json.string(subject) } })
        case .untrusted(let reason):
            json.member("result", "untrusted")
            json.member("reason", reason)
        }
    }

    static func write(_ flag: ImageFlag, to json: inout JSONWriter) {
        json.object { json in
            json.member("image_id", flag.image.rawValue)
            json.member("store", flag.store?.rawValue)
            json.member("reason", flag.reason)
            json.member("first_at", flag.firstAt.iso8601)
            json.member("last_at", flag.lastAt.iso8601)
            json.member("count", flag.count)
        }
    }
}
