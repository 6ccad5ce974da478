/// What an inspector recognised in a stream.
package struct FormatInspection: Sendable {
    /// One for each format that was recognised, in the order of `DiskFormat`; raw has none.
    private let reports: [FormatReport]

    init(reports: [FormatReport]) {
        self.reports = DiskFormat.allCases.flatMap { format in reports.filter { $0.format == format } }
    }

    /// What the stream is, at once if it is several. `raw` alone when nothing was recognised.
    package var formats: [DiskFormat] { reports.isEmpty ? [.raw] : reports.map(\.format) }

    /// The checks that failed without regard to what anybody declares: at most one for each format.
    package var findings: [FormatFinding] { reports.compactMap(\.finding) }

    /// The size of the disk inside, in bytes, taken for `format`.
    ///
    /// - Returns: nil when the stream is not of that format, or the format does not tell.
    package func virtualSizeBytes(of format: DiskFormat, streamBytes: Int64) -> Int64? {
        if format == .raw { return reports.isEmpty ? streamBytes : nil }
        switch reports.first(where: { $0.format == format })?.virtualSize {
        case .bytes(let size): return size
        case .streamFrom(let offset): return offset <= streamBytes ? streamBytes - offset : nil
        case .unknown, nil: return nil
        }
    }

    /// Whether checks of partition tables refuse an image, as all others do.
    package enum PartitionTableChecks: Sendable {
        case fatal, nonfatal
    }

    /// Whether the stream may be stored as what it was declared to be.
    ///
    /// A stream is refused for what it holds, whatever was declared, and for not being what was declared when
    /// `mustMatch`. Declared raw, it may be anything that is safe; declared a format that has no inspector, it may be
    /// nothing that is recognised. A bootable ISO image has a partition table beside its volume, and counts as ISO.
    ///
    /// - Parameters:
    ///   - declared: the image's disk format, as the Image API spells it.
    ///   - streamBytes: how long the stream was, also if the inspector was not given all of it.
    package func verdict(
        declared: String, mustMatch: Bool, streamBytes: Int64, partitionTableChecks: PartitionTableChecks = .fatal
    ) -> FormatVerdict {
        let formats = formats.count == 2 && Set(formats) == [.iso, .gpt] ? [.iso] : formats
        guard formats.count == 1, let detected = formats.first else {
            return .refused([severalFormats] + findings)
        }
        let report = reports.first { $0.format == detected }
        let isForgiven = detected == .gpt && partitionTableChecks == .nonfatal
        if let report, !isForgiven, let finding = report.failure(streamBytes: streamBytes) {
            return .refused([finding])
        }
        if declared == detected.rawValue {
            return .accepted(virtualSizeBytes: virtualSizeBytes(of: detected, streamBytes: streamBytes))
        }
        if declared == DiskFormat.raw.rawValue { return .accepted(virtualSizeBytes: streamBytes) }
        let isInspectable = DiskFormat(rawValue: declared) != nil
        if !mustMatch || (!isInspectable && detected == .raw) { return .accepted(virtualSizeBytes: nil) }
        return .refused([
            FormatFinding(
                format: detected, check: "format_match", offsetBytes: 0,
                message: "the image is declared \(declared.prefix(32)), and is \(detected.rawValue)")
        ])
    }

    private var severalFormats: FormatFinding {
        let names = formats.map(\.rawValue).joined(separator: ", ")
        return FormatFinding(
            format: formats.first ?? .raw, check: "several_formats", offsetBytes: 0,
            message: "the stream is \(names) at once: what it is depends on who reads it")
    }
}

/// Whether an image may be stored.
package enum FormatVerdict: Sendable, Equatable {
    /// With the size of the disk inside, when it is known.
    case accepted(virtualSizeBytes: Int64?)
    /// Why not; never empty.
    case refused([FormatFinding])
}

extension FormatReport {
    /// The check that fails in a stream of this length.
    func failure(streamBytes: Int64) -> FormatFinding? {
        if let finding { return finding }
        if case .streamFrom(let offset) = virtualSize, offset > streamBytes {
            return FormatFinding(
                format: format, check: "truncated", offsetBytes: streamBytes,
                message: "the stream ends before the payload begins, at byte \(offset)")
        }
        for claim in claims {
            if let end = claim.endBytes, end <= UInt64(max(0, streamBytes)) { continue }
            return FormatFinding(
                format: format, check: "out_of_bounds", offsetBytes: claim.fieldBytes,
                message: "\(claim.what) ends after the stream does, at byte \(streamBytes)")
        }
        return nil
    }
}
