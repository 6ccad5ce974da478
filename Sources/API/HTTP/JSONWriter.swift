import Core
import NIOCore

/// Appends JSON (RFC 8259) to a buffer, without reflection and without building a tree first.
/// The caller sees to it that keys stand in objects; commas are the writer's business.
package struct JSONWriter: Sendable {
    private var buffer = ByteBuffer()
    private var needsComma = false

    package init() { buffer.reserveCapacity(1024) }

    package consuming func finish() -> ByteBuffer { buffer }

    package mutating func object(_ body: (inout JSONWriter) -> Void) {
        open("{")
        body(&self)
        close("}")
    }

    package mutating func array(_ body: (inout JSONWriter) -> Void) {
        open("[")
        body(&self)
        close("]")
    }

    package mutating func key(_ name: String) {
        quoted(name, isKey: true)
        needsComma = false
    }

    package mutating func string(_ value: String) {
        quoted(value, isKey: false)
        needsComma = true
    }

    package mutating func integer(_ value: Int64) {
        separate()
        buffer.writeString(String(value))
        needsComma = true
    }

    package mutating func bool(_ value: Bool) { raw(value ? "true" : "false") }
    package mutating func null() { raw("null") }

    package mutating func value(_ value: JSONValue) {
        switch value {
        case .null: null()
        case .bool(let value): bool(value)
        case .integer(let value): integer(value)
        case .number(let value): raw(value.isFinite ? "\(value)" : "null")
        case .string(let value): string(value)
        case .array(let values): array { for value in values { $0.value(value) } }
        case .object(let members):
            object { for (name, value) in members.sorted(by: { $0.key < $1.key }) { $0.member(name, value) } }
        }
    }

    package mutating func member(_ name: String, _ text: String) {
        key(name)
        string(text)
    }

    package mutating func member(_ name: String, _ text: String?) {
        key(name)
        if let text { string(text) } else { null() }
    }

    package mutating func member(_ name: String, _ number: Int64?) {
        key(name)
        if let number { integer(number) } else { null() }
    }

    package mutating func member(_ name: String, _ number: Int) {
        key(name)
        integer(Int64(number))
    }

    package mutating func member(_ name: String, _ flag: Bool) {
        key(name)
        bool(flag)
    }

    package mutating func member(_ name: String, _ value: JSONValue) {
        key(name)
        self.value(value)
    }

    package mutating func member(_ name: String, object body: (inout JSONWriter) -> Void) {
        key(name)
        object(body)
    }

    package mutating func member(_ name: String, array body: (inout JSONWriter) -> Void) {
        key(name)
        array(body)
    }

    private mutating func open(_ bracket: Unicode.Scalar) {
        separate()
        buffer.writeInteger(UInt8(ascii: bracket))
        needsComma = false
    }

    private mutating func close(_ bracket: Unicode.Scalar) {
        buffer.writeInteger(UInt8(ascii: bracket))
        needsComma = true
    }

    private mutating func raw(_ text: String) {
        separate()
        buffer.writeString(text)
        needsComma = true
    }

    private mutating func separate() {
        if needsComma { buffer.writeInteger(UInt8(ascii: ",")) }
    }

    /// A text with what stands before and behind it: one reservation, one copy.
    private mutating func quoted(_ text: String, isKey: Bool) {
        var text = text
        let comma = needsComma
        text.withUTF8 { bytes in
            // No branch in the loop: it looks at many bytes at once.
            var special: UInt8 = 0
            for byte in bytes {
                special |=
                    (byte < 0x20 ? 1 : 0) | (byte == UInt8(ascii: "\"") ? 1 : 0)
                    | (byte == UInt8(ascii: "\\") ? 1 : 0)
            }
            if special != 0 {
                if comma { buffer.writeInteger(UInt8(ascii: ",")) }
                buffer.writeInteger(UInt8(ascii: "\""))
                for byte in bytes { escaped(byte) }
                buffer.writeInteger(UInt8(ascii: "\""))
                if isKey { buffer.writeInteger(UInt8(ascii: ":")) }
                return
            }
            buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: bytes.count + 4) { out in
                var place = 0
                func put(_ character: Unicode.Scalar) {
                    out[place] = UInt8(ascii: character)
                    place += 1
                }
                if comma { put(",") }
                put("\"")
                if let source = bytes.baseAddress, let target = out.baseAddress {
                    target.advanced(by: place).copyMemory(from: source, byteCount: bytes.count)
                }
                place += bytes.count
                put("\"")
                if isKey { put(":") }
                return place
            }
        }
    }

    private mutating func escaped(_ byte: UInt8) {
        switch byte {
        case UInt8(ascii: "\""): buffer.writeString("\\\"")
        case UInt8(ascii: "\\"): buffer.writeString("\\\\")
        case UInt8(ascii: "\n"): buffer.writeString("\\n")
        case UInt8(ascii: "\r"): buffer.writeString("\\r")
        case UInt8(ascii: "\t"): buffer.writeString("\\t")
        case 0..<0x20:
            buffer.writeString("\\u00")
            buffer.writeString(byte < 16 ? "0" : "1")
            buffer.writeString(String(byte & 15, radix: 16))
        default: buffer.writeInteger(byte)
        }
    }
}
