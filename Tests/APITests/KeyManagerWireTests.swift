import Core
import NIOHTTP1
import Testing

/// What the Key Manager API answers beside secrets and their payloads, as Barbican does.
@Suite(.server) struct KeyManagerWireTests {
    private let server = TestServer.current
    static let root = "/key-manager/v1"

    private func ref(_ answer: Answer, _ name: String, _ status: Int = 201) throws -> String {
        #expect(answer.status == status, "\(answer.text)")
        let ref = try #require(answer.json[name]?.stringValue)
        #expect(answer.header("Location") == ref)
        return ref
    }

    private func secret(as token: String) async throws -> String {
        try ref(try await server.call(.POST, Self.root + "/secrets/", as: token, json: "{}"), "secret_ref")
    }

    private func matches(_ text: String?) -> Bool { text?.wholeMatch(of: /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d/) != nil }

    @Test func accessListsAreReplacedMergedAndDeleted() async throws {
        let account = try await server.account()
        let secret = try await secret(as: account.token)
        let made = try await server.call(.POST, Self.root + "/containers", as: account.token, json: #"{"type": "rsa"}"#)
        for holder in [secret, try ref(made, "container_ref")] {
            let acl = holder + "/acl"
            let standard = try await server.call(.GET, acl, as: account.token)
            #expect(standard.text == #"{"read":{"project-access":true}}"#)
            let put = try await server.call(
                .PUT, acl, as: account.token, json: #"{"read": {"users": ["b", "a"], "project-access": false}}"#)
            #expect(put.status == 200)
            #expect(put.text == #"{"acl_ref":"\#(acl)"}"#)
            let patch = try await server.call(
                .PATCH, acl + "/", as: account.token, json: #"{"read": {"project-access": true}}"#)
            #expect(patch.text == put.text)
            let shown = try await server.call(.GET, acl, as: account.token).json["read"]
            #expect(shown?["project-access"] == true)
            #expect(shown?["users"] == ["a", "b"])
            #expect(matches(shown?["created"]?.stringValue) && matches(shown?["updated"]?.stringValue))
            for _ in 0..<2 {
                let deleted = try await server.call(.DELETE, acl, as: account.token)
                #expect(deleted.status == 200)
                #expect(deleted.text == "null")
            }
            #expect(try await server.call(.GET, acl, as: account.token).text == standard.text)
        }
    }

    @Test func consumersAreRegisteredListedAndRemoved() async throws {
        let account = try await server.account()
        let secret = try await secret(as: account.token)
        let consumers = secret + "/consumers"
        for number in 0..<3 {
            let body = #"{"service": "volume", "resource_type": "volume", "resource_id": "\#(number)", "other": 1}"#
            for _ in 0..<2 {
                let answer = try await server.call(.POST, consumers, as: account.token, json: body)
                #expect(answer.status == 200)
                #expect(answer.header("Location") == consumers)
                #expect(answer.json["secret_ref"]?.stringValue == secret)
                #expect(answer.json["consumers"]?.arrayValue?.count == number + 1)
            }
        }
        let page = try await server.call(.GET, consumers + "?offset=1&limit=1&x=y%20z", as: account.token).json
        let entry = try #require(page["consumers"]?.arrayValue?.first)
        #expect(
            Set(try #require(entry.objectValue).keys)
                == ["created", "updated", "status", "service", "resource_type", "resource_id"])
        #expect(entry["resource_id"] == "1")
        #expect(page["previous"]?.stringValue == consumers + "?limit=1&offset=0&x=y%20z")
        #expect(page["next"]?.stringValue == consumers + "?limit=1&offset=2&x=y%20z")
        #expect(page["total"] == 3)
        let past = try await server.call(.GET, consumers + "?offset=9", as: account.token)
        #expect(past.text == #"{"consumers":[],"total":3}"#)
        // A key that is needed is kept at every microversion.
        #expect(try await server.call(.DELETE, secret, as: account.token).status == 400)
        for number in 0..<3 {
            let body = #"{"service": "volume", "resource_type": "volume", "resource_id": "\#(number)"}"#
            let answer = try await server.call(.DELETE, consumers, as: account.token, json: body)
            #expect(answer.status == 200)
            #expect(answer.json["consumers"]?.arrayValue?.count == 2 - number)
            let again = try await server.call(.DELETE, consumers, as: account.token, json: body)
            #expect(again.status == 404)
            #expect(again.json["description"] == "Consumer not found.")
        }
        #expect(try await server.call(.DELETE, secret, as: account.token).status == 204)
    }

    @Test func anImageIsAConsumerThatOnlyItselfRemoves() async throws {
        let account = try await server.account()
        let secret = try await secret(as: account.token)
        let id = String(secret.suffix(36))
        let image = try await server.call(
            .POST, "/image/v2/images", as: account.token, json: #"{"cinder_encryption_key_id": "\#(id)"}"#)
        let imageID = try #require(image.json["id"]?.stringValue)
        let body = #"{"service": "image", "resource_type": "image", "resource_id": "\#(imageID)"}"#
        let listed = try await server.call(.GET, secret + "/consumers", as: account.token).json
        #expect(listed["consumers"]?.arrayValue?.first?["resource_id"]?.stringValue == imageID)
        let refused = try await server.call(.DELETE, secret + "/consumers", as: account.token, json: body)
        #expect(refused.status == 403)
        #expect(refused.json["title"] == "Forbidden")
        #expect(try await server.call(.DELETE, secret, as: account.token).status == 400)
        let patch = #"[{"op": "remove", "path": "/cinder_encryption_key_id"}]"#
        let patched = try await server.call(
            .PATCH, "/image/v2/images/" + imageID, as: account.token,
            headers: [("Content-Type", "application/openstack-images-v2.1-json-patch")], json: patch)
        #expect(patched.status == 200)
        #expect(try await server.call(.DELETE, secret, as: account.token).status == 204)
    }

    @Test func aContainerIsMadeShownListedAndDeleted() async throws {
        let account = try await server.account()
        let (a, b) = (try await secret(as: account.token), try await secret(as: account.token))
        let body = #"""
            {"name": " pair ", "type": "rsa", "secret_refs": [{"name": "private_key", "secret_ref": "\#(a)"},
                {"name": "public_key", "secret_ref": "\#(b)/"}], "other": 1}
            """#
        let container = try ref(
            try await server.call(.POST, Self.root + "/containers/", as: account.token, json: body), "container_ref")
        let shown = try await server.call(.GET, container, as: account.token)
        let created = try #require(shown.json["created"]?.stringValue)
        #expect(matches(created))
        #expect(
            shown.text
                == #"{"created":"\#(created)","updated":"\#(created)","status":"ACTIVE","name":"pair","type":"rsa","creator_id":"\#(account.userID)","secret_refs":[{"name":"private_key","secret_ref":"\#(a)"},{"name":"public_key","secret_ref":"\#(b)"}],"consumers":[],"container_ref":"\#(container)"}"#
        )
        let list = try await server.call(.GET, Self.root + "/containers?name=pair&type=rsa", as: account.token).json
        #expect(list["containers"] == .array([shown.json]))
        #expect(list["total"] == 1)
        #expect(list["next"] == nil)
        let consumer = #"{"name": "n", "URL": "http://x"}"#
        let registered = try await server.call(.POST, container + "/consumers", as: account.token, json: consumer)
        #expect(registered.status == 200)
        #expect(registered.json["consumers"] == [["name": "n", "URL": "http://x"]])
        let consumers = try await server.call(.GET, container + "/consumers", as: account.token).json
        #expect(consumers["consumers"]?.arrayValue?.first?["URL"] == "http://x")
        #expect(consumers["total"] == 1)
        let removed = try await server.call(.DELETE, container + "/consumers", as: account.token, json: consumer)
        #expect(removed.json["consumers"] == [])
        #expect(try await server.call(.DELETE, a, as: account.token).status == 204)
        #expect(try await server.call(.GET, container, as: account.token).json["secret_refs"]?.arrayValue?.count == 1)
        #expect(try await server.call(.DELETE, container, as: account.token).status == 204)
        let gone = try await server.call(.GET, container, as: account.token)
        #expect(gone.json["description"] == "Secrets container not found.")
        #expect(try await server.call(.GET, b, as: account.token).status == 200)
    }

    @Test func aGenericContainerChanges() async throws {
        let account = try await server.account()
        let secret = try await secret(as: account.token)
        let container = try ref(
            try await server.call(.POST, Self.root + "/containers", as: account.token, json: #"{"type": "generic"}"#),
            "container_ref")
        let body = #"{"secret_ref": "\#(secret)"}"#
        let added = try await server.call(.POST, container + "/secrets", as: account.token, json: body)
        #expect(try ref(added, "container_ref") == container)
        #expect(try await server.call(.POST, container + "/secrets", as: account.token, json: body).status == 409)
        let shown = try await server.call(.GET, container, as: account.token).json
        #expect(shown["secret_refs"] == [["name": .null, "secret_ref": .string(secret)]])
        #expect(try await server.call(.DELETE, container + "/secrets", as: account.token, json: body).status == 204)
        #expect(try await server.call(.DELETE, container + "/secrets", as: account.token, json: body).status == 404)
    }

    @Test func anOrderedKeyIsThereAtOnce() async throws {
        let account = try await server.account()
        let body = #"{"type": "key", "meta": {"algorithm": "aes", "bit_length": 256, "mode": "xts", "other": 1}}"#
        let placed = try await server.call(.POST, Self.root + "/orders/", as: account.token, json: body)
        let order = try ref(placed, "order_ref", 202)
        let shown = try await server.call(.GET, order, as: account.token)
        let secret = try #require(shown.json["secret_ref"]?.stringValue)
        let created = try #require(shown.json["created"]?.stringValue)
        #expect(
            shown.text
                == #"{"created":"\#(created)","updated":"\#(created)","status":"ACTIVE","type":"key","meta":{"algorithm":"aes","bit_length":256,"mode":"xts","name":null,"expiration":null},"sub_status":"Unknown","sub_status_message":"Unknown","creator_id":"\#(account.userID)","secret_ref":"\#(secret)","order_ref":"\#(order)"}"#
        )
        let payload = try await server.call(
            .GET, secret + "/payload", as: account.token, headers: [("Accept", "application/octet-stream")])
        #expect(payload.bytes.count == 32)
        let list = try await server.call(.GET, Self.root + "/orders", as: account.token).json
        #expect(list["orders"] == .array([shown.json]))
        #expect(try await server.call(.DELETE, order, as: account.token).status == 204)
        #expect(try await server.call(.GET, order, as: account.token).json["description"] == "Order not found.")
        #expect(try await server.call(.GET, secret, as: account.token).status == 200)
    }

    @Test func anOrderedPairIsAContainer() async throws {
        let account = try await server.account()
        let body = #"""
            {"type": "asymmetric", "meta": {"algorithm": "rsa", "bit_length": 2048, "passphrase": "open sesame",
                "expiration": "2999-01-01"}}
            """#
        let placed = try await server.call(.POST, Self.root + "/orders", as: account.token, json: body)
        let shown = try await server.call(.GET, try ref(placed, "order_ref", 202), as: account.token).json
        #expect(shown["secret_ref"] == nil)
        #expect(shown["meta"]?["expiration"] == "2999-01-01T00:00:00")
        #expect(shown["meta"]?["passphrase"] == nil)
        let container = try #require(shown["container_ref"]?.stringValue)
        let members = try await server.call(.GET, container, as: account.token).json["secret_refs"]?.arrayValue ?? []
        #expect(
            members.map { $0["name"]?.stringValue } == ["private_key", "private_key_passphrase", "public_key"])
        let key = try await server.call(
            .GET, (members[0]["secret_ref"]?.stringValue ?? "") + "/payload", as: account.token,
            headers: [("Accept", "application/octet-stream")])
        #expect(key.text.hasPrefix("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"))
        #expect(!server.log.all.contains("open sesame"))
    }

    @Test func whatIsNotMadeIsAnOrderThatFailed() async throws {
        let account = try await server.account()
        let placed = try await server.call(
            .POST, Self.root + "/orders", as: account.token,
            json: #"{"type": "key", "meta": {"algorithm": "aes", "bit_length": 40}}"#)
        let shown = try await server.call(.GET, try ref(placed, "order_ref", 202), as: account.token).json
        #expect(shown["status"] == "ERROR")
        #expect(shown["error_status_code"] == "500")
        #expect(
            shown["error_reason"] == "Process TypeOrder failure seen - please contact site administrator.")
        #expect(shown["sub_status"] == nil)
    }

    @Test func quotasAreSetAndHold() async throws {
        let account = try await server.account()
        let own = try await server.call(.GET, Self.root + "/quotas", as: account.token)
        #expect(
            own.text == #"{"quotas":{"secrets":-1,"orders":-1,"containers":-1,"consumers":-1,"cas":-1}}"#)
        let path = Self.root + "/project-quotas/" + account.projectID
        #expect(try await server.call(.GET, path, as: server.admin).status == 404)
        let set = try await server.call(
            .PUT, path, as: server.admin, json: #"{"project_quotas": {"containers": 1, "cas": 3}}"#)
        #expect(set.status == 204)
        let quotas =
            #"{"project_quotas":{"secrets":null,"orders":null,"containers":1,"consumers":null,"cas":null}"#
        #expect(try await server.call(.GET, path, as: server.admin).text == quotas + "}")
        let list = try await server.call(.GET, Self.root + "/project-quotas?limit=100", as: server.admin)
        #expect(list.text.contains(#"{"project_id":"\#(account.projectID)","# + quotas.dropFirst()))
        let json = #"{"type": "generic"}"#
        #expect(try await server.call(.POST, Self.root + "/containers", as: account.token, json: json).status == 201)
        let refused = try await server.call(.POST, Self.root + "/containers", as: account.token, json: json)
        #expect(refused.status == 403)
        #expect(
            refused.json["description"]
                == "Container creation issue seen - Creation not allowed because a quota has been reached.")
        #expect(try await server.call(.DELETE, path, as: server.admin).status == 204)
        #expect(try await server.call(.DELETE, path, as: server.admin).status == 404)
    }

    @Test func thereIsOneStoreAndNoTransportKey() async throws {
        for path in ["", "/global-default", "/preferred", "/x", "/x/preferred"] {
            let answer = try await server.call(.GET, Self.root + "/secret-stores" + path, as: server.demo)
            #expect(answer.status == 404)
            #expect(
                answer.json["description"]
                    == "Not Found. Multiple backends support is not enabled in service configuration.")
        }
        let keys = try await server.call(.GET, Self.root + "/transport_keys", as: server.demo)
        #expect(keys.text == #"{"transport_keys":[],"total":0}"#)
    }

    @Test func aDeletedProjectTakesItsKeysWithIt() async throws {
        let account = try await server.account()
        let secret = try await secret(as: account.token)
        let deleted = try await server.call(
            .DELETE, "/identity/v3/projects/" + account.projectID, as: server.admin)
        #expect(deleted.status == 204)
        #expect(try await server.call(.GET, secret, as: server.admin).status == 404)
    }
}
