import Glibc
import NIOCore

/// What the kernel counts for this process (proc(5)), under the names Prometheus' own libraries use.
enum ProcessMetrics {
    /// Appends what can be read now; what cannot is left out.
    static func render(into out: inout ByteBuffer) {
        if let fields = statFields() {
            let ticksPerSecond = Double(sysconf(Int32(_SC_CLK_TCK)))
            let pageBytes = Int64(sysconf(Int32(_SC_PAGESIZE)))
            // Fields 14, 15, 22 and 24 of proc(5), counted behind the command's name (fields 1 and 2).
            if let user = Double(fields[11]), let system = Double(fields[12]) {
                sample(
                    "process_cpu_seconds_total", .counter,
                    PrometheusText.number((user + system) / ticksPerSecond), into: &out)
            }
            if let start = Double(fields[19]), let boot = bootSeconds() {
                sample(
                    "process_start_time_seconds", .gauge, PrometheusText.number(boot + start / ticksPerSecond),
                    into: &out)
            }
            if let pages = Int64(fields[21]) {
                sample("process_resident_memory_bytes", .gauge, String(pages * pageBytes), into: &out)
            }
        }
        if let count = openDescriptors() { sample("process_open_fds", .gauge, String(count), into: &out) }
    }

    private static func sample(_ name: String, _ kind: SeriesKind, _ value: String, into out: inout ByteBuffer) {
        PrometheusText.heading(name, kind, into: &out)
        PrometheusText.sample(name, "", value, into: &out)
    }

    private static func statFields() -> [Substring]? {
        guard let text = SmallFile.text("/proc/self/stat"), let end = text.lastIndex(of: ")") else { return nil }
        let fields = text[text.index(after: end)...].split(separator: " ")
        return fields.count > 21 ? fields : nil
    }

    private static func bootSeconds() -> Double? {
        guard let text = SmallFile.text("/proc/stat") else { return nil }
        let line = text.split(separator: "\n").first { $0.hasPrefix("btime ") }
        return line.flatMap { Double($0.dropFirst(6)) }
    }

    private static func openDescriptors() -> Int? {
        guard let directory = opendir("/proc/self/fd") else { return nil }
        defer { closedir(directory) }
        // Without ".", ".." and the descriptor that reads the directory.
        var count = -3
        while readdir(directory) != nil { count += 1 }
        return count
    }
}
