// What libFuzzer runs (`make fuzz`): one program for each parser, chosen by a condition such as FUZZ_QCOW2.
// Compiled together with the sources of Formats, without the package (`scripts/fuzz.sh`).

/// Puts the fuzzer's bytes where the parser looks for its structures, and its mark in front of them, so that the
/// parser is reached whatever they are.
private func stream(_ input: UnsafeRawBufferPointer) -> [UInt8] {
    var bytes = [UInt8](input)
    func mark(_ mark: some Collection<UInt8>, at place: Int) {
        while bytes.count < place + mark.count { bytes.append(0) }
        for (index, byte) in mark.enumerated() { bytes[place + index] = byte }
    }
    #if FUZZ_QCOW2
        mark([0x51, 0x46, 0x49, 0xfb], at: 0)
    #elseif FUZZ_VHD
        mark("conectix".utf8, at: 0)
        sum(&bytes, 0..<512, at: 64)
        sum(&bytes, 512..<1536, at: 548)
    #elseif FUZZ_VHDX
        bytes = vhdx(bytes)
    #elseif FUZZ_VMDK
        mark("KDMV".utf8, at: 0)
    #elseif FUZZ_VDI
        mark([0x7f, 0x10, 0xda, 0xbe], at: 64)
    #elseif FUZZ_ISO
        bytes = [UInt8](repeating: 0, count: 32_768) + bytes
        mark("CD001".utf8, at: 32_769)
    #elseif FUZZ_GPT
        mark([0x55, 0xaa], at: 510)
    #elseif FUZZ_LUKS
        mark([0x4c, 0x55, 0x4b, 0x53, 0xba, 0xbe], at: 0)
    #endif
    return bytes
}

#if FUZZ_VHD
    private func sum(_ bytes: inout [UInt8], _ range: Range<Int>, at place: Int) {
        guard bytes.count >= range.upperBound else { return }
        for index in 0..<4 { bytes[place + index] = 0 }
        let sum = ~bytes[range].reduce(UInt32(0)) { $0 &+ UInt32($1) }
        for index in 0..<4 { bytes[place + index] = UInt8(truncatingIfNeeded: sum >> UInt32(24 - 8 * index)) }
    }
#endif

#if FUZZ_VHDX
    /// 80 bytes of a header, 256 of the region table, the rest metadata: first of the table, then of the items.
    private func vhdx(_ input: [UInt8]) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: (1 << 20) + (72 << 10))
        func put(_ from: Int, _ count: Int, at place: Int) {
            for (index, byte) in input.dropFirst(from).prefix(count).enumerated() { bytes[place + index] = byte }
        }
        func sum(_ place: Int, _ count: Int) {
            for index in 0..<4 { bytes[place + 4 + index] = 0 }
            let sum = CRC32.castagnoli.checksum(of: bytes[place..<(place + count)], hole: 4)
            for index in 0..<4 { bytes[place + 4 + index] = UInt8(truncatingIfNeeded: sum >> UInt32(8 * index)) }
        }
        put(0, 80, at: 65_536)
        put(80, 256, at: 192 << 10)
        put(336, 512, at: 1 << 20)
        put(848, 4096, at: (1 << 20) + 65_536)
        for (text, place) in [("vhdxfile", 0), ("head", 65_536), ("regi", 192 << 10), ("metadata", 1 << 20)] {
            for (index, byte) in text.utf8.enumerated() { bytes[place + index] = byte }
        }
        sum(65_536, 4096)
        sum(192 << 10, 65_536)
        bytes.replaceSubrange((256 << 10)..<(320 << 10), with: bytes[(192 << 10)..<(256 << 10)])
        return bytes
    }
#endif

private func inspect(_ bytes: [UInt8], chunkBytes: Int) -> FormatInspection {
    var inspector = FormatInspector()
    bytes.withUnsafeBytes { all in
        var place = 0
        while place < all.count {
            let end = min(all.count, place + chunkBytes)
            inspector.feed(UnsafeRawBufferPointer(rebasing: all[place..<end]))
            precondition(inspector.bufferedBytes <= FormatInspector.maximumBufferedBytes, "too much is kept")
            place = end
        }
    }
    return inspector.finish()
}

@_cdecl("LLVMFuzzerTestOneInput")
func fuzzOneInput(_ start: UnsafeRawPointer?, _ count: Int) -> CInt {
    let bytes = stream(UnsafeRawBufferPointer(start: start, count: count))
    let whole = inspect(bytes, chunkBytes: max(1, bytes.count))
    let cut = inspect(bytes, chunkBytes: 1 + bytes.count / 3)
    for declared in DiskFormat.allCases {
        let verdict = whole.verdict(declared: declared.rawValue, mustMatch: true, streamBytes: Int64(bytes.count))
        let again = cut.verdict(declared: declared.rawValue, mustMatch: true, streamBytes: Int64(bytes.count))
        precondition(verdict == again, "the verdict depends on the chunks")
        if case .accepted(let size?) = verdict { precondition(size >= 0, "a negative size") }
    }
    return 0
}
