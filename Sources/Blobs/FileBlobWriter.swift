import Core
import Glibc
import NIOCore
import Synchronization

/// A blob on its way: `incoming/ID` until `commit` gives it its name under `blobs/`.
final class FileBlobWriter: BlobWriter {
    /// How much may be dirty in the page cache before the disk is set to work on it. Without, the
    /// sync of a commit writes everything at the end.
    private static let writebackBytes: Int64 = 16 << 20
    /// How much of a declared size is claimed on the disk at once. Not all of it: a client that declares
    /// much and sends nothing would hold the space that others could use.
    private static let claimBytes: Int64 = 256 << 20

    private let blob: BlobID
    private let layout: FileBlobLayout
    private let work: any WorkPool
    private let disk: any Disk
    private let incomingPath: String
    private let committedPath: String
    private let reserveBytes: Int64
    /// Held over a whole call. Calls come one at a time, so nobody waits for it.
    private let state: Mutex<State>

    private enum Stage {
        case open(any DiskFile)
        /// Some call failed: only `abandon` is left.
        case failed(BlobError)
        case committed
        case abandoned
    }

    private struct State {
        var stage: Stage
        /// What `fallocate` claimed, if the file system can.
        let claimedBytes: Int64
        var sizeBytes: Int64 = 0
        /// Up to where the disk was set to work.
        var writebackEnd: Int64 = 0
        /// Whether the file has its final name, which must then be taken back as well.
        var isRenamed = false
    }

    /// Blocks; called on the work pool.
    init(
        _ blob: BlobID, layout: FileBlobLayout, work: any WorkPool, disk: any Disk, expectedBytes: Int64,
        reserveBytes: Int64
    ) throws {
        self.blob = blob
        self.layout = layout
        self.work = work
        self.disk = disk
        self.reserveBytes = reserveBytes
        incomingPath = try layout.incoming(blob)
        committedPath = try layout.committed(blob)
        let file: any DiskFile
        do {
            file = try disk.open(incomingPath, .create)
        } catch let error as SystemCallError where error.code == EEXIST {
            throw BlobError(code: .alreadyExists, operation: "begin blob", cause: "\(blob) was begun before")
        }
        let claimedBytes = min(expectedBytes, Self.claimBytes)
        if claimedBytes > 0 {
            do {
                try file.reserve(sizeBytes: claimedBytes)
            } catch {
                let failure = BlobError(wrapping: error, operation: "begin blob")
                do {
                    try disk.removeName(incomingPath)
                } catch {
                    throw BlobError(
                        code: failure.code, operation: failure.operation,
                        cause: "\(failure.cause); and \(BlobError(wrapping: error, operation: "").cause)")
                }
                throw failure
            }
        }
        state = Mutex(State(stage: .open(file), claimedBytes: claimedBytes))
    }

    func write(_ buffers: [ByteBuffer]) async throws {
        try await work.performing("write blob") { [self] in
            try step("write blob") { file, state in
                try file.write(buffers, offset: state.sizeBytes)
                state.sizeBytes += buffers.reduce(0) { $0 + Int64($1.readableBytes) }
                guard state.sizeBytes - state.writebackEnd >= Self.writebackBytes else { return }
                try file.startWriteback(
                    offset: state.writebackEnd, sizeBytes: state.sizeBytes - state.writebackEnd)
                state.writebackEnd = state.sizeBytes
                if state.sizeBytes > state.claimedBytes { try checkReserve() }
            }
        }
    }

    /// What was not claimed beforehand must not use up the reserve either.
    private func checkReserve() throws {
        let free = try layout.space().freeBytes
        guard free >= reserveBytes else {
            throw BlobError(
                code: .full, operation: "write blob",
                cause: "\(free) bytes are free, \(reserveBytes) are kept in reserve")
        }
    }

    func commit() async throws {
        try await work.performing("commit blob") { [self] in
            try step("commit blob") { file, state in
                // Gives back what was claimed and not used.
                if state.claimedBytes > state.sizeBytes { try file.truncate(sizeBytes: state.sizeBytes) }
                try file.sync()
                let fanOut = try layout.makeFanOut(blob)
                do {
                    try disk.move(incomingPath, to: committedPath) { state.isRenamed = true }
                } catch let error as SystemCallError where error.code == EEXIST {
                    throw BlobError(code: .alreadyExists, operation: "commit blob", cause: "\(blob) is committed")
                } catch let error as SystemCallError where error.code == ENOENT {
                    // The disk may have been exchanged for a copy without the directory.
                    layout.forgetFanOut(blob)
                    throw error
                }
                try disk.syncDirectory(fanOut)
                try disk.syncDirectory(layout.incomingDirectory)
                state.stage = .committed
            }
        }
    }

    /// Runs one step of an open blob; after a failure there is no other step.
    private func step(_ operation: String, _ body: (any DiskFile, inout State) throws -> Void) throws {
        try state.withLock { state in
            switch state.stage {
            case .open(let file):
                do {
                    try body(file, &state)
                } catch {
                    let failure = BlobError(wrapping: error, operation: operation)
                    state.stage = .failed(failure)
                    throw failure
                }
            case .failed(let failure):
                throw failure
            case .committed, .abandoned:
                preconditionFailure("\(operation) after commit or abandon")
            }
        }
    }

    func abandon() async {
        // The result is left to `erase`, which the catalogue calls for every blob that did not come to be.
        _ = try? await work.performing("abandon blob") { [self] in
            try state.withLock { state in
                switch state.stage {
                case .committed, .abandoned: return
                case .open, .failed: break
                }
                // Lets go of the file, so that its space is free when the name is gone.
                state.stage = .abandoned
                try disk.removeName(incomingPath)
                if state.isRenamed { try disk.removeName(committedPath) }
            }
        }
    }
}
