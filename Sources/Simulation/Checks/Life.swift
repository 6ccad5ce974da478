import Core
import Glibc

/// One life of a random run's cloud: from a start to a crash, a kill or an end in peace.
final class Life: @unchecked Sendable {
    private static let clients = 4

    let world: RandomRun
    private let disk: SimulatedDisk
    private let executor: SeededExecutor
    private var servers: [String: SimulatedServer] = [:]
    private var budget: Int
    private var isOver = false
    /// At which effect the power goes; nil in a life without.
    private var lastEffect: Int?
    private var faultDraws: SplitMix64

    private enum End: CaseIterable { case powerLoss, killed, peace }
    private let end: End

    init(_ world: RandomRun, on state: DiskState) {
        self.world = world
        disk = SimulatedDisk(state: state, seed: world.nextSeed())
        executor = SeededExecutor(seed: world.nextSeed())
        budget = world.drawBudget()
        end = world.random.pick([.powerLoss, .powerLoss, .killed, .peace])
        faultDraws = world.random.split()
        if end == .powerLoss { lastEffect = 1 + world.random.next(below: budget * 30) }
    }

    private var names: [String] { world.hasTwoServers ? ["a", "b"] : ["a"] }

    /// - Returns: the disk as the next start finds it.
    func live() throws -> DiskState {
        disk.interceptor = { [unowned self] call in self.fault(for: call) }
        let everyone = (0..<Self.clients).map { _ in ClientTask(self, world.random.split()) }
        var chaosDraws = world.random.split()
        let chaos = (0..<6).map { _ in (kind: chaosDraws.next(below: 6), wait: chaosDraws.next(below: 4_000_000)) }
        let keyChaos = drawKeyChaos()
        try executor.run(stepLimit: 20_000_000) {
            await withTaskGroup(of: Void.self) { group in
                for name in self.names { group.addTask { await self.keepServer(name) } }
                group.addTask { for event in chaos { await self.disturb(event.kind, after: Int64(event.wait)) } }
                if !keyChaos.isEmpty {
                    group.addTask { for event in keyChaos { await self.disturbKeys(event.kind, after: event.wait) } }
                }
                await withTaskGroup(of: Void.self) { clients in
                    for client in everyone { clients.addTask { await client.work() } }
                }
                self.isOver = true
                group.cancelAll()
            }
        }
        servers = [:]
        return ended()
    }

    private func ended() -> DiskState {
        if let troubles = world.keyBook?.keys.troubles {
            (troubles.isAway, troubles.refuses, troubles.oneIn) = (false, false, 0)
        }
        var draws = world.random.split()
        let loss: PowerLoss
        if disk.isCrashed {
            world.report.crashes += 1
            loss = draws.pick([.lost, .torn, .reordered, .reordered])
        } else {
            loss = .none
            world.report.kills += names.count
        }
        for (id, ghosts) in world.ghosts { world.allowed[id, default: []].formUnion(ghosts) }
        // No upload outlives its server.
        world.allowed = world.allowed.mapValues { Set($0.map(\.recovered)) }
        return (disk.crashState ?? disk.state).afterPowerLoss(loss, &draws)
    }

    // MARK: Servers

    /// One of the running servers, if there is one.
    func server(_ draws: inout SplitMix64) -> SimulatedServer? {
        let running = servers.keys.sorted().compactMap { servers[$0] }.filter { !$0.mount.isDead }
        return running.isEmpty ? nil : draws.pick(running)
    }

    /// Starts a server, again whenever it was killed, and lets its reconciler world.
    private func keepServer(_ name: String) async {
        while !isOver, !disk.isCrashed, !Task.isCancelled {
            do {
                let server = try await SimulatedServer(
                    name, on: disk, executor, seed: world.nextSeed(), world.serverOptions)
                servers[name] = server
                await withTaskGroup(of: Void.self) { group in
                    group.addTask { await server.images.runReconciler(logger: SimulatedServer.quiet) }
                    if server.keys != nil {
                        group.addTask {
                            while !Task.isCancelled {
                                try? await server.keepKeys()
                                try? await server.clock.sleep(seconds: 5)
                            }
                        }
                    }
                    group.addTask {
                        while !server.mount.isDead, !Task.isCancelled { try? await server.clock.sleep(seconds: 0.05) }
                    }
                    await group.next()
                    group.cancelAll()
                }
                if end == .peace, !server.mount.isDead { _ = try? await server.settle(within: 20) }
                servers[name] = nil
                server.mount.kill()
            } catch {
                // A start that a fault spoils is tried again.
                await executor.pause(microseconds: 100_000)
            }
        }
    }

    // MARK: Faults

    private func fault(for call: DiskCall) -> DiskFault? {
        if let lastEffect, call.effectNumber >= lastEffect, call.isEffect {
            world.disturbances += 1
            return .crash
        }
        guard world.hasFaults, !isOver, Self.mayFail(call), faultDraws.chance(1, in: 600) else { return nil }
        world.disturbances += 1
        world.report.faults += 1
        if call.kind == .write, faultDraws.chance(1, in: 3) { return .short }
        return .error(faultDraws.pick([EIO, EIO, ENOSPC]))
    }

    private static func mayFail(_ call: DiskCall) -> Bool {
        switch call.kind {
        case .close, .lock, .unlock, .map: false
        default: true
        }
    }

    private func disturb(_ kind: Int, after microseconds: Int64) async {
        await executor.pause(microseconds: microseconds)
        guard world.hasFaults, !isOver, !disk.isCrashed else { return }
        var draws = world.random.split()
        switch kind {
        case 0:
            world.report.outages += 1
            world.disturbances += 1
            disk.unavailablePrefix = SimulatedServer.storeDirectory
            await executor.pause(microseconds: Int64(draws.next(below: 3_000_000)))
            disk.unavailablePrefix = nil
            world.disturbances += 1
        case 1, 2:
            guard let server = server(&draws) else { return }
            world.report.clockJumps += 1
            world.disturbances += 1
            let seconds = draws.pick([-3600.0, -40, -5, 5, 40, 3600, 7200])
            if abs(seconds) >= Double(ServerOptions.recycleBinSeconds) { world.hasLostTime = true }
            server.clock.jump(seconds: seconds)
        case 3 where world.hasTwoServers:
            guard let server = server(&draws) else { return }
            world.report.kills += 1
            world.disturbances += 1
            server.mount.kill()
        case 4:
            guard let server = server(&draws) else { return }
            // Nothing of it comes to the disk for longer than its leases last.
            world.report.stalls += 1
            world.disturbances += 1
            server.stall.begin()
            await executor.pause(microseconds: Int64(20_000_000 + draws.next(below: 40_000_000)))
            server.stall.end()
            world.disturbances += 1
        default: break
        }
    }

    private enum KeyChaos: CaseIterable { case outage, refusals, retention, calm }

    private func drawKeyChaos() -> [(kind: KeyChaos, wait: Int64)] {
        guard let book = world.keyBook else { return [] }
        if world.hasFaults { book.keys.troubles.oneIn = world.random.pick([0, 20, 3]) }
        return (0..<4).map { _ in
            let isRare = world.random.chance(1, in: 8)
            // Of two servers, one would take the other for dead.
            let kind =
                isRare && !world.hasTwoServers
                ? KeyChaos.retention : world.random.pick([.outage, .outage, .refusals, .calm, .calm])
            return (kind, Int64(world.random.next(below: 4_000_000)))
        }
    }

    private func disturbKeys(_ kind: KeyChaos, after microseconds: Int64) async {
        await executor.pause(microseconds: microseconds)
        guard world.hasFaults, !isOver, !disk.isCrashed, let troubles = world.keyBook?.keys.troubles else { return }
        var draws = world.random.split()
        switch kind {
        case .outage:
            world.report.outages += 1
            troubles.isAway = true
            await executor.pause(microseconds: Int64(draws.next(below: 20_000_000)))
            troubles.isAway = false
        case .refusals:
            world.report.outages += 1
            troubles.refuses = true
            await executor.pause(microseconds: Int64(draws.next(below: 500_000)))
            troubles.refuses = false
        case .retention:
            world.report.clockJumps += 1
            world.disturbances += 1
            world.hasLostTime = true
            world.pass(on: servers.keys.sorted().compactMap { servers[$0] })
        case .calm: break
        }
    }

    // MARK: Clients

    func takeOperation() -> Bool {
        guard budget > 0, !disk.isCrashed else { return false }
        budget -= 1
        world.report.operations += 1
        return true
    }

    func pause(_ draws: inout SplitMix64) async {
        await executor.pause(microseconds: Int64(draws.pick([0, 100, 5000, 200_000])))
    }

    var isCrashed: Bool { disk.isCrashed }
    /// Whether operations fail for a reason that lasts.
    var isTroubled: Bool { disk.unavailablePrefix != nil || disk.state.freeBytes < 1 << 20 }
    func step() async { await executor.pause(microseconds: 300) }
}
