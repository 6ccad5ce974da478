import Core
import Synchronization

/// Short histories of clients that all use one image at once, each checked for an order that explains it.
package struct Races: Sendable {
    package struct Options: Sendable {
        package var histories = 10_000
        package var clients = 8
        package var seed: UInt64 = 1
        /// Histories a server lives for.
        package var perWorld = 50
        package var bug: PlantedBug?
        package var violationLimit = 5

        package init() {}
    }

    package struct Report: CheckReport, CustomStringConvertible {
        package var histories = 0
        package var operations = 0
        package var violations: [String] = []

        package init() {}

        package mutating func add(_ other: Report) {
            histories += other.histories
            operations += other.operations
            violations += other.violations
        }

        package var description: String {
            "\(histories) histories, \(operations) operations, \(violations.count) violations"
        }
    }

    package let options: Options

    package init(_ options: Options = Options()) { self.options = options }

    package func run(threads: Int = 2) -> Report {
        let worlds = (options.histories + options.perWorld - 1) / options.perWorld
        return InThreads.run(worlds, threads: threads, violationLimit: options.violationLimit) { world in
            let seed = options.seed &+ UInt64(world)
            var report = run(seed: seed)
            report.violations = report.violations.map { "seed \(seed): \($0)" }
            return report
        }
    }

    /// The histories of one world; the same for the same seed.
    package func run(seed: UInt64) -> Report {
        let disk = SimulatedDisk(state: .empty(), seed: seed)
        let executor = SeededExecutor(seed: seed)
        var random = SplitMix64(seed: seed)
        var server = ServerOptions()
        server.hasRecycleBin = random.chance(1, in: 2)
        server.workDelayMicroseconds = random.pick([0, 200, 2000])
        server.bug = options.bug
        let serverOptions = server
        let draws = random
        do {
            return try executor.run(stepLimit: 50_000_000) {
                let server = try await SimulatedServer("a", on: disk, executor, seed: seed, serverOptions)
                defer { server.mount.kill() }
                return try await self.histories(server, executor, draws, serverOptions.hasRecycleBin)
            }
        } catch {
            var report = Report()
            report.violations = ["\(error)"]
            return report
        }
    }

    private func histories(
        _ server: SimulatedServer, _ executor: SeededExecutor, _ draws: SplitMix64, _ hasRecycleBin: Bool
    ) async throws -> Report {
        var draws = draws
        var report = Report()
        for number in 0..<options.perWorld {
            let id = ImageID("00000000-0000-4000-8000-" + String(format(number)))
            let (first, entries, found, violations) = try await history(id, server, executor, &draws, hasRecycleBin)
            report.histories += 1
            report.operations += entries.count
            report.violations += violations
            if !Linearization(entries, hasRecycleBin: hasRecycleBin).explains(found, from: first) {
                let lines = entries.map { "  \($0)" }.joined(separator: "\n")
                report.violations.append(
                    "history \(number): no order explains\n  from <\(first)>\n\(lines)\n  found <\(found)>")
            }
            guard report.violations.isEmpty else { break }
        }
        return report
    }

    private func format(_ number: Int) -> String {
        let digits = String(number, radix: 16)
        return String(repeating: "0", count: 12 - digits.count) + digits
    }

    private func history(
        _ id: ImageID, _ server: SimulatedServer, _ executor: SeededExecutor, _ draws: inout SplitMix64,
        _ hasRecycleBin: Bool
    ) async throws -> (ModelImage, [Linearization.Entry], ModelImage, [String]) {
        let setUp = SimulatedClient(server, id)
        var first = ModelImage.absent
        for operation in startingWith(&draws) {
            let (expected, after) = first.applying(operation, hasRecycleBin: hasRecycleBin)
            guard await setUp.perform(operation) == expected else { throw CrashPoints.Surprise("set-up \(operation)") }
            first = after
        }
        let plans = (0..<options.clients).map { _ in (operation: pick(&draws), delay: draws.next(below: 1500)) }
        let pauses = draws.next(below: 3) * 300
        let count = Count()
        let entries = await withTaskGroup(of: Linearization.Entry.self) { group in
            for plan in plans {
                var own = draws.split()
                let ownPauses = (0..<8).map { _ in Int64(own.next(below: pauses + 1)) }
                group.addTask {
                    await executor.pause(microseconds: Int64(plan.delay))
                    let turns = Count()
                    let client = SimulatedClient(server, id) {
                        await executor.pause(microseconds: ownPauses[turns.next() % ownPauses.count])
                    }
                    let start = count.next()
                    let outcome = await client.perform(plan.operation)
                    return Linearization.Entry(plan.operation, outcome, start: start, end: count.next())
                }
            }
            group.addTask {
                // The reconciler does its work in the middle of it.
                await executor.pause(microseconds: 700)
                try? await server.images.reconcile()
                return Linearization.Entry(.show, .unknown, start: 0, end: 0)
            }
            var entries: [Linearization.Entry] = []
            for await entry in group where entry.outcome != .unknown { entries.append(entry) }
            return entries.sorted { $0.start < $1.start }
        }
        let isAtRest = try await server.settle()
        let audit = try await Audit(server, expected: [:]).run()
        let found = try await Audit.model(of: id, in: server.database)
        let violations = audit.violations.filter { !$0.contains("was never asked for") }
        return (first, entries, found, violations + (isAtRest ? [] : ["(g) it does not come to rest"]))
    }

    private func startingWith(_ draws: inout SplitMix64) -> [Operation] {
        switch draws.next(below: 4) {
        case 0: []
        case 1: [.create]
        case 2: [.create, .upload(content: 1 + draws.next(below: 40), isDeclared: true)]
        default: [.create, .addMember("m1"), .upload(content: 1 + draws.next(below: 40), isDeclared: true)]
        }
    }

    private func pick(_ draws: inout SplitMix64) -> Operation {
        let content = 41 + draws.next(below: 200)
        switch draws.next(below: 20) {
        case 0...5: return .upload(content: content, isDeclared: draws.chance(1, in: 2))
        case 6: return .brokenUpload(content: content)
        case 7, 8: return .delete
        case 9: return .rename("name-\(draws.next(below: 3))")
        case 10: return .setProperty("value-\(draws.next(below: 3))")
        case 11, 12: return .download
        case 13: return .show
        case 14: return .addMember("m\(draws.next(below: 2))")
        case 15: return .acceptMembership("m1")
        case 16: return .addTag("tag-\(draws.next(below: 2))")
        case 17: return draws.chance(1, in: 2) ? .deactivate : .reactivate
        case 18: return draws.chance(1, in: 2) ? .undelete : .create
        default: return .protect(draws.chance(1, in: 4))
        }
    }
}

/// Counts from one.
final class Count: Sendable {
    private let value = Mutex(0)

    func next() -> Int {
        value.withLock { value in
            value += 1
            return value
        }
    }
}
