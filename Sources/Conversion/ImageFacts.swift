import Core
import Glibc
import NIOCore

/// What `qemu-img info --output=json` says of an image.
struct ImageFacts: Sendable {
    let format: String
    let diskBytes: Int64
    /// Other files that belong to it, by what they are.
    let otherFiles: [String]
    /// Whether it was not closed properly: a qcow2 may then count its clusters wrongly, though its data is whole.
    let isDirty: Bool
    /// How a VMDK is made; nil for other formats.
    let subformat: String?

    private static let subformats: Set<String> = ["monolithicSparse", "streamOptimized"]

    /// - Throws: what says that it is not understood.
    init(json: ByteBuffer) throws {
        let facts = try JSONValue(parsing: json)
        guard let format = facts["format"]?.stringValue, let size = facts["virtual-size"]?.integerValue, size >= 0
        else { throw FileFailure("read the format and the size of an image", EINVAL) }
        self.format = format
        diskBytes = size
        let data = facts["format-specific"]?["data"]
        let names = ["backing-filename", "full-backing-filename"].filter { facts[$0] != nil }
        otherFiles = names + ["data-file"].filter { data?[$0] != nil }
        isDirty = facts["dirty-flag"]?.boolValue ?? false
        subformat = data?["create-type"]?.stringValue
    }

    /// Why the image is not to be converted; nil when it may be.
    func trouble(expected: String) -> String? {
        if format != expected { return "it is \(format.prefix(32)) rather than \(expected)" }
        if let other = otherFiles.first { return "it has a \(other)" }
        if format == "vmdk", !Self.subformats.contains(subformat ?? "") { return "its VMDK subformat is not taken" }
        return nil
    }
}
