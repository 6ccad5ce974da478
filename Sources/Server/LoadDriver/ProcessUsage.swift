import Glibc

/// What the kernel counts for processes and their descendants: a service may be a master and its workers.
package struct ProcessUsage: Sendable {
    package struct Snapshot: Sendable {
        /// Of all their threads, also those that have ended.
        package let cpuSeconds: Double
        package let residentBytes: Int64
    }

    private let roots: [Int32]

    package init(_ roots: [Int32]) { self.roots = roots }

    /// - Throws: `Refusal` when a process is not there (any more).
    package func snapshot() throws -> Snapshot {
        var cpuSeconds = 0.0
        var residentBytes: Int64 = 0
        for process in family() {
            guard let seconds = Self.cpuSeconds(process), let bytes = Self.residentBytes(process) else {
                // A worker may end at any time.
                if roots.contains(process) { throw Refusal("--server-pid: there is no process \(process)") }
                continue
            }
            cpuSeconds += seconds
            residentBytes += bytes
        }
        return Snapshot(cpuSeconds: cpuSeconds, residentBytes: residentBytes)
    }

    /// This process's own, in seconds.
    package static func ownCPUSeconds() -> Double { seconds(of: CLOCK_PROCESS_CPUTIME_ID) ?? 0 }

    private func family() -> [Int32] {
        var found = roots
        var index = 0
        while index < found.count {
            let process = found[index]
            index += 1
            for task in Self.names(in: "/proc/\(process)/task") {
                let children = SmallFile.text("/proc/\(process)/task/\(task)/children") ?? ""
                found += children.split(separator: " ").compactMap { Int32($0) }.filter { !found.contains($0) }
            }
        }
        return found
    }

    private static func names(in directory: String) -> [String] {
        guard let stream = opendir(directory) else { return [] }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { raw in
                String(decoding: raw.prefix { $0 != 0 }, as: UTF8.self)
            }
            if !name.hasPrefix(".") { names.append(name) }
        }
        return names
    }

    private static func cpuSeconds(_ process: Int32) -> Double? {
        var clock = clockid_t()
        guard clock_getcpuclockid(process, &clock) == 0 else { return nil }
        return seconds(of: clock)
    }

    private static func seconds(of clock: clockid_t) -> Double? {
        var time = timespec()
        guard clock_gettime(clock, &time) == 0 else { return nil }
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }

    private static func residentBytes(_ process: Int32) -> Int64? {
        guard let text = SmallFile.text("/proc/\(process)/statm") else { return nil }
        let fields = text.split(separator: " ")
        guard fields.count > 1, let pages = Int64(fields[1]) else { return nil }
        return pages * Int64(sysconf(Int32(_SC_PAGESIZE)))
    }
}
