import Compression
import Foundation

/// Debian's tools, which say what the formats are.
enum Packer: String, Sendable, CaseIterable {
    case gzip, xz, zstd, zip

    var format: PackedFormat {
        switch self {
        case .gzip: .gzip
        case .xz: .xz
        case .zstd: .zstd
        case .zip: .zip
        }
    }

    func pack(_ bytes: [UInt8]) throws -> [UInt8] {
        switch self {
        case .gzip: try Shell.run("gzip -c", input: bytes)
        case .xz: try Shell.run("xz -c -1", input: bytes)
        case .zstd: try Shell.run("zstd -q -c", input: bytes)
        case .zip: try Shell.run("cat > disk.img; zip -q made.zip disk.img; cat made.zip", input: bytes)
        }
    }

    /// As many times a mebibyte of zeros, in members, streams or frames that follow each other; zip has one.
    func zeros(mebibytes: Int) throws -> [UInt8] {
        switch self {
        case .zip:
            return try Shell.run("head -c \(mebibytes)M /dev/zero > disk.img; zip -q -9 m.zip disk.img; cat m.zip")
        default:
            let part = try pack([UInt8](repeating: 0, count: 64 << 20))
            return Array(repeatElement(part, count: mebibytes / 64).joined())
        }
    }
}

enum Shell {
    struct Failure: Error {
        let command: String
        let status: Int32
    }

    /// Runs a command in a directory that goes with it.
    static func run(_ command: String, input: [UInt8] = []) throws -> [UInt8] {
        let directory = FileManager.default.temporaryDirectory.appending(path: "ambrotype-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        let source = directory.appending(path: "input")
        let result = directory.appending(path: "output")
        try Data(input).write(to: source)
        try Data().write(to: result)
        let process = Process()
        process.executableURL = URL(filePath: "/bin/sh")
        process.arguments = ["-c", "mkdir in; cd in; { \(command); } <../input >../output"]
        process.currentDirectoryURL = directory
        try process.run()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else {
            throw Failure(command: command, status: process.terminationStatus)
        }
        return [UInt8](try Data(contentsOf: result))
    }
}

/// Unpacks as an import does, with pieces of any size.
enum Unpacking {
    struct NotPacked: Error {}

    static func unpack(
        _ bytes: [UInt8], limits: UnpackLimits = UnpackLimits(), inputBytes: Int = 64 << 10, outputBytes: Int = 64 << 10
    ) async throws -> [UInt8] {
        var all: [UInt8] = []
        try await run(bytes, limits: limits, inputBytes: inputBytes, outputBytes: outputBytes) { all += $0 }
        return all
    }

    static func run(
        _ bytes: [UInt8], limits: UnpackLimits = UnpackLimits(), inputBytes: Int = 256 << 10,
        outputBytes: Int = 1 << 20, take: (UnsafeRawBufferPointer) -> Void
    ) async throws {
        let found = try await PackedContent.find(sizeBytes: Int64(bytes.count)) { offset, count in
            Array(bytes[Int(offset)..<Int(offset) + count])
        }
        guard let content = found else { throw NotPacked() }
        let unpacker = try Unpacker(content, limits)
        var position = Int(content.range.lowerBound)
        let end = Int(content.range.upperBound)
        let room = UnsafeMutableRawBufferPointer.allocate(byteCount: outputBytes, alignment: 1)
        defer { room.deallocate() }
        var pieceEnd = position
        while true {
            if position == pieceEnd { pieceEnd = min(end, position + inputBytes) }
            let step = try bytes.withUnsafeBytes {
                try unpacker.step(
                    UnsafeRawBufferPointer(rebasing: $0[position..<pieceEnd]), isLast: pieceEnd == end, into: room)
            }
            position += step.consumedBytes
            take(UnsafeRawBufferPointer(rebasing: room[..<step.producedBytes]))
            if step.isFinished { return }
        }
    }

    /// The code of the error that unpacking ends with; nil when it does not.
    static func error(_ bytes: [UInt8], limits: UnpackLimits = UnpackLimits()) async throws -> UnpackError.Code? {
        do {
            _ = try await unpack(bytes, limits: limits)
            return nil
        } catch let error as UnpackError {
            return error.code
        }
    }
}

extension [UInt8] {
    /// Bytes that do not pack well, the same every time.
    static func noise(_ count: Int) -> [UInt8] {
        var state: UInt64 = 1
        return (0..<count).map { _ in
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return UInt8(truncatingIfNeeded: state >> 33)
        }
    }

    static func littleEndian(_ value: Int, _ count: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
    }
}

/// The checksum of gzip, xz and zip, bit by bit.
func crc32(_ bytes: some Sequence<UInt8>) -> Int {
    var crc: UInt32 = 0xffff_ffff
    for byte in bytes {
        crc ^= UInt32(byte)
        for _ in 0..<8 { crc = crc & 1 == 1 ? crc >> 1 ^ 0xedb8_8320 : crc >> 1 }
    }
    return Int(~crc)
}
