import Core
import Foundation
import Testing

/// Conversion with the real qemu-img.
@Suite struct ConversionTests {
    private static let disk = SeededRandomness().bytes(200_000) + [UInt8](repeating: 0, count: 4 << 20)

    private static func image(_ format: String, _ options: String = "") throws -> [UInt8] {
        let name = format == "vhd" ? "vpc" : format
        let size = "truncate -s %65536 in;"
        return try Shell.run("\(size) qemu-img convert -f raw -O \(name) \(options) in out", input: disk)
    }

    @Test(arguments: ["raw", "qcow2", "vhd", "vhdx", "vmdk", "vdi"], ConversionTarget.allCases)
    func everyFormatBecomesTheOneThatIsWanted(_ source: String, _ target: ConversionTarget) async throws {
        guard source != target.rawValue else { return }
        let fixture = try await ImportStepFixture()
        let options = source == "vhd" ? "-o subformat=dynamic,force_size=on" : ""
        let made = try await fixture.convert(try Self.image(source, options), from: source, to: target)
        #expect(
            made.result
                == ImportStepResult(replacesBytes: true, diskFormat: target.rawValue, containerFormat: "bare"))
        let raw = try Shell.run("qemu-img convert -f \(target.rawValue) -O raw in out", input: made.bytes)
        #expect(Array(raw.prefix(Self.disk.count)) == Self.disk)
        #expect(raw.count <= Self.disk.count + 65_536)
        #expect(try fixture.isClean())
    }

    @Test func volumesAndWhatIsRightAlreadyAreLeftAlone() async throws {
        let fixture = try await ImportStepFixture()
        #expect(try await fixture.convert([1, 2, 3], from: "iso", to: .qcow2).result == nil)
        #expect(try await fixture.convert([1, 2, 3], from: "raw", to: .raw).result == nil)
        #expect(try await fixture.convert(try Self.image("qcow2"), from: "qcow2", to: .qcow2).result == nil)
    }

    @Test func whatIsNoBareDiskIsRefused() async throws {
        let fixture = try await ImportStepFixture()
        for format in ["ami", "aki", "ari", "ploop"] {
            let status = try await fixture.status { try await fixture.convert([1], from: format, to: .raw) }
            #expect(status == 400)
        }
        for container in ["ova", "ovf", "docker", "compressed"] {
            let status = try await fixture.status {
                try await fixture.run(
                    ImportStepFixture.conversion(to: .qcow2), Self.disk, disk: "raw", container: container)
            }
            #expect(status == 400)
        }
    }

    @Test func whatIsNotWhatItIsDeclaredToBeIsRefused() async throws {
        let fixture = try await ImportStepFixture()
        let qcow2 = try Self.image("qcow2")
        for (bytes, declared) in [(Self.disk, "qcow2"), (qcow2, "raw"), (qcow2, "vmdk"), ([], "qcow2")] {
            let target: ConversionTarget = declared == "vmdk" ? .raw : .vmdk
            let status = try await fixture.status { try await fixture.convert(bytes, from: declared, to: target) }
            #expect(status == 415, "\(declared)")
        }
    }

    @Test func aDiskWithPartitionsIsRaw() async throws {
        let fixture = try await ImportStepFixture()
        var disk = Self.disk
        for index in 0..<512 { disk[index] = 0 }
        // One active Linux partition of a boot record.
        disk.replaceSubrange(446..<462, with: [0x80, 0, 2, 0, 0x83, 0, 0, 0, 1, 0, 0, 0, 0, 16, 0, 0])
        disk.replaceSubrange(510..<512, with: [0x55, 0xaa])
        #expect(try await fixture.convert(disk, from: "raw", to: .qcow2).result?.diskFormat == "qcow2")
    }

    struct Hostile: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let format: String
        let status: Int
        let make: @Sendable () throws -> [UInt8]

        init(_ name: String, _ format: String, status: Int = 415, _ make: @escaping @Sendable () throws -> [UInt8]) {
            testDescription = name
            self.format = format
            self.status = status
            self.make = make
        }

        static func changed(_ format: String, _ change: (inout [UInt8]) throws -> Void) throws -> [UInt8] {
            var bytes = try ConversionTests.image(format)
            try change(&bytes)
            return bytes
        }
    }

    static let hostile: [Hostile] = [
        Hostile("qcow2 with a backing file", "qcow2") {
            try Shell.run("qemu-img create -f qcow2 -F raw -b /etc/passwd -u out 1M")
        },
        Hostile("qcow2 whose backing file is a network address", "qcow2") {
            try Shell.run("qemu-img create -f qcow2 -F raw -b nbd://127.0.0.1:10809/x -u out 1M")
        },
        Hostile("qcow2 with a data file", "qcow2") {
            try Shell.run("qemu-img create -f qcow2 -o data_file=data,data_file_raw=on out 1M")
        },
        Hostile("qcow2 with a first table of 32 million entries", "qcow2") {
            try Hostile.changed("qcow2") { $0.put(0x0200_0000, at: 36, count: 4) }
        },
        Hostile("qcow2 with a reference table of a million clusters", "qcow2") {
            try Hostile.changed("qcow2") { $0.put(0x10_0000, at: 56, count: 4) }
        },
        Hostile("qcow2 with an enormous disk", "qcow2") {
            try Hostile.changed("qcow2") { $0.put(0x7fff_ffff_ffff_fe00, at: 24, count: 8) }
        },
        Hostile("qcow2 with more disk than is taken", "qcow2", status: 413) {
            try Shell.run("qemu-img create -f qcow2 out 2T")
        },
        Hostile("vmdk that names another file", "vmdk") {
            try Hostile.changed("vmdk") { bytes in
                let from = Array("SPARSE \"out\"".utf8)
                let at = try #require(bytes.firstRange(of: from)).lowerBound
                bytes.replaceSubrange(at..<at + from.count, with: Array("FLAT \"/etc\" ".utf8))
            }
        },
        Hostile("vmdk of text alone", "vmdk") {
            Array("# Disk DescriptorFile\nversion=1\ncreateType=\"monolithicFlat\"\nRW 8 FLAT \"/etc/passwd\" 0\n".utf8)
        },
        Hostile("vmdk in two files", "vmdk") {
            try Shell.run("qemu-img create -f vmdk -o subformat=monolithicFlat out 1M")
        },
    ]

    @Test(arguments: hostile) func hostileImagesAreRefusedBeforeAToolOpensThem(_ image: Hostile) async throws {
        let fixture = try await ImportStepFixture()
        let bytes = try image.make()
        let status = try await fixture.status { try await fixture.convert(bytes, from: image.format, to: .raw) }
        #expect(status == image.status)
        #expect(try fixture.isClean())
    }

    /// The tables of the second level are not inspected: they say where in the file the disk's clusters are.
    @Test(arguments: [UInt64(0x8000_0000_0000_0000), 0x4000_0000_0000_0000]) func tablesThatPointToThemselvesEnd(
        _ flags: UInt64
    ) async throws {
        let fixture = try await ImportStepFixture()
        let bytes = try Hostile.changed("qcow2") { bytes in
            let first = bytes[40..<48].reduce(0) { $0 << 8 | Int($1) }
            let second = bytes[first..<first + 8].reduce(0) { $0 << 8 | Int($1) } & 0xff_ffff_ffff_ff00
            // All clusters of the disk are the table itself, or compressed data in it.
            for entry in 0..<8192 where second + entry * 8 + 8 <= bytes.count {
                bytes.put(flags | UInt64(second), at: second + entry * 8, count: 8)
            }
        }
        let start = ContinuousClock.now
        let status = try await fixture.status { try await fixture.convert(bytes, from: "qcow2", to: .raw) }
        #expect(status == nil || status == 400)
        #expect(ContinuousClock.now - start < .seconds(240))
        #expect(try fixture.isClean())
    }

    @Test func sparseDisksCostNoDisk() async throws {
        let fixture = try await ImportStepFixture()
        let output = KeptOutput(limitBytes: 64 << 20)
        let bytes = try Shell.run("qemu-img create -f qcow2 out 900G")
        let start = ContinuousClock.now
        let status = try await fixture.status {
            try await fixture.run(ImportStepFixture.conversion(to: .raw), bytes, disk: "qcow2", output: output)
        }
        #expect(status == 413)
        #expect(ContinuousClock.now - start < .seconds(240))
        #expect(try fixture.isClean())
    }
}
