import Foundation
import Testing
import Trust

@Suite struct SealingTests {
    private static let key = SecretBytes(copying: [UInt8](0..<32))
    private static let nonce = [UInt8](100..<112)
    private static let context = SealContext(layer: .payload, keyID: "k", project: "p", secret: "s")

    private func seal(_ plaintext: [UInt8]) -> [UInt8] {
        Sealing.seal(
            SecretBytes(copying: plaintext), with: Self.key, nonce: Self.nonce, context: Self.context.bytes)
    }

    private func bytes(_ secret: SecretBytes) -> [UInt8] { secret.withUnsafeBytes { Array($0) } }

    private func hex(_ record: [String: String], _ name: String) throws -> [UInt8] {
        let text = try #require(record[name])
        return try #require(Hex.decode(text))
    }

    @Test func theCipherIsNISTs() throws {
        let records = try Vectors("aes-256-gcm.txt").records
        #expect(records.count == 150)
        var refused = 0
        for record in records {
            let key = SecretBytes(copying: try hex(record, "Key"))
            let context = try hex(record, "AAD")
            let nonce = try hex(record, "IV")
            let sealed = try [1] + nonce + hex(record, "CT") + hex(record, "Tag")
            if record["FAIL"] != nil {
                refused += 1
                #expect(throws: Sealing.Broken.self) { try Sealing.open(sealed, with: key, context: context) }
            } else {
                let plaintext = try hex(record, "PT")
                #expect(try bytes(Sealing.open(sealed, with: key, context: context)) == plaintext)
                let again = Sealing.seal(SecretBytes(copying: plaintext), with: key, nonce: nonce, context: context)
                #expect(again == sealed)
            }
        }
        #expect(refused == 48)
    }

    @Test func theFormatIsTheOneWrittenDown() throws {
        let records = try Vectors("sealed-values.txt").records
        #expect(records.count == 5)
        for record in records {
            let context = SealContext(
                layer: try #require(SealContext.Layer(rawValue: record["layer"] ?? "")),
                keyID: try #require(record["key_id"]), project: try #require(record["project"]),
                secret: try #require(record["secret"]))
            let key = MasterKeys.Key(SecretBytes(copying: try hex(record, "key")))
            #expect(key.id == record["master_key_id"])
            let plaintext = SecretBytes(copying: try hex(record, "plaintext"))
            let sealed = Sealing.seal(
                plaintext, with: key.bytes, nonce: try hex(record, "nonce"), context: context.bytes)
            #expect(Hex.encode(sealed) == record["sealed"])
            #expect(try Sealing.open(sealed, with: key.bytes, context: context.bytes).isEqual(to: plaintext))
        }
    }

    @Test func everySizeComesBack() throws {
        for size in Array(0...70) + [20_000] {
            let plaintext = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31) }
            let sealed = seal(plaintext)
            #expect(sealed.count == size + Sealing.overheadBytes && sealed.prefix(13) == [1] + Self.nonce)
            #expect(try bytes(Sealing.open(sealed, with: Self.key, context: Self.context.bytes)) == plaintext)
        }
    }

    @Test func everyChangedBitIsRefused() {
        let sealed = seal(Array("attack at dawn".utf8))
        for bit in 0..<sealed.count * 8 {
            var changed = sealed
            changed[bit / 8] ^= 1 << (bit % 8)
            #expect(throws: Sealing.Broken.self, "bit \(bit)") {
                try Sealing.open(changed, with: Self.key, context: Self.context.bytes)
            }
        }
    }

    @Test func everyOtherLengthIsRefused() {
        let sealed = seal(Array("attack at dawn".utf8))
        for length in 0..<sealed.count {
            #expect(throws: Sealing.Broken.self, "\(length)") {
                try Sealing.open(Array(sealed.prefix(length)), with: Self.key, context: Self.context.bytes)
            }
        }
        #expect(throws: Sealing.Broken.self) {
            try Sealing.open(sealed + [0], with: Self.key, context: Self.context.bytes)
        }
    }

    @Test func anotherKeyIsRefused() {
        let sealed = seal([1, 2, 3])
        for key in [SecretBytes(copying: [UInt8](1..<33)), SecretBytes(copying: [UInt8](0..<31)), .random(0)] {
            #expect(throws: Sealing.Broken.self) {
                try Sealing.open(sealed, with: key, context: Self.context.bytes)
            }
        }
    }

    @Test(arguments: [
        SealContext(layer: .canary, keyID: "k", project: "p", secret: "s"),
        SealContext(layer: .secretKey, keyID: "k", project: "p", secret: "s"),
        SealContext(layer: .projectKey, keyID: "k", project: "p", secret: "s"),
        SealContext(layer: .payload, keyID: "K", project: "p", secret: "s"),
        SealContext(layer: .payload, keyID: "k", project: "q", secret: "s"),
        SealContext(layer: .payload, keyID: "k", project: "p", secret: "t"),
        SealContext(layer: .payload, keyID: "k", project: "p", secret: ""),
        SealContext(layer: .payload, keyID: "k", project: "s", secret: "p"),
    ])
    func anotherContextIsRefused(_ context: SealContext) {
        #expect(throws: Sealing.Broken.self) {
            try Sealing.open(seal([1, 2, 3]), with: Self.key, context: context.bytes)
        }
        #expect(throws: Sealing.Broken.self) { try Sealing.open(seal([1, 2, 3]), with: Self.key, context: []) }
    }

    @Test func contextsAreUnambiguous() {
        let parts = ["", "a", "ab", "abc", "b", "bc", "c", "\0", "\0\0\0\u{1}a", "ä", "a\u{308}"]
        var seen: Set<[UInt8]> = []
        for layer in [SealContext.Layer.projectKey, .secretKey, .payload, .canary] {
            for keyID in parts {
                for project in parts {
                    for secret in parts {
                        seen.insert(
                            SealContext(layer: layer, keyID: keyID, project: project, secret: secret).bytes)
                    }
                }
            }
        }
        #expect(seen.count == 4 * parts.count * parts.count * parts.count)
    }

    // MARK: Secret bytes

    @Test func secretBytesAreNeverPrinted() {
        let secret = SecretBytes(copying: Array("attack at dawn".utf8))
        var dumped = ""
        dump(secret, to: &dumped)
        dump([secret], to: &dumped)
        #expect("\(secret)" == "<secret>" && String(reflecting: secret) == "<secret>")
        #expect(dumped.contains("<secret>") && !dumped.contains("memory") && !dumped.contains("0x"))
        #expect(Mirror(reflecting: secret).children.isEmpty)
    }

    @Test func secretBytesAreComparedByWhatTheyHold() {
        let secret = SecretBytes(copying: [1, 2, 3])
        #expect(secret.isEqual(to: SecretBytes(copying: [1, 2, 3])) && secret.isEqual(to: secret))
        for other in [[], [1, 2], [1, 2, 4], [0, 2, 3], [1, 2, 3, 0]] as [[UInt8]] {
            #expect(!secret.isEqual(to: SecretBytes(copying: other)), "\(other)")
        }
        #expect(SecretBytes.random(0).isEqual(to: SecretBytes(copying: [])))
        #expect(!SecretBytes.random(32).isEqual(to: .random(32)) && SecretBytes.random(32).count == 32)
    }

    @Test func secretBytesBeginAsZerosAndPassErrorsOn() {
        struct Stop: Error {}
        #expect(bytes(SecretBytes(count: 3) { $0[1] = 7 }) == [0, 7, 0])
        #expect(throws: Stop.self) { try SecretBytes(count: 3) { _ in throw Stop() } }
        #expect(throws: Stop.self) { try SecretBytes(count: 3) { _ in }.withUnsafeBytes { _ in throw Stop() } }
    }

    // MARK: base64

    private func decode(_ text: String) -> [UInt8]? {
        Array(text.utf8).withUnsafeBytes { Base64.decode($0) }.map(bytes)
    }

    /// RFC 4648 section 10.
    @Test func base64IsTheRFCs() {
        let vectors = [
            ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ]
        for (plain, encoded) in vectors {
            #expect(Base64.encode(SecretBytes(copying: Array(plain.utf8))) == Array(encoded.utf8))
            #expect(decode(encoded) == Array(plain.utf8))
        }
        #expect(Base64.encode(SecretBytes(copying: [0xff, 0xef, 0xfe])) == Array("/+/+".utf8))
    }

    /// Foundation is another implementation.
    @Test func base64IsFoundations() {
        for size in 0...300 {
            let plain = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 167 &+ size) }
            let encoded = Data(plain).base64EncodedString()
            #expect(Base64.encode(SecretBytes(copying: plain)) == Array(encoded.utf8))
            #expect(decode(encoded) == plain)
        }
    }

    @Test func base64SkipsWhiteSpaceAlone() {
        for text in ["Zm9vYg==\n", " Zm9v\r\nYg= =", "Zm\t9\u{b}v\u{c}Yg=\n="] {
            #expect(decode(text) == Array("foob".utf8), "\(text)")
        }
        #expect(decode(" \n") == [])
        let malformed = [
            "Z", "Zg", "Zg=", "Zg===", "Zm8", "Zm9v=", "Zm9v====", "=", "====", "Zg==Zg==", "Zm=8", "Zm-_", "Zm9\0",
            "Zm9v!", "Zm9\u{a0}v", "Zm\u{1c}9v",
        ]
        for text in malformed { #expect(decode(text) == nil, "\(text)") }
    }

    // MARK: Core dumps

    /// In a process of its own, whose crashes nobody wants to look into.
    @Test func coreDumpsAreForbidden() async {
        await #expect(processExitsWith: .success) {
            let wereForbidden = CoreDumps.areForbidden
            CoreDumps.forbid()
            let limits = try String(contentsOfFile: "/proc/self/limits", encoding: .utf8)
            #expect(!wereForbidden && CoreDumps.areForbidden)
            #expect(limits.contains(/Max core file size +0 +0\s/))
        }
    }
}
