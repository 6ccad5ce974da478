import Formats

extension Hostile {
    private static func bentVHD(_ name: String, _ check: String, _ change: (inout Bytes) -> Void) -> Hostile {
        Hostile(name, .vhd, check, Samples.vhd(change))
    }

    /// Changed after the checksums and the footer were made.
    private static func brokenVHD(_ name: String, _ check: String, _ change: (inout Bytes) -> Void) -> Hostile {
        Hostile(name, .vhd, check, Samples.vhd.changed(change))
    }

    static let vhd: [Hostile] =
        [
            bentVHD("differencing disk", "parent") { $0.big(UInt32(4), at: 60) },
            bentVHD("fixed disk with a copy in front", "disk_type") { $0.big(UInt32(2), at: 60) },
            bentVHD("version 2", "version") { $0.big(UInt32(0x2_0000), at: 12) },
            bentVHD("virtual size of 2^63", "virtual_size") { $0.big(UInt64(1) << 63, at: 48) },
            bentVHD("virtual size of 2^64-1", "virtual_size") { $0.big(UInt64.max, at: 48) },
            bentVHD("virtual size of 4 TiB", "virtual_size") { $0.big(UInt64(4) << 40, at: 48) },
            bentVHD("dynamic header is the footer", "dynamic_header") { $0.big(UInt64(0), at: 16) },
            bentVHD("dynamic header off its boundary", "dynamic_header") { $0.big(UInt64(513), at: 16) },
            bentVHD("no dynamic header", "dynamic_header") { $0.big(UInt64.max, at: 16) },
            bentVHD("dynamic header at 2^63", "dynamic_header") { $0.big(UInt64(1) << 63, at: 16) },
            bentVHD("dynamic header at the end of numbers", "dynamic_header") {
                $0.big(UInt64(Int64.max) - 511, at: 16)
            },
            bentVHD("dynamic header after the stream", "truncated") { $0.big(UInt64(1) << 40, at: 16) },
            bentVHD("dynamic header without its mark", "dynamic_header") { $0.text("xxsparse", at: 512) },
            bentVHD("dynamic header version 2", "version") { $0.big(UInt32(0x2_0000), at: 536) },
            bentVHD("too few blocks", "block_table") { $0.big(UInt32(4), at: 540) },
            bentVHD("no blocks", "block_table") { $0.big(UInt32(0), at: 540) },
            bentVHD("2^32-1 blocks", "block_table") { $0.big(UInt32.max, at: 540) },
            bentVHD("block table over the stream's end", "out_of_bounds") { $0.big(UInt32(2000), at: 540) },
            bentVHD("block table in the footer's copy", "block_table") { $0.big(UInt64(0), at: 528) },
            bentVHD("block table in the dynamic header", "block_table") { $0.big(UInt64(1024), at: 528) },
            bentVHD("block table off its boundary", "block_table") { $0.big(UInt64(1537), at: 528) },
            bentVHD("block table at the end of numbers", "out_of_bounds") { $0.big(UInt64.max - 511, at: 528) },
            bentVHD("block table after the stream", "out_of_bounds") { $0.big(UInt64(1) << 40, at: 528) },
            brokenVHD("wrong checksum", "checksum") { $0.byte(1, at: 100) },
            brokenVHD("wrong checksum of the dynamic header", "checksum") { $0.byte(1, at: 900) },
            brokenVHD("no footer", "footer") { $0.resize(2048) },
            brokenVHD("footer is the copy", "truncated") { $0.resize(512) },
            brokenVHD("cut off in the dynamic header", "truncated") { $0.resize(1000) },
            brokenVHD("something behind the footer", "footer") { $0.resize(2561) },
            brokenVHD("another size in the footer", "footer") { $0.big(UInt64(1), at: 2048 + 48) },
            brokenVHD("another type in the footer", "footer") { $0.big(UInt32(4), at: 2048 + 60) },
            brokenVHD("another dynamic header in the footer", "footer") { $0.big(UInt64(1024), at: 2048 + 16) },
            brokenVHD("the magic and zeros", "version") {
                $0 = Bytes(count: 4096)
                $0.text("conectix", at: 0)
            },
        ]
        + ([0, 1, 5, .max] as [UInt32]).map { type in bentVHD("type \(type)", "disk_type") { $0.big(type, at: 60) } }
        + ([0, 1, 256, 3 << 20, .max] as [UInt32]).map { size in
            bentVHD("blocks of \(size)", "block_size") { $0.big(size, at: 544) }
        }

    private static func bentVDI(_ name: String, _ check: String, _ change: (inout Bytes) -> Void) -> Hostile {
        Hostile(name, .vdi, check, Samples.vdi.changed(change))
    }

    static let vdi: [Hostile] =
        [
            bentVDI("linked image", "parent") { $0.byte(1, at: 424) },
            bentVDI("image with a parent", "parent") { $0.byte(1, at: 455) },
            bentVDI("undo image", "parent") { $0.little(UInt32(3), at: 76) },
            bentVDI("differencing image", "parent") { $0.little(UInt32(4), at: 76) },
            bentVDI("image of type 0", "image_type") { $0.little(UInt32(0), at: 76) },
            bentVDI("image of type 2^32-1", "image_type") { $0.little(UInt32.max, at: 76) },
            bentVDI("version 1.0", "version") { $0.little(UInt32(0x1_0000), at: 68) },
            bentVDI("version 2.1", "version") { $0.little(UInt32(0x2_0001), at: 68) },
            bentVDI("sectors of 4096", "sector_size") { $0.little(UInt32(4096), at: 360) },
            bentVDI("sectors of 0", "sector_size") { $0.little(UInt32(0), at: 360) },
            bentVDI("virtual size of 2^63", "virtual_size") { $0.little(UInt64(1) << 63, at: 368) },
            bentVDI("virtual size of 2^64-1", "virtual_size") { $0.little(UInt64.max, at: 368) },
            bentVDI("virtual size of 2^63-1", "blocks") { $0.little(UInt64(Int64.max), at: 368) },
            bentVDI("extra bytes in each block", "block_size") { $0.little(UInt32(512), at: 380) },
            bentVDI("too few blocks", "blocks") { $0.little(UInt32(9), at: 384) },
            bentVDI("2^32-1 blocks", "blocks") { $0.little(UInt32.max, at: 384) },
            bentVDI("more blocks allocated than there are", "blocks") { $0.little(UInt32(11), at: 388) },
            bentVDI("block map is the header", "block_map") { $0.little(UInt32(0), at: 340) },
            bentVDI("block map off its boundary", "block_map") { $0.little(UInt32(513), at: 340) },
            bentVDI("block map behind the data", "block_map") { $0.little(UInt32(4096), at: 340) },
            bentVDI("block map at 4 GiB", "block_map") { $0.little(UInt32.max - 511, at: 340) },
            bentVDI("data are the block map", "block_map") { $0.little(UInt32(512), at: 344) },
            bentVDI("data are the header", "block_map") { $0.little(UInt32(0), at: 344) },
            bentVDI("data off their boundary", "block_map") { $0.little(UInt32(1025), at: 344) },
            bentVDI("block map into the data", "block_map") { $0.little(UInt32(1000), at: 384) },
            bentVDI("allocated blocks after the stream", "out_of_bounds") { $0.little(UInt32(10), at: 388) },
            bentVDI("block map over the stream's end", "out_of_bounds") { $0.resize(520) },
            bentVDI("the signature and zeros", "version") {
                $0 = Bytes(count: 4096)
                $0.little(UInt32(0xbeda_107f), at: 64)
            },
        ]
        + ([0, 1, 512, 3 << 20, 512 << 20, .max] as [UInt32]).map { size in
            bentVDI("blocks of \(size)", "block_size") { $0.little(size, at: 376) }
        }

    static let qed: [Hostile] = [
        Hostile("an honest file", .qed, "banned", Samples.qed),
        Hostile("with a backing file", .qed, "banned", Samples.qed.changed { $0.little(UInt64(1), at: 16) }),
        Hostile("a header alone", .qed, "banned", Samples.qed.changed { $0.resize(512) }),
    ]

    private static func bentLUKS(_ name: String, _ check: String, _ change: (inout Bytes) -> Void) -> Hostile {
        Hostile(name, .luks, check, Samples.luks.changed(change))
    }

    static let luks: [Hostile] =
        ([0, 2, 3, 256, .max] as [UInt16]).map { version in
            bentLUKS("version \(version)", "version") { $0.big(version, at: 6) }
        } + [
            bentLUKS("no cipher", "cipher") { $0.byte(0, at: 8) },
            bentLUKS("no mode", "cipher") { $0.byte(0, at: 40) },
            bentLUKS("no hash", "cipher") { $0.byte(0, at: 72) },
            bentLUKS("cipher with a control character", "cipher") { $0.byte(10, at: 9) },
            bentLUKS("cipher without an end", "cipher") { $0.bytes([UInt8](repeating: 0x61, count: 32), at: 8) },
            bentLUKS("payload in the header", "payload_offset") { $0.big(UInt32(1), at: 104) },
            bentLUKS("detached header", "payload_offset") { $0.big(UInt32(0), at: 104) },
            bentLUKS("payload after the stream", "truncated") { $0.big(UInt32.max, at: 104) },
            bentLUKS("payload in the key material", "key_slot") { $0.big(UInt32(100), at: 104) },
            bentLUKS("key of no bytes", "key_length") { $0.big(UInt32(0), at: 108) },
            bentLUKS("key of 2^32-1 bytes", "key_length") { $0.big(UInt32.max, at: 108) },
            bentLUKS("slot of no state", "key_slot") { $0.big(UInt32(1), at: 208) },
            bentLUKS("last slot of no state", "key_slot") { $0.big(UInt32(1), at: 208 + 7 * 48) },
            bentLUKS("2^32-1 stripes", "key_slot") { $0.big(UInt32.max, at: 252) },
            bentLUKS("no stripes", "key_slot") { $0.big(UInt32(0), at: 252) },
            bentLUKS("key material in the header", "key_slot") { $0.big(UInt32(0), at: 248) },
            bentLUKS("key material in the payload", "key_slot") { $0.big(UInt32(2080), at: 248) },
            bentLUKS("key material after the stream", "key_slot") { $0.big(UInt32.max, at: 248) },
            bentLUKS("the magic alone", "version") { $0 = Bytes(Array($0.all[..<6]) + [0, 0]) },
            bentLUKS("the magic and half a version", "truncated") { $0.resize(7) },
            bentLUKS("cut off after a sector", "truncated") { $0.resize(512) },
            bentLUKS("cut off before the header's end", "truncated") { $0.resize(591) },
        ]

    private static func bentISO(_ name: String, _ check: String, _ change: (inout Bytes) -> Void) -> Hostile {
        Hostile(name, .iso, check, Samples.iso.changed(change))
    }

    static let iso: [Hostile] =
        ([0, 1, 256, 4096, .max] as [UInt16]).map { size in
            bentISO("blocks of \(size)", "block_size") { $0.little(size, at: 32_896) }
        } + [
            bentISO("no primary descriptor", "descriptor") { $0.byte(255, at: 32_768) },
            bentISO("descriptors that break off", "descriptor") {
                $0.byte(0, at: 32_768)
                $0.byte(0, at: 34_817)
            },
            bentISO("no end of descriptors", "descriptor") { bytes in
                bytes.resize(200 * 2048)
                for sector in 16..<100 { bytes.text("\u{2}CD001\u{1}", at: sector * 2048) }
            },
            bentISO("descriptor version 2", "version") { $0.byte(2, at: 32_774) },
            bentISO("cut off in the first descriptor", "truncated") { $0.resize(32_774) },
            bentISO("cut off behind a boot record", "truncated") {
                $0.byte(0, at: 32_768)
                $0.resize(34_816)
            },
        ]
}
