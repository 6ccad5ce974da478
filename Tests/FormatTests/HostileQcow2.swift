import Formats

extension Hostile {
    static let qcow2: [Hostile] = qcow2Names + qcow2Features + qcow2Tables + qcow2Extensions

    private static func bent(_ name: String, _ check: String, _ change: (inout Bytes) -> Void) -> Hostile {
        Hostile(name, .qcow2, check, Samples.qcow2.changed(change))
    }

    /// An extension of a type and a length, where the header's sample has its own.
    private static func put(_ type: UInt32, _ length: UInt32, _ bytes: inout Bytes, at place: Int = 112) {
        bytes.big(type, at: place)
        bytes.big(length, at: place + 4)
    }

    private static let qcow2Names: [Hostile] = [
        bent("backing file", "backing_file") {
            $0.big(UInt64(4096), at: 8)
            $0.big(UInt32(11), at: 16)
            $0.text("/etc/passwd", at: 4096)
        },
        bent("backing file in the header itself", "backing_file") { $0.big(UInt64(8), at: 8) },
        bent("backing file after the end", "backing_file") { $0.big(UInt64.max, at: 8) },
        bent("backing file at 2^63", "backing_file") { $0.big(UInt64(1) << 63, at: 8) },
        Hostile(
            "backing file, version 2", .qcow2, "backing_file", Samples.qcow2Old.changed { $0.big(UInt64(4096), at: 8) }),
        bent("data file", "data_file") { $0.big(UInt64(1 << 2), at: 72) },
        bent("data file of a dirty image", "data_file") { $0.big(UInt64(1 << 2 | 1), at: 72) },
        bent("data file with its name", "data_file") {
            $0.big(UInt64(1 << 2), at: 72)
            put(0x4441_5441, 11, &$0)
            $0.text("/etc/passwd", at: 120)
        },
        bent("raw data file", "data_file") { $0.big(UInt64(1 << 1), at: 88) },
        bent("raw data file, both bits", "data_file") {
            $0.big(UInt64(1 << 2), at: 72)
            $0.big(UInt64(1 << 1), at: 88)
        },
    ]

    private static let qcow2Features: [Hostile] =
        (4..<64).map { bit in
            bent("feature bit \(bit)", "unknown_features") { $0.big(UInt64(1) << UInt64(bit), at: 72) }
        }
        + ([0, 1, 4, 5, 255, 256, 0x0300_0000, .max] as [UInt32]).map { version in
            bent("version \(version)", "version") { $0.big(version, at: 4) }
        }
        + ([0, 8, 72, 96, 103, 105, 108, 65_544, .max] as [UInt32]).map { length in
            bent("header of \(length) bytes", "header_length") { $0.big(length, at: 100) }
        }
        + ([0, 1, 8, 22, 31, 32, 63, 64, .max] as [UInt32]).map { bits in
            bent("clusters of 2^\(bits)", "cluster_bits") { $0.big(bits, at: 20) }
        }
        + [
            bent("all features", "data_file") { $0.big(UInt64.max, at: 72) },
            bent("compression bit without a type", "compression_type") { $0.big(UInt64(1 << 3), at: 72) },
            bent("compression type without the bit", "compression_type") { $0.byte(1, at: 104) },
            bent("unknown compression type", "compression_type") {
                $0.big(UInt64(1 << 3), at: 72)
                $0.byte(2, at: 104)
            },
            bent("compression bit without the field", "compression_type") {
                $0.big(UInt64(1 << 3), at: 72)
                $0.big(UInt32(104), at: 100)
            },
            bent("refcounts of 2^7 bits", "refcount_order") { $0.big(UInt32(7), at: 96) },
            bent("refcounts of 2^(2^32-1) bits", "refcount_order") { $0.big(UInt32.max, at: 96) },
            bent("encryption 3", "encryption") { $0.big(UInt32(3), at: 32) },
            bent("virtual size of 2^63", "virtual_size") { $0.big(UInt64(1) << 63, at: 24) },
            bent("virtual size of 2^64-1", "virtual_size") { $0.big(UInt64.max, at: 24) },
        ]

    private static let qcow2Tables: [Hostile] = [
        bent("virtual size without a table for it", "l1_table") { $0.big(UInt64(1) << 40, at: 24) },
        bent("virtual size of 2^63-1", "l1_table") { $0.big(UInt64(Int64.max), at: 24) },
        bent("no L1 table", "l1_table") { $0.big(UInt32(0), at: 36) },
        bent("L1 table of 2^32-1 entries", "table_size") { $0.big(UInt32.max, at: 36) },
        bent("L1 table of over 32 MiB", "table_size") { $0.big(UInt32(4 << 20 | 1), at: 36) },
        bent("L1 table in the header", "table_offset") { $0.big(UInt64(0), at: 40) },
        bent("L1 table off its boundary", "table_offset") { $0.big(UInt64(3 * 65_536 + 8), at: 40) },
        bent("L1 table at the end of numbers", "table_offset") { $0.big(UInt64(0xffff_ffff_ffff_0000), at: 40) },
        bent("L1 table at 2^63", "table_offset") { $0.big(UInt64(1) << 63, at: 40) },
        bent("L1 table after the stream", "out_of_bounds") { $0.big(UInt64(1) << 40, at: 40) },
        bent("L1 table over the stream's end", "out_of_bounds") { $0.big(UInt32(100_000), at: 36) },
        bent("L1 table is the refcount table", "table_overlap") { $0.big(UInt64(65_536), at: 40) },
        bent("no refcount table", "refcount_table") { $0.big(UInt32(0), at: 56) },
        bent("refcount table of 2^32-1 clusters", "table_size") { $0.big(UInt32.max, at: 56) },
        bent("refcount table in the header", "table_offset") { $0.big(UInt64(0), at: 48) },
        bent("refcount table off its boundary", "table_offset") { $0.big(UInt64(65_537), at: 48) },
        bent("refcount table after the stream", "out_of_bounds") { $0.big(UInt64(1) << 50, at: 48) },
        bent("refcount table over the L1 table", "table_overlap") { $0.big(UInt32(3), at: 56) },
        bent("too many snapshots", "snapshots") { $0.big(UInt32(65_537), at: 60) },
        bent("snapshots in the header", "table_offset") { $0.big(UInt32(1), at: 60) },
        bent("snapshots after the stream", "out_of_bounds") {
            $0.big(UInt32(1), at: 60)
            $0.big(UInt64(1) << 40, at: 64)
        },
        bent("cut off before the tables", "out_of_bounds") { $0.resize(65_536) },
        bent("cut off in the extensions", "truncated") {
            put(0x1234_5678, 1024, &$0)
            $0.resize(512)
        },
        bent("the magic and ones", "version") {
            $0 = Bytes([0x51, 0x46, 0x49, 0xfb] + [UInt8](repeating: 0xff, count: 1020))
        },
        bent("the magic and zeros", "version") {
            $0 = Bytes([0x51, 0x46, 0x49, 0xfb] + [UInt8](repeating: 0, count: 1020))
        },
    ]

    private static let qcow2Extensions: [Hostile] = [
        bent("data file's name without the bit", "data_file") { put(0x4441_5441, 8, &$0) },
        bent("data file's name of no length", "data_file") { put(0x4441_5441, 0, &$0) },
        bent("data file's name behind another extension", "data_file") { put(0x4441_5441, 8, &$0, at: 216) },
        bent("data file's name in another sector", "data_file") {
            put(0x1234_5678, 2001, &$0)
            put(0x4441_5441, 8, &$0, at: 120 + 2008)
        },
        bent("data file's name at the cluster's end", "data_file") {
            put(0x1234_5678, 65_536 - 128, &$0)
            put(0x4441_5441, 0, &$0, at: 65_528)
        },
        bent("extension over the cluster's end", "header_extension") { put(0x1234_5678, 65_536, &$0) },
        bent("extension of 4 GiB", "header_extension") { put(0x1234_5678, .max, &$0) },
        bent("extension whose padding is over the end", "header_extension") { put(0x1234_5678, 65_536 - 119, &$0) },
        Hostile(
            "data file's name, version 2", .qcow2, "data_file",
            Samples.qcow2Old.changed { put(0x4441_5441, 8, &$0, at: 72) }),
    ]
}
