import Glibc

/// Why a call on a simulated disk failed: an `errno`.
package struct Errno: Error, Equatable {
    package let code: Int32
    package init(_ code: Int32) { self.code = code }
}

/// Everything on a simulated disk, as a value: what readers see, what would survive a loss of power, and
/// the changes between the two. A copy costs next to nothing, and a change after it copies a page.
///
/// POSIX promises little, and nothing beyond it is given here. A file's contents are durable after a sync
/// of the file, a name after a sync of the directory it stands in; a new name in another directory is
/// an addition there and a removal here, and each can be lost without the other.
///
/// Copies may be used in different threads, one copy in one thread at a time.
package struct DiskState: Sendable {
    static let root = 0

    package var capacityBytes: Int
    package private(set) var usedBytes = 0
    private(set) var nodes = ChunkedArray<Node?>()
    private var freeNumbers: [Int] = []

    /// An empty disk.
    package init(capacityBytes: Int) {
        self.capacityBytes = capacityBytes
        let root = Node(isDirectory: true)
        root.nameCount = 1
        root.traceCount = 1
        nodes.append(root)
    }

    package var freeBytes: Int { max(0, capacityBytes - usedBytes) }

    /// - Precondition: the number came from this state and something still refers to the node.
    func node(_ number: Int) -> Node {
        guard let node = nodes[number] else { preconditionFailure("node \(number) was let go") }
        return node
    }

    /// The one way to change a node: gives it a copy of its own first if other states share it.
    @inline(__always)
    mutating func change<R>(_ number: Int, _ body: (Node) -> R) -> R {
        if !isKnownUniquelyReferenced(&nodes[number]) { nodes[number] = node(number).copy() }
        let node = node(number)
        let before = node.allocatedBytes
        node.forgetHash()
        let result = body(node)
        usedBytes += node.allocatedBytes - before
        return result
    }

    private mutating func make(isDirectory: Bool) -> Int {
        let node = Node(isDirectory: isDirectory)
        if let number = freeNumbers.popLast() {
            nodes[number] = node
            return number
        }
        nodes.append(node)
        return nodes.count - 1
    }

    private mutating func forgetIfUnreferenced(_ number: Int) {
        guard node(number).isForgotten else { return }
        let isDirectory = node(number).isDirectory
        let inside = node(number).directory
        nodes[number] = nil
        freeNumbers.append(number)
        guard isDirectory else { return }
        for entry in inside.current.entries { release(entry.node, name: 1) }
        for entry in inside.durable.entries { release(entry.node, trace: 1) }
        for case let node? in inside.unsynced.map(\.added) { release(node, trace: 1) }
    }

    private mutating func release(_ number: Int, name: Int = 0, trace: Int = 0) {
        change(number) {
            $0.nameCount -= name
            $0.traceCount -= trace
        }
        forgetIfUnreferenced(number)
    }

    // MARK: Names

    private mutating func addName(_ name: String, of number: Int, in directory: Int) {
        change(number) {
            $0.nameCount += 1
            $0.traceCount += 1
        }
        change(directory) {
            $0.directory.current.set(name, number)
            $0.directory.unsynced.append(.add(name, node: number))
        }
    }

    private mutating func removeName(_ name: String, in directory: Int) {
        let number = change(directory) { node -> Int? in
            node.directory.unsynced.append(.remove(name))
            return node.directory.current.remove(name)
        }
        if let number { release(number, name: 1) }
    }

    mutating func makeFile(_ name: String, in directory: Int) -> Int {
        let number = make(isDirectory: false)
        addName(name, of: number, in: directory)
        return number
    }

    package mutating func makeDirectory(_ path: String) throws(Errno) {
        let place = try place(of: path)
        guard place.node == nil, let parent = place.parent else { throw Errno(EEXIST) }
        let number = make(isDirectory: true)
        addName(place.name, of: number, in: parent)
    }

    package mutating func unlink(_ path: String) throws(Errno) {
        let place = try place(of: path)
        guard let number = place.node else { throw Errno(ENOENT) }
        guard !node(number).isDirectory, let parent = place.parent else { throw Errno(EISDIR) }
        removeName(place.name, in: parent)
    }

    package mutating func renameWithoutReplacing(_ path: String, to newPath: String) throws(Errno) {
        let source = try place(of: path)
        let target = try place(of: newPath)
        guard let number = source.node else { throw Errno(ENOENT) }
        guard target.node == nil, let newParent = target.parent else { throw Errno(EEXIST) }
        guard let parent = source.parent, !Self.normalised(newPath).hasPrefix(Self.normalised(path) + "/") else {
            throw Errno(EINVAL)
        }
        if parent != newParent {
            addName(target.name, of: number, in: newParent)
            removeName(source.name, in: parent)
        } else {
            change(number) { $0.traceCount += 1 }
            change(parent) {
                let change = NameChange.move(source.name, to: target.name, node: number)
                $0.directory.current.apply(change)
                $0.directory.unsynced.append(change)
            }
        }
    }

    package mutating func link(_ path: String, to newPath: String) throws(Errno) {
        let source = try place(of: path)
        guard let number = source.node else { throw Errno(ENOENT) }
        let target = try place(of: newPath)
        guard target.node == nil, let parent = target.parent else { throw Errno(EEXIST) }
        guard !node(number).isDirectory else { throw Errno(EPERM) }
        addName(target.name, of: number, in: parent)
    }

    private mutating func syncDirectory(_ number: Int) {
        let body = node(number).directory
        guard !body.unsynced.isEmpty else { return }
        // A change's trace becomes the durable name's; a name that goes gives its trace back.
        var durable = body.durable
        var released: [Int?] = []
        for change in body.unsynced {
            switch change {
            case .add(let name, let node):
                released.append(durable.set(name, node))
            case .remove(let name):
                released.append(durable.remove(name))
            case .move(let name, let newName, let node):
                released.append(durable.remove(name))
                released.append(durable.set(newName, node))
            }
        }
        change(number) {
            $0.directory.durable = $0.directory.current
            $0.directory.unsynced = ChunkedArray()
        }
        for case let node? in released { release(node, trace: 1) }
    }

    // MARK: Contents

    /// - Returns: how many bytes there was space for.
    /// - Throws: `ENOSPC` if there was none.
    mutating func write(_ number: Int, _ bytes: UnsafeRawBufferPointer, offset: Int) throws(Errno) -> Int {
        var count = bytes.count
        let missing = node(number).file.current.missingPages(offset: offset, count: count)
        if missing > 0 { count = try affordable(number, offset: offset, count: count) }
        let written = UnsafeRawBufferPointer(rebasing: bytes[..<count])
        change(number) {
            $0.file.current.write(written, offset: offset)
            $0.file.unsynced.append(.write(Block(copying: written), offset: offset))
        }
        return count
    }

    /// How much of a write the disk has space for, whole pages at a time as they are allocated.
    private func affordable(_ number: Int, offset: Int, count: Int) throws(Errno) -> Int {
        let file = node(number).file
        let reserved = max(0, file.reservedBytes - file.current.pageCount * Block.pageBytes)
        var pages = (freeBytes + reserved) / Block.pageBytes
        var end = offset
        while end < offset + count {
            if file.current.missingPages(offset: end, count: 1) > 0 {
                if pages == 0 { break }
                pages -= 1
            }
            end = min(offset + count, (end / Block.pageBytes + 1) * Block.pageBytes)
        }
        guard end > offset || count == 0 else { throw Errno(ENOSPC) }
        return end - offset
    }

    mutating func truncate(_ number: Int, sizeBytes: Int) {
        change(number) {
            $0.file.current.resize(sizeBytes)
            $0.file.unsynced.append(.resize(sizeBytes))
            $0.file.reservedBytes = min($0.file.reservedBytes, sizeBytes)
        }
    }

    /// - Throws: `ENOSPC` if there is not that much space.
    mutating func reserve(_ number: Int, sizeBytes: Int) throws(Errno) {
        let pages = (sizeBytes + Block.pageBytes - 1) / Block.pageBytes
        guard pages * Block.pageBytes - node(number).file.allocatedBytes <= freeBytes else { throw Errno(ENOSPC) }
        change(number) { $0.file.reservedBytes = max($0.file.reservedBytes, pages * Block.pageBytes) }
    }

    mutating func sync(_ number: Int) {
        if node(number).isDirectory { return syncDirectory(number) }
        if !node(number).file.unsynced.isEmpty { change(number) { $0.file.sync() } }
    }

    mutating func addHandle(_ number: Int) { change(number) { $0.handleCount += 1 } }

    mutating func removeHandle(_ number: Int) {
        change(number) { $0.handleCount -= 1 }
        forgetIfUnreferenced(number)
    }

    mutating func removeAllHandles() {
        for number in 0..<nodes.count {
            guard let node = nodes[number], node.handleCount > 0 else { continue }
            change(number) { $0.handleCount = 0 }
            forgetIfUnreferenced(number)
        }
    }

    /// The disk after a loss of power: what survived, everything of it durable.
    /// - Parameters:
    ///   - files: what survived of each file.
    ///   - directories: the names that survived in each directory.
    init(survivorsOf old: DiskState, files: (Int) -> Contents, directories: (Int) -> NameTable) {
        capacityBytes = old.capacityBytes
        for _ in 0..<old.nodes.count { nodes.append(nil) }
        var reached = [Self.root]
        nodes[Self.root] = Node(isDirectory: true)
        var next = 0
        while next < reached.count {
            let number = reached[next]
            next += 1
            guard let node = nodes[number] else { continue }
            node.nameCount += 1
            node.traceCount += 1
            guard node.isDirectory else { continue }
            var kept = NameTable()
            for (name, child) in directories(number).entries {
                let isDirectory = old.node(child).isDirectory
                if nodes[child] == nil {
                    let body = isDirectory ? FileBody() : FileBody(survivor: files(child))
                    nodes[child] = Node(isDirectory: isDirectory, file: body)
                } else if isDirectory {
                    // Two names for a directory, after half a rename: as fsck does, the first is kept.
                    continue
                }
                kept.set(name, child)
                reached.append(child)
            }
            node.directory = DirectoryBody(current: kept, durable: kept)
        }
        for number in stride(from: nodes.count - 1, through: 0, by: -1) {
            guard let node = nodes[number] else {
                freeNumbers.append(number)
                continue
            }
            usedBytes += node.allocatedBytes
        }
    }
}

extension FileBody {
    fileprivate init(survivor: Contents) {
        current = survivor
        durable = survivor
    }
}

extension NameChange {
    /// The node that the change gives a name.
    fileprivate var added: Int? {
        switch self {
        case .add(_, let node), .move(_, _, let node): node
        case .remove: nil
        }
    }
}
