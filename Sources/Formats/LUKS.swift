/// Linux Unified Key Setup, version 1 (LUKS On-Disk Format Specification 1.2.3). Numbers are big-endian.
///
/// ```
/// 0 magic   6 version   8 cipher, 40 its mode   72 hash   104 payload offset in sectors   108 key length
/// 208 eight key slots of 48 bytes: 0 state   40 offset of the key material in sectors   44 stripes
/// ```
struct LUKS: FormatParser {
    static let format = DiskFormat.luks
    static let headerBytes = 592

    private enum Phase: Sendable {
        case beginning
        case rest(beginning: Window)
    }

    private var phase = Phase.beginning
    private(set) var virtualSize = VirtualSize.unknown

    static func recognises(_ start: Window) -> Bool {
        start.bytes(at: 0, count: 6)?.elementsEqual([0x4c, 0x55, 0x4b, 0x53, 0xba, 0xbe]) == true
    }

    mutating func read(_ window: Window) throws(FormatFinding) -> Appetite {
        switch phase {
        case .beginning:
            let version = try fields(window).big16(6)
            try fields(window).require(version == 1, "version", at: 6, "version \(version) is not 1")
            let missing = Self.headerBytes - window.count
            guard let rest = window.following(offsetBytes: UInt64(window.count), count: missing) else {
                throw fields(window).finding("truncated", at: window.count, "the stream ends inside the header")
            }
            phase = .rest(beginning: window)
            return .bytes(rest)
        case .rest(let beginning):
            guard let whole = beginning.joined(window) else { return .nothing }
            try readHeader(fields(whole))
            return .nothing
        }
    }

    private mutating func readHeader(_ header: Fields) throws(FormatFinding) {
        for (place, what) in [(8, "cipher"), (40, "cipher mode"), (72, "hash")] {
            let name = try header.bytes(place, count: 32).prefix { $0 != 0 }
            try header.require(
                !name.isEmpty && name.count < 32 && name.allSatisfy { (0x21...0x7e).contains($0) }, "cipher",
                at: place, "the name of the \(what) is none")
        }
        let payload = Int64(try header.big32(104)) * 512
        try header.require(
            payload >= Int64(Self.headerBytes), "payload_offset", at: 104, "the payload is at \(payload)")
        let keyBytes = Int64(try header.big32(108))
        try header.require((1...512).contains(keyBytes), "key_length", at: 108, "a key of \(keyBytes) bytes")
        for slot in 0..<8 { try readSlot(header, at: 208 + 48 * slot, keyBytes: keyBytes, payloadBytes: payload) }
        virtualSize = .streamFrom(payload)
    }

    /// Key material lies between header and payload, also that of a slot which is not in use.
    private func readSlot(
        _ header: Fields, at place: Int, keyBytes: Int64, payloadBytes: Int64
    ) throws(FormatFinding) {
        let state = try header.big32(place)
        try header.require(
            state == 0x00ac_71f3 || state == 0x0000_dead, "key_slot", at: place, "a key slot of no state")
        let stripes = Int64(try header.big32(place + 44))
        try header.require(stripes == 4000, "key_slot", at: place + 44, "a key in \(stripes) stripes")
        let material = Int64(try header.big32(place + 40)) * 512
        try header.require(
            material >= Int64(Self.headerBytes) && material + keyBytes * stripes <= payloadBytes, "key_slot",
            at: place + 40, "key material at \(material), outside of its place")
    }
}
