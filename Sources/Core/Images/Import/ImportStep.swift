import Logging
import NIOCore

/// One change that an import makes to staged bytes, or to what the record says of them, before they become the
/// image's data: decompression, conversion, metadata. Steps run one after the other, each on what the one before left;
/// never for `copy-image`, whose bytes are an image's already.
///
/// Contract:
/// - A step changes nothing outside `output`: the import commits what it returns, the new bytes in place of the old and
///   the record, in one transaction together with the fact that the step is done. So a step that a crash cut off is run
///   again from its beginning, on the same bytes, and one that is done is not run again.
/// - What a step keeps on a disk of its own (a scratch file) is its own to remove, also what a crash left there.
/// - It may be cancelled anywhere (the image was deleted, the server stops) and then throws `CancellationError`.
package protocol ImportStep: Sendable {
    /// For messages and logs, as operators know it: `image_decompression`.
    var name: String { get }

    /// - Returns: nil when there is nothing to do; what was written to `output` is then erased.
    /// - Throws: `ServiceError` with a message for the user, when these bytes are not to be taken (`.badRequest`,
    ///   `.unsupportedMediaType`, `.tooLarge`): the import fails and is not tried again; `.unavailable` and `BlobError`
    ///   when it may succeed later; what `output` throws.
    func run(_ input: ImportStepInput, output: any ImportOutput) async throws -> ImportStepResult?
}

/// What a step works on.
package struct ImportStepInput: Sendable {
    /// The staged bytes. The import closes the reader.
    package let bytes: any BlobReader
    /// The record as the steps before left it. Both formats are set.
    package let image: Image
    /// The roles of whoever asked for the import, in lower case.
    package let roles: Set<String>
    /// Where work that would block its thread is done; clock and randomness.
    package let surroundings: Surroundings
    package let logger: Logger

    package init(
        bytes: any BlobReader, image: Image, roles: Set<String>, surroundings: Surroundings, logger: Logger
    ) {
        self.bytes = bytes
        self.image = image
        self.roles = roles
        self.surroundings = surroundings
        self.logger = logger
    }
}

/// Where a step's new bytes go: into a staged blob of their own, within the size cap and the quota of the image's
/// owner. The first write begins it.
package protocol ImportOutput: Sendable {
    /// Appends; the buffers must not be changed afterwards. Calls are made one at a time. Waits while earlier bytes
    /// are on their way, so what is handed over is bounded.
    /// - Throws: `CancellationError` when nothing more can be written: cap, quota or disk are full, or the image is gone.
    ///   The import knows why; the step ends.
    func write(_ buffers: [ByteBuffer]) async throws
}

/// What a step made of the image.
package struct ImportStepResult: Sendable, Equatable {
    /// Whether what was written to the output takes the place of the staged bytes, even if it was nothing at all.
    package var replacesBytes: Bool
    /// Nil leaves a format as it is.
    package var diskFormat: String?
    package var containerFormat: String?
    /// Properties to set, over what is there. Names of the server's own (`os_glance…`) are not taken.
    package var properties: [String: String]

    package init(
        replacesBytes: Bool, diskFormat: String? = nil, containerFormat: String? = nil,
        properties: [String: String] = [:]
    ) {
        self.replacesBytes = replacesBytes
        self.diskFormat = diskFormat
        self.containerFormat = containerFormat
        self.properties = properties
    }
}
