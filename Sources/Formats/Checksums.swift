/// Cyclic redundancy checks of 32 bits, with reflected bits, all ones at the beginning and inverted at the end.
struct CRC32: Sendable {
    /// CRC-32 of ISO 3309: the checksum of GPT headers (UEFI 2.10, 5.3.2).
    static let iso = CRC32(polynomial: 0xedb8_8320)
    /// CRC-32C of Castagnoli: the checksum of VHDX structures (MS-VHDX 2.2.2).
    static let castagnoli = CRC32(polynomial: 0x82f6_3b78)

    /// Eight tables, for eight bytes at a time; one after the other.
    private let tables: [UInt32]

    private init(polynomial: UInt32) {
        var tables = [UInt32](repeating: 0, count: 8 * 256)
        for byte in 0..<256 {
            var value = UInt32(byte)
            for _ in 0..<8 { value = value & 1 == 1 ? (value >> 1) ^ polynomial : value >> 1 }
            tables[byte] = value
        }
        for table in 1..<8 {
            for byte in 0..<256 {
                let before = tables[(table - 1) * 256 + byte]
                tables[table * 256 + byte] = (before >> 8) ^ tables[Int(before & 0xff)]
            }
        }
        self.tables = tables
    }

    /// The checksum of `bytes`, with the checksum's own four bytes (from `hole` on) taken as zeros.
    func checksum(of bytes: ArraySlice<UInt8>, hole: Int) -> UInt32 {
        let hole = bytes.startIndex + hole
        guard bytes.startIndex <= hole, hole <= bytes.endIndex - 4 else { return 0 }
        var value = update(~0, bytes[bytes.startIndex..<hole])
        value = update(value, [0, 0, 0, 0])
        return ~update(value, bytes[(hole + 4)...])
    }

    private func update(_ start: UInt32, _ bytes: ArraySlice<UInt8>) -> UInt32 {
        var value = start
        var place = bytes.startIndex
        func entry(_ table: Int, _ byte: UInt32) -> UInt32 { tables[table * 256 + Int(byte & 0xff)] }
        while bytes.endIndex - place >= 8 {
            var low = value
            var high: UInt32 = 0
            for index in 0..<4 {
                low ^= UInt32(bytes[place + index]) << (8 * UInt32(index))
                high |= UInt32(bytes[place + 4 + index]) << (8 * UInt32(index))
            }
            value = entry(7, low) ^ entry(6, low >> 8) ^ entry(5, low >> 16) ^ entry(4, low >> 24)
            value ^= entry(3, high) ^ entry(2, high >> 8) ^ entry(1, high >> 16) ^ entry(0, high >> 24)
            place += 8
        }
        while place < bytes.endIndex {
            value = (value >> 8) ^ entry(0, value ^ UInt32(bytes[place]))
            place += 1
        }
        return value
    }
}
