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

    static func isGone(_ node: NodeName, in path: String) -> Bool {
        // Without its file nothing is known of it.
        guard let lock = try? FileLock(path: lock(of: node, in: path), mayCreate: false) else { return false }
        return (try? lock.take(.shared)) == true
    }

    /// The first one first.
    /// - Throws: `StartProblem`.
    static func nodes(in path: String) throws -> [Node] {
        let files: [String]
        do {
            files = try FileManager.default.contentsOfDirectory(atPath: path)
        } catch {
            throw StartProblem("data_dir: \(path) cannot be read: \(error.localizedDescription)")
        }
        let others = files.filter { $0.hasPrefix("lock-") }.sorted().compactMap { NodeName(String($0.dropFirst(5))) }
        return ([.first] + others).map { node in
            let owner = SmallFile.text(lock(of: node, in: path))?.split(whereSeparator: \.isNewline).first
            return Node(name: node, process: isGone(node, in: path) ? nil : owner.map(String.init) ?? "?")
        }
    }

    /// Takes a node away that does not run, and keeps it from starting while `body` runs.
    /// - Throws: `FileProblem`, what `body` throws.
    /// - Returns: false when it runs, or there is none.
    static func forget(_ node: NodeName, in path: String, _ body: () async throws -> Void) async throws -> Bool {
        let file = lock(of: node, in: path)
        guard let lock = try? FileLock(path: file, mayCreate: false), try lock.take(.exclusive) else { return false }
        try await body()
        guard unlink(file) == 0 else { throw FileProblem("removed", file) }
        return true
    }
}
