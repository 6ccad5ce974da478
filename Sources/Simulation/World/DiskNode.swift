import Synchronization

/// A change of a file's contents that no sync has covered yet.
enum FileChange: Sendable {
    case write(Block, offset: Int)
    case resize(Int)

    var hash: UInt64 {
        switch self {
        case .write(let block, let offset): Hash64.combine(block.contentHash, UInt64(offset))
        case .resize(let size): Hash64.combine(1, UInt64(size))
        }
    }
}

/// A change of a directory's names that no sync has covered yet.
enum NameChange: Sendable {
    case add(String, node: Int)
    case remove(String)
    /// A new name within the same directory. One change and not two: a directory's own consistency is
    /// what every file system keeps, whichever way it keeps it, and then it cannot lose both names.
    case move(String, to: String, node: Int)
}

/// The names in a directory, in order.
struct NameTable: Sendable {
    private(set) var entries: [(name: String, node: Int)] = []

    var isEmpty: Bool { entries.isEmpty }

    subscript(_ name: String) -> Int? {
        let index = place(of: name)
        guard index < entries.count, entries[index].name == name else { return nil }
        return entries[index].node
    }

    /// - Returns: what had the name before.
    @discardableResult
    mutating func set(_ name: String, _ node: Int) -> Int? {
        let index = place(of: name)
        if index < entries.count, entries[index].name == name {
            defer { entries[index].node = node }
            return entries[index].node
        }
        entries.insert((name, node), at: index)
        return nil
    }

    /// - Returns: what had the name.
    @discardableResult
    mutating func remove(_ name: String) -> Int? {
        let index = place(of: name)
        guard index < entries.count, entries[index].name == name else { return nil }
        return entries.remove(at: index).node
    }

    mutating func apply(_ change: NameChange) {
        switch change {
        case .add(let name, let node):
            set(name, node)
        case .remove(let name):
            remove(name)
        case .move(let name, let newName, let node):
            remove(name)
            set(newName, node)
        }
    }

    private func place(of name: String) -> Int {
        var low = 0
        var high = entries.count
        while low < high {
            let middle = (low + high) / 2
            if entries[middle].name < name { low = middle + 1 } else { high = middle }
        }
        return low
    }
}

/// A file's bytes as a reader sees them, as they are on the platter, and what lies between.
struct FileBody: Sendable {
    var current = Contents()
    var durable = Contents()
    /// In the order they were made; applied to `durable` they give `current`.
    var unsynced = ChunkedArray<FileChange>()
    var reservedBytes = 0

    /// What it takes of the disk.
    var allocatedBytes: Int { max(current.pageCount * Block.pageBytes, reservedBytes) }

    mutating func sync() {
        guard !unsynced.isEmpty else { return }
        durable = current
        unsynced = ChunkedArray()
    }
}

/// A directory's names as a reader sees them, as they are on the platter, and what lies between.
struct DirectoryBody: Sendable {
    var current = NameTable()
    var durable = NameTable()
    var unsynced = ChunkedArray<NameChange>()
}

/// A file or directory, whatever names it has (an inode).
///
/// A value in all but its type: whoever changes one holds the only reference (`DiskState.change`).
final class Node: @unchecked Sendable {
    let isDirectory: Bool
    var file: FileBody
    var directory: DirectoryBody
    /// In how many current directory tables it stands.
    var nameCount = 0
    /// How many durable names it has, and unsynced changes that would give it one: as long as there is
    /// one, a loss of power can bring it back.
    var traceCount = 0
    /// How many open files read and write it.
    var handleCount = 0
    /// Of a file's contents and changes; 0: not known.
    let fileHash = Atomic<UInt64>(0)

    init(isDirectory: Bool, file: FileBody = FileBody(), directory: DirectoryBody = DirectoryBody()) {
        self.isDirectory = isDirectory
        self.file = file
        self.directory = directory
    }

    /// To be said before each change.
    func forgetHash() { fileHash.store(0, ordering: .relaxed) }

    func copy() -> Node {
        let node = Node(isDirectory: isDirectory, file: file, directory: directory)
        node.nameCount = nameCount
        node.traceCount = traceCount
        node.handleCount = handleCount
        return node
    }

    /// It takes space as long as somebody can reach it.
    var allocatedBytes: Int { nameCount > 0 || handleCount > 0 ? file.allocatedBytes : 0 }

    var isForgotten: Bool { nameCount == 0 && traceCount == 0 && handleCount == 0 }

    var contentHash: UInt64 {
        let known = fileHash.load(ordering: .relaxed)
        if known != 0 { return known }
        var hash = Hash64.combine(file.current.hash, file.durable.hash)
        for change in file.unsynced { hash = Hash64.combine(hash, change.hash) }
        fileHash.store(hash | 1, ordering: .relaxed)
        return hash | 1
    }
}
