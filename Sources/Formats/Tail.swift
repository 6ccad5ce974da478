/// The last bytes of a stream whose length is not known before its end.
struct Tail: Sendable {
    /// As many as the longest footer has: a VMDK's, three sectors.
    static let maximumBytes = 3 * 512

    private var bytes: [UInt8] = []

    /// Twice as many, so that bytes are moved once in a while and not with every feed.
    static let maximumBufferedBytes = 2 * maximumBytes

    var bufferedBytes: Int { bytes.count }

    mutating func feed(_ more: UnsafeRawBufferPointer) {
        let kept = more.suffix(Self.maximumBytes)
        if bytes.count + kept.count > Self.maximumBufferedBytes {
            bytes.removeFirst(max(0, bytes.count - (Self.maximumBytes - kept.count)))
        }
        bytes.append(contentsOf: kept)
    }

    /// - Parameter streamBytes: how long the stream was.
    func window(streamBytes: Int64) -> Window {
        let last = bytes.suffix(Self.maximumBytes)
        return Window(offsetBytes: streamBytes - Int64(last.count), bytes: Array(last))
    }

    mutating func clear() { bytes = [] }
}
