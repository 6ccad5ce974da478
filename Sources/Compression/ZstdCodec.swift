import CZstd

/// libzstd: the frames of a .zst file, one after the other (RFC 8878).
final class ZstdCodec: Codec {
    private static let markBytes = 4

    private let context: OpaquePointer
    /// The first bytes of the frame that begins, and one that nothing is ever written to. They are looked at because
    /// the library would also take frames of the formats before version 1, whose decoders nobody keeps.
    private let mark = UnsafeMutableRawBufferPointer.allocate(byteCount: markBytes + 1, alignment: 1)
    /// How much of the mark has come; nil within a frame.
    private var markedBytes: Int? = 0
    private var isAnyFrameWhole = false

    init(_ limits: UnpackLimits) throws(UnpackError) {
        guard let context = ZSTD_createDCtx() else {
            mark.deallocate()
            throw UnpackError(.noMemory, "libzstd does not start")
        }
        self.context = context
        let code = ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, limits.windowLog)
        guard ZSTD_isError(code) == 0 else { throw UnpackError(.noMemory, "libzstd does not take its limit") }
    }

    deinit {
        ZSTD_freeDCtx(context)
        mark.deallocate()
    }

    /// Whether this is how a frame begins, of data or one that is skipped (pzstd(1) puts such in front).
    static func isFrame(_ bytes: [UInt8]) -> Bool {
        bytes.starts(with: [0x28, 0xb5, 0x2f, 0xfd])
            || bytes.count >= markBytes && bytes[0] & 0xf0 == 0x50 && bytes[1...3].elementsEqual([0x2a, 0x4d, 0x18])
    }

    var isComplete: Bool { isAnyFrameWhole && markedBytes == 0 }

    func run(
        _ input: UnsafeRawBufferPointer, isLast: Bool, into output: UnsafeMutableRawBufferPointer
    ) throws(UnpackError) -> CodecStep {
        var step = CodecStep()
        while step.producedBytes < output.count {
            if let begun = markedBytes {
                let count = min(Self.markBytes - begun, input.count - step.consumedBytes)
                for index in 0..<count { mark[begun + index] = input[step.consumedBytes + index] }
                step.consumedBytes += count
                markedBytes = begun + count
                guard begun + count == Self.markBytes else { return step }
                try beginFrame()
            }
            let before = step
            let rest = UnsafeRawBufferPointer(rebasing: input[step.consumedBytes...])
            try decompress(rest, into: UnsafeMutableRawBufferPointer(rebasing: output[step.producedBytes...]), &step)
            let isStuck = step.consumedBytes == before.consumedBytes && step.producedBytes == before.producedBytes
            if markedBytes == nil, isStuck { return step }
        }
        return step
    }

    private func beginFrame() throws(UnpackError) {
        let bytes = UnsafeRawBufferPointer(rebasing: mark[..<Self.markBytes])
        guard Self.isFrame(Array(bytes)) else {
            throw UnpackError(.trailingBytes, "the zstd data is followed by something else")
        }
        markedBytes = nil
        var step = CodecStep()
        try decompress(bytes, into: UnsafeMutableRawBufferPointer(rebasing: mark[Self.markBytes...]), &step)
        precondition(step.consumedBytes == Self.markBytes && step.producedBytes == 0, "a frame's mark makes no data")
    }

    private func decompress(
        _ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer, _ step: inout CodecStep
    ) throws(UnpackError) {
        var source = ZSTD_inBuffer(src: input.baseAddress, size: input.count, pos: 0)
        var room = ZSTD_outBuffer(dst: output.baseAddress, size: output.count, pos: 0)
        let code = ZSTD_decompressStream(context, &room, &source)
        step.consumedBytes += source.pos
        step.producedBytes += room.pos
        guard ZSTD_isError(code) == 0 else { throw Self.error(code) }
        if code == 0 {
            isAnyFrameWhole = true
            markedBytes = 0
        }
    }

    private static func error(_ code: Int) -> UnpackError {
        switch ZSTD_getErrorCode(code) {
        case ZSTD_error_frameParameter_windowTooLarge:
            UnpackError(.tooMuchMemory, "the zstd data was packed with a window that is too large to unpack here")
        case ZSTD_error_memory_allocation: UnpackError(.noMemory, "libzstd has no memory")
        case ZSTD_error_dictionary_wrong, ZSTD_error_frameParameter_unsupported, ZSTD_error_version_unsupported:
            UnpackError(.unsupported, "the zstd data needs a dictionary or a feature that is not known")
        default: UnpackError(.damaged, "the zstd data is damaged: \(String(cString: ZSTD_getErrorName(code)))")
        }
    }
}
