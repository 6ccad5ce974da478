/// What unpacking may use. How much may come out in all is for whoever takes it to say.
package struct UnpackLimits: Sendable {
    /// Output that is taken however little it came from: images of nothing but zeros are small when packed.
    package var freeBytes: Int64 = 1 << 30
    /// Beyond that, how many bytes may come out for each that went in. A disk image, sparse as it may be, packs to
    /// a hundredth; zeros pack to a thousandth with gzip and to less than a ten-thousandth with zstd.
    package var ratio: Int64 = 256
    /// The base 2 logarithm of the largest dictionary or window, in bytes. `xz -9` needs 26, `zstd --ultra -22` 27.
    package var windowLog: Int32 = 27

    package init() {}

    /// A window and what the decoders need beside it.
    var memoryBytes: UInt64 { (1 << UInt64(windowLog)) + (16 << 20) }

    func allow(_ producedBytes: Int64, from consumedBytes: Int64) -> Bool {
        producedBytes <= freeBytes || producedBytes / ratio < consumedBytes
    }
}
