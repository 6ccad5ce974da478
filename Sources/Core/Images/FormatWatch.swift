import Formats
import Logging

/// The format of an upload, looked at while its bytes go by. Not for two tasks at once, like a `Digest`; it is
/// `Sendable` so that the feeding may move between threads.
final class FormatWatch: @unchecked Sendable {
    private let declared: String
    private let rules: FormatSettings
    private var inspector = FormatInspector()

    /// Nil when there is nothing to look at: only what is in no container (`bare`) is a disk's bytes.
    init?(_ image: Image, _ rules: FormatSettings) {
        guard image.containerFormat == "bare", let declared = image.diskFormat else { return nil }
        self.declared = declared
        self.rules = rules
    }

    func feed(_ bytes: UnsafeRawBufferPointer) { inspector.feed(bytes) }

    /// To be called once, after the last byte.
    /// - Returns: the size that a guest sees, in bytes; nil when the format does not say.
    /// - Throws: `ServiceError.unsupportedMediaType`, which names the first finding; the rest are in the log.
    func virtualSizeBytes(streamBytes: Int64, image: ImageID, logger: Logger) throws -> Int64? {
        let inspection = inspector.finish()
        let verdict = inspection.verdict(
            declared: declared, mustMatch: rules.mustMatch, streamBytes: streamBytes,
            partitionTableChecks: rules.arePartitionTablesChecked ? .fatal : .nonfatal)
        switch verdict {
        case .accepted(let size): return size
        case .refused(let findings):
            for finding in findings {
                logger.notice(
                    "image data is refused for its format",
                    metadata: [
                        "image": "\(image)", "format": "\(finding.format.rawValue)", "check": "\(finding.check)",
                        "offset": "\(finding.offsetBytes)", "finding": "\(finding.message)",
                    ])
            }
            let what = findings.first.map { "\($0)" } ?? "the data is not \(declared)"
            throw ServiceError.unsupportedMediaType("Image content does not pass as \(declared): \(what)")
        }
    }
}
