import API
import Core
import Foundation
import Logging
import NIOCore
import Server
import Synchronization
import Testing
import Trust

/// The audit log: its file, its chain, and what is sent of it.
@Suite struct AuditTrailTests {
    /// A directory with an audit log, as processes one after the other see it.
    final class Place: Sendable {
        let directory: URL
        let clock = StillClock()
        static let seal = RecordSeal(key: SecretBytes(copying: [UInt8](repeating: 9, count: 32)))

        init() throws {
            directory = FileManager.default.temporaryDirectory.appending(path: "ambrotype-\(UUID().uuidString)")
            try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        }

        deinit { try? FileManager.default.removeItem(at: directory) }

        var path: String { directory.appending(path: "audit.log").path }

        func trail() throws -> AuditTrail {
            try AuditTrail(path: path, seal: Self.seal, clock: clock, logger: .silent)
        }

        /// A process that lives as long as `body`.
        func withTrail(_ body: (AuditTrail) async throws -> Void) async throws {
            let trail = try trail()
            try await body(trail)
            trail.close()
        }

        func lines(_ file: String? = nil) throws -> [String] {
            let text = try String(contentsOfFile: file ?? path, encoding: .utf8)
            return text.split(separator: "\n").map(String.init)
        }

        func documents() throws -> [JSONValue] {
            try lines().map { try JSONValue(parsing: ByteBuffer(string: $0)) }
        }

        func write(_ lines: [String]) throws {
            try Data((lines.joined(separator: "\n") + "\n").utf8).write(to: URL(filePath: path))
        }

        func verification(_ files: [String]? = nil) throws -> AuditVerification {
            var verification = AuditVerification(seal: Self.seal)
            for file in files ?? [path] { try verification.add(file) }
            return verification
        }
    }

    static func call(_ request: String = "req-1", image: String = "i1") -> AuditedCall {
        AuditedCall(
            method: "PATCH", route: "/image/v2/images/{image}", service: "image", resource: ["image": image],
            client: "192.0.2.7",
            Caller(
                userID: "u1", userName: "\"Ann\"", projectID: "p1", roles: ["member", "reader"], auditID: "a1",
                requestID: request, logger: .silent))
    }

    private func record(_ trail: AuditTrail, _ request: String = "req-1") async throws {
        let number = try await trail.begin(Self.call(request))
        await trail.end(Self.call(request), AuditedResult(status: 200), number: number)
    }

    @Test func aCallIsTwoLinesThatSayWhoAndWhat() async throws {
        let place = try Place()
        try await place.withTrail { try await record($0) }
        let lines = try place.documents()
        #expect(lines.map { $0["event"] } == ["opened", "begun", "ended"])
        #expect(lines.map { $0["seq"] } == [1, 2, 3])
        #expect(lines[2]["of"] == 2 && lines[2]["status"] == 200)
        for line in lines[1...] {
            #expect(line["user"] == "u1" && line["user_name"] == "\"Ann\"" && line["project"] == "p1")
            #expect(line["roles"] == ["member", "reader"] && line["request_id"] == "req-1")
            #expect(line["method"] == "PATCH" && line["route"] == "/image/v2/images/{image}")
            #expect(line["resource"] == ["image": "i1"] && line["client"] == "192.0.2.7" && line["token"] == "a1")
        }
        let verification = try place.verification()
        #expect(!verification.hasFlaws, "\(verification.report())")
        #expect(verification.report().contains("3 lines, 1 to 3"))
    }

    @Test func theLogIsContinuedByTheNextProcess() async throws {
        let place = try Place()
        for _ in 0..<3 { try await place.withTrail { try await record($0) } }
        #expect(try place.documents().map { $0["seq"]?.integerValue ?? 0 } == Array(1...9))
        #expect(try !place.verification().hasFlaws)
        let mode = try FileManager.default.attributesOfItem(atPath: place.path)[.posixPermissions] as? Int
        #expect(mode == 0o600)
    }

    /// What cannot be continued is kept as evidence, and stops the start.
    @Test func whatIsNoneOfOursIsNotContinued() async throws {
        let place = try Place()
        try await place.withTrail { try await record($0) }
        let lines = try place.lines()
        for wrong in [
            ["no line"], [lines[0].replacing("opened", with: "closed")], [String(repeating: "x", count: 200_000)],
        ] {
            try place.write(wrong)
            #expect(throws: StartProblem.self) { try place.trail() }
            #expect(try place.lines() == wrong)
        }
        try place.write(lines)
        let key = RecordSeal(key: SecretBytes(copying: [UInt8](repeating: 8, count: 32)))
        #expect(throws: StartProblem.self) {
            try AuditTrail(path: place.path, seal: key, clock: place.clock, logger: .silent)
        }
        #expect(throws: StartProblem.self) {
            try AuditTrail(path: "/dev/full", seal: Place.seal, clock: place.clock, logger: .silent)
        }
        try await place.withTrail { _ in
            #expect(throws: StartProblem.self, "two servers") { try place.trail() }
        }
    }

    /// Cut at every byte of its last two lines, the log goes on after the last whole one.
    @Test func aTornLineIsSetAside() async throws {
        let place = try Place()
        try await place.withTrail { try await record($0) }
        let whole = try Data(contentsOf: URL(filePath: place.path))
        let feeds = whole.indices.filter { whole[$0] == UInt8(ascii: "\n") }
        for end in stride(from: feeds[0] + 1, to: whole.count, by: 7) {
            try whole[..<end].write(to: URL(filePath: place.path))
            try await place.withTrail { try await record($0) }
            let kept = feeds.count { $0 < end }
            let lines = try place.documents()
            #expect(lines.map { $0["seq"]?.integerValue ?? 0 } == Array(1...Int64(kept + 3)))
            #expect(try !place.verification().hasFlaws)
            let torn = end - ((feeds.last { $0 < end } ?? 0) + 1)
            #expect(lines[kept]["torn_bytes"]?.integerValue == (torn > 0 ? Int64(torn) : nil))
            if torn > 0 {
                let aside = try Data(contentsOf: URL(filePath: place.path + ".torn-\(kept)"))
                #expect(aside == whole[(end - torn)..<end])
            }
        }
    }

    /// Whoever has the file and not the key can change nothing unseen.
    @Test func everyChangeIsSeen() async throws {
        let place = try Place()
        try await place.withTrail { trail in for _ in 0..<3 { try await record(trail) } }
        let lines = try place.lines()
        func isSeen(_ changed: [String], _ flaw: String) throws {
            try place.write(changed)
            let verification = try place.verification()
            #expect(verification.hasFlaws)
            #expect(verification.report().contains(place.path + ":" + flaw), "\(verification.report())")
        }
        var changed = lines
        changed[3] = lines[3].replacing("\"u1\"", with: "\"u2\"")
        try isSeen(changed, "4: the line was changed")
        changed[3] = lines[3].replacing("\"PATCH\"", with: "\"PATCH\" ")
        try isSeen(changed, "4: the line was changed")
        try isSeen(Array(lines[..<2] + lines[3...]), "3: line 4 follows line 2")
        try isSeen(Array(lines[..<2] + [lines[3], lines[2]] + lines[4...]), "3: line 4 follows line 2")
        try isSeen(lines + [lines[6]], "8: line 7 follows line 7")
        try isSeen(lines + ["{\"seq\":8}"], "8: this is no line")
        // A line of another log with the same key and the right number does not fit in.
        let other = try Place()
        try await other.withTrail { trail in for _ in 0..<3 { try await record(trail, "req-other") } }
        try isSeen(Array(lines[..<6] + [other.lines()[6]]), "7: line 7 does not follow what stands before it")
        try Data((lines.joined(separator: "\n") + "\n" + lines[6].prefix(20)).utf8).write(to: URL(filePath: place.path))
        #expect(try place.verification().report().contains("8: the last line is not whole"))
        try place.write(lines)
        #expect(try !place.verification().hasFlaws)
    }

    @Test func callsWithoutAResultAreTold() async throws {
        let place = try Place()
        try await place.withTrail { trail in
            _ = try await trail.begin(Self.call())
            try await record(trail)
        }
        let verification = try place.verification()
        #expect(!verification.hasFlaws)
        #expect(verification.report().contains("1 call without a result: line 2"))
    }

    /// Calls that come together share their waits for the disk.
    @Test func manyCallsShareAWaitForTheDisk() async throws {
        let place = try Place()
        try await place.withTrail { trail in
            let before = trail.counts
            await withTaskGroup(of: Void.self) { group in
                for number in 0..<200 {
                    group.addTask {
                        do { try await record(trail, "req-\(number)") } catch { Issue.record(error) }
                    }
                }
            }
            let after = trail.counts
            #expect(after.lines - before.lines == 400)
            #expect(after.syncs - before.syncs <= 200)
        }
        #expect(try !place.verification().hasFlaws)
        let ends = try place.documents().filter { $0["event"] == "ended" }
        #expect(Set(ends.compactMap { $0["request_id"]?.stringValue }).count == 200)
    }

    /// A log that somebody else has written to is not written over: what changes is refused until it is moved away.
    @Test func aLogThatCannotBeWrittenRefusesCalls() async throws {
        let place = try Place()
        try await place.withTrail { trail in
            try await record(trail)
            let file = try FileHandle(forWritingTo: URL(filePath: place.path))
            try file.seekToEnd()
            try file.write(contentsOf: Data("strange\n".utf8))
            try file.close()
            #expect(await status { _ = try await trail.begin(Self.call()) } == 503)
            trail.reopen()
            #expect(await status { _ = try await trail.begin(Self.call()) } == 503)
            try FileManager.default.moveItem(atPath: place.path, toPath: place.path + ".1")
            trail.reopen()
            try await record(trail)
        }
        // What was appended in between is a flaw; the rest continues what was before it.
        let verification = try place.verification([place.path + ".1", place.path])
        #expect(verification.report().hasPrefix("\(place.path).1:4: this is no line of an audit log"))
        #expect(try !place.verification().hasFlaws)
        #expect(try place.documents().map { $0["seq"]?.integerValue ?? 0 } == [4, 5, 6])
    }

    @Test func aFileThatWasMovedAwayIsContinuedInANewOne() async throws {
        let place = try Place()
        try await place.withTrail { trail in
            for number in 1...3 {
                try await record(trail)
                try FileManager.default.moveItem(atPath: place.path, toPath: place.path + ".\(number)")
                trail.reopen()
            }
            try await record(trail)
            // Without a signal, a file that is gone is noticed too.
            try FileManager.default.removeItem(atPath: place.path)
            try await record(trail)
        }
        let files = (1...3).map { place.path + ".\($0)" }
        #expect(try !place.verification(files).hasFlaws)
        #expect(try place.verification(files + [place.path]).hasFlaws)
        #expect(try place.verification([files[0], files[2]]).hasFlaws)
        try await place.withTrail { try await record($0) }
        #expect(try !place.verification().hasFlaws)
    }

    @Test func textOfClientsIsBounded() async throws {
        let place = try Place()
        let long = String(repeating: "\u{1}é\"", count: 20_000)
        try await place.withTrail { _ = try await $0.begin(Self.call(image: long)) }
        #expect(try place.lines().allSatisfy { $0.utf8.count < 4096 })
        #expect(try !place.verification().hasFlaws)
    }
}

/// What is sent of the audit log.
@Suite struct AuditFeedTests {
    /// A receiver that can be out of order.
    private final class Receiver: Sendable {
        private struct State {
            var numbers: [Int64] = []
            var failures = 0
        }
        private let state = Mutex(State())
        struct OutOfOrder: Error {}

        var numbers: [Int64] { state.withLock { $0.numbers } }
        func fail(_ times: Int) { state.withLock { $0.failures = times } }

        func take(_ document: ByteBuffer) throws {
            let lines = try JSONValue(parsing: document)["lines"]?.arrayValue ?? []
            try state.withLock { state in
                if state.failures > 0 {
                    state.failures -= 1
                    throw OutOfOrder()
                }
                state.numbers += lines.compactMap { $0["seq"]?.integerValue }
            }
        }
    }

    private func withFeed(
        _ place: AuditTrailTests.Place, _ trail: AuditTrail, _ receiver: Receiver, until count: Int
    ) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            let feed = AuditFeed(trail: trail, clock: SkippingClock(), logger: .silent) { try receiver.take($0) }
            group.addTask { await feed.run() }
            let end = ContinuousClock.now + .seconds(20)
            while receiver.numbers.count < count, ContinuousClock.now < end {
                try await Task.sleep(for: .milliseconds(2))
            }
            group.cancelAll()
        }
    }

    private func record(_ trail: AuditTrail, _ count: Int) async throws {
        for number in 0..<count {
            let begun = try await trail.begin(AuditTrailTests.call("req-\(number)"))
            await trail.end(AuditTrailTests.call("req-\(number)"), AuditedResult(status: 200), number: begun)
        }
    }

    @Test func everyLineIsSentOnceWhileAllIsWell() async throws {
        let place = try AuditTrailTests.Place()
        let receiver = Receiver()
        try await place.withTrail { trail in
            try await record(trail, 700)
            try await withFeed(place, trail, receiver, until: 1401)
            #expect(receiver.numbers == Array(1...1401))
            // Where it stopped, it goes on.
            try await record(trail, 2)
            try await withFeed(place, trail, receiver, until: 1405)
        }
        try await place.withTrail { trail in try await withFeed(place, trail, receiver, until: 1406) }
        #expect(receiver.numbers == Array(1...1406))
    }

    @Test func whatTheReceiverDidNotTakeIsSentAgain() async throws {
        let place = try AuditTrailTests.Place()
        let receiver = Receiver()
        receiver.fail(5)
        try await place.withTrail { trail in
            try await record(trail, 10)
            try await withFeed(place, trail, receiver, until: 21)
        }
        #expect(receiver.numbers == Array(1...21))
    }

    /// The position may be lost; lines then come twice, and none is missing.
    @Test func withoutItsPositionEverythingIsSentAgain() async throws {
        let place = try AuditTrailTests.Place()
        let receiver = Receiver()
        try await place.withTrail { trail in
            try await record(trail, 1)
            try await withFeed(place, trail, receiver, until: 3)
            try FileManager.default.removeItem(atPath: place.path + ".sent")
            try await withFeed(place, trail, receiver, until: 6)
        }
        #expect(receiver.numbers == [1, 2, 3, 1, 2, 3])
    }

    @Test func aFileThatWasMovedAwayIsSentToItsEnd() async throws {
        let place = try AuditTrailTests.Place()
        let receiver = Receiver()
        try await place.withTrail { trail in
            try await withThrowingTaskGroup(of: Void.self) { group in
                let feed = AuditFeed(trail: trail, clock: SkippingClock(), logger: .silent) { try receiver.take($0) }
                group.addTask { await feed.run() }
                var count: Int64 = 1
                for number in 1...3 {
                    try await record(trail, 5)
                    try FileManager.default.moveItem(atPath: place.path, toPath: place.path + ".\(number)")
                    trail.reopen()
                    try await record(trail, 5)
                    count += 21
                    let end = ContinuousClock.now + .seconds(20)
                    while receiver.numbers.count < count, ContinuousClock.now < end {
                        try await Task.sleep(for: .milliseconds(2))
                    }
                    #expect(receiver.numbers == Array(1...count))
                }
                group.cancelAll()
            }
        }
    }

    /// A new log begins at 1: nothing of it was sent, whatever was sent of another.
    @Test func aNewLogIsSentFromItsBeginning() async throws {
        let place = try AuditTrailTests.Place()
        let receiver = Receiver()
        try await place.withTrail { trail in
            try await record(trail, 3)
            try await withFeed(place, trail, receiver, until: 7)
        }
        try FileManager.default.moveItem(atPath: place.path, toPath: place.path + ".1")
        try await place.withTrail { trail in
            try await record(trail, 1)
            try await withFeed(place, trail, receiver, until: 10)
        }
        #expect(receiver.numbers == Array(1...7) + Array(1...3))
    }
}
