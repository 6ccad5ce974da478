import Formats
import Testing

/// Streams that are made to harm whoever opens them: none is stored, whatever it is declared.
@Suite struct HostileTests {
    @Test func thereAreManyAndEachHasItsName() {
        #expect(Hostile.all.count >= 200)
        var seen: Set<String> = []
        for hostile in Hostile.all { #expect(seen.insert(hostile.name).inserted, "\(hostile.name) is there twice") }
    }

    @Test(arguments: Hostile.all)
    func aHostileStreamIsRefusedHoweverItComes(_ hostile: Hostile) throws {
        let whole = Inspected(hostile.bytes.all, chunkBytes: 65_536)
        let verdict = whole.verdict(hostile.declared)
        #expect(verdict.findings.first?.check == hostile.check, "\(verdict)")
        for finding in verdict.findings { #expect(!finding.message.isEmpty && finding.message.utf8.count < 200) }
        // Its danger does not depend on what it is said to be.
        for declared in ["raw", "ami", "ploop"] + DiskFormat.allCases.map(\.rawValue) {
            for mustMatch in [true, false] {
                #expect(whole.verdict(declared, mustMatch: mustMatch) == verdict, "declared \(declared)")
            }
        }
        for chunkBytes in [1, 7, 512] {
            let chunked = Inspected(hostile.bytes.all, chunkBytes: chunkBytes)
            #expect(chunked.verdict(hostile.declared) == verdict, "chunks of \(chunkBytes)")
            #expect(chunked.peakBufferedBytes <= FormatInspector.maximumBufferedBytes)
        }
        #expect(whole.peakBufferedBytes <= FormatInspector.maximumBufferedBytes)
    }

    /// The setting exists for partition tables that are odd and used all the same; it forgives nothing else.
    @Test(arguments: Hostile.all)
    func checksOfPartitionTablesCanBeForgiven(_ hostile: Hostile) {
        let seen = Inspected(hostile.bytes.all)
        let isForgiven = ["mbr", "gpt"].contains(hostile.check)
        let verdict = seen.verdict("raw", .nonfatal)
        #expect((verdict == .accepted(virtualSizeBytes: seen.streamBytes)) == isForgiven, "\(verdict)")
    }
}
