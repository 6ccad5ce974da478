/// Which secret a reference names.
package struct SecretReference: Sendable, Equatable {
    /// What the reference ends with. It is what tells references apart.
    let text: String
    /// Whether it begins as this server's references do.
    let isOurs: Bool

    /// - Parameter base: what the references that this client gets begin with, without `/v1`.
    init(_ reference: String, base: String) {
        isOurs = reference == base || reference.hasPrefix(base + "/")
        let trimmed = reference.hasSuffix("/") ? reference.dropLast() : reference[...]
        text = String(trimmed.split(separator: "/", omittingEmptySubsequences: false).last ?? "")
    }

    /// Nil when no secret has such an id.
    var secret: SecretID? { SecretID(canonical: text) }
}

/// A container that is to be made.
package struct ContainerDraft: Sendable {
    package struct Member: Sendable {
        let name: String?
        let reference: SecretReference
    }

    package let name: String?
    package let kind: KeyContainer.Kind
    package let members: [Member]

    private static let schema = KeySchema("Container")
    private static let refs = "secret_refs"

    /// - Parameter base: see `SecretReference`.
    /// - Throws: `ServiceError.badRequest`.
    package init(_ document: JSONValue, base: String) throws {
        let schema = Self.schema
        let body = try schema.members(of: document)
        let type = try schema.choice(
            try schema.required("type", in: body), KeyContainer.Kind.allCases.map(\.rawValue), at: "type")
        kind = KeyContainer.Kind(rawValue: type) ?? .generic
        name = try schema.optionalText("name", mayBeNull: true, in: body)?.trimmingWhitespace()
        members = try body[Self.refs].map { try Self.members($0, base: base) } ?? []
        if members.isEmpty { return }
        guard Set(members.map { $0.name ?? "" }).count == members.count else {
            throw schema.mismatch("Duplicate reference names are not allowed", at: Self.refs)
        }
        guard Set(members.map(\.reference.text)).count == members.count else {
            throw schema.mismatch("Duplicate secret ids are not allowed", at: Self.refs)
        }
        guard members.allSatisfy(\.reference.isOurs) else { throw KeySchema.unsupportedField }
        try Self.requireNames(of: kind, Set(members.map { $0.name ?? "" }))
    }

    private static func members(_ value: JSONValue, base: String) throws -> [Member] {
        guard let values = value.arrayValue else { throw schema.wrongType(value, "'array'", at: refs) }
        return try values.map { value in
            let fields = try schema.members(of: value, at: refs)
            let reference = try schema.text(
                try schema.required("secret_ref", in: fields, at: refs), 1...Int.max, at: refs)
            let name = try fields["name"].flatMap { try schema.text($0, 0...255, mayBeNull: true, at: refs) }
            return Member(name: name, reference: SecretReference(reference ?? "", base: base))
        }
    }

    private static func requireNames(of kind: KeyContainer.Kind, _ names: Set<String>) throws {
        let needed: Set<String>
        let optional: Set<String>
        let onlyThese: String
        let atLeast: String
        switch kind {
        case .generic: return
        case .rsa:
            needed = ["public_key", "private_key"]
            optional = ["private_key_passphrase"]
            onlyThese =
                "only 'private_key', 'public_key' and 'private_key_passphrase' reference names are allowed for RSA type"
            atLeast = "The minimum required reference names are 'public_key' and'private_key' for RSA type"
        case .certificate:
            needed = ["certificate"]
            optional = ["private_key", "private_key_passphrase", "intermediates"]
            onlyThese =
                "only 'private_key', 'certificate' , 'private_key_passphrase',  or 'intermediates' reference names are "
                + "allowed for Certificate type"
            atLeast = "The minimum required reference name is 'certificate' for Certificate type"
        }
        guard names.isSubset(of: needed.union(optional)) else { throw schema.mismatch(onlyThese, at: refs) }
        guard names.isSuperset(of: needed) else { throw schema.mismatch(atLeast, at: refs) }
    }
}

/// A secret that is to be put into a container, or taken out of it.
package struct ContainerSecretDraft: Sendable {
    let name: String?
    let reference: SecretReference
    /// As the client wrote it.
    let text: String

    private static let schema = KeySchema("ContainerSecret")

    /// - Parameter base: see `SecretReference`.
    /// - Throws: `ServiceError.badRequest`.
    package init(_ document: JSONValue, base: String) throws {
        let members = try Self.schema.members(of: document)
        text = try Self.schema.requiredText("secret_ref", 1...Int.max, in: members)
        name = try Self.schema.optionalText("name", in: members).flatMap { $0.isEmpty ? nil : $0 }
        reference = SecretReference(text, base: base)
        guard reference.isOurs else { throw KeySchema.unsupportedField }
    }
}

extension KeyContainer.Consumer {
    private static let schema = KeySchema("Consumer")

    /// - Throws: `ServiceError.badRequest`.
    package init(_ document: JSONValue) throws {
        let schema = Self.schema
        let members = try schema.members(of: document)
        for name in ["name", "URL"] { _ = try schema.required(name, in: members) }
        self.init(
            name: try schema.requiredText("name", 1...36, in: members),
            url: try schema.requiredText("URL", 1...255, in: members))
    }
}
