import Blobs
import Core
// Where the compiler finds stat(2) once a target sees the C modules of NIO and Foundation.
import CoreFoundation
import Foundation
import Glibc
import NIOCore
import Testing

/// What only the filesystem driver promises: its layout, and what it makes of the disk's troubles.
@Suite struct FileBlobStoreTests {
    private let blob: BlobID = "ab1d8a3e-0000-4000-8000-000000000001"

    private func makeStore(
        _ directory: String, id: StoreID = "local", reserveBytes: Int64 = 0, mayInitialize: Bool = true
    ) throws -> FileBlobStore {
        try FileBlobStore(
            id: id, directory: directory, work: ThreadWorkPool(threadCount: 2), reserveBytes: reserveBytes,
            mayInitialize: mayInitialize)
    }

    private func names(in directory: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: directory).sorted()
    }

    @Test func layoutIsAsDrawn() async throws {
        try await withTemporaryDirectory { directory in
            let root = directory + "/new/store"
            let store = try makeStore(root)
            let writer = try await store.begin(blob, expectedBytes: nil)
            try await writer.write([ByteBuffer(string: "hello")])
            #expect(try names(in: root + "/incoming") == [blob.rawValue])
            try await writer.commit()
            #expect(try names(in: root + "/incoming") == [])
            #expect(try names(in: root) == [".ambrotype-store", "blobs", "incoming"])
            let file = root + "/blobs/ab/" + blob.rawValue
            #expect(try String(contentsOfFile: file, encoding: .utf8) == "hello")
            #expect(try String(contentsOfFile: root + "/.ambrotype-store", encoding: .utf8) == "local\n")
            for (path, mode) in [(root, 0o700), (root + "/blobs/ab", 0o700), (file, 0o600)] {
                let attributes = try FileManager.default.attributesOfItem(atPath: path)
                #expect(attributes[.posixPermissions] as? Int == mode, "\(path)")
            }
        }
    }

    @Test func openedAgainItHasItsBlobs() async throws {
        try await withTemporaryDirectory { directory in
            try await store([1, 2], as: blob, in: try makeStore(directory))
            let reopened = try makeStore(directory, mayInitialize: false)
            #expect(try await contents(of: blob, in: reopened) == [1, 2])
        }
    }

    @Test func abandonedAndErasedBlobsLeaveNoFiles() async throws {
        try await withTemporaryDirectory { directory in
            let store = try makeStore(directory)
            let abandoned = try await store.begin(blob, expectedBytes: 1 << 20)
            await abandoned.abandon()
            #expect(try names(in: directory + "/incoming") == [])
            _ = try await store.begin(blob, expectedBytes: 1 << 20)
            try await ContractTests.store([1], as: "abff", in: store)
            try await store.erase(blob)
            try await store.erase("abff")
            #expect(try names(in: directory + "/incoming") == [])
            #expect(try names(in: directory + "/blobs/ab") == [])
        }
    }

    /// What was claimed for an announced size and not used goes back with the commit.
    @Test func unusedClaimIsReturned() async throws {
        try await withTemporaryDirectory { directory in
            let store = try makeStore(directory)
            let writer = try await store.begin(blob, expectedBytes: 8 << 20)
            try await writer.write([ByteBuffer(bytes: [1])])
            try await writer.commit()
            var status = stat()
            #expect(stat(directory + "/blobs/ab/" + blob.rawValue, &status) == 0)
            #expect(status.st_blocks * 512 < 1 << 20)
        }
    }

    @Test func commitDoesNotReplaceAFileThatAppeared() async throws {
        try await withTemporaryDirectory { directory in
            let store = try makeStore(directory)
            let writer = try await store.begin(blob, expectedBytes: nil)
            try await writer.write([ByteBuffer(string: "mine")])
            let path = directory + "/blobs/ab/" + blob.rawValue
            try FileManager.default.createDirectory(atPath: directory + "/blobs/ab", withIntermediateDirectories: true)
            try "theirs".write(toFile: path, atomically: false, encoding: .utf8)
            await expectBlobError(.alreadyExists) { try await writer.commit() }
            await writer.abandon()
            #expect(try String(contentsOfFile: path, encoding: .utf8) == "theirs")
            #expect(try names(in: directory + "/incoming") == [])
        }
    }

    @Test func shortenedFileIsCorrupt() async throws {
        try await withTemporaryDirectory { directory in
            let store = try makeStore(directory)
            try await ContractTests.store(sampleBytes(10_000, seed: 6), as: blob, in: store)
            let reader = try await store.open(blob)
            #expect(truncate(directory + "/blobs/ab/" + blob.rawValue, 5000) == 0)
            #expect(try await reader.read(offset: 4000, count: 1000).readableBytes == 1000)
            await expectBlobError(.corrupt) { _ = try await reader.read(offset: 4000, count: 1001) }
            await expectBlobError(.corrupt) { _ = try await reader.read(offset: 9999, count: 1) }
            await reader.close()
        }
    }

    @Test func shortenedFileIsNotSent() async throws {
        try await withTemporaryDirectory { directory in
            let store = try makeStore(directory)
            try await ContractTests.store(sampleBytes(10_000, seed: 6), as: blob, in: store)
            let reader = try await store.open(blob)
            let file = try #require(reader.file)
            _ = try await file.load(offset: 0, count: 10_000)
            #expect(truncate(directory + "/blobs/ab/" + blob.rawValue, 5000) == 0)
            #expect(file.regionInMemory(offset: 4000, count: 1000) != nil)
            #expect(file.regionInMemory(offset: 4000, count: 1001) == nil)
            await expectBlobError(.corrupt) { _ = try await file.load(offset: 4000, count: 1001) }
            await expectBlobError(.corrupt) {
                var read = ByteBuffer()
                try file.readInMemory(offset: 4000, count: 1001, into: &read)
            }
            await reader.close()
        }
    }

    /// What is not in memory is known not to be, and loading brings it in.
    @Test func whatIsNotInMemoryIsLoaded() async throws {
        try await withTemporaryDirectory { directory in
            let store = try makeStore(directory)
            try await ContractTests.store(sampleBytes(5 << 20, seed: 6), as: blob, in: store)
            let reader = try await store.open(blob)
            let file = try #require(reader.file)
            let descriptor = open(directory + "/blobs/ab/" + blob.rawValue, O_RDONLY)
            defer { close(descriptor) }
            #expect(posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED) == 0)
            // A file system in memory keeps what it has there.
            let mounts = try String(contentsOfFile: "/proc/self/mounts", encoding: .utf8).split(separator: "\n")
                .map { $0.split(separator: " ") }.filter { directory.hasPrefix($0[1]) }
            let isInMemory = mounts.max { $0[1].count < $1[1].count }?[2] == "tmpfs"
            #expect((file.regionInMemory(offset: 0, count: 5 << 20) != nil) == isInMemory)
            _ = try await file.load(offset: 1 << 20, count: 1 << 20)
            #expect(file.regionInMemory(offset: 1 << 20, count: 1 << 20) != nil)
            await reader.close()
        }
    }

    @Test(arguments: ["", "a", "../../etc/passwd", "ab/cd", "AB12", "-12", "ab\0", String(repeating: "a", count: 65)])
    func namesThatAreNoIDsAreRefused(_ name: String) async throws {
        try await withTemporaryDirectory { directory in
            let store = try makeStore(directory)
            await expectBlobError(.corrupt) { _ = try await store.begin(BlobID(name), expectedBytes: nil) }
            await expectBlobError(.corrupt) { _ = try await store.open(BlobID(name)) }
            await expectBlobError(.corrupt) { try await store.erase(BlobID(name)) }
        }
    }

    @Test func readersAndWritersGiveTheirFilesBack() async throws {
        try await withTemporaryDirectory { directory in
            let store = try makeStore(directory)
            try await ContractTests.store([1], as: blob, in: store)
            func openFiles() throws -> Int {
                try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").filter {
                    let path = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/" + $0)
                    return path?.hasPrefix(directory) ?? false
                }.count
            }
            let kept = try await store.open(blob)
            #expect(try openFiles() == 1)
            for number in 0..<10 {
                let reader = try await store.open(blob)
                _ = try await reader.read(offset: 0, count: 1)
                if number.isMultiple(of: 2) { await reader.close() }
                _ = try await store.begin(BlobID("cc0\(number)"), expectedBytes: nil)
            }
            #expect(try openFiles() == 1)
            await kept.close()
            #expect(try openFiles() == 0)
        }
    }

    // MARK: A directory that is not the store

    @Test func missingMarkerMeansUnavailable() async throws {
        try await withTemporaryDirectory { directory in
            let root = directory + "/store"
            let store = try makeStore(root)
            try await ContractTests.store([1], as: blob, in: store)
            let writer = try await store.begin("cd00", expectedBytes: nil)
            try await writer.write([ByteBuffer(bytes: [1])])

            // As when the disk is unmounted: an empty directory stands there.
            #expect(rename(root, directory + "/away") == 0)
            #expect(mkdir(root, 0o700) == 0)
            await expectBlobError(.unavailable) { _ = try await store.open(blob) }
            await expectBlobError(.unavailable) { _ = try await store.begin("ef00", expectedBytes: nil) }
            await expectBlobError(.unavailable) { try await store.erase(blob) }
            await expectBlobError(.unavailable) { _ = try await store.space() }
            await expectBlobError(.unavailable) { try await writer.commit() }
            #expect(throws: BlobError.self) { try makeStore(root, mayInitialize: false) }
            #expect(try names(in: root) == [])

            #expect(rmdir(root) == 0)
            await expectBlobError(.unavailable) { _ = try await store.space() }
            #expect(rename(directory + "/away", root) == 0)
            #expect(try await contents(of: blob, in: store) == [1])
        }
    }

    @Test func directoryOfAnotherStoreIsRefused() async throws {
        try await withTemporaryDirectory { directory in
            let store = try makeStore(directory, id: "local")
            #expect(throws: BlobError.self) { try makeStore(directory, id: "other") }
            try "other\n".write(toFile: directory + "/.ambrotype-store", atomically: true, encoding: .utf8)
            await expectBlobError(.unavailable) { _ = try await store.space() }
        }
    }

    @Test func directoryWithOtherFilesIsRefused() async throws {
        try await withTemporaryDirectory { directory in
            try "mine".write(toFile: directory + "/letter.txt", atomically: true, encoding: .utf8)
            #expect(throws: BlobError.self) { try makeStore(directory) }
            #expect(try names(in: directory) == ["letter.txt"])
        }
    }

    /// A crash can fall between any two steps of the first start.
    @Test(arguments: [[], ["incoming"], ["incoming", "blobs"]])
    func interruptedInitializationIsFinished(_ made: [String]) async throws {
        try await withTemporaryDirectory { directory in
            for name in made { #expect(mkdir(directory + "/" + name, 0o700) == 0) }
            if made.count == 2 {
                try "loc".write(toFile: directory + "/.ambrotype-store.new", atomically: false, encoding: .utf8)
            }
            let store = try makeStore(directory)
            try await ContractTests.store([1], as: blob, in: store)
            #expect(try names(in: directory) == [".ambrotype-store", "blobs", "incoming"])
        }
    }

    @Test func reserveStaysFree() async throws {
        try await withTemporaryDirectory { directory in
            let store = try makeStore(directory)
            let free = try await store.space().freeBytes
            let reserving = try makeStore(directory, reserveBytes: free * 2)
            #expect(try await reserving.space().freeBytes == 0)
            await expectBlobError(.full) { _ = try await reserving.begin(blob, expectedBytes: nil) }
        }
    }

    // MARK: A small disk

    /// A tmpfs of 16 MiB, mounted for the test alone.
    private func withSmallDisk(_ body: (String) async throws -> Void) async throws {
        try await withTemporaryDirectory { directory in
            try SmallDisk.mount(directory)
            do {
                try await body(directory)
            } catch {
                try SmallDisk.unmount(directory)
                throw error
            }
            try SmallDisk.unmount(directory)
        }
    }

    @Test(.enabled(if: SmallDisk.isPossible, "mounting a tmpfs takes root"))
    func fullDiskIsToldAndSpaceComesBack() async throws {
        try await withSmallDisk { directory in
            let store = try makeStore(directory)
            let free = try await store.space().freeBytes
            await expectBlobError(.full) { _ = try await store.begin(blob, expectedBytes: free + 1) }

            let writer = try await store.begin(blob, expectedBytes: nil)
            let megabyte = ByteBuffer(bytes: sampleBytes(1 << 20, seed: 7))
            await expectBlobError(.full) {
                for _ in 0..<17 { try await writer.write([megabyte]) }
            }
            // The blob is spoilt: nothing but the way back is left.
            await expectBlobError(.full) { try await writer.write([ByteBuffer(bytes: [1])]) }
            await expectBlobError(.full) { try await writer.commit() }
            await expectBlobError(.notFound) { _ = try await store.open(blob) }
            await writer.abandon()
            #expect(try await store.space().freeBytes == free)
            try await ContractTests.store([1], as: blob, in: store)
        }
    }

    @Test(.enabled(if: SmallDisk.isPossible, "mounting a tmpfs takes root"))
    func announcedSizeIsClaimedAtOnce() async throws {
        try await withSmallDisk { directory in
            let store = try makeStore(directory)
            let free = try await store.space().freeBytes
            let first = try await store.begin(blob, expectedBytes: free - 4 << 20)
            await expectBlobError(.full) { _ = try await store.begin("cd00", expectedBytes: 8 << 20) }
            await first.abandon()
            #expect(try await store.space().freeBytes == free)
            let second = try await store.begin("cd00", expectedBytes: 8 << 20)
            await second.abandon()
        }
    }

    /// Root does not notice a directory's mode, but it does notice how the disk is mounted.
    @Test(.enabled(if: SmallDisk.isPossible, "mounting a tmpfs takes root"))
    func readOnlyDiskServesButTakesNothing() async throws {
        try await withSmallDisk { directory in
            let store = try makeStore(directory)
            try await ContractTests.store([1, 2], as: blob, in: store)
            try SmallDisk.makeReadOnly(directory)
            #expect(try await contents(of: blob, in: store) == [1, 2])
            await expectBlobError(.readOnly) { _ = try await store.begin("cd00", expectedBytes: 1) }
            await expectBlobError(.readOnly) { try await store.erase(blob) }
            #expect(try await contents(of: blob, in: store) == [1, 2])
            #expect { try makeStore(directory) } throws: { ($0 as? BlobError)?.code == .readOnly }
        }
    }
}

enum SmallDisk {
    struct Failure: Error { let code: Int32 }

    /// Whether this process may mount: not only whether it is root, since containers take that away.
    static let isPossible: Bool = {
        guard geteuid() == 0 else { return false }
        let path = NSTemporaryDirectory() + "ambrotype-mount-" + UUID().uuidString
        guard mkdir(path, 0o700) == 0 else { return false }
        defer { rmdir(path) }
        guard Glibc.mount("tmpfs", path, "tmpfs", 0, "size=64k") == 0 else { return false }
        return umount(path) == 0
    }()

    static func mount(_ path: String) throws {
        guard Glibc.mount("tmpfs", path, "tmpfs", 0, "size=16m,mode=0700") == 0 else { throw Failure(code: errno) }
    }

    static func makeReadOnly(_ path: String) throws {
        let flags = UInt(MS_REMOUNT) | UInt(MS_RDONLY)
        guard Glibc.mount("tmpfs", path, "tmpfs", flags, "size=16m,mode=0700") == 0 else { throw Failure(code: errno) }
    }

    static func unmount(_ path: String) throws {
        guard umount2(path, Int32(MNT_DETACH)) == 0 else { throw Failure(code: errno) }
    }
}
