import Persistence
import Trust

/// How far a rotation or a check of keys is.
package struct KeyProgress: Sendable, Equatable {
    package let done: Int64
    package let total: Int64

    package init(done: Int64, total: Int64) {
        self.done = done
        self.total = total
    }
}

/// Why a rotation did not come to its end. Nothing is lost then: every key that wraps something is where it
/// was, and running the rotation again goes on.
package enum KeyRotationError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The database has no master key: no server with keys has run on it.
    case noMasterKeyYet
    /// The project has no key: it never stored a secret.
    case noKeyOfProject(ProjectID)
    /// Another rotation came between, with a key of its own.
    case overtaken
    /// What was just wrapped does not open again: the machine is not to be trusted.
    case unverified(String)
    /// What could not be rewrapped, a line each.
    case unreadable([String])
    /// So many things are still wrapped by the key that is to go.
    case stillNeeded(Int64)

    package var description: String {
        switch self {
        case .noMasterKeyYet: "the database has no master key yet: start the server once"
        case .noKeyOfProject(let project): "project \(project) has no key: it never stored a secret"
        case .overtaken: "another rotation came between; run this one again when it has ended"
        case .unverified(let what):
            "\(what) was wrapped anew and does not open: nothing was changed by that; check this machine's memory"
        case .unreadable(let lines):
            "the old key is kept, because \(lines.count == 1 ? "something it wraps" : "\(lines.count) things it wraps") "
                + "cannot be read: " + lines.prefix(3).joined(separator: "; ")
                + (lines.count > 3 ? "; …" : "") + "; see ambrotype keys check"
        case .stillNeeded(let count): "the old key is kept, because it still wraps \(count) keys; run this again"
        }
    }
}

extension KeyVault {
    /// The same key in a new wrapping, opened again to prove it.
    /// - Parameter nonce: drawn for this alone.
    /// - Throws: `KeyRotationError.unverified`.
    static func wrapAnew(
        _ key: SecretBytes, of what: String, with wrapping: SecretBytes, nonce: [UInt8], context: [UInt8]
    ) throws -> [UInt8] {
        let wrapped = Sealing.seal(key, with: wrapping, nonce: nonce, context: context)
        guard let opened = try? Sealing.open(wrapped, with: wrapping, context: context), opened.isEqual(to: key) else {
            throw KeyRotationError.unverified(what)
        }
        return wrapped
    }
}
