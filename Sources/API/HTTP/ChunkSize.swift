/// How much is read and written at once where bytes are copied. What a client has not taken is memory held for it,
/// two or three chunks and what TLS makes of them; so it grows only for a client that takes much, and shrinks for
/// one that takes its time.
package struct ChunkSize {
    package static let least = 32 << 10
    package static let most = 1 << 20
    /// Where the next piece is read as soon as the last is gone: whole TLS records, that stay in a processor's cache on
    /// their way from the file to the socket, and fill a buffer of 128 KiB when they are encrypted.
    static let mostCopied = 7 << 14
    /// A chunk is no more than this part of what was written before: sockets swallow megabytes for a client that
    /// reads nothing.
    private static let share = 64
    static let slow = Duration.milliseconds(100)

    package private(set) var bytes = least
    private let most: Int
    private var written = 0

    package init(most: Int = Self.most) { self.most = most }

    /// A chunk more is held for a client that reads fast.
    var readsAhead: Bool { bytes > Self.least }

    /// - Parameter elapsed: how long it took to be rid of `count` bytes.
    package mutating func note(written count: Int, in elapsed: Duration) {
        written += count
        if elapsed > Self.slow {
            bytes = max(bytes / 2, Self.least)
        } else {
            bytes = min(2 * bytes, max(Self.least, min(most, written / Self.share)))
        }
    }
}
