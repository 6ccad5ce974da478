import Core
import NIOCore
import Testing

@Suite struct SecretOrderTests {
    private func secret(of order: KeyOrder) throws -> SecretID {
        guard case .secret(let id) = order.outcome else { throw OutcomeMissing() }
        return id
    }

    private struct OutcomeMissing: Error {}

    private func bytes(of id: SecretID, _ fixture: KeyFixture) async throws -> [UInt8] {
        let buffer = try await fixture.secrets.payload(of: id, as: fixture.member).buffer
        return Array(buffer.readableBytesView)
    }

    @Test func aKeyIsMadeAtOnce() async throws {
        let fixture = try await KeyFixture()
        let json = #"""
            {"type": "key", "meta": {"name": " k ", "algorithm": "AES", "bit_length": 256, "mode": "cbc",
                "expiration": "2031-06-01T12:00:00+02:00", "payload_content_type": "text/plain", "other": 1}}
            """#
        let order = try await fixture.order(json)
        let id = try secret(of: order)
        let found = try await fixture.secrets.get(id, withConsumers: false, as: fixture.member).secret
        #expect(found.name == "k")
        #expect(found.type == .symmetric)
        #expect(found.algorithm == "AES")
        #expect(found.bitLength == 256)
        #expect(found.mode == "cbc")
        #expect(found.contentType == "application/octet-stream")
        #expect(found.expiresAt == Timestamp(iso8601: "2031-06-01T10:00:00Z"))
        #expect(try await bytes(of: id, fixture).count == 32)
        #expect(order.meta.contentType == "text/plain")
        #expect(order.meta.expiresAt == found.expiresAt)
        // Two keys are two keys.
        let other = try secret(of: try await fixture.order(json))
        #expect(try await bytes(of: id, fixture) != bytes(of: other, fixture))
    }

    @Test(
        arguments: [
            ("aes", 64, nil, 8), ("aes", 128, nil, 16), ("aes", 192, "cbc", 24), ("AES", 256, "", 32),
            ("aes", 512, nil, 64), ("aes", 512, "", 64), ("aes", 512, "xts", 64), ("aes", 128, "XTS", 16),
            ("aes", 384, "xts", 48), ("aes", 256, "xts", 32), ("des", 64, nil, 8), ("hmacsha1", 128, nil, 16),
            ("HMACSHA256", 256, nil, 32), ("hmacsha384", 192, nil, 24), ("hmacsha512", 256, nil, 32),
        ] as [(String, Int, String?, Int)])
    func keysHaveTheLengthAskedFor(_ algorithm: String, _ bits: Int, _ mode: String?, _ count: Int) async throws {
        let fixture = try await KeyFixture()
        let mode = mode.map { #", "mode": "\#($0)""# } ?? ""
        let order = try await fixture.order(
            #"{"type": "key", "meta": {"algorithm": "\#(algorithm)", "bit_length": \#(bits)\#(mode)}}"#)
        #expect(try await bytes(of: try secret(of: order), fixture).count == count)
    }

    @Test(
        arguments: [
            ("key", "aes", 40, nil, "500"), ("key", "aes", 512, "cbc", "500"), ("key", "hmacsha512", 512, nil, "500"),
            ("key", "aes", 64, "xts", "500"), ("key", "aes", 192, "xts", "500"), ("key", "rsa", 2048, nil, "400"),
            ("key", "desede", 192, nil, "400"), ("key", "rc4", 128, nil, "400"), ("asymmetric", "aes", 256, nil, "400"),
            ("asymmetric", "ec", 256, nil, "400"), ("asymmetric", "dsa", 1024, nil, "400"),
            ("asymmetric", "rsa", 512, nil, "500"), ("asymmetric", "rsa", 8192, nil, "500"),
        ] as [(String, String, Int, String?, String)])
    func whatIsNotMadeIsAnOrderWithItsReason(
        _ type: String, _ algorithm: String, _ bits: Int, _ mode: String?, _ expected: String
    ) async throws {
        let fixture = try await KeyFixture()
        let mode = mode.map { #", "mode": "\#($0)""# } ?? ""
        let order = try await fixture.order(
            #"{"type": "\#(type)", "meta": {"algorithm": "\#(algorithm)", "bit_length": \#(bits)\#(mode)}}"#)
        guard case .failed(let failure) = order.outcome else {
            Issue.record("it was made")
            return
        }
        #expect(failure.status == expected)
        #expect(failure.reason.hasPrefix("Process TypeOrder "))
        #expect(try await fixture.count("secrets") == 0)
    }

    @Test func aPairIsAContainer() async throws {
        let fixture = try await KeyFixture()
        let order = try await fixture.order(
            #"{"type": "asymmetric", "meta": {"algorithm": "RSA", "bit_length": 1024, "name": "n"}}"#)
        guard case .container(let id) = order.outcome else { throw OutcomeMissing() }
        let container = try await fixture.secrets.container(id, as: fixture.member)
        #expect(container.kind == .rsa)
        #expect(container.name == "n")
        #expect(container.members.map(\.name) == ["private_key", "public_key"])
        let heads = ["-----BEGIN PRIVATE KEY-----", "-----BEGIN PUBLIC KEY-----"]
        for (member, (head, type)) in zip(container.members, zip(heads, [SecretType.private, .public])) {
            #expect(String(decoding: try await bytes(of: member.secret, fixture), as: UTF8.self).hasPrefix(head))
            let secret = try await fixture.secrets.get(member.secret, withConsumers: false, as: fixture.member).secret
            #expect(secret.type == type)
            #expect(secret.algorithm == "RSA")
            #expect(secret.bitLength == 1024)
        }
    }

    @Test func aPassphraseEncryptsThePrivateKeyAndIsNotKeptInTheOrder() async throws {
        let fixture = try await KeyFixture()
        let order = try await fixture.order(
            #"{"type": "asymmetric", "meta": {"algorithm": "rsa", "bit_length": 1024, "passphrase": "hunter2"}}"#)
        guard case .container(let id) = order.outcome else { throw OutcomeMissing() }
        let container = try await fixture.secrets.container(id, as: fixture.member)
        #expect(container.members.map(\.name) == ["private_key", "private_key_passphrase", "public_key"])
        let key = String(decoding: try await bytes(of: container.members[0].secret, fixture), as: UTF8.self)
        #expect(key.hasPrefix("-----BEGIN ENCRYPTED PRIVATE KEY-----"))
        #expect(try await bytes(of: container.members[1].secret, fixture) == Array("hunter2".utf8))
        #expect(try await fixture.count("secret_orders WHERE meta LIKE '%hunter2%'") == 0)
    }

    private static let secretSchema = "Provided object does not match schema 'Secret' within 'Order': "
    private static let orderSchema = "Provided object does not match schema 'Order': "

    @Test(arguments: [
        ("[]", orderSchema + "an array is not of type 'object'. Invalid property: 'None'"),
        (#"{"meta": {}}"#, orderSchema + "'type' is a required property. Invalid property: 'type'"),
        (#"{"type": "key"}"#, orderSchema + "'meta' is a required property. Invalid property: 'meta'"),
        (
            #"{"type": "certificate", "meta": {}}"#,
            orderSchema + "the value is not one of ['key', 'asymmetric']. Invalid property: 'type'"
        ),
        (#"{"type": 5, "meta": {}}"#, orderSchema + "a number is not of type 'string'. Invalid property: 'type'"),
        (
            #"{"type": "key", "meta": null}"#,
            orderSchema + "null is not of type 'object'. Invalid property: 'meta'"
        ),
        (
            #"{"type": "key", "meta": {"algorithm": "aes"}}"#,
            orderSchema + "'bit_length' is required field for key type order. Invalid property: 'meta'"
        ),
        (
            #"{"type": "key", "meta": {"algorithm": "", "bit_length": 128}}"#,
            orderSchema + "'algorithm' is required field for key type order. Invalid property: 'meta'"
        ),
        (
            #"{"type": "asymmetric", "meta": {"bit_length": 1024}}"#,
            orderSchema + "'algorithm' is required field for asymmetric key type order. Invalid property: 'meta'"
        ),
        (
            #"{"type": "key", "meta": {"algorithm": "aes", "bit_length": 128, "payload": "x"}}"#,
            orderSchema + "'payload' not allowed for key type order. Invalid property: 'meta'"
        ),
        (
            #"{"type": "key", "meta": {"algorithm": "aes", "bit_length": 128, "name": 5}}"#,
            secretSchema + "a number is not of type 'string', 'null'. Invalid property: 'name'"
        ),
        (
            #"{"type": "key", "meta": {"algorithm": "aes", "bit_length": 128, "expiration": "x"}}"#,
            secretSchema + "Invalid date for 'expiration'. Invalid property: 'expiration'"
        ),
        (
            #"{"type": "asymmetric", "meta": {"algorithm": "rsa", "bit_length": 1024, "passphrase": 5}}"#,
            orderSchema + "a number is not of type 'string'. Invalid property: 'meta'"
        ),
        (#"{"type": "key", "meta": {"algorithm": "aes", "bit_length": 12}}"#, "Provided field value is not supported"),
        (#"{"type": "key", "meta": {"algorithm": "ec", "bit_length": 255}}"#, "Provided field value is not supported"),
    ])
    func badOrdersAreRefused(_ json: String, _ message: String) async throws {
        let refusal = try await refused { _ = try OrderDraft(try KeyFixture.json(json)) }
        #expect(refusal?.status == 400)
        #expect(refusal?.message == message)
    }

    private let plain = #"{"type": "key", "meta": {"algorithm": "aes", "bit_length": 128}}"#

    @Test func whatWouldHaveExpiredIsNotMade() async throws {
        let fixture = try await KeyFixture()
        let json = #"""
            {"type": "key", "meta": {"algorithm": "aes", "bit_length": 128, "expiration": "2001-01-01"}}
            """#
        let refusal = try await refused { _ = try await fixture.order(json) }
        #expect(
            refusal?.message == Self.secretSchema
                + "'expiration' is before current time. Invalid property: 'expiration'")
    }

    @Test func anOrderGoesAndItsKeyStays() async throws {
        let fixture = try await KeyFixture()
        let order = try await fixture.order(plain)
        try await fixture.secrets.deleteOrder(order.id, as: fixture.member)
        #expect(await status { try await fixture.secrets.deleteOrder(order.id, as: fixture.member) } == 404)
        _ = try await fixture.secrets.get(try secret(of: order), withConsumers: false, as: fixture.member)
    }

    @Test func othersDoNotSeeAnOrder() async throws {
        let fixture = try await KeyFixture()
        let order = try await fixture.order(plain)
        for (caller, expected) in [
            (fixture.admin, 404), (fixture.caller(roles: ["reader"]), 403), (fixture.caller(user: "u2"), 200),
        ] {
            #expect(await status { _ = try await fixture.secrets.order(order.id, as: caller) } == expected)
        }
        #expect(await status { _ = try await fixture.secrets.order("nothing", as: fixture.member) } == 404)
        let reader = fixture.caller(roles: ["reader"])
        #expect(await status { _ = try await fixture.secrets.orders(KeyPageRequest(), as: reader) } == 403)
        #expect(await status { _ = try await fixture.order(plain, as: reader) } == 403)
        #expect(try await fixture.secrets.orders(KeyPageRequest(), as: fixture.member).entries == [order])
        #expect(try await fixture.secrets.orders(KeyPageRequest(), as: fixture.admin).total == 0)
    }

    @Test func quotasOfWhatIsMadeHold() async throws {
        let fixture = try await KeyFixture()
        let pair = #"{"type": "asymmetric", "meta": {"algorithm": "rsa", "bit_length": 1024}}"#
        try await fixture.setQuota("secrets", 1)
        #expect(await status { _ = try await fixture.order(pair) } == 403)
        try await fixture.setQuota("secrets", 2)
        try await fixture.setQuota("containers", 0)
        let refusal = try await refused { _ = try await fixture.order(pair) }
        #expect(refusal?.status == 403)
        #expect(
            refusal?.message
                == "Container creation issue seen - Creation not allowed because a quota has been reached.")
        try await fixture.setQuota("containers", 1)
        _ = try await fixture.order(pair)
        #expect(await status { _ = try await fixture.order(plain) } == 403)
        #expect(try await fixture.count("secrets") == 2)
    }

    @Test func ofTwoAtTheLastPlaceOneIsPlaced() async throws {
        let fixture = try await KeyFixture()
        try await fixture.setQuota("orders", 1)
        async let first = status { _ = try await fixture.order(plain) }
        async let second = status { _ = try await fixture.order(plain) }
        #expect(await [first, second].sorted() == [200, 403])
        #expect(try await fixture.count("secret_orders") == 1)
        #expect(try await fixture.count("secrets") == 1)
    }
}
