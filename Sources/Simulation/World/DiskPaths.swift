import Glibc

/// Paths: absolute, `.` and `..` taken as text (there are no symbolic links on a simulated disk).
extension DiskState {
    /// Where a path leads.
    struct Place {
        /// Nil for the root.
        let parent: Int?
        let name: String
        /// Nil when there is no such name.
        let node: Int?
    }

    /// - Throws: `ENOENT` or `ENOTDIR` if the directory it would stand in is not there.
    func place(of path: String) throws(Errno) -> Place {
        guard path.utf8.first == UInt8(ascii: "/") else { throw Errno(ENOENT) }
        var parent: Int?
        var name = ""
        var number: Int? = Self.root
        for component in Self.components(of: path) {
            guard let directory = number else { throw Errno(ENOENT) }
            guard node(directory).isDirectory else { throw Errno(ENOTDIR) }
            parent = directory
            name = component
            number = node(directory).directory.current[name]
        }
        return Place(parent: parent, name: name, node: number)
    }

    private static func components(of path: String) -> [String] {
        var components: [String] = []
        for part in path.utf8.split(separator: UInt8(ascii: "/")) {
            let name = String(Substring(part))
            switch name {
            case ".": continue
            case "..": _ = components.popLast()
            default: components.append(name)
            }
        }
        return components
    }

    static func normalised(_ path: String) -> String { "/" + components(of: path).joined(separator: "/") }

    // MARK: For those who prepare a disk, and those who check one

    /// Everything with a name, sorted: files by their path, directories with a `/` at the end.
    package var paths: [String] {
        var found: [String] = []
        func visit(_ number: Int, _ prefix: String) {
            for (name, child) in node(number).directory.current.entries {
                let isDirectory = node(child).isDirectory
                found.append(prefix + name + (isDirectory ? "/" : ""))
                if isDirectory { visit(child, prefix + name + "/") }
            }
        }
        visit(Self.root, "/")
        return found.sorted()
    }

    /// The whole of a file as a reader would see it; nil if there is no such file.
    package func contents(of path: String) -> [UInt8]? {
        guard let number = try? place(of: path).node, !node(number).isDirectory else { return nil }
        let contents = node(number).file.current
        return [UInt8](unsafeUninitializedCapacity: contents.sizeBytes) { space, count in
            count = contents.read(into: UnsafeMutableRawBufferPointer(space), offset: 0)
        }
    }

    /// Puts a durable file there, in place of any other.
    package mutating func putFile(_ path: String, _ bytes: [UInt8]) throws(Errno) {
        let place = try place(of: path)
        guard let parent = place.parent else { throw Errno(EISDIR) }
        if place.node != nil { try unlink(path) }
        let number = makeFile(place.name, in: parent)
        var failure: Errno?
        bytes.withUnsafeBytes { bytes in
            do throws(Errno) {
                if try write(number, bytes, offset: 0) < bytes.count { failure = Errno(ENOSPC) }
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
        sync(number)
        sync(parent)
    }

    /// Makes a directory and all above it, durable, where they are not there yet.
    package mutating func putDirectory(_ path: String) throws(Errno) {
        var made = ""
        for component in Self.components(of: path) {
            made += "/" + component
            let place = try place(of: made)
            if place.node == nil { try makeDirectory(made) }
            if let parent = place.parent { sync(parent) }
        }
    }
}
