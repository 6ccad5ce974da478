import Core
import Foundation
import NIOHTTP1
import Testing

/// Metadata definitions as clients see them (Image API digest, section 3.7).
@Suite(.server) struct MetadefTests {
    private static let base = "/image/v2/metadefs/namespaces"

    /// A namespace of this test's own.
    private func namespace(
        _ server: TestServer, _ members: String = #""visibility": "public""#
    ) async throws -> String {
        let name = "test-" + UUID().uuidString.lowercased()
        let answer = try await server.call(
            .POST, Self.base, as: server.admin, json: #"{"namespace": "\#(name)", \#(members)}"#)
        guard answer.status == 201 else { throw TestFailure("no namespace: \(answer.status) \(answer.text)") }
        return name
    }

    private func names(_ answer: Answer, _ list: String, _ member: String = "name") -> [String] {
        (answer.json[list]?.arrayValue ?? []).compactMap { $0[member]?.stringValue }
    }

    @Test func aNamespaceIsMadeShownReplacedAndDeleted() async throws {
        let server = TestServer.current
        let name = "OS::Test::" + UUID().uuidString.lowercased()
        let made = try await server.call(
            .POST, Self.base, as: server.admin,
            json: """
                {"namespace": "\(name)", "display_name": "A test", "visibility": "public", "protected": true,
                 "resource_type_associations": [{"name": "OS::Glance::Image", "prefix": "hw_"}],
                 "properties": {"p": {"title": "P", "type": "boolean", "default": false}},
                 "objects": [{"name": "o", "properties": {"q": {"title": "Q", "type": "string"}}, "required": ["q"]}],
                 "tags": [{"name": "t"}]}
                """)
        #expect(made.status == 201)
        #expect(made.header("location") == server.url + "\(Self.base)/\(name)")
        #expect(made.json["self"] == .string("/v2/metadefs/namespaces/\(name)"))
        #expect(made.json["schema"] == "/v2/schemas/metadefs/namespace")
        #expect(made.json["created_at"] == made.json["updated_at"])
        #expect(made.json["description"] == nil)
        let path = "\(Self.base)/\(name)"
        let shown = try await server.call(.GET, path, as: server.demo)
        #expect(shown.status == 200 && shown.json == made.json)
        #expect(shown.json["properties"]?["p"] == ["title": "P", "type": "boolean", "default": false])
        #expect(shown.json["objects"]?.arrayValue?.first?["required"] == ["q"])
        #expect(
            shown.json["objects"]?.arrayValue?.first?["self"] == .string("/v2/metadefs/namespaces/\(name)/objects/o"))
        #expect(shown.json["tags"] == [["name": "t"]])
        let prefixed = try await server.call(.GET, path + "?resource_type=OS::Glance::Image", as: server.demo)
        #expect(prefixed.json["properties"]?.objectValue.map { Array($0.keys) } == ["hw_p"])
        #expect(prefixed.json["objects"]?.arrayValue?.first?["required"] == ["hw_q"])

        #expect(try await server.call(.DELETE, path, as: server.admin).status == 403)
        #expect(try await server.call(.PUT, path, as: server.demo, json: #"{"namespace": "x"}"#).status == 403)
        let replaced = try await server.call(.PUT, path, as: server.admin, json: #"{"namespace": "\#(name)"}"#)
        #expect(replaced.status == 200)
        #expect(replaced.json["visibility"] == "private" && replaced.json["protected"] == false)
        #expect(try await server.call(.GET, path, as: server.demo).status == 404)
        #expect(try await server.call(.DELETE, path, as: server.demo).status == 404)
        let deleted = try await server.call(.DELETE, path, as: server.admin)
        #expect(deleted.status == 204 && deleted.header("content-type") == "text/html; charset=UTF-8")
        #expect(try await server.call(.GET, path, as: server.admin).status == 404)
    }

    @Test func theListIsPagedByName() async throws {
        let server = TestServer.current
        let type = "T" + UUID().uuidString
        var made: [String] = []
        for _ in 0..<3 {
            made.append(
                try await namespace(
                    server, #""visibility": "public", "resource_type_associations": [{"name": "\#(type)"}]"#))
        }
        let first = try await server.call(
            .GET, Self.base + "?resource_types=\(type),other&limit=2&marker=\(made[2])", as: server.demo)
        #expect(names(first, "namespaces", "namespace") == [made[1], made[0]])
        #expect(
            first.json["first"] == .string("/v2/metadefs/namespaces?resource_types=\(type)%2Cother&limit=2"))
        #expect(
            first.json["next"]
                == .string("/v2/metadefs/namespaces?resource_types=\(type)%2Cother&limit=2&marker=\(made[0])"))
        #expect(first.json["schema"] == "/v2/schemas/metadefs/namespaces")
        let association = first.json["namespaces"]?.arrayValue?.first?["resource_type_associations"]?.arrayValue?.first
        #expect(association?["name"] == .string(type))
        let last = try await server.call(.GET, "/image" + (first.json["next"]?.stringValue ?? ""), as: server.demo)
        #expect(last.json["namespaces"] == [] && last.json["next"] == nil)
        let ascending = try await server.call(
            .GET, Self.base + "?resource_types=\(type)&sort_key=created_at&sort_dir=asc", as: server.demo)
        #expect(names(ascending, "namespaces", "namespace") == made)
        for query in [
            "limit=-1", "limit=x", "limit=", "limit=1.5", "sort_dir=up", "sort_key=id", "sort_key=",
            "visibility=shared",
            "visibility=", "marker=%FF", "resource_types=" + String(repeating: "a,", count: 1100),
        ] {
            #expect(try await server.call(.GET, Self.base + "?" + query, as: server.demo).status == 400, "\(query)")
        }
        #expect(try await server.call(.GET, Self.base + "?marker=absent", as: server.demo).status == 404)
        #expect(try await server.call(.GET, Self.base + "?limit=0", as: server.demo).json["namespaces"] == [])
        #expect(try await server.call(.GET, Self.base + "?resource_types=", as: server.demo).json["namespaces"] == [])
    }

    @Test func propertiesAreAMap() async throws {
        let server = TestServer.current
        let path = "\(Self.base)/\(try await namespace(server))/properties"
        #expect(try await server.call(.GET, path, as: server.demo).json == ["properties": [:]])
        let body = #"{"name": "p", "title": "P", "type": "string", "enum": ["a", "b"]}"#
        let made = try await server.call(.POST, path, as: server.admin, json: body)
        #expect(made.status == 201)
        #expect(made.json == ["name": "p", "title": "P", "type": "string", "enum": ["a", "b"]])
        #expect(try await server.call(.POST, path, as: server.admin, json: body).status == 409)
        #expect(try await server.call(.POST, path, as: server.demo, json: body).status == 403)
        #expect(
            try await server.call(.GET, path, as: server.demo).json
                == ["properties": ["p": ["title": "P", "type": "string", "enum": ["a", "b"]]]])
        #expect(try await server.call(.GET, path + "/p", as: server.demo).json == made.json)
        let renamed = try await server.call(
            .PUT, path + "/p", as: server.admin, json: #"{"name": "q", "title": "Q", "type": "integer"}"#)
        #expect(renamed.status == 200 && renamed.json == ["name": "q", "title": "Q", "type": "integer"])
        #expect(try await server.call(.GET, path + "/p", as: server.demo).status == 404)
        #expect(try await server.call(.DELETE, path + "/q", as: server.admin).status == 204)
        #expect(try await server.call(.DELETE, path + "/q", as: server.admin).status == 404)
        #expect(try await server.call(.DELETE, path, as: server.admin).status == 204)
    }

    @Test func objectsHaveLinksOfTheirOwn() async throws {
        let server = TestServer.current
        let name = try await namespace(server)
        let path = "\(Self.base)/\(name)/objects"
        let made = try await server.call(.POST, path, as: server.admin, json: #"{"name": "a/b c"}"#)
        #expect(made.status == 201)
        #expect(made.json["self"] == .string("/v2/metadefs/namespaces/\(name)/objects/a%2Fb%20c"))
        #expect(made.json["schema"] == "/v2/schemas/metadefs/object")
        #expect(made.json["required"] == [] && made.json["properties"] == [:])
        let link = "/image" + (made.json["self"]?.stringValue ?? "")
        #expect(try await server.call(.GET, link, as: server.demo).json == made.json)
        let list = try await server.call(.GET, path, as: server.demo)
        #expect(list.json == ["objects": [made.json], "schema": "/v2/schemas/metadefs/objects"])
        let changed = try await server.call(
            .PUT, link, as: server.admin, json: #"{"name": "new", "description": "d", "required": ["x"]}"#)
        #expect(changed.status == 200 && changed.json["description"] == "d" && changed.json["required"] == ["x"])
        #expect(try await server.call(.GET, link, as: server.demo).status == 404)
        for query in ["limit=0", "limit=a", "sort_dir=x", "visibility=x", "sort_key=x"] {
            #expect(try await server.call(.GET, path + "?" + query, as: server.demo).status == 400, "\(query)")
        }
        #expect(try await server.call(.DELETE, path + "/new", as: server.admin).status == 204)
        #expect(try await server.call(.DELETE, path, as: server.admin).status == 204)
    }

    @Test(arguments: ["true", "1", "Yes", "on"])
    func tagsAreReplacedUnlessTheHeaderSaysAppend(_ append: String) async throws {
        let server = TestServer.current
        let path = "\(Self.base)/\(try await namespace(server))/tags"
        func post(_ json: String, _ headers: [(String, String)] = []) async throws -> Answer {
            try await server.call(.POST, path, as: server.admin, headers: headers, json: json)
        }
        let made = try await post(#"{"tags": [{"name": "a"}, {"name": "b"}]}"#)
        #expect(made.status == 201 && made.json == ["tags": [["name": "a"], ["name": "b"]]])
        #expect(try await post(#"{"tags": [{"name": "c"}]}"#, [("X-Openstack-Append", append)]).status == 201)
        #expect(names(try await server.call(.GET, path, as: server.demo), "tags") == ["c", "b", "a"])
        #expect(try await post(#"{"tags": [{"name": "d"}]}"#, [("X-Openstack-Append", "no")]).status == 201)
        #expect(names(try await server.call(.GET, path, as: server.demo), "tags") == ["d"])
        let one = try await server.call(.POST, path + "/e", as: server.admin)
        #expect(one.status == 201 && one.json["name"] == "e" && one.json["created_at"] != nil)
        #expect(try await server.call(.POST, path + "/e", as: server.admin).status == 409)
        #expect(try await server.call(.POST, path + "/f", as: server.admin, json: "{}").status == 400)
        let long = String(repeating: "t", count: 81)
        #expect(try await server.call(.POST, path + "/" + long, as: server.admin).status == 400)
        let renamed = try await server.call(.PUT, path + "/e", as: server.admin, json: #"{"name": "g"}"#)
        #expect(renamed.status == 200 && renamed.json["name"] == "g")
        #expect(try await server.call(.GET, path + "/g", as: server.demo).json == renamed.json)
        #expect(
            try await server.call(.GET, path + "?limit=1&marker=g", as: server.demo).json == ["tags": [["name": "d"]]])
        #expect(try await server.call(.DELETE, path + "/g", as: server.admin).status == 204)
        #expect(try await server.call(.DELETE, path, as: server.admin).status == 204)
        #expect(try await server.call(.GET, path, as: server.demo).json == ["tags": []])
    }

    @Test func resourceTypesAreAssociatedAndLetGo() async throws {
        let server = TestServer.current
        let path = "\(Self.base)/\(try await namespace(server))/resource_types"
        let type = "OS::T::" + UUID().uuidString
        let made = try await server.call(
            .POST, path, as: server.admin, json: #"{"name": "\#(type)", "prefix": "hw:", "properties_target": "image"}"#
        )
        #expect(made.status == 201 && made.json["prefix"] == "hw:" && made.json["properties_target"] == "image")
        #expect(
            try await server.call(.GET, path, as: server.demo).json == ["resource_type_associations": [made.json]])
        let types = try await server.call(.GET, "/image/v2/metadefs/resource_types", as: server.demo)
        #expect(names(types, "resource_types").contains(type))
        #expect(try await server.call(.DELETE, path + "/" + type, as: server.admin).status == 204)
        #expect(try await server.call(.DELETE, path + "/" + type, as: server.admin).status == 404)
        #expect(try await server.call(.GET, path, as: server.demo).json == ["resource_type_associations": []])
    }

    @Test(arguments: [
        ("namespace", "namespace"), ("namespaces", "namespaces"), ("object", "object"), ("objects", "objects"),
        ("property", "property"), ("properties", "properties"), ("tag", "tag"), ("tags", "tags"),
        ("resource_type", "resource_type_association"), ("resource_types", "resource_type_associations"),
    ])
    func schemasHaveTheirNames(_ path: String, _ name: String) async throws {
        let server = TestServer.current
        let schema = try await server.call(.GET, "/image/v2/schemas/metadefs/" + path, as: server.demo)
        #expect(schema.status == 200)
        #expect(schema.json["name"] == .string(name))
        #expect(schema.json["properties"]?.objectValue?.isEmpty == false)
    }

    @Test func definitionsOutliveARestart() async throws {
        let directory = try TestServer.makeDirectory()
        defer { TestServer.remove(directory) }
        let path = "\(Self.base)/caf%C3%A9%2F%F0%9F%98%80"
        let before = try await TestServer.with(directory: directory) { server in
            let made = try await server.call(
                .POST, Self.base, as: server.admin,
                json: #"{"namespace": "café/😀", "visibility": "public", "tags": [{"name": "b"}, {"name": "a"}]}"#)
            #expect(made.status == 201)
            #expect(made.header("location") == server.url + path)
            return try await server.call(.GET, path, as: server.demo).json
        }
        #expect(before["namespace"] == "café/😀")
        try await TestServer.with(directory: directory) { server in
            let after = try await server.call(.GET, path, as: server.demo).json
            #expect(after == before)
        }
    }
}

/// Requests that no client of good will makes: refused, and never our fault.
@Suite(.server) struct MetadefBadRequestTests {
    private static let base = "/image/v2/metadefs/namespaces"

    private static let bodies: [String] = {
        let deep = String(repeating: #"{"items":"#, count: 500) + "1" + String(repeating: "}", count: 500)
        return [
            "", "{", "null", "1", "\"a\"", "[]", "[{}]", "{}", #"{"name": null}"#, #"{"name": 1}"#, #"{"name": ""}"#,
            #"{"name": ["a"]}"#, #"{"name": {"a": "b"}}"#, "{\"name\": \"a\\u0000b\"}", #"{"name": "\ud800"}"#,
            #"{"namespace": 1}"#, #"{"namespace": ""}"#, "{\"namespace\": \"a\\u0000\"}", #"{"tags": 1}"#,
            #"{"tags": [1]}"#, #"{"tags": [{"name": 1}]}"#, #"{"tags": [{"name": "a", "b": 1}]}"#, deep,
            #"{"name": "\#(String(repeating: "n", count: 81))"}"#, String(repeating: "[", count: 100_000),
            #"{"name": "a", "properties": [1]}"#, #"{"name": "a", "properties": {"a": 1}}"#,
            #"{"name": "a", "required": "a"}"#, #"{"name": "a", "required": [1]}"#, #"{"name": "a", "unknown": 1}"#,
            #"{"name": "a", "title": 1, "type": "string"}"#, #"{"name": "a", "title": "a", "type": "date"}"#,
            #"{"name": "a", "title": "a", "type": "string", "minimum": "1"}"#,
            #"{"name": "a", "title": "a", "type": "string", "items": \#(deep)}"#,
            #"{"name": "a", "prefix": 1}"#, #"{"name": "a", "prefix": "\#(String(repeating: "p", count: 81))"}"#,
        ]
    }()

    @Test func wrongBodiesAreRefusedEverywhere() async throws {
        let server = TestServer.current
        let name = "bad-" + UUID().uuidString.lowercased()
        let whole = #"""
            {"namespace": "\#(name)", "visibility": "public", "properties": {"p": {"title": "P", "type": "string"}},
             "objects": [{"name": "o"}], "tags": [{"name": "t"}], "resource_type_associations": [{"name": "r"}]}
            """#
        #expect(try await server.call(.POST, Self.base, as: server.admin, json: whole).status == 201)
        let path = "\(Self.base)/\(name)"
        let before = try await server.call(.GET, path, as: server.admin).json
        let places: [(HTTPMethod, String)] = [
            (.POST, Self.base), (.PUT, path), (.POST, path + "/properties"), (.PUT, path + "/properties/p"),
            (.POST, path + "/objects"), (.PUT, path + "/objects/o"), (.POST, path + "/tags"), (.PUT, path + "/tags/t"),
            (.POST, path + "/resource_types"),
        ]
        for (method, place) in places {
            for body in Self.bodies {
                let answer = try await server.call(method, place, as: server.admin, json: body)
                #expect(answer.status == 400, "\(method) \(place) \(body.prefix(60)): \(answer.text.prefix(200))")
            }
            let large = #"{"name": "\#(String(repeating: "x", count: (1 << 20) + 10))"}"#
            #expect(try await server.call(method, place, as: server.admin, json: large).status == 413)
            for member in ["created_at", "updated_at"] {
                let answer = try await server.call(method, place, as: server.admin, json: #"{"\#(member)": "x"}"#)
                #expect(answer.status == 403, "\(method) \(place) \(member)")
            }
        }
        #expect(try await server.call(.GET, path, as: server.admin).json == before)
    }

    @Test func strangePathsAreNotFound() async throws {
        let server = TestServer.current
        let long = String(repeating: "n", count: 4000)
        for segment in ["absent", "%F0%9F%98%80", "a%2Fb", "..", "%2e%2e", long, "'%20OR%201=1", "%25"] {
            for path in [
                "", "/properties", "/properties/x", "/objects", "/objects/x", "/tags", "/tags/x", "/resource_types",
                "/properties/x?resource_type=y", "?resource_type=y",
            ] {
                let answer = try await server.call(.GET, "\(Self.base)/\(segment)\(path)", as: server.admin)
                #expect(answer.status == 404, "\(segment.prefix(20))\(path)")
            }
            for path in ["", "/properties", "/objects/x", "/tags", "/resource_types/x"] {
                let answer = try await server.call(.DELETE, "\(Self.base)/\(segment)\(path)", as: server.admin)
                #expect(answer.status == 404, "\(segment.prefix(20))\(path)")
            }
        }
        #expect(try await server.call(.GET, Self.base + "/a%00b", as: server.admin).status == 400)
        #expect(try await server.call(.GET, Self.base + "/", as: server.admin).status == 404)
        #expect(try await server.call(.PATCH, Self.base, as: server.admin).status == 405)
        #expect(try await server.call(.GET, Self.base).status == 401)
        #expect(try await server.call(.DELETE, Self.base + "/x", as: server.admin, json: "{}").status == 400)
    }
}
