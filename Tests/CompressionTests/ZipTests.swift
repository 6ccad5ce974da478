import Compression
import Testing

/// Archives that are not what they seem, made field by field.
@Suite struct ZipTests {
    /// One stored file, unless told otherwise.
    struct Archive {
        var name = Array("disk.img".utf8)
        var localName: [UInt8]?
        var content: [UInt8] = .noise(100)
        var method = 0
        var localMethod: Int?
        var flags = 0
        var crc: Int?
        var size: Int?
        var packedSize: Int?
        var prefix: [UInt8] = []
        var offset = 0
        var descriptor: [UInt8] = []
        var extra: [UInt8] = []
        var comment: [UInt8] = []
        var entries = 1
        var disk = 0
        /// How often the file's header is in the directory.
        var headers = 1
        var gap: [UInt8] = []

        var bytes: [UInt8] {
            let sum = crc ?? crc32(content)
            let local =
                [0x50, 0x4b, 3, 4] + two(20) + two(flags) + two(localMethod ?? method) + four(0) + four(sum)
                + four(content.count) + four(content.count) + two((localName ?? name).count) + two(0)
                + (localName ?? name) + content + descriptor
            let header =
                [0x50, 0x4b, 1, 2] + two(20) + two(20) + two(flags) + two(method) + four(0) + four(sum)
                + four(packedSize ?? content.count) + four(size ?? content.count) + two(name.count) + two(extra.count)
                + two(0) + two(0) + two(0) + four(0) + four(offset) + name + extra
            let directory = Array(repeatElement(header, count: headers).joined())
            let end =
                [0x50, 0x4b, 5, 6] + two(disk) + two(0) + two(entries) + two(entries) + four(directory.count)
                + four(prefix.count + local.count) + two(comment.count) + comment
            return prefix + local + directory + gap + end
        }

        private func two(_ value: Int) -> [UInt8] { .littleEndian(value, 2) }
        private func four(_ value: Int) -> [UInt8] { .littleEndian(value, 4) }
    }

    private func archive(_ change: (inout Archive) -> Void = { _ in }) -> [UInt8] {
        var archive = Archive()
        change(&archive)
        return archive.bytes
    }

    @Test func anHonestOneIsTaken() async throws {
        #expect(try await Unpacking.unpack(archive()) == .noise(100))
        #expect(try await Unpacking.unpack(archive { $0.comment = Array("made by hand".utf8) }) == .noise(100))
        let descriptor = [UInt8].littleEndian(0, 12)
        #expect(try await Unpacking.unpack(archive { ($0.flags, $0.descriptor) = (8, descriptor) }) == .noise(100))
    }

    @Test func whatToolsWriteToAPipeIsTaken() async throws {
        let content = [UInt8].noise(100_000)
        #expect(try await Unpacking.unpack(try Shell.run("zip -q - -", input: content)) == content)
        #expect(try await Unpacking.unpack(try Shell.run("zip -q -fz - -", input: content)) == content)
        let large = try Shell.run("cat > disk; zip -q -fz x.zip disk; cat x.zip", input: content)
        #expect(try await Unpacking.unpack(large) == content)
        let stored = try Shell.run("cat > disk; zip -q -0 x.zip disk; cat x.zip", input: content)
        #expect(try await Unpacking.unpack(stored) == content)
    }

    @Test func exactlyOneFileIsTaken() async throws {
        let two = try Shell.run("echo 1 > a; echo 2 > b; zip -q x.zip a b; cat x.zip")
        #expect(try await Unpacking.error(two) == .unsupported)
        let directory = try Shell.run("mkdir d; zip -q -r x.zip d; cat x.zip")
        #expect(try await Unpacking.error(directory) == .unsupported)
        // One file that is in the directory a thousand times: a small archive with much in it.
        #expect(try await Unpacking.error(archive { ($0.headers, $0.entries) = (1000, 1000) }) == .unsupported)
        #expect(try await Unpacking.error(archive { $0.headers = 2 }) == .damaged)
        #expect(try await Unpacking.error(archive { $0.entries = 0 }) == .unsupported)
        #expect(try await Unpacking.error(archive { $0.disk = 1 }) == .unsupported)
    }

    @Test func encryptedOnesAndOtherMethodsAreRefused() async throws {
        for bit in [0, 5, 6, 13] { #expect(try await Unpacking.error(archive { $0.flags = 1 << bit }) == .unsupported) }
        for method in [1, 6, 9, 12, 14, 93, 95, 99] {
            #expect(try await Unpacking.error(archive { $0.method = method }) == .unsupported)
        }
        let secret = try Shell.run("cat > disk; zip -q -P word x.zip disk; cat x.zip", input: .noise(1000))
        #expect(try await Unpacking.error(secret) == .unsupported)
    }

    @Test func thereIsOneWayToReadIt() async throws {
        let ways: [(inout Archive) -> Void] = [
            { $0.localName = Array("other.img".utf8) },
            { $0.localMethod = 8 },
            { $0.offset = 1 },
            { $0.offset = 0xffff_ffff },
            { $0.gap = [0] },
            { $0.gap = [UInt8](repeating: 0, count: 20) },
            { $0.descriptor = [UInt8](repeating: 0, count: 16) },
            { ($0.flags, $0.descriptor) = (8, [UInt8](repeating: 0, count: 17)) },
            { $0.packedSize = 1000 },
            { $0.packedSize = 99 },
            { $0.packedSize = 0xffff_ffff },
            { $0.size = 99 },
            { $0.size = 101 },
            { $0.size = 0xffff_ffff },
            { $0.crc = 1 },
            { ($0.size, $0.extra) = (0xffff_ffff, [1, 0, 4, 0, 1, 2, 3, 4]) },
            { ($0.size, $0.extra) = (0xffff_ffff, [1, 0, 8, 0] + [UInt8](repeating: 0xff, count: 8)) },
            { ($0.size, $0.extra) = (0xffff_ffff, [1, 0, 0xff, 0xff]) },
        ]
        for (index, way) in ways.enumerated() {
            #expect(try await Unpacking.error(archive(way)) == .damaged, "\(index)")
        }
        // Something in front makes it a program that unpacks itself, and no zip archive here.
        await #expect(throws: Unpacking.NotPacked.self) {
            try await Unpacking.unpack(archive { $0.prefix = Array("MZ".utf8) })
        }
        #expect(try await Unpacking.error(archive { $0.prefix = Array("PK\u{3}\u{4}".utf8) }) == .damaged)
    }

    @Test func sizesOf64BitsAreRead() async throws {
        let content = [UInt8].noise(100)
        let bytes = archive {
            $0.size = 0xffff_ffff
            $0.extra = [0x99, 0x99, 1, 0, 7, 1, 0, 8, 0] + .littleEndian(content.count, 8)
        }
        #expect(try await Unpacking.unpack(bytes) == content)
    }

    @Test func aDeflateStreamHasToEndWhereTheArchiveSays() async throws {
        let whole = try Packer.zip.pack(Array(repeatElement(UInt8(7), count: 1000)))
        let gzip = try Packer.gzip.pack(Array(repeatElement(UInt8(7), count: 1000)))
        let deflated = Array(gzip[10..<gzip.count - 8])
        let sum = crc32(Array(repeatElement(UInt8(7), count: 1000)))
        func made(_ packed: [UInt8]) -> [UInt8] {
            archive { ($0.method, $0.content, $0.crc, $0.size) = (8, packed, sum, 1000) }
        }
        #expect(try await Unpacking.unpack(whole) == Array(repeatElement(UInt8(7), count: 1000)))
        #expect(try await Unpacking.unpack(made(deflated)) == Array(repeatElement(UInt8(7), count: 1000)))
        #expect(try await Unpacking.error(made(deflated + [0])) == .trailingBytes)
        #expect(try await Unpacking.error(made(deflated.dropLast())) == .cutShort)
    }
}
