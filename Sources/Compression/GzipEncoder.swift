import CZlib

/// Packs what is in memory as a gzip file of one member (RFC 1952).
package enum GzipEncoder {
    /// - Parameters:
    ///   - input: as many bytes as memory has, below 2^32.
    ///   - level: of zlib, from 1, the fastest, to 9, the smallest.
    /// - Returns: the packed bytes; nil when zlib has no memory, or the input is too long for it.
    package static func pack(_ input: UnsafeRawBufferPointer, level: Int32 = 1) -> [UInt8]? {
        guard input.count < Int(UInt32.max) else { return nil }
        var stream = z_stream()
        // 15 is the largest window, of 32 KiB; 16 more asks for gzip's header and checksum. 8 is zlib's default memory.
        let code = deflateInit2_(
            &stream, level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY, ZLIB_VERSION,
            Int32(MemoryLayout<z_stream>.size))
        guard code == Z_OK else { return nil }
        defer { deflateEnd(&stream) }
        let bound = Int(deflateBound(&stream, UInt(input.count)))
        stream.next_in = UnsafeMutablePointer(mutating: input.baseAddress?.assumingMemoryBound(to: UInt8.self))
        stream.avail_in = UInt32(input.count)
        var isDone = false
        let packed = [UInt8](unsafeUninitializedCapacity: bound) { output, count in
            stream.next_out = output.baseAddress
            stream.avail_out = UInt32(output.count)
            isDone = deflate(&stream, Z_FINISH) == Z_STREAM_END
            count = isDone ? output.count - Int(stream.avail_out) : 0
        }
        return isDone ? packed : nil
    }
}
