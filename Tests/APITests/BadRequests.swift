/// Requests that are wrong, and what must be said to each. `{queued}`, `{active}`, … in a path stand for
/// images that `BadRequestTests` makes.
struct BadRequest: Sendable, CustomStringConvertible {
    let name: String
    let method: String
    let path: String
    var headers: [(String, String)] = []
    var body: [UInt8]?
    let status: Int
    /// Whose token is sent.
    var token = Token.demo

    enum Token: Sendable { case demo, none, other, reader, admin }

    var description: String { "\(name): \(method) \(path)" }

    init(
        _ name: String, _ method: String, _ path: String, _ status: Int, headers: [(String, String)] = [],
        body: [UInt8]? = nil, token: Token = .demo
    ) {
        self.name = name
        self.method = method
        self.path = path
        self.headers = headers
        self.body = body
        self.status = status
        self.token = token
    }

    init(_ name: String, _ method: String, _ path: String, _ status: Int, json: String, token: Token = .demo) {
        self.init(
            name, method, path, status, headers: [("Content-Type", "application/json")], body: Array(json.utf8),
            token: token)
    }

    static let all =
        creates + patches + patchSyntax + lists + uploads + downloads + members + tags + methods + tokens + bodies
        + encodings + operators

    // MARK: create

    private static let wrongTypes = ["1", "1.5", "true", "[]", "{}"]

    private static let creates: [BadRequest] = {
        var cases: [BadRequest] = []
        func create(_ name: String, _ status: Int, _ json: String) {
            cases.append(BadRequest("create " + name, "POST", "/v2/images", status, json: json))
        }
        for field in ["name", "container_format", "disk_format", "visibility", "some_property", "owner", "id"] {
            for value in wrongTypes { create("\(field) as \(value)", 400, #"{"\#(field)": \#(value)}"#) }
        }
        for field in ["os_hidden", "protected"] {
            for value in ["1", "\"true\"", "null", "[]", "\"yes\""] {
                create("\(field) as \(value)", 400, #"{"\#(field)": \#(value)}"#)
            }
        }
        for field in ["min_disk", "min_ram"] {
            for value in ["-1", "2147483648", "1.5", "\"1\"", "null", "true", "1e30", "[1]"] {
                create("\(field) as \(value)", 400, #"{"\#(field)": \#(value)}"#)
            }
        }
        for value in [
            "null", "\"a\"", "[1]", "[null]", "{}", "[[\"a\"]]", "[\"\(String(repeating: "t", count: 256))\"]",
        ] {
            create("tags as \(value.prefix(12))", 400, #"{"tags": \#(value)}"#)
        }
        for field in [
            "status", "checksum", "size", "virtual_size", "created_at", "updated_at", "direct_url", "self", "file",
            "schema", "stores", "locations", "location", "deleted", "deleted_at", "os_hash_algo", "os_hash_value",
            "os_glance_x", "os_glancex", "os_glance\u{301}x",
        ] {
            create("server-set \(field)", 403, #"{"\#(field)": "x"}"#)
        }
        for json in ["1", "\"a\"", "null", "true", "[]", "[{}]"] { create("body \(json)", 400, json) }
        for json in ["", "{", "{\"name\":}", "{'name':'a'}", "{\"a\":1}}", "nope", "\u{0}", "[1,]", "{\"a\":tru}"] {
            create("malformed \(json.debugDescription)", 400, json)
        }
        create("long name", 400, #"{"name": "\#(String(repeating: "n", count: 256))"}"#)
        create("long property name", 400, #"{"\#(String(repeating: "n", count: 256))": "x"}"#)
        create("long owner", 400, #"{"owner": "\#(String(repeating: "n", count: 256))"}"#)
        create("emoji in a name", 400, #"{"name": "😀"}"#)
        create("emoji in a property", 400, #"{"a": "😀"}"#)
        create("emoji in a property's name", 400, #"{"😀": "a"}"#)
        create("emoji in a tag", 400, #"{"tags": ["😀"]}"#)
        create("null property", 400, #"{"a": null}"#)
        create("empty property name", 400, #"{"": "a"}"#)
        create("NUL in a name", 400, #"{"name": "a\u0000b"}"#)
        create("a lone surrogate", 400, #"{"name": "\ud800"}"#)
        for id in ["", "x", "00000000000000000000000000000000", "g0000000-0000-0000-0000-000000000000", "{queued} "] {
            create("id \(id)", 400, #"{"id": "\#(id)"}"#)
        }
        create(
            "too many bytes of properties", 413,
            "{\((0..<5).map { "\"p\($0)\": \"\(String(repeating: "v", count: 60_000))\"" }.joined(separator: ","))}")
        create("unknown disk format", 400, #"{"disk_format": "floppy"}"#)
        create("unknown container format", 400, #"{"container_format": "crate"}"#)
        create("unknown visibility", 400, #"{"visibility": "secret"}"#)
        create("capital visibility", 400, #"{"visibility": "Private"}"#)
        create("public", 403, #"{"visibility": "public"}"#)
        create("for another owner", 403, #"{"owner": "somebody"}"#)
        create("an id that is taken", 409, #"{"id": "{queued}"}"#)
        create("an id that was taken", 409, #"{"id": "{deleted}"}"#)
        create("kernel that is no id", 400, #"{"kernel_id": "vmlinuz"}"#)
        create("ramdisk that is no id", 400, #"{"ramdisk_id": "initrd"}"#)
        create("unknown key policy", 400, #"{"cinder_encryption_key_deletion_policy": "sometimes"}"#)
        create("too many tags", 413, #"{"tags": [\#((0..<129).map { "\"t\($0)\"" }.joined(separator: ","))]}"#)
        create("too many properties", 413, "{\((0..<129).map { "\"p\($0)\": \"\"" }.joined(separator: ","))}")
        for json in [
            "01", "1.", ".5", "-", "1e", "+1", "\"\\x\"", "\"\\u12\"", "\"\\udc00\"", "\"a\u{1}\"", "\"a", "[1 2]",
            "{\"a\" 1}", "{1:2}", "nul", "1e999",
        ] {
            create("malformed value \(json)", 400, "{\"a\": \(json)}")
        }
        create("deep nesting", 400, String(repeating: "[", count: 5000))
        create("deep nesting, closed", 400, String(repeating: "[", count: 400) + String(repeating: "]", count: 400))
        create("deep objects", 400, String(repeating: "{\"a\":", count: 600) + "1" + String(repeating: "}", count: 600))
        return cases
    }()

    // MARK: patch

    private static let v21 = "application/openstack-images-v2.1-json-patch"
    private static let v20 = "application/openstack-images-v2.0-json-patch"

    private static func patch(
        _ name: String, _ status: Int, _ json: String, type: String = v21, on image: String = "{queued}",
        token: Token = .demo
    ) -> BadRequest {
        BadRequest(
            "patch " + name, "PATCH", "/v2/images/\(image)", status, headers: [("Content-Type", type)],
            body: Array(json.utf8), token: token)
    }

    private static let patches: [BadRequest] = {
        var cases: [BadRequest] = []
        for field in [
            "id", "status", "checksum", "size", "virtual_size", "created_at", "updated_at", "direct_url", "self",
            "file",
            "schema", "stores", "location", "deleted", "deleted_at", "os_hash_algo", "os_hash_value", "os_glance_a",
        ] {
            for operation in ["add", "replace", "remove"] {
                cases.append(
                    patch("\(operation) \(field)", 403, #"[{"op":"\#(operation)","path":"/\#(field)","value":"x"}]"#))
            }
        }
        for field in [
            "name", "visibility", "os_hidden", "protected", "owner", "container_format", "disk_format", "min_disk",
            "min_ram", "tags",
        ] {
            cases.append(patch("remove \(field)", 403, #"[{"op":"remove","path":"/\#(field)"}]"#))
        }
        let wrong: [(String, String)] = [
            ("name", "1"), ("name", "{}"), ("visibility", "\"x\""), ("visibility", "null"), ("os_hidden", "\"true\""),
            ("protected", "1"), ("container_format", "\"x\""), ("disk_format", "5"), ("min_disk", "-1"),
            ("min_ram", "\"1\""), ("tags", "\"a\""), ("tags", "[1]"), ("prop", "1"), ("prop", "null"), ("prop", "[]"),
        ]
        for (field, value) in wrong {
            cases.append(patch("\(field) to \(value)", 400, #"[{"op":"add","path":"/\#(field)","value":\#(value)}]"#))
        }
        cases += [
            patch("to public", 403, #"[{"op":"replace","path":"/visibility","value":"public"}]"#),
            patch("owner", 403, #"[{"op":"replace","path":"/owner","value":"x"}]"#),
            patch("owner by add", 403, #"[{"op":"add","path":"/owner","value":"x"}]"#),
            patch("replace what is not there", 409, #"[{"op":"replace","path":"/nothing","value":"x"}]"#),
            patch("remove what is not there", 409, #"[{"op":"remove","path":"/nothing"}]"#),
            patch(
                "one bad operation of two", 409,
                #"[{"op":"add","path":"/a","value":"x"},{"op":"remove","path":"/nothing"}]"#),
            patch("a tag by index", 400, #"[{"op":"add","path":"/tags/-","value":"x"}]"#),
            patch("two segments", 400, #"[{"op":"add","path":"/a/b","value":"x"}]"#),
            patch(
                "locations", 403,
                #"[{"op":"add","path":"/locations/-","value":{"url":"file:///etc/passwd","metadata":{}}}]"#),
            patch("all locations", 403, #"[{"op":"replace","path":"/locations","value":[]}]"#),
            patch(
                "format of an active image", 403, #"[{"op":"replace","path":"/disk_format","value":"raw"}]"#,
                on: "{active}"),
            patch(
                "container of an active image", 403, #"[{"op":"replace","path":"/container_format","value":"bare"}]"#,
                on: "{active}"),
            patch(
                "too many properties", 413,
                "[" + (0..<129).map { #"{"op":"add","path":"/p\#($0)","value":""}"# }.joined(separator: ",") + "]"),
            patch(
                "too many tags", 413,
                #"[{"op":"replace","path":"/tags","value":[\#((0..<129).map { "\"t\($0)\"" }.joined(separator: ","))]}]"#
            ),
            patch("existing property in the 2.0 dialect", 409, #"[{"add":"/os","value":"x"}]"#, type: v20),
            patch("existing column in the 2.0 dialect", 409, #"[{"add":"/name","value":"x"}]"#, type: v20),
            patch("a foreign image", 404, "[]", token: .other),
            patch("somebody's public image", 403, "[]", on: "{public}"),
            patch("an image that is gone", 404, "[]", on: "{deleted}"),
            patch("an image that never was", 404, "[]", on: "00000000-0000-4000-8000-000000000000"),
        ]
        return cases
    }()

    private static let patchSyntax: [BadRequest] = {
        var cases: [BadRequest] = []
        for (dialect, type) in [("2.1", v21), ("2.0", v20)] {
            for json in ["", "{", "1", "null", "{}", "\"a\"", "[1]", "[null]", "[[]]", "[{}]", "[\"add\"]"] {
                cases.append(patch("\(dialect) body \(json)", 400, json, type: type))
            }
        }
        for json in [
            #"[{"op":"move","from":"/a","path":"/b"}]"#, #"[{"op":"test","path":"/a","value":"x"}]"#,
            #"[{"op":"copy","from":"/a","path":"/b"}]"#, #"[{"op":"ADD","path":"/a","value":"x"}]"#,
            #"[{"op":1,"path":"/a","value":"x"}]"#, #"[{"op":"add","value":"x"}]"#,
            #"[{"op":"add","path":1,"value":"x"}]"#,
            #"[{"op":"add","path":"/a"}]"#, #"[{"op":"replace","path":"/a"}]"#,
            #"[{"op":"add","path":"a","value":"x"}]"#,
            #"[{"op":"add","path":"","value":"x"}]"#, #"[{"op":"add","path":"/","value":"x"}]"#,
            #"[{"op":"add","path":"//","value":"x"}]"#, #"[{"op":"add","path":"/a//b","value":"x"}]"#,
            #"[{"op":"add","path":"/a~","value":"x"}]"#, #"[{"op":"add","path":"/a~2","value":"x"}]"#,
            #"[{"op":"add","path":"/a/","value":"x"}]"#, #"[{"add":"/a","value":"x"}]"#,
        ] { cases.append(patch("2.1 syntax \(json)", 400, json)) }
        for json in [
            #"[{"op":"add","path":"/a","value":"x"}]"#, #"[{"add":"/a","remove":"/b","value":"x"}]"#,
            #"[{"add":"/a"}]"#, #"[{"replace":"/a"}]"#, #"[{"add":1,"value":"x"}]"#, #"[{"add":"a","value":"x"}]"#,
            #"[{"value":"x"}]"#, #"[{"add":"/a~3","value":"x"}]"#,
        ] { cases.append(patch("2.0 syntax \(json)", 400, json, type: v20)) }
        for type in [
            "application/json", "application/json-patch+json", "text/plain", "", "application/octet-stream",
            "application/openstack-images-v2.2-json-patch", "application/openstack-images-v3-json-patch", "nonsense",
        ] { cases.append(patch("type \(type)", 415, "[]", type: type)) }
        return cases
    }()

    // MARK: list

    private static let lists: [BadRequest] = [
        "limit=-1", "limit=a", "limit=1.5", "limit=", "limit=+1", "limit=0x10", "limit=99999999999999999999",
        "marker=x", "marker={deleted}", "marker={foreign}", "marker=",
        "sort=name:up", "sort=nothing", "sort=", "sort=name,,id", "sort=name,name", "sort=name&sort_key=id",
        "sort=name&sort_dir=asc", "sort_key=nothing", "sort_key=", "sort_dir=up", "sort_dir=",
        "sort_key=name&sort_key=id&sort_key=size&sort_dir=asc&sort_dir=desc", "sort_dir=asc&sort_dir=desc",
        "sort_key=name&sort_key=name", "sort=owner", "sort=checksum",
        "visibility=secret", "visibility=", "visibility=Public", "member_status=x", "member_status=",
        "protected=False", "protected=True", "protected=1", "protected=", "os_hidden=maybe", "os_hidden=",
        "changes-since=2020-01-01", "locations=x", "members=x", "properties=x",
        "created_at=yesterday", "created_at=gt:", "created_at=xx:2020-01-01", "created_at=in:2020-01-01",
        "created_at=2020-13-01", "updated_at=", "updated_at=lt:2020-01-01T25:00:00Z", "updated_at=like:2020",
        "size_min=a", "size_max=", "size=x", "min_ram=1.5", "min_disk_min=-x", "size_min=99999999999999999999",
        "name=neq:a", "status=gt:active", "id=lt:a", "disk_format=eq:raw", "container_format=lte:bare",
        "name=in:\"a", "name=in:\"a\"b", "name=in:a\"b", "status=in:\"active\"\"",
        "name=in:" + String(repeating: "a,", count: 1001), String(repeating: "tag=a&", count: 101),
        "name=in:" + String(repeating: "a,", count: 600) + "&status=in:" + String(repeating: "a,", count: 600),
        "%FF=a", "name=%FF", "name=%", "name=%4", "name=%zz", "name=%C3%28", "limit=%00",
    ].map { BadRequest("list \($0.prefix(60))", "GET", "/v2/images?\($0)", 400) }

    // MARK: data

    private static let octets = [("Content-Type", "application/octet-stream")]

    private static let uploads: [BadRequest] = {
        func upload(
            _ name: String, _ status: Int, on image: String, headers: [(String, String)] = octets, token: Token = .demo
        ) -> BadRequest {
            BadRequest(
                "upload " + name, "PUT", "/v2/images/\(image)/file", status, headers: headers, body: [1, 2, 3],
                token: token)
        }
        var cases = [
            upload("without formats", 400, on: "{formless}"),
            upload("to an active image", 409, on: "{active}"),
            upload("to a deactivated image", 409, on: "{deactivated}"),
            upload("to a foreign image", 404, on: "{foreign}"),
            upload("to somebody's public image", 403, on: "{public}"),
            upload("to a deleted image", 404, on: "{deleted}"),
            upload("to no image", 404, on: "nothing"),
            upload("by a reader", 403, on: "{queued}", token: .reader),
            upload("without a token", 401, on: "{queued}", token: .none),
            upload("to an unknown store", 400, on: "{queued}", headers: octets + [("X-Image-Meta-Store", "moon")]),
        ]
        for type in ["", "application/json", "text/plain", "application/octet-streams", "multipart/form-data"] {
            cases.append(upload("of type \(type)", 415, on: "{queued}", headers: [("Content-Type", type)]))
        }
        for size in ["a", "-1", "+3", "2", "4", "1.5", "", "99999999999999999999", "0"] {
            cases.append(
                upload(
                    "of declared size \(size)", 400, on: "{queued}",
                    headers: octets + [("X-Openstack-Image-Size", size)]))
        }
        return cases
    }()

    private static let downloads: [BadRequest] = {
        func range(_ text: String, _ status: Int) -> BadRequest {
            BadRequest("download \(text)", "GET", "/v2/images/{active}/file", status, headers: [("Range", text)])
        }
        func legacy(_ text: String) -> BadRequest {
            BadRequest(
                "download content-range \(text)", "GET", "/v2/images/{active}/file", 416,
                headers: [("Content-Range", text)])
        }
        return [
            range("bytes=10-5", 416), range("bytes=100000-", 416), range("bytes=a-b", 416), range("bytes=-0", 416),
            range("bytes=-", 416), range("bytes=", 416), range("items=0-1", 416), range("nonsense", 416),
            range("bytes=1", 416), range("bytes=--1", 416), range("bytes=1-2-3", 416), range("bytes=+1-2", 416),
            range("bytes=99999999999999999999-", 416), range("bytes=0-99999999999999999999999x", 416),
            range("bytes=0-1,3-4", 400), range("bytes=0-0,-1", 400),
            legacy("bytes 0-99999/*"), legacy("bytes 5-1/10"), legacy("0-1"), legacy("bytes a-b/10"),
            legacy("bytes 0-1/7"),
            BadRequest("download preferring nothing", "GET", "/v2/images/{active}/file?prefer=moon", 400),
            BadRequest("download a foreign image", "GET", "/v2/images/{foreign}/file", 404),
            BadRequest("download a deactivated image", "GET", "/v2/images/{deactivated}/file", 403),
            BadRequest("download a deleted image", "GET", "/v2/images/{deleted}/file", 404),
            BadRequest("download as a reader", "GET", "/v2/images/{active}/file", 403, token: .reader),
            BadRequest("download no image", "GET", "/v2/images//file", 404),
        ]
    }()

    // MARK: members and tags

    private static let members: [BadRequest] = {
        var cases: [BadRequest] = []
        for json in [
            "{}", "[]", "1", "null", "{\"member\":1}", "{\"member\":null}", "{\"member\":\"\"}", "{\"member\":[]}", "{",
            "",
            "{\"member\":\"\(String(repeating: "m", count: 256))\"}", "{\"members\":\"x\"}",
            "{\"member\":\"a\\u0000b\"}",
        ] {
            cases.append(
                BadRequest("add member \(json.prefix(20))", "POST", "/v2/images/{queued}/members", 400, json: json))
        }
        for json in [
            "{}", "[]", "{\"status\":\"maybe\"}", "{\"status\":1}", "{\"status\":null}", "{\"status\":\"Accepted\"}",
            "{",
        ] {
            cases.append(
                BadRequest(
                    "member status \(json)", "PUT", "/v2/images/{shared}/members/{otherProject}", 400, json: json,
                    token: .other))
        }
        cases += [
            BadRequest(
                "member of a private image", "POST", "/v2/images/{private}/members", 403, json: "{\"member\":\"x\"}"),
            BadRequest("members of a private image", "GET", "/v2/images/{private}/members", 403),
            BadRequest("a member of a private image", "GET", "/v2/images/{private}/members/x", 404),
            BadRequest("remove from a private image", "DELETE", "/v2/images/{private}/members/x", 403),
            BadRequest(
                "a member twice", "POST", "/v2/images/{shared}/members", 409, json: "{\"member\":\"{otherProject}\"}"),
            BadRequest(
                "owner accepts", "PUT", "/v2/images/{shared}/members/{otherProject}", 403,
                json: "{\"status\":\"accepted\"}"),
            BadRequest("a stranger's members", "GET", "/v2/images/{queued}/members", 404, token: .other),
            BadRequest("no such member", "GET", "/v2/images/{shared}/members/nobody", 404),
            BadRequest("remove no member", "DELETE", "/v2/images/{shared}/members/nobody", 404),
            BadRequest(
                "a member adds a member", "POST", "/v2/images/{shared}/members", 403, json: "{\"member\":\"x\"}",
                token: .other),
            BadRequest("a member leaves", "DELETE", "/v2/images/{shared}/members/{otherProject}", 403, token: .other),
            BadRequest(
                "a member uploads", "PUT", "/v2/images/{shared}/file", 403, headers: octets, body: [1], token: .other),
            BadRequest("a member deletes", "DELETE", "/v2/images/{shared}", 403, token: .other),
        ]
        return cases
    }()

    private static let tags: [BadRequest] = [
        BadRequest("a long tag", "PUT", "/v2/images/{queued}/tags/\(String(repeating: "t", count: 256))", 400),
        BadRequest("an emoji tag", "PUT", "/v2/images/{queued}/tags/%F0%9F%98%80", 400),
        BadRequest("a tag that is not UTF-8", "PUT", "/v2/images/{queued}/tags/%FF", 400),
        BadRequest("a tag with a bad escape", "PUT", "/v2/images/{queued}/tags/%2", 400),
        BadRequest("a tag with NUL", "PUT", "/v2/images/{queued}/tags/a%00b", 400),
        BadRequest("a tag with a slash", "PUT", "/v2/images/{queued}/tags/a/b", 404),
        BadRequest("an empty tag", "PUT", "/v2/images/{queued}/tags/", 404),
        BadRequest("a tag on a foreign image", "PUT", "/v2/images/{foreign}/tags/a", 404),
        BadRequest("a tag on a public image", "PUT", "/v2/images/{public}/tags/a", 403),
        BadRequest("remove no tag", "DELETE", "/v2/images/{queued}/tags/nothing", 404),
        BadRequest("remove a tag from nothing", "DELETE", "/v2/images/nothing/tags/a", 404),
    ]

    // MARK: the protocol

    private static let methods: [BadRequest] =
        [
            ("PUT", "/v2/images"), ("DELETE", "/v2/images"), ("PATCH", "/v2/images"), ("HEAD", "/v2/images"),
            ("OPTIONS", "/v2/images"), ("POST", "/v2/images/{queued}"), ("PUT", "/v2/images/{queued}"),
            ("HEAD", "/v2/images/{queued}"), ("POST", "/v2/images/{queued}/file"),
            ("DELETE", "/v2/images/{queued}/file"),
            ("PATCH", "/v2/images/{queued}/file"), ("PUT", "/v2/images/{queued}/members"),
            ("PATCH", "/v2/images/{queued}/members/x"), ("POST", "/v2/images/{queued}/tags/a"),
            ("GET", "/v2/images/{queued}/tags/a"), ("GET", "/v2/images/{queued}/actions/deactivate"),
            ("POST", "/v2/schemas/image"), ("DELETE", "/v2/info/import"), ("PROPFIND", "/v2/images"),
        ].map { BadRequest("method", $0.0, $0.1, 405) } + [
            BadRequest("unknown verb, unknown route", "PROPFIND", "/v2/coffee", 501),
            BadRequest("unknown route", "GET", "/v2/coffee", 404),
            BadRequest("unknown route below an image", "GET", "/v2/images/{queued}/coffee", 404),
            BadRequest("an empty id", "GET", "/v2/images/", 404),
            BadRequest("an empty id to delete", "DELETE", "/v2/images/", 404),
            BadRequest("a version alone", "GET", "/v2/", 404),
            BadRequest("an id in another case", "GET", "/v2/images/{queuedUpper}", 404),
            BadRequest("a foreign image", "GET", "/v2/images/{foreign}", 404),
            BadRequest("a deleted image", "GET", "/v2/images/{deleted}", 404),
            BadRequest("delete a deleted image", "DELETE", "/v2/images/{deleted}", 404),
            BadRequest("delete a protected image", "DELETE", "/v2/images/{protected}", 403),
            BadRequest("delete a public image", "DELETE", "/v2/images/{public}", 403),
            BadRequest("deactivate a queued image", "POST", "/v2/images/{queued}/actions/deactivate", 403),
            BadRequest("reactivate a queued image", "POST", "/v2/images/{queued}/actions/reactivate", 403),
            BadRequest("deactivate a public image", "POST", "/v2/images/{public}/actions/deactivate", 403),
            BadRequest("deactivate a foreign image", "POST", "/v2/images/{foreign}/actions/deactivate", 404),
            BadRequest("an unknown action", "POST", "/v2/images/{queued}/actions/explode", 404),
            BadRequest("path with a bad escape", "GET", "/v2/images/%zz", 400),
            BadRequest("path that is not UTF-8", "GET", "/v2/images/%FF", 400),
            BadRequest("path with NUL", "GET", "/v2/images/%00", 400),
            BadRequest("stores of a service with one store", "GET", "/v2/info/stores", 404),
        ]

    private static let tokens: [BadRequest] =
        [
            "GET /v2/images", "GET /v2/images/{queued}", "GET /v2/images/{active}/file", "POST /v2/images",
            "DELETE /v2/images/{queued}", "PATCH /v2/images/{queued}", "PUT /v2/images/{queued}/tags/a",
            "GET /v2/schemas/image", "GET /v2/info/import", "GET /v2/images/{shared}/members",
        ]
        .map { line in
            let split = line.split(separator: " ")
            return BadRequest("no token", String(split[0]), String(split[1]), 401, token: .none)
        }
        + ["x", "", "eyJhbGciOiJub25lIn0.e30.", "gAAAAABh", String(repeating: "a", count: 9000), "a.b.c", "..", "\"'"]
        .map {
            BadRequest(
                "token \($0.prefix(10))", "GET", "/v2/images", 401, headers: [("X-Auth-Token", $0)], token: .none)
        }

    /// Requests without a body refuse one, before anything is looked up.
    private static let bodies: [BadRequest] =
        [
            ("GET", "/v2/images"), ("GET", "/v2/images/{queued}"), ("GET", "/v2/images/nothing"),
            ("GET", "/v2/images/{active}/file"), ("DELETE", "/v2/images/{queued}"), ("DELETE", "/v2/images/nothing"),
            ("PUT", "/v2/images/{queued}/tags/a"), ("DELETE", "/v2/images/{queued}/tags/a"),
            ("GET", "/v2/images/{shared}/members"), ("DELETE", "/v2/images/{shared}/members/x"),
            ("POST", "/v2/images/{queued}/actions/deactivate"), ("POST", "/v2/images/{queued}/actions/reactivate"),
            ("GET", "/v2/schemas/image"), ("GET", "/v2/schemas/images"), ("GET", "/v2/schemas/member"),
            ("GET", "/v2/schemas/members"),
        ].map { BadRequest("a body", $0.0, $0.1, 400, json: "{}") }

    private static let encodings: [BadRequest] = {
        let huge = [UInt8](repeating: UInt8(ascii: " "), count: 3 << 20)
        let badUTF8 = Array("{\"name\": \"".utf8) + [0xff, 0xfe] + Array("\"}".utf8)
        let overlong = Array("{\"name\": \"".utf8) + [0xc0, 0x80] + Array("\"}".utf8)
        return [
            BadRequest("huge body", "POST", "/v2/images", 413, body: huge),
            BadRequest("huge patch", "PATCH", "/v2/images/{queued}", 413, headers: [("Content-Type", v21)], body: huge),
            BadRequest("huge member", "POST", "/v2/images/{shared}/members", 413, body: huge),
            BadRequest("invalid UTF-8", "POST", "/v2/images", 400, body: badUTF8),
            BadRequest("overlong UTF-8", "POST", "/v2/images", 400, body: overlong),
            BadRequest(
                "invalid UTF-8 in a patch", "PATCH", "/v2/images/{queued}", 400, headers: [("Content-Type", v21)],
                body: badUTF8),
            BadRequest("binary", "POST", "/v2/images", 400, body: Array(0...255)),
            BadRequest(
                "a long request id", "GET", "/v2/images", 431,
                headers: [("X-Openstack-Request-Id", String(repeating: "r", count: 65))]),
        ]
    }()
}
