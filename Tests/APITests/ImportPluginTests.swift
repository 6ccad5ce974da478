import Core
import Foundation
import NIOCore
import NIOHTTP1
import Server
import Testing

extension TestServer {
    /// Stages bytes and imports them.
    /// - Returns: the image, once its import has ended.
    fileprivate func imported(
        _ bytes: [UInt8], disk: String = "raw", container: String = "bare", more: String = "", as token: String? = nil
    ) async throws -> JSONValue {
        let token = token ?? demo
        let created = try await call(
            .POST, "/image/v2/images", as: token,
            json: #"{"disk_format": "\#(disk)", "container_format": "\#(container)"\#(more)}"#)
        let id = try #require(created.json["id"]?.stringValue, "\(created.status) \(created.text)")
        let staged = try await call(
            .PUT, "/image/v2/images/\(id)/stage", as: token, headers: [("Content-Type", "application/octet-stream")],
            body: bytes)
        #expect(staged.status == 204)
        let accepted = try await call(
            .POST, "/image/v2/images/\(id)/import", as: token, json: #"{"method": {"name": "glance-direct"}}"#)
        #expect(accepted.status == 202)
        return try await eventually("the import of image \(id) ends") {
            let image = try await call(.GET, "/image/v2/images/\(id)", as: admin).json
            let isOver = image["os_glance_import_task"] == nil && image["status"] != "importing"
            return isOver ? image : nil
        }
    }

    fileprivate func data(of image: JSONValue) async throws -> [UInt8] {
        let id = try #require(image["id"]?.stringValue)
        return try await call(.GET, "/image/v2/images/\(id)/file", as: admin).bytes
    }

    /// Why the image's import failed.
    fileprivate func failure(of image: JSONValue) async throws -> String? {
        let id = try #require(image["id"]?.stringValue)
        let tasks = try await call(.GET, "/image/v2/images/\(id)/tasks", as: admin).json["tasks"]?.arrayValue
        return tasks?.last?["message"]?.stringValue
    }
}

private enum Made {
    /// What a command makes of a file `in`, in a file `out`.
    static func by(_ command: String, of input: [UInt8] = []) throws -> [UInt8] {
        let directory = FileManager.default.temporaryDirectory.appending(path: "ambrotype-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        try Data(input).write(to: directory.appending(path: "in"))
        let process = Process()
        process.executableURL = URL(filePath: "/bin/sh")
        process.arguments = ["-c", command]
        process.currentDirectoryURL = directory
        try process.run()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else { throw TestFailure("\(command): \(process.terminationStatus)") }
        return [UInt8](try Data(contentsOf: directory.appending(path: "out")))
    }

    /// A disk with some content and much emptiness.
    static let disk =
        (0..<100_000).map { UInt8(truncatingIfNeeded: $0 &* $0 >> 3) } + [UInt8](repeating: 0, count: 2_000_096)
}

/// Unpacking and properties, as clients see them.
@Suite(
    .server {
        $0.image?.settings.imports.plugins.order = [.decompression, .injectMetadata]
        $0.image?.settings.imports.plugins.inject = ["os_distro": "unknown", "imported": "yes"]
    }) struct ImportDecompressionTests
{
    private var server: TestServer { TestServer.current }

    @Test(arguments: [
        "gzip -c <in >out", "xz -c <in >out", "zstd -q -c <in >out", "zip -q m.zip in; mv m.zip out",
    ]) func behaviour43_packedImagesAreUnpacked(_ command: String) async throws {
        let image = try await server.imported(try Made.by(command, of: Made.disk))
        #expect(image["status"] == "active")
        #expect(image["size"] == .integer(Int64(Made.disk.count)))
        #expect(image["virtual_size"] == .integer(Int64(Made.disk.count)))
        #expect(try await server.data(of: image) == Made.disk)
    }

    @Test func behaviour43_archivesOfSeveralFilesFail() async throws {
        let archive = try Made.by("cp in other; zip -q m.zip in other; mv m.zip out", of: Made.disk)
        let image = try await server.imported(archive)
        #expect(image["status"] == "queued")
        #expect(image["size"] == .null)
        #expect(try await server.failure(of: image)?.contains("has 2 files") == true)
    }

    @Test func behaviour43_lhaArchivesFailByName() async throws {
        let image = try await server.imported([0x20, 0] + Array("-lh5-".utf8) + [UInt8](repeating: 1, count: 600))
        #expect(image["status"] == "queued")
        #expect(try await server.failure(of: image)?.contains("lha archives cannot be unpacked") == true)
    }

    @Test func behaviour43_theContainerCompressedIsLeftAlone() async throws {
        let packed = try Made.by("gzip -c <in >out", of: Made.disk)
        let image = try await server.imported(packed, container: "compressed")
        #expect(image["status"] == "active")
        #expect(image["size"] == .integer(Int64(packed.count)))
        #expect(try await server.data(of: image) == packed)
    }

    @Test func behaviour21_theVirtualSizeIsThatOfTheDiskInside() async throws {
        let packed = try Made.by("qemu-img create -q -f qcow2 d 3G; gzip -c d >out")
        let image = try await server.imported(packed, disk: "qcow2")
        #expect(image["status"] == "active")
        #expect(image["virtual_size"] == .integer(3 << 30))
    }

    @Test func whatIsUnpackedHasToBeWhatItIsDeclaredToBe() async throws {
        let packed = try Made.by("qemu-img create -q -f qcow2 -F raw -b /etc/passwd -u d 1M; gzip -c d >out")
        let image = try await server.imported(packed, disk: "qcow2")
        #expect(image["status"] == "queued")
        #expect(try await server.failure(of: image)?.contains("backing_file") == true)
    }

    @Test func bombsFailAndLeaveNothing() async throws {
        let bomb = try Made.by("head -c 64M /dev/zero | zstd -q -c >p; for i in $(seq 20); do cat p; done >out")
        let image = try await server.imported(bomb)
        #expect(image["status"] == "queued")
        #expect(try await server.failure(of: image)?.contains("times its size") == true)
        let id = try #require(image["id"]?.stringValue)
        _ = try await eventually("its bytes are erased") {
            let files = try FileManager.default.subpathsOfDirectory(atPath: server.directory + "/stores")
            let sizes = files.map {
                // One that is gone meanwhile has none.
                (try? FileManager.default.attributesOfItem(atPath: server.directory + "/stores/" + $0))?[.size] as? Int
                    ?? 0
            }
            return sizes.allSatisfy { $0 < 256 << 20 } ? true : nil
        }
        #expect(try await server.call(.DELETE, "/image/v2/images/\(id)", as: server.demo).status == 204)
    }

    @Test func propertiesAreInjectedButNotForTheAdministrator() async throws {
        let more = #", "os_distro": "mine""#
        let image = try await server.imported([1, 2, 3], more: more)
        #expect(image["os_distro"] == "unknown" && image["imported"] == "yes")
        let trusted = try await server.imported([1, 2, 3], more: more, as: server.admin)
        #expect(trusted["os_distro"] == "mine" && trusted["imported"] == nil)
    }
}

/// Conversion, as clients see it.
@Suite(
    .server {
        $0.image?.settings.imports.plugins.order = [.decompression, .conversion]
        $0.image?.settings.imports.plugins.outputFormat = .qcow2
    }) struct ImportConversionTests
{
    private var server: TestServer { TestServer.current }

    @Test func imagesBecomeTheFormatThatTheOperatorWants() async throws {
        let vmdk = try Made.by("truncate -s 2M in; qemu-img convert -f raw -O vmdk in d; gzip -c d >out", of: Made.disk)
        let image = try await server.imported(vmdk, disk: "vmdk")
        #expect(image["status"] == "active")
        #expect(image["disk_format"] == "qcow2" && image["container_format"] == "bare")
        #expect(image["virtual_size"] == .integer(2 << 20))
        let data = try await server.data(of: image)
        #expect(image["size"] == .integer(Int64(data.count)))
        let raw = try Made.by("qemu-img convert -f qcow2 -O raw in out", of: data)
        #expect(raw.prefix(Made.disk.count).elementsEqual(Made.disk.prefix(raw.count)))
    }

    @Test func volumesAreLeftAlone() async throws {
        let volume = try Made.by("mkdir d; cp in d/file; genisoimage -quiet -o out d", of: Made.disk)
        let image = try await server.imported(volume, disk: "iso")
        #expect(image["status"] == "active" && image["disk_format"] == "iso")
        #expect(try await server.data(of: image) == volume)
    }

    @Test func hostileImagesFailBeforeAToolOpensThem() async throws {
        let hostile = try Made.by("qemu-img create -q -f vmdk -o subformat=monolithicFlat out 1M")
        let image = try await server.imported(hostile, disk: "vmdk")
        #expect(image["status"] == "queued")
        #expect(try await server.failure(of: image)?.contains("does not pass for conversion") == true)
    }

    @Test func nothingIsLeftInTheScratchDirectory() async throws {
        let image = try await server.imported(Made.disk + [UInt8](repeating: 0, count: 128))
        #expect(image["status"] == "active" && image["disk_format"] == "qcow2")
        #expect(try FileManager.default.contentsOfDirectory(atPath: server.directory + "/scratch").isEmpty)
    }
}
