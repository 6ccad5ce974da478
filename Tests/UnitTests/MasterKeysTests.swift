import Foundation
import Synchronization
import Testing
import Trust

@Suite struct MasterKeysTests {
    /// A directory of its own, removed at the end.
    private final class Folder {
        let url = FileManager.default.temporaryDirectory.appending(path: "master-keys-\(UUID().uuidString)")
        var path: String { url.appending(path: "master-keys").path }

        init() throws { try FileManager.default.createDirectory(at: url, withIntermediateDirectories: false) }

        deinit { try? FileManager.default.removeItem(at: url) }

        func write(_ text: String, mode: Int = 0o600) throws {
            try Data(text.utf8).write(to: URL(filePath: path))
            try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path)
        }

        var text: String { get throws { try String(contentsOfFile: path, encoding: .utf8) } }
        var mode: Int? {
            get throws { try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int }
        }
        var names: [String] { get throws { try FileManager.default.contentsOfDirectory(atPath: url.path).sorted() } }
    }

    private func line(_ key: MasterKeys.Key) -> String { "\(key.id) \(base64(key.bytes))" }

    private func base64(_ secret: SecretBytes) -> String { secret.withUnsafeBytes { Data($0).base64EncodedString() } }

    private func failure(_ folder: Folder) -> MasterKeys.Failure? {
        do {
            _ = try MasterKeys.load(path: folder.path)
            return nil
        } catch {
            return error
        }
    }

    @Test func theFileIsMadeOnceAndKeptPrivate() throws {
        let folder = try Folder()
        let first = try MasterKeys.create(path: folder.path)
        #expect(try folder.mode == 0o600 && folder.names == ["master-keys"])
        let text = try folder.text
        let second = try MasterKeys.create(path: folder.path)
        #expect(try folder.text == text && text.hasSuffix("\n\(line(first.first))\n"))
        let third = try MasterKeys.load(path: folder.path)
        for keys in [second, third] {
            #expect(keys.keys.map(\.id) == [first.first.id] && keys.first.bytes.isEqual(to: first.first.bytes))
        }
        #expect(first.first.id.wholeMatch(of: /[0-9a-f]{16}/) != nil && first.first.bytes.count == 32)
    }

    @Test func whoeverIsFirstMakesTheKeyOfAll() throws {
        for _ in 0..<20 {
            let folder = try Folder()
            let path = folder.path
            let ids = Mutex<[String]>([])
            DispatchQueue.concurrentPerform(iterations: 8) { _ in
                let id = (try? MasterKeys.create(path: path))?.first.id ?? "none"
                ids.withLock { $0.append(id) }
            }
            let all = ids.withLock { $0 }
            let kept = try MasterKeys.load(path: path).first.id
            #expect(all == Array(repeating: kept, count: 8))
            #expect(try folder.names == ["master-keys"])
        }
    }

    @Test func replacedKeysComeBackInTheirOrder() throws {
        let folder = try Folder()
        let old = try MasterKeys.create(path: folder.path)
        let rotated = MasterKeys([MasterKeys.make(), MasterKeys.make()] + old.keys)
        try rotated.replace(path: folder.path)
        #expect(try folder.mode == 0o600 && folder.names == ["master-keys"])
        let read = try MasterKeys.load(path: folder.path)
        #expect(read.keys.map(line) == rotated.keys.map(line) && read.first.id == rotated.keys[0].id)
        for key in rotated.keys { #expect(try #require(read[key.id]).bytes.isEqual(to: key.bytes)) }
        #expect(read["0000000000000000"] == nil)
        // As a new file too.
        try FileManager.default.removeItem(atPath: folder.path)
        try old.replace(path: folder.path)
        #expect(try MasterKeys.load(path: folder.path).first.id == old.first.id)
    }

    @Test func whatCannotBeWrittenLeavesTheOldKeys() throws {
        let folder = try Folder()
        let nowhere = folder.url.appending(path: "nowhere/master-keys").path
        #expect(throws: MasterKeys.Failure.self) { try MasterKeys.create(path: nowhere) }
        #expect(throws: MasterKeys.Failure.self) { try MasterKeys([MasterKeys.make()]).replace(path: nowhere) }
        // A directory is in the way: only the last step fails.
        try FileManager.default.createDirectory(atPath: folder.path, withIntermediateDirectories: false)
        #expect(throws: MasterKeys.Failure.self) { try MasterKeys([MasterKeys.make()]).replace(path: folder.path) }
        #expect(try folder.names == ["master-keys"])
        guard case .unreadable = failure(folder) else { return #expect(Bool(false), "a directory was read") }
    }

    @Test(arguments: [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o644, 0o777])
    func aFileOpenToOthersIsRefused(_ mode: Int) throws {
        let folder = try Folder()
        try folder.write(line(MasterKeys.make()) + "\n", mode: mode)
        guard case .tooOpen(folder.path) = failure(folder) else { return #expect(Bool(false), "it was taken") }
        #expect(throws: MasterKeys.Failure.self) { try MasterKeys.create(path: folder.path) }
    }

    @Test func aMissingFileIsNotMadeByReading() throws {
        let folder = try Folder()
        guard case .missing(folder.path) = failure(folder) else { return #expect(Bool(false), "no error") }
        #expect(try folder.names == [])
    }

    @Test func aPipeIsNotWaitedFor() throws {
        let folder = try Folder()
        #expect(mkfifo(folder.path, 0o600) == 0)
        guard case .unreadable(folder.path, _) = failure(folder) else { return #expect(Bool(false), "no error") }
    }

    @Test func commentsAndASpareNewlineLessEndAreTaken() throws {
        let folder = try Folder()
        let keys = [MasterKeys.make(), MasterKeys.make()]
        let texts = [
            "\(line(keys[0]))\n\(line(keys[1]))\n", "\(line(keys[0]))\n\(line(keys[1]))",
            "# first\n\(line(keys[0]))\n#\n\(line(keys[1]))\n# end", "\(line(keys[0]))\r\n\(line(keys[1]))\r\n",
        ]
        for text in texts {
            try folder.write(text, mode: 0o400)
            #expect(try MasterKeys.load(path: folder.path).keys.map(line) == keys.map(line), "\(text)")
            try FileManager.default.removeItem(atPath: folder.path)
        }
    }

    @Test func malformedLinesAreNamedByNumberAlone() throws {
        let folder = try Folder()
        let key = MasterKeys.make()
        let text = base64(key.bytes)
        let other = MasterKeys.make()
        let short = Data((0..<31).map { UInt8($0) }).base64EncodedString()
        var typo = Array(text)
        typo[5] = typo[5] == "A" ? "B" : "A"
        let malformed = [
            "", " ", "\(key.id)", "\(key.id) ", text, "\(other.id) \(text)", "\(key.id.uppercased()) \(text)#",
            "\(key.id) \(short)", "\(key.id) \(String(typo))", "\(key.id) \(text.dropLast())", "\(key.id)\t\(text)",
            "\(key.id) \(text) \(text)", " \(key.id) \(text)", "\(key.id.dropLast()) \(text)", " # comment",
            "\(key.id) \(text) # comment", "\(key.id) \(text)\0",
        ]
        for line in malformed {
            try folder.write("# head\n\(self.line(other))\n\(line)\n\(self.line(MasterKeys.make()))\n")
            let failure = try #require(self.failure(folder), "\(line)")
            guard case .malformed(folder.path, line: 3) = failure else {
                #expect(Bool(false), "\(line): \(failure)")
                continue
            }
            #expect("\(failure)".contains(folder.path) && "\(failure)".contains("line 3"))
            for secret in [text, String(text.prefix(8)), base64(other.bytes)] {
                #expect(!"\(failure) \(String(reflecting: failure))".contains(secret))
            }
        }
    }

    @Test func aKeyTwiceIsRefused() throws {
        let folder = try Folder()
        let key = MasterKeys.make()
        try folder.write("\(line(key))\n\(line(MasterKeys.make()))\n\(line(key))\n")
        let failure = try #require(self.failure(folder))
        guard case .duplicate(folder.path, line: 3) = failure else { return #expect(Bool(false), "\(failure)") }
        #expect(!"\(failure)".contains(base64(key.bytes)))
    }

    @Test(arguments: ["", "\n", "# nothing", "# nothing\n#\n"])
    func aFileWithoutKeysIsRefused(_ text: String) throws {
        let folder = try Folder()
        try folder.write(text)
        guard case .empty(folder.path) = failure(folder) else { return #expect(Bool(false), "\(text) was taken") }
    }

    @Test func aLongFileIsNotRead() throws {
        let folder = try Folder()
        try folder.write(line(MasterKeys.make()) + "\n" + String(repeating: "#", count: 1 << 20))
        guard case .unreadable(folder.path, _) = failure(folder) else { return #expect(Bool(false), "it was read") }
    }

    @Test func everyFailureNamesTheFile() {
        let failures: [MasterKeys.Failure] = [
            .missing(path: "/p/q"), .unreadable(path: "/p/q", reason: "r"), .tooOpen(path: "/p/q"),
            .empty(path: "/p/q"), .malformed(path: "/p/q", line: 7), .duplicate(path: "/p/q", line: 7),
            .unwritable(path: "/p/q", reason: "r"),
        ]
        for failure in failures { #expect("\(failure)".contains("/p/q"), "\(failure)") }
    }

    @Test func keysAreNeverPrinted() throws {
        let keys = MasterKeys([MasterKeys.make(), MasterKeys.make()])
        var printed = "\(keys) \(keys.first) \(String(reflecting: keys)) \(keys.keys)"
        dump(keys, to: &printed)
        #expect(printed.contains("<secret>") && printed.contains(keys.first.id))
        for key in keys.keys {
            let bytes = key.bytes.withUnsafeBytes { Array($0) }
            let forms = [
                Hex.encode(bytes), Hex.encode(bytes).uppercased(), base64(key.bytes), Secret.base64URL(bytes),
                bytes.prefix(4).map(String.init).joined(separator: ", "),
            ]
            for form in forms { #expect(!printed.contains(form)) }
        }
        #expect(!printed.contains("0x"))
    }
}
