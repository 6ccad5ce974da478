import Core
import Glibc
import Persistence

/// Why the server cannot start. The description is one line for the operator.
package struct StartProblem: Error, CustomStringConvertible {
    package let description: String
    package init(_ description: String) { self.description = description }
}

/// The directory everything is kept under. One node has it for itself, or several share it; of each node one process
/// holds it, as long as the object lives.
///
///     DIR/lock               who is the first node; locked (flock(2)) while it runs
///     DIR/lock-NAME          the same of node NAME
///     DIR/schema-lock        shared by all that run, for one alone while it changes the schema
///     DIR/ambrotype.db       the database, with SQLite's -wal and -shm beside it, and -door and -turn (`WriteTurn`)
///     DIR/identity-changes   a count: nodes believe nothing they knew of users before it changed
///     DIR/token-keys.pem     the keys that sign tokens (mode 0600)
///     DIR/record-key         the key that seals what was verified of images (mode 0600)
///     DIR/master-keys        the keys that wrap the keys of projects (mode 0600), unless they are elsewhere
///     DIR/clouds.yaml        credentials for clients (mode 0600)
///     DIR/disable            if there, /healthcheck of the first node answers 503; DIR/disable-NAME for node NAME
///     DIR/scratch            files without names, of imports that are converted
///     DIR/stores/local       image data, unless other stores are configured
package final class DataDirectory: Sendable {
    private static let neededBytes: UInt64 = 16 << 20
    private static let pause = Duration.milliseconds(50)
    /// Another process looks for a moment whether this node runs, or starts and fails.
    private static let glances = 10
    /// Another node sets the directory up, or changes the schema.
    private static let preparations = 600

    package let path: String
    package let node: NodeName
    /// Whether no other node runs, nor can start, until `share` is called: the schema may be changed.
    package let isAlone: Bool
    private let own: FileLock
    private let schema: FileLock

    package var database: String { path + "/ambrotype.db" }
    package var identityChanges: String { Self.identityChanges(in: path) }
    package var tokenKeys: String { path + "/token-keys.pem" }
    package var recordKey: String { path + "/record-key" }
    package var clouds: String { path + "/clouds.yaml" }
    package var scratch: String { path + "/scratch" }
    package var disableSwitch: String { path + "/disable" + Self.suffix(of: node) }

    static func identityChanges(in path: String) -> String { path + "/identity-changes" }

    private static func suffix(of node: NodeName) -> String { node == .first ? "" : "-\(node)" }

    static func lock(of node: NodeName, in path: String) -> String { path + "/lock" + suffix(of: node) }

    /// Makes the directory if it is missing (mode 0700), and takes it. Waits while another node prepares it.
    /// - Throws: `StartProblem`.
    package init(path: String, node: NodeName = .first) async throws {
        self.path = path
        self.node = node
        do {
            try Self.make(path)
        } catch {
            throw StartProblem("data_dir: \(error); choose another with --data-dir")
        }
        own = try await Self.takeOwn(node, path)
        schema = try Self.schemaLock(node, path)
        isAlone = try await Self.join(schema, mayPrepare: node == .first, path)
        try checkSpace()
    }

    private static func file(_ path: String) throws -> FileLock {
        do {
            return try FileLock(path: path)
        } catch {
            throw StartProblem("data_dir: \(FileProblem("written to", path, code: error.code))")
        }
    }

    /// The first node makes it, and a program of before there were nodes does not.
    private static func schemaLock(_ node: NodeName, _ path: String) throws -> FileLock {
        let file = path + "/schema-lock"
        guard node == .first || SmallFile.exists(file) else {
            throw StartProblem(
                "data_dir: \(path) is not set up for this program, and only the first node, without --node, does that: "
                    + "start it first")
        }
        return try Self.file(file)
    }

    private static func takeOwn(_ node: NodeName, _ path: String) async throws -> FileLock {
        let name = lock(of: node, in: path)
        let lock = try file(name)
        guard try await take(lock, .exclusive, attempts: glances, name) else {
            let owner = SmallFile.text(name)?.split(whereSeparator: \.isNewline).first.map { " (process \($0))" } ?? ""
            throw StartProblem(
                "data_dir: \(path) is in use by another ambrotype server\(owner)"
                    + (node == .first ? "; one beside it needs a name (--node)" : " of the name \(node)"))
        }
        do {
            try lock.write(line: String(getpid()))
        } catch {
            throw StartProblem("data_dir: \(FileProblem("written", name, code: error.code))")
        }
        // Unless the node was forgotten meanwhile, and its file with it.
        return lock.isStillThere ? lock : try await takeOwn(node, path)
    }

    private static func join(_ schema: FileLock, mayPrepare: Bool, _ path: String) async throws -> Bool {
        let file = path + "/schema-lock"
        // More than once: another may just be finding out that it has come too early.
        if mayPrepare, try await take(schema, .exclusive, attempts: glances, file) { return true }
        guard try await take(schema, .shared, attempts: preparations, file) else {
            throw StartProblem("data_dir: another server prepares \(path), for longer than expected; try again")
        }
        return false
    }

    private static func take(
        _ lock: FileLock, _ mode: FileLock.Mode, attempts: Int, _ path: String
    ) async throws -> Bool {
        do {
            for attempt in 1...attempts {
                if try lock.take(mode) { return true }
                if attempt < attempts { try await Task.sleep(for: pause) }
            }
            return false
        } catch let error as FileLock.Failure {
            throw StartProblem("data_dir: \(FileProblem("locked", path, code: error.code))")
        }
    }

    /// The directory is as it should be: others may start.
    package func share() throws {
        guard isAlone else { return }
        // Nobody else takes it for itself: that takes this node's own lock.
        guard try schema.take(.shared) else { throw StartProblem("data_dir: \(path) cannot be shared") }
    }

    /// What is known of a node's processes. When it is gone, whatever ran there before this was asked has ended.
    package func life(of node: String) -> NodeLife { NodeName(node).map { Self.life(of: $0, in: path) } ?? .unknown }

    private func checkSpace() throws {
        var status = statvfs()
        guard statvfs(path, &status) == 0 else { throw StartProblem("data_dir: \(FileProblem("measured", path))") }
        let free = UInt64(status.f_bavail) * UInt64(status.f_frsize)
        guard free >= Self.neededBytes else {
            throw StartProblem("data_dir: only \(free) bytes are free under \(path); \(Self.neededBytes) are needed")
        }
    }

    /// Makes what is missing of the path, and its names durable, whoever made them: a start that was cut off
    /// before may not have come to that, and a loss of power would take the directory with all in it.
    private static func make(_ path: String) throws {
        var prefix = ""
        for component in path.split(separator: "/") {
            let parent = prefix.isEmpty ? "/" : prefix
            prefix += "/" + component
            let isLast = prefix == path
            if mkdir(prefix, isLast ? 0o700 : 0o755) != 0, errno != EEXIST, !isDirectory(prefix) {
                throw FileProblem("created", prefix)
            }
            try sync(parent)
        }
        guard isDirectory(path) else { throw FileProblem("opened", path, code: ENOTDIR) }
    }

    private static func isDirectory(_ path: String) -> Bool {
        let code = errno
        defer { errno = code }
        return access(path + "/.", X_OK) == 0
    }

    private static func sync(_ path: String) throws {
        let directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        // One that may only be passed through was made by its owner, long ago.
        guard directory >= 0 else { return }
        defer { close(directory) }
        // Some network file systems write names through and have no sync for a directory.
        guard fsync(directory) == 0 || errno == EINVAL || errno == EROFS else { throw FileProblem("synced", path) }
    }
}
