import NIOCore

/// Reads responses of HTTP/1.1 (RFC 9112), one after the other, from bytes as they come: as much of it as a driver
/// needs, so that reading costs little. Whatever is not a response is an error; nothing is read past one.
package struct ResponseParser: Sendable {
    package struct Malformed: Error, Equatable, CustomStringConvertible {
        package let description: String
    }

    private enum State: Equatable {
        case head
        case sized(Int64)
        case untilEnd
        case chunkSize
        case chunk(Int64)
        case chunkEnd
        case trailer
        case whole
    }

    private static let headLimitBytes = 64 << 10
    private static let captureLimitBytes = 1 << 20

    private var state = State.head
    private var input = ByteBuffer()
    private var isCapturing = false

    /// Of the response that was begun last.
    package private(set) var status = 0
    /// Whether the connection is good for another request.
    package private(set) var keepsAlive = true
    package private(set) var bodyBytes: Int64 = 0
    /// The body, if it was to be kept; of a long one the beginning.
    package private(set) var body = ByteBuffer()

    package init() {}

    /// Gets ready for the answer to the next request.
    /// - Throws: `Malformed` when there are bytes that no request asked for.
    package mutating func begin(keepingBody: Bool) throws {
        guard input.readableBytes == 0 else { throw Malformed(description: "bytes that belong to no response") }
        state = .head
        isCapturing = keepingBody
        status = 0
        bodyBytes = 0
        body.clear()
    }

    /// - Returns: whether the response is whole.
    /// - Throws: `Malformed`.
    package mutating func feed(_ bytes: ByteBuffer) throws -> Bool {
        if input.readableBytes == 0 { input = bytes } else { input.writeImmutableBuffer(bytes) }
        while try step() {}
        guard state == .whole else { return false }
        guard input.readableBytes == 0 else { throw Malformed(description: "bytes behind the response") }
        input = ByteBuffer()
        return true
    }

    /// The connection ended.
    /// - Returns: whether that is how the response was to end.
    package mutating func end() -> Bool {
        guard state == .untilEnd else { return false }
        state = .whole
        return true
    }

    /// - Returns: false when it is whole, or more bytes are needed.
    private mutating func step() throws -> Bool {
        switch state {
        case .whole: return false
        case .head: return try head()
        case .untilEnd:
            take(Int64.max)
            return false
        case .sized(let left):
            let rest = left - take(left)
            state = rest == 0 ? .whole : .sized(rest)
            return rest == 0
        case .chunkSize:
            guard let line = try line() else { return false }
            let size = try Self.chunkSize(line)
            state = size == 0 ? .trailer : .chunk(size)
            return true
        case .chunk(let left):
            let rest = left - take(left)
            state = rest == 0 ? .chunkEnd : .chunk(rest)
            return rest == 0
        case .chunkEnd:
            guard let line = try line() else { return false }
            guard line.isEmpty else { throw Malformed(description: "a chunk that is longer than its size") }
            state = .chunkSize
            return true
        case .trailer:
            guard let line = try line() else { return false }
            if line.isEmpty { state = .whole }
            return true
        }
    }

    /// Takes up to so many bytes of the body that are there.
    @discardableResult
    private mutating func take(_ limit: Int64) -> Int64 {
        let count = Int(min(limit, Int64(input.readableBytes)))
        if isCapturing, body.readableBytes < Self.captureLimitBytes,
            var part = input.getSlice(at: input.readerIndex, length: count)
        {
            body.writeBuffer(&part)
        }
        input.moveReaderIndex(forwardBy: count)
        bodyBytes += Int64(count)
        return Int64(count)
    }

    /// A line without its end, taken from the input; nil while it is not whole.
    private mutating func line() throws -> [UInt8]? {
        let view = input.readableBytesView
        guard let end = view.firstIndex(of: UInt8(ascii: "\n")) else {
            guard view.count < 4096 else { throw Malformed(description: "a line without an end") }
            return nil
        }
        var line = Array(view[view.startIndex..<end])
        input.moveReaderIndex(forwardBy: line.count + 1)
        if line.last == UInt8(ascii: "\r") { line.removeLast() }
        return line
    }

    private static func chunkSize(_ line: [UInt8]) throws -> Int64 {
        let digits = line.prefix { $0 != UInt8(ascii: ";") && $0 != UInt8(ascii: " ") }
        // Int64 would take a sign.
        guard let first = digits.first, first != UInt8(ascii: "+"), first != UInt8(ascii: "-"),
            let size = Int64(String(decoding: digits, as: UTF8.self), radix: 16)
        else { throw Malformed(description: "a chunk without a size") }
        return size
    }
}

extension ResponseParser {
    /// What the fields of a head say about the body.
    private struct Framing {
        var length: Int64?
        var isChunked = false
    }

    private mutating func head() throws -> Bool {
        let found = try input.withUnsafeReadableBytes {
            bytes -> (status: Int, Framing, keepsAlive: Bool, count: Int)? in
            // Of garbage there may be no end.
            guard bytes.count >= 12 else { return nil }
            let (status, minor) = try Self.statusLine(bytes)
            guard let end = Self.endOfHead(bytes) else {
                guard bytes.count < Self.headLimitBytes else { throw Malformed(description: "a head without an end") }
                return nil
            }
            var framing = Framing()
            var keepsAlive = minor > 0
            try Self.fields(UnsafeRawBufferPointer(rebasing: bytes[..<end]), &framing, &keepsAlive)
            return (status, framing, keepsAlive, end)
        }
        guard let (status, framing, keepsAlive, count) = found else { return false }
        input.moveReaderIndex(forwardBy: count)
        // Interim answers come before the one that counts.
        if status < 200 { return true }
        self.status = status
        self.keepsAlive = keepsAlive
        if status == 204 || status == 304 {
            state = .whole
        } else if framing.isChunked {
            state = .chunkSize
        } else if let length = framing.length {
            state = length == 0 ? .whole : .sized(length)
        } else {
            self.keepsAlive = false
            state = .untilEnd
        }
        return true
    }

    /// Where the body begins.
    private static func endOfHead(_ bytes: UnsafeRawBufferPointer) -> Int? {
        guard bytes.count >= 4 else { return nil }
        let newline = UInt8(ascii: "\n")
        var index = 3
        while index < bytes.count {
            if bytes[index] == newline, bytes[index - 2] == newline || bytes[index - 1] == newline { return index + 1 }
            index += 1
        }
        return nil
    }

    /// `HTTP/1.1 200 …`
    private static func statusLine(_ bytes: UnsafeRawBufferPointer) throws -> (status: Int, minor: UInt8) {
        let zero = UInt8(ascii: "0")
        guard bytes.starts(with: "HTTP/1.".utf8), bytes[8] == UInt8(ascii: " "),
            bytes[9..<12].allSatisfy({ zero...zero + 9 ~= $0 }), bytes[7] == zero || bytes[7] == zero + 1
        else { throw Malformed(description: "not a response of HTTP/1.1") }
        return (bytes[9..<12].reduce(0) { $0 * 10 + Int($1 - zero) }, bytes[7] - zero)
    }

    private static func fields(
        _ head: UnsafeRawBufferPointer, _ framing: inout Framing, _ keepsAlive: inout Bool
    ) throws {
        for line in head.split(separator: UInt8(ascii: "\n")).dropFirst() {
            guard let colon = line.firstIndex(of: UInt8(ascii: ":")) else {
                if line.allSatisfy({ $0 == UInt8(ascii: "\r") }) { continue }
                throw Malformed(description: "a field without a colon")
            }
            let name = line[line.startIndex..<colon]
            guard [10, 14, 17].contains(name.count) else { continue }
            if named(name, "content-length") {
                let text = value(line, colon)
                guard let length = Int64(text), length >= 0, !text.hasPrefix("+") else {
                    throw Malformed(description: "a Content-Length that is no number")
                }
                framing.length = length
            } else if named(name, "transfer-encoding") {
                framing.isChunked = value(line, colon).lowercased().hasSuffix("chunked")
            } else if named(name, "connection") {
                switch value(line, colon).lowercased() {
                case "close": keepsAlive = false
                case "keep-alive": keepsAlive = true
                default: break
                }
            }
        }
    }

    private static func named(_ name: Slice<UnsafeRawBufferPointer>, _ lowercased: StaticString) -> Bool {
        guard name.count == lowercased.utf8CodeUnitCount else { return false }
        return lowercased.withUTF8Buffer { wanted in zip(name, wanted).allSatisfy { $0 | 0x20 == $1 | 0x20 } }
    }

    private static func value(_ line: Slice<UnsafeRawBufferPointer>, _ colon: Int) -> String {
        var text = line[(colon + 1)...]
        while let first = text.first, first == 0x20 || first == 0x09 { text.removeFirst() }
        while let last = text.last, last == 0x20 || last == 0x09 || last == 0x0d { text.removeLast() }
        return String(decoding: text, as: UTF8.self)
    }
}
