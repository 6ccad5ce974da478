import CLZMA

/// liblzma: the streams of an .xz file, one after the other, with the padding that xz(1) takes between them.
final class XZCodec: Codec {
    private let stream: UnsafeMutablePointer<lzma_stream>
    private(set) var isComplete = false

    init(_ limits: UnpackLimits) throws(UnpackError) {
        stream = .allocate(capacity: 1)
        stream.initialize(to: lzma_stream())
        let flags = clzma_concatenated | clzma_tell_unsupported_check
        let code = lzma_stream_decoder(stream, limits.memoryBytes, flags)
        guard code == LZMA_OK else { throw UnpackError(.noMemory, "liblzma does not start: \(code.rawValue)") }
    }

    deinit {
        lzma_end(stream)
        stream.deallocate()
    }

    func run(
        _ input: UnsafeRawBufferPointer, isLast: Bool, into output: UnsafeMutableRawBufferPointer
    ) throws(UnpackError) -> CodecStep {
        var step = CodecStep()
        while !isComplete, step.producedBytes < output.count {
            stream.pointee.next_in = input.baseAddress.map {
                ($0 + step.consumedBytes).assumingMemoryBound(to: UInt8.self)
            }
            stream.pointee.avail_in = input.count - step.consumedBytes
            stream.pointee.next_out = output.baseAddress.map {
                ($0 + step.producedBytes).assumingMemoryBound(to: UInt8.self)
            }
            stream.pointee.avail_out = output.count - step.producedBytes
            let code = lzma_code(stream, isLast ? LZMA_FINISH : LZMA_RUN)
            step.consumedBytes = input.count - stream.pointee.avail_in
            step.producedBytes = output.count - stream.pointee.avail_out
            switch code {
            case LZMA_OK: if step.consumedBytes == input.count, !isLast { return step }
            case LZMA_STREAM_END: isComplete = true
            // Nothing could be done: more input is needed.
            case LZMA_BUF_ERROR: return step
            default: throw Self.error(code)
            }
        }
        return step
    }

    private static func error(_ code: lzma_ret) -> UnpackError {
        switch code {
        case LZMA_MEMLIMIT_ERROR:
            UnpackError(.tooMuchMemory, "the xz data was packed with a dictionary that is too large to unpack here")
        case LZMA_MEM_ERROR: UnpackError(.noMemory, "liblzma has no memory")
        case LZMA_UNSUPPORTED_CHECK, LZMA_OPTIONS_ERROR:
            UnpackError(.unsupported, "the xz data uses a filter or a checksum that is not known")
        // The library does not tell what follows the last stream from damage.
        default: UnpackError(.damaged, "the xz data is damaged, or followed by something else")
        }
    }
}
