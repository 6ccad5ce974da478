import CLinuxIO
import Glibc

/// A count in a file that the processes of one machine map, and see at once when one of them changes it. It need not
/// outlive a restart of the machine: nobody remembers what it was then.
package final class SharedCounter: @unchecked Sendable {
    /// Its value is read and changed atomically.
    private let counter: OpaquePointer

    /// - Throws: `FileLock.Failure`: what open(2), pwrite(2) or mmap(2) failed with.
    package init(path: String) throws(FileLock.Failure) {
        let descriptor = try SharedFile.open(path, mayCreate: true)
        defer { close(descriptor) }
        guard let counter = clinuxio_counter_open(descriptor) else {
            throw FileLock.Failure(path: path, code: errno)
        }
        self.counter = counter
    }

    deinit { clinuxio_counter_close(counter) }

    package var count: Int { Int(clinuxio_counter_value(counter)) }
    package func increment() { clinuxio_counter_increment(counter) }
}
