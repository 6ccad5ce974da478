import Formats
import Testing

/// Streams with something changed in them, a million of them. Whatever it is, the inspector comes to an end, keeps
/// little, says the same however the stream is cut, and lets through nothing that a trivial look finds dangerous.
///
/// A failure prints its seed: the same seed makes the same streams.
@Suite struct MutationTests {
    struct Group: Sendable, CustomTestStringConvertible {
        let format: DiskFormat
        let executions: Int
        let bases: [Bytes]
        /// Where the structures are.
        let places: [Range<Int>]
        var testDescription: String { "\(format.rawValue), \(executions) times" }

        init(_ format: DiskFormat, _ executions: Int, _ honest: [Bytes], _ hostile: [Hostile], _ places: [Range<Int>]) {
            self.format = format
            self.executions = executions
            bases = honest + hostile.map(\.bytes).filter { !$0.all.isEmpty && $0.all.count <= 1 << 18 }
            self.places = places
        }
    }

    private static let vhdxPlaces = [
        0..<16, 65_536..<65_616, 131_072..<131_152, 196_608..<196_700, (1 << 20)..<((1 << 20) + 200),
        ((1 << 20) + 65_536)..<((1 << 20) + 65_640),
    ]

    private static let groups = [
        Group(.qcow2, 300_000, [Samples.qcow2, Samples.qcow2Old], Hostile.qcow2, [0..<224]),
        Group(.vhd, 150_000, [Samples.vhd], Hostile.vhd, [0..<90, 512..<600, 2048..<2138]),
        Group(.vmdk, 150_000, [Samples.vmdk, Samples.streamVMDK], Hostile.vmdk, [0..<80, 512..<900, 64_000..<65_536]),
        Group(.vdi, 150_000, [Samples.vdi], Hostile.vdi, [60..<90, 330..<460]),
        Group(.luks, 100_000, [Samples.luks], Hostile.luks, [0..<120, 200..<592]),
        Group(.iso, 100_000, [Samples.iso], Hostile.iso, [440..<512, 32_768..<32_900, 34_816..<34_824]),
        Group(
            .gpt, 150_000, [Samples.mbr, Samples.gpt, Samples.gpt(sectorBytes: 4096) { _ in }],
            Hostile.partitions + Hostile.polyglots, [0..<24, 440..<620, 4096..<4200]),
        Group(.vhdx, 20_000, [Samples.vhdx], [], vhdxPlaces),
    ]

    @Test func aMillionStreamsAreTried() {
        #expect(Self.groups.reduce(0) { $0 + $1.executions } >= 1_000_000)
    }

    @Test(arguments: groups)
    func changedStreamsDoNoHarm(_ group: Group) throws {
        var accepted = 0
        for (index, base) in group.bases.enumerated() {
            let seed = 20_261_125 + UInt64(index)
            var random = Seeded(state: seed)
            var bytes = base.all
            // Honest streams are nearer to what is accepted.
            let share = index == 0 ? group.executions / 2 : group.executions / 2 / max(1, group.bases.count - 1) + 1
            for execution in 0..<share {
                let undo = change(&bytes, group, &random)
                let seen = Inspected(bytes, chunkBytes: bytes.count)
                let verdict = seen.verdict(group.format.rawValue)
                let raw = seen.verdict("raw")
                let trouble = Oracle.trouble(bytes, as: group.format, verdict, raw)
                if let trouble {
                    Issue.record("seed \(seed), execution \(execution): \(trouble), \(verdict), \(raw)")
                    return
                }
                if verdict.findings.isEmpty { accepted += 1 }
                if execution % 256 == 0 {
                    let chunked = Inspected(bytes, chunkBytes: 1 + random.below(group.format == .vhdx ? 70_000 : 700))
                    #expect(chunked.verdict(group.format.rawValue) == verdict, "seed \(seed), execution \(execution)")
                    #expect(chunked.peakBufferedBytes <= FormatInspector.maximumBufferedBytes)
                }
                for (place, byte) in undo.reversed() { bytes[place] = byte }
            }
        }
        // Some changes change nothing that matters: else nothing but refusals would have been tried.
        #expect(accepted > 100, "\(accepted) accepted")
    }

    /// - Returns: what was where something was changed.
    private func change(_ bytes: inout [UInt8], _ group: Group, _ random: inout Seeded) -> [(Int, UInt8)] {
        var undo: [(Int, UInt8)] = []
        func put(_ value: UInt64, count: Int, at place: Int, isBig: Bool) {
            for index in 0..<count where place + index < bytes.count {
                undo.append((place + index, bytes[place + index]))
                let shift = UInt64(8 * (isBig ? count - 1 - index : index))
                bytes[place + index] = UInt8(truncatingIfNeeded: value >> shift)
            }
        }
        for _ in 0...random.below(3) {
            let range = group.places[random.below(group.places.count)]
            let place = range.lowerBound + random.below(range.count)
            guard place < bytes.count else { continue }
            switch random.below(4) {
            case 0:
                let flipped = bytes[place] ^ (UInt8(1) << UInt8(random.below(8)))
                put(UInt64(flipped), count: 1, at: place, isBig: true)
            case 1: put(random.next(), count: 1, at: place, isBig: true)
            default:
                let count = [2, 4, 8][random.below(3)]
                let length = UInt64(bytes.count)
                let rest = random.next() >> UInt64(random.below(64))
                let interesting: [UInt64] = [
                    0, 1, 2, 3, 511, 512, 65_536, length, length / 512, 1 << 31, 1 << 32,
                    1 << 63, (1 << 63) - 1, .max - 511, .max, rest,
                ]
                put(
                    interesting[random.below(interesting.count)], count: count, at: place & ~(count - 1),
                    isBig: random.below(2) == 0)
            }
        }
        return undo
    }
}

/// A look at a stream with nothing in common with the parsers.
private enum Oracle {
    static func trouble(
        _ bytes: [UInt8], as format: DiskFormat, _ verdict: FormatVerdict, _ raw: FormatVerdict
    ) -> String? {
        if case .accepted(let size) = verdict {
            if let size, size < 0 { return "a negative size" }
            if !isMarked(bytes, as: format) { return "accepted without the format's mark" }
        }
        guard verdict.findings.isEmpty || raw.findings.isEmpty else { return nil }
        return danger(bytes)
    }

    private static func isMarked(_ bytes: [UInt8], as format: DiskFormat) -> Bool {
        switch format {
        case .qcow2: bytes.starts(with: [0x51, 0x46, 0x49, 0xfb])
        case .vhd: bytes.starts(with: "conectix".utf8)
        case .vhdx: bytes.starts(with: "vhdxfile".utf8)
        case .vmdk: bytes.starts(with: "KDMV".utf8)
        case .vdi: bytes[64..<68].elementsEqual([0x7f, 0x10, 0xda, 0xbe])
        case .qed, .raw: false
        case .iso:
            bytes[32_769..<32_774].elementsEqual("CD001".utf8) || bytes[32_769..<32_772].elementsEqual("NSR".utf8)
        case .gpt: bytes[510..<512].elementsEqual([0x55, 0xaa])
        case .luks: bytes.starts(with: [0x4c, 0x55, 0x4b, 0x53, 0xba, 0xbe])
        }
    }

    private static func danger(_ bytes: [UInt8]) -> String? {
        guard bytes.count >= 512 else { return nil }
        if isMarked(bytes, as: .qcow2) {
            if bytes[8..<16].contains(where: { $0 != 0 }) { return "a backing file" }
            if bytes[7] == 3, bytes[79] & 0xf4 != 0 || bytes[72..<79].contains(where: { $0 != 0 }) { return "features" }
        }
        if isMarked(bytes, as: .vhd), bytes[63] != 3 { return "no dynamic disk" }
        if isMarked(bytes, as: .vdi), bytes[424..<456].contains(where: { $0 != 0 }) { return "a parent" }
        if isMarked(bytes, as: .luks), bytes[7] != 1 { return "another version" }
        if bytes.starts(with: "QED\0".utf8) { return "QED" }
        if isMarked(bytes, as: .vmdk) {
            let text = String(decoding: bytes[512..<min(1500, bytes.count)].prefix { $0 != 0 }, as: UTF8.self)
                .lowercased()
            if text.contains("parentfilenamehint") { return "a parent" }
            for line in text.split(separator: "\n") where line.hasPrefix("rw") {
                if line.contains("/") || !line.contains("sparse") { return "an extent" }
            }
        }
        return nil
    }
}
