/// The smallest honest stream of each format, made from the specifications and not by the code under test.
enum Samples {
    static let diskBytes: UInt64 = 10 << 20

    static let qcow2 = Bytes(count: 3 * 65_536 + 8).changed {
        $0.text("QFI", at: 0)
        $0.byte(0xfb, at: 3)
        $0.big(UInt32(3), at: 4)
        $0.big(UInt32(16), at: 20)
        $0.big(diskBytes, at: 24)
        $0.big(UInt32(1), at: 36)
        $0.big(UInt64(3 * 65_536), at: 40)
        $0.big(UInt64(65_536), at: 48)
        $0.big(UInt32(1), at: 56)
        $0.big(UInt32(4), at: 96)
        $0.big(UInt32(112), at: 100)
        $0.big(UInt32(0x6803_f857), at: 112)
        $0.big(UInt32(96), at: 116)
    }

    /// Version 2, whose header ends after 72 bytes.
    static let qcow2Old = qcow2.changed {
        $0.big(UInt32(2), at: 4)
        for place in stride(from: 72, to: 256, by: 8) { $0.big(UInt64(0), at: place) }
    }

    /// - Parameter at: where the checksum is, of `count` bytes from `from` on.
    static func sumVHD(_ bytes: inout Bytes, from: Int, count: Int, at: Int) {
        bytes.big(UInt32(0), at: at)
        let sum = bytes.all[from..<(from + count)].reduce(UInt32(0)) { $0 &+ UInt32($1) }
        bytes.big(~sum, at: at)
    }

    static let vhd = vhd { _ in }

    /// A dynamic disk: copy of the footer, dynamic header, block allocation table, footer.
    ///
    /// - Parameter change: changes the copy and the header before their checksums are made; the footer is the copy.
    static func vhd(_ change: (inout Bytes) -> Void) -> Bytes {
        Bytes(count: 2560).changed {
            $0.text("conectix", at: 0)
            $0.big(UInt32(2), at: 8)
            $0.big(UInt32(0x1_0000), at: 12)
            $0.big(UInt64(512), at: 16)
            $0.text("qemu", at: 28)
            $0.big(diskBytes, at: 40)
            $0.big(diskBytes, at: 48)
            $0.big(UInt32(3), at: 60)
            $0.text("cxsparse", at: 512)
            $0.big(UInt64.max, at: 520)
            $0.big(UInt64(1536), at: 528)
            $0.big(UInt32(0x1_0000), at: 536)
            $0.big(UInt32(5), at: 540)
            $0.big(UInt32(2 << 20), at: 544)
            change(&$0)
            sumVHD(&$0, from: 0, count: 512, at: 64)
            sumVHD(&$0, from: 512, count: 1024, at: 548)
            let footer = Array($0.all[..<512])
            $0.bytes(footer, at: $0.all.count - 512)
        }
    }

    static let vdi = Bytes(count: 1024).changed {
        $0.text("<<< QEMU VM Virtual Disk Image >>>\n", at: 0)
        $0.little(UInt32(0xbeda_107f), at: 64)
        $0.little(UInt32(0x1_0001), at: 68)
        $0.little(UInt32(0x180), at: 72)
        $0.little(UInt32(1), at: 76)
        $0.little(UInt32(512), at: 340)
        $0.little(UInt32(1024), at: 344)
        $0.little(UInt32(512), at: 360)
        $0.little(diskBytes, at: 368)
        $0.little(UInt32(1 << 20), at: 376)
        $0.little(UInt32(10), at: 384)
    }

    static let qed = Bytes(count: 65_536).changed {
        $0.text("QED", at: 0)
        $0.little(UInt32(65_536), at: 4)
        $0.little(UInt32(4), at: 8)
        $0.little(UInt32(1), at: 12)
        $0.little(UInt64(65_536), at: 40)
        $0.little(diskBytes, at: 48)
    }

    static let luks = Bytes(count: 2 << 20).changed {
        $0.bytes([0x4c, 0x55, 0x4b, 0x53, 0xba, 0xbe, 0, 1], at: 0)
        $0.text("aes", at: 8)
        $0.text("xts-plain64", at: 40)
        $0.text("sha256", at: 72)
        $0.big(UInt32(2080), at: 104)
        $0.big(UInt32(32), at: 108)
        for slot in 0..<8 {
            $0.big(UInt32(slot == 0 ? 0x00ac_71f3 : 0x0000_dead), at: 208 + 48 * slot)
            $0.big(UInt32(8 + 256 * slot), at: 248 + 48 * slot)
            $0.big(UInt32(4000), at: 252 + 48 * slot)
        }
    }
    static let luksPayloadBytes: Int64 = (2 << 20) - 2080 * 512

    static let iso = Bytes(count: 20 * 2048).changed {
        $0.text("\u{1}CD001\u{1}", at: 32_768)
        $0.little(UInt32(20), at: 32_848)
        $0.big(UInt32(20), at: 32_852)
        $0.little(UInt16(2048), at: 32_896)
        $0.big(UInt16(2048), at: 32_898)
        $0.byte(255, at: 34_816)
        $0.text("CD001\u{1}", at: 34_817)
    }

    /// A disk with one partition of type 0x83, that can be booted from.
    static let mbr = Bytes(count: 8192).changed {
        $0.bytes([0x80, 0, 2, 0, 0x83, 0, 3, 0], at: 446)
        $0.little(UInt32(1), at: 454)
        $0.little(UInt32(15), at: 458)
        $0.bytes([0x55, 0xaa], at: 510)
    }

    static let gpt = gpt { _ in }

    /// - Parameter sectorBytes: 512 or 4096.
    static func gpt(sectorBytes: Int = 512, _ change: (inout Bytes) -> Void) -> Bytes {
        Bytes(count: 128 * sectorBytes).changed {
            $0.bytes([0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff], at: 446)
            $0.little(UInt32(1), at: 454)
            $0.little(UInt32.max, at: 458)
            $0.bytes([0x55, 0xaa], at: 510)
            $0.text("EFI PART", at: sectorBytes)
            $0.little(UInt32(0x1_0000), at: sectorBytes + 8)
            $0.little(UInt32(92), at: sectorBytes + 12)
            $0.little(UInt64(1), at: sectorBytes + 24)
            $0.little(UInt64(127), at: sectorBytes + 32)
            $0.little(UInt64(34), at: sectorBytes + 40)
            $0.little(UInt64(94), at: sectorBytes + 48)
            $0.little(UInt64(2), at: sectorBytes + 72)
            $0.little(UInt32(128), at: sectorBytes + 80)
            $0.little(UInt32(128), at: sectorBytes + 84)
            change(&$0)
            $0.little(UInt32(0), at: sectorBytes + 16)
            let checksum = slowCRC($0.all[sectorBytes..<(sectorBytes + 92)], polynomial: 0xedb8_8320)
            $0.little(checksum, at: sectorBytes + 16)
        }
    }

    /// Bit by bit, to have nothing in common with the tables under test.
    static func slowCRC(_ bytes: ArraySlice<UInt8>, polynomial: UInt32) -> UInt32 {
        var value = ~UInt32(0)
        for byte in bytes {
            value ^= UInt32(byte)
            for _ in 0..<8 { value = value & 1 == 1 ? (value >> 1) ^ polynomial : value >> 1 }
        }
        return ~value
    }
}
