import Formats

extension Hostile {
    static let vhdx: [Hostile] = vhdxHeaders + vhdxRegions + vhdxMetadata

    private static func bent(_ name: String, _ check: String, _ change: (inout Bytes) -> Void) -> Hostile {
        Hostile(name, .vhdx, check, Samples.vhdx(change))
    }

    /// Changed after the checksums were made.
    private static func broken(_ name: String, _ check: String, _ change: (inout Bytes) -> Void) -> Hostile {
        Hostile(name, .vhdx, check, Samples.vhdx(afterwards: change) { _ in })
    }

    private static let table = Samples.regionTablePlace
    private static let metadata = Samples.metadataPlace

    private static let vhdxHeaders: [Hostile] = [
        broken("neither header is valid", "header") {
            $0.byte(1, at: 65_636)
            $0.byte(1, at: 131_172)
        },
        broken("no headers", "header") {
            $0.text("xxxx", at: 65_536)
            $0.text("xxxx", at: 131_072)
        },
        bent("headers of version 2", "header") { $0.little(UInt16(2), at: 65_602) },
        bent("a log that waits", "log") { $0.byte(1, at: 65_584) },
        bent("a log that waits, last byte", "log") { $0.byte(1, at: 65_599) },
        bent("the log is the headers", "log") { $0.little(UInt64(0), at: 65_608) },
        bent("the log is off its boundary", "log") { $0.little(UInt64(3 << 20 | 1), at: 65_608) },
        bent("the log at the end of numbers", "log") { $0.little(UInt64(0xffff_ffff_fff0_0000), at: 65_608) },
        bent("a log of odd length", "log") { $0.little(UInt32(1), at: 65_604) },
        bent("the log is the metadata", "region_table") { $0.little(UInt64(1 << 20), at: 65_608) },
        broken("the log of the second header alone waits", "log") {
            $0.byte(1, at: 131_120)
            Samples.sumVHDX(&$0, from: 131_072, count: 4096)
        },
        broken("the identifier alone", "truncated") { $0.resize(8) },
        broken("cut off in the first header", "truncated") { $0.resize(66_000) },
        broken("cut off between the headers", "truncated") { $0.resize(100_000) },
        broken("cut off in the region table", "truncated") { $0.resize(200_000) },
        broken("cut off before the metadata", "truncated") { $0.resize(1 << 20) },
        broken("cut off in the metadata's items", "truncated") { $0.resize((1 << 20) + 65_540) },
        broken("cut off before the block table", "out_of_bounds") { $0.resize(2 << 20) },
        broken("the identifier and ones", "header") {
            $0 = Bytes(Array("vhdxfile".utf8) + [UInt8](repeating: 0xff, count: 4 << 20))
        },
    ]

    private static let vhdxRegions: [Hostile] =
        [
            bent("no region table", "region_table") { $0.text("xxxx", at: table) },
            broken("wrong checksum of the region table", "region_table") { $0.byte(1, at: table + 500) },
            broken("another second region table", "region_table") {
                $0.little(UInt64(2 << 20), at: (256 << 10) + 16 + 48)
            },
            bent("2048 regions", "region_table") { $0.little(UInt32(2048), at: table + 8) },
            bent("2^32-1 regions", "region_table") { $0.little(UInt32.max, at: table + 8) },
            bent("no regions", "region_table") { $0.little(UInt32(0), at: table + 8) },
            bent("no metadata", "region_table") { $0.little(UInt32(1), at: table + 8) },
            bent("regions of nothing", "region_table") { $0.little(UInt32(2047), at: table + 8) },
            bent("metadata twice", "region_table") {
                $0.little(UInt32(3), at: table + 8)
                let first = Array($0.all[(table + 48)..<(table + 64)])
                Samples.region(&$0, 2, first, offset: 9 << 20, length: 1 << 20)
            },
            bent("block table twice", "region_table") {
                $0.little(UInt32(3), at: table + 8)
                let first = Array($0.all[(table + 16)..<(table + 32)])
                Samples.region(&$0, 2, first, offset: 9 << 20, length: 1 << 20)
            },
            bent("a region that is not known", "region_table") {
                $0.little(UInt32(3), at: table + 8)
                Samples.region(&$0, 2, [UInt8](repeating: 7, count: 16), offset: 9 << 20, length: 1 << 20)
            },
            bent("the metadata are the block table", "region_table") { $0.little(UInt64(2 << 20), at: table + 64) },
            bent("a block table of no length", "region_table") { $0.little(UInt32(0), at: table + 40) },
            bent("a block table over the metadata", "region_table") {
                $0.little(UInt64(1 << 20), at: table + 32)
                $0.little(UInt32(2 << 20), at: table + 40)
            },
            bent("a block table of 4 GiB", "region_table") { $0.little(UInt32(0xfff0_0000), at: table + 40) },
            bent("a block table after the stream", "out_of_bounds") { $0.little(UInt64(1) << 40, at: table + 32) },
            bent("metadata after the stream", "truncated") { $0.little(UInt64(1) << 40, at: table + 64) },
        ]
        + ([0, 192 << 10, 256 << 10, 65_536, (1 << 20) + 512, 1 << 63, 0xffff_ffff_fff0_0000, .max] as [UInt64]).map {
            offset in bent("metadata at \(offset)", "region_table") { $0.little(offset, at: table + 64) }
        }

    private static func item(
        _ name: String, _ check: String, at index: Int, offset: UInt32, length: UInt32
    ) -> Hostile {
        bent(name, check) { Samples.item(&$0, index, Samples.itemGUIDs[index], offset: offset, length: length) }
    }

    private static let vhdxMetadata: [Hostile] =
        [
            bent("no metadata table", "metadata_table") { $0.text("nothing!", at: metadata) },
            bent("2048 items", "metadata_table") { $0.little(UInt16(2048), at: metadata + 10) },
            bent("65535 items", "metadata_table") { $0.little(UInt16.max, at: metadata + 10) },
            bent("no items", "metadata_table") { $0.little(UInt16(0), at: metadata + 10) },
            bent("no sector sizes", "metadata_table") { $0.little(UInt16(2), at: metadata + 10) },
            item("disk size in the table itself", "metadata_item", at: 1, offset: 32, length: 8),
            item("disk size at the table's end", "metadata_item", at: 1, offset: 65_535, length: 8),
            item("disk size at 4 GiB", "metadata_item", at: 1, offset: .max, length: 8),
            item("disk size at the region's end", "metadata_item", at: 1, offset: (1 << 20) - 4, length: 8),
            item("disk size of 4 bytes", "metadata_item", at: 1, offset: 65_568, length: 4),
            item("disk size of 16 bytes", "metadata_item", at: 1, offset: 65_568, length: 16),
            item("disk size of 2^32-1 bytes", "metadata_item", at: 1, offset: 65_568, length: .max),
            item("disk size of no bytes", "metadata_item", at: 1, offset: 65_568, length: 0),
            item("disk size nowhere", "metadata_item", at: 1, offset: 0, length: 0),
            item("disk size is the parameters", "metadata_item", at: 1, offset: 65_536, length: 8),
            item("disk size over the sector size", "metadata_item", at: 1, offset: 65_596, length: 8),
            bent("disk size twice", "metadata_item") {
                Samples.item(&$0, 4, Samples.itemGUIDs[1], offset: 70_000, length: 8)
            },
            bent("a required item that is not known", "metadata_item") {
                Samples.item(&$0, 4, [UInt8](repeating: 9, count: 16), offset: 70_000, length: 8)
            },
            bent("a parent", "parent") { $0.little(UInt32(2), at: metadata + 65_540) },
            bent("a parent's place", "parent") {
                Samples.item(&$0, 4, Samples.itemGUIDs[5], offset: 70_000, length: 8)
            },
            bent("a disk of 2^63 bytes", "virtual_size") { $0.little(UInt64(1) << 63, at: metadata + 65_568) },
            bent("a disk of 2^64-1 bytes", "virtual_size") { $0.little(UInt64.max, at: metadata + 65_568) },
            bent("a disk of over 64 TiB", "virtual_size") {
                $0.little((UInt64(64) << 40) + 512, at: metadata + 65_568)
            },
            bent("a disk of half a sector", "virtual_size") { $0.little(UInt64(256), at: metadata + 65_568) },
            bent("a disk without a block table for it", "block_table") {
                $0.little(UInt64(64) << 40, at: metadata + 65_568)
                $0.little(UInt32(1 << 20), at: metadata + 65_536)
            },
        ]
        + ([0, 1, 512 << 10, 3 << 20, 512 << 20, .max] as [UInt32]).map { size in
            bent("blocks of \(size)", "block_size") { $0.little(size, at: metadata + 65_536) }
        }
        + ([0, 1, 513, 1024, .max] as [UInt32]).flatMap { size in
            [
                bent("sectors of \(size)", "sector_size") { $0.little(size, at: metadata + 65_600) },
                bent("physical sectors of \(size)", "sector_size") { $0.little(size, at: metadata + 65_632) },
            ]
        }
}
