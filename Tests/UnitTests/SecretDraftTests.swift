import Core
import NIOCore
import Testing

@Suite struct SecretDraftTests {
    private func refusal(_ json: String) -> String {
        do {
            _ = try SecretDraft(body: SecretBody([ByteBuffer(string: json)]), settings: SecretSettings())
            return "none"
        } catch let error as ServiceError {
            return "\(error.status) \(error.message)"
        } catch {
            return "\(error)"
        }
    }

    /// What stands between the schema's name and the end, and the field that is named.
    private static let mismatches: [(json: String, problem: String, field: String)] = [
        (
            #"{"payload": "x"}"#, "If 'payload' is supplied, 'payload_content_type' must also be supplied.",
            "payload_content_type"
        ),
        (
            #"{"payload": "x", "payload_content_type": null}"#,
            "If 'payload' is supplied, 'payload_content_type' must also be supplied.", "payload_content_type"
        ),
        (
            #"{"payload_content_type": "text/plain"}"#,
            "payload must be provided when payload_content_type is specified", "payload"
        ),
        (
            #"{"payload": "", "payload_content_type": "text/plain"}"#, "If 'payload' specified, must be non empty",
            "payload"
        ),
        (
            #"{"payload": " \n", "payload_content_type": "text/plain"}"#, "If 'payload' specified, must be non empty",
            "payload"
        ),
        (#"{"payload": null, "payload_content_type": "text/plain"}"#, "null is not of type 'string'", "payload"),
        (#"{"payload": 5, "payload_content_type": "text/plain"}"#, "a number is not of type 'string'", "payload"),
        (
            #"{"payload": "x", "payload": 5, "payload_content_type": "text/plain"}"#,
            "a number is not of type 'string'", "payload"
        ),
        (
            #"{"payload": "x", "payload_content_type": "text/plain", "payload_content_encoding": "base64"}"#,
            "payload_content_encoding is not one of None", "payload_content_encoding"
        ),
        (
            #"{"payload": "AAAA", "payload_content_type": "application/octet-stream"}"#,
            "payload_content_encoding is not one of ['base64', 'binary']", "payload_content_encoding"
        ),
        (
            #"{"payload": "AAAA", "payload_content_type": "application/octet-stream", "payload_content_encoding": "gzip"}"#,
            "the value is not one of ['base64']", "payload_content_encoding"
        ),
        (#"{"payload_content_encoding": null}"#, "null is not of type 'string'", "payload_content_encoding"),
        (
            #"{"payload": "AAA", "payload_content_type": "application/octet-stream", "payload_content_encoding": "base64"}"#,
            "Invalid payload for payload_content_encoding", "payload"
        ),
        (
            #"{"payload": "%%%%", "payload_content_type": "application/octet-stream", "payload_content_encoding": "base64"}"#,
            "Invalid payload for payload_content_encoding", "payload"
        ),
        (#"{"expiration": "soon"}"#, "Invalid date for 'expiration'", "expiration"),
        (#"{"expiration": 5}"#, "a number is not of type 'string'", "expiration"),
        (#"{"expiration": null}"#, "null is not of type 'string'", "expiration"),
        (#"{"name": 5}"#, "a number is not of type 'string', 'null'", "name"),
        (#"{"algorithm": null}"#, "null is not of type 'string'", "algorithm"),
        (#"{"mode": []}"#, "an array is not of type 'string'", "mode"),
        (#"{"bit_length": 0}"#, "the value is less than the minimum of 1", "bit_length"),
        (#"{"bit_length": 32768}"#, "the value is greater than the maximum of 32767", "bit_length"),
        (#"{"bit_length": "256"}"#, "a string is not of type 'integer'", "bit_length"),
        (#"{"bit_length": 1.5}"#, "a number is not of type 'integer'", "bit_length"),
        (#"{"bit_length": 1e300}"#, "a number is not of type 'integer'", "bit_length"),
        (#"{"bit_length": true}"#, "a boolean is not of type 'integer'", "bit_length"),
        (#"{"bit_length": null}"#, "null is not of type 'integer'", "bit_length"),
        (
            #"{"secret_type": "Symmetric"}"#,
            "the value is not one of ['symmetric', 'public', 'private', 'passphrase', 'certificate', 'opaque']",
            "secret_type"
        ),
        (#"{"secret_type": null}"#, "null is not of type 'string'", "secret_type"),
        ("[]", "an array is not of type 'object'", "None"), ("null", "null is not of type 'object'", "None"),
        (#""payload""#, "a string is not of type 'object'", "None"),
    ]

    @Test func refusalsNameTheFieldAndNothingElse() {
        for (json, problem, field) in Self.mismatches {
            let expected =
                "400 Provided object does not match schema 'Secret': \(problem). Invalid property: '\(field)'"
            #expect(refusal(json) == expected, "\(json)")
        }
        for field in ["name", "algorithm", "mode"] {
            let long = String(repeating: "é", count: 256)
            #expect(
                refusal(#"{"\#(field)": "\#(long)"}"#).contains("the value is too long. Invalid property: '\(field)'"))
            #expect(refusal(#"{"\#(field)": "\#(long.dropFirst())"}"#) == "none")
        }
    }

    @Test(arguments: [
        "", " ", "{", #"{"payload": "x"#, #"{"payload": "\q"}"#, "{\"payload\": \"\u{1}\"}", #"{"payload": "\ud800"}"#,
        #"{"payload": "a\u0000b"}"#, #"{"payload": "x"} y"#, "nope",
    ])
    func malformedJSONIsCalledThatAndNoMore(_ json: String) { #expect(refusal(json) == "400 Malformed JSON") }

    @Test func aPayloadThatIsNotUTF8IsMalformed() {
        let bytes = Array(#"{"payload": ""#.utf8) + [0xff] + Array(#"", "payload_content_type": "text/plain"}"#.utf8)
        #expect(throws: ServiceError.self) {
            try SecretDraft(body: SecretBody([ByteBuffer(bytes: bytes)]), settings: SecretSettings())
        }
    }

    @Test func theLimitCountsWhatWasSent() {
        func json(_ count: Int) -> String {
            #"{"payload": "\#(String(repeating: "x", count: count))", "payload_content_type": "text/plain"}"#
        }
        #expect(refusal(json(20_000)) == "none")
        #expect(refusal(json(20_001)) == "413 Provided information too large to process")
    }

    @Test func aBodyInPiecesIsOneBody() throws {
        let text = #"{"n\u0061me": "a", "p\u0061yload": "x\"y", "payload_content_type": "text/plain"}"#
        let parts = text.utf8.map { ByteBuffer(bytes: [$0]) }
        let draft = try SecretDraft(body: SecretBody(parts), settings: SecretSettings())
        #expect(draft.name == "a")
        #expect(draft.payload.map { Array($0.buffer.readableBytesView) } == Array("x\"y".utf8))
    }

    /// `dump` and interpolation are how values come into logs.
    @Test func nothingPrintsAPayload() throws {
        let json = #"{"payload": "sesame", "payload_content_type": "text/plain"}"#
        let body = SecretBody([ByteBuffer(string: json)])
        let draft = try SecretDraft(body: body, settings: SecretSettings())
        var dumped = ""
        dump(draft, to: &dumped)
        dump(body, to: &dumped)
        #expect(!"\(draft) \(body) \(dumped) \(String(reflecting: draft))".contains("sesame"))
    }

    @Test(arguments: [
        ("2031", "2031-01-01T00:00:00"), ("2031-02", "2031-02-01T00:00:00"), ("2031-2-3", "2031-02-03T00:00:00"),
        ("20310601", "2031-06-01T00:00:00"), ("20310601T120000Z", "2031-06-01T12:00:00"),
        (" 2031-06-01 12:00 ", "2031-06-01T12:00:00"), ("2031-06-01T12", "2031-06-01T12:00:00"),
        ("2031-06-01T12:00:00.999999+02:30", "2031-06-01T09:30:00"),
        ("2031-06-01T12:00:00,5-05", "2031-06-01T17:00:00"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59"), ("2032-02-29", "2032-02-29T00:00:00"),
    ])
    func timesAreReadGenerously(_ text: String, _ expected: String) {
        #expect(SecretTime.read(text).map(SecretTime.text) == expected)
    }

    @Test(arguments: [
        "", "x", "203", "203106", "2031-13-01", "2031-02-30", "2031-06-01X12", "2031-06-01T25:00", "2031-06-01T12:60",
        "2031-06-01T12:00:00+", "2031-06-01T12:00:00.", "9999-12-31T23:59:59-01:00", "0001-01-01T00:00+01:00",
        "2031-06-01T12:00:00Zx", "20310601T1200000000000000000000000000000000000000000000000000000000000000000000000",
        "２０３１",
    ])
    func whatIsNoTimeIsNone(_ text: String) { #expect(SecretTime.read(text) == nil) }
}
