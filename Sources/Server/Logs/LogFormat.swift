import API
import Core
import Logging
import NIOCore

/// How log lines look.
package enum LogFormat: String, Sendable, CaseIterable {
    /// For people: time, level, label, message, then `key=value`.
    case text
    /// For machines: one JSON object a line (RFC 8259): `time`, `level`, `label`, `message`, then the
    /// metadata, each key a member.
    case json

    /// Members of every JSON line; metadata of the same name is written with an underscore before it.
    private static let reserved: Set<String> = ["time", "level", "label", "message"]

    /// One line, with its line feed. Nothing in the message or the fields can begin another.
    func line(
        at time: Timestamp, level: Logger.Level, label: String, message: String,
        fields: [(key: String, value: Logger.Metadata.Value)]
    ) -> ByteBuffer {
        switch self {
        case .text:
            var out = ByteBuffer()
            out.reserveCapacity(256)
            out.writeString(time.iso8601Milliseconds)
            out.writeString(" \(level.rawValue.uppercased()) ")
            out.writeString(label + ": ")
            out.writePrintable(message)
            for (key, value) in fields {
                out.writeString(" ")
                out.writePrintable(key)
                out.writeString("=")
                out.writeText(value)
            }
            out.writeString("\n")
            return out
        case .json:
            var json = JSONWriter()
            json.object { json in
                json.member("time", time.iso8601Milliseconds)
                json.member("level", level.rawValue)
                json.member("label", label)
                json.member("message", message)
                for (key, value) in fields {
                    json.key(Self.reserved.contains(key) ? "_" + key : key)
                    json.write(value)
                }
            }
            var out = json.finish()
            out.writeString("\n")
            return out
        }
    }
}

extension JSONWriter {
    fileprivate mutating func write(_ value: Logger.Metadata.Value) {
        switch value {
        case .string(let text): string(text)
        case .stringConvertible(let value): string(value.description)
        case .array(let values): array { json in for value in values { json.write(value) } }
        case .dictionary(let members):
            object { json in
                for (key, value) in members.sorted(by: { $0.key < $1.key }) {
                    json.key(key)
                    json.write(value)
                }
            }
        }
    }
}

extension ByteBuffer {
    /// A value as text: bare when it is one word, in double quotes otherwise.
    fileprivate mutating func writeText(_ value: Logger.Metadata.Value) {
        switch value {
        case .string(let text): writeQuotedIfNeeded(text)
        case .stringConvertible(let value): writeQuotedIfNeeded(value.description)
        case .array(let values):
            writeString("[")
            for (index, value) in values.enumerated() {
                if index > 0 { writeString(", ") }
                writeText(value)
            }
            writeString("]")
        case .dictionary(let members):
            writeString("{")
            for (index, member) in members.sorted(by: { $0.key < $1.key }).enumerated() {
                if index > 0 { writeString(", ") }
                writePrintable(member.key)
                writeString(": ")
                writeText(member.value)
            }
            writeString("}")
        }
    }

    private mutating func writeQuotedIfNeeded(_ text: String) {
        let isBare = !text.isEmpty && text.utf8.allSatisfy { $0 > 0x20 && $0 != UInt8(ascii: "\"") && $0 != 0x7f }
        if isBare {
            writePrintable(text)
            return
        }
        writeString("\"")
        for scalar in text.unicodeScalars {
            if scalar == "\"" || scalar == "\\" { writeString("\\") }
            writeScalar(scalar)
        }
        writeString("\"")
    }

    /// Control characters, which could start a line or drive a terminal, are written as `\u{…}`.
    fileprivate mutating func writePrintable(_ text: String) {
        if text.utf8.allSatisfy({ (0x20..<0x7f).contains($0) }) {
            writeString(text)
        } else {
            for scalar in text.unicodeScalars { writeScalar(scalar) }
        }
    }

    private mutating func writeScalar(_ scalar: Unicode.Scalar) {
        switch scalar.properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator:
            writeString("\\u{" + String(scalar.value, radix: 16) + "}")
        default:
            writeString(String(Character(scalar)))
        }
    }
}
