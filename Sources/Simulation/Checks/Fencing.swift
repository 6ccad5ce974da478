import Core

/// Two servers and one upload: the one that has it hangs for longer than its lease lasts, the other takes
/// the lease, and the first wakes up at any point of its work.
package struct Fencing: Sendable {
    package var bug: PlantedBug?

    package init(bug: PlantedBug? = nil) { self.bug = bug }

    private static let image: ImageID = "00000000-0000-4000-8000-00000000000a"

    /// - Parameter delay: microseconds of the upload before its server hangs.
    /// - Returns: what was violated, and whether the lease was taken at all.
    package func run(delay: Int64, seed: UInt64) throws -> (violations: [String], wasTaken: Bool) {
        let disk = SimulatedDisk(state: .empty(), seed: seed)
        let executor = SeededExecutor(seed: seed)
        var options = ServerOptions()
        options.workDelayMicroseconds = 500
        options.bug = bug
        let serverOptions = options
        return try executor.run(stepLimit: 5_000_000) {
            let first = try await SimulatedServer("a", on: disk, executor, seed: seed &+ 1, serverOptions)
            let second = try await SimulatedServer("b", on: disk, executor, seed: seed &+ 2, serverOptions)
            defer { for server in [first, second] { server.mount.kill() } }
            let client = SimulatedClient(first, Self.image) { await executor.pause(microseconds: 700) }
            guard await client.perform(.create) == .done else { throw CrashPoints.Surprise("no image") }
            async let upload = client.perform(.upload(content: 9, isDeclared: true))
            await executor.pause(microseconds: delay)
            first.stall.begin()
            // The other watches for the lease's length, and takes it.
            for _ in 0..<50 {
                try await second.images.reconcile()
                try await second.clock.sleep(seconds: 1)
            }
            let other = SimulatedClient(second, Self.image)
            let again = await other.perform(.upload(content: 4, isDeclared: true))
            first.stall.end()
            let reply = await upload
            var model = ModelImage.created
            model.status = .active
            // Whoever was told so has it.
            var violations: [String] = []
            switch (reply, again) {
            case (.done, .refused(409)): model.content = 9
            case (.failed, .done), (.refused, .done): model.content = 4
            default: violations.append("the first upload: \(reply), the second: \(again)")
            }
            var isAtRest = false
            for _ in 0..<3 where !isAtRest {
                try await first.images.reconcile()
                isAtRest = try await second.settle(within: 60)
            }
            if !isAtRest { violations.append("(g) it does not come to rest") }
            violations += try await Audit(second, expected: [Self.image: [model]]).run().violations
            return (violations, again == .done)
        }
    }
}
