import Core
import Glibc
import Trust

/// The file that the audit log is appended to, held for this process alone. Blocks; one caller at a time.
///
///     PATH                      the lines (AuditLine.swift)
///     PATH.torn-<number>        what a crash left of a line after line <number>, taken out of PATH
///     PATH.sent                 how far the lines have been sent to the webhook (AuditFeed.swift)
struct AuditFile {
    enum Problem: Error, CustomStringConvertible {
        case foreignTail(path: String, flaw: AuditLine.Flaw)
        case changed(path: String)
        case inUse(path: String)
        case notAFile(path: String)

        var description: String {
            switch self {
            case .foreignTail(let path, let flaw):
                "the last line of \(path) cannot be continued (\(flaw)): look why, and move the file away"
            case .changed(let path): "\(path) was changed by another program: look why, and move the file away"
            case .inUse(let path): "\(path) is in use by another server"
            case .notAFile(let path): "\(path) is not a file"
            }
        }
    }

    let path: String
    private let seal: RecordSeal
    private var descriptor: Int32 = -1
    /// The end of the last line that lasts.
    private var endOffset: Int64 = 0
    private(set) var lastNumber: Int64 = 0
    private(set) var lastHash = AuditLine.firstPrevious
    /// What was appended in vain could not be taken back: the end of the file has to be looked at again.
    private var isDoubtful = false
    /// How often the disk was waited for.
    private(set) var syncCount = 0

    /// Opens the log, and continues it after its last whole line.
    /// - Returns: beside the file, how many bytes of a torn line were set aside.
    /// - Throws: `Problem`, `FileProblem`.
    static func open(_ path: String, seal: RecordSeal) throws -> (file: AuditFile, tornBytes: Int) {
        var file = AuditFile(path: path, seal: seal)
        let tornBytes = try file.take()
        return (file, tornBytes)
    }

    private init(path: String, seal: RecordSeal) {
        self.path = path
        self.seal = seal
    }

    mutating func close() {
        guard descriptor >= 0 else { return }
        // Closing alone would leave the lock to a child that is about to begin another program, and has a copy until then.
        flock(descriptor, LOCK_UN)
        Glibc.close(descriptor)
        descriptor = -1
    }

    /// Goes on in the file that has the name now: the operator has moved the other away. What is in a new file
    /// continues the chain.
    /// - Returns: whether it is another file.
    mutating func reopen() throws -> Bool {
        var named = stat()
        var held = stat()
        let isSame =
            descriptor >= 0 && fstat(descriptor, &held) == 0 && stat(path, &named) == 0
            && named.st_ino == held.st_ino && named.st_dev == held.st_dev
        if isSame, !isDoubtful { return false }
        // A second lock on one file would wait for the first.
        if isSame { close() }
        var next = AuditFile(path: path, seal: seal)
        next.lastNumber = lastNumber
        next.lastHash = lastHash
        next.syncCount = syncCount
        _ = try next.take()
        close()
        self = next
        return true
    }

    /// Appends lines and waits until they last: all or none.
    /// - Returns: the number of the first.
    /// - Throws: `Problem`, `FileProblem`: nothing was appended.
    mutating func append(_ drafts: [AuditLine.Draft]) throws -> Int64 {
        try check()
        var text = ""
        var (number, hash) = (lastNumber, lastHash)
        for draft in drafts {
            number += 1
            let line = AuditLine.make(draft, number: number, previous: hash, seal: seal)
            text += line.text
            hash = line.hash
        }
        let bytes = Array(text.utf8)
        do {
            try write(bytes, to: descriptor, at: endOffset)
            try sync()
        } catch {
            // Nobody was promised these lines. A half of one must not stay in the way.
            if ftruncate(descriptor, off_t(endOffset)) != 0 { isDoubtful = true }
            throw error
        }
        defer { (lastNumber, lastHash) = (number, hash) }
        endOffset += Int64(bytes.count)
        return lastNumber + 1
    }

    private mutating func check() throws {
        if isDoubtful || descriptor < 0 { _ = try reopen() }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw FileProblem("measured", path) }
        // Removed under us: what is written would be nobody's to read.
        if status.st_nlink == 0 {
            _ = try reopen()
        } else if Int64(status.st_size) != endOffset {
            throw Problem.changed(path: path)
        }
    }

    private mutating func sync() throws {
        syncCount += 1
        guard fdatasync(descriptor) == 0 else { throw FileProblem("synced", path) }
    }

    private func write(_ bytes: [UInt8], to descriptor: Int32, at offset: Int64) throws {
        var done = 0
        while done < bytes.count {
            let count = bytes.withUnsafeBytes {
                pwrite(descriptor, $0.baseAddress! + done, bytes.count - done, off_t(offset) + done)
            }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw FileProblem("written", path) }
            done += count
        }
    }

    // MARK: the end of what is there

    /// Opens and locks the file and finds its end.
    /// - Returns: how many bytes of a torn line were set aside.
    private mutating func take() throws -> Int {
        descriptor = Glibc.open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0o600)
        guard descriptor >= 0 else { throw FileProblem("opened", path) }
        do {
            var status = stat()
            guard fstat(descriptor, &status) == 0 else { throw FileProblem("measured", path) }
            guard status.st_mode & S_IFMT == S_IFREG else { throw Problem.notAFile(path: path) }
            guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else { throw Problem.inUse(path: path) }
            let size = Int64(status.st_size)
            let (end, line) = try lastLine(size: size)
            let tornBytes = Int(size - end)
            if let line {
                do {
                    let last = try AuditLine(line, seal: seal)
                    (lastNumber, lastHash) = (last.number, last.hash)
                } catch {
                    throw Problem.foreignTail(path: path, flaw: error)
                }
            }
            if tornBytes > 0 { try setAside(from: end, count: tornBytes) }
            endOffset = end
            isDoubtful = false
            try syncDirectory()
            return tornBytes
        } catch {
            close()
            throw error
        }
    }

    /// The last whole line and its end; no line in a file that has none.
    private func lastLine(size: Int64) throws -> (end: Int64, text: String?) {
        let start = max(0, size - Int64(2 * AuditLine.limitBytes))
        let bytes = try read(from: start, count: Int(size - start))
        guard let lastFeed = bytes.lastIndex(of: UInt8(ascii: "\n")) else {
            // A file of nothing but the beginning of a line, which fits here; or none of ours.
            guard start == 0 else { throw Problem.foreignTail(path: path, flaw: .notALine) }
            return (0, nil)
        }
        let before = bytes[..<lastFeed].lastIndex(of: UInt8(ascii: "\n"))
        guard before != nil || start == 0 else { throw Problem.foreignTail(path: path, flaw: .notALine) }
        let line = bytes[(before.map { $0 + 1 } ?? 0)..<lastFeed]
        return (start + Int64(lastFeed) + 1, String(decoding: line, as: UTF8.self))
    }

    private func read(from offset: Int64, count: Int) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        var done = 0
        while done < count {
            let got = bytes.withUnsafeMutableBytes {
                pread(descriptor, $0.baseAddress! + done, count - done, off_t(offset) + done)
            }
            if got < 0, errno == EINTR { continue }
            guard got > 0 else { throw FileProblem("read", path) }
            done += got
        }
        return bytes
    }

    /// Keeps what a crash left of a line, for whoever wants to know, and ends the file before it.
    private mutating func setAside(from end: Int64, count: Int) throws {
        let aside = path + ".torn-\(lastNumber)"
        let bytes = try read(from: end, count: count)
        let copy = Glibc.open(aside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard copy >= 0 else { throw FileProblem("created", aside) }
        defer { Glibc.close(copy) }
        try write(bytes, to: copy, at: 0)
        guard fsync(copy) == 0 else { throw FileProblem("synced", aside) }
        try syncDirectory()
        guard ftruncate(descriptor, off_t(end)) == 0 else { throw FileProblem("shortened", path) }
        try sync()
    }

    private func syncDirectory() throws {
        let slash = path.lastIndex(of: "/")
        let parent = slash.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
        let directory = Glibc.open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard directory >= 0 else { throw FileProblem("opened", parent) }
        defer { Glibc.close(directory) }
        guard fsync(directory) == 0 || errno == EINVAL else { throw FileProblem("synced", parent) }
    }
}
