import API
import Core
import Glibc
import Logging
import NIOCore

/// Where log lines go.
package protocol LogSink: Sendable {
    /// Takes one line with its line feed, whole.
    func write(_ line: ByteBuffer)
}

/// A descriptor of the process, one write(2) a line, so that lines of several threads never mix.
package struct DescriptorSink: LogSink {
    let descriptor: Int32

    package static let standardError = DescriptorSink(descriptor: STDERR_FILENO)

    package func write(_ line: ByteBuffer) {
        line.withUnsafeReadableBytes { bytes in
            var rest = bytes[...]
            while let base = UnsafeRawBufferPointer(rebasing: rest).baseAddress, !rest.isEmpty {
                let count = Glibc.write(descriptor, base, rest.count)
                if count > 0 {
                    rest = rest.dropFirst(count)
                } else if errno != EINTR {
                    // Nobody reads the log any more; that must not end the server.
                    return
                }
            }
        }
    }
}

/// Formats log events and hands them to a sink, on the thread that logs.
package struct LineLogHandler: LogHandler {
    package var logLevel: Logger.Level
    package var metadata: Logger.Metadata = [:]
    package var metadataProvider: Logger.MetadataProvider?
    private let label: String
    private let format: LogFormat
    private let clock: any WallClock
    private let sink: any LogSink

    package init(
        label: String, level: Logger.Level, format: LogFormat, clock: any WallClock = SystemClock(),
        sink: any LogSink = DescriptorSink.standardError
    ) {
        self.label = label
        logLevel = level
        self.format = format
        self.clock = clock
        self.sink = sink
    }

    package subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    package func log(event: LogEvent) {
        var all = surroundings
        if let own = event.metadata { all.merge(own) { _, new in new } }
        if let error = event.error, all["error"] == nil { all["error"] = "\(error)" }
        write(event.message.description, event.level, all.sorted { $0.key < $1.key })
    }

    /// What is said with every event.
    private var surroundings: Logger.Metadata {
        guard let provided = metadataProvider?.get() else { return metadata }
        return metadata.merging(provided) { _, new in new }
    }

    private func write(_ message: String, _ level: Logger.Level, _ fields: [(key: String, value: Logger.MetadataValue)])
    {
        sink.write(format.line(at: clock.now, level: level, label: label, message: message, fields: fields))
    }
}

extension LineLogHandler: RequestLogHandler {
    package func log(_ request: AnsweredRequest, level: Logger.Level) {
        let own = surroundings
        guard !own.isEmpty else { return write(AnsweredRequest.message, level, request.fields) }
        let all = own.merging(request.fields.map { ($0.key, $0.value) }) { _, new in new }
        write(AnsweredRequest.message, level, all.sorted { $0.key < $1.key })
    }
}

extension LogFormat {
    /// What `auto` means: text when people look, JSON otherwise.
    package static var automatic: LogFormat { isatty(STDERR_FILENO) == 1 ? .text : .json }
}
