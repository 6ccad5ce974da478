import CLinuxIO

/// Keeps what the process has in memory from leaving it.
package enum CoreDumps {
    /// No core file (RLIMIT_CORE 0), and nobody but the system's administrator may look into the memory
    /// (PR_SET_DUMPABLE 0, which also holds where cores are piped into a program: there the limit says nothing).
    /// For the rest of the process's life; call it before there are secrets. What it starts with `exec` gets the
    /// limit alone.
    package static func forbid() {
        let result = clinuxio_forbid_core_dumps()
        precondition(result == 0, "the system refuses to forbid core dumps")
    }

    /// Whether both hold.
    package static var areForbidden: Bool { clinuxio_core_dumps_are_forbidden() }
}
