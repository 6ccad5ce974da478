/// The part of the table that is about the operator's view.
extension BadRequest {
    private static let root = "/ambrotype/v1"
    private static let reads = [
        "", "/", "/deletions", "/jobs", "/leases", "/stores", "/usage", "/deleted-images", "/deleted-keys",
    ]
    private static let key = "0e0b0c0d-1111-4222-8333-444455556666"
    private static let acts = [
        ("GET", "/jobs/erase-blob/nothing"), ("POST", "/jobs/erase-blob/nothing/retry"), ("POST", "/jobs/retry-parked"),
        ("POST", "/deleted-images/{deleted}/undelete"), ("DELETE", "/deleted-images/{deleted}"),
        ("GET", "/keys/\(key)"), ("POST", "/deleted-keys/\(key)/undelete"), ("DELETE", "/deleted-keys/\(key)"),
    ]

    static let operators: [BadRequest] = {
        var cases: [BadRequest] = []
        func add(_ name: String, _ method: String, _ path: String, _ status: Int, token: Token = .admin) {
            cases.append(BadRequest("operator: " + name, method, root + path, status, token: token))
        }
        for (method, path) in reads.map({ ("GET", $0) }) + acts {
            add("no token", method, path, 401, token: .none)
            add("a member", method, path, 403, token: .demo)
            add("a reader", method, path, 403, token: .reader)
            cases.append(BadRequest("operator: a body", method, root + path, 400, json: "{}", token: .admin))
        }
        // What is wrong with a request is told to those alone whose business it is.
        add("a member's bad limit", "GET", "/jobs?limit=x", 403, token: .demo)
        for path in ["/deletions", "/jobs", "/deleted-images", "/deleted-keys"] {
            for query in [
                "limit=-1", "limit=a", "limit=", "limit=+1", "limit=1.5", "limit=99999999999999999999",
                "limit=1&limit=2", "marker=", "marker=x", "marker=1", "marker=.a", "marker=-1.a", "marker=%FF",
                "colour=blue",
            ] { add("\(path) \(query)", "GET", "\(path)?\(query)", 400) }
        }
        for query in ["state=asleep", "state=", "state=Parked", "kind=", "marker=1.nowhere"] {
            add("jobs \(query)", "GET", "/jobs?\(query)", 400)
        }
        for path in ["/keys/\(key)?limit=1", "/leases?limit=1", "/stores?x=", "/usage?projects=a"] {
            add("a parameter that is not there", "GET", path, 400)
        }
        for value in ["yes", "", "1", "True"] {
            add("over_quota=\(value)", "POST", "/deleted-images/{deleted}/undelete?over_quota=\(value)", 400)
        }
        add("no such job", "GET", "/jobs/erase-blob/nothing", 404)
        add("retry no such job", "POST", "/jobs/erase-blob/nothing/retry", 404)
        add("undelete what is erased", "POST", "/deleted-images/{deleted}/undelete", 404)
        add("undelete what was never deleted", "POST", "/deleted-images/{active}/undelete", 404)
        add("discard what was never deleted", "DELETE", "/deleted-images/{active}", 404)
        for path in ["/keys/\(key)", "/keys/nothing"] { add("no such key", "GET", path, 404) }
        for path in ["/keys/%FF", "/keys/%00"] { add("no text", "GET", path, 400) }
        for id in [key, "nothing", "{active}"] {
            add("undelete no deleted key", "POST", "/deleted-keys/\(id)/undelete", 404)
            add("erase no deleted key", "DELETE", "/deleted-keys/\(id)", 404)
        }
        add("undelete has no parameters", "POST", "/deleted-keys/\(key)/undelete?over_quota=true", 400)
        add("erase has no parameters", "DELETE", "/deleted-keys/\(key)?force=true", 400)
        for path in [
            "/coffee", "/keys", "/keys/", "/deleted-keys/", "/keys/a/b", "/jobs/", "/jobs/erase-blob", "/jobs/a/b/c",
            "/deleted-images/", "/stores/local",
        ] {
            add("unknown route", "GET", path, 404)
            add("unknown route, no token", "GET", path, 404, token: .none)
        }
        cases.append(BadRequest("operator: another version", "GET", "/ambrotype/v2/jobs", 404, token: .admin))
        cases.append(BadRequest("operator: no version", "GET", "/ambrotype", 404, token: .admin))
        for path in reads { add("method", "PUT", path, 405) }
        for (method, path) in [
            ("POST", "/jobs"), ("DELETE", "/jobs/erase-blob/nothing"), ("GET", "/jobs/erase-blob/nothing/retry"),
            ("GET", "/jobs/retry-parked"), ("GET", "/deleted-images/{deleted}"),
            ("GET", "/deleted-images/{deleted}/undelete"), ("HEAD", "/leases"), ("PROPFIND", "/usage"),
            ("DELETE", "/keys/\(key)"), ("GET", "/deleted-keys/\(key)"), ("POST", "/deleted-keys/\(key)"),
            ("GET", "/deleted-keys/\(key)/undelete"),
        ] { add("method", method, path, 405) }
        add("unknown verb, unknown route", "PROPFIND", "/coffee", 501)
        return cases
    }()
}
