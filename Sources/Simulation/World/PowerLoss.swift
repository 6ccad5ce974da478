/// What happens to that which was not synced when a machine stops.
package enum PowerLoss: Sendable, CaseIterable {
    /// The processes died and the machine lives on: nothing is lost, and nothing became durable.
    case none
    /// Everything unsynced is lost.
    case lost
    /// Changes reached the disk in order and then no more: of each file and directory the first few
    /// survived, the last write cut between two sectors.
    case torn
    /// Changes reached the disk in any order: any of them survived, each of their sectors by itself.
    case reordered
}

extension DiskState {
    private static var sectorBytes: Int { 512 }

    /// The disk as the next start finds it. No file is open on it any more; what had no name is gone.
    ///
    /// Bytes that a write did not touch never change: a sector is old or new in the part that was written.
    package func afterPowerLoss(_ kind: PowerLoss, _ generator: inout SplitMix64) -> DiskState {
        if kind == .none {
            var survivor = self
            survivor.removeAllHandles()
            return survivor
        }
        // Drawn for every node in the order of numbers, so that the draws do not depend on the walk.
        var files: [Int: Contents] = [:]
        var directories: [Int: NameTable] = [:]
        for number in 0..<nodes.count {
            guard let node = nodes[number] else { continue }
            if node.isDirectory {
                directories[number] = Self.survivor(of: node.directory, kind, &generator)
            } else {
                files[number] = Self.survivor(of: node.file, kind, &generator)
            }
        }
        return DiskState(
            survivorsOf: self, files: { files[$0] ?? Contents() }, directories: { directories[$0] ?? NameTable() })
    }

    private static func survivor(
        of directory: DirectoryBody, _ kind: PowerLoss, _ generator: inout SplitMix64
    ) -> NameTable {
        let changes = directory.unsynced
        var names = directory.durable
        switch kind {
        case .none, .lost: break
        case .torn:
            for index in 0..<generator.next(below: changes.count + 1) { names.apply(changes[index]) }
        case .reordered:
            for index in 0..<changes.count where generator.chance(1, in: 2) { names.apply(changes[index]) }
        }
        return names
    }

    private static func survivor(of file: FileBody, _ kind: PowerLoss, _ generator: inout SplitMix64) -> Contents {
        let changes = file.unsynced
        var contents = file.durable
        switch kind {
        case .none, .lost: break
        case .torn:
            let count = generator.next(below: changes.count + 1)
            for index in 0..<count {
                apply(changes[index], to: &contents, cutBy: index == count - 1 ? .end : .nothing, &generator)
            }
        case .reordered:
            for index in 0..<changes.count {
                if generator.chance(1, in: 2) {
                    let cut: Cut = generator.chance(1, in: 2) ? .sectors : .nothing
                    apply(changes[index], to: &contents, cutBy: cut, &generator)
                } else if case .write(let block, let offset) = changes[index], generator.chance(1, in: 4) {
                    // The new size reached the disk, the bytes did not.
                    contents.resize(max(contents.sizeBytes, offset + block.sizeBytes))
                }
            }
        }
        return contents
    }

    private enum Cut { case nothing, end, sectors }

    private static func apply(
        _ change: FileChange, to contents: inout Contents, cutBy cut: Cut, _ generator: inout SplitMix64
    ) {
        switch change {
        case .resize(let size):
            contents.resize(size)
        case .write(let block, let offset):
            let end = offset + block.sizeBytes
            let sectors = (end + sectorBytes - 1) / sectorBytes - offset / sectorBytes
            var kept = cut == .end ? generator.next(below: sectors) + 1 : sectors
            var position = offset
            while position < end, kept > 0 {
                let next = cut == .nothing ? end : min(end, (position / sectorBytes + 1) * sectorBytes)
                kept -= 1
                if cut != .sectors || generator.chance(1, in: 2) {
                    contents.write(
                        UnsafeRawBufferPointer(rebasing: block.bytes[position - offset..<next - offset]),
                        offset: position)
                }
                position = next
            }
        }
    }
}

extension DiskState {
    /// A hash of everything that can be seen now or after any loss of power; equal for equal disks,
    /// however they came about and whatever is open on them.
    package var fingerprint: UInt64 {
        // Nodes are numbered as the walk meets them, so that a second name differs from a second file.
        var order: [Int: UInt64] = [:]
        var hash: UInt64 = UInt64(capacityBytes)
        var waiting = [Self.root]
        func meet(_ name: String, _ number: Int) {
            hash = Hash64.combine(hash, Hash64.of(name))
            if order[number] == nil {
                order[number] = UInt64(order.count)
                waiting.append(number)
            }
            hash = Hash64.combine(hash, order[number] ?? 0)
        }
        while let number = waiting.popLast() {
            let node = node(number)
            guard node.isDirectory else {
                hash = Hash64.combine(hash, node.contentHash)
                continue
            }
            let body = node.directory
            hash = Hash64.combine(hash, UInt64(body.current.entries.count))
            for entry in body.current.entries { meet(entry.name, entry.node) }
            hash = Hash64.combine(hash, UInt64(body.durable.entries.count))
            for entry in body.durable.entries { meet(entry.name, entry.node) }
            for change in body.unsynced {
                switch change {
                case .add(let name, let node): meet("+" + name, node)
                case .remove(let name): hash = Hash64.combine(hash, Hash64.of("-" + name))
                case .move(let name, let newName, let node):
                    hash = Hash64.combine(hash, Hash64.of(">" + name))
                    meet(newName, node)
                }
            }
        }
        return hash
    }
}
