import Formats
import Logging
import NIOCore

/// The plugin `image_conversion`: every disk image becomes one of the same format, the operator's choice.
///
/// What comes in is inspected first, and has to be what it is declared to be without naming other files; what comes out
/// is inspected as if a user had sent it. In between it is in the hands of an `ImageConverter`.
struct ConversionStep: ImportStep {
    private static let chunkBytes = 1 << 20

    let name = "image_conversion"
    let target: ConversionTarget
    let converter: any ImageConverter
    let rules: FormatSettings
    /// The largest image there may be, and so the largest disk that is converted.
    let sizeCapBytes: Int64

    func run(_ input: ImportStepInput, output: any ImportOutput) async throws -> ImportStepResult? {
        let declared = input.image.diskFormat ?? ""
        // What boots from an ISO volume would not boot from a disk; what is that format already is left as it is. Both
        // are inspected with all others when the import takes them.
        guard declared != DiskFormat.iso.rawValue, declared != target.rawValue else { return nil }
        guard let source = DiskFormat(rawValue: declared), Self.sources.contains(source) else {
            throw ServiceError.badRequest(
                "Images of disk format \(declared) cannot be converted to \(target.rawValue).")
        }
        guard let container = input.image.containerFormat, container == "bare" else {
            throw ServiceError.badRequest(
                "Only images in container format bare can be converted to \(target.rawValue).")
        }
        let conversion = try await converter.begin()
        do {
            try await convert(input, from: source, conversion, output)
            await conversion.close()
        } catch {
            await conversion.close()
            throw error
        }
        return ImportStepResult(replacesBytes: true, diskFormat: target.rawValue, containerFormat: container)
    }

    /// What the Image API and the converter both know.
    private static let sources: Set<DiskFormat> = [.raw, .qcow2, .vhd, .vhdx, .vmdk, .vdi]

    private func convert(
        _ input: ImportStepInput, from source: DiskFormat, _ conversion: any ImageConversion,
        _ output: any ImportOutput
    ) async throws {
        let original = DiskCheck(source, rules)
        try await pass(input.bytes, original, input) { try await conversion.write($0, at: $1) }
        let converted = try await conversion.convert(
            from: source, to: target.format, maximumBytes: sizeCapBytes, logger: input.logger)
        do {
            let result = DiskCheck(target.format, rules)
            try await pass(converted, result, input) { buffer, _ in try await output.write([buffer]) }
            await converted.close()
        } catch {
            await converted.close()
            throw error
        }
        input.logger.info(
            "image data was converted",
            metadata: [
                "image": "\(input.image.id)", "from": "\(source.rawValue)", "to": "\(target.rawValue)",
            ])
    }

    /// Hands bytes on and looks at them; they do not pass before all were seen.
    private func pass(
        _ bytes: any BlobReader, _ check: DiskCheck, _ input: ImportStepInput,
        to take: (ByteBuffer, Int64) async throws -> Void
    ) async throws {
        let work = input.surroundings.work
        var offset: Int64 = 0
        while offset < bytes.sizeBytes {
            try Task.checkCancellation()
            let buffer = try await bytes.read(offset: offset, count: Self.chunkBytes)
            if check.needsMoreBytes { try await work.run { buffer.withUnsafeReadableBytes { check.feed($0) } } }
            try await take(buffer, offset)
            offset += Int64(buffer.readableBytes)
        }
        let size = bytes.sizeBytes
        let finding = try await work.run { check.finding(streamBytes: size) }
        guard let finding else { return }
        input.logger.notice(
            "image data is refused for its format",
            metadata: [
                "image": "\(input.image.id)", "format": "\(finding.format.rawValue)", "check": "\(finding.check)",
                "offset": "\(finding.offsetBytes)", "finding": "\(finding.message)",
            ])
        throw ServiceError.unsupportedMediaType("Image content does not pass for conversion: \(finding)")
    }
}

/// The format that all disk images are to have.
package enum ConversionTarget: String, Sendable, CaseIterable {
    case raw, qcow2, vmdk

    var format: DiskFormat {
        switch self {
        case .raw: .raw
        case .qcow2: .qcow2
        case .vmdk: .vmdk
        }
    }
}

/// An inspector that is used by one task at a time, on whichever thread.
private final class DiskCheck: @unchecked Sendable {
    private let declared: DiskFormat
    private let rules: FormatSettings
    private var inspector = FormatInspector()

    init(_ declared: DiskFormat, _ rules: FormatSettings) {
        self.declared = declared
        self.rules = rules
    }

    var needsMoreBytes: Bool { inspector.needsMoreBytes }

    func feed(_ bytes: UnsafeRawBufferPointer) { inspector.feed(bytes) }

    /// Whether the bytes must match is not the operator's choice here: a converter is told what they are.
    /// - Returns: nil when they are what they are declared to be, and safe.
    func finding(streamBytes: Int64) -> FormatFinding? {
        let inspection = inspector.finish()
        let verdict = inspection.verdict(
            declared: declared.rawValue, mustMatch: true, streamBytes: streamBytes,
            partitionTableChecks: rules.arePartitionTablesChecked ? .fatal : .nonfatal)
        if case .refused(let findings) = verdict { return findings.first }
        // Elsewhere raw takes whatever is safe. Converted, the bytes of a qcow2 image would become the content of a disk.
        let virtual = inspection.formats.first { [.qcow2, .vhd, .vhdx, .vmdk, .vdi].contains($0) && $0 != declared }
        return virtual.map {
            FormatFinding(
                format: $0, check: "format_match", offsetBytes: 0,
                message: "the image is declared \(declared.rawValue), and is \($0.rawValue)")
        }
    }
}
