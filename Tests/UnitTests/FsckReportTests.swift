import Core
import NIOCore
import Server
import Testing

@Suite struct FsckReportTests {
    private let finding = Finding.bytesUnowned("local", "ab-1", isCommitted: true, sizeBytes: 5, isDoubted: false)
    private let text = FsckReport(form: .text, hasGarbage: false)
    private let json = FsckReport(form: .json, hasGarbage: true)

    private func summary(_ change: @Sendable (ImageFixture) async throws -> Void, repairs: Bool = false)
        async throws -> FsckSummary
    {
        let service = try await ImageFixture()
        try await change(service)
        return try await service.fsck { $0.repairs = repairs }.summary
    }

    @Test func aLineSaysWhatItIsAndWhatBecameOfIt() throws {
        func line(_ outcome: FindingOutcome) -> String { text.line(.finding(finding, outcome)) ?? "" }
        let what = "blob ab-1: committed in store local, 5 bytes, and no row knows it [bytes-unowned]"
        #expect(line(.open) == "warning: \(what): with --repair, the bytes are erased")
        #expect(line(.repaired) == "repaired: \(what): the bytes are erased")
        #expect(line(.settled) == "settled: \(what): it is no longer so")
        #expect(line(.repairFailed("disk")) == "warning: \(what): repairing failed: disk")
    }

    @Test func jsonIsOneObjectALine() throws {
        let line = try #require(json.line(.finding(finding, .repairFailed("a \"disk\"\n"))))
        #expect(!line.contains("\n"))
        let value = try JSONValue(parsing: ByteBuffer(string: line))
        guard case .object(let members) = value else {
            Issue.record("no object: \(line)")
            return
        }
        #expect(members["kind"] == .string("bytes-unowned") && members["outcome"] == .string("repair-failed"))
        #expect(members["error"] == .string("a \"disk\"\n") && members["repair"] == .string("the bytes are erased"))
    }

    @Test func garbageIsToldOnlyWhenAskedFor() {
        let garbage = Garbage(store: "local", item: StoredItem(.foreign("/x"), sizeBytes: 1), reason: .foreign)
        #expect(text.line(.garbage(garbage)) == nil)
        #expect(json.line(.garbage(garbage))?.contains("\"kind\":\"foreign\"") == true)
        #expect(text.line(.progress(FsckProgress(phase: .database, done: 1, total: 2))) == nil)
    }

    @Test func theExitStatusIsTheWorstThereIs() async throws {
        #expect(try await summary { _ in }.exitStatus == 0)
        let stray: @Sendable (ImageFixture) async throws -> Void = {
            try $0.put([1], at: $0.incomingPath("abcd-01"))
        }
        #expect(try await summary(stray).exitStatus == 2)
        #expect(try await summary(stray, repairs: true).exitStatus == 1)
        let both: @Sendable (ImageFixture) async throws -> Void = { service in
            try await stray(service)
            try service.put([1], at: service.incomingPath("README"))
        }
        #expect(try await summary(both, repairs: true).exitStatus == 2)
        let service = try await ImageFixture()
        try await both(service)
        let lost = try await service.fsck(unopened: [Fsck.UnopenedStore(id: "away", cause: "not mounted")]) {
            $0.repairs = true
        }
        #expect(lost.summary.exitStatus == 3)
    }
}
