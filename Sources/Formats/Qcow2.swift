/// QEMU's copy-on-write format, versions 2 and 3 (QEMU, `docs/interop/qcow2`). Numbers are big-endian.
///
/// The danger of the format is that a header can name other files: a backing file, or an external data file that
/// holds everything (CVE-2015-5163, CVE-2024-32498). Those are refused, and so is any feature that is not known,
/// since what it makes of the rest of the header is not known either.
///
/// ```
///   0 magic   4 version   8 backing file offset, 16 its length   20 cluster bits   24 virtual size
///  32 encryption   36 L1 entries   40 L1 offset   48 refcount table offset   56 its clusters
///  60 snapshots   64 snapshot table offset; from version 3 on:
///  72 incompatible, 80 compatible, 88 autoclear features   96 refcount order   100 header length
/// 104 compression type
/// ```
struct Qcow2: FormatParser {
    static let format = DiskFormat.qcow2

    private(set) var virtualSize = VirtualSize.unknown
    private(set) var claims: [Claim] = []
    /// Where the header extensions end at the latest: with the first cluster.
    private var extensionsEndBytes: UInt64 = 0
    /// What stands between this parser and the end of the extensions: each is followed by another or by the end.
    private var nextExtensionBytes: UInt64 = 0

    /// The old format qcow has the same magic, with version 1.
    static func recognises(_ start: Window) -> Bool {
        start.count >= FormatInspector.beginningBytes && start.bigEndian(at: 0, as: UInt32.self) == 0x5146_49fb
    }

    mutating func read(_ window: Window) throws(FormatFinding) -> Appetite {
        if window.offsetBytes == 0 { try readHeader(fields(window)) }
        return try walkExtensions(window)
    }

    private mutating func readHeader(_ header: Fields) throws(FormatFinding) {
        let version = try header.big32(4)
        try header.require(version == 2 || version == 3, "version", at: 4, "version \(version) is neither 2 nor 3")
        // The length of its name means nothing without it.
        let backing = try header.big64(8)
        try header.require(backing == 0, "backing_file", at: 8, "the image has a backing file")
        virtualSize = .bytes(try header.size(try header.big64(24), at: 24))
        let isAlone = try isAlone(header)
        let clusterBits = try header.big32(20)
        if isAlone, clusterBits == 0 {
            if version == 3 { try readFeatures(header) }
            return
        }
        try header.require(
            (9...21).contains(clusterBits), "cluster_bits", at: 20, "clusters of 2^\(clusterBits) bytes")
        let clusterBytes = UInt64(1) << UInt64(clusterBits)
        let encryption = try header.big32(32)
        try header.require(encryption <= 2, "encryption", at: 32, "encryption method \(encryption) is not known")
        var headerBytes: UInt64 = 72
        if version == 3 {
            try readFeatures(header)
            headerBytes = UInt64(try header.big32(100))
            try header.require(
                headerBytes >= 104 && headerBytes % 8 == 0 && headerBytes <= clusterBytes, "header_length", at: 100,
                "a header of \(headerBytes) bytes")
            try readCompression(header, headerBytes: headerBytes)
        }
        if !isAlone { try readTables(header, clusterBytes: clusterBytes) }
        extensionsEndBytes = clusterBytes
        nextExtensionBytes = headerBytes
    }

    /// Whether it is a header of an image that has no tables: nothing can be read through it, so there is nothing to
    /// be held against them.
    private func isAlone(_ header: Fields) throws(FormatFinding) -> Bool {
        for place in stride(from: 32, to: 72, by: 4) where try header.big32(place) != 0 { return false }
        return true
    }

    private func readFeatures(_ header: Fields) throws(FormatFinding) {
        let incompatible = try header.big64(72)
        let autoclear = try header.big64(88)
        try header.require(incompatible & 1 << 2 == 0, "data_file", at: 72, "the image has an external data file")
        try header.require(autoclear & 1 << 1 == 0, "data_file", at: 88, "the image has a raw external data file")
        try header.require(
            incompatible & 1 << 4 == 0, "unknown_features", at: 72, "extended L2 entries (bit 4) are not supported")
        let unknown = incompatible & ~0b1011
        try header.require(
            unknown == 0, "unknown_features", at: 72, "incompatible feature bit \(unknown.trailingZeroBitCount)")
        let order = try header.big32(96)
        try header.require(order <= 6, "refcount_order", at: 96, "reference counts of 2^\(order) bits")
    }

    /// Bit 3 and a type other than 0 (deflate) go together.
    private func readCompression(_ header: Fields, headerBytes: UInt64) throws(FormatFinding) {
        let isOther = try header.big64(72) & 1 << 3 != 0
        let type = headerBytes > 104 ? try header.byte(104) : 0
        try header.require(
            type == (isOther ? 1 : 0), "compression_type", at: 104,
            "compression type \(type) with feature bit 3 \(isOther ? "set" : "clear")")
    }

    /// The limits are QEMU's own: it opens nothing beyond them.
    private mutating func readTables(_ header: Fields, clusterBytes: UInt64) throws(FormatFinding) {
        let l1 = try table(
            header, "the L1 table", countAt: 36, offsetAt: 40, entryBytes: 8, limitBytes: 32 << 20,
            clusterBytes: clusterBytes)
        let perEntry = Checked.product(clusterBytes, clusterBytes / 8)
        let needed = Checked.quotientUp(try header.big64(24), perEntry ?? 1)
        try header.require(
            UInt64(try header.big32(36)) >= needed ?? .max, "l1_table", at: 36,
            "the L1 table has fewer entries than the virtual size needs")
        let refcounts = try table(
            header, "the refcount table", countAt: 56, offsetAt: 48, entryBytes: clusterBytes, limitBytes: 8 << 20,
            clusterBytes: clusterBytes)
        try header.require(!refcounts.isEmpty, "refcount_table", at: 56, "there is no refcount table")
        try header.require(!l1.overlaps(refcounts), "table_overlap", at: 40, "the L1 and refcount tables overlap")
        let snapshots = try header.big32(60)
        try header.require(snapshots <= 65_536, "snapshots", at: 60, "\(snapshots) snapshots")
        _ = try table(
            header, "the snapshot table", countAt: 60, offsetAt: 64, entryBytes: 40, limitBytes: 1 << 30,
            clusterBytes: clusterBytes)
    }

    /// The bytes of a table: empty, or whole, after the header's cluster and on a cluster's boundary.
    private mutating func table(
        _ header: Fields, _ what: String, countAt: Int, offsetAt: Int, entryBytes: UInt64, limitBytes: UInt64,
        clusterBytes: UInt64
    ) throws(FormatFinding) -> Range<UInt64> {
        let count = UInt64(try header.big32(countAt))
        let offset = try header.big64(offsetAt)
        if count == 0 { return 0..<0 }
        let length = Checked.product(count, entryBytes) ?? .max
        try header.require(length <= limitBytes, "table_size", at: countAt, "\(what) has \(count) entries")
        try header.require(
            offset >= clusterBytes && offset % clusterBytes == 0, "table_offset", at: offsetAt,
            "\(what) is at \(offset), no cluster of its own")
        guard let end = Checked.sum(offset, length), end <= UInt64(Int64.max) else {
            throw header.finding("table_offset", at: offsetAt, "\(what) ends after 2^63 bytes")
        }
        claims.append(Claim(what: what, fieldBytes: Int64(offsetAt), endBytes: end))
        return offset..<end
    }

    /// Extensions are a type and a length, each of four bytes, and data up to a multiple of eight bytes. Only types
    /// and lengths are read. The walk ends with type 0, or with the cluster.
    private mutating func walkExtensions(_ window: Window) throws(FormatFinding) -> Appetite {
        while nextExtensionBytes < extensionsEndBytes {
            guard let place = Int(exactly: Int64(nextExtensionBytes) - window.offsetBytes), place + 8 <= window.count
            else { return try more(window) }
            let header = fields(window)
            let type = try header.big32(place)
            if type == 0 { return .nothing }
            try header.require(
                type != 0x4441_5441, "data_file", at: place, "an extension names an external data file")
            let padded = (UInt64(try header.big32(place + 4)) + 7) & ~7
            let end = nextExtensionBytes + 8 + padded
            try header.require(
                end <= extensionsEndBytes, "header_extension", at: place + 4,
                "a header extension ends after the first cluster")
            nextExtensionBytes = end
        }
        return .nothing
    }

    private func more(_ window: Window) throws(FormatFinding) -> Appetite {
        guard let range = window.following(offsetBytes: nextExtensionBytes, count: 8) else {
            throw fields(window).finding("header_extension", at: 0, "the header extensions are not aligned")
        }
        return .bytes(range)
    }
}
