import Persistence

/// The pairs that users keep beside a secret (Key Manager digest, section 3). They are not sealed.
package enum SecretMetadata {
    /// So many pairs are read and sent at once.
    static let limit = 1000
    private static let maxCharacters = 255

    /// The keys in lower case.
    /// - Throws: `ServiceError.badRequest`; `.tooLarge`.
    package static func pairs(_ json: JSONValue) throws -> [String: String] {
        let fields = SecretFields(schema: "'SecretMetadata'")
        guard let given = try fields.object(json)["metadata"] else {
            throw fields.mismatch("metadata", "'metadata' is a required property")
        }
        guard let members = given.objectValue else { throw fields.wrongType("metadata", given, "'object'") }
        guard members.count <= limit else { throw tooMany }
        var pairs: [String: String] = [:]
        // Two keys that differ by case alone: which of them stays must not depend on chance.
        for (key, value) in members.sorted(by: { $0.key < $1.key }) {
            guard let value = value.stringValue else {
                throw ServiceError.badRequest("Invalid Metadata. Keys and Values must be Strings.")
            }
            pairs[try self.key(key)] = try self.value(value)
        }
        return pairs
    }

    /// One pair, which is all that may stand there.
    /// - Throws: `ServiceError.badRequest`.
    package static func pair(_ json: JSONValue) throws -> (key: String, value: String) {
        let fields = SecretFields(schema: "'SecretMetadatum'")
        let members = try fields.object(json)
        func member(_ name: String) throws -> String {
            guard let given = members[name] else { throw fields.mismatch(name, "'\(name)' is a required property") }
            guard let text = given.stringValue else { throw fields.wrongType(name, given, "'string'") }
            return text
        }
        let value = try member("value")
        let key = try member("key")
        guard members.count == 2 else { throw fields.mismatch(nil, "Additional properties are not allowed") }
        return (try self.key(key), try self.value(value))
    }

    private static func key(_ text: String) throws -> String {
        guard text.utf8.count <= maxCharacters else { throw tooLong }
        guard text.utf8.allSatisfy(isURLSafe) else {
            throw ServiceError.badRequest("Invalid Key. Key must be URL safe.")
        }
        return text.lowercased()
    }

    private static func value(_ text: String) throws -> String {
        guard text.unicodeScalars.count <= maxCharacters else { throw tooLong }
        return text
    }

    private static func isURLSafe(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"):
            true
        default: false
        }
    }

    private static var tooLong: ServiceError {
        .badRequest("Invalid Metadata. Keys and Values may have \(maxCharacters) characters.")
    }
    fileprivate static var tooMany: ServiceError { .tooLarge("A secret may have \(limit) pairs of metadata.") }
}

extension Secrets {
    /// `GET …/metadata`, sorted by key.
    /// - Throws: `ServiceError`: `.notFound`, `.forbidden`.
    package func metadata(of id: SecretID, as caller: Caller) async throws -> [(key: String, value: String)] {
        try await database.read { db in
            _ = try secret(id, .readUserMetadata, caller, in: db)
            return try db.query("SELECT name, value FROM secret_metadata WHERE secret_id = $1 ORDER BY name", id) {
                (key: try $0.get(0), value: try $0.get(1))
            }
        }
    }

    /// `PUT …/metadata`: these pairs and no others.
    /// - Throws: `ServiceError`: `.notFound`, `.forbidden`.
    package func replaceMetadata(of id: SecretID, with pairs: [String: String], as caller: Caller) async throws {
        try await database.write { db in
            _ = try secret(id, .changeUserMetadata, caller, in: db)
            try db.execute("DELETE FROM secret_metadata WHERE secret_id = $1", id)
            for (key, value) in pairs.sorted(by: { $0.key < $1.key }) {
                try db.execute(
                    "INSERT INTO secret_metadata (secret_id, name, value) VALUES ($1, $2, $3)", id, key, value)
            }
        }
    }

    /// `POST …/metadata`: one pair more.
    /// - Throws: `ServiceError`: `.notFound`, `.forbidden`, `.conflict` (the key is there), `.tooLarge`.
    package func addMetadatum(_ key: String, _ value: String, to id: SecretID, as caller: Caller) async throws {
        try await database.write { db in
            _ = try secret(id, .changeUserMetadata, caller, in: db)
            let count = try db.first("SELECT COUNT(*) FROM secret_metadata WHERE secret_id = $1", id) {
                try $0.get(0, as: Int.self)
            }
            guard (count ?? 0) < SecretMetadata.limit else { throw SecretMetadata.tooMany }
            let added = try db.execute(
                """
                INSERT INTO secret_metadata (secret_id, name, value) VALUES ($1, $2, $3)
                ON CONFLICT (secret_id, name) DO NOTHING
                """, id, key, value)
            guard added == 1 else {
                throw ServiceError.conflict("Conflict. Key in request is already in the secret metadata")
            }
        }
    }

    /// `GET …/metadata/{key}`.
    /// - Throws: `ServiceError`: `.notFound` (the secret, the key), `.forbidden`.
    package func metadatum(_ key: String, of id: SecretID, as caller: Caller) async throws -> String {
        try await database.read { db in
            _ = try secret(id, .readUserMetadata, caller, in: db)
            let value = try db.first("SELECT value FROM secret_metadata WHERE secret_id = $1 AND name = $2", id, key) {
                try $0.get(0, as: String.self)
            }
            guard let value else { throw ServiceError.noMetadatum }
            return value
        }
    }

    /// `PUT …/metadata/{key}`.
    /// - Throws: as `metadatum`.
    package func setMetadatum(_ key: String, _ value: String, of id: SecretID, as caller: Caller) async throws {
        try await database.write { db in
            _ = try secret(id, .changeUserMetadata, caller, in: db)
            let changed = try db.execute(
                "UPDATE secret_metadata SET value = $1 WHERE secret_id = $2 AND name = $3", value, id, key)
            guard changed == 1 else { throw ServiceError.noMetadatum }
        }
    }

    /// `DELETE …/metadata/{key}`; no such key is fine.
    /// - Throws: `ServiceError`: `.notFound` (the secret), `.forbidden`.
    package func removeMetadatum(_ key: String, of id: SecretID, as caller: Caller) async throws {
        try await database.write { db in
            _ = try secret(id, .changeUserMetadata, caller, in: db)
            try db.execute("DELETE FROM secret_metadata WHERE secret_id = $1 AND name = $2", id, key)
        }
    }
}

extension ServiceError {
    fileprivate static var noMetadatum: ServiceError { .notFound("Secret metadata not found.") }
}
