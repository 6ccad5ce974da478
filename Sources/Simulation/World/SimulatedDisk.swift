import Glibc

/// The disk of a simulated machine: the state, the processes that use it, and the gate through which
/// all their calls go, to be counted, watched and made to fail.
///
/// A process sees it through a `Mount`, as files (`Blobs.Disk`) and as the home of SQLite databases.
/// Used by one thread at a time, the one that runs its world; hence unchecked.
package final class SimulatedDisk: @unchecked Sendable {
    package var state: DiskState
    /// Decides what becomes of each call.
    package var interceptor: ((DiskCall) -> DiskFault?)?
    /// Is told of each effect with the disk after it. The disk before effect `k` is the one after
    /// effect `k - 1`, so that one run gives the states of all its crashes.
    package var onEffect: ((DiskCall, DiskState) -> Void)?
    /// While set, files below it are out of reach (`EIO`); SQLite's are not affected.
    package var unavailablePrefix: String?
    /// While set, what SQLite syncs is not synced, although it is told so.
    package var ignoresDatabaseSync = false
    /// How many calls came, and how many of them would change something.
    package private(set) var callCount = 0
    package private(set) var effectCount = 0
    /// The disk when the machine stopped; nil while it runs.
    package private(set) var crashState: DiskState?
    /// What SQLite takes for the time, in microseconds since 1970.
    package var currentMicroseconds: () -> Int64 = { 1_700_000_000_000_000 }

    /// Names it in SQLite's paths.
    let worldNumber: Int
    /// For SQLite: the salts of its logs.
    var generator: SplitMix64
    /// By node: the locks of open SQLite files.
    var databases: [Int: DatabaseLocks] = [:]
    private var processes: [DiskProcess] = []

    package init(state: DiskState, seed: UInt64) {
        self.state = state
        generator = SplitMix64(seed: seed)
        worldNumber = SimulatedVFS.nextWorldNumber()
        SimulatedVFS.add(self)
    }

    deinit { SimulatedVFS.remove(worldNumber) }

    package var isCrashed: Bool { crashState != nil }

    /// Starts a process.
    package func mount(_ name: String) -> Mount {
        processes.append(DiskProcess(name, number: processes.count))
        return Mount(processes[processes.count - 1], of: self)
    }

    func mount(number: Int) -> Mount? {
        processes.indices.contains(number) ? Mount(processes[number], of: self) : nil
    }

    /// The machine stops: the state is kept as `crashState`, every process is dead.
    package func crash() {
        if crashState == nil { crashState = state }
        for process in processes { process.kill() }
    }

    /// Starts the machine again, with what its disk is found to hold. New processes mount it.
    package func restart(with newState: DiskState) {
        for process in processes { process.kill() }
        state = newState
        databases = [:]
        crashState = nil
    }

    /// - Returns: whether only a part is to be done.
    /// - Throws: the error the call is to fail with.
    @inline(__always)
    func admit(_ request: DiskRequest) throws(Errno) -> Bool {
        if request.mount.isDead { throw Errno(EIO) }
        callCount &+= 1
        if request.isEffect { effectCount &+= 1 }
        guard let interceptor else { return false }
        return try decide(request, interceptor)
    }

    @inline(never)
    private func decide(_ request: DiskRequest, _ interceptor: (DiskCall) -> DiskFault?) throws(Errno) -> Bool {
        switch interceptor(call(request)) {
        case .error(let code): throw Errno(code)
        case .crash:
            crash()
            throw Errno(EIO)
        case .short:
            if request.mount.isDead { throw Errno(EIO) }
            return true
        case nil:
            if request.mount.isDead { throw Errno(EIO) }
            return false
        }
    }

    @inline(__always)
    func report(_ request: DiskRequest) {
        guard let onEffect else { return }
        onEffect(call(request), state)
    }

    private func call(_ request: DiskRequest) -> DiskCall {
        DiskCall(
            kind: request.kind, path: request.path, place: request.place, mount: request.mount.name,
            isEffect: request.isEffect, sizeBytes: request.sizeBytes, number: callCount, effectNumber: effectCount)
    }
}

/// A call before it is counted.
struct DiskRequest {
    let mount: Mount
    let kind: DiskCall.Kind
    let path: String
    let place: DiskCall.Place
    var isEffect = false
    var sizeBytes = 0
}

/// What one simulated process sees of a disk. It keeps the disk alive; the process ends with the disk,
/// or when it is killed.
package final class Mount: @unchecked Sendable {
    package let disk: SimulatedDisk
    let process: DiskProcess

    init(_ process: DiskProcess, of disk: SimulatedDisk) {
        self.process = process
        self.disk = disk
    }

    package var name: String { process.name }
    package var isDead: Bool { process.isDead }

    /// Where SQLite finds a file of the disk, as this process. It is good as long as somebody holds on
    /// to the disk.
    package func databasePath(_ path: String) -> String {
        "\(SimulatedVFS.pathPrefix)\(disk.worldNumber)/\(process.number)\(path)"
    }

    /// The process dies: what it has open is closed, its locks are free, its calls fail from now on.
    ///
    /// A SQLite connection of it that is inside a transaction still has the database's shared memory
    /// before it, and clears up there when it is next used or closed. So kill a process between
    /// transactions or from inside one of its calls, where nobody else writes before it has cleared up.
    package func kill() { process.kill() }
}

/// A process, as its disk knows it.
final class DiskProcess {
    let name: String
    let number: Int
    private(set) var isDead = false
    /// What it has open, each by a number of its own; they leave when they are closed.
    private var opened: [Int: Unmanaged<OpenNode>] = [:]
    private var openedCount = 0

    init(_ name: String, number: Int) {
        self.name = name
        self.number = number
    }

    func kill() {
        if isDead { return }
        isDead = true
        for (_, node) in opened.sorted(by: { $0.key < $1.key }) { node.takeUnretainedValue().close() }
        opened = [:]
    }

    func add(_ node: OpenNode) -> Int {
        openedCount += 1
        opened[openedCount] = Unmanaged.passUnretained(node)
        return openedCount
    }

    func remove(_ number: Int) { opened[number] = nil }
}

/// A file or directory that a process holds open.
package class OpenNode: @unchecked Sendable {
    let mount: Mount
    let path: String
    let node: Int
    private var isOpen = true
    private var numberInProcess = 0

    init(_ path: String, node: Int, mount: Mount) {
        self.mount = mount
        self.path = path
        self.node = node
        mount.disk.state.addHandle(node)
        numberInProcess = mount.process.add(self)
    }

    /// Gives the node back to the disk, once; also when the process dies. Each subclass says it in its
    /// own `deinit`, while what `releaseLocks` needs is still there.
    final func close() {
        guard isOpen else { return }
        isOpen = false
        releaseLocks()
        mount.process.remove(numberInProcess)
        mount.disk.state.removeHandle(node)
    }

    func releaseLocks() {}
}
