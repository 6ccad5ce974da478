import NIOCore
import Trust

/// A blob that is read from beginning to end and held against its digest on the way: the last bytes are handed out
/// only when all of them are right. What was handed out before cannot be taken back, so whoever sends it on must break
/// off when a read fails.
final class CheckedReader: BlobReader {
    private let reader: any BlobReader
    private let work: any WorkPool
    private let digest: Digest
    private let expected: [UInt8]
    private let onMismatch: @Sendable () async -> Void
    private let position = Position()

    /// - Parameters:
    ///   - expected: the digest the bytes had when they came in.
    ///   - onMismatch: called once when they have another now.
    init(
        _ reader: any BlobReader, _ algorithm: DigestAlgorithm, expected: [UInt8], work: any WorkPool,
        onMismatch: @escaping @Sendable () async -> Void
    ) {
        self.reader = reader
        self.work = work
        self.expected = expected
        self.onMismatch = onMismatch
        digest = Digest(algorithm)
    }

    var sizeBytes: Int64 { reader.sizeBytes }

    /// In order, by one task at a time.
    /// - Throws: `BlobError`: as the store does; `.corrupt` at the end when the bytes are not those of the digest.
    func read(offset: Int64, count: Int) async throws -> ByteBuffer {
        let bytes = try await reader.read(offset: offset, count: count)
        let end = try await position.advance(from: offset, by: bytes.readableBytes)
        let digest = digest
        try await work.run { bytes.withUnsafeReadableBytes { digest.update($0) } }
        guard end == sizeBytes else { return bytes }
        guard ConstantTime.equal(digest.finish(), expected) else {
            await onMismatch()
            throw BlobError(
                code: .corrupt, operation: "read", cause: "the bytes have another \(digest.algorithm.rawValue)")
        }
        return bytes
    }

    func close() async { await reader.close() }

    private actor Position {
        private var next: Int64 = 0

        func advance(from offset: Int64, by count: Int) throws -> Int64 {
            guard offset == next else {
                throw BlobError(code: .corrupt, operation: "read", cause: "a check needs all bytes, in order")
            }
            next += Int64(count)
            return next
        }
    }
}
