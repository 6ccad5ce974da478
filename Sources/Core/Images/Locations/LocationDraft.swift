import Trust

/// What a client promises of the bytes behind a URL: what the image is to say of its data.
package struct ValidationData: Sendable, Equatable {
    let checksum: String?
    let algorithm: DigestAlgorithm
    /// Lower-case hexadecimal.
    let digest: String
}

/// A location as a client asks for it.
package struct LocationDraft: Sendable, Equatable {
    package let url: String
    let metadata: [String: String]
    let validation: ValidationData?

    /// Of `POST /v2/images/{id}/locations`: `{"url": …, "validation_data": {"os_hash_algo": …, "os_hash_value": …}}`.
    /// - Throws: `ServiceError.badRequest`.
    package init(request json: JSONValue) throws {
        guard let members = json.objectValue else {
            throw ServiceError.badRequest("The body must be a JSON object, not \(json.kind).")
        }
        try Self.requireKnown(members, ["url", "validation_data"])
        url = try Self.url(members)
        metadata = [:]
        guard let given = members["validation_data"] else {
            validation = nil
            return
        }
        let data = try Self.object(given, "validation_data")
        // Nothing to check is no data.
        if data.isEmpty {
            validation = nil
            return
        }
        try Self.requireKnown(data, ["os_hash_algo", "os_hash_value"])
        let (name, value) = try Self.digest(data)
        guard Self.algorithms.contains(name), let algorithm = DigestAlgorithm(rawValue: name) else {
            throw ServiceError.badRequest(
                "os_hash_algo must be one of \(Self.algorithms.joined(separator: ", ")), not '\(name)'.")
        }
        guard let digest = Self.digest(value, of: algorithm) else {
            throw ServiceError.badRequest(
                "os_hash_value must be \(2 * algorithm.sizeBytes) hexadecimal digits for \(name).")
        }
        validation = ValidationData(checksum: nil, algorithm: algorithm, digest: digest)
    }

    /// Of a `PATCH`: `{"url": …, "metadata": {…}, "validation_data": {…}}`.
    /// - Parameter configured: the one algorithm that `validation_data` may use.
    /// - Throws: `ServiceError`: `.badRequest`; `.conflict` (algorithm, no digest of it).
    init(patch json: JSONValue, _ configured: DigestAlgorithm) throws {
        let members = try Self.object(json, "a location")
        try Self.requireKnown(members, ["url", "metadata", "validation_data"])
        url = try Self.url(members)
        guard let metadata = members["metadata"] else {
            throw ServiceError.badRequest("A location needs 'metadata'; it may be empty.")
        }
        self.metadata = try Self.metadata(metadata)
        validation = try members["validation_data"].map { try Self.validation($0, configured) }
    }

    private static let algorithms = ["sha1", "sha256", "sha512", "md5"]
    private static let urlLimit = 255

    private static func requireKnown(_ members: [String: JSONValue], _ known: Set<String>) throws {
        if let stray = members.keys.filter({ !known.contains($0) }).min() {
            throw ServiceError.badRequest(
                "'\(stray)' was unexpected; allowed: \(known.sorted().joined(separator: ", ")).")
        }
    }

    private static func object(_ json: JSONValue, _ what: String) throws -> [String: JSONValue] {
        guard let members = json.objectValue else {
            throw ServiceError.badRequest("\(what) must be an object, not \(json.kind).")
        }
        return members
    }

    private static func url(_ members: [String: JSONValue]) throws -> String {
        guard let url = members["url"]?.stringValue else { throw ServiceError.badRequest("A location needs a 'url'.") }
        guard !url.isEmpty, url.unicodeScalars.count <= urlLimit else {
            throw ServiceError.badRequest("A location's url has 1 to \(urlLimit) characters.")
        }
        return url
    }

    private static func metadata(_ json: JSONValue) throws -> [String: String] {
        try object(json, "metadata").mapValues { value in
            guard let text = value.stringValue else {
                throw ServiceError.badRequest("The values of a location's metadata are strings, not \(value.kind).")
            }
            return text
        }
    }

    private static func validation(_ json: JSONValue, _ configured: DigestAlgorithm) throws -> ValidationData {
        let data = try object(json, "validation_data")
        try requireKnown(data, ["checksum", "os_hash_algo", "os_hash_value"])
        let (name, value) = try digest(data)
        var checksum: String?
        if let given = data["checksum"] {
            guard let text = given.stringValue, text.utf8.count == 32 else {
                throw ServiceError.badRequest("checksum must be 32 characters.")
            }
            guard let digest = digest(text, of: .md5) else {
                throw ServiceError.conflict("checksum must be hexadecimal.")
            }
            checksum = digest
        }
        guard name == configured.rawValue else {
            throw ServiceError.conflict("os_hash_algo must be \(configured.rawValue), not '\(name)'.")
        }
        guard let digest = digest(value, of: configured) else {
            throw ServiceError.conflict("os_hash_value is no \(name).")
        }
        return ValidationData(checksum: checksum, algorithm: configured, digest: digest)
    }

    /// Both or none: one without the other proves nothing.
    private static func digest(_ data: [String: JSONValue]) throws -> (name: String, value: String) {
        guard let name = data["os_hash_algo"]?.stringValue, let value = data["os_hash_value"]?.stringValue else {
            throw ServiceError.badRequest("validation_data needs both os_hash_algo and os_hash_value.")
        }
        guard name.unicodeScalars.count <= 64, value.unicodeScalars.count <= 128 else {
            throw ServiceError.badRequest("os_hash_algo has at most 64 characters and os_hash_value 128.")
        }
        return (name, value)
    }

    /// In lower case; nil when it is no digest of the algorithm.
    private static func digest(_ text: String, of algorithm: DigestAlgorithm) -> String? {
        guard let bytes = Hex.decode(text), bytes.count == algorithm.sizeBytes else { return nil }
        return Hex.encode(bytes)
    }
}

/// The URLs that may be locations.
enum LocationURL {
    /// What would show files, directories or passwords of this machine (OSSN-0065, LP 942118, 1400966, 1334196).
    private static let refused: Set<String> = ["file", "filesystem", "swift+config"]

    /// Before the first colon, in lower case.
    static func scheme(of url: String) -> String { url.prefix { $0 != ":" }.lowercased() }

    static func isHTTP(_ url: String) -> Bool { ["http", "https"].contains(scheme(of: url)) }

    /// The store that a location with this URL belongs to.
    /// - Throws: `ServiceError.badRequest`: no URL that may be a location here.
    static func store(for url: String, _ remote: RemoteStore?) throws -> RemoteStore {
        let scheme = scheme(of: url)
        guard !refused.contains(scheme) else {
            throw ServiceError.badRequest("A location with the scheme '\(scheme)' is not allowed.")
        }
        guard isHTTP(url) else { throw ServiceError.badRequest("The scheme '\(scheme)' of the location is not known.") }
        guard let remote else {
            throw ServiceError.badRequest("There is no store for locations with the scheme '\(scheme)'.")
        }
        return remote
    }
}
