/// A disk image format that the inspectors know, by the name the Image API has for it.
///
/// `raw` is what is left when nothing else is recognised; `gpt` is any partition table, an MBR's too.
package enum DiskFormat: String, Sendable, CaseIterable {
    case raw, qcow2, vhd, vhdx, vmdk, vdi, qed, iso, gpt, luks
}

/// What is wrong with a stream: which check of which format failed, and where.
package struct FormatFinding: Error, Sendable, Equatable, CustomStringConvertible {
    /// The format the check belongs to.
    package let format: DiskFormat
    /// The check's name: stable, fit for logs and tests, listed in `docs/inspection.md`.
    package let check: String
    /// Where the bytes that failed begin, counted from the beginning of the stream.
    package let offsetBytes: Int64
    /// What is wrong with them, for an operator.
    package let message: String

    package init(format: DiskFormat, check: String, offsetBytes: Int64, message: String) {
        self.format = format
        self.check = check
        self.offsetBytes = offsetBytes
        self.message = message
    }

    package var description: String {
        "\(format.rawValue): \(check) at byte \(offsetBytes): \(message)"
    }
}
