import CZlib

/// zlib: the members of a gzip file, one after the other, or one bare deflate stream (RFC 1951, RFC 1952).
final class DeflateCodec: Codec {
    enum Wrapping {
        case gzip, bare
    }
    private enum Place {
        case inMember, afterMember, inPadding
    }

    private let wrapping: Wrapping
    private let stream: UnsafeMutablePointer<z_stream>
    private var place = Place.inMember

    init(_ wrapping: Wrapping) throws(UnpackError) {
        self.wrapping = wrapping
        stream = .allocate(capacity: 1)
        stream.initialize(to: z_stream())
        // 15 is the largest window, of 32 KiB; 16 more asks for gzip's header and checksum, a minus for neither.
        let windowBits: Int32 = wrapping == .gzip ? 15 + 16 : -15
        let code = inflateInit2_(stream, windowBits, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
        guard code == Z_OK else { throw UnpackError(.noMemory, "zlib does not start: \(code)") }
    }

    deinit {
        inflateEnd(stream)
        stream.deallocate()
    }

    var isComplete: Bool { place != .inMember }

    func run(
        _ input: UnsafeRawBufferPointer, isLast: Bool, into output: UnsafeMutableRawBufferPointer
    ) throws(UnpackError) -> CodecStep {
        var step = CodecStep()
        while step.producedBytes < output.count {
            switch place {
            case .inMember:
                guard try inflateMore(input, into: output, &step) else { return step }
            case .afterMember:
                guard wrapping == .gzip, step.consumedBytes < input.count else { return step }
                // Another member, as gzip(1) takes it, or the zeros that fill a tape's last block.
                if input[step.consumedBytes] == 0 {
                    place = .inPadding
                } else {
                    guard input[step.consumedBytes] == 0x1f, inflateReset(stream) == Z_OK else { throw trailing }
                    place = .inMember
                }
            case .inPadding:
                guard input[step.consumedBytes...].allSatisfy({ $0 == 0 }) else { throw trailing }
                step.consumedBytes = input.count
                return step
            }
        }
        return step
    }

    /// - Returns: whether there may be more to do.
    private func inflateMore(
        _ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer, _ step: inout CodecStep
    ) throws(UnpackError) -> Bool {
        let available = min(input.count - step.consumedBytes, Int(UInt32.max))
        let room = min(output.count - step.producedBytes, Int(UInt32.max))
        stream.pointee.next_in = input.baseAddress.map {
            UnsafeMutablePointer(mutating: ($0 + step.consumedBytes).assumingMemoryBound(to: UInt8.self))
        }
        stream.pointee.avail_in = UInt32(available)
        stream.pointee.next_out = output.baseAddress.map {
            ($0 + step.producedBytes).assumingMemoryBound(to: UInt8.self)
        }
        stream.pointee.avail_out = UInt32(room)
        let code = inflate(stream, Z_NO_FLUSH)
        step.consumedBytes += available - Int(stream.pointee.avail_in)
        step.producedBytes += room - Int(stream.pointee.avail_out)
        switch code {
        case Z_OK: return true
        case Z_STREAM_END:
            place = .afterMember
            return true
        // Nothing could be done: more input is needed.
        case Z_BUF_ERROR: return false
        case Z_MEM_ERROR: throw UnpackError(.noMemory, "zlib has no memory")
        default:
            let what = stream.pointee.msg.map { String(cString: $0) } ?? "zlib error \(code)"
            throw UnpackError(.damaged, "the \(name) data is damaged: \(what)")
        }
    }

    private var name: String { wrapping == .gzip ? "gzip" : "zip" }
    private var trailing: UnpackError { UnpackError(.trailingBytes, "the gzip data is followed by something else") }
}
