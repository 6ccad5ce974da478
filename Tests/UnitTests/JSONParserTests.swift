import Core
import NIOCore
import Testing

@Suite struct JSONParserTests {
    private func parse(_ text: String) throws -> JSONValue { try JSONValue(parsing: ByteBuffer(string: text)) }

    @Test func everyKindIsRead() throws {
        let value = try parse(#" {"a": [1, -2, 0, 1.5, 1e2, true, false, null, "x"], "b": {}, "c": []} "#)
        #expect(
            value == [
                "a": [1, -2, 0, .number(1.5), .number(100), true, false, .null, "x"], "b": [:], "c": [],
            ])
    }

    @Test(arguments: [
        (#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{c}\n\r\t"), (#""\u00e9""#, "é"), (#""\ud83d\ude00""#, "😀"),
        ("\"é😀\"", "é😀"),
        (#""a\u0041b""#, "aAb"), ("\"\"", ""),
    ])
    func stringsAreUnescaped(_ text: String, _ expected: String) throws {
        #expect(try parse(text).stringValue.map { Array($0.utf8) } == Array(expected.utf8))
    }

    @Test func numbersThatDoNotFitAnInt64AreNumbers() throws {
        #expect(try parse("9223372036854775807") == .integer(.max))
        #expect(try parse("9223372036854775808") == .number(9_223_372_036_854_775_808))
    }

    @Test func theLastOfTwoMembersCounts() throws {
        #expect(try parse(#"{"a": 1, "a": 2}"#) == ["a": 2])
    }

    @Test func depthIsBounded() throws {
        func nested(_ depth: Int) -> String {
            String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
        }
        _ = try parse(nested(33))
        #expect(throws: JSONValue.Malformed.self) { try parse(nested(34)) }
        #expect(throws: JSONValue.Malformed.self) { try parse(String(repeating: "[", count: 1_000_000)) }
        #expect(throws: JSONValue.Malformed.self) { try parse(String(repeating: #"{"a":"#, count: 100_000)) }
    }

    /// Whatever is cut off or changed, the parser answers: a value or a refusal, never a crash.
    @Test func mutatedDocumentsNeverCrash() throws {
        let document = Array(#"{"a": [1.5e3, "\u00e9\ud83d\ude00\n", true, null], "b": {"c": -0}, "é": ""}"#.utf8)
        let randomness = SeededRandomness(seed: 7)
        for _ in 0..<20_000 {
            var bytes = document
            let draw = randomness.bytes(4)
            bytes[Int(draw[0]) % bytes.count] = draw[1]
            if draw[2] < 64 { bytes.removeLast(Int(draw[3]) % bytes.count) }
            _ = try? JSONValue(parsing: ByteBuffer(bytes: bytes))
        }
    }
}
