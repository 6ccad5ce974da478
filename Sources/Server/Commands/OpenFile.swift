import Glibc

/// A file that is being read, from its beginning. Closed with its last holder; not for two tasks at once.
final class OpenFile: Sendable {
    let path: String
    /// What it had when it was opened; nil for a pipe.
    let sizeBytes: Int64?
    private let descriptor: Int32

    /// - Throws: `FileProblem`.
    init(_ path: String) throws {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw FileProblem("opened", path) }
        self.path = path
        self.descriptor = descriptor
        let end = lseek(descriptor, 0, SEEK_END)
        sizeBytes = end >= 0 && lseek(descriptor, 0, SEEK_SET) == 0 ? Int64(end) : nil
    }

    deinit { close(descriptor) }

    /// The next bytes, `limit` of them at most; nil at the end.
    /// - Throws: `FileProblem`.
    func read(_ limit: Int) throws -> [UInt8]? {
        while true {
            var code: Int32 = 0
            let chunk = [UInt8](unsafeUninitializedCapacity: limit) { out, count in
                let got = Glibc.read(descriptor, out.baseAddress, limit)
                code = got < 0 ? errno : 0
                count = max(0, got)
            }
            if code == 0 { return chunk.isEmpty ? nil : chunk }
            if code != EINTR { throw FileProblem("read", path, code: code) }
        }
    }
}
