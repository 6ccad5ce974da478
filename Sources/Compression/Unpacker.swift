import CZlib

/// Unpacks one file, piece by piece, in a memory that `UnpackLimits` bounds. Not for two tasks at once, like a digest;
/// it is `Sendable` so that the work may move between threads.
package final class Unpacker: @unchecked Sendable {
    package struct Step: Sendable, Equatable {
        package let consumedBytes: Int
        package let producedBytes: Int
        /// The packed bytes are at their end, whole and right.
        package let isFinished: Bool
    }

    private let codec: any Codec
    private let format: PackedFormat
    private let promise: PackedContent.Promise?
    private let limits: UnpackLimits
    private var consumedBytes: Int64 = 0
    private var producedBytes: Int64 = 0
    private var checksum = crc32(0, nil, 0)

    /// - Throws: `UnpackError`.
    package init(_ content: PackedContent, _ limits: UnpackLimits) throws(UnpackError) {
        format = content.format
        promise = content.promise
        self.limits = limits
        switch content.coding {
        case .gzip: codec = try DeflateCodec(.gzip)
        case .deflate: codec = try DeflateCodec(.bare)
        case .xz: codec = try XZCodec(limits)
        case .zstd: codec = try ZstdCodec(limits)
        case .stored: codec = StoredCodec()
        }
    }

    /// Takes some of `input` and fills some of `output`; what it did not take comes first the next time.
    /// - Parameters:
    ///   - isLast: whether nothing follows `input`.
    ///   - output: not empty.
    package func step(
        _ input: UnsafeRawBufferPointer, isLast: Bool, into output: UnsafeMutableRawBufferPointer
    ) throws(UnpackError) -> Step {
        let step = try codec.run(input, isLast: isLast, into: output)
        consumedBytes += Int64(step.consumedBytes)
        producedBytes += Int64(step.producedBytes)
        guard limits.allow(producedBytes, from: consumedBytes) else {
            throw UnpackError(
                .tooDense, "the \(format.rawValue) data unpacks to more than \(limits.ratio) times its size")
        }
        if promise != nil { check(UnsafeRawBufferPointer(rebasing: output[..<step.producedBytes])) }
        if let promise, producedBytes > promise.sizeBytes { throw lie }
        let isDone = isLast && step.consumedBytes == input.count && step.producedBytes < output.count
        guard isDone else {
            if step.consumedBytes == 0, step.producedBytes == 0, !input.isEmpty {
                throw codec.isComplete ? trailing : damaged("no way to go on")
            }
            return Step(consumedBytes: step.consumedBytes, producedBytes: step.producedBytes, isFinished: false)
        }
        guard codec.isComplete else {
            throw UnpackError(.cutShort, "the \(format.rawValue) data ends before it is whole")
        }
        if let promise, producedBytes != promise.sizeBytes || UInt32(truncatingIfNeeded: checksum) != promise.crc32 {
            throw lie
        }
        return Step(consumedBytes: step.consumedBytes, producedBytes: step.producedBytes, isFinished: true)
    }

    private func check(_ bytes: UnsafeRawBufferPointer) {
        guard let start = bytes.baseAddress else { return }
        checksum = crc32_z(checksum, start.assumingMemoryBound(to: UInt8.self), bytes.count)
    }

    private var lie: UnpackError { damaged("its content has not the size and checksum that the archive gives") }
    private var trailing: UnpackError {
        UnpackError(.trailingBytes, "the \(format.rawValue) data is followed by something else")
    }

    private func damaged(_ what: String) -> UnpackError {
        UnpackError(.damaged, "the \(format.rawValue) data is damaged: \(what)")
    }
}

struct CodecStep {
    var consumedBytes = 0
    var producedBytes = 0
}

/// One library's decoder.
protocol Codec: AnyObject {
    /// Goes on until `input` is used up, `output` is full or the content is complete.
    func run(
        _ input: UnsafeRawBufferPointer, isLast: Bool, into output: UnsafeMutableRawBufferPointer
    ) throws(UnpackError) -> CodecStep

    /// Whether the content may end here.
    var isComplete: Bool { get }
}

/// Bytes that an archive keeps as they are.
final class StoredCodec: Codec {
    let isComplete = true

    func run(
        _ input: UnsafeRawBufferPointer, isLast: Bool, into output: UnsafeMutableRawBufferPointer
    ) throws(UnpackError) -> CodecStep {
        let count = min(input.count, output.count)
        output.copyMemory(from: UnsafeRawBufferPointer(rebasing: input[..<count]))
        return CodecStep(consumedBytes: count, producedBytes: count)
    }
}
