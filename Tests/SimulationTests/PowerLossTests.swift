import Blobs
import Simulation
import Testing

/// What a simulated disk keeps and loses, against a model of bytes in plain arrays.
@Suite struct PowerLossTests {
    /// A file as the model has it: what is safe, and what was done since.
    private struct Model {
        enum Change {
            case write(Int, [UInt8])
            case resize(Int)
        }

        var durable: [UInt8] = []
        var changes: [Change] = []

        static func apply(_ change: Change, to bytes: inout [UInt8], upTo limit: Int = .max) {
            switch change {
            case .resize(let size):
                bytes = Array(bytes.prefix(size)) + [UInt8](repeating: 0, count: max(0, size - bytes.count))
            case .write(let offset, let new):
                let kept = min(new.count, limit - offset)
                bytes += [UInt8](repeating: 0, count: max(0, offset + kept - bytes.count))
                for index in 0..<kept { bytes[offset + index] = new[index] }
            }
        }

        var current: [UInt8] {
            var bytes = durable
            for change in changes { Self.apply(change, to: &bytes) }
            return bytes
        }

        /// All that a torn file can be: some first changes, the last of them up to the end of a sector.
        var torn: Set<[UInt8]> {
            var results: Set<[UInt8]> = [durable]
            var bytes = durable
            for change in changes {
                if case .write(let offset, let new) = change {
                    for end in stride(from: (offset / 512 + 1) * 512, to: offset + new.count, by: 512) {
                        var cut = bytes
                        Self.apply(change, to: &cut, upTo: end)
                        results.insert(cut)
                    }
                }
                Self.apply(change, to: &bytes)
                results.insert(bytes)
            }
            return results
        }

        /// Whether each sector is what some of the writes left there (there are no resizes), zeros after
        /// the old end where only the size survived.
        func canBeReordered(_ found: [UInt8]) -> Bool {
            guard found.count >= durable.count, found.count <= current.count else { return false }
            return stride(from: 0, to: found.count, by: 512).allSatisfy { start in
                let end = min(found.count, start + 512)
                return (0..<1 << changes.count).contains { subset in
                    var bytes = durable
                    for (index, change) in changes.enumerated() where subset >> index & 1 == 1 {
                        Self.apply(change, to: &bytes)
                    }
                    bytes += [UInt8](repeating: 0, count: max(0, end - bytes.count))
                    return bytes[start..<end] == found[start..<end]
                }
            }
        }
    }

    private func randomFile(_ generator: inout SplitMix64, withResizes: Bool) throws -> (SimulatedDisk, Model) {
        let disk = SimulatedDisk(state: DiskState(capacityBytes: 1 << 24), seed: 1)
        let mount = disk.mount("a")
        var model = Model()
        let file = try mount.create("/f")
        try mount.syncNames("/")
        for _ in 0..<generator.next(below: 12) {
            switch generator.next(below: 6) {
            case 0:
                try file.sync(at: here)
                model = Model(durable: model.current)
            case 1 where withResizes:
                let size = generator.next(below: 12000)
                try file.truncate(sizeBytes: Int64(size), at: here)
                model.changes.append(.resize(size))
            default:
                let bytes = generator.bytes(generator.next(below: 3000) + 1)
                let offset = generator.next(below: 9000)
                try file.put(bytes, offset: offset)
                model.changes.append(.write(offset, bytes))
            }
            if model.changes.count > 6 { break }
        }
        #expect(disk.state.contents(of: "/f") == model.current)
        return (disk, model)
    }

    @Test func contentsSurviveAsTheModelSays() throws {
        var generator = SplitMix64(seed: 42)
        var partial = 0
        for round in 0..<400 {
            let (disk, model) = try randomFile(&generator, withResizes: round % 2 == 0)
            let before = disk.state
            let none = before.afterPowerLoss(.none, &generator)
            #expect(none.contents(of: "/f") == model.current)
            #expect(none.afterPowerLoss(.lost, &generator).contents(of: "/f") == model.durable)
            #expect(before.afterPowerLoss(.lost, &generator).contents(of: "/f") == model.durable)
            let torn = before.afterPowerLoss(.torn, &generator)
            let found = try #require(torn.contents(of: "/f"))
            #expect(model.torn.contains(found))
            if found != model.durable, found != model.current { partial += 1 }
            // What survived once is safe.
            #expect(torn.afterPowerLoss(.reordered, &generator).contents(of: "/f") == found)
            if round % 2 == 1 {
                let reordered = try #require(before.afterPowerLoss(.reordered, &generator).contents(of: "/f"))
                #expect(model.canBeReordered(reordered))
            }
            #expect(disk.state.contents(of: "/f") == model.current)
        }
        #expect(partial > 50)
    }

    /// A name is where the last sync of its directory left it, or where a later change of that directory
    /// put it; a rename to another directory can be lost in either.
    @Test func namesSurviveAsTheModelSays() throws {
        var generator = SplitMix64(seed: 43)
        var outcomes: Set<[String]> = []
        for kind in [PowerLoss.lost, .torn, .reordered] {
            for _ in 0..<60 {
                let disk = SimulatedDisk(state: DiskState(capacityBytes: 1 << 24), seed: 1)
                let mount = disk.mount("a")
                try mount.makeDirectory("/a", at: here)
                try mount.makeDirectory("/b", at: here)
                try mount.syncNames("/")
                _ = try mount.create("/a/f", [1, 2, 3], isSynced: true)
                try mount.syncNames("/a")
                try mount.renameWithoutReplacing("/a/f", to: "/b/f", at: here)
                #expect(disk.state.paths == ["/a/", "/b/", "/b/f"])
                let after = disk.state.afterPowerLoss(kind, &generator)
                for path in after.paths where path.hasSuffix("f") { #expect(after.contents(of: path) == [1, 2, 3]) }
                if kind == .lost { #expect(after.paths == ["/a/", "/a/f", "/b/"]) }
                outcomes.insert(after.paths)
                try mount.syncNames("/b")
                let target = disk.state.afterPowerLoss(kind, &generator)
                #expect(target.contents(of: "/b/f") == [1, 2, 3])
                try mount.syncNames("/a")
                #expect(disk.state.afterPowerLoss(kind, &generator).paths == ["/a/", "/b/", "/b/f"])
            }
        }
        // Both names, either, and none.
        #expect(outcomes.count == 4)
    }

    @Test func syncOfTheSourceAloneLosesTheFile() throws {
        var generator = SplitMix64(seed: 1)
        let disk = SimulatedDisk(state: DiskState(capacityBytes: 1 << 24), seed: 1)
        let mount = disk.mount("a")
        try mount.makeDirectory("/b", at: here)
        _ = try mount.create("/f", [1], isSynced: true)
        try mount.syncNames("/")
        try mount.renameWithoutReplacing("/f", to: "/b/f", at: here)
        try mount.syncNames("/")
        #expect(disk.state.afterPowerLoss(.lost, &generator).paths == ["/b/"])
    }

    @Test func renameWithinADirectoryKeepsOneName() throws {
        var generator = SplitMix64(seed: 1)
        let disk = SimulatedDisk(state: DiskState(capacityBytes: 1 << 24), seed: 1)
        let mount = disk.mount("a")
        _ = try mount.create("/f", [1], isSynced: true)
        try mount.syncNames("/")
        try mount.renameWithoutReplacing("/f", to: "/g", at: here)
        var found: Set<[String]> = []
        for _ in 0..<50 { found.insert(disk.state.afterPowerLoss(.reordered, &generator).paths) }
        #expect(found == [["/f"], ["/g"]])
    }

    @Test func unsyncedDirectoryTakesEverythingWithIt() throws {
        var generator = SplitMix64(seed: 1)
        let disk = SimulatedDisk(state: DiskState(capacityBytes: 1 << 24), seed: 1)
        let mount = disk.mount("a")
        try mount.makeDirectory("/d", at: here)
        _ = try mount.create("/d/f", [1], isSynced: true)
        try mount.syncNames("/d")
        let after = disk.state.afterPowerLoss(.lost, &generator)
        #expect(after.paths == [])
        #expect(after.usedBytes == 0)
    }

    @Test func unlinkedFileCanComeBack() throws {
        var generator = SplitMix64(seed: 1)
        let disk = SimulatedDisk(state: DiskState(capacityBytes: 1 << 24), seed: 1)
        let mount = disk.mount("a")
        _ = try mount.create("/f", [1], isSynced: true)
        try mount.syncNames("/")
        try mount.unlink("/f", at: here)
        #expect(disk.state.usedBytes == 0)
        #expect(disk.state.afterPowerLoss(.lost, &generator).contents(of: "/f") == [1])
        // Another file takes no part of it.
        _ = try mount.create("/g", [2], isSynced: true)
        #expect(disk.state.afterPowerLoss(.lost, &generator).contents(of: "/f") == [1])
        try mount.syncNames("/")
        #expect(disk.state.afterPowerLoss(.lost, &generator).paths == ["/g"])
    }

    /// Two renames of directories into each other, half synced: no walk may go round in circles.
    @Test func directoriesInsideEachOtherAreKeptOnce() throws {
        var generator = SplitMix64(seed: 1)
        let disk = SimulatedDisk(state: DiskState(capacityBytes: 1 << 24), seed: 1)
        let mount = disk.mount("a")
        try mount.makeDirectory("/a", at: here)
        try mount.makeDirectory("/b", at: here)
        try mount.syncNames("/")
        try mount.renameWithoutReplacing("/a", to: "/b/a", at: here)
        try mount.syncNames("/b")
        try mount.renameWithoutReplacing("/b/a", to: "/c", at: here)
        try mount.renameWithoutReplacing("/b", to: "/c/b", at: here)
        try mount.syncNames("/c")
        #expect(disk.state.afterPowerLoss(.lost, &generator).paths == ["/a/", "/b/"])
        #expect(code { try mount.renameWithoutReplacing("/c", to: "/c/b/d", at: here) } != 0)
    }

    @Test func fingerprintTellsStatesApartAndKnowsEqualOnes() throws {
        func disk() throws -> (SimulatedDisk, Mount) {
            let disk = SimulatedDisk(state: DiskState(capacityBytes: 1 << 24), seed: 1)
            let mount = disk.mount("a")
            _ = try mount.create("/f", [UInt8](repeating: 0, count: 9000))
            return (disk, mount)
        }
        let (first, firstMount) = try disk()
        let (second, secondMount) = try disk()
        var seen: Set<UInt64> = [first.state.fingerprint]
        #expect(first.state.fingerprint == second.state.fingerprint)
        let snapshot = first.state
        let file = try firstMount.open("/f", .replace, at: here)
        for step in 0..<4 {
            switch step {
            case 0: break
            case 1: try file.put([5], offset: 5000)
            case 2: try file.sync(at: here)
            default: try firstMount.syncNames("/")
            }
            #expect(seen.insert(first.state.fingerprint).inserted)
        }
        #expect(snapshot.fingerprint == second.state.fingerprint)
        // Another way to the same disk; what is open does not matter.
        let other = try secondMount.open("/f", .replace, at: here)
        try secondMount.syncNames("/")
        try other.put([5], offset: 5000)
        try other.sync(at: here)
        #expect(first.state.fingerprint == second.state.fingerprint)
    }
}
