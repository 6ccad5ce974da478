import Blobs
import Conversion
import Core
import Foundation
import NIOCore
import Synchronization

/// Bytes as a store would give them.
struct MemoryReader: BlobReader {
    let bytes: [UInt8]
    var sizeBytes: Int64 { Int64(bytes.count) }

    func read(offset: Int64, count: Int) async throws -> ByteBuffer {
        let start = min(Int(offset), bytes.count)
        return ByteBuffer(bytes: bytes[start..<min(bytes.count, start + count)])
    }

    func close() async {}
}

/// Keeps what a step writes, as far as there is room.
final class KeptOutput: ImportOutput {
    private let kept = Mutex<(bytes: [UInt8], count: Int)>(([], 0))
    private let limitBytes: Int
    private let isCountedOnly: Bool

    init(limitBytes: Int = .max, isCountedOnly: Bool = false) {
        self.limitBytes = limitBytes
        self.isCountedOnly = isCountedOnly
    }

    var bytes: [UInt8] { kept.withLock { $0.bytes } }
    var count: Int { kept.withLock { $0.count } }

    func write(_ buffers: [ByteBuffer]) async throws {
        try kept.withLock { kept in
            for buffer in buffers {
                kept.count += buffer.readableBytes
                if !isCountedOnly { kept.bytes += buffer.readableBytesView }
            }
            guard kept.count <= limitBytes else { throw ServiceError.tooLarge("too large") }
        }
    }
}

/// Runs one plugin on bytes, and tells what became of them.
final class ImportStepFixture: Sendable {
    let images: ImageFixture
    let scratch: URL
    let converter: QemuImg
    let surroundings: Surroundings

    /// - Parameter qemuImg: a script in place of the real one.
    init(qemuImg: String? = nil, limits: QemuImg.Limits = .init()) async throws {
        images = try await ImageFixture()
        scratch = images.directory.appending(path: "scratch")
        try FileManager.default.createDirectory(at: scratch, withIntermediateDirectories: true)
        var path = QemuImg.installedPath ?? ""
        if let qemuImg {
            let script = images.directory.appending(path: "qemu-img")
            try Data(("#!/bin/sh\n" + qemuImg + "\n").utf8).write(to: script)
            try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: script.path)
            path = script.path
        }
        let work = ThreadWorkPool(threadCount: 2)
        converter = QemuImg(
            path: path, scratch: scratch.path, work: work, threads: ThreadWorkPool(threadCount: 2), limits: limits)
        surroundings = Surroundings(clock: images.clock, randomness: SeededRandomness(), work: work)
    }

    struct Made {
        let result: ImportStepResult?
        let bytes: [UInt8]
    }

    func run(
        _ plugins: ImportPlugins, _ bytes: [UInt8], disk: String = "raw", container: String = "bare",
        roles: Set<String> = ["member", "reader"], sizeCapBytes: Int64 = 1 << 40, output: KeptOutput = KeptOutput()
    ) async throws -> Made {
        let image = try await images.createImage {
            $0.diskFormat = disk
            $0.containerFormat = container
        }
        let steps = plugins.steps(
            converter: converter, work: surroundings.work, formats: FormatSettings(), sizeCapBytes: sizeCapBytes)
        let input = ImportStepInput(
            bytes: MemoryReader(bytes: bytes), image: image, roles: roles, surroundings: surroundings,
            logger: .silent)
        precondition(steps.count == 1)
        let result = try await steps[0].run(input, output: output)
        return Made(result: result, bytes: output.bytes)
    }

    func convert(
        _ bytes: [UInt8], from disk: String, to target: ConversionTarget, sizeCapBytes: Int64 = 1 << 40
    ) async throws -> Made {
        try await run(Self.conversion(to: target), bytes, disk: disk, sizeCapBytes: sizeCapBytes)
    }

    static func conversion(to target: ConversionTarget) -> ImportPlugins {
        var plugins = ImportPlugins()
        plugins.order = [.conversion]
        plugins.outputFormat = target
        return plugins
    }

    /// The status that an attempt ends with; nil when it does not.
    func status(_ body: () async throws -> Made) async throws -> Int? {
        do {
            _ = try await body()
            return nil
        } catch let error as ServiceError {
            return error.status
        }
    }

    /// Nothing is left in the scratch directory, under a name or without one, and no program runs that names `mark`
    /// in its arguments.
    func isClean(mark: String? = nil) throws -> Bool {
        let files = try FileManager.default.contentsOfDirectory(atPath: scratch.path)
        let programs = try mark.map { try Self.processes(naming: $0) } ?? []
        return try files.isEmpty && programs.isEmpty && Self.openFiles(below: scratch.path).isEmpty
    }

    /// What was killed is gone as soon as a processor had time for it.
    func becomesClean(mark: String? = nil) async throws -> Bool {
        for _ in 0..<2000 {
            if try isClean(mark: mark) { return true }
            try await Task.sleep(for: .milliseconds(5))
        }
        return false
    }

    static func processes(naming mark: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: "/proc").filter { process in
            guard Int(process) != nil,
                let line = FileManager.default.contents(atPath: "/proc/\(process)/cmdline")
            else { return false }
            return String(decoding: line, as: UTF8.self).contains(mark)
        }
    }

    /// Files of this process, also those that have no name any more.
    static func openFiles(below directory: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").filter {
            let target = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/\($0)")
            return target?.hasPrefix(directory) == true
        }
    }
}

/// A tool that the tests use to make and to read what plugins work on.
enum Shell {
    struct Failure: Error {
        let command: String
        let status: Int32
    }

    /// Runs a command with `input` as the file `in`.
    /// - Returns: the file `out`.
    static func run(_ command: String, input: [UInt8] = []) throws -> [UInt8] {
        let directory = FileManager.default.temporaryDirectory.appending(path: "ambrotype-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        try Data(input).write(to: directory.appending(path: "in"))
        let process = Process()
        process.executableURL = URL(filePath: "/bin/sh")
        process.arguments = ["-c", command]
        process.currentDirectoryURL = directory
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else {
            throw Failure(command: command, status: process.terminationStatus)
        }
        return [UInt8](try Data(contentsOf: directory.appending(path: "out")))
    }
}

extension [UInt8] {
    /// Big-endian numbers, as qcow2 has them.
    mutating func put(_ value: UInt64, at offset: Int, count: Int) {
        for index in 0..<count { self[offset + index] = UInt8(truncatingIfNeeded: value >> (8 * (count - 1 - index))) }
    }
}
