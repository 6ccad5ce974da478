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
