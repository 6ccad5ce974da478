import Core
import Foundation
import Glibc
import Persistence

/// The nodes that share a data directory, as their locks tell.
extension DataDirectory {
    /// A node there is or was.
    struct Node {
        let name: NodeName
        /// The id of its process; nil when it does not run.
        let process: String?
    }

    static func life(of node: NodeName, in path: String) -> NodeLife {
        // Without its file nothing is known of it.
        guard let lock = try? FileLock(path: lock(of: node, in: path), mayCreate: false) else { return .unknown }
        return (try? lock.take(.shared)).map { $0 ? .gone : .lives } ?? .unknown
    }

    /// The first one, and then those that have a lock or are named by others.
    /// - Throws: `StartProblem`.
    static func nodes(in path: String, and named: Set<String> = []) throws -> [Node] {
        let files: [String]
        do {
            files = try FileManager.default.contentsOfDirectory(atPath: path)
        } catch {
            throw StartProblem("data_dir: \(path) cannot be read: \(error.localizedDescription)")
        }
        let names = named.union(files.filter { $0.hasPrefix("lock-") }.map { String($0.dropFirst("lock-".count)) })
        let others = names.subtracting([NodeName.first.description]).sorted().compactMap { NodeName($0) }
        return ([.first] + others).map { node in
            let owner = SmallFile.text(lock(of: node, in: path))?.split(whereSeparator: \.isNewline).first
            return Node(name: node, process: life(of: node, in: path) == .lives ? owner.map(String.init) ?? "?" : nil)
        }
    }

    /// Takes a node away that does not run, and keeps it from starting while `body` runs.
    /// - Throws: `FileLock.Failure`, `FileProblem`, what `body` throws.
    /// - Returns: false when it runs.
    static func forget(_ node: NodeName, in path: String, _ body: () async throws -> Void) async throws -> Bool {
        let file = lock(of: node, in: path)
        let lock = try FileLock(path: file)
        guard try lock.take(.exclusive), lock.isStillThere else { return false }
        try await body()
        guard unlink(file) == 0 else { throw FileProblem("removed", file) }
        return true
    }
}
