import Core
import Persistence

/// Uploads that race for the last bytes of a quota: never a byte over, at any moment.
package struct QuotaRaces: Sendable {
    package var uploads = 24
    package var bug: PlantedBug?

    package init(bug: PlantedBug? = nil) { self.bug = bug }

    package struct Report: Sendable {
        package var accepted = 0
        package var refused = 0
        package var mostChargedBytes: Int64 = 0
        package var quotaBytes: Int64 = 0
        package var violations: [String] = []
    }

    package func run(seed: UInt64) throws -> Report {
        let disk = SimulatedDisk(state: .empty(), seed: seed)
        let executor = SeededExecutor(seed: seed)
        var random = SplitMix64(seed: seed)
        var options = ServerOptions()
        options.imageBytesQuota = Int64(1 + random.next(below: 120_000))
        options.workDelayMicroseconds = random.pick([0, 300, 3000])
        options.bug = bug
        let serverOptions = options
        let plans = (0..<uploads).map { _ in
            (
                content: random.next(below: Payloads.count), isDeclared: random.chance(1, in: 2),
                delay: Int64(random.next(below: 3000))
            )
        }
        return try executor.run(stepLimit: 20_000_000) {
            let server = try await SimulatedServer("a", on: disk, executor, seed: seed &+ 1, serverOptions)
            defer { server.mount.kill() }
            var report = Report()
            report.quotaBytes = serverOptions.imageBytesQuota
            let most = Most()
            await withTaskGroup(of: Reply.self) { group in
                for (index, plan) in plans.enumerated() {
                    group.addTask {
                        let id = ImageID("00000000-0000-4000-8000-0000000000\(index + 10)")
                        let client = SimulatedClient(server, id) { await executor.pause(microseconds: 400) }
                        guard await client.perform(.create) == .done else { return .unknown }
                        await executor.pause(microseconds: plan.delay)
                        return await client.perform(.upload(content: plan.content, isDeclared: plan.isDeclared))
                    }
                }
                let watch = Watch()
                group.addTask {
                    while !watch.isOver {
                        most.take(try? await Self.held(by: server))
                        await executor.pause(microseconds: 50)
                    }
                    return .refused(0)
                }
                var rest = plans.count
                while rest > 0, let reply = await group.next() {
                    rest -= 1
                    if reply == .done { report.accepted += 1 } else { report.refused += 1 }
                }
                watch.isOver = true
            }
            most.take(try await Self.held(by: server))
            report.mostChargedBytes = most.bytes
            if report.mostChargedBytes > report.quotaBytes {
                report.violations.append("seed \(seed): \(most.bytes) bytes were held of \(report.quotaBytes)")
            }
            return report
        }
    }

    /// What the project holds or is promised: its images' bytes, and its reservations.
    private static func held(by server: SimulatedServer) async throws -> Int64 {
        try await server.database.read { db in
            try db.first(
                "SELECT COALESCE(SUM(CASE WHEN size_bytes > charged_bytes THEN size_bytes ELSE charged_bytes END), 0) "
                    + "FROM blobs WHERE state IN ('writing', 'live')"
            ) { try $0.get(0, as: Int64.self) } ?? 0
        }
    }

    /// Of the world's thread.
    private final class Most: @unchecked Sendable {
        var bytes: Int64 = 0
        func take(_ bytes: Int64?) { self.bytes = max(self.bytes, bytes ?? 0) }
    }

    private final class Watch: @unchecked Sendable { var isOver = false }
}
