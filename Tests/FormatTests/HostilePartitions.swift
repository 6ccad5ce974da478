import Formats

extension Hostile {
    private static func mbr(_ name: String, _ change: (inout Bytes) -> Void) -> Hostile {
        Hostile(name, .gpt, "mbr", Samples.mbr.changed(change))
    }

    private static func gpt(_ name: String, _ change: (inout Bytes) -> Void) -> Hostile {
        Hostile(name, .gpt, "gpt", Samples.gpt(change))
    }

    static let partitions: [Hostile] =
        (0..<4).map { index in mbr("boot flag of partition \(index + 1)") { $0.byte(0x55, at: 446 + 16 * index) } }
        + ([1, 0x7f, 0x81, 0xff] as [UInt8]).map { flag in mbr("boot flag \(flag)") { $0.byte(flag, at: 446) } }
        + [
            mbr("no partitions") { $0.bytes([UInt8](repeating: 0, count: 64), at: 446) },
            mbr("a signature alone") { $0 = Bytes([UInt8](repeating: 0, count: 510) + [0x55, 0xaa]) },
            mbr("ones") { $0 = Bytes([UInt8](repeating: 0xff, count: 510) + [0x55, 0xaa]) },
            Hostile("protective partition beside another", .gpt, "mbr", Samples.gpt { $0.byte(0x83, at: 466) }),
            Hostile(
                "protective partition twice", .gpt, "mbr",
                Samples.gpt { bytes in
                    bytes.bytes(Array(bytes.all[446..<462]), at: 462)
                }),
            Hostile(
                "protective partition in another place", .gpt, "mbr",
                Samples.gpt { bytes in
                    bytes.bytes(Array(bytes.all[446..<462]), at: 478)
                    bytes.bytes([UInt8](repeating: 0, count: 16), at: 446)
                }),
            Hostile("protective partition at sector 2", .gpt, "mbr", Samples.gpt { $0.little(UInt32(2), at: 454) }),
            Hostile("protective partition at sector 0", .gpt, "mbr", Samples.gpt { $0.little(UInt32(0), at: 454) }),
            Hostile("protective partition at another cylinder", .gpt, "mbr", Samples.gpt { $0.byte(1, at: 449) }),
            Hostile("protective partition at another head", .gpt, "mbr", Samples.gpt { $0.byte(1, at: 447) }),
            gpt("revision 0") { $0.little(UInt32(0), at: 520) },
            gpt("revision 2.0") { $0.little(UInt32(0x2_0000), at: 520) },
            gpt("a header of no length") { $0.little(UInt32(0), at: 524) },
            gpt("a header of 91 bytes") { $0.little(UInt32(91), at: 524) },
            gpt("a header of 513 bytes") { $0.little(UInt32(513), at: 524) },
            gpt("a header of 2^32-1 bytes") { $0.little(UInt32.max, at: 524) },
            Hostile("wrong checksum", .gpt, "gpt", Samples.gpt.changed { $0.byte(1, at: 570) }),
            gpt("a header that is elsewhere") { $0.little(UInt64(2), at: 536) },
            gpt("usable sectors that end before they begin") { $0.little(UInt64(33), at: 560) },
            gpt("usable sectors past 2^63") { $0.little(UInt64.max, at: 560) },
            gpt("entries in the master boot record") { $0.little(UInt64(0), at: 584) },
            gpt("entries in the header") { $0.little(UInt64(1), at: 584) },
            gpt("entries in the usable sectors") { $0.little(UInt64(34), at: 584) },
            gpt("entries at the end of numbers") { $0.little(UInt64.max, at: 584) },
            gpt("no entries") { $0.little(UInt32(0), at: 592) },
            gpt("2^32-1 entries") { $0.little(UInt32.max, at: 592) },
            gpt("entries into the usable sectors") { $0.little(UInt32(129), at: 592) },
            gpt("entries of no length") { $0.little(UInt32(0), at: 596) },
            gpt("entries of 64 bytes") { $0.little(UInt32(64), at: 596) },
            gpt("entries of 129 bytes") { $0.little(UInt32(129), at: 596) },
            gpt("entries of 2^32-1 bytes") { $0.little(UInt32.max, at: 596) },
            Hostile(
                "large sectors, header elsewhere", .gpt, "gpt",
                Samples.gpt(sectorBytes: 4096) { $0.little(UInt64(2), at: 4120) }),
        ]

    /// A stream of each format that is decided in the first sector, and what of it may be written over.
    private static let beginnings: [(DiskFormat, String, Bytes)] = [
        (.qcow2, "", Samples.qcow2), (.vhd, "", Samples.vhd), (.vhdx, "", Samples.vhdx), (.vmdk, "", Samples.vmdk),
        (.vmdk, "text ", Bytes(Array("createType=\"vmfs\"".utf8) + [UInt8](repeating: 10, count: 100_000))),
        (.qed, "", Samples.qed), (.luks, "", Samples.luks),
    ]

    private static func addVDI(_ bytes: inout Bytes) {
        bytes.little(UInt32(0xbeda_107f), at: 64)
    }

    private static func addISO(_ bytes: inout Bytes) {
        if bytes.all.count < 40_960 { bytes.resize(40_960) }
        bytes.bytes(Array(Samples.iso.all[32_768..<36_864]), at: 32_768)
    }

    private static func addMBR(_ bytes: inout Bytes) {
        bytes.bytes(Array(Samples.mbr.all[446..<512]), at: 446)
    }

    /// Streams that are several formats at once: every pair that fits into one stream, but for ISO and partition
    /// table, and some of three.
    static let polyglots: [Hostile] =
        beginnings.flatMap { format, kind, bytes in
            [
                Hostile("\(kind)and vdi", format, "several_formats", bytes.changed(addVDI)),
                Hostile("\(kind)and iso", format, "several_formats", bytes.changed(addISO)),
                Hostile("\(kind)and gpt", format, "several_formats", bytes.changed(addMBR)),
                Hostile(
                    "\(kind)and iso and gpt", format, "several_formats",
                    bytes.changed {
                        addISO(&$0)
                        addMBR(&$0)
                    }),
            ]
        } + [
            Hostile("and iso", .vdi, "several_formats", Samples.vdi.changed(addISO)),
            Hostile("and gpt", .vdi, "several_formats", Samples.vdi.changed(addMBR)),
            Hostile("and vdi", .iso, "several_formats", Samples.iso.changed(addVDI)),
            Hostile(
                "and iso and gpt", .vdi, "several_formats",
                Samples.vdi.changed {
                    addISO(&$0)
                    addMBR(&$0)
                }),
            Hostile(
                "of UDF and qcow2", .iso, "several_formats", Samples.qcow2.changed { $0.text("NSR02", at: 32_769) }),
        ]

    static let all = qcow2 + vhd + vhdx + vmdk + vdi + qed + luks + iso + partitions + polyglots
}
