import Blobs
import Core
import Dispatch
import Synchronization
import Testing

/// A disk that, once told so, does not answer how much room it has until it is let go.
private final class HangingDisk: Disk {
    private let disk = PosixDisk()
    private let isHanging = Atomic<Bool>(false)
    private let gate = DispatchSemaphore(value: 0)

    func hang() { isHanging.store(true, ordering: .releasing) }
    func letGo(_ calls: Int) {
        isHanging.store(false, ordering: .releasing)
        for _ in 0..<calls { gate.signal() }
    }

    func space(_ path: String, at site: CallSite) throws -> DiskSpace {
        if isHanging.load(ordering: .acquiring) { gate.wait() }
        return try disk.space(path, at: site)
    }

    func open(_ path: String, _ mode: OpenMode, at site: CallSite) throws -> any DiskFile {
        try disk.open(path, mode, at: site)
    }
    func status(_ path: String, at site: CallSite) throws -> FileStatus? { try disk.status(path, at: site) }
    func makeDirectory(_ path: String, at site: CallSite) throws { try disk.makeDirectory(path, at: site) }
    func unlink(_ path: String, at site: CallSite) throws { try disk.unlink(path, at: site) }
    func renameWithoutReplacing(_ path: String, to newPath: String, at site: CallSite) throws {
        try disk.renameWithoutReplacing(path, to: newPath, at: site)
    }
    func link(_ path: String, to newPath: String, at site: CallSite) throws {
        try disk.link(path, to: newPath, at: site)
    }
    func names(in path: String, at site: CallSite) throws -> [String] { try disk.names(in: path, at: site) }
    func checkAccess(_ path: String, at site: CallSite) throws { try disk.checkAccess(path, at: site) }
}

@Suite struct HangingDiskTests {
    /// A measurement that is cancelled a moment after it began.
    private func abandonedMeasurement(_ store: FileBlobStore) async throws -> String {
        try await withThrowingTaskGroup(of: String?.self) { group in
            group.addTask {
                do {
                    return "\(try await store.space().totalBytes)"
                } catch {
                    return "\(error)"
                }
            }
            group.addTask {
                try await Task.sleep(nanoseconds: 50_000_000)
                return nil
            }
            let first = try await group.next() ?? nil
            group.cancelAll()
            if let first { return first }
            return try await group.next().flatMap { $0 } ?? ""
        }
    }

    /// Nobody waits for a disk that hangs longer than it wants to, and no number of such requests takes all
    /// threads from the store.
    @Test(.timeLimit(.minutes(1))) func aMeasurementIsAbandonedAndFewOfThemHang() async throws {
        try await withTemporaryDirectory { directory in
            let disk = HangingDisk()
            let store = try FileBlobStore(
                id: "local", directory: directory + "/store", work: ThreadWorkPool(threadCount: 4), disk: disk,
                reserveBytes: 0)
            _ = try await store.space()
            disk.hang()
            for _ in 0..<2 { #expect(try await abandonedMeasurement(store).contains("CancellationError")) }
            #expect(try await abandonedMeasurement(store).contains("earlier measurements have not ended"))
            await expectBlobError(.notFound) { _ = try await store.open("ab1d8a3e-0000-4000-8000-000000000001") }
            disk.letGo(2)
            while true {
                if try await !abandonedMeasurement(store).contains("unavailable") { break }
            }
        }
    }

    @Test func workThatEndsInTimeGivesItsResult() async throws {
        let work = ThreadWorkPool(threadCount: 1)
        #expect(try await work.runAbandonably { 7 } == 7)
        await #expect(throws: SystemCallError.self) {
            try await work.runAbandonably { throw SystemCallError(call: "c", path: "p", code: 5, at: CallSite("f", 1)) }
        }
    }
}
