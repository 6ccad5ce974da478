import Blobs
import Glibc
import Simulation
import Testing

/// The simulated disk answers as Linux does, and its gate sees every call.
@Suite struct SimulatedDiskTests {
    private let disk = SimulatedDisk(state: DiskState(capacityBytes: 40 * 4096), seed: 1)
    private let mount: Mount

    init() { mount = disk.mount("a") }

    @Test func errorsAreThoseOfLinux() throws {
        _ = try mount.create("/f", [1])
        try mount.makeDirectory("/d", at: here)
        #expect(code { _ = try mount.open("/none", .read, at: here) } == ENOENT)
        #expect(code { _ = try mount.open("/f/x", .read, at: here) } == ENOTDIR)
        #expect(code { _ = try mount.open("/none/x", .create, at: here) } == ENOENT)
        #expect(code { _ = try mount.open("/f", .create, at: here) } == EEXIST)
        #expect(code { _ = try mount.open("/d", .replace, at: here) } == EISDIR)
        #expect(code { _ = try mount.open("/f", .directory, at: here) } == ENOTDIR)
        #expect(code { try mount.makeDirectory("/d", at: here) } == EEXIST)
        #expect(code { try mount.makeDirectory("/", at: here) } == EEXIST)
        #expect(code { try mount.unlink("/none", at: here) } == ENOENT)
        #expect(code { try mount.unlink("/d", at: here) } == EISDIR)
        #expect(code { try mount.renameWithoutReplacing("/none", to: "/x", at: here) } == ENOENT)
        #expect(code { try mount.renameWithoutReplacing("/f", to: "/d", at: here) } == EEXIST)
        #expect(code { try mount.link("/f", to: "/d", at: here) } == EEXIST)
        #expect(code { try mount.link("/d", to: "/e", at: here) } == EPERM)
        #expect(code { _ = try mount.names(in: "/f", at: here) } == ENOTDIR)
        #expect(code { try mount.checkAccess("/none", at: here) } == ENOENT)
        #expect(try mount.status("/none/x", at: here) == nil)
        #expect(try mount.status("/d/./../f", at: here) == FileStatus(kind: .file, sizeBytes: 1))
        #expect(try mount.status("/d", at: here)?.kind == .directory)
        #expect(try mount.names(in: "/", at: here) == ["d", "f"])
    }

    @Test func holesAndCutsReadAsZeros() throws {
        let file = try mount.create("/f", [1, 2, 3])
        try file.put([9], offset: 10000)
        try file.truncate(sizeBytes: 2, at: here)
        try file.truncate(sizeBytes: 5, at: here)
        let reader = try mount.open("/f", .read, at: here)
        #expect(try reader.get(100) == [1, 2, 0, 0, 0])
        #expect(try reader.get(100, offset: 5) == [])
        #expect(disk.state.usedBytes == 4096)
    }

    @Test func openFileOutlivesItsName() throws {
        var reader: (any DiskFile)?
        do {
            _ = try mount.create("/f", [7])
            reader = try mount.open("/f", .read, at: here)
        }
        try mount.unlink("/f", at: here)
        #expect(try reader?.get(10) == [7])
        #expect(disk.state.usedBytes == 4096)
        reader = nil
        #expect(disk.state.usedBytes == 0)
    }

    @Test func fullDiskTakesWhatFitsAndNoMore() throws {
        let file = try mount.create("/f")
        try file.reserve(sizeBytes: 30 * 4096, at: here)
        #expect(try mount.space("/", at: here) == DiskSpace(totalBytes: 40 * 4096, freeBytes: 10 * 4096))
        #expect(code { try file.reserve(sizeBytes: 41 * 4096, at: here) } == ENOSPC)
        let other = try mount.create("/g")
        #expect(code { try other.put([UInt8](repeating: 1, count: 11 * 4096)) } == ENOSPC)
        #expect(try other.status(at: here).sizeBytes == 10 * 4096)
        // What was reserved is there to be written.
        try file.put([UInt8](repeating: 1, count: 30 * 4096))
        #expect(code { try file.put([1], offset: 30 * 4096) } == ENOSPC)
        try file.put([2], offset: 5)
    }

    @Test func gateSeesAndFailsCalls() throws {
        var calls: [DiskCall] = []
        disk.interceptor = { call in
            calls.append(call)
            return call.kind == .write && call.number == 2 ? .short : call.kind == .unlink ? .error(EIO) : nil
        }
        let file = try mount.open("/f", .create, at: CallSite("Here.swift", 7))
        let written = try [UInt8](repeating: 1, count: 100).withUnsafeBytes {
            try file.write([$0][...], offset: 0, at: here)
        }
        #expect(written == 50)
        #expect(code { try mount.unlink("/f", at: here) } == EIO)
        #expect(disk.state.contents(of: "/f")?.count == 50)
        #expect(calls.map(\.kind) == [.create, .write, .unlink])
        #expect(calls.map(\.isEffect) == [true, true, true])
        #expect(calls[0].description == "#1 a create /f (Here.swift:7)")
        #expect(disk.callCount == 3 && disk.effectCount == 3)
    }

    @Test func crashKeepsTheStateBeforeTheCallAndKillsAll() throws {
        var states: [DiskState] = []
        disk.onEffect = { _, state in states.append(state) }
        let other = disk.mount("b")
        let file = try mount.create("/f", [1])
        disk.interceptor = { $0.effectNumber == 3 ? .crash : nil }
        #expect(code { try file.put([2]) } == EIO)
        #expect(states.count == 2)
        #expect(disk.crashState?.fingerprint == states[1].fingerprint)
        #expect(mount.isDead && other.isDead)
        #expect(code { try file.sync(at: here) } == EIO)
        #expect(code { _ = try other.names(in: "/", at: here) } == EIO)
        disk.interceptor = nil
        var generator = SplitMix64(seed: 1)
        disk.restart(with: states[1].afterPowerLoss(.lost, &generator))
        #expect(try disk.mount("c").names(in: "/", at: here) == [])
    }

    @Test func killedProcessLeavesTheOthersAlone() throws {
        let other = disk.mount("b")
        let file = try mount.create("/f", [1])
        try mount.unlink("/f", at: here)
        #expect(disk.state.usedBytes == 4096)
        mount.kill()
        #expect(disk.state.usedBytes == 0)
        #expect(code { try file.put([1]) } == EIO)
        _ = try other.create("/f", [1])
        #expect(disk.state.paths == ["/f"])
    }

    @Test func outageTakesOnePartAway() throws {
        try mount.makeDirectory("/store", at: here)
        let file = try mount.create("/store/f", [1])
        _ = try mount.create("/storeroom", [1])
        disk.unavailablePrefix = "/store"
        #expect(code { _ = try mount.names(in: "/store", at: here) } == EIO)
        #expect(code { try file.put([1]) } == EIO)
        #expect(code { _ = try mount.open("/storeroom", .read, at: here) } == 0)
        disk.unavailablePrefix = nil
        #expect(code { try file.put([1]) } == 0)
    }

    @Test func preparedDiskIsDurable() throws {
        var state = DiskState(capacityBytes: 1 << 20)
        try state.putDirectory("/a/b")
        try state.putFile("/a/b/f", [1, 2])
        var generator = SplitMix64(seed: 1)
        let after = state.afterPowerLoss(.lost, &generator)
        #expect(after.paths == ["/a/", "/a/b/", "/a/b/f"])
        #expect(after.contents(of: "/a/b/f") == [1, 2])
        #expect(after.fingerprint == state.fingerprint)
    }
}
