import Formats
import Glibc

/// A directory that goes with the value.
final class Scratch: Sendable {
    let path: String

    init() throws {
        var name = Array(((getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp") + "/formats-XXXXXX").utf8CString)
        guard mkdtemp(&name) != nil else { throw ToolFailure(what: "mkdtemp: \(errno)") }
        path = String(decoding: name.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit {
        guard let directory = opendir(path) else { return }
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            unlink(path + "/" + name)
        }
        closedir(directory)
        rmdir(path)
    }
}

struct ToolFailure: Error, CustomStringConvertible {
    let what: String
    var description: String { what }
}

/// A program of Debian's that writes images. Tests that need one that is not installed are left out.
enum Tool: String, Sendable {
    case qemuImg = "qemu-img"
    case xorriso
    case genisoimage

    var path: String { "/usr/bin/" + rawValue }
    var isInstalled: Bool { access(path, X_OK) == 0 }

    /// - Returns: what it printed.
    @discardableResult
    func run(_ arguments: [String], in scratch: Scratch) throws -> String {
        let output = scratch.path + "/output"
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        posix_spawn_file_actions_adddup2(&actions, 1, 2)
        // env sets the working directory.
        let command = ["/usr/bin/env", "-C", scratch.path, path] + arguments
        var words: [UnsafeMutablePointer<CChar>?] = command.map { strdup($0) } + [nil]
        var environment: [UnsafeMutablePointer<CChar>?] = [strdup("PATH=/usr/bin:/bin"), nil]
        defer { for word in words + environment { free(word) } }
        var child: pid_t = 0
        guard posix_spawn(&child, command[0], &actions, nil, &words, &environment) == 0 else {
            throw ToolFailure(what: "\(rawValue) does not start")
        }
        var status: Int32 = 0
        while waitpid(child, &status, 0) < 0 {
            guard errno == EINTR else { throw ToolFailure(what: "waitpid: \(errno)") }
        }
        let text = String(decoding: try File.bytes(output), as: UTF8.self)
        guard status == 0 else { throw ToolFailure(what: "\(rawValue) \(arguments): \(text)") }
        return text
    }
}

enum File {
    static func write(_ bytes: [UInt8], to path: String, sizeBytes: Int? = nil) throws {
        let file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        guard file >= 0 else { throw ToolFailure(what: "\(path): \(errno)") }
        defer { close(file) }
        guard isWritten(file, bytes), ftruncate(file, sizeBytes ?? bytes.count) == 0 else {
            throw ToolFailure(what: "\(path): \(errno)")
        }
    }

    private static func isWritten(_ file: Int32, _ bytes: [UInt8]) -> Bool {
        Glibc.write(file, bytes, bytes.count) == bytes.count
    }

    static func size(_ path: String) throws -> Int64 {
        var status = stat()
        guard stat(path, &status) == 0 else { throw ToolFailure(what: "\(path): \(errno)") }
        return Int64(status.st_size)
    }

    static func bytes(_ path: String, limit: Int = .max) throws -> [UInt8] {
        var all: [UInt8] = []
        try read(path) { chunk in
            all.append(contentsOf: chunk.prefix(limit - all.count))
            return all.count < limit
        }
        return all
    }

    /// - Parameter take: whether it wants more.
    static func read(_ path: String, _ take: (UnsafeRawBufferPointer) -> Bool) throws {
        let file = open(path, O_RDONLY)
        guard file >= 0 else { throw ToolFailure(what: "\(path): \(errno)") }
        defer { close(file) }
        var buffer = [UInt8](repeating: 0, count: 1 << 20)
        while true {
            let count = Glibc.read(file, &buffer, buffer.count)
            guard count >= 0 else { throw ToolFailure(what: "\(path): \(errno)") }
            guard count > 0, buffer.withUnsafeBytes({ take(UnsafeRawBufferPointer(rebasing: $0[..<count])) }) else {
                return
            }
        }
    }

    static func inspect(_ path: String) throws -> FormatInspection {
        var inspector = FormatInspector()
        try read(path) {
            inspector.feed($0)
            return inspector.needsMoreBytes
        }
        return inspector.finish()
    }
}
