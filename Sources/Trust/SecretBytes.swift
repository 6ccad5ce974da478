import COpenSSL

/// Bytes that are wiped when nobody holds them any more. They never change, so they may be shared.
///
/// Nothing prints them: not interpolation, not `dump`, not an error that carries them. Ordinary memory
/// holds them; `CoreDumps.forbid` keeps the whole process's out of core files.
package final class SecretBytes: @unchecked Sendable, CustomStringConvertible, CustomDebugStringConvertible,
    CustomReflectable
{
    private let memory: UnsafeMutableRawBufferPointer

    package var count: Int { memory.count }

    /// - Parameter filling: gets `count` zeros to write on. What it wrote is wiped if it throws.
    package init(count: Int, filling: (UnsafeMutableRawBufferPointer) throws -> Void) rethrows {
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 1)
        memory.initializeMemory(as: UInt8.self, repeating: 0)
        do {
            try filling(memory)
        } catch {
            Self.release(memory)
            throw error
        }
        self.memory = memory
    }

    /// The original is the caller's to wipe.
    package convenience init(copying bytes: UnsafeRawBufferPointer) {
        self.init(count: bytes.count) { $0.copyMemory(from: bytes) }
    }

    /// The original is not wiped: for what is no secret yet, or no secret any more.
    package convenience init(copying bytes: [UInt8]) {
        self.init(count: bytes.count) { $0.copyBytes(from: bytes) }
    }

    deinit { Self.release(memory) }

    private static func release(_ memory: UnsafeMutableRawBufferPointer) {
        OPENSSL_cleanse(memory.baseAddress, memory.count)
        memory.deallocate()
    }

    /// The bytes live as long as `body` runs: it must not let the pointer out.
    package func withUnsafeBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
        // Whoever called may have held the last reference, and Swift drops that after the last use of `self`.
        defer { withExtendedLifetime(self) {} }
        return try body(UnsafeRawBufferPointer(memory))
    }

    /// From OpenSSL's generator for what must stay private (RAND_priv_bytes).
    package static func random(_ count: Int) -> SecretBytes {
        SecretBytes(count: count) {
            let result = RAND_priv_bytes($0.baseAddress?.assumingMemoryBound(to: UInt8.self), Int32($0.count))
            precondition(result == 1, "the system gives no randomness")
        }
    }

    /// Does not tell by its time where the two differ; the lengths are not secret.
    package func isEqual(to other: SecretBytes) -> Bool {
        withUnsafeBytes { mine in
            other.withUnsafeBytes { theirs in
                mine.count == theirs.count
                    && (mine.isEmpty || CRYPTO_memcmp(mine.baseAddress, theirs.baseAddress, mine.count) == 0)
            }
        }
    }

    package var description: String { "<secret>" }
    package var debugDescription: String { description }
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}
