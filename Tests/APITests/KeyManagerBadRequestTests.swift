import Core
import NIOHTTP1
import Testing

/// Wrong requests beside secrets and their payloads: each gets its status and its words in an envelope that
/// clients can read, and changes nothing.
@Suite(.server) struct KeyManagerBadRequestTests {
    private struct Case: Sendable {
        let request: BadRequest
        /// What the description says, or a part of it.
        let text: String
    }

    private static func bad(
        _ method: String, _ path: String, _ status: Int, _ text: String, _ json: String? = nil,
        token: BadRequest.Token = .demo
    ) -> Case {
        let name = json ?? ""
        guard let json else {
            return Case(request: BadRequest(name, method, "/v1" + path, status, token: token), text: text)
        }
        return Case(request: BadRequest(name, method, "/v1" + path, status, json: json, token: token), text: text)
    }

    private static func forbidden(
        _ method: String, _ path: String, _ what: String, _ json: String? = nil, token: BadRequest.Token = .other
    ) -> Case {
        bad(method, path, 403, "\(what) attempt not allowed - please review", json, token: token)
    }

    private static func mismatch(_ method: String, _ path: String, _ schema: String, _ json: String) -> Case {
        bad(method, path, 400, "Provided object does not match schema '\(schema)", json)
    }

    private static let consumer = #"{"service": "a", "resource_type": "b", "resource_id": "c"}"#
    private static let use = #"{"name": "n", "URL": "u"}"#

    /// Nobody gets so far as a body's mistakes without these.
    private static let bodies: [Case] = {
        var cases: [Case] = []
        let places: [(String, String)] = [
            ("PUT", "/secrets/{secret}/acl"), ("PATCH", "/secrets/{secret}/acl"), ("PUT", "/containers/{generic}/acl"),
            ("PATCH", "/containers/{generic}/acl"), ("POST", "/secrets/{secret}/consumers"),
            ("DELETE", "/secrets/{secret}/consumers"), ("POST", "/containers"),
            ("POST", "/containers/{generic}/secrets"),
            ("DELETE", "/containers/{generic}/secrets"), ("POST", "/containers/{generic}/consumers"),
            ("DELETE", "/containers/{generic}/consumers"), ("POST", "/orders"), ("PUT", "/project-quotas/{project}"),
        ]
        for (method, path) in places {
            for json in ["", "{", "nope", "{'a': 1}"] { cases.append(bad(method, path, 400, "Malformed JSON", json)) }
            for json in ["[]", "null", "1", "\"x\""] {
                cases.append(bad(method, path, 400, "is not of type 'object'", json))
            }
            cases.append(bad(method, path, 415, "Unexpected content type."))
            cases.append(bad(method, path, 401, "", "{}", token: .none))
        }
        return cases
    }()

    private static let access: [Case] = [
        mismatch("PUT", "/secrets/{secret}/acl", "ACL", #"{"write": {}}"#),
        mismatch("PATCH", "/containers/{generic}/acl", "ACL", #"{"read": {"users": 5}}"#),
        forbidden("GET", "/secrets/{secret}/acl", "SecretACL(s) retrieval"),
        forbidden("PUT", "/secrets/{secret}/acl", "SecretACL(s) Update", "{}"),
        forbidden("PATCH", "/secrets/{secret}/acl", "SecretACL(s) Update", "{}", token: .admin),
        forbidden("DELETE", "/secrets/{secret}/acl", "SecretACL(s) deletion", token: .reader),
        forbidden("GET", "/containers/{generic}/acl", "ContainerACL(s) retrieval"),
        forbidden("PUT", "/containers/{generic}/acl", "ContainerACL(s) Update", "{}"),
        forbidden("DELETE", "/containers/{generic}/acl", "ContainerACL(s) deletion"),
        bad("GET", "/secrets/{unknown}/acl", 404, "Secret not found."),
        bad("GET", "/secrets/x/acl", 404, "Not Found. Provided secret id is invalid."),
        bad("GET", "/containers/{unknown}/acl", 404, "Secrets container not found."),
        bad("GET", "/containers/x/acl", 404, "Not Found. Provided container id is invalid."),
        bad("POST", "/secrets/{secret}/acl", 405, "", "{}"),
    ]

    private static let consumers: [Case] = [
        mismatch("POST", "/secrets/{secret}/consumers", "Secret Consumer", "{}"),
        mismatch("DELETE", "/secrets/{secret}/consumers", "Secret Consumer", #"{"service": "a"}"#),
        mismatch(
            "POST", "/secrets/{secret}/consumers", "Secret Consumer",
            #"{"service": "a", "resource_type": "b", "resource_id": "0123456789012345678901234567890123456"}"#),
        bad("DELETE", "/secrets/{secret}/consumers", 404, "Consumer not found.", consumer),
        bad("POST", "/secrets/{unknown}/consumers", 404, "Secret not found.", consumer),
        forbidden("GET", "/secrets/{secret}/consumers", "SecretConsumers(s) retrieval"),
        forbidden("POST", "/secrets/{secret}/consumers", "SecretConsumer creation", consumer),
        forbidden("POST", "/secrets/{secret}/consumers", "SecretConsumer creation", consumer, token: .admin),
        forbidden("DELETE", "/secrets/{secret}/consumers", "SecretConsumer deletion", consumer),
        bad("PUT", "/secrets/{secret}/consumers", 405, "", consumer),
        mismatch("POST", "/containers/{generic}/consumers", "Consumer", #"{"name": "n"}"#),
        bad("DELETE", "/containers/{generic}/consumers", 404, "Consumer not found.", use),
        forbidden("GET", "/containers/{generic}/consumers", "ContainerConsumers(s) retrieval"),
        forbidden("POST", "/containers/{generic}/consumers", "ContainerConsumer creation", use),
        forbidden("DELETE", "/containers/{generic}/consumers", "ContainerConsumer deletion", use),
    ]

    private static let containers: [Case] = [
        mismatch("POST", "/containers", "Container", "{}"),
        mismatch("POST", "/containers", "Container", #"{"type": "bad"}"#),
        mismatch(
            "POST", "/containers", "Container",
            #"{"type": "rsa", "secret_refs": [{"name": "private_key", "secret_ref": "{ref}"}]}"#),
        bad(
            "POST", "/containers", 400, "Provided field value is not supported",
            #"{"type": "generic", "secret_refs": [{"name": "a", "secret_ref": "http://x/v1/secrets/{secret}"}]}"#),
        bad(
            "POST", "/containers", 404, "Secret provided for 'a' doesn't exist.",
            #"{"type": "generic", "secret_refs": [{"name": "a", "secret_ref": "{ref}"}]}"#, token: .other),
        forbidden("POST", "/containers", "Container creation", #"{"type": "generic"}"#, token: .reader),
        forbidden("GET", "/containers", "Containers(s) retrieval", token: .reader),
        forbidden("GET", "/containers/{generic}", "Container retrieval"),
        forbidden("GET", "/containers/{generic}", "Container retrieval", token: .admin),
        forbidden("DELETE", "/containers/{generic}", "Container deletion"),
        forbidden("DELETE", "/containers/{generic}", "Container deletion", token: .admin),
        bad("GET", "/containers/{unknown}", 404, "Secrets container not found."),
        bad("DELETE", "/containers/x", 404, "Not Found. Provided container id is invalid."),
        bad("PUT", "/containers/{generic}", 405, "", "{}"),
        mismatch("POST", "/containers/{generic}/secrets", "ContainerSecret", #"{"name": "a"}"#),
        bad(
            "POST", "/containers/{generic}/secrets", 400, "Provided field value is not supported",
            #"{"secret_ref": "http://x/v1/secrets/{secret}"}"#),
        bad(
            "POST", "/containers/{rsa}/secrets", 400, "Only 'generic' containers can be modified.",
            #"{"secret_ref": "{ref}"}"#),
        bad(
            "DELETE", "/containers/{generic}/secrets", 404, "Secret provided is not in the container",
            #"{"secret_ref": "{ref}"}"#),
        forbidden(
            "POST", "/containers/{generic}/secrets", "Container Secret creation", #"{"secret_ref": "{ref}"}"#),
        forbidden(
            "DELETE", "/containers/{generic}/secrets", "Container Secret deletion", #"{"secret_ref": "{ref}"}"#),
    ]

    private static let orders: [Case] = [
        mismatch("POST", "/orders", "Order", "{}"),
        mismatch("POST", "/orders", "Order", #"{"type": "certificate", "meta": {}}"#),
        mismatch("POST", "/orders", "Order", #"{"type": "key", "meta": {"algorithm": "aes"}}"#),
        mismatch("POST", "/orders", "Secret' within 'Order'", #"{"type": "key", "meta": {"bit_length": 0}}"#),
        bad(
            "POST", "/orders", 400, "Provided field value is not supported",
            #"{"type": "key", "meta": {"algorithm": "aes", "bit_length": 12}}"#),
        forbidden(
            "POST", "/orders", "Order creation", #"{"type": "key", "meta": {"algorithm": "aes", "bit_length": 128}}"#,
            token: .reader),
        forbidden("GET", "/orders", "Order(s) retrieval", token: .reader),
        bad("GET", "/orders/{unknown}", 404, "Order not found."), bad("GET", "/orders/x", 404, "Order not found."),
        bad("GET", "/orders/{order}", 404, "Order not found.", token: .other),
        bad("DELETE", "/orders/{order}", 404, "Order not found.", token: .admin),
        forbidden("GET", "/orders/{order}", "Order retrieval", token: .reader),
        forbidden("DELETE", "/orders/{order}", "Order deletion", token: .reader),
        bad("PUT", "/orders", 405, "", "{}"), bad("PUT", "/orders/{order}", 405, "", "{}"),
    ]

    private static let quotas: [Case] = [
        forbidden("GET", "/project-quotas", "Project Quotas", token: .demo),
        forbidden("GET", "/project-quotas/{project}", "Project Quotas", token: .demo),
        forbidden("PUT", "/project-quotas/{project}", "Project Quotas", #"{"project_quotas": {}}"#, token: .demo),
        forbidden("DELETE", "/project-quotas/{project}", "Project Quotas", token: .demo),
        bad("DELETE", "/project-quotas/nobody", 404, "Project quotas not found.", token: .admin),
        bad("PUT", "/quotas", 405, "", "{}"),
        bad("GET", "/transport_keys/{unknown}", 404, "Not Found. Transport Key not found."),
        bad("GET", "/cas", 404, ""),
    ]

    @Test func everyBadRequestIsRefusedAsSpecifiedAndChangesNothing() async throws {
        let server = TestServer.current
        let (places, tokens) = try await stage(server)
        func fill(_ text: String) -> String {
            places.reduce(text) { $0.replacing("{\($1.key)}", with: $1.value) }
        }
        func listing() async throws -> [String] {
            var all: [String] = []
            for path in ["/secrets", "/containers", "/orders", "/quotas", "/secrets/\(places["secret"] ?? "")/acl"] {
                all.append(try await server.call(.GET, "/key-manager/v1" + path, as: tokens[.demo]).text)
            }
            return all
        }
        let before = try await listing()
        for bad in Self.bodies + Self.access + Self.consumers + Self.containers + Self.orders + Self.quotas {
            let request = bad.request
            let body = request.body.map { Array(fill(String(decoding: $0, as: UTF8.self)).utf8) }
            let response = try await server.call(
                .init(rawValue: request.method), "/key-manager" + fill(request.path), as: tokens[request.token],
                headers: request.headers, body: body)
            let name = "\(request): \(response.status) \(response.text.prefix(300))"
            #expect(response.status == request.status, "\(name)")
            #expect(response.json["code"]?.integerValue == Int64(request.status), "\(name)")
            #expect(response.json["title"]?.stringValue?.isEmpty == false, "\(name)")
            #expect(response.json["description"]?.stringValue?.contains(bad.text) == true, "\(name)")
        }
        #expect(try await listing() == before)
    }

    private func stage(
        _ server: TestServer
    ) async throws -> (places: [String: String], tokens: [BadRequest.Token: String]) {
        let owner = try await server.account()
        let other = try await server.account()
        let reader = try await server.account(role: "reader", projectID: owner.projectID)
        func make(_ path: String, _ json: String) async throws -> String {
            let answer = try await server.call(.POST, "/key-manager/v1" + path, as: owner.token, json: json)
            guard answer.status < 300, let ref = answer.header("Location") else {
                throw TestFailure("\(path): \(answer.status) \(answer.text)")
            }
            return ref
        }
        let secret = try await make("/secrets", "{}")
        let order = try await make("/orders", #"{"type": "key", "meta": {"algorithm": "aes", "bit_length": 128}}"#)
        var places = ["unknown": "6f0d4c5a-1b2c-4d3e-8f90-a1b2c3d4e5f6", "project": owner.projectID, "ref": secret]
        places["secret"] = String(secret.suffix(36))
        places["generic"] = String(try await make("/containers", #"{"type": "generic"}"#).suffix(36))
        places["rsa"] = String(try await make("/containers", #"{"type": "rsa"}"#).suffix(36))
        places["order"] = String(order.suffix(36))
        return (places, [.demo: owner.token, .other: other.token, .reader: reader.token, .admin: server.admin])
    }
}
