import Trust

/// Reads JSON (RFC 8259) in one pass over the bytes: time and memory are linear in the input, whatever
/// is in it. Foundation's decoder tries one type after the other and throws an error for each that does
/// not fit, which made seconds of work of a hostile megabyte.
struct JSONParser {
    /// Nesting past this depth is refused: no request of these APIs comes near it.
    static let maxDepth = 32

    private let bytes: UnsafeBufferPointer<UInt8>
    private let secretMember: String?
    private var position = 0
    /// The last string that `secretMember` had.
    private(set) var secret: SecretBytes?

    /// - Parameter secretMember: a member of the document's object that no string may be made of: a string
    ///   there goes to `secret`, and an empty one stands in its place.
    init(_ bytes: UnsafeBufferPointer<UInt8>, secretMember: String? = nil) {
        self.bytes = bytes
        self.secretMember = secretMember
    }

    /// - Throws: `JSONValue.Malformed`.
    mutating func document() throws -> JSONValue {
        let value = try value(depth: 0)
        skipSpace()
        guard position == bytes.count else { throw malformed("there is more after the value") }
        return value
    }

    private func malformed(_ problem: String) -> JSONValue.Malformed {
        JSONValue.Malformed(description: "\(problem) at byte \(position)")
    }

    private var next: UInt8? { position < bytes.count ? bytes[position] : nil }

    private mutating func skipSpace() {
        while let byte = next, byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09 { position += 1 }
    }

    private mutating func take(_ character: Unicode.Scalar) -> Bool {
        guard next == UInt8(ascii: character) else { return false }
        position += 1
        return true
    }

    private mutating func value(depth: Int) throws -> JSONValue {
        guard depth <= Self.maxDepth else { throw malformed("it is nested deeper than \(Self.maxDepth) levels") }
        skipSpace()
        guard let byte = next else { throw malformed("a value is missing") }
        switch byte {
        case UInt8(ascii: "{"): return try object(depth: depth)
        case UInt8(ascii: "["): return try array(depth: depth)
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        default: return try number()
        }
    }

    private mutating func word(_ text: StaticString, _ value: JSONValue) throws -> JSONValue {
        let count = text.utf8CodeUnitCount
        guard bytes.count - position >= count,
            (0..<count).allSatisfy({ bytes[position + $0] == text.utf8Start[$0] })
        else { throw malformed("an unknown word") }
        position += count
        return value
    }

    private mutating func object(depth: Int) throws -> JSONValue {
        position += 1
        var members: [String: JSONValue] = [:]
        skipSpace()
        if take("}") { return .object(members) }
        while true {
            skipSpace()
            guard next == UInt8(ascii: "\"") else { throw malformed("a member's name is missing") }
            let name = try string()
            skipSpace()
            guard take(":") else { throw malformed("a ':' is missing") }
            if depth == 0, name == secretMember {
                members[name] = try secretOrValue()
            } else {
                members[name] = try value(depth: depth + 1)
            }
            skipSpace()
            if take("}") { return .object(members) }
            guard take(",") else { throw malformed("a ',' or '}' is missing") }
        }
    }

    private mutating func array(depth: Int) throws -> JSONValue {
        position += 1
        var values: [JSONValue] = []
        skipSpace()
        if take("]") { return .array(values) }
        while true {
            values.append(try value(depth: depth + 1))
            skipSpace()
            if take("]") { return .array(values) }
            guard take(",") else { throw malformed("a ',' or ']' is missing") }
        }
    }

    private mutating func digits() throws {
        let start = position
        while let byte = next, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) { position += 1 }
        guard position > start else { throw malformed("no value begins so") }
    }

    private mutating func number() throws -> JSONValue {
        let start = position
        _ = take("-")
        if take("0") {
            if let byte = next, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) {
                throw malformed("a number begins with 0")
            }
        } else {
            try digits()
        }
        var isInteger = true
        if take(".") {
            isInteger = false
            try digits()
        }
        if take("e") || take("E") {
            isInteger = false
            if !take("+") { _ = take("-") }
            try digits()
        }
        let text = String(decoding: UnsafeBufferPointer(rebasing: bytes[start..<position]), as: UTF8.self)
        if isInteger, let value = Int64(text) { return .integer(value) }
        guard let value = Double(text), value.isFinite else { throw malformed("a number is out of range") }
        return .number(value)
    }

    private mutating func string() throws -> String {
        var text: [UInt8] = []
        try string(into: &text)
        guard let text = String(validating: text, as: UTF8.self) else { throw malformed("a string is not UTF-8") }
        return text
    }

    private mutating func secretOrValue() throws -> JSONValue {
        skipSpace()
        guard next == UInt8(ascii: "\"") else { return try value(depth: 1) }
        var text: [UInt8] = []
        // Room for all there can be: growing would leave copies behind.
        text.reserveCapacity(bytes.count - position)
        defer { WipedMemory.wipe(&text) }
        try string(into: &text)
        let secret = text.withUnsafeBytes { SecretBytes(copying: $0) }
        guard secret.isUTF8 else { throw malformed("a string is not UTF-8") }
        self.secret = secret
        return .string("")
    }

    /// Appends the bytes that a string stands for.
    private mutating func string(into escaped: inout [UInt8]) throws {
        position += 1
        var runStart = position
        while let byte = next {
            switch byte {
            case UInt8(ascii: "\""):
                escaped.append(contentsOf: bytes[runStart..<position])
                position += 1
                return
            case UInt8(ascii: "\\"):
                escaped.append(contentsOf: bytes[runStart..<position])
                position += 1
                try escape(into: &escaped)
                runStart = position
            case 0..<0x20:
                throw malformed("a string has a control character")
            default:
                position += 1
            }
        }
        throw malformed("a string does not end")
    }

    private mutating func escape(into out: inout [UInt8]) throws {
        guard let byte = next else { throw malformed("a string does not end") }
        position += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): out.append(byte)
        case UInt8(ascii: "b"): out.append(0x08)
        case UInt8(ascii: "f"): out.append(0x0c)
        case UInt8(ascii: "n"): out.append(0x0a)
        case UInt8(ascii: "r"): out.append(0x0d)
        case UInt8(ascii: "t"): out.append(0x09)
        case UInt8(ascii: "u"):
            var code = try codeUnit()
            if (0xd800..<0xdc00).contains(code) {
                guard take("\\"), take("u") else { throw malformed("half a surrogate pair") }
                let low = try codeUnit()
                guard (0xdc00..<0xe000).contains(low) else { throw malformed("half a surrogate pair") }
                code = 0x10000 + (code - 0xd800) << 10 + (low - 0xdc00)
            }
            // PostgreSQL has no text with U+0000, and nothing these APIs name has one.
            guard code != 0 else { throw malformed("a string has the character U+0000") }
            guard let scalar = Unicode.Scalar(code) else { throw malformed("half a surrogate pair") }
            out.append(contentsOf: UTF8.encode(scalar)!)
        default: throw malformed("an unknown escape")
        }
    }

    private mutating func codeUnit() throws -> UInt32 {
        guard bytes.count - position >= 4 else { throw malformed("an escape is too short") }
        var code: UInt32 = 0
        for _ in 0..<4 {
            let byte = bytes[position]
            let digit: UInt8
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = byte - UInt8(ascii: "0")
            case UInt8(ascii: "a")...UInt8(ascii: "f"): digit = byte - UInt8(ascii: "a") + 10
            case UInt8(ascii: "A")...UInt8(ascii: "F"): digit = byte - UInt8(ascii: "A") + 10
            default: throw malformed("an escape with other than hexadecimal digits")
            }
            code = code << 4 | UInt32(digit)
            position += 1
        }
        return code
    }
}
