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
        var all = metadata
        if let provided = metadataProvider?.get() { all.merge(provided) { _, new in new } }
        if let own = event.metadata { all.merge(own) { _, new in new } }
        if let error = event.error, all["error"] == nil { all["error"] = "\(error)" }
        sink.write(
            format.line(
                at: clock.now, level: event.level, label: label, message: event.message.description, metadata: all))
    }
}

extension LogFormat {
    /// What `auto` means: text when people look, JSON otherwise.
    package static var automatic: LogFormat { isatty(STDERR_FILENO) == 1 ? .text : .json }
}
