import Formats
import Logging
import NIOCore

/// Writes disk images anew in other formats. What it is given was looked at before, by inspectors of ours; it is not to
/// rely on that, and neither is its caller on what it makes.
package protocol ImageConverter: Sendable {
    /// Makes room for one conversion.
    /// - Throws: `ServiceError.unavailable`.
    func begin() async throws -> any ImageConversion
}

/// One conversion. What it keeps on a disk has no name: dropped, or with its process, it is gone.
package protocol ImageConversion: Sendable {
    /// The bytes of the disk image at an offset.
    /// - Throws: `ServiceError.unavailable` (no room for it).
    func write(_ buffer: ByteBuffer, at offset: Int64) async throws

    /// Converts what was written. Cancelled, it ends at once and leaves no process behind.
    /// - Parameters:
    ///   - source: what the image is. Nothing is guessed from its bytes, and no other file is opened, whatever they say.
    ///   - maximumBytes: the largest disk that is converted.
    /// - Throws: `ServiceError`: `.badRequest` (the image cannot be converted), `.tooLarge`, `.unavailable`;
    ///   `CancellationError`.
    func convert(
        from source: DiskFormat, to target: DiskFormat, maximumBytes: Int64, logger: Logger
    ) async throws -> any BlobReader

    /// Gives the space back. No call may follow but the reader's.
    func close() async
}
