/// Whoever keeps the keys: this program, or a Barbican. What the services of this cloud ask of it; the edges are
/// in our database either way. Every implementation passes `KeyManagerContract` (Tests/ContractTests).
///
/// All of it acts for the project that owns the resource, with no more than that project's own members may:
/// never with the reach of whoever deletes the resource. Each call may be repeated, also after its answer was
/// lost, and has then the same effect as one.
package protocol KeyManager: Sendable {
    /// Whether consumers have to be told to it, as it does not read our edges.
    var keepsOwnConsumers: Bool { get }

    /// The resource needs the key from now on. A key manager that knows no consumers ignores it.
    /// - Throws: `KeyManagerError`; an unknown key is `.notFound`.
    func register(_ consumer: KeyConsumer, of key: SecretID, for project: ProjectID) async throws

    /// The resource does not need the key any more. What was not registered, or an unknown key, is no error.
    /// - Throws: `KeyManagerError`.
    func unregister(_ consumer: KeyConsumer, of key: SecretID, for project: ProjectID) async throws

    /// Destroys the key of a resource that is gone, if that may be: it is of the project, symmetric or a
    /// passphrase, and nothing other than `consumer` needs it (rule K5).
    /// - Throws: `KeyManagerError`: `.refused` when the project's members may not, `.unavailable`.
    func destroy(
        _ key: SecretID, of consumer: KeyConsumer, for project: ProjectID
    ) async throws -> KeyFate
}

/// What became of a key that was to be destroyed.
package enum KeyFate: Sendable, Equatable {
    case destroyed
    /// There is none of this id, or there is none any more.
    case notFound
    /// It stays, and why.
    case kept(String)
}

package struct KeyManagerError: Error, Sendable, CustomStringConvertible {
    package enum Code: String, Sendable {
        case unavailable, refused
        case notFound = "not found"
        case unexpected
    }

    package let code: Code
    package let operation: String
    package let cause: String

    package init(code: Code, operation: String, cause: String) {
        self.code = code
        self.operation = operation
        self.cause = cause
    }

    package var isRetryable: Bool { code == .unavailable }
    package var description: String { "key manager, \(operation): \(code.rawValue): \(cause)" }
}
