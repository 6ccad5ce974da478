import Compression
import Logging
import NIOCore

/// The plugin `image_decompression`: bytes that are one packed file become that file. What they are is told by their
/// first bytes; a container `compressed` says that they are to stay packed.
struct DecompressionStep: ImportStep {
    private static let readBytes = 256 << 10
    private static let chunkBytes = 1 << 20

    let name = "image_decompression"
    let limits: UnpackLimits
    /// A window of 128 MiB is what each may ask for.
    let gate: WorkGate

    init(limits: UnpackLimits, work: any WorkPool) {
        self.limits = limits
        gate = WorkGate(
            work: work, concurrency: 4, queueLimit: .max, refusal: "Too many images are unpacked at once.")
    }

    func run(_ input: ImportStepInput, output: any ImportOutput) async throws -> ImportStepResult? {
        guard input.image.containerFormat != "compressed" else { return nil }
        do {
            let bytes = input.bytes
            let found = try await PackedContent.find(sizeBytes: bytes.sizeBytes) { offset, count in
                Array(try await bytes.read(offset: offset, count: count).readableBytesView)
            }
            guard let content = found else { return nil }
            return try await gate.whileHeld { try await unpack(content, input, to: output, on: $0) }
        } catch let error as UnpackError {
            guard error.code != .noMemory else {
                throw ServiceError.unavailable("The image data cannot be unpacked now.", cause: error)
            }
            throw ServiceError.badRequest("The image data cannot be unpacked: \(error.message).")
        }
    }

    private func unpack(
        _ content: PackedContent, _ input: ImportStepInput, to output: any ImportOutput, on work: any WorkPool
    ) async throws -> ImportStepResult? {
        let bytes = input.bytes
        let unpacker = try Unpacker(content, limits)
        var offset = content.range.lowerBound
        var packed = ByteBuffer()
        while true {
            try Task.checkCancellation()
            if packed.readableBytes == 0, offset < content.range.upperBound {
                let count = min(Int64(Self.readBytes), content.range.upperBound - offset)
                packed = try await bytes.read(offset: offset, count: Int(count))
                offset += count
            }
            let isLast = offset == content.range.upperBound
            let (made, step) = try await work.run { [packed] in
                try Self.step(unpacker, packed, isLast: isLast)
            }
            packed.moveReaderIndex(forwardBy: step.consumedBytes)
            if made.readableBytes > 0 { try await output.write([made]) }
            if step.isFinished { break }
        }
        input.logger.info(
            "image data was unpacked", metadata: ["image": "\(input.image.id)", "format": "\(content.format.rawValue)"])
        return ImportStepResult(replacesBytes: true)
    }

    private static func step(
        _ unpacker: Unpacker, _ packed: ByteBuffer, isLast: Bool
    ) throws -> (ByteBuffer, Unpacker.Step) {
        var made = ByteBuffer()
        var step: Unpacker.Step?
        try packed.withUnsafeReadableBytes { bytes in
            _ = try made.writeWithUnsafeMutableBytes(minimumWritableBytes: chunkBytes) { room in
                let done = try unpacker.step(bytes, isLast: isLast, into: room)
                step = done
                return done.producedBytes
            }
        }
        guard let step else { preconditionFailure("the bytes were looked at") }
        return (made, step)
    }
}
