import API
import Core
import NIOCore
import Trust

/// One line of the audit log, JSON:
///
///     {"seq":7,"time":"…Z","event":"begun",…,"prev":"<64 hex>","hash":"<64 hex>"}
///
/// `hash` is HMAC-SHA-256 under the server's record key over all of the line that stands before `,"hash"`; `prev` is
/// the hash of the line before, 64 zeros for the first there ever was. So a line cannot be changed, taken out, put in
/// or moved by anybody without the key: not one in the middle and not the last.
package struct AuditLine: Sendable, Equatable {
    package static let firstPrevious = String(repeating: "0", count: 64)
    /// More is none of ours.
    package static let limitBytes = 64 << 10

    package let number: Int64
    package let previous: String
    package let hash: String
    package let document: JSONValue

    package enum Flaw: Error, Equatable, CustomStringConvertible {
        case notALine
        case wrongHash

        package var description: String {
            switch self {
            case .notALine: "this is no line of an audit log"
            case .wrongHash: "the line was changed, or written with another key"
            }
        }
    }

    /// - Parameter text: without the line feed.
    /// - Throws: `Flaw`.
    package init(_ text: some StringProtocol, seal: RecordSeal) throws(Flaw) {
        let text = String(text)
        let tail = text.utf8.suffix(Self.tailBytes)
        guard text.utf8.count > Self.tailBytes, let tailText = String(tail), tailText.hasPrefix(Self.hashPrefix),
            tailText.hasSuffix("\"}"), let content = String(text.utf8.dropLast(Self.tailBytes)),
            let document = try? JSONValue(parsing: ByteBuffer(string: text)),
            let number = document["seq"]?.integerValue, let previous = document["prev"]?.stringValue,
            let hash = document["hash"]?.stringValue, let code = Hex.decode(hash)
        else { throw .notALine }
        guard seal.isIntact(code, over: [Self.purpose, content]) else { throw .wrongHash }
        self.number = number
        self.previous = previous
        self.hash = hash
        self.document = document
    }

    /// Keeps seals of lines from being taken for those of other records.
    private static let purpose = "audit line"
    private static let hashPrefix = ",\"hash\":\""
    private static let tailBytes = hashPrefix.utf8.count + 64 + 2

    /// What a line says beside its number and its hashes.
    package struct Draft: Sendable {
        let time: Timestamp
        let write: @Sendable (inout JSONWriter) -> Void
    }

    /// The line with its line feed, and its hash.
    static func make(
        _ draft: Draft, number: Int64, previous: String, seal: RecordSeal
    ) -> (text: String, hash: String) {
        var json = JSONWriter()
        json.object { json in
            json.member("seq", number)
            json.member("time", draft.time.iso8601Microseconds)
            draft.write(&json)
            json.member("prev", previous)
        }
        var content = String(buffer: json.finish())
        content.removeLast()
        let hash = Hex.encode(seal.seal([purpose, content]))
        return ("\(content)\(hashPrefix)\(hash)\"}\n", hash)
    }
}

extension AuditLine.Draft {
    /// The log begins, or goes on, in a file.
    static func opened(_ seal: RecordSeal, tornBytes: Int, at time: Timestamp) -> Self {
        Self(time: time) { json in
            json.member("event", "opened")
            json.member("program", programVersion)
            json.member("key", seal.keyID)
            if tornBytes > 0 { json.member("torn_bytes", tornBytes) }
        }
    }

    static func begun(_ call: AuditedCall, at time: Timestamp) -> Self {
        Self(time: time) { json in
            json.member("event", "begun")
            write(call, to: &json)
        }
    }

    static func ended(_ call: AuditedCall, _ result: AuditedResult, number: Int64, at time: Timestamp) -> Self {
        Self(time: time) { json in
            json.member("event", "ended")
            json.member("of", number)
            json.member("status", result.status)
            if let location = result.location { json.member("location", location) }
            write(call, to: &json)
        }
    }

    private static func write(_ call: AuditedCall, to json: inout JSONWriter) {
        json.member("request_id", call.requestID)
        json.member("service", call.service)
        json.member("method", call.method)
        json.member("route", call.route)
        json.member("resource", object: { json in for part in call.resource { json.member(part.name, part.value) } })
        json.member("user", call.user)
        if let name = call.userName { json.member("user_name", name) }
        json.member("project", call.project)
        if let domain = call.domain { json.member("domain", domain) }
        if call.hasSystemScope { json.member("system", true) }
        json.member("roles", array: { json in for role in call.roles { json.string(role) } })
        if !call.serviceRoles.isEmpty {
            json.member("service_roles", array: { json in for role in call.serviceRoles { json.string(role) } })
        }
        if let token = call.token { json.member("token", token) }
        if let client = call.client { json.member("client", client) }
    }
}
