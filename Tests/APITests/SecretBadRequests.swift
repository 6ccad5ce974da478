/// Requests to the key manager that are wrong, and what must be said to each: section 2 of its digest as a table.
/// `{full}`, `{empty}`, … in a path stand for secrets that `SecretBadRequestTests` makes.
struct SecretBadRequest: Sendable {
    let request: BadRequest
    /// The description, or a part of it; nil when its words are nobody's business.
    let text: String?

    static let all = bodies + payloads + uploads + paths + lists + metadata + versions + methods

    private static func post(_ name: String, _ status: Int, _ json: String, _ text: String? = nil) -> Self {
        Self(request: BadRequest("store " + name, "POST", "/v1/secrets", status, json: json), text: text)
    }

    private static func request(
        _ name: String, _ method: String, _ path: String, _ status: Int, _ text: String? = nil,
        headers: [(String, String)] = [], body: String? = nil, token: BadRequest.Token = .demo
    ) -> Self {
        Self(
            request: BadRequest(
                name, method, path, status, headers: headers, body: body.map { Array($0.utf8) }, token: token),
            text: text)
    }

    private static let json = [("Content-Type", "application/json")]
    private static let schema = "Provided object does not match schema 'Secret': "

    private static let bodies: [Self] = {
        var cases: [Self] = []
        for body in ["", "{", "nope", "{\"name\":}", "[1,]", "{'a': 1}", "{} {}", "{\"a\": \"\\ud800\"}"] {
            cases.append(post("malformed \(body)", 400, body, "Malformed JSON"))
        }
        let blank = String(repeating: " ", count: 25_000)
        cases.append(post("a body that is too long", 400, "{}" + blank, "Malformed JSON"))
        for body in ["[]", "null", "1", "\"x\"", "true"] {
            cases.append(post("body \(body)", 400, body, schema))
        }
        for (type, headers) in [
            ("none", []), ("text", [("Content-Type", "text/plain")]),
            ("form", [("Content-Type", "application/x-www-form-urlencoded")]), ("nonsense", [("Content-Type", "json")]),
        ] {
            cases.append(
                request(
                    "store with content type \(type)", "POST", "/v1/secrets", 415, "Unexpected content type.",
                    headers: headers, body: "{}"))
        }
        for field in ["name", "algorithm", "mode", "expiration", "secret_type"] {
            for value in ["1", "true", "[]", "{}", "1.5"] + (field == "name" ? [] : ["null"]) {
                cases.append(
                    post("\(field) \(value)", 400, #"{"\#(field)": \#(value)}"#, "Invalid property: '\(field)'"))
            }
            guard field != "secret_type" else { continue }
            let long = String(repeating: "x", count: 256)
            cases.append(post("long \(field)", 400, #"{"\#(field)": "\#(long)"}"#, "Invalid property: '\(field)'"))
        }
        for value in ["0", "-1", "32768", "\"256\"", "1.5", "true", "null", "99999999999999999999"] {
            cases.append(
                post("bit_length \(value)", 400, #"{"bit_length": \#(value)}"#, "Invalid property: 'bit_length'"))
        }
        for value in ["bad", "", "Symmetric"] {
            cases.append(
                post("secret_type \(value)", 400, #"{"secret_type": "\#(value)"}"#, "Invalid property: 'secret_type'"))
        }
        for value in ["soon", "2001-01-01", "2031-02-30", "2031-01-01T00:00:00+"] {
            cases.append(
                post("expiration \(value)", 400, #"{"expiration": "\#(value)"}"#, "Invalid property: 'expiration'"))
        }
        return cases
    }()

    private static let payloads: [Self] = {
        func members(_ payload: String, _ type: String?, _ encoding: String? = nil) -> String {
            var members = ["\"payload\": \(payload)"]
            if let type { members.append("\"payload_content_type\": \(type)") }
            if let encoding { members.append("\"payload_content_encoding\": \(encoding)") }
            return "{\(members.joined(separator: ", "))}"
        }
        let text = "\"text/plain\""
        let octets = "\"application/octet-stream\""
        var cases = [
            post("a payload without a type", 400, members("\"x\"", nil), "Invalid property: 'payload_content_type'"),
            post(
                "a type without a payload", 400, #"{"payload_content_type": "text/plain"}"#,
                "Invalid property: 'payload'"),
            post(
                "text with an encoding", 400, members("\"x\"", text, "\"base64\""),
                "payload_content_encoding is not one of None"),
            post("bytes without an encoding", 400, members("\"AAAA\"", octets), "is not one of ['base64', 'binary']"),
            post(
                "too much", 413, members("\"\(String(repeating: "x", count: 20_001))\"", text),
                "Provided information too large to process"),
        ]
        for payload in ["\"\"", "\" \"", "null", "5", "[]", "{}"] {
            cases.append(post("payload \(payload)", 400, members(payload, text), "Invalid property: 'payload'"))
        }
        for type in ["\"\"", "\"text/html\"", "\"text/plain; charset=latin-1\"", "\"application/pkix-cert\"", "5"] {
            cases.append(post("type \(type)", 400, members("\"x\"", type), "Invalid property: 'payload_content_type'"))
        }
        for encoding in ["\"gzip\"", "\"BASE64\"", "null", "5"] {
            cases.append(
                post(
                    "encoding \(encoding)", 400, members("\"AAAA\"", octets, encoding),
                    "Invalid property: 'payload_content_encoding'"))
        }
        for payload in ["A", "AAA", "AAAA=", "####", "ä", "AA==AA=="] {
            cases.append(
                post(
                    "base64 \(payload)", 400, members("\"\(payload)\"", octets, "\"base64\""),
                    "Invalid payload for payload_content_encoding"))
        }
        return cases
    }()

    private static let uploads: [Self] = {
        let octets = [("Content-Type", "application/octet-stream")]
        var cases = [
            request(
                "supply nothing", "PUT", "/v1/secrets/{empty}", 400, "No data supplied to process", headers: octets,
                body: ""),
            request(
                "supply again", "PUT", "/v1/secrets/{full}", 409, "Secret already has data, cannot modify it.",
                headers: octets, body: "x"),
            request(
                "supply nothing again", "PUT", "/v1/secrets/{full}", 400, "No data supplied to process",
                headers: octets, body: ""),
            request(
                "supply gzip", "PUT", "/v1/secrets/{empty}", 400, "content-encoding of 'base64'",
                headers: octets + [("Content-Encoding", "gzip")], body: "x"),
            request(
                "supply bad base64", "PUT", "/v1/secrets/{empty}", 400,
                headers: octets + [("Content-Encoding", "base64")], body: "####"),
            request(
                "supply too much", "PUT", "/v1/secrets/{empty}", 413, "too large", headers: octets,
                body: String(repeating: "x", count: 20_001)),
            request(
                "supply far too much", "PUT", "/v1/secrets/{empty}", 413, "too large", headers: octets,
                body: String(repeating: "x", count: 30_000)),
            request(
                "supply to another's", "PUT", "/v1/secrets/{empty}", 403, "Secret update attempt not allowed",
                headers: octets, body: "x", token: .other),
            request(
                "supply to nothing", "PUT", "/v1/secrets/{unknown}", 404, "Secret not found.", headers: octets,
                body: "x"),
        ]
        for type in ["application/json", "application/pkcs8", "text/html", "bad", ""] {
            cases.append(
                request(
                    "supply \(type)", "PUT", "/v1/secrets/{empty}", 415,
                    "Expected content types are: ['application/octet-stream', 'text/plain']",
                    headers: type.isEmpty ? [] : [("Content-Type", type)], body: "x"))
        }
        cases.append(
            Self(
                request: BadRequest(
                    "supply text that is none", "PUT", "/v1/secrets/{empty}", 400,
                    headers: [("Content-Type", "text/plain")], body: [0xff, 0xfe]), text: "not UTF-8"))
        return cases
    }()

    private static let paths: [Self] = {
        var cases: [Self] = []
        for id in [
            "nothing", "{upper}", "{compact}", "00000000-0000-0000-0000-000000000000",
            "c232ab00-9414-11ec-b3c8-9f6bdeced846",
            "{full}%20", "%7B{full}%7D",
        ] {
            for (method, end) in [("GET", ""), ("GET", "/payload"), ("DELETE", ""), ("GET", "/metadata")] {
                cases.append(
                    request(
                        "id \(id)", method, "/v1/secrets/\(id)\(end)", 404, "Not Found. Provided secret id is invalid.")
                )
            }
        }
        for id in ["{unknown}", "{deleted}"] {
            for (method, end) in [
                ("GET", ""), ("GET", "/payload"), ("DELETE", ""), ("GET", "/metadata"), ("GET", "/metadata/a"),
                ("DELETE", "/metadata/a"),
            ] {
                cases.append(request("id \(id)", method, "/v1/secrets/\(id)\(end)", 404, "Secret not found."))
            }
        }
        for (method, end, what, token) in [
            ("GET", "", "Secret retrieval", BadRequest.Token.other), ("GET", "", "Secret retrieval", .reader),
            ("GET", "/payload", "Secret payload retrieval", .other),
            ("GET", "/payload", "Secret payload retrieval", .reader),
            ("GET", "/payload", "Secret payload retrieval", .admin),
            ("GET", "/metadata", "Secret metadata retrieval", .admin),
            ("DELETE", "", "Secret deletion", .other), ("DELETE", "", "Secret deletion", .reader),
            ("DELETE", "/metadata/a", "Secret metadata creation", .admin),
        ] {
            cases.append(
                request(
                    "\(token)", method, "/v1/secrets/{full}\(end)", 403,
                    "\(what) attempt not allowed - please review your user/project privileges", token: token))
        }
        cases.append(request("list as reader", "GET", "/v1/secrets", 403, "Secret(s) retrieval", token: .reader))
        cases.append(
            request(
                "store as reader", "POST", "/v1/secrets", 403, "Secret creation", headers: json, body: "{}",
                token: .reader))
        for path in ["/v1", "/v1/secrets", "/v1/secrets/{full}", "/v1/secrets/{full}/payload"] {
            cases.append(request("no token", "GET", path, 401, token: .none))
        }
        cases.append(
            request(
                "no payload", "GET", "/v1/secrets/{empty}/payload", 404,
                "Not Found. Sorry but your secret has no payload."))
        for path in ["/v2", "/v1/nothing", "/v1/secrets/{full}/nothing", "/v1/secrets/{full}/payload/x", "/v1/cas"] {
            cases.append(request("no such path", "GET", path, 404))
        }
        for accept in ["text/html", "image/png, text/plain"] {
            for path in ["/v1/secrets", "/v1/secrets/{full}/metadata"] {
                cases.append(request("only JSON", "GET", path, 406, headers: [("Accept", accept)]))
            }
        }
        cases.append(
            request(
                "neither form", "GET", "/v1/secrets/{full}", 406,
                "Secret retrieval issue seen - Wrong payload content-type.", headers: [("Accept", "text/html")]))
        cases.append(
            request("needed", "DELETE", "/v1/secrets/{needed}", 400, "Secret cannot be deleted as it has consumers."))
        return cases
    }()

    private static let lists: [Self] =
        [
            "created=soon", "created=gt:", "created=ne:2020-01-01", "updated=gt:2020-13-01", "expiration=2020,x",
            "created=,",
            "sort=id", "sort=name:up", "sort=name,name", "sort=name,", "sort=name:asc:desc", "sort=,",
            "sort=creator_id:asc",
            "name=" + String(repeating: "x", count: 1025), (0..<101).map { "a\($0)=1" }.joined(separator: "&"),
        ].map {
            request(
                "list \($0.prefix(30))", "GET", "/v1/secrets?" + $0, 400,
                "URI provided invalid query string parameters.")
        } + [request("list with a bad escape", "GET", "/v1/secrets?name=%ff", 400)]

    private static let metadata: [Self] = {
        let all = "/v1/secrets/{full}/metadata"
        var cases: [Self] = []
        for body in [
            "{}", #"{"metadata": null}"#, #"{"metadata": []}"#, #"{"metadata": {"a": 1}}"#,
            #"{"metadata": {"a b": "1"}}"#, "[]", "{",
        ] {
            cases.append(request("metadata \(body)", "PUT", all, 400, headers: json, body: body))
        }
        for body in [
            "{}", #"{"key": "a"}"#, #"{"key": 5, "value": "x"}"#, #"{"key": "a", "value": "b", "c": 1}"#, "[]", "",
        ] {
            cases.append(request("metadatum \(body)", "POST", all, 400, headers: json, body: body))
            cases.append(request("metadatum \(body)", "PUT", all + "/a", 400, headers: json, body: body))
        }
        cases += [
            request("metadata as text", "PUT", all, 415, headers: [("Content-Type", "text/plain")], body: "{}"),
            request("another key", "PUT", all + "/b", 409, headers: json, body: #"{"key": "a", "value": "1"}"#),
            request(
                "an absent key", "PUT", all + "/b", 404, "Secret metadata not found.", headers: json,
                body: #"{"key": "b", "value": "1"}"#),
            request("an absent key", "GET", all + "/b", 404, "Secret metadata not found."),
        ]
        return cases
    }()

    private static let versions: [Self] = [
        ("1.3", 406), ("0.9", 406), ("2.0", 406), ("-1.1", 406), ("abc", 400), ("1", 400), ("1.1.1", 400),
        ("LATEST", 400),
        ("1.1 foo", 400), ("1.x", 400), ("99999999999999999999.1", 400),
    ].flatMap { version, status in
        ["/", "/v1", "/v1/secrets/{full}"].map {
            request(
                "version \(version)", "GET", $0, status, headers: [("OpenStack-API-Version", "key-manager \(version)")])
        }
    }

    private static let methods: [Self] = [
        ("PUT", "/v1/secrets"), ("DELETE", "/v1/secrets"), ("PATCH", "/v1/secrets/{full}"),
        ("POST", "/v1/secrets/{full}"),
        ("POST", "/v1/secrets/{full}/payload"), ("DELETE", "/v1/secrets/{full}/payload"),
        ("DELETE", "/v1/secrets/{full}/metadata"),
        ("POST", "/v1/secrets/{full}/metadata/a"), ("POST", "/"), ("PUT", "/v1"), ("HEAD", "/v1/secrets"),
        ("OPTIONS", "/v1/secrets"),
    ].map { request("method", $0, $1, 405) }
}
