import Foundation
import Testing
import Trust

@Suite struct RecordSealTests {
    private let seal = RecordSeal(key: SecretBytes(copying: [UInt8](repeating: 1, count: 32)))
    private let directory: URL

    init() throws {
        directory = FileManager.default.temporaryDirectory.appending(path: "seal-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    }

    private func inFile(_ text: String, mode: Int = 0o600) throws -> String {
        let path = directory.appending(path: UUID().uuidString).path
        _ = FileManager.default.createFile(
            atPath: path, contents: Data(text.utf8), attributes: [.posixPermissions: mode])
        return path
    }

    @Test func aSealHoldsForItsFieldsAlone() {
        let fields: [String?] = ["a", nil, "bc", ""]
        let mark = seal.seal(fields)
        #expect(seal.isIntact(mark, over: fields))
        let others: [[String?]] = [
            ["a", "", "bc", ""], ["a", nil, "b", "c"], ["a", nil, "bc"], ["a", nil, "bc", "", ""],
            ["ab", nil, "c", ""],
            ["a", nil, "bd", ""], [],
        ]
        for other in others { #expect(!seal.isIntact(mark, over: other), "\(other)") }
        for bit in 0..<mark.count * 8 {
            var changed = mark
            changed[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(!seal.isIntact(changed, over: fields))
        }
        #expect(!seal.isIntact([], over: fields))
    }

    @Test func whatIsConcealedIsReadWhereItWasKeptAlone() {
        let nonce = [UInt8](repeating: 3, count: Sealing.nonceBytes)
        let closed = seal.conceal("a token", nonce: nonce, in: ["task"])
        #expect(seal.reveal(closed, in: ["task"]) == "a token")
        #expect(seal.reveal(closed, in: ["other task"]) == nil)
        #expect(seal.reveal([], in: ["task"]) == nil)
        let other = RecordSeal(key: SecretBytes(copying: [UInt8](repeating: 2, count: 32)))
        #expect(other.reveal(closed, in: ["task"]) == nil)
        for index in closed.indices {
            var changed = closed
            changed[index] ^= 1
            #expect(seal.reveal(changed, in: ["task"]) == nil)
        }
    }

    @Test func anotherKeyMakesAnotherSeal() {
        let other = RecordSeal(key: SecretBytes(copying: [UInt8](repeating: 2, count: 32)))
        #expect(other.keyID != seal.keyID)
        #expect(!other.isIntact(seal.seal(["a"]), over: ["a"]))
    }

    /// RFC 4231 has no case of this framing; the value was computed with Python's `hmac`.
    @Test func theSealIsHMACOfTheFramedFields() {
        let expected = "fcad27b87519f9d27d6a4249ac0066de"
        #expect(Hex.encode(seal.seal(["a", nil]).prefix(16)) == expected)
    }

    @Test func theKeyIsMadeOnceAndStays() throws {
        let path = directory.appending(path: "record-key").path
        let first = try RecordSeal.loadOrCreate(path: path)
        let second = try RecordSeal.loadOrCreate(path: path)
        #expect(first.keyID == second.keyID)
        #expect(second.isIntact(first.seal(["x"]), over: ["x"]))
        let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
        #expect(mode == 0o600)
        let another = try RecordSeal.loadOrCreate(path: directory.appending(path: "another").path)
        #expect(another.keyID != first.keyID)
    }

    @Test(arguments: ["", "\n", "abc", String(repeating: "0", count: 63), String(repeating: "g", count: 64)])
    func aFileWithoutAKeyIsNotReplaced(_ text: String) throws {
        let path = try inFile(text)
        #expect(throws: RecordSeal.Failure.self) { try RecordSeal.loadOrCreate(path: path) }
        #expect(try String(contentsOfFile: path, encoding: .utf8) == text)
    }

    @Test func aKeyThatOthersMayReadIsRefused() throws {
        let path = try inFile(String(repeating: "0", count: 64), mode: 0o644)
        #expect(throws: RecordSeal.Failure.self) { try RecordSeal.loadOrCreate(path: path) }
    }
}
