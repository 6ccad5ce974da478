/// The keys that seal the projects' keys, from a file of mode 0600, a key a line:
///
///     # a comment
///     ID BASE64
///
/// ID is the key's own, in 16 hexadecimal digits, BASE64 its 32 bytes. The first key wraps, the rest only unwrap
/// what they wrapped before the first came.
package struct MasterKeys: Sendable {
    package struct Key: Sendable {
        /// The first 8 bytes, in hexadecimal, of SHA-256 over `ambrotype master key`, a zero byte, and the key: the
        /// same for everyone who has the key, and it tells a mistyped key from a wrong one.
        package let id: String
        package let bytes: SecretBytes

        /// - Parameter bytes: 32 of them.
        package init(_ bytes: SecretBytes) {
            precondition(bytes.count == Sealing.keyBytes, "a master key of another length")
            self.bytes = bytes
            let digest = Digest(.sha256)
            Array("ambrotype master key\0".utf8).withUnsafeBytes(digest.update)
            bytes.withUnsafeBytes(digest.update)
            id = Hex.encode(digest.finish().prefix(8))
        }
    }

    package enum Failure: Error, CustomStringConvertible {
        case missing(path: String)
        case unreadable(path: String, reason: String)
        case tooOpen(path: String)
        case empty(path: String)
        case malformed(path: String, line: Int)
        case duplicate(path: String, line: Int)
        case unwritable(path: String, reason: String)

        package var description: String {
            switch self {
            case .missing(let path):
                "there are no master keys in \(path): bring the file back from its backup; without it no secret can be read"
            case .unreadable(let path, let reason):
                "the master keys in \(path) cannot be read: \(reason)"
            case .tooOpen(let path):
                "the master keys in \(path) are open to others: chmod 600 it, and think of replacing the keys"
            case .empty(let path):
                "there is no key in \(path): bring the file back from its backup; without it no secret can be read"
            case .malformed(let path, let line):
                "line \(line) of \(path) is no master key: it must be the key's id, a space and its 32 bytes in base64; "
                    + "compare it with the backup"
            case .duplicate(let path, let line):
                "line \(line) of \(path) is a key that stands above already: remove one of the two"
            case .unwritable(let path, let reason):
                "the master keys in \(path) cannot be written: \(reason)"
            }
        }
    }

    /// At least one. The first wraps.
    package let keys: [Key]

    /// - Parameter keys: at least one, none twice.
    package init(_ keys: [Key]) {
        precondition(!keys.isEmpty && Set(keys.map(\.id)).count == keys.count, "no master key, or one twice")
        self.keys = keys
    }

    /// The one that wraps.
    package var first: Key { keys[0] }

    package subscript(_ id: String) -> Key? { keys.first { $0.id == id } }

    /// A new key: 32 random bytes.
    package static func make() -> Key { Key(.random(Sealing.keyBytes)) }

    package static func load(path: String) throws(Failure) -> MasterKeys {
        let text: SecretBytes
        do {
            text = try PrivateFile.read(path)
        } catch {
            switch error {
            case .missing: throw .missing(path: path)
            case .tooOpen: throw .tooOpen(path: path)
            case .failed(let reason): throw .unreadable(path: path, reason: reason)
            }
        }
        return try text.withUnsafeBytes { bytes in
            Result { () throws(Failure) in try parse(bytes, path: path) }
        }.get()
    }

    /// Makes a file with one new key. If there is a file already, its keys are loaded and it stays as it is.
    package static func create(path: String) throws(Failure) -> MasterKeys {
        do {
            try PrivateFile.create(path, holding: MasterKeys([make()]).text)
        } catch {
            throw .unwritable(path: path, reason: error.description)
        }
        return try load(path: path)
    }

    /// Writes these keys in place of those in the file, at once or not at all. Comments in it are lost.
    package func replace(path: String) throws(Failure) {
        do {
            try PrivateFile.replace(path, holding: text)
        } catch {
            throw .unwritable(path: path, reason: error.description)
        }
    }

    private static let head = Array(
        "# Master keys. Whoever has this file and the database can read all secrets; without it nobody can.\n".utf8)
    private static let space = UInt8(ascii: " ")
    private static let newline = UInt8(ascii: "\n")
    private static let idCount = 16

    private var text: SecretBytes {
        let lineCount = Self.idCount + 1 + Base64.encodedCount(Sealing.keyBytes) + 1
        return SecretBytes(count: Self.head.count + keys.count * lineCount) { out in
            out.copyBytes(from: Self.head)
            for (index, key) in keys.enumerated() {
                let start = Self.head.count + index * lineCount
                let line = UnsafeMutableRawBufferPointer(rebasing: out[start..<start + lineCount])
                line.copyBytes(from: key.id.utf8)
                line[Self.idCount] = Self.space
                Base64.encode(key.bytes, into: UnsafeMutableRawBufferPointer(rebasing: line[(Self.idCount + 1)...]))
                line[lineCount - 1] = Self.newline
            }
        }
    }

    private static func parse(_ text: UnsafeRawBufferPointer, path: String) throws(Failure) -> MasterKeys {
        var keys: [Key] = []
        // What stands after the last newline is a line only if it is something.
        let whole = text.last == newline ? text.dropLast() : text[...]
        guard !whole.isEmpty else { throw .empty(path: path) }
        for (index, line) in whole.split(separator: newline, omittingEmptySubsequences: false).enumerated()
        where line.first != UInt8(ascii: "#") {
            guard let key = key(in: line) else { throw .malformed(path: path, line: index + 1) }
            guard !keys.contains(where: { $0.id == key.id }) else { throw .duplicate(path: path, line: index + 1) }
            keys.append(key)
        }
        guard !keys.isEmpty else { throw .empty(path: path) }
        return MasterKeys(keys)
    }

    /// Nil unless the line is a key under its own id.
    private static func key(in line: Slice<UnsafeRawBufferPointer>) -> Key? {
        let id = line.prefix(idCount)
        let rest = line.dropFirst(idCount)
        guard rest.first == space, let bytes = Base64.decode(UnsafeRawBufferPointer(rebasing: rest)),
            bytes.count == Sealing.keyBytes
        else { return nil }
        let key = Key(bytes)
        return id.elementsEqual(key.id.utf8) ? key : nil
    }
}
