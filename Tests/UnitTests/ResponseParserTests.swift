import NIOCore
import Server
import Testing

/// The load driver's reader of responses: in one piece, byte by byte, and what is none.
@Suite struct ResponseParserTests {
    struct Case: Sendable, CustomStringConvertible {
        let text: String
        let status: Int
        let body: String
        var keepsAlive = true
        var description: String { text.debugDescription }
    }

    static let whole = [
        Case(text: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", status: 200, body: "hello"),
        Case(text: "HTTP/1.1 200 OK\r\ncontent-length:5 \r\n\r\nhello", status: 200, body: "hello"),
        Case(text: "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", status: 200, body: ""),
        Case(text: "HTTP/1.1 204 No Content\r\nDate: x\r\n\r\n", status: 204, body: ""),
        Case(text: "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", status: 304, body: ""),
        Case(text: "HTTP/1.1 200 OK\nContent-Length: 2\n\nhi", status: 200, body: "hi"),
        Case(
            text: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;x=y\r\n!\r\n0\r\n\r\n",
            status: 200,
            body: "hello!"),
        Case(
            text: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n",
            status: 200, body: "0123456789"),
        // Framing by chunks goes before a length (RFC 9112, section 6.3).
        Case(
            text: "HTTP/1.1 200 OK\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
            status: 200, body: "hi"),
        Case(
            text: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nhi", status: 201,
            body: "hi"),
        Case(
            text: "HTTP/1.1 500 Oops\r\nConnection: close\r\nContent-Length: 1\r\n\r\n-", status: 500, body: "-",
            keepsAlive: false),
        Case(text: "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n-", status: 200, body: "-", keepsAlive: false),
        Case(
            text: "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 1\r\n\r\n-", status: 200, body: "-"),
    ]

    @Test(arguments: whole, [1, 2, 7, 1000]) func responsesAreReadInWhateverPiecesTheyCome(
        _ sample: Case, _ size: Int
    ) throws {
        var parser = ResponseParser()
        // Twice: one follows the other on a connection.
        for _ in 0..<2 {
            try parser.begin(keepingBody: true)
            let bytes = Array(sample.text.utf8)
            for start in stride(from: 0, to: bytes.count, by: size) {
                let end = min(start + size, bytes.count)
                let isWhole = try parser.feed(ByteBuffer(bytes: bytes[start..<end]))
                #expect(isWhole == (end == bytes.count))
            }
            #expect(parser.status == sample.status)
            #expect(String(buffer: parser.body) == sample.body)
            #expect(parser.bodyBytes == Int64(sample.body.utf8.count))
            #expect(parser.keepsAlive == sample.keepsAlive)
            let endsLate = parser.end()
            #expect(!endsLate)
        }
    }

    @Test func aBodyWithoutALengthEndsWithTheConnection() throws {
        var parser = ResponseParser()
        try parser.begin(keepingBody: true)
        for part in ["HTTP/1.1 200 OK\r\n\r\nhel", "lo"] {
            let isWhole = try parser.feed(ByteBuffer(string: part))
            #expect(!isWhole)
        }
        let isWholeAtEnd = parser.end()
        #expect(isWholeAtEnd)
        #expect(String(buffer: parser.body) == "hello")
        #expect(!parser.keepsAlive)
    }

    @Test func aBodyThatIsNotKeptIsCounted() throws {
        var parser = ResponseParser()
        try parser.begin(keepingBody: false)
        let isWhole = try parser.feed(ByteBuffer(string: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"))
        #expect(isWhole)
        #expect(parser.bodyBytes == 5)
        #expect(parser.body.readableBytes == 0)
    }

    @Test(arguments: [
        "", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ]) func anEndInTheMiddleIsNoResponse(_ text: String) throws {
        var parser = ResponseParser()
        try parser.begin(keepingBody: true)
        let isWhole = try parser.feed(ByteBuffer(string: text))
        #expect(!isWhole)
        let isWholeAtEnd = parser.end()
        #expect(!isWholeAtEnd)
    }

    @Test(arguments: [
        "SSH-2.0-OpenSSH_9.2", "HTTP/2 200 OK\r\n\r\n", "HTTP/1.1 2x0 OK\r\n\r\n", "HTTP/1.1200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab", "HTTP/1.1 204 No Content\r\n\r\nx",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
        "HTTP/1.1 200 OK\r\nX: " + String(repeating: "x", count: 70_000),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + String(repeating: "1", count: 5_000),
    ]) func whatIsNoResponseIsAnError(_ text: String) throws {
        var parser = ResponseParser()
        try parser.begin(keepingBody: true)
        #expect(throws: ResponseParser.Malformed.self) { _ = try parser.feed(ByteBuffer(string: text)) }
    }

    /// Each byte of an answer that lacks its last chunk, made each other byte: never is it whole.
    @Test func noChangedByteMakesAnAnswerWhole() throws {
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n"
        let bytes = Array(text.utf8)
        for index in bytes.indices {
            for byte in UInt8.min ... .max {
                var changed = bytes
                changed[index] = byte
                var parser = ResponseParser()
                try parser.begin(keepingBody: true)
                let isWhole = (try? parser.feed(ByteBuffer(bytes: changed))) ?? false
                if isWhole { Issue.record("byte \(index) as \(byte)") }
            }
        }
    }
}
