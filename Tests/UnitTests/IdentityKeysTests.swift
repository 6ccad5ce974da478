import Foundation
import Testing
import Trust

@Suite struct IdentityKeysTests {
    private static let claims = TokenClaims(
        userID: "u", issuedAtMicroseconds: 1_800_000_000_123_457, expiresAtSeconds: 1_800_003_600,
        methods: ["password"], auditIDs: ["a", "b"], projectID: "p")

    private func temporaryPath() -> String {
        FileManager.default.temporaryDirectory.appending(path: "keys-\(UUID().uuidString).pem").path
    }

    private func keys() async throws -> (TokenKeys, path: String) {
        let path = temporaryPath()
        return (try await TokenKeys.loadOrCreate(path: path), path)
    }

    /// Replaces one of the token's three parts.
    private func replacing(_ part: Int, of token: String, with text: String) -> String {
        var parts = token.components(separatedBy: ".")
        parts[part] = Secret.base64URL(Array(text.utf8))
        return parts.joined(separator: ".")
    }

    private func text(_ part: Int, of token: String) throws -> String {
        let bytes = try #require(Secret.decodeBase64URL(token.components(separatedBy: ".")[part]))
        return String(decoding: bytes, as: UTF8.self)
    }

    @Test func claimsSurviveTheJourney() async throws {
        let (keys, path) = try await keys()
        defer { try? FileManager.default.removeItem(atPath: path) }
        let token = try await keys.sign(Self.claims)
        #expect(try await keys.verify(token) == Self.claims)
        var system = Self.claims
        system.projectID = nil
        system.isSystem = true
        system.applicationCredentialID = "c"
        #expect(try await keys.verify(keys.sign(system)) == system)
    }

    @Test func claimsHaveKeystonesNames() async throws {
        let (keys, path) = try await keys()
        defer { try? FileManager.default.removeItem(atPath: path) }
        let token = try await keys.sign(Self.claims)
        let header = try text(0, of: token)
        #expect(header.contains(#""alg":"ES256""#) && header.contains(#""kid":"#))
        let payload = try text(1, of: token)
        for name in ["sub", "iat", "exp", "openstack_methods", "openstack_audit_ids", "openstack_project_id"] {
            #expect(payload.contains("\"\(name)\":"), "\(name)")
        }
        #expect(!payload.contains("openstack_system"))
    }

    @Test func theFileIsMadeOnceAndKeptPrivate() async throws {
        let (first, path) = try await keys()
        defer { try? FileManager.default.removeItem(atPath: path) }
        let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
        #expect(mode == 0o600)
        let token = try await first.sign(Self.claims)
        let second = try await TokenKeys.loadOrCreate(path: path)
        #expect(try await second.verify(token) == Self.claims)
        try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: path)
        await #expect(throws: TokenKeys.Failure.self) { try await TokenKeys.loadOrCreate(path: path) }
    }

    @Test func anAddedKeySignsAndTheOldOneStillVerifies() async throws {
        let (old, oldPath) = try await keys()
        let (new, newPath) = try await keys()
        defer { for path in [oldPath, newPath] { try? FileManager.default.removeItem(atPath: path) } }
        let oldPEM = try String(contentsOfFile: oldPath, encoding: .utf8)
        let newPEM = try String(contentsOfFile: newPath, encoding: .utf8)
        let both = try await TokenKeys(pem: oldPEM + newPEM)
        #expect(try await both.verify(old.sign(Self.claims)) == Self.claims)
        #expect(try await new.verify(both.sign(Self.claims)) == Self.claims)
        await #expect(throws: TokenKeys.Invalid.self) { try await old.verify(both.sign(Self.claims)) }
    }

    @Test func forgeriesAreRefused() async throws {
        let (keys, path) = try await keys()
        let (foreign, foreignPath) = try await self.keys()
        defer { for path in [path, foreignPath] { try? FileManager.default.removeItem(atPath: path) } }
        let token = try await keys.sign(Self.claims)
        let header = try text(0, of: token)
        let payload = try text(1, of: token)
        let parts = token.components(separatedBy: ".")
        let foreignToken = try await foreign.sign(Self.claims)
        let forged: [(String, String)] = [
            ("alg none", replacing(0, of: token, with: header.replacing("ES256", with: "none"))),
            (
                "alg none, no signature",
                Secret.base64URL(Array(header.replacing("ES256", with: "none").utf8)) + "." + parts[1] + "."
            ),
            ("alg HS256", replacing(0, of: token, with: header.replacing("ES256", with: "HS256"))),
            ("alg ES384", replacing(0, of: token, with: header.replacing("ES256", with: "ES384"))),
            ("no kid", replacing(0, of: token, with: #"{"alg":"ES256","typ":"JWT"}"#)),
            ("unknown kid", replacing(0, of: token, with: #"{"alg":"ES256","kid":"x"}"#)),
            ("critical extension", replacing(0, of: token, with: header.dropLast() + #","crit":["b64"]}"#)),
            ("another's key", foreignToken),
            ("another's signature", parts[0] + "." + parts[1] + "." + foreignToken.components(separatedBy: ".")[2]),
            ("another user", replacing(1, of: token, with: payload.replacing(#""sub":"u""#, with: #""sub":"v""#))),
            ("later expiry", replacing(1, of: token, with: payload.replacing("1800003600", with: "1900003600"))),
            ("no signature", parts[0] + "." + parts[1] + "."),
            ("two parts", parts[0] + "." + parts[1]),
            ("padding", token + "="),
            ("nothing", ""),
            ("dots", ".."),
            ("long", String(repeating: "a", count: 100_000)),
        ]
        for (name, forgery) in forged {
            await #expect(throws: TokenKeys.Invalid.self, "\(name)") { try await keys.verify(forgery) }
        }
        #expect(try await keys.verify(token) == Self.claims)
    }

    @Test func passwordsMatchTheirHashesOnly() {
        let salt = [UInt8](0..<16)
        let hash = PasswordHash(password: "secret", costLog2: 4, salt: salt)
        #expect(hash.encoded.hasPrefix("$scrypt$ln=4,r=8,p=1$"))
        #expect(hash.matches("secret") && !hash.matches("Secret") && !hash.matches(""))
        #expect(hash.needsRehash(costLog2: 5) && !hash.needsRehash(costLog2: 4))
        let random = PasswordHash(randomSecret: "secret")
        #expect(random.matches("secret") && !random.matches("secret ") && !random.needsRehash(costLog2: 16))
        for broken in [
            "", "$", "secret", "$scrypt$", "$scrypt$ln=60,r=8,p=1$AA$AA", "$scrypt$ln=4,r=8,p=1$*$*", "$md5$x",
        ] {
            #expect(!PasswordHash(encoded: broken).matches("secret"), "\(broken)")
        }
    }

    /// RFC 7914 section 12, the vector with N = 16384, r = 8, p = 1, cut to 32 bytes.
    @Test func scryptIsTheRFCs() throws {
        let salt = Secret.base64URL(Array("SodiumChloride".utf8))
        let bytes = try #require(Hex.decode("7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"))
        let hash = PasswordHash(encoded: "$scrypt$ln=14,r=8,p=1$\(salt)$\(Secret.base64URL(bytes))")
        #expect(hash.matches("pleaseletmein"))
    }

    /// The first made with Debian's crypt(3), the second a test vector of crypt_blowfish.
    @Test func bcryptOfKeystoneIsRead() {
        let hash = PasswordHash(encoded: "$2b$04$abcdefghijklmnopqrstuuYBxFS0XRdlHxsihEAMe9/YckNV1oBa2")
        #expect(hash.needsRehash(costLog2: 16))
        #expect(hash.matches("labsecret") && !hash.matches("labsecret2"))
        let known = PasswordHash(encoded: "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW")
        #expect(known.matches("U*U") && !known.matches("U*V"))
    }

    @Test func base64URLIsTheRFCs() {
        let vectors = [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg"), ("fooba", "Zm9vYmE")]
        for (plain, encoded) in vectors {
            #expect(Secret.base64URL(Array(plain.utf8)) == encoded)
            #expect(Secret.decodeBase64URL(encoded) == Array(plain.utf8))
        }
        #expect(Secret.base64URL([0xff, 0xef, 0xfe]) == "_-_-")
        #expect(Secret.decodeBase64URL("a") == nil && Secret.decodeBase64URL("a+/=") == nil)
    }
}
