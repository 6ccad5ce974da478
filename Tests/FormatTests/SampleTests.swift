import Formats
import Testing

/// What honest streams are taken for.
@Suite struct SampleTests {
    static let honest: [(name: String, declared: String, bytes: Bytes, virtualSize: Int64?)] = [
        ("qcow2 version 3", "qcow2", Samples.qcow2, Int64(Samples.diskBytes)),
        ("qcow2 version 2", "qcow2", Samples.qcow2Old, Int64(Samples.diskBytes)),
        ("VHD", "vhd", Samples.vhd, Int64(Samples.diskBytes)),
        ("VHDX", "vhdx", Samples.vhdx, Int64(Samples.diskBytes)),
        ("VMDK", "vmdk", Samples.vmdk, Int64(Samples.diskBytes)),
        ("VMDK with a byte of its old end", "vmdk", Samples.vmdk(remnantBytes: 1), Int64(Samples.diskBytes)),
        ("VMDK with six bytes of its old end", "vmdk", Samples.vmdk(remnantBytes: 6), Int64(Samples.diskBytes)),
        ("VMDK with a footer", "vmdk", Samples.streamVMDK, Int64(Samples.diskBytes)),
        ("VDI", "vdi", Samples.vdi, Int64(Samples.diskBytes)),
        ("LUKS", "luks", Samples.luks, Samples.luksPayloadBytes),
        ("ISO", "iso", Samples.iso, 20 * 2048),
        ("MBR", "gpt", Samples.mbr, 8192),
        ("GPT", "gpt", Samples.gpt, 128 * 512),
        ("GPT, large sectors", "gpt", Samples.gpt(sectorBytes: 4096) { _ in }, 128 * 4096),
        ("zeros", "raw", Bytes(count: 100_000), 100_000),
        ("nothing", "raw", Bytes(count: 0), 0),
    ]

    @Test(arguments: honest.indices)
    func honestStreamsAreAccepted(_ index: Int) {
        let (name, declared, bytes, size) = Self.honest[index]
        for chunk in [1, 7, 512, 65_536] {
            let seen = Inspected(bytes.all, chunkBytes: chunk)
            #expect(seen.inspection.formats.map(\.rawValue) == [declared], "\(name), chunks of \(chunk)")
            #expect(seen.inspection.findings.isEmpty, "\(name): \(seen.inspection.findings)")
            #expect(seen.verdict(declared) == .accepted(virtualSizeBytes: size), "\(name), chunks of \(chunk)")
            #expect(seen.verdict("raw") == .accepted(virtualSizeBytes: Int64(bytes.all.count)), "\(name)")
            #expect(seen.peakBufferedBytes <= FormatInspector.maximumBufferedBytes, "\(name)")
        }
    }
}
