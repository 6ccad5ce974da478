import Glibc

/// A system call on a path that failed.
package struct FileProblem: Error, CustomStringConvertible {
    package let action: String
    package let path: String
    package let code: Int32

    package init(_ action: String, _ path: String, code: Int32 = errno) {
        self.action = action
        self.path = path
        self.code = code
    }

    package var description: String { "\(path) cannot be \(action): \(reason)" }
    package var reason: String { String(cString: strerror(code)) }
}

/// Files of settings and credentials: small, read and replaced whole.
enum SmallFile {
    private static let limitBytes = 4 << 20

    /// - Throws: `FileProblem`.
    static func read(_ path: String) throws -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw FileProblem("opened", path) }
        defer { close(descriptor) }
        var content: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16 << 10)
        while true {
            let count = Glibc.read(descriptor, &chunk, chunk.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw FileProblem("read", path) }
            if count == 0 { return content }
            content += chunk[..<count]
            guard content.count <= limitBytes else { throw FileProblem("read", path, code: EFBIG) }
        }
    }

    /// Nil when it cannot be read or is not UTF-8.
    static func text(_ path: String) -> String? {
        (try? read(path)).flatMap { String(validating: $0, as: UTF8.self) }
    }

    static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

    /// Replaces the file, or makes it, so that a reader, and a crash, sees the old or the new whole.
    /// Only the owner may read it.
    /// - Throws: `FileProblem`.
    static func replace(_ path: String, with content: [UInt8]) throws {
        let temporary = path + ".new"
        let descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw FileProblem("created", temporary) }
        do {
            defer { close(descriptor) }
            // One left over from another run may have wider permissions.
            guard fchmod(descriptor, 0o600) == 0 else { throw FileProblem("protected", temporary) }
            try write(content, to: descriptor, path: temporary)
            guard fsync(descriptor) == 0 else { throw FileProblem("synced", temporary) }
        }
        guard rename(temporary, path) == 0 else { throw FileProblem("replaced", path) }
        let directory = open(parent(of: path), O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard directory >= 0 else { throw FileProblem("opened", parent(of: path)) }
        defer { close(directory) }
        guard fsync(directory) == 0 else { throw FileProblem("synced", parent(of: path)) }
    }

    private static func write(_ content: [UInt8], to descriptor: Int32, path: String) throws {
        var rest = content[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw FileProblem("written", path) }
            rest = rest.dropFirst(count)
        }
    }

    private static func parent(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }
}
