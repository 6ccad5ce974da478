import Blobs
import Core
import Glibc
import NIOCore

/// Every call that the store and the database make of the disk fails in turn: once, and from then on. What
/// clients are told must fit, and once the disk is well again and the server restarted, everything must
/// be as they were told.
package struct FailingCalls: Sendable {
    package struct Report: Sendable, CustomStringConvertible {
        /// Calls that were made to fail, each once and for good.
        package var calls = 0
        package var runs = 0
        /// The places in the program that were reached, and SQLite's calls as `METHOD FILE`.
        package var places: Set<String> = []
        package var violations: [String] = []

        package var description: String {
            "\(calls) calls failed in turn at \(places.count) places, \(runs) runs, \(violations.count) violations"
        }
    }

    package enum Mode: Sendable, CaseIterable { case once, forGood }

    package init() {}

    // MARK: The whole server

    private static let images: [ImageID] = [
        "00000000-0000-4000-8000-00000000000a", "00000000-0000-4000-8000-00000000000b",
    ]

    /// A first start, and every kind of operation.
    private static let steps: [(image: Int, operation: Operation)] = [
        (0, .create), (0, .upload(content: 9, isDeclared: true)), (0, .download), (1, .create),
        (1, .brokenUpload(content: 4)), (1, .upload(content: 4, isDeclared: false)), (1, .addTag("a")),
        (1, .addMember("m1")), (1, .acceptMembership("m1")), (1, .setProperty("x")), (1, .deactivate),
        (1, .reactivate), (1, .removeMember("m1")), (1, .delete), (0, .download),
    ]

    /// - Parameter stride: fails one in so many calls.
    package func server(stride: Int = 1, errors: [Int32] = [EIO, ENOSPC]) -> Report {
        var report = Report()
        let calls = run(failing: nil, .once, EIO, &report)
        report.places = Set(calls.map(Self.place))
        for (index, call) in calls.enumerated() where Self.canFail(call) && index % stride == 0 {
            report.calls += 1
            for mode in Mode.allCases {
                for error in errors {
                    _ = run(failing: index + 1, mode, error, &report)
                    if report.violations.count > 10 { return report }
                }
            }
        }
        return report
    }

    static func canFail(_ call: DiskCall) -> Bool {
        switch call.kind {
        case .close, .unlock: false
        default: true
        }
    }

    /// `Blobs/FileBlobStore.swift:96`, or `xWrite /db/catalogue.db-wal`.
    static func place(_ call: DiskCall) -> String {
        switch call.place {
        case .program(let site): site.description
        case .sqlite(let method): "\(method.rawValue) \(call.path)"
        }
    }

    /// What the images may be, of one thread.
    private final class Expectation: @unchecked Sendable {
        var allowed: [ImageID: Set<ModelImage>] = [:]
        var violations: [String] = []
        var calls: [DiskCall] = []
        var hasFailed = false
    }

    /// - Returns: the calls that were made.
    private func run(
        failing number: Int?, _ mode: Mode, _ error: Int32, _ report: inout Report
    ) -> [DiskCall] {
        report.runs += 1
        let disk = SimulatedDisk(state: .empty(), seed: 1)
        let executor = SeededExecutor(seed: 1, order: .fifo)
        let expectation = Expectation()
        for image in Self.images { expectation.allowed[image] = [.absent] }
        disk.interceptor = { call in
            expectation.calls.append(call)
            guard let number, Self.canFail(call) else { return nil }
            guard mode == .once ? call.number == number : call.number >= number else { return nil }
            expectation.hasFailed = true
            return .error(error)
        }
        do {
            try executor.run(stepLimit: 5_000_000) { await use(disk, executor, expectation) }
            disk.interceptor = nil
            try executor.run(stepLimit: 5_000_000) { try await examine(disk, executor, expectation) }
        } catch {
            expectation.violations.append("\(error)")
        }
        if let number {
            let call = expectation.calls.indices.contains(number - 1) ? "\(expectation.calls[number - 1])" : "no call"
            report.violations += expectation.violations.map { "\(call) failed \(mode) with \(error): \($0)" }
        } else {
            report.violations += expectation.violations
        }
        return expectation.calls
    }

    /// The work, as far as the disk lets it be done.
    private func use(_ disk: SimulatedDisk, _ executor: SeededExecutor, _ expectation: Expectation) async {
        var server: SimulatedServer?
        for attempt in 0..<3 where server == nil {
            server = try? await SimulatedServer("a", on: disk, executor, seed: 10 + UInt64(attempt), ServerOptions())
        }
        guard let server else {
            if !expectation.hasFailed { expectation.violations.append("it does not start") }
            return
        }
        for (image, operation) in Self.steps {
            let id = Self.images[image]
            let reply = await SimulatedClient(server, id).perform(operation)
            judge(operation, reply, id, expectation)
            try? await server.images.reconcile()
        }
    }

    private func judge(_ operation: Operation, _ reply: Reply, _ id: ImageID, _ expectation: Expectation) {
        var after: Set<ModelImage> = []
        let before = expectation.allowed[id] ?? [.absent]
        for model in before {
            let (expected, next) = model.applying(operation, hasRecycleBin: false)
            if reply == expected { after.insert(next) }
            if case .failed = reply, expectation.hasFailed || expected.isFault {
                // Where the disk itself failed a commit, the next start may find it all the same; and an
                // upload that could not be undone is undone later.
                after.formUnion(expected.isFault ? [model] : [model, next])
                if case .upload = operation { after.formUnion(saving(model)) }
                if case .brokenUpload = operation { after.formUnion(saving(model)) }
            }
        }
        if after.isEmpty {
            expectation.violations.append("\(operation) on <\(before.map(\.description).sorted())>: \(reply)")
            after = before
        }
        expectation.allowed[id] = after
    }

    private func saving(_ model: ModelImage) -> Set<ModelImage> {
        guard model.status == .queued else { return [] }
        var model = model
        model.status = .saving(0)
        return [model]
    }

    /// On a disk that is well again: a start, peace, and all as told.
    private func examine(_ disk: SimulatedDisk, _ executor: SeededExecutor, _ expectation: Expectation) async throws {
        let server = try await SimulatedServer("a", on: disk, executor, seed: 99, ServerOptions())
        defer { server.mount.kill() }
        let isAtRest = try await server.settle()
        let allowed = expectation.allowed.mapValues { Set($0.map(\.recovered)) }
        let audit = try await Audit(server, expected: allowed).run(checksDatabase: true)
        expectation.violations += audit.violations + (isAtRest ? [] : ["(g) it does not come to rest"])
    }
}

// MARK: The store alone

extension FailingCalls {
    /// Larger than what a writer lets get dirty, and than what it claims at once for an unknown size.
    private static let blobBytes = (17 << 20) + 5
    private static let blob: BlobID = "ab000000-0000-4000-8000-000000000001"
    private static let other: BlobID = "ab000000-0000-4000-8000-000000000002"

    /// Every place where the file store calls the disk.
    package func store() -> Report {
        var report = Report()
        // The second way to rename is taken where the file system knows no other.
        for hasRename in [true, false] {
            let calls = runStore(failing: [], .once, hasRename: hasRename, &report)
            for (index, call) in calls.enumerated() where Self.canFail(call) {
                report.calls += 1
                report.places.insert(Self.place(call))
                for mode in Mode.allCases {
                    let after = runStore(failing: [index + 1], mode, hasRename: hasRename, &report)
                    failCleaningUp(after, index + 1, hasRename: hasRename, &report)
                }
            }
        }
        return report
    }

    /// What is only called because something failed fails as well.
    private func failCleaningUp(_ calls: [DiskCall], _ first: Int, hasRename: Bool, _ report: inout Report) {
        for (index, call) in calls.enumerated().dropFirst(first) where Self.canFail(call) {
            guard report.places.insert(Self.place(call)).inserted else { continue }
            report.calls += 1
            _ = runStore(failing: [first, index + 1], .once, hasRename: hasRename, &report)
        }
    }

    private func runStore(
        failing numbers: [Int], _ mode: Mode, hasRename: Bool, _ report: inout Report
    ) -> [DiskCall] {
        report.runs += 1
        let disk = SimulatedDisk(state: .empty(capacityBytes: 80 << 20), seed: 1)
        let executor = SeededExecutor(seed: 1, order: .fifo)
        let expectation = Expectation()
        disk.interceptor = { call in
            expectation.calls.append(call)
            let isDue = mode == .once ? numbers.contains(call.number) : call.number >= numbers.min() ?? .max
            if isDue, Self.canFail(call) {
                expectation.hasFailed = true
                return .error(EIO)
            }
            return call.kind == .rename && !hasRename ? .error(EINVAL) : nil
        }
        do {
            try executor.run(stepLimit: 1_000_000) { await useStore(disk, executor, expectation) }
        } catch {
            expectation.violations.append("\(error)")
        }
        let failed = numbers.map { number in
            expectation.calls.indices.contains(number - 1) ? "\(expectation.calls[number - 1]) failed \(mode): " : ""
        }
        report.violations += expectation.violations.map { failed.joined() + $0 }
        return expectation.calls
    }

    private func useStore(_ disk: SimulatedDisk, _ executor: SeededExecutor, _ expectation: Expectation) async {
        let work = SimulatedWork(executor)
        func open() throws -> FileBlobStore {
            try FileBlobStore(
                id: "local", directory: SimulatedServer.storeDirectory + "/nested", work: work,
                disk: disk.mount("a"), reserveBytes: 0)
        }
        do {
            // A start that fails is tried again, on what it left.
            let store = try (try? open()) ?? open()
            let bytes = [UInt8](repeating: 7, count: Self.blobBytes)
            try await write(bytes, as: Self.blob, expectedBytes: 1 << 20, to: store)
            try await write([1, 2], as: Self.other, expectedBytes: 4096, to: store)
            _ = try await store.space()
            try await store.inventory { _ in }
            let abandoned = try await store.begin("ab000000-0000-4000-8000-000000000003", expectedBytes: nil)
            await abandoned.abandon()
            try await store.erase(Self.blob)
            let reader = try await store.open(Self.other)
            _ = try await reader.read(offset: 0, count: 2)
            await reader.close()
        } catch {
            if !(error is BlobError) { expectation.violations.append("no BlobError: \(error)") }
            if !expectation.hasFailed { expectation.violations.append("\(error)") }
        }
        await heal(disk, open, expectation)
    }

    private func write(
        _ bytes: [UInt8], as blob: BlobID, expectedBytes: Int64, to store: FileBlobStore
    ) async throws {
        let writer = try await store.begin(blob, expectedBytes: expectedBytes)
        do {
            try await writer.write([ByteBuffer(bytes: bytes)])
            try await writer.write([ByteBuffer(bytes: [])])
            try await writer.commit()
        } catch {
            await writer.abandon()
            throw error
        }
    }

    /// Well again, each blob is whole or not there, and erasing leaves nothing.
    private func heal(
        _ disk: SimulatedDisk, _ open: () throws -> FileBlobStore, _ expectation: Expectation
    ) async {
        disk.interceptor = nil
        do {
            let store = try open()
            for (blob, size) in [(Self.blob, Self.blobBytes), (Self.other, 2)] {
                do {
                    let reader = try await store.open(blob)
                    if reader.sizeBytes != size { expectation.violations.append("\(blob) is visible and not whole") }
                    await reader.close()
                } catch let error as BlobError where error.code == .notFound {}
                try await store.erase(blob)
            }
            try await store.erase("ab000000-0000-4000-8000-000000000003")
            let left = disk.state.paths.filter { $0.contains("ab000000") }
            if !left.isEmpty { expectation.violations.append("left: \(left)") }
        } catch {
            expectation.violations.append("after the disk was well again: \(error)")
        }
    }
}
