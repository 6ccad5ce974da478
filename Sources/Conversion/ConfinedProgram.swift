import CLinuxIO
import Core
import Glibc

/// A program that is given what users sent, and may do nothing but work on it (`CLinuxConfined.h`).
struct ConfinedProgram: Sendable {
    let path: String
    /// Without the program's name.
    var arguments: [String] = []
    /// What it finds as descriptors 3, 4, ….
    var files: [UnnamedFile] = []
    var memoryBytes: UInt64 = 1 << 30
    var cpuSeconds: UInt64
    var fileBytes: UInt64 = 0
    var wallSeconds: Double

    /// What it may read: programs, libraries and what the loader needs to find them.
    private static let readablePaths = ["/usr", "/bin", "/lib", "/lib64", "/etc/ld.so.cache"]
    private static let outputLimitBytes = 64 << 10

    enum End: Sendable, Equatable {
        case exited(Int32)
        case killed(signal: Int32)
        case outOfTime
    }

    struct Outcome: Sendable {
        let end: End
        /// What it printed, and what it complained of, as much as was kept.
        let output: [UInt8]
        let complaints: [UInt8]

        /// For a log.
        var complaintText: String {
            let text = String(decoding: complaints.prefix(2048), as: UTF8.self)
            return String(text.unicodeScalars.map { $0.properties.isWhitespace || $0.value < 32 ? " " : Character($0) })
        }
    }

    /// Runs it on a thread of `threads`, which waits for it to end; it is reaped whatever happens.
    /// - Throws: `FileFailure` when it does not start; `CancellationError`.
    func run(on threads: any WorkPool) async throws -> Outcome {
        let stop = StopSwitch()
        let outcome = try await withTaskCancellationHandler {
            try await threads.run { try run(stop) }
        } onCancel: {
            stop.stop()
        }
        guard let outcome else { throw CancellationError() }
        return outcome
    }

    /// - Returns: nil when it was stopped.
    private func run(_ stop: StopSwitch) throws -> Outcome? {
        let output = try Pipe()
        let complaints = try Pipe()
        let nothing = open("/dev/null", O_RDONLY | O_CLOEXEC)
        guard nothing >= 0 else { throw FileFailure("open /dev/null", errno) }
        defer { close(nothing) }
        let started = try stop.run {
            try start([nothing, output.writeEnd, complaints.writeEnd] + files.map(\.descriptor))
        }
        guard let child = started else { return nil }
        output.closeWriteEnd()
        complaints.closeWriteEnd()
        let isInTime = wait(for: child, output, complaints)
        let isStopped = stop.finish(child)
        let status = reap(child)
        output.drain(keeping: Self.outputLimitBytes)
        complaints.drain(keeping: Self.outputLimitBytes)
        guard !isStopped else { return nil }
        let signal = status & 0x7f
        let end: End = !isInTime ? .outOfTime : signal == 0 ? .exited(status >> 8 & 0xff) : .killed(signal: signal)
        return Outcome(end: end, output: output.bytes, complaints: complaints.bytes)
    }

    private func start(_ descriptors: [Int32]) throws -> pid_t {
        let name = path.split(separator: "/").last.map(String.init) ?? path
        let words = ([name] + arguments).map { strdup($0) } + [nil]
        let paths = Self.readablePaths.map { strdup($0) } + [nil]
        let program = strdup(path)
        defer { for word in words + paths + [program] { free(word) } }
        var child: pid_t = 0
        let code = words.withUnsafeBufferPointer { words in
            paths.map { UnsafePointer($0) }.withUnsafeBufferPointer { paths in
                descriptors.withUnsafeBufferPointer { descriptors in
                    var what = clinuxio_program(
                        path: program, arguments: words.baseAddress, readable_paths: paths.baseAddress,
                        descriptors: descriptors.baseAddress, descriptor_count: descriptors.count,
                        memory_bytes: memoryBytes, cpu_seconds: cpuSeconds, file_bytes: fileBytes)
                    return clinuxio_start_confined(&what, &child)
                }
            }
        }
        guard code == 0 else { throw FileFailure("start \(path)", code) }
        return child
    }

    /// Waits for the end, and makes it come when the time is over.
    /// - Returns: whether it came by itself.
    private func wait(for child: pid_t, _ output: Pipe, _ complaints: Pipe) -> Bool {
        let process = clinuxio_open_process(child)
        defer { if process >= 0 { close(process) } }
        let clock = ContinuousClock()
        let deadline = clock.now.advanced(by: .seconds(wallSeconds))
        var isInTime = true
        while !clinuxio_has_ended(child) {
            let left = (deadline - clock.now) / Duration.milliseconds(1)
            if isInTime, left <= 0 {
                kill(-child, SIGKILL)
                isInTime = false
            }
            // Without a descriptor for the process its end is asked for again and again.
            let longest: Double = process < 0 ? 20 : 60_000
            var polled = [
                output.pollEntry, complaints.pollEntry, pollfd(fd: process, events: Int16(POLLIN), revents: 0),
            ]
            poll(&polled, nfds_t(polled.count), Int32(isInTime ? min(longest, max(1, left)) : longest))
            output.drain(keeping: Self.outputLimitBytes)
            complaints.drain(keeping: Self.outputLimitBytes)
        }
        return isInTime
    }

    private func reap(_ child: pid_t) -> Int32 {
        var status: Int32 = 0
        while waitpid(child, &status, 0) < 0, errno == EINTR {}
        return status
    }
}

/// What a program prints, of which the beginning is kept.
private final class Pipe {
    private(set) var bytes: [UInt8] = []
    private var readEnd: Int32
    private(set) var writeEnd: Int32

    init() throws {
        var ends: [Int32] = [-1, -1]
        let code = clinuxio_open_pipe(&ends)
        guard code == 0 else { throw FileFailure("open a pipe", code) }
        readEnd = ends[0]
        writeEnd = ends[1]
    }

    deinit {
        closeWriteEnd()
        closeReadEnd()
    }

    func closeWriteEnd() {
        if writeEnd >= 0 { close(writeEnd) }
        writeEnd = -1
    }

    private func closeReadEnd() {
        if readEnd >= 0 { close(readEnd) }
        readEnd = -1
    }

    /// For poll(2), which leaves out what is negative.
    var pollEntry: pollfd { pollfd(fd: readEnd, events: Int16(POLLIN), revents: 0) }

    /// Takes what is there now, at most a mebibyte: a program that never stops printing must not keep us from looking
    /// at the clock.
    func drain(keeping limit: Int) {
        var room = [UInt8](repeating: 0, count: 64 << 10)
        for _ in 0..<16 where readEnd >= 0 {
            let count = read(readEnd, &room, room.count)
            if count > 0 {
                bytes += room.prefix(min(count, max(0, limit - bytes.count)))
            } else {
                if count == 0 || (errno != EAGAIN && errno != EINTR) { closeReadEnd() }
                return
            }
        }
    }
}
