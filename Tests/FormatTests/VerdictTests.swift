import Formats
import Testing

/// What follows from what was recognised and what was declared.
@Suite struct VerdictTests {
    private func verdict(_ bytes: Bytes, _ declared: String, mustMatch: Bool = true) -> FormatVerdict {
        Inspected(bytes.all).verdict(declared, mustMatch: mustMatch)
    }

    @Test func anotherFormatThanDeclaredIsRefused() {
        for declared in DiskFormat.allCases where declared != .raw {
            for (name, actual, bytes, _) in SampleTests.honest where actual != declared.rawValue {
                let refused = verdict(bytes, declared.rawValue)
                #expect(refused.findings.map(\.check) == ["format_match"], "\(name) declared \(declared)")
                #expect(refused.findings.first?.format.rawValue == actual)
                let tolerated = verdict(bytes, declared.rawValue, mustMatch: false)
                #expect(tolerated == .accepted(virtualSizeBytes: nil), "\(name) declared \(declared)")
            }
        }
    }

    @Test(arguments: ["ami", "ari", "aki", "ploop", "vpc", "RAW", "", "qcow"])
    func aFormatWithoutInspectorHoldsNothingThatIsRecognised(_ declared: String) {
        for (name, actual, bytes, _) in SampleTests.honest {
            let expected: [String] = actual == "raw" ? [] : ["format_match"]
            #expect(verdict(bytes, declared).findings.map(\.check) == expected, "\(name)")
            if actual == "raw" { #expect(verdict(bytes, declared) == .accepted(virtualSizeBytes: nil)) }
        }
    }

    /// As other services take it: there is nothing behind it that could be read.
    @Test(arguments: [2, 3] as [UInt8], [0, 16] as [UInt8])
    func aQcow2OfAHeaderAloneIsTakenUnlessItNamesAFile(_ version: UInt8, _ clusterBits: UInt8) {
        var header: [UInt8] = Array("QFI".utf8) + [0xfb] + [UInt8](repeating: 0, count: 508)
        header[7] = version
        header[23] = clusterBits
        header[28] = 1
        if version == 3, clusterBits != 0 { header[103] = 104 }
        func verdict(_ header: [UInt8]) -> FormatVerdict { Inspected(header).verdict("qcow2", mustMatch: true) }
        #expect(verdict(header) == .accepted(virtualSizeBytes: 1 << 24))
        var backed = header
        backed[15] = 200
        #expect(verdict(backed).findings.map(\.check) == ["backing_file"])
        var tables = header
        tables[39] = 1
        #expect(!verdict(tables).findings.isEmpty)
        if version == 3 {
            var outside = header
            outside[79] = 4
            #expect(verdict(outside).findings.map(\.check) == ["data_file"])
        }
    }

    /// The other way round it is the partition table that somebody did not expect.
    @Test func aBootableISOIsAnISO() {
        let hybrid = Samples.iso.changed { $0.bytes(Array(Samples.mbr.all[446..<512]), at: 446) }
        #expect(Inspected(hybrid.all).inspection.formats == [.iso, .gpt])
        #expect(verdict(hybrid, "iso") == .accepted(virtualSizeBytes: 20 * 2048))
        #expect(verdict(hybrid, "raw") == .accepted(virtualSizeBytes: Int64(hybrid.all.count)))
        #expect(verdict(hybrid, "gpt").findings.map(\.check) == ["format_match"])
        let odd = hybrid.changed { $0.byte(0x11, at: 446) }
        #expect(verdict(odd, "iso") == .accepted(virtualSizeBytes: 20 * 2048))
    }

    @Test func whatIsTooShortForAHeaderIsRaw() {
        for bytes in [Samples.qcow2, Samples.vhd, Samples.vdi, Samples.qed, Samples.mbr] {
            let short = bytes.changed { $0.resize(511) }
            #expect(Inspected(short.all).inspection.formats == [.raw])
            #expect(verdict(short, "raw") == .accepted(virtualSizeBytes: 511))
        }
    }

    @Test func aFixedVHDIsRaw() {
        let fixed = Bytes(count: 1 << 20).changed { disk in
            let footer = Samples.vhd { $0.big(UInt32(2), at: 60) }.all.suffix(512)
            disk.bytes(Array(footer), at: disk.all.count)
        }
        #expect(verdict(fixed, "raw") == .accepted(virtualSizeBytes: (1 << 20) + 512))
        #expect(verdict(fixed, "vhd").findings.map(\.check) == ["format_match"])
    }

    /// The boot sector of a file system has the signature of a partition table.
    @Test func aFileSystemIsNoPartitionTable() {
        let sector = Bytes(count: 4096).changed { $0.bytes([0x55, 0xaa], at: 510) }
        let fat = sector.changed {
            $0.byte(2, at: 16)
            $0.byte(0xf8, at: 21)
        }
        for bytes in [
            fat, sector.changed { $0.text("NTFS    ", at: 3) }, sector.changed { $0.text("EXFAT   ", at: 3) },
        ] {
            #expect(verdict(bytes, "raw") == .accepted(virtualSizeBytes: 4096))
            #expect(Inspected(bytes.all).inspection.formats == [.raw])
        }
    }

    @Test func extensionsThatAreOnlyDescribedAreFine() {
        let many = Samples.qcow2.changed { bytes in
            for index in 0..<100 {
                bytes.big(UInt32(0x1234_5678), at: 112 + 64 * index)
                bytes.big(UInt32(50), at: 116 + 64 * index)
            }
        }
        #expect(verdict(many, "qcow2") == .accepted(virtualSizeBytes: Int64(Samples.diskBytes)))
        let whole = Samples.qcow2.changed {
            $0.big(UInt32(0x1234_5678), at: 112)
            $0.big(UInt32(65_536 - 120), at: 116)
        }
        #expect(verdict(whole, "qcow2") == .accepted(virtualSizeBytes: Int64(Samples.diskBytes)))
    }

    /// The rest of a stream may be kept from an inspector that has seen enough: its length is all that is missing.
    @Test func theLengthDecidesWhatIsOutOfBounds() {
        let seen = Inspected(Samples.qcow2.all).inspection
        let end = Int64(Samples.qcow2.all.count)
        #expect(seen.verdict(declared: "qcow2", mustMatch: true, streamBytes: end).findings.isEmpty)
        let refused = seen.verdict(declared: "qcow2", mustMatch: true, streamBytes: end - 1)
        #expect(refused.findings.map(\.check) == ["out_of_bounds"] && refused.findings.map(\.offsetBytes) == [40])
        let none = seen.verdict(declared: "qcow2", mustMatch: true, streamBytes: -1)
        #expect(none.findings.map(\.check) == ["out_of_bounds"])
    }

    @Test func aRawStreamIsSoonNoWorkAnyMore() {
        var inspector = FormatInspector()
        let zeros = [UInt8](repeating: 0, count: 36 << 10)
        zeros.withUnsafeBytes { inspector.feed($0) }
        #expect(!inspector.needsMoreBytes && inspector.bufferedBytes == 0)
    }

    @Test func aFindingReadsAsASentence() {
        let finding = FormatFinding(format: .qcow2, check: "backing_file", offsetBytes: 8, message: "the image has one")
        #expect("\(finding)" == "qcow2: backing_file at byte 8: the image has one")
    }
}
