import Formats

extension Hostile {
    static let vmdk: [Hostile] = vmdkHeaders + vmdkDescriptors + vmdkExtents + vmdkFooters + vmdkTexts

    private static func header(_ name: String, _ check: String, _ change: (inout Bytes) -> Void) -> Hostile {
        Hostile(name, .vmdk, check, Samples.vmdk.changed(change))
    }

    private static func text(_ name: String, _ check: String, _ old: String, _ new: String) -> Hostile {
        Hostile(name, .vmdk, check, Samples.vmdk(Samples.descriptor.replacing(old, with: new)))
    }

    private static let vmdkHeaders: [Hostile] =
        ([0, 4, 256, .max] as [UInt32]).map { version in
            header("version \(version)", "version") { $0.little(version, at: 4) }
        }
        + ([0, 3, 0x40_0000, .max] as [UInt64]).map { grain in
            header("grains of \(grain)", "grain_size") { $0.little(grain, at: 20) }
        }
        + ([0, 2, 128, .max] as [UInt64]).map { sector in
            header("descriptor in sector \(sector)", "descriptor_offset") { $0.little(sector, at: 28) }
        }
        + ([0, 2049, 1 << 55, .max] as [UInt64]).map { sectors in
            header("descriptor of \(sectors) sectors", "descriptor_size") { $0.little(sectors, at: 36) }
        }
        + [
            header("a file of ESX", "subformat") { $0.text("COWD", at: 0) },
            header("broken by a transfer as text", "line_ends") { $0.text("\n\n\n\n", at: 73) },
            header("no capacity", "virtual_size") { $0.little(UInt64(0), at: 12) },
            header("virtual size of 2^63", "virtual_size") { $0.little(UInt64(1) << 54, at: 12) },
            header("virtual size of over 2^64", "virtual_size") { $0.little(UInt64.max, at: 12) },
            header("virtual size of 2^62", "grain_directory") { $0.little(UInt64(1) << 53, at: 12) },
            header("grain tables of no entries", "grain_table") { $0.little(UInt32(0), at: 44) },
            header("grain tables of 2^32-1 entries", "grain_table") { $0.little(UInt32.max, at: 44) },
            header("grain directory is the header", "grain_directory") { $0.little(UInt64(0), at: 56) },
            header("grain directory after the stream", "out_of_bounds") { $0.little(UInt64(1) << 40, at: 56) },
            header("grain directory at the end of numbers", "out_of_bounds") { $0.little(UInt64.max - 1, at: 56) },
            header("redundant grain directory is the header", "grain_directory") { $0.little(UInt64(0), at: 48) },
            header("redundant grain directory after the stream", "out_of_bounds") {
                $0.little(UInt64(1) << 54, at: 48)
            },
            header("metadata after the stream", "out_of_bounds") { $0.little(UInt64(1) << 20, at: 64) },
            header("metadata at the end of numbers", "out_of_bounds") { $0.little(UInt64.max, at: 64) },
            header("cut off in the header", "truncated") { $0.resize(64) },
            header("the magic alone", "truncated") { $0.resize(4) },
            header("cut off in the descriptor", "truncated") { $0.resize(1024) },
            header("the magic and zeros", "version") {
                $0 = Bytes(count: 4096)
                $0.text("KDMV", at: 0)
            },
        ]

    private static let vmdkDescriptors: [Hostile] =
        [
            "monolithicFlat", "twoGbMaxExtentFlat", "twoGbMaxExtentSparse", "vmfs", "vmfsSparse", "vmfsThin",
            "fullDevice",
            "partitionedDevice", "custom", "seSparse", "", String(repeating: "x", count: 300),
        ].map { text("createType \($0.prefix(30))", "subformat", "monolithicSparse", $0) } + [
            text("no createType", "subformat", #"createType="monolithicSparse""#, ""),
            text("createType without quotes", "subformat", #""monolithicSparse""#, "monolithicSparse"),
            text(
                "two createTypes", "subformat", #"createType="monolithicSparse""#,
                "createType=\"monolithicSparse\"\nCREATETYPE=\"monolithicFlat\""),
            text(
                "another createType in a comment", "subformat", "# Extent description",
                #"# createType="monolithicFlat""#),
            text("parent", "parent", "parentCID=ffffffff", "parentCID=12345678\nparentFileNameHint=\"/etc/passwd\""),
            text("parent's name", "parent", "CID=c5ccd7ee", "CID=c5ccd7ee\nparentFileNameHint=\"base.vmdk\""),
            text("parent's name in capitals", "parent", "CID=c5ccd7ee", "PARENTFILENAMEHINT=\"base.vmdk\""),
            text("parent's name in a comment", "parent", "#DDB", "# parentFileNameHint=\"base.vmdk\""),
            text("parent's name in a field's value", "parent", "ide", "parentFileNameHint=x"),
            text("parent's CID", "parent", "parentCID=ffffffff", "parentCID=12345678"),
            text("no parent's CID", "parent", "parentCID=ffffffff\n", ""),
            text("a line that is nothing", "descriptor", "#DDB", "/etc/passwd"),
            text("a field of two words", "descriptor", "#DDB", "two words=3"),
            text("not ASCII", "descriptor", "ide", "id\u{e9}"),
            text("a control character", "descriptor", "ide", "id\u{1b}"),
            text("no text at all", "subformat", Samples.descriptor, ""),
            Hostile(
                "text behind the end", .vmdk, "descriptor", Samples.vmdk.changed { $0.text("RW 1 FLAT", at: 5000) }),
            Hostile("more of an old end than is left", .vmdk, "descriptor", Samples.vmdk(remnantBytes: 7)),
            Hostile(
                "a byte of no old end", .vmdk, "descriptor",
                Samples.vmdk(Samples.descriptor) { $0.text("x", at: 512 + Samples.descriptor.utf8.count + 1) }),
            Hostile(
                "an old end that is not at the end", .vmdk, "descriptor",
                Samples.vmdk(Samples.descriptor) { $0.text("\n", at: 512 + Samples.descriptor.utf8.count + 2) }),
            Hostile(
                "no end of the text", .vmdk, "descriptor",
                Samples.vmdk.changed { $0.bytes([UInt8](repeating: 0x0a, count: 10_240 - 400), at: 912) }),
            Hostile(
                "the extent behind a sector of comments", .vmdk, "extents",
                Samples.vmdk(
                    Samples.descriptor.replacing(
                        "#DDB", with: String(repeating: "#", count: 900) + "\nRW 1 SPARSE \"/a\""))),
            Hostile(
                "a mebibyte of comments", .vmdk, "descriptor",
                Samples.vmdk(
                    Samples.descriptor + String(repeating: "# comment\n", count: 100_000) + "nonsense\n", sectors: 2048
                ) { $0.resize(2 << 20) }
            ),
        ]

    private static let vmdkExtents: [Hostile] =
        ["FLAT", "VMFS", "VMFSSPARSE", "SESPARSE", "ZERO", "VMFSRDM", "VMFSRAW", "NOTHING"].map {
            text("extent of kind \($0)", "descriptor", "SPARSE", $0)
        }
        + [
            "/etc/passwd", "../disk.vmdk", "a/b.vmdk", #"C:\disk.vmdk"#, "..", "", "nbd://10.0.0.1/x", "a\"b",
            "file:///etc/passwd",
        ].map { text("extent named \($0)", "extents", "disk.vmdk", $0) } + [
            text("no extent", "extents", "RW 20480 SPARSE \"disk.vmdk\"", ""),
            text("two extents", "extents", "#DDB", "RW 20480 SPARSE \"disk2.vmdk\""),
            text("a flat extent too", "descriptor", "#DDB", "RW 20480 FLAT \"/etc/passwd\" 0"),
            text("an extent without sectors", "extents", "20480", "0"),
            text("an extent of negative sectors", "descriptor", "20480", "-1"),
            text("an extent of too many sectors", "extents", "20480", "99999999"),
            text("an extent of 2^65 sectors", "descriptor", "20480", "36893488147419103232"),
            text("an extent of half the disk", "extents", "20480", "10240"),
            text("an extent with an offset", "extents", #""disk.vmdk""#, #""disk.vmdk" 0"#),
            text("an extent without a name", "descriptor", #""disk.vmdk""#, ""),
            text("an extent without quotes", "extents", #""disk.vmdk""#, "disk.vmdk"),
            text("an extent of unknown access", "descriptor", "RW ", "WO "),
            text("an extent with another word", "extents", "SPARSE ", "SPARSE x "),
        ]

    private static func footer(_ name: String, _ check: String, _ change: (inout Bytes) -> Void) -> Hostile {
        Hostile(name, .vmdk, check, Samples.streamVMDK(change))
    }

    private static let vmdkFooters: [Hostile] = [
        footer("no marker of the footer", "footer") { $0.little(UInt32(2), at: $0.all.count - 1536 + 12) },
        footer("marker of the footer with a size", "footer") { $0.little(UInt32(1), at: $0.all.count - 1536 + 8) },
        footer("marker of the footer with something behind", "footer") { $0.byte(1, at: $0.all.count - 1025) },
        footer("no mark of the end", "footer") { $0.little(UInt32(3), at: $0.all.count - 512 + 12) },
        footer("mark of the end with a value", "footer") { $0.little(UInt64(1), at: $0.all.count - 512) },
        footer("mark of the end with something behind", "footer") { $0.byte(1, at: $0.all.count - 1) },
        footer("another signature", "footer") { $0.text("KDMW", at: $0.all.count - 1024) },
        footer("another version", "footer") { $0.little(UInt32(2), at: $0.all.count - 1020) },
        footer("other flags", "footer") { $0.little(UInt32(1), at: $0.all.count - 1016) },
        footer("another capacity", "footer") { $0.little(UInt64(1), at: $0.all.count - 1012) },
        footer("another grain size", "footer") { $0.little(UInt64(8), at: $0.all.count - 1004) },
        footer("another descriptor", "footer") { $0.little(UInt64(64), at: $0.all.count - 996) },
        footer("another descriptor size", "footer") { $0.little(UInt64(1), at: $0.all.count - 988) },
        footer("other grain tables", "footer") { $0.little(UInt32(64), at: $0.all.count - 980) },
        footer("other compression", "footer") { $0.little(UInt16(0), at: $0.all.count - 947) },
        footer("a footer that points to another", "footer") { $0.little(UInt64.max, at: $0.all.count - 968) },
        footer("grain directory of the footer after the stream", "out_of_bounds") {
            $0.little(UInt64(1) << 30, at: $0.all.count - 968)
        },
        footer("grain directory of the footer in the header", "grain_directory") {
            $0.little(UInt64(0), at: $0.all.count - 968)
        },
        footer("a byte behind the footer", "footer") { $0.byte(0, at: $0.all.count) },
        footer("a sector behind the footer", "footer") { $0.resize($0.all.count + 512) },
        footer("no footer", "footer") { $0.resize($0.all.count - 1536) },
        footer("nothing behind the descriptor", "footer") { $0.resize(512 * 21) },
    ]

    /// Descriptors that are files of their own.
    private static let vmdkTexts: [Hostile] = [
        ("as it is", Samples.descriptor),
        ("flat", "# Disk DescriptorFile\nversion=1\ncreateType=\"monolithicFlat\"\nRW 2048 FLAT \"/etc/passwd\" 0\n"),
        ("without its title", "version=1\ncreateType=\"monolithicFlat\"\nRW 2048 FLAT \"/etc/passwd\" 0\n"),
        ("its title alone", "# Disk DescriptorFile\n"),
        ("its title in capitals", "# DISK DESCRIPTORFILE\nversion=1\n"),
        ("the word alone", "createType"),
        ("the word, almost, and then the word", "createtypcreateTYPE=\"monolithicFlat\""),
        ("behind 600 KiB of text", String(repeating: "#\n", count: 300 << 10) + "createType=\"vmfs\"\n"),
        ("behind bytes that are no text", "\u{1}\u{2}\u{fe}createType=\"vmfs\"\nRW 1 VMFS \"/etc/shadow\"\n"),
        ("with a byte of zero behind", "createType=\"vmfs\"\u{0}"),
    ].map { Hostile("text: \($0.0)", .vmdk, "text_descriptor", Bytes(Array($0.1.utf8))) }
}
