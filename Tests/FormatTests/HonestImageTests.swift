import Formats
import Testing

/// Images that other programs write, of every kind they have: each is accepted, with the size that qemu-img says,
/// or refused as it has to be.
@Suite struct HonestImageTests {
    /// How qemu-img makes an image.
    struct Recipe: Sendable, CustomTestStringConvertible {
        /// As qemu-img and as the Image API call the format.
        let format: String
        let declared: String
        let options: [String]
        /// Whether data are converted into it, compressed or not; else it is created empty.
        var source = Source.none
        var sizes: [UInt64] = [512, 65_536, (1 << 20) + 512, 10 << 20, 1 << 30]

        enum Source: Sendable { case none, data, compressed }

        var testDescription: String { "\(format) \(options) \(source)" }
    }

    private static let qcow2: [Recipe] =
        ["compat=0.10", "compat=1.1", "compat=1.1,lazy_refcounts=on", "compat=1.1,compression_type=zstd"].flatMap {
            options in
            [Recipe.Source.none, .data, .compressed].map {
                Recipe(format: "qcow2", declared: "qcow2", options: [options], source: $0)
            }
        }
        + ["512", "4096", "32768", "262144", "2097152"].map {
            Recipe(format: "qcow2", declared: "qcow2", options: ["cluster_size=\($0)"], source: .data)
        }
        + ["off", "metadata", "falloc"].map {
            Recipe(format: "qcow2", declared: "qcow2", options: ["preallocation=\($0)"], sizes: [512, 10 << 20])
        }
        + ["1", "8", "64"].map {
            Recipe(format: "qcow2", declared: "qcow2", options: ["refcount_bits=\($0)"], source: .data)
        }
        + [Recipe(format: "qcow2", declared: "qcow2", options: [], sizes: [0, 1 << 40, 1 << 45])]

    private static let others: [Recipe] = [
        Recipe(format: "raw", declared: "raw", options: []),
        Recipe(format: "raw", declared: "raw", options: [], source: .data),
        Recipe(format: "vpc", declared: "vhd", options: ["subformat=dynamic"]),
        Recipe(format: "vpc", declared: "vhd", options: ["subformat=dynamic"], source: .data),
        Recipe(format: "vpc", declared: "vhd", options: ["subformat=dynamic,force_size=on"], source: .data),
        Recipe(format: "vpc", declared: "vhd", options: ["subformat=dynamic,force_size=on"], sizes: [2040 << 30]),
        Recipe(format: "vhdx", declared: "vhdx", options: ["subformat=dynamic"]),
        Recipe(format: "vhdx", declared: "vhdx", options: ["subformat=dynamic"], source: .data),
        Recipe(
            format: "vhdx", declared: "vhdx", options: ["subformat=fixed"], source: .data, sizes: [1 << 20, 10 << 20]),
        Recipe(format: "vhdx", declared: "vhdx", options: ["block_size=1048576"], sizes: [1 << 20, 1 << 40]),
        Recipe(format: "vhdx", declared: "vhdx", options: ["log_size=4194304"], sizes: [1 << 20, 64 << 40]),
        Recipe(format: "vdi", declared: "vdi", options: []),
        Recipe(format: "vdi", declared: "vdi", options: [], source: .data),
        Recipe(format: "vdi", declared: "vdi", options: ["static=on"], source: .data, sizes: [10 << 20]),
        Recipe(format: "vmdk", declared: "vmdk", options: ["subformat=monolithicSparse"]),
        Recipe(format: "vmdk", declared: "vmdk", options: ["subformat=monolithicSparse"], source: .data),
        Recipe(format: "vmdk", declared: "vmdk", options: ["subformat=monolithicSparse,adapter_type=lsilogic"]),
        Recipe(format: "vmdk", declared: "vmdk", options: ["subformat=monolithicSparse,zeroed_grain=on"]),
        Recipe(format: "vmdk", declared: "vmdk", options: ["subformat=monolithicSparse,compat6"]),
        Recipe(format: "vmdk", declared: "vmdk", options: ["subformat=streamOptimized"]),
        Recipe(format: "vmdk", declared: "vmdk", options: ["subformat=streamOptimized"], source: .data),
    ]

    private func make(_ recipe: Recipe, sizeBytes: UInt64, in scratch: Scratch) throws -> String {
        let image = scratch.path + "/image"
        let options = recipe.options.flatMap { ["-o", $0] }
        guard recipe.source != .none else {
            try Tool.qemuImg.run(["create", "-f", recipe.format] + options + [image, "\(sizeBytes)"], in: scratch)
            return image
        }
        var random = Seeded(state: sizeBytes)
        let data = (0..<min(Int(sizeBytes), 300_000)).map { _ in UInt8(truncatingIfNeeded: random.next() % 8) }
        try File.write(data, to: scratch.path + "/data", sizeBytes: Int(sizeBytes))
        let flags = recipe.source == .compressed ? ["-c"] : []
        try Tool.qemuImg.run(
            ["convert"] + flags + ["-f", "raw", "-O", recipe.format] + options + [scratch.path + "/data", image],
            in: scratch)
        return image
    }

    private func virtualSize(_ image: String, _ format: String, in scratch: Scratch) throws -> Int64 {
        let text = try Tool.qemuImg.run(["info", "-f", format, "--output=json", image], in: scratch)
        let match = try #require(text.firstMatch(of: /"virtual-size": (\d+)/))
        return try #require(Int64(match.output.1))
    }

    @Test(.enabled(if: Tool.qemuImg.isInstalled), arguments: qcow2 + others)
    func imagesOfQEMUAreAccepted(_ recipe: Recipe) throws {
        for size in recipe.sizes {
            let scratch = try Scratch()
            let image = try make(recipe, sizeBytes: size, in: scratch)
            let bytes = try File.size(image)
            let expected = try virtualSize(image, recipe.format, in: scratch)
            let seen = try File.inspect(image)
            let verdict = seen.verdict(declared: recipe.declared, mustMatch: true, streamBytes: bytes)
            #expect(verdict == .accepted(virtualSizeBytes: expected), "\(size) bytes")
            let raw = seen.verdict(declared: "raw", mustMatch: true, streamBytes: bytes)
            #expect(raw == .accepted(virtualSizeBytes: bytes), "\(size) bytes")
        }
    }

    /// qemu-img measures how fast the machine is, and gives up when another process comes in between.
    private func create(_ arguments: [String], in scratch: Scratch) throws {
        for attempt in 1...20 {
            do {
                try Tool.qemuImg.run(arguments, in: scratch)
                return
            } catch let failure as ToolFailure where failure.what.contains("accurate CPU usage") && attempt < 20 {
                continue
            }
        }
    }

    @Test(.enabled(if: Tool.qemuImg.isInstalled), arguments: ["luks", "qcow2"])
    func encryptedImagesOfQEMUAreAccepted(_ format: String) throws {
        let scratch = try Scratch()
        let image = scratch.path + "/image"
        let options = format == "luks" ? "key-secret=s" : "encrypt.format=luks,encrypt.key-secret=s"
        try create(
            ["create", "--object", "secret,id=s,data=passphrase", "-f", format, "-o", options, image, "10M"],
            in: scratch)
        let verdict = try File.inspect(image).verdict(
            declared: format, mustMatch: true, streamBytes: try File.size(image))
        #expect(verdict == .accepted(virtualSizeBytes: 10 << 20))
    }

    @Test(.enabled(if: Tool.qemuImg.isInstalled)) func snapshotsAndBitmapsAreAccepted() throws {
        let scratch = try Scratch()
        try Tool.qemuImg.run(["create", "-f", "qcow2", "image", "10M"], in: scratch)
        try Tool.qemuImg.run(["snapshot", "-c", "one", "image"], in: scratch)
        try Tool.qemuImg.run(["bitmap", "--add", "image", "two"], in: scratch)
        try Tool.qemuImg.run(["resize", "image", "+1G"], in: scratch)
        let image = scratch.path + "/image"
        let verdict = try File.inspect(image).verdict(
            declared: "qcow2", mustMatch: true, streamBytes: try File.size(image))
        #expect(verdict == .accepted(virtualSizeBytes: (10 << 20) + (1 << 30)))
    }

    @Test(.enabled(if: Tool.qemuImg.isInstalled)) func fixedVHDsAreRaw() throws {
        for options in ["subformat=fixed", "subformat=fixed,force_size=on"] {
            let scratch = try Scratch()
            try Tool.qemuImg.run(["create", "-f", "vpc", "-o", options, "image", "10M"], in: scratch)
            let seen = try File.inspect(scratch.path + "/image")
            let bytes = try File.size(scratch.path + "/image")
            #expect(seen.formats == [.raw])
            let verdict = seen.verdict(declared: "raw", mustMatch: true, streamBytes: bytes)
            #expect(verdict == .accepted(virtualSizeBytes: bytes))
        }
    }

    /// What qemu-img can make, and nobody may store: the format, its options, and the check that says so.
    private static let refused: [(String, String, String, String)] = [
        ("vmdk", "subformat=monolithicFlat", "vmdk", "text_descriptor"),
        ("vmdk", "subformat=twoGbMaxExtentFlat", "vmdk", "text_descriptor"),
        ("vmdk", "subformat=twoGbMaxExtentSparse", "vmdk", "text_descriptor"),
        ("vmdk", "subformat=monolithicSparse,backing_file=base,backing_fmt=vmdk", "vmdk", "parent"),
        ("qed", "cluster_size=65536", "qed", "banned"),
        ("qcow", "encryption=off", "qcow2", "version"),
        ("qcow2", "backing_file=base,backing_fmt=vmdk", "qcow2", "backing_file"),
        ("qcow2", "data_file=data", "qcow2", "data_file"),
        ("qcow2", "data_file=data,data_file_raw=on", "qcow2", "data_file"),
        ("qcow2", "extended_l2=on", "qcow2", "unknown_features"),
    ]

    @Test(.enabled(if: Tool.qemuImg.isInstalled), arguments: refused.indices)
    func dangerousImagesOfQEMUAreRefused(_ index: Int) throws {
        let (format, options, declared, check) = Self.refused[index]
        let scratch = try Scratch()
        try Tool.qemuImg.run(["create", "-f", "vmdk", "base", "10M"], in: scratch)
        try Tool.qemuImg.run(["create", "-f", format, "-o", options, "image", "10M"], in: scratch)
        let image = scratch.path + "/image"
        let (seen, bytes) = (try File.inspect(image), try File.size(image))
        for declared in [declared, "raw"] {
            let verdict = seen.verdict(declared: declared, mustMatch: false, streamBytes: bytes)
            #expect(verdict.findings.map(\.check) == [check])
        }
    }

    private static let volumes: [(Tool, [String], [DiskFormat])] = [
        (.genisoimage, ["-quiet", "-o", "image", "data"], [.iso]),
        (.genisoimage, ["-quiet", "-J", "-R", "-V", "VOLUME", "-o", "image", "data"], [.iso]),
        (.genisoimage, ["-quiet", "-iso-level", "4", "-udf", "-o", "image", "data"], [.iso]),
        (.genisoimage, ["-quiet", "-b", "data", "-no-emul-boot", "-o", "image", "."], [.iso]),
        (.xorriso, ["-as", "mkisofs", "-quiet", "-o", "image", "data"], [.iso]),
        (
            .xorriso, ["-as", "mkisofs", "-quiet", "-R", "-J", "-b", "data", "-no-emul-boot", "-o", "image", "."],
            [.iso]
        ),
        (.xorriso, ["-as", "mkisofs", "-quiet", "-partition_offset", "16", "-o", "image", "data"], [.iso, .gpt]),
        (
            .xorriso,
            [
                "-as", "mkisofs", "-quiet", "--protective-msdos-label", "-append_partition", "2", "0xef", "data", "-o",
                "image", "data",
            ], [.iso, .gpt]
        ),
        (
            .xorriso,
            [
                "-as", "mkisofs", "-quiet", "-appended_part_as_gpt", "-append_partition", "2", "0xef", "data", "-o",
                "image", "data",
            ], [.iso, .gpt]
        ),
        (
            .xorriso,
            ["-as", "mkisofs", "-quiet", "-isohybrid-mbr", "data", "-b", "data", "-no-emul-boot", "-o", "image", "."],
            [.iso, .gpt]
        ),
    ]

    @Test(arguments: volumes.indices)
    func volumesAreAccepted(_ index: Int) throws {
        let (tool, arguments, formats) = Self.volumes[index]
        guard tool.isInstalled else { return }
        let scratch = try Scratch()
        try File.write([UInt8](repeating: 0x90, count: 400), to: scratch.path + "/data", sizeBytes: 65_536)
        try tool.run(arguments, in: scratch)
        let image = scratch.path + "/image"
        let (seen, bytes) = (try File.inspect(image), try File.size(image))
        #expect(Set(seen.formats) == Set(formats), "\(arguments)")
        let head = try File.bytes(image, limit: 36_864)
        let blocks = head[32_848..<32_852].reversed().reduce(Int64(0)) { $0 << 8 | Int64($1) }
        #expect(blocks > 0 && blocks * 2048 <= bytes)
        let verdict = seen.verdict(declared: "iso", mustMatch: true, streamBytes: bytes)
        #expect(verdict == .accepted(virtualSizeBytes: blocks * 2048), "\(arguments)")
        let raw = seen.verdict(declared: "raw", mustMatch: true, streamBytes: bytes)
        #expect(raw == .accepted(virtualSizeBytes: bytes), "\(arguments)")
    }
}
