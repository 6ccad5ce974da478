/// A run of bytes of the stream that is not over at 2⁶³.
struct ByteRange: Sendable, Equatable {
    let offsetBytes: Int64
    let count: Int

    var endBytes: Int64 { offsetBytes + Int64(count) }

    /// - Returns: nil when the numbers name no bytes that a stream can have.
    init?(offsetBytes: UInt64, count: Int) {
        guard count >= 0, let offset = Int64(exactly: offsetBytes),
            !offset.addingReportingOverflow(Int64(count)).overflow
        else { return nil }
        self.offsetBytes = offset
        self.count = count
    }
}

/// Bytes of the stream, from a known offset. Reads outside of it give nothing.
struct Window: Sendable {
    let offsetBytes: Int64
    private let bytes: [UInt8]

    init(offsetBytes: Int64, bytes: [UInt8]) {
        self.offsetBytes = offsetBytes
        self.bytes = bytes
    }

    var count: Int { bytes.count }
    var endBytes: Int64 { offsetBytes + Int64(bytes.count) }

    /// The bytes that are read next. A stream is read once and forwards, so they cannot begin before the end of
    /// these; that also is what keeps structures that refer to each other from being read in circles.
    ///
    /// - Returns: nil when they would begin before the end of this window, or end past 2⁶³.
    func following(offsetBytes: UInt64, count: Int) -> ByteRange? {
        guard let range = ByteRange(offsetBytes: offsetBytes, count: count), range.offsetBytes >= endBytes else {
            return nil
        }
        return range
    }

    /// Both, when `next` begins where this ends.
    func joined(_ next: Window) -> Window? {
        guard next.offsetBytes == endBytes else { return nil }
        return Window(offsetBytes: offsetBytes, bytes: bytes + next.bytes)
    }

    func byte(at place: Int) -> UInt8? {
        bytes.indices.contains(place) ? bytes[place] : nil
    }

    /// - Returns: `count` bytes from `place` on, nil when the window has not so many there.
    func bytes(at place: Int, count: Int) -> ArraySlice<UInt8>? {
        guard place >= 0, count >= 0, place <= bytes.count, count <= bytes.count - place else { return nil }
        return bytes[place..<(place + count)]
    }

    func bigEndian<T: FixedWidthInteger & UnsignedInteger>(at place: Int, as _: T.Type) -> T? {
        guard let found = bytes(at: place, count: T.bitWidth / 8) else { return nil }
        return found.reduce(0) { value, byte in (value &<< 8) | T(byte) }
    }

    func littleEndian<T: FixedWidthInteger & UnsignedInteger>(at place: Int, as _: T.Type) -> T? {
        bigEndian(at: place, as: T.self)?.byteSwapped
    }

    /// Whether the ASCII text stands at `place`.
    func has(_ text: StaticString, at place: Int) -> Bool {
        text.withUTF8Buffer { wanted in bytes(at: place, count: wanted.count)?.elementsEqual(wanted) == true }
    }

    func isZero(at place: Int, count: Int) -> Bool {
        bytes(at: place, count: count)?.allSatisfy { $0 == 0 } == true
    }
}

/// Reads fields of a format's structure, and says what is wrong in the words of a finding.
struct Fields {
    let format: DiskFormat
    let window: Window

    func big16(_ place: Int) throws(FormatFinding) -> UInt16 {
        try present(window.bigEndian(at: place, as: UInt16.self), place)
    }
    func big32(_ place: Int) throws(FormatFinding) -> UInt32 {
        try present(window.bigEndian(at: place, as: UInt32.self), place)
    }
    func big64(_ place: Int) throws(FormatFinding) -> UInt64 {
        try present(window.bigEndian(at: place, as: UInt64.self), place)
    }
    func little16(_ place: Int) throws(FormatFinding) -> UInt16 {
        try present(window.littleEndian(at: place, as: UInt16.self), place)
    }
    func little32(_ place: Int) throws(FormatFinding) -> UInt32 {
        try present(window.littleEndian(at: place, as: UInt32.self), place)
    }
    func little64(_ place: Int) throws(FormatFinding) -> UInt64 {
        try present(window.littleEndian(at: place, as: UInt64.self), place)
    }
    func byte(_ place: Int) throws(FormatFinding) -> UInt8 { try present(window.byte(at: place), place) }
    func bytes(_ place: Int, count: Int) throws(FormatFinding) -> ArraySlice<UInt8> {
        try present(window.bytes(at: place, count: count), place)
    }

    /// - Parameter place: where the failing field is, counted from the beginning of the window.
    func require(
        _ holds: Bool, _ check: String, at place: Int, _ message: @autoclosure () -> String
    ) throws(FormatFinding) {
        if !holds { throw finding(check, at: place, message()) }
    }

    func finding(_ check: String, at place: Int, _ message: String) -> FormatFinding {
        FormatFinding(
            format: format, check: check, offsetBytes: window.offsetBytes &+ Int64(place), message: message)
    }

    /// A size in bytes that somebody can have, from a field at `place`.
    func size(_ value: UInt64, at place: Int) throws(FormatFinding) -> Int64 {
        guard let size = Int64(exactly: value) else {
            throw finding("virtual_size", at: place, "the virtual size, \(value) bytes, is over 2^63 - 1")
        }
        return size
    }

    private func present<T>(_ value: T?, _ place: Int) throws(FormatFinding) -> T {
        guard let value else { throw finding("truncated", at: place, "the stream ends inside the header") }
        return value
    }
}

/// Arithmetic on numbers out of a header: nil when the result is none that 64 bits can hold.
enum Checked {
    static func sum(_ a: UInt64, _ b: UInt64) -> UInt64? {
        let (sum, overflow) = a.addingReportingOverflow(b)
        return overflow ? nil : sum
    }

    static func product(_ a: UInt64, _ b: UInt64) -> UInt64? {
        let (product, overflow) = a.multipliedReportingOverflow(by: b)
        return overflow ? nil : product
    }

    /// `a` divided by `b`, rounded up; nil for a divisor of zero.
    static func quotientUp(_ a: UInt64, _ b: UInt64) -> UInt64? {
        guard b > 0 else { return nil }
        return a / b + (a % b == 0 ? 0 : 1)
    }
}

extension FixedWidthInteger {
    var isPowerOfTwo: Bool { self > 0 && nonzeroBitCount == 1 }
}
