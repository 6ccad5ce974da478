import CLinuxIO
import Core
import Glibc

/// The count in a file that the processes of one machine map. What it held before a restart of the machine is of no
/// matter: nobody remembers anything then.
package final class FileChangeCounter: ChangeCounter, @unchecked Sendable {
    /// Its value is read and changed atomically.
    private let counter: OpaquePointer

    /// - Throws: `FileProblem`.
    package init(path: String) throws {
        let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw FileProblem("opened", path) }
        defer { close(descriptor) }
        guard let counter = clinuxio_counter_open(descriptor) else {
            throw FileProblem("mapped", path)
        }
        self.counter = counter
    }

    deinit { clinuxio_counter_close(counter) }

    package var count: Int { Int(clinuxio_counter_value(counter)) }
    package func increment() { clinuxio_counter_increment(counter) }
}
