import Core
import Foundation
import NIOCore
import NIOHTTP1
import Testing

/// Valid requests to the key manager with something changed in them. Whatever it is, the server answers, its
/// answer is no fault of its own, and no payload comes into an error or into the log.
///
/// The seed is printed with a failure. `AMBROTYPE_FUZZ_REQUESTS` and `AMBROTYPE_FUZZ_SEED` ask for more, or for
/// another run.
@Suite(.server) struct SecretFuzzTests {
    private static func number(_ name: String, _ standard: UInt64) -> UInt64 {
        ProcessInfo.processInfo.environment[name].flatMap { UInt64($0) } ?? standard
    }

    @Test func changedRequestsAreAnswered() async throws {
        let server = TestServer.current
        let count = Self.number("AMBROTYPE_FUZZ_REQUESTS", 3_000)
        let seed = Self.number("AMBROTYPE_FUZZ_SEED", 20_261_124)
        var requests = FuzzedRequests(seed: seed)
        for _ in 0..<4 {
            let answer = try await server.call(.POST, SecretTests.path, as: server.demo, json: "{}")
            requests.ids.append(String(try #require(answer.json["secret_ref"]?.stringValue).suffix(36)))
        }
        var connection = try await server.connect()
        defer { connection.close() }
        var statuses: [Int: Int] = [:]
        for index in 0..<count {
            let bytes = requests.next(token: server.demo)
            let response: RawResponse
            do {
                try await connection.send(bytes)
                response = try await connection.response()
            } catch {
                throw TestFailure("seed \(seed), request \(index): \(error): \(String(decoding: bytes, as: UTF8.self))")
            }
            statuses[response.status, default: 0] += 1
            if response.status >= 400 {
                let isOurs = response.status < 500 && !response.text.contains(FuzzedRequests.mark)
                #expect(
                    isOurs,
                    "seed \(seed), request \(index): \(response.status) \(response.text) to \(String(decoding: bytes, as: UTF8.self))"
                )
            } else if response.status == 201,
                let ref = (try? JSONValue(parsing: .init(bytes: response.body)))?["secret_ref"]
            {
                requests.remember(String((ref.stringValue ?? "").suffix(36)))
            }
            if response.header("connection") == "close" {
                connection.close()
                connection = try await server.connect()
            }
        }
        // Both ends of the road are travelled: it is no test of one early refusal.
        for status in [200, 201, 204, 400, 404, 406, 409, 415] {
            #expect(count < 1_000 || statuses[status, default: 0] > 0, "seed \(seed): no \(status) among \(statuses)")
        }
        #expect(!server.log.all.contains(FuzzedRequests.mark), "seed \(seed)")
        // What is no HTTP is refused before there is anything to log.
        #expect(try server.log.lines("request").count > Int(count / 2))
    }
}

/// Makes the requests, all from one seed.
struct FuzzedRequests {
    /// In every payload, and nowhere else.
    static let mark = "Zq7Payload"

    private var state: UInt64
    /// Secrets that there are.
    var ids: [String] = []

    init(seed: UInt64) { state = seed }

    mutating func remember(_ id: String) {
        if ids.count < 64 { ids.append(id) } else { ids[below(64)] = id }
    }

    private mutating func below(_ bound: Int) -> Int {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return Int((z ^ (z >> 31)) % UInt64(bound))
    }

    private mutating func pick(_ choices: [String]) -> String { choices[below(choices.count)] }
    private mutating func chance(_ one: Int) -> Bool { below(one) == 0 }

    // MARK: whole requests

    mutating func next(token: String) -> [UInt8] {
        var method = "GET"
        var path = "/v1/secrets"
        var body: String?
        var type = "application/json"
        switch below(12) {
        case 0, 1, 2: (method, body) = ("POST", secret())
        case 3, 4: path += "?" + query()
        case 5: path = one()
        case 6: path = one() + "/payload"
        case 7:
            (method, path, body) = ("PUT", one(), payload())
            type = pick(["text/plain", "application/octet-stream", "text/plain; charset=utf-8", "application/pkcs8"])
        case 8: (method, path) = ("DELETE", one() + pick(["", "?force=", "?force=true", "?force=0", "?force", "?x=1"]))
        case 9: (method, path, body) = ("PUT", one() + "/metadata", #"{"metadata": {"\#(word())": "\#(word())"}}"#)
        case 10: (method, path, body) = ("POST", one() + "/metadata", #"{"key": "\#(word())", "value": "\#(word())"}"#)
        default: path = one() + "/metadata/" + word()
        }
        if chance(20) { method = pick(["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "FETCH"]) }
        if chance(8) { path = changed(path, keeping: true) }
        var bytes = body.map { Array($0.utf8) } ?? []
        if body != nil, chance(2) { bytes = changed(bytes) }
        var head = "\(method) /key-manager\(path) HTTP/1.1\r\nHost: localhost\r\n"
        head += "X-Auth-Token: \(chance(50) ? changed(token, keeping: true) : token)\r\n"
        if chance(2) { head += "OpenStack-API-Version: \(version())\r\n" }
        if chance(2) { head += "Accept: \(accept())\r\n" }
        if body != nil { head += "Content-Type: \(chance(8) ? changed(type, keeping: true) : type)\r\n" }
        if chance(6) { head += "Content-Encoding: \(pick(["base64", "gzip", "", "BASE64"]))\r\n" }
        if !bytes.isEmpty || body != nil { head += "Content-Length: \(bytes.count)\r\n" }
        return Array((head + "\r\n").utf8) + bytes
    }

    private mutating func one() -> String {
        "/v1/secrets/"
            + (chance(12) ? pick(["nothing", "6f0d4c5a-1b2c-4d3e-8f90-a1b2c3d4e5f6", "%00", ".", ".."]) : pick(ids))
    }

    private mutating func version() -> String {
        let plain = pick(["key-manager 1.0", "key-manager 1.1", "key-manager 1.2", "key-manager latest", "compute 2.1"])
        return chance(4) ? changed(plain, keeping: true) : plain
    }

    private mutating func accept() -> String {
        let plain = pick([
            "application/json", "*/*", "text/plain", "application/octet-stream", "text/plain; charset=utf-8",
            "text/plain;q=0.5, application/json;q=0.4", "text/html", "application/pkcs8, */*;q=0.1",
        ])
        return chance(4) ? changed(plain, keeping: true) : plain
    }

    private mutating func query() -> String {
        let values = [
            "limit=" + number(), "offset=" + number(),
            "name=" + pick(["%25", "a%25", "_", "%5C", "%25%5C", "%00", "%ff", word()]),
            "alg=aes", "mode=%25", "bits=" + number(), "secret_type=" + pick(Self.types),
            "created=gt:2020-01-01,lt:" + time(),
            "updated=" + time(), "expiration=gte:" + time(), "acl_only=" + pick(["true", "TRUE", "x"]),
            "sort=" + pick(["name", "created:desc", "status", "bit_length:asc,mode:desc", "expiration", "x", "name:"]),
        ]
        return (0...below(4)).map { _ in pick(values) }.joined(separator: "&")
    }

    // MARK: bodies

    private static let types = ["symmetric", "public", "private", "passphrase", "certificate", "opaque", "other"]

    private mutating func number() -> String {
        pick([
            "0", "1", "-1", "256", "32767", "32768", "9223372036854775807", "9223372036854775808", "1.5", "1e3", "abc",
            "",
        ])
    }

    private mutating func time() -> String {
        pick([
            "2040", "2040-01-01", "2040-01-01T00:00:00", "20400101T000000Z", "2001-01-01", "9999-12-31T23:59:59-23:00",
            "soon", "",
        ])
    }

    private mutating func word() -> String {
        pick([
            "a", "Geo", "x-y_z", "", "%", "ä", "\\u0061", "\\u0000", String(repeating: "n", count: 255 + below(2)),
            "\\ud83d\\ude00",
        ])
    }

    private mutating func payload() -> String {
        let text = Self.mark + String(below(1 << 30), radix: 36)
        switch below(6) {
        case 0: return Data(text.utf8).base64EncodedString()
        case 1: return text + String(repeating: "p", count: below(25_000))
        default: return text
        }
    }

    /// A body that stores a secret, more often than not a valid one.
    mutating func secret() -> String {
        var members: [String] = []
        if chance(2) {
            let isBytes = chance(2)
            let text = payload()
            members.append(#""payload": "\#(isBytes ? Data(text.utf8).base64EncodedString() : text)""#)
            members.append(#""payload_content_type": "\#(isBytes ? "application/octet-stream" : "text/plain")""#)
            if isBytes { members.append(#""payload_content_encoding": "base64""#) }
        }
        if chance(2) { members.append(#""name": "key""#) }
        if chance(3) { members.append(#""bit_length": \#(chance(3) ? number() : "256")"#) }
        if chance(3) { members.append(#""algorithm": "\#(chance(3) ? word() : "aes")""#) }
        if chance(4) { members.append(#""secret_type": "\#(pick(Self.types))""#) }
        if chance(4) { members.append(#""expiration": "\#(time())""#) }
        return "{" + members.joined(separator: ", ") + "}"
    }

    // MARK: changes

    /// - Parameter keeping: what stays fit for a line of a request's head.
    private mutating func changed(_ text: String, keeping: Bool) -> String {
        String(decoding: changed(Array(text.utf8)).filter { !keeping || (0x21...0x7e).contains($0) }, as: UTF8.self)
    }

    private mutating func changed(_ bytes: [UInt8]) -> [UInt8] {
        var bytes = bytes
        for _ in 0...below(3) {
            let place = below(bytes.count + 1)
            switch below(7) {
            case 0 where place < bytes.count: bytes[place] ^= UInt8(1 << below(8))
            case 1 where place < bytes.count: bytes.remove(at: place)
            case 2: bytes.insert(UInt8(below(256)), at: place)
            case 3: bytes.removeSubrange(place...)
            case 4: bytes.insert(contentsOf: bytes.suffix(below(bytes.count + 1)), at: place)
            case 5:
                let pieces = [
                    "null", "{", "}", "[", "]", "\"", "\\", "\\u0000", "1e999", ",", ":", "%", "%00", "=", "\u{0}",
                    "\u{ff}",
                ]
                bytes.insert(contentsOf: Array(pick(pieces).utf8), at: place)
            default: bytes.insert(contentsOf: [UInt8](repeating: UInt8(below(256)), count: below(300)), at: place)
            }
        }
        return bytes
    }
}
