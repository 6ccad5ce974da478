import API
import Core
import Logging
import NIOCore
import Server
import Synchronization
import Testing

@Suite struct LoggingTests {
    private final class Lines: LogSink {
        let all = Mutex<[String]>([])
        func write(_ line: ByteBuffer) { all.withLock { $0.append(String(buffer: line)) } }
    }

    private struct FixedClock: WallClock {
        let now = Timestamp(microseconds: 1_700_000_000_123_456)
        func sleep(seconds: Double) async throws {}
    }

    private let lines = Lines()

    private func logger(_ format: LogFormat, level: Logger.Level = .trace) -> Logger {
        Logger(label: "test") { label in
            LineLogHandler(label: label, level: level, format: format, clock: FixedClock(), sink: lines)
        }
    }

    private var written: [String] { lines.all.withLock { $0 } }

    @Test func jsonLinesHaveTheFieldsAndAllMetadata() throws {
        var logger = logger(.json)
        logger[metadataKey: "request_id"] = "req-1"
        logger.warning("disk is \"slow\"", metadata: ["ms": "12", "list": ["a", "b"], "map": ["k": "v"]])
        let line = try #require(written.first)
        #expect(line.hasSuffix("}\n"))
        let parsed = try JSONValue(parsing: ByteBuffer(string: line))
        #expect(
            parsed == [
                "time": "2023-11-14T22:13:20.123Z", "level": "warning", "label": "test", "message": "disk is \"slow\"",
                "request_id": "req-1", "ms": "12", "list": ["a", "b"], "map": ["k": "v"],
            ])
    }

    @Test func metadataCannotReplaceTheFields() throws {
        logger(.json).info("real", metadata: ["message": "forged", "level": "debug"])
        let parsed = try JSONValue(parsing: ByteBuffer(string: try #require(written.first)))
        #expect(parsed["message"] == "real")
        #expect(parsed["level"] == "info")
        #expect(parsed["_message"] == "forged")
    }

    /// With what a logger says of itself, and without: the fields are in the order of their names.
    @Test func requestsAreLinesLikeOthers() throws {
        let request = AnsweredRequest(
            requestID: "req-1", method: "GET", path: "/image/v2/images", status: 200, bytesIn: 0, bytesOut: -1,
            elapsed: .microseconds(12_034), user: "u1", project: "p1", failure: "it went away")
        var logger = logger(.text)
        for node in [nil, "b"] {
            logger[metadataKey: "node"] = node.map { "\($0)" }
            try #require(logger.handler as? any RequestLogHandler).log(request, level: .info)
        }
        let (first, last) = (
            "broken=\"it went away\" bytes_in=0 bytes_out=-1 method=GET ms=12.034 ",
            "path=/image/v2/images project=p1 request_id=req-1 status=200 user=u1\n"
        )
        let begin = "2023-11-14T22:13:20.123Z INFO test: request "
        #expect(written == [begin + first + last, begin + first + "node=b " + last])
        let metadata = Logger.Metadata(uniqueKeysWithValues: request.fields.map { ($0.key, $0.value) })
        logger.info("\(AnsweredRequest.message)", metadata: metadata)
        #expect(written[2] == written[1])
    }

    @Test func textIsForPeople() {
        logger(.text).info(
            "request", metadata: ["status": "200", "path": "/v2/images", "why": "two words", "none": ""])
        #expect(
            written == [
                "2023-11-14T22:13:20.123Z INFO test: request none=\"\" path=/v2/images status=200 why=\"two words\"\n"
            ])
    }

    @Test(arguments: LogFormat.allCases)
    func nobodyCanForgeALine(_ format: LogFormat) {
        logger(format).info(
            "first\nsecond",
            metadata: ["a\nb": "x\r\n2023-11-14T22:13:20.123Z INFO test: forged", "c": "\u{1b}[2J\u{2028}"])
        #expect(written.count == 1)
        #expect(written[0].dropLast().contains { $0.isNewline && $0.isASCII } == false)
        #expect(!written[0].contains("\u{1b}"))
    }

    @Test func onlyTheLevelAskedForIsWritten() {
        let logger = logger(.text, level: .notice)
        logger.info("quiet")
        logger.notice("loud")
        #expect(written.count == 1)
    }
}
