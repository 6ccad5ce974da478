import CLinuxIO
import Core
import Formats
import Glibc
import Logging
import NIOCore

/// qemu-img as a converter: a child process without privileges, network or files but the two that it works on, with
/// limits on memory, time and size.
package struct QemuImg: ImageConverter {
    /// Where Debian has it, and who builds it by hand.
    private static let places = ["/usr/bin/qemu-img", "/usr/local/bin/qemu-img"]

    /// How long it may take.
    package struct Limits: Sendable {
        package var infoSeconds: Double = 30
        package var baseSeconds: Double = 300
        /// More for each of so many bytes that the disk inside has.
        package var bytesPerSecond: Double = 16_777_216

        package init() {}

        func seconds(for bytes: Int64) -> Double { baseSeconds + Double(bytes) / bytesPerSecond }
    }

    let path: String
    let scratch: String
    let work: any WorkPool
    let threads: any WorkPool
    let limits: Limits

    /// - Parameters:
    ///   - path: the program.
    ///   - scratch: a directory for files without names.
    ///   - work: for reading and writing files.
    ///   - threads: for this alone: each conversion holds one while the program runs, so they are
    ///     how many run at once.
    package init(
        path: String, scratch: String, work: any WorkPool, threads: any WorkPool, limits: Limits = Limits()
    ) {
        self.path = path
        self.scratch = scratch
        self.work = work
        self.threads = threads
        self.limits = limits
    }

    /// Where the program is; nil when it is not installed.
    package static var installedPath: String? { places.first { access($0, X_OK) == 0 } }

    /// Makes the directory for unnamed files, and removes what had a name for a moment when a crash came. To be called
    /// when nobody else uses it.
    package static func prepare(scratch: String) throws {
        guard mkdir(scratch, 0o700) == 0 || errno == EEXIST else { throw FileFailure("make \(scratch)", errno) }
        guard let directory = opendir(scratch) else { throw FileFailure("open \(scratch)", errno) }
        defer { closedir(directory) }
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: Int(NAME_MAX) + 1) { String(cString: $0) }
            }
            if name.hasPrefix("unnamed-") { unlink(scratch + "/" + name) }
        }
        _ = try UnnamedFile(in: scratch)
    }

    /// Whether the kernel keeps the program from files; without that it is the inspection alone that does.
    package static var isConfinedToItsFiles: Bool { clinuxio_can_confine_files() }

    package func begin() async throws -> any ImageConversion {
        do {
            let scratch = scratch
            return QemuConversion(tool: self, source: try await work.run { try UnnamedFile(in: scratch) })
        } catch {
            throw Self.noRoom(error)
        }
    }

    static func noRoom(_ cause: any Error) -> ServiceError {
        .unavailable("There is no room to convert the image now.", cause: cause)
    }
}

/// One image between two unnamed files.
struct QemuConversion: ImageConversion {
    let tool: QemuImg
    private let source: Held
    private let target = Held()

    init(tool: QemuImg, source: UnnamedFile) {
        self.tool = tool
        self.source = Held(source)
    }

    func write(_ buffer: ByteBuffer, at offset: Int64) async throws {
        do {
            let file = source.file
            try await tool.work.run { try file.write(buffer, at: offset) }
        } catch {
            throw QemuImg.noRoom(error)
        }
    }

    func convert(
        from source: DiskFormat, to target: DiskFormat, maximumBytes: Int64, logger: Logger
    ) async throws -> any BlobReader {
        precondition(source != target)
        let image = try await preparing { try self.source.file.readOnly() }
        let facts = try await facts(of: image, source, logger: logger)
        let diskBytes = facts.diskBytes
        guard diskBytes <= maximumBytes else {
            throw ServiceError.tooLarge(
                "The disk in the image has \(diskBytes) bytes; images of up to \(maximumBytes) bytes are taken.")
        }
        // Of one that was not closed properly the counts are wrong, which is all that the check could say.
        if !facts.isDirty { try await check(image, source, diskBytes: diskBytes, logger: logger) }
        let scratch = tool.scratch
        let result = try await preparing { try UnnamedFile(in: scratch) }
        self.target.hold(result)
        let seconds = tool.limits.seconds(for: diskBytes)
        let program = ConfinedProgram(
            path: tool.path,
            arguments: ["convert", "-O", Self.name(target), Self.node(source, descriptor: 3), "file:/proc/self/fd/4"],
            files: [image, result], cpuSeconds: UInt64(seconds), fileBytes: Self.fileBytes(target, diskBytes),
            wallSeconds: seconds)
        _ = try await run(program, logger: logger) {
            "The image could not be converted from \(source.rawValue) to \(target.rawValue)\($0)."
        }
        let size = try await preparing { try result.sizeBytes() }
        return UnnamedFileReader(file: result, sizeBytes: size, work: tool.work)
    }

    func close() async {
        // Freeing a large file takes time.
        let files = [source.release(), target.release()]
        _ = try? await tool.work.run { withExtendedLifetime(files) {} }
    }

    private func preparing<T: Sendable>(_ body: @escaping @Sendable () throws -> T) async throws -> T {
        do {
            return try await tool.work.run(body)
        } catch {
            throw QemuImg.noRoom(error)
        }
    }

    /// What qemu-img itself makes of the image, asked before it is to work on it. Nothing that it says should be news.
    private func facts(of image: UnnamedFile, _ format: DiskFormat, logger: Logger) async throws -> ImageFacts {
        let program = ConfinedProgram(
            path: tool.path, arguments: ["info", "--output=json", Self.node(format, descriptor: 3)], files: [image],
            cpuSeconds: 2, wallSeconds: tool.limits.infoSeconds)
        let output = try await run(program, logger: logger) {
            "The image could not be read as \(format.rawValue)\($0)."
        }
        let facts: ImageFacts
        do {
            facts = try ImageFacts(json: output)
        } catch {
            logger.notice("qemu-img info is not understood", metadata: ["error": "\(error)"])
            throw ServiceError.badRequest("The image could not be read as \(format.rawValue).")
        }
        if let trouble = facts.trouble(expected: Self.name(format)) {
            logger.notice("qemu-img info disagrees with the inspection", metadata: ["finding": "\(trouble)"])
            throw ServiceError.unsupportedMediaType("Image content does not pass for conversion: \(trouble).")
        }
        return facts
    }

    /// Whether the image's tables are whole: where they lead to no data, a conversion would make zeros of it.
    private func check(_ image: UnnamedFile, _ format: DiskFormat, diskBytes: Int64, logger: Logger) async throws {
        // The others have no tables that it knows to check.
        guard [.qcow2, .qed, .vdi, .vhdx, .vmdk].contains(format) else { return }
        let seconds = tool.limits.seconds(for: diskBytes)
        let program = ConfinedProgram(
            path: tool.path, arguments: ["check", "-q", Self.node(format, descriptor: 3)], files: [image],
            cpuSeconds: UInt64(seconds), wallSeconds: seconds)
        _ = try await run(program, accepting: [0, Self.leaksOnly], logger: logger) {
            "The image cannot be checked, or its tables do not fit its data\($0)."
        }
    }

    /// What `qemu-img check` says of an image that has clusters nothing refers to: larger than it need be.
    private static let leaksOnly: Int32 = 3

    /// - Parameters:
    ///   - statuses: of the program, when all is well.
    ///   - message: for the user; is given how it ended, if that tells anything.
    private func run(
        _ program: ConfinedProgram, accepting statuses: Set<Int32> = [0], logger: Logger, message: (String) -> String
    ) async throws -> ByteBuffer {
        let outcome: ConfinedProgram.Outcome
        do {
            outcome = try await program.run(on: tool.threads)
        } catch let error as FileFailure {
            throw ServiceError.unavailable("Images cannot be converted now.", cause: error)
        }
        if case .exited(let status) = outcome.end, statuses.contains(status) {
            return ByteBuffer(bytes: outcome.output)
        }
        let complaint = outcome.complaintText
        logger.notice("qemu-img failed", metadata: ["end": "\(outcome.end)", "stderr": "\(complaint)"])
        switch outcome.end {
        case .exited where complaint.contains("No space left on device"):
            throw ServiceError.unavailable("There is no room to convert the image now.")
        case .exited: throw ServiceError.badRequest(message(""))
        case .killed(let signal) where signal == SIGXFSZ:
            throw ServiceError.badRequest(message(": the result grew too large"))
        case .killed(let signal) where signal == SIGXCPU || signal == SIGKILL:
            throw ServiceError.badRequest(message(": it took too much work"))
        case .killed: throw ServiceError.badRequest(message(""))
        case .outOfTime: throw ServiceError.badRequest(message(": it took too long"))
        }
    }

    private static func name(_ format: DiskFormat) -> String { format == .vhd ? "vpc" : format.rawValue }

    /// The whole block graph, said at once: nothing is probed, and there is no backing file whatever the image says.
    private static func node(_ format: DiskFormat, descriptor: Int) -> String {
        let file = #""file":{"driver":"file","filename":"/proc/self/fd/\#(descriptor)"}"#
        let backing = format == .raw ? "" : #""backing":null,"#
        return #"json:{"driver":"\#(name(format))",\#(backing)\#(file)}"#
    }

    /// A disk that compresses to nothing still needs its tables: far less than a sixty-fourth.
    private static func fileBytes(_ target: DiskFormat, _ diskBytes: Int64) -> UInt64 {
        let disk = UInt64(diskBytes)
        return target == .raw ? (disk + 511) / 512 * 512 : disk + disk / 64 + (64 << 20)
    }
}
