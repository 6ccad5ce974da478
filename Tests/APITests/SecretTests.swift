import Core
import Foundation
import NIOHTTP1
import Testing

@Suite(.server) struct SecretTests {
    private let server = TestServer.current
    static let path = "/key-manager/v1/secrets"

    private func version(_ text: String) -> [(String, String)] { [("OpenStack-API-Version", "key-manager " + text)] }

    private func store(_ json: String, as token: String? = nil) async throws -> String {
        let answer = try await server.call(.POST, Self.path + "/", as: token ?? server.demo, json: json)
        #expect(answer.status == 201, "\(answer.text)")
        return try #require(answer.json["secret_ref"]?.stringValue)
    }

    private static let text = #"{"name": "n", "payload": "open sesame", "payload_content_type": "text/plain"}"#

    private func storeBytes(_ bytes: [UInt8], type: String = "application/octet-stream") async throws -> String {
        try await store(
            #"{"payload": "\#(Data(bytes).base64EncodedString())", "payload_content_type": "\#(type)", "payload_content_encoding": "base64"}"#
        )
    }

    @Test func discoveryHasTwoForms() async throws {
        let old = try await server.call(.GET, "/key-manager/")
        #expect(old.status == 300)
        let host = server.url + "/key-manager/v1/"
        #expect(
            old.text
                == #"{"versions":{"values":[{"id":"v1","status":"stable","links":[{"rel":"self","href":"\#(host)"},{"rel":"describedby","type":"text/html","href":"https://docs.openstack.org/"}],"media-types":[{"base":"application/json","type":"application/vnd.openstack.key-manager-v1+json"}]}]}}"#
        )
        #expect(old.header("OpenStack-API-Version") == "key-manager 1.0")
        #expect(old.header("Vary") == "OpenStack-API-Version")
        for asked in ["1.1", "1.2", "latest"] {
            let new = try await server.call(.GET, "/key-manager", headers: version(asked))
            #expect(new.status == 300)
            #expect(
                new.text
                    == #"{"versions":[{"id":"v1","status":"CURRENT","min_version":"1.0","max_version":"1.2","links":[{"rel":"self","href":"\#(host)"},{"rel":"describedby","type":"text/html","href":"https://docs.openstack.org/"}]}]}"#
            )
            #expect(new.header("OpenStack-API-Version") == "key-manager " + (asked == "latest" ? "1.2" : asked))
        }
        #expect(try await server.call(.GET, "/key-manager/v1").status == 401)
        let one = try await server.call(.GET, "/key-manager/v1/", as: server.demo, headers: version("1.1"))
        #expect(one.status == 200)
        #expect(one.json["version"]?["max_version"]?.stringValue == "1.2")
        let zero = try await server.call(.GET, "/key-manager/v1", as: server.demo)
        #expect(zero.json["version"]?["status"]?.stringValue == "stable")
    }

    @Test(arguments: [
        ("key-manager", "1.0"), ("", "1.0"), ("compute 2.1", "1.0"), ("compute 2.1, key-manager 1.2", "1.2"),
        ("Key-Manager   1.1", "1.1"), ("key-manager 1.1, key-manager 1.2", "1.2"),
    ])
    func microversionsAreNamed(_ header: String, _ expected: String) async throws {
        let answer = try await server.call(
            .GET, "/key-manager/", headers: [("OpenStack-API-Version", header)])
        #expect(answer.status == 300)
        #expect(answer.header("OpenStack-API-Version") == "key-manager " + expected)
    }

    @Test func theCatalogueHasIt() async throws {
        let answer = try await server.call(.GET, "/identity/v3/auth/catalog", as: server.demo)
        let service = try #require(
            answer.json["catalog"]?.arrayValue?.first { $0["type"]?.stringValue == "key-manager" })
        #expect(service["name"]?.stringValue == "barbican")
        #expect(service["endpoints"]?.arrayValue?.first?["url"]?.stringValue == server.url + "/key-manager")
    }

    @Test func aSecretIsStoredShownAndDeleted() async throws {
        let created = try await server.call(.POST, Self.path, as: server.demo, json: Self.text)
        #expect(created.status == 201)
        let ref = try #require(created.json["secret_ref"]?.stringValue)
        #expect(created.header("Location") == ref)
        #expect(created.header("Content-Type") == "application/json")
        let id = try #require(ref.split(separator: "/").last.map(String.init))
        #expect(ref == server.url + Self.path + "/" + id)
        #expect(CanonicalUUID.isVersion4(id))

        let shown = try await server.call(.GET, ref, as: server.demo, headers: [("Accept", "application/json")])
        #expect(shown.status == 200)
        let json = shown.json
        let created_ = try #require(json["created"]?.stringValue)
        #expect(created_.wholeMatch(of: /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d/) != nil)
        #expect(
            shown.text
                == #"{"created":"\#(created_)","updated":"\#(created_)","status":"ACTIVE","name":"n","secret_type":"opaque","expiration":null,"algorithm":null,"bit_length":null,"mode":null,"creator_id":"\#(json["creator_id"]?.stringValue ?? "")","content_types":{"default":"text/plain"},"secret_ref":"\#(ref)"}"#
        )
        let newer = try await server.call(.GET, ref, as: server.demo, headers: version("1.1"))
        #expect(newer.json["consumers"] == [])
        let deleted = try await server.call(.DELETE, ref, as: server.demo)
        #expect(deleted.status == 204)
        #expect(deleted.header("Content-Type") == nil)
        #expect(try await server.call(.DELETE, ref, as: server.demo).status == 404)
        #expect(try await server.call(.GET, ref + "/payload", as: server.demo).status == 404)
    }

    @Test func payloadsComeBackByteForByte() async throws {
        var cases: [[UInt8]] = [[0], [10], [0xff, 0xfe, 0], Array("\r\n x \0".utf8), (0...255).map { UInt8($0) }]
        cases.append([UInt8](repeating: 0xa5, count: 15_000))
        for bytes in cases {
            for type in ["application/octet-stream", "application/pkcs8"] {
                let ref = try await storeBytes(bytes, type: type)
                let answer = try await server.call(
                    .GET, ref + "/payload", as: server.demo, headers: [("Accept", "*/*")])
                #expect(answer.bytes == bytes)
                #expect(answer.header("Content-Type") == type)
                #expect(answer.header("Content-Length") == "\(bytes.count)")
                #expect(answer.header("Cache-Control") == "no-store")
            }
            let later = try await store("{}")
            let put = try await server.call(
                .PUT, later, as: server.demo, headers: [("Content-Type", "application/octet-stream")], body: bytes)
            #expect(put.status == 204, "\(put.text)")
            #expect(try await server.call(.GET, later + "/payload", as: server.demo).bytes == bytes)
            let encoded = try await store("{}")
            let base64 = try await server.call(
                .PUT, encoded, as: server.demo,
                headers: [("Content-Type", "application/octet-stream"), ("Content-Encoding", "base64")],
                body: Array(Data(bytes).base64EncodedString().utf8))
            #expect(base64.status == 204, "\(base64.text)")
            #expect(try await server.call(.GET, encoded + "/payload", as: server.demo).bytes == bytes)
        }
        let full = [UInt8](repeating: 1, count: 20_000)
        let ref = try await store("{}")
        let put = try await server.call(
            .PUT, ref, as: server.demo, headers: [("Content-Type", "application/octet-stream")], body: full)
        #expect(put.status == 204)
        #expect(try await server.call(.GET, ref + "/payload", as: server.demo).bytes == full)
    }

    /// What is stored (a text, bytes that happen to be text, other bytes), `Accept`, and the answer's type.
    @Test(arguments: negotiations)
    func payloadsAreNegotiated(_ stored: String, _ accept: String?, _ type: String?) async throws {
        let ref =
            switch stored {
            case "text": try await store(Self.text)
            case "ascii": try await storeBytes(Array("open sesame".utf8))
            case "pkcs8": try await storeBytes([0xff, 1], type: "application/pkcs8")
            default: try await storeBytes([0xff, 0])
            }
        let headers = accept.map { [("Accept", $0)] } ?? []
        let answer = try await server.call(.GET, ref + "/payload", as: server.demo, headers: headers)
        #expect(answer.status == (type == nil ? 406 : 200))
        #expect(answer.header("Content-Type") == type ?? "application/json")
        if type == nil { #expect(answer.json["title"] == "Not Acceptable") }
    }

    static let negotiations: [(String, String?, String?)] = [
        ("text", nil, "application/octet-stream"), ("text", "", "application/octet-stream"),
        ("text", "*/*", "text/plain; charset=UTF-8"), ("text", "text/plain", "text/plain; charset=UTF-8"),
        ("text", "Text/Plain; charset=UTF-8", "text/plain; charset=utf-8"),
        ("text", "text/plain; charset=latin-1", nil), ("text", "text/*", "text/plain; charset=UTF-8"),
        ("text", "application/octet-stream", "application/octet-stream"),
        ("text", "application/pkcs8", "application/pkcs8"),
        ("text", "text/html, text/plain;q=0.1", "text/plain; charset=UTF-8"),
        ("text", "text/plain;q=0.1, application/octet-stream;q=0.2", "application/octet-stream"),
        ("text", "*/*;q=0.5, text/plain;q=0", "application/octet-stream"), ("text", "*/*;q=0", nil),
        ("text", "application/json", nil), ("text", "text/html", nil), ("text", "bad", nil),
        ("text", "text/plain;q=2", nil),
        ("ascii", "text/plain", "text/plain; charset=UTF-8"), ("ascii", "*/*", "application/octet-stream"),
        ("bytes", "text/plain", nil), ("bytes", "*/*", "application/octet-stream"),
        ("bytes", "text/plain, */*;q=0.1", "application/octet-stream"), ("bytes", "text/plain, text/html", nil),
        ("pkcs8", "*/*", "application/pkcs8"), ("pkcs8", nil, "application/octet-stream"),
    ]

    @Test(arguments: [
        ("application/json", true), ("*/*", true), ("application/*", true), ("application/json, text/plain", true),
        ("text/plain", false), ("application/octet-stream", false), ("text/plain, application/json;q=0.5", false),
    ])
    func theDeprecatedFormReturnsThePayload(_ accept: String, _ isMetadata: Bool) async throws {
        let ref = try await store(Self.text)
        let answer = try await server.call(.GET, ref, as: server.demo, headers: [("Accept", accept)])
        #expect(answer.status == 200)
        #expect((answer.text == "open sesame") == !isMetadata)
        #expect((answer.json["status"] == "ACTIVE") == isMetadata)
        // It needs the right to decrypt.
        let elsewhere = try await server.call(.GET, ref, as: server.admin, headers: [("Accept", accept)])
        #expect(elsewhere.status == (isMetadata ? 200 : 403))
    }

    @Test func listsArePagedAndTheirLinksKeepTheFilters() async throws {
        let owner = try await server.account()
        for index in 0..<5 { _ = try await store(#"{"name": "key \#(index)", "bit_length": 128}"#, as: owner.token) }
        _ = try await store(#"{"name": "other"}"#, as: owner.token)
        func get(_ query: String) async throws -> Answer {
            try await server.call(.GET, query.hasPrefix("http") ? query : Self.path + query, as: owner.token)
        }
        let first = try await get("?name=key%25&limit=2&x=%C3%A4&created=gt:2020-01-01&sort=name:desc")
        #expect(first.status == 200, "\(first.text)")
        let names = { (answer: Answer) in answer.json["secrets"]?.arrayValue?.compactMap { $0["name"]?.stringValue } }
        #expect(names(first) == ["key 4", "key 3"])
        #expect(first.json["total"] == 5)
        #expect(first.json["previous"] == nil)
        let kept = "&name=key%25&x=%C3%A4&created=gt%3A2020-01-01&sort=name%3Adesc"
        let base = server.url + Self.path
        #expect(first.json["next"]?.stringValue == base + "?limit=2&offset=2" + kept)
        let second = try await get(first.json["next"]?.stringValue ?? "")
        #expect(names(second) == ["key 2", "key 1"])
        #expect(second.json["previous"]?.stringValue == base + "?limit=2&offset=0" + kept)
        let third = try await get(second.json["next"]?.stringValue ?? "")
        #expect(names(third) == ["key 0"])
        #expect(third.json["next"] == nil)
        #expect(try await get("?offset=9").text == #"{"secrets":[],"total":6}"#)
        #expect(names(try await get("?limit=0")) == ["key 0"])
        #expect(names(try await get("?limit=abc&offset=-3&bits=abc&secret_type=&sort="))?.count == 6)
        #expect(names(try await get("?bits=128&limit=99999999999999999999"))?.count == 5)
        #expect(names(try await get("?offset=99999999999999999999")) == [])
        #expect(names(try await get("?secret_type=symmetric")) == [])
        #expect(try await get("/").status == 200)
        let consumers = try await server.call(.GET, Self.path, as: owner.token, headers: version("1.1"))
        #expect(consumers.json["secrets"]?.arrayValue?.allSatisfy { $0["consumers"] == [] } == true)
        #expect(try await get("").json["secrets"]?.arrayValue?.allSatisfy { $0["consumers"] == nil } == true)
    }

    @Test func metadataIsKeptBesideTheSecret() async throws {
        let ref = try await store("{}") + "/metadata"
        #expect(try await server.call(.GET, ref, as: server.demo).text == #"{"metadata":{}}"#)
        let put = try await server.call(.PUT, ref, as: server.demo, json: #"{"metadata": {"Geo": "x", "b": "ü"}}"#)
        #expect(put.status == 201)
        #expect(put.text == #"{"metadata_ref":"\#(ref)"}"#)
        #expect(try await server.call(.GET, ref, as: server.demo).text == #"{"metadata":{"b":"ü","geo":"x"}}"#)
        let post = try await server.call(.POST, ref + "/", as: server.demo, json: #"{"key": "Third", "value": "Z"}"#)
        #expect(post.status == 201)
        #expect(post.text == #"{"key":"third","value":"Z"}"#)
        #expect(post.header("Location") == ref + "/third")
        let again = try await server.call(.POST, ref, as: server.demo, json: #"{"key": "THIRD", "value": "Z"}"#)
        #expect(again.status == 409)
        let set = try await server.call(.PUT, ref + "/third", as: server.demo, json: #"{"key": "third", "value": "3"}"#)
        #expect(set.status == 200)
        #expect(try await server.call(.GET, ref + "/third", as: server.demo).text == #"{"key":"third","value":"3"}"#)
        #expect(try await server.call(.DELETE, ref + "/third", as: server.demo).status == 204)
        #expect(try await server.call(.DELETE, ref + "/third", as: server.demo).status == 204)
        #expect(try await server.call(.GET, ref + "/third", as: server.demo).status == 404)
    }

    @Test func forceCountsFrom12AndIsStrict() async throws {
        for value in ["true", "YES", "1", " on", "false", "0", "N"] {
            let ref = try await store("{}")
            let query = "?force=" + value.replacingOccurrences(of: " ", with: "%20")
            #expect(try await server.call(.DELETE, ref + query, as: server.demo, headers: version("1.2")).status == 204)
        }
        for value in ["maybe", "", "2", "tru"] {
            let ref = try await store("{}")
            let answer = try await server.call(
                .DELETE, ref + "?force=" + value, as: server.demo, headers: version("1.2"))
            #expect(answer.status == 400)
            #expect(answer.json["description"] == "URI provided invalid query string parameters.")
            #expect(
                try await server.call(.DELETE, ref + "?force=" + value, as: server.demo, headers: version("1.1")).status
                    == 204)
        }
    }

    /// An image that names the key needs it: no microversion deletes it but by force.
    @Test func aKeyThatAnImageNeedsStays() async throws {
        let ref = try await store(#"{"secret_type": "symmetric"}"#)
        let id = ref.suffix(36)
        let image = try await server.call(
            .POST, "/image/v2/images", as: server.demo, json: #"{"cinder_encryption_key_id": "\#(id)"}"#)
        #expect(image.status == 201)
        let imageID = image.json["id"]?.stringValue ?? ""
        let shown = try await server.call(.GET, ref, as: server.demo, headers: version("1.1"))
        #expect(
            shown.json["consumers"] == [
                ["service": "image", "resource_type": "image", "resource_id": .string(imageID)]
            ])
        for asked in ["1.0", "1.1", "1.2"] {
            for query in ["", "?force=false"] + (asked == "1.2" ? [] : ["?force=true"]) {
                let answer = try await server.call(.DELETE, ref + query, as: server.demo, headers: version(asked))
                #expect(answer.status == 400)
                #expect(answer.json["description"]?.stringValue?.contains("has consumers.") == true)
            }
        }
        #expect(
            try await server.call(.DELETE, ref + "?force=1", as: server.demo, headers: version("1.2")).status == 204)
        #expect(try await server.call(.GET, ref, as: server.demo).status == 404)
    }

    @Test func nothingOfASecretIsLogged() async throws {
        let word = "w" + String(UInt64.random(in: 0...UInt64.max), radix: 36)
        let ref = try await store(
            #"{"name": "\#(word)", "algorithm": "\#(word)", "payload": "\#(word)", "payload_content_type": "text/plain"}"#
        )
        _ = try await server.call(.GET, ref + "/payload", as: server.demo)
        _ = try await server.call(.PUT, ref + "/metadata", as: server.demo, json: #"{"metadata": {"a": "\#(word)"}}"#)
        for json in [
            #"{"payload": "\#(word)"}"#, #"{"payload": "\#(word)", "#, #"{"payload": "\#(word)\q"}"#,
            #"{"expiration": "\#(word)"}"#, #"{"secret_type": "\#(word)"}"#, #"{"name": ["\#(word)"]}"#,
            #"["\#(word)"]"#,
            #"{"payload_content_type": "\#(word)"}"#,
        ] {
            let answer = try await server.call(.POST, Self.path, as: server.demo, json: json)
            #expect(answer.status == 400)
            #expect(!answer.text.contains(word), "\(json)")
        }
        let empty = try await store("{}")
        let put = try await server.call(
            .PUT, empty, as: server.demo,
            headers: [("Content-Type", "application/octet-stream"), ("Content-Encoding", word)],
            body: Array(word.utf8))
        #expect(put.status == 400)
        _ = try await server.call(.GET, Self.path + "?name=" + word, as: server.demo)
        #expect(server.log.all.contains("/key-manager/v1/secrets"))
        #expect(!server.log.all.contains(word))
    }
}
