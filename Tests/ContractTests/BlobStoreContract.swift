import Blobs
import Core
import Glibc
import NIOCore
import Testing
import Trust

/// An implementation of `BlobStore` under contract. A new driver joins by standing in `all`.
struct StoreUnderTest: Sendable, CustomTestStringConvertible {
    let testDescription: String
    /// Makes a store whose bytes live in `directory`, or in a place named after it.
    let make: @Sendable (_ directory: String) throws -> any BlobStore

    static let all = [
        StoreUnderTest(testDescription: "files") { directory in
            try FileBlobStore(id: "local", directory: directory + "/store", work: ThreadWorkPool(), reserveBytes: 0)
        }
    ]

    func withStore(_ body: (any BlobStore) async throws -> Void) async throws {
        try await withTemporaryDirectory { try await body(try make($0)) }
    }
}

/// Bytes that look random and are the same for the same seed (xorshift64*).
func sampleBytes(_ count: Int, seed: UInt64) -> [UInt8] {
    var state = seed &* 0x9E37_79B9_7F4A_7C15 | 1
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count + 8)
    while bytes.count < count {
        state ^= state >> 12
        state ^= state << 25
        state ^= state >> 27
        withUnsafeBytes(of: (state &* 0x2545_F491_4F6C_DD1D).littleEndian) { bytes.append(contentsOf: $0) }
    }
    return Array(bytes.prefix(count))
}

func expectBlobError(
    _ code: BlobError.Code, at location: SourceLocation = #_sourceLocation, _ body: () async throws -> Void
) async {
    do {
        try await body()
        Issue.record("expected \(code), nothing was thrown", sourceLocation: location)
    } catch let error as BlobError {
        #expect(error.code == code, "\(error)", sourceLocation: location)
    } catch {
        Issue.record("expected a BlobError, got \(error)", sourceLocation: location)
    }
}

/// Writes and commits a blob in one go.
func store(_ bytes: [UInt8], as blob: BlobID, in store: any BlobStore) async throws {
    let writer = try await store.begin(blob, expectedBytes: Int64(bytes.count))
    try await writer.write([ByteBuffer(bytes: bytes)])
    try await writer.commit()
}

func contents(of blob: BlobID, in store: any BlobStore) async throws -> [UInt8] {
    let reader = try await store.open(blob)
    let bytes = try await reader.read(offset: 0, count: Int(reader.sizeBytes))
    await reader.close()
    return Array(bytes.readableBytesView)
}

/// What `BlobStore` promises, held against every implementation.
@Suite struct BlobStoreContract {
    private let blob: BlobID = "5f1d8a3e-0000-4000-8000-000000000001"

    @Test(arguments: StoreUnderTest.all)
    func nothingIsVisibleBeforeCommit(_ kind: StoreUnderTest) async throws {
        try await kind.withStore { store in
            let writer = try await store.begin(blob, expectedBytes: 3)
            await expectBlobError(.notFound) { _ = try await store.open(blob) }
            try await writer.write([ByteBuffer(bytes: [1, 2, 3])])
            await expectBlobError(.notFound) { _ = try await store.open(blob) }
            try await writer.commit()
            #expect(try await contents(of: blob, in: store) == [1, 2, 3])
        }
    }

    @Test(arguments: StoreUnderTest.all)
    func abandonedBlobIsGoneAndMayBeBegunAgain(_ kind: StoreUnderTest) async throws {
        try await kind.withStore { store in
            let writer = try await store.begin(blob, expectedBytes: nil)
            try await writer.write([ByteBuffer(bytes: [1, 2, 3])])
            await writer.abandon()
            await expectBlobError(.notFound) { _ = try await store.open(blob) }
            try await ContractTests.store([4, 5], as: blob, in: store)
            #expect(try await contents(of: blob, in: store) == [4, 5])
        }
    }

    @Test(arguments: StoreUnderTest.all)
    func abandonAfterCommitDoesNothing(_ kind: StoreUnderTest) async throws {
        try await kind.withStore { store in
            let writer = try await store.begin(blob, expectedBytes: nil)
            try await writer.write([ByteBuffer(bytes: [7])])
            try await writer.commit()
            await writer.abandon()
            #expect(try await contents(of: blob, in: store) == [7])
        }
    }

    @Test(arguments: StoreUnderTest.all)
    func eraseTakesBackTheCommittedAndMayBeRepeated(_ kind: StoreUnderTest) async throws {
        try await kind.withStore { store in
            try await store.erase(blob)
            try await ContractTests.store([1], as: blob, in: store)
            try await store.erase(blob)
            await expectBlobError(.notFound) { _ = try await store.open(blob) }
            try await store.erase(blob)
        }
    }

    @Test(arguments: StoreUnderTest.all)
    func eraseTakesBackTheUncommitted(_ kind: StoreUnderTest) async throws {
        try await kind.withStore { store in
            let writer = try await store.begin(blob, expectedBytes: nil)
            try await writer.write([ByteBuffer(bytes: [1, 2, 3])])
            try await store.erase(blob)
            // The writer cannot bring back what was erased.
            await expectBlobError(.unavailable) { try await writer.commit() }
            await expectBlobError(.notFound) { _ = try await store.open(blob) }
        }
    }

    @Test(arguments: StoreUnderTest.all)
    func droppedWriterLeavesNothingVisible(_ kind: StoreUnderTest) async throws {
        try await kind.withStore { store in
            do {
                let writer = try await store.begin(blob, expectedBytes: 1 << 20)
                try await writer.write([ByteBuffer(bytes: [1, 2, 3])])
            }
            await expectBlobError(.notFound) { _ = try await store.open(blob) }
            try await store.erase(blob)
            try await ContractTests.store([9], as: blob, in: store)
            #expect(try await contents(of: blob, in: store) == [9])
        }
    }

    @Test(arguments: StoreUnderTest.all)
    func blobIsWrittenOnce(_ kind: StoreUnderTest) async throws {
        try await kind.withStore { store in
            try await ContractTests.store([1, 2, 3], as: blob, in: store)
            await expectBlobError(.alreadyExists) {
                try await ContractTests.store([4, 5, 6], as: blob, in: store)
            }
            #expect(try await contents(of: blob, in: store) == [1, 2, 3])
        }
    }

    @Test(arguments: StoreUnderTest.all)
    func ofTwoWritersOfOneBlobOneWins(_ kind: StoreUnderTest) async throws {
        try await kind.withStore { store in
            let outcomes = try await withThrowingTaskGroup(of: UInt8?.self) { group in
                for value in UInt8(1)...8 {
                    group.addTask {
                        do {
                            try await ContractTests.store([value], as: blob, in: store)
                            return value
                        } catch let error as BlobError where error.code == .alreadyExists {
                            return nil
                        }
                    }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            let winners = outcomes.compactMap(\.self)
            #expect(winners.count == 1)
            #expect(try await contents(of: blob, in: store) == winners)
        }
    }

    @Test(arguments: StoreUnderTest.all)
    func readerSurvivesErase(_ kind: StoreUnderTest) async throws {
        try await kind.withStore { store in
            let bytes = sampleBytes(300_000, seed: 1)
            try await ContractTests.store(bytes, as: blob, in: store)
            let reader = try await store.open(blob)
            _ = try await reader.read(offset: 0, count: 10)
            try await store.erase(blob)
            let rest = try await reader.read(offset: 10, count: bytes.count)
            #expect(rest.readableBytesView.elementsEqual(bytes.dropFirst(10)))
            await reader.close()
            await expectBlobError(.notFound) { _ = try await store.open(blob) }
        }
    }

    @Test(arguments: StoreUnderTest.all)
    func readsAnyRange(_ kind: StoreUnderTest) async throws {
        try await kind.withStore { store in
            let bytes = sampleBytes(100_000, seed: 2)
            try await ContractTests.store(bytes, as: blob, in: store)
            let reader = try await store.open(blob)
            #expect(reader.sizeBytes == 100_000)
            let ranges: [(offset: Int, count: Int)] = [
                (0, 0), (0, 1), (0, 100_000), (0, 100_001), (1, 4096), (4095, 2), (99_999, 1), (99_999, 2),
                (100_000, 0), (100_000, 1), (500_000, 10), (50_000, 1 << 30),
            ]
            for (offset, count) in ranges {
                let read = try await reader.read(offset: Int64(offset), count: count)
                #expect(
                    read.readableBytesView.elementsEqual(bytes.dropFirst(offset).prefix(count)),
                    "offset \(offset) count \(count)")
            }
            await reader.close()
        }
    }

    /// Where a store offers the file itself, it is the blob, in parts of any size.
    @Test(arguments: StoreUnderTest.all)
    func aFileToSendFromIsTheBlob(_ kind: StoreUnderTest) async throws {
        try await kind.withStore { store in
            let bytes = sampleBytes(3 << 20, seed: 8)
            try await ContractTests.store(bytes, as: blob, in: store)
            let reader = try await store.open(blob)
            guard let file = reader.file else { return await reader.close() }
            try await store.erase(blob)
            var read = ByteBuffer(string: "what the buffer held before")
            for (offset, count) in [(0, 1), (0, bytes.count), (4095, 2), (1 << 20, 2 << 20), (bytes.count - 1, 1)] {
                let region = try await file.load(offset: Int64(offset), count: count)
                #expect(region.readerIndex == offset && region.readableBytes == count)
                // Loaded a moment ago; nothing pushes it out so soon.
                #expect(file.regionInMemory(offset: Int64(offset), count: count) == region)
                let sent = try region.fileHandle.withUnsafeFileDescriptor { number in
                    [UInt8](unsafeUninitializedCapacity: count) { space, filled in
                        filled = max(0, pread(number, space.baseAddress, count, off_t(offset)))
                    }
                }
                #expect(sent.elementsEqual(bytes[offset..<offset + count]))
                let earlier = read
                try file.readInMemory(offset: Int64(offset), count: count, into: &read)
                #expect(read.readableBytesView.elementsEqual(bytes[offset..<offset + count]))
                #expect(!earlier.readableBytesView.isEmpty && earlier != read)
            }
            await reader.close()
            #expect(reader.file == nil)
        }
    }

    @Test(arguments: StoreUnderTest.all)
    func severalTasksReadAtOnce(_ kind: StoreUnderTest) async throws {
        try await kind.withStore { store in
            let bytes = sampleBytes(1 << 20, seed: 3)
            try await ContractTests.store(bytes, as: blob, in: store)
            let reader = try await store.open(blob)
            try await withThrowingTaskGroup(of: Void.self) { group in
                for part in 0..<16 {
                    group.addTask {
                        let read = try await reader.read(offset: Int64(part << 16), count: 1 << 16)
                        #expect(read.readableBytesView.elementsEqual(bytes[part << 16..<(part + 1) << 16]))
                    }
                }
                try await group.waitForAll()
            }
            await reader.close()
        }
    }

    @Test(arguments: StoreUnderTest.all, [Int64?.none, 0])
    func emptyBlobIsABlob(_ kind: StoreUnderTest, expectedBytes: Int64?) async throws {
        try await kind.withStore { store in
            let writer = try await store.begin(blob, expectedBytes: expectedBytes)
            try await writer.write([])
            try await writer.write([ByteBuffer()])
            try await writer.commit()
            let reader = try await store.open(blob)
            #expect(reader.sizeBytes == 0)
            #expect(try await reader.read(offset: 0, count: 1).readableBytes == 0)
            await reader.close()
        }
    }

    /// The size a client announced is not what decides.
    @Test(arguments: StoreUnderTest.all, [Int64(1), 5_000_000])
    func blobMayDifferFromItsExpectedSize(_ kind: StoreUnderTest, expectedBytes: Int64) async throws {
        try await kind.withStore { store in
            let bytes = sampleBytes(70_000, seed: 4)
            let writer = try await store.begin(blob, expectedBytes: expectedBytes)
            try await writer.write([ByteBuffer(bytes: bytes)])
            try await writer.commit()
            #expect(try await contents(of: blob, in: store) == bytes)
        }
    }

    @Test(arguments: StoreUnderTest.all)
    func writersAtOnceDoNotMix(_ kind: StoreUnderTest) async throws {
        try await kind.withStore { store in
            try await withThrowingTaskGroup(of: Void.self) { group in
                for number in UInt64(0)..<8 {
                    group.addTask {
                        let id = BlobID("0\(number)aa0000-0000-4000-8000-000000000000")
                        let bytes = sampleBytes(4 << 20, seed: 100 + number)
                        let writer = try await store.begin(id, expectedBytes: nil)
                        for start in stride(from: 0, to: bytes.count, by: 1 << 16) {
                            try await writer.write([ByteBuffer(bytes: bytes[start..<start + 1 << 16])])
                        }
                        try await writer.commit()
                        let stored = try await contents(of: id, in: store)
                        #expect(Digest.of(stored, .sha256) == Digest.of(bytes, .sha256))
                    }
                }
                try await group.waitForAll()
            }
        }
    }

    /// Past every threshold of early write-back, in pieces of every kind: many in one call, empty
    /// ones, slices that do not begin where their storage does.
    @Test(arguments: StoreUnderTest.all, [true, false])
    func bigBlobHasTheDigestOfItsBytes(_ kind: StoreUnderTest, isSizeKnown: Bool) async throws {
        try await kind.withStore { store in
            let megabyte = sampleBytes(1 << 20, seed: 5)
            let whole = ByteBuffer(bytes: megabyte)
            let total = 72 << 20 + 12_345
            let expected = Digest(.sha512)
            let writer = try await store.begin(blob, expectedBytes: isSizeKnown ? Int64(total) : nil)
            var written = 0
            var step = 0
            while written < total {
                step += 1
                var pieces = [ByteBuffer()]
                let count = step.isMultiple(of: 7) ? 3000 : 5
                for piece in 0..<count where written < total {
                    let size = min(count == 5 ? (200_000 + 7919 * piece) : 17 + piece, total - written)
                    let start = (step * 31 + piece * 101) % (megabyte.count - size)
                    guard let slice = whole.getSlice(at: start, length: size) else {
                        Issue.record("no slice at \(start)")
                        return
                    }
                    slice.withUnsafeReadableBytes { expected.update($0) }
                    pieces.append(slice)
                    written += size
                }
                try await writer.write(pieces)
            }
            try await writer.commit()

            let actual = Digest(.sha512)
            let reader = try await store.open(blob)
            #expect(reader.sizeBytes == Int64(total))
            for offset in stride(from: 0, to: reader.sizeBytes, by: 3_000_001) {
                try await reader.read(offset: offset, count: 3_000_001).withUnsafeReadableBytes { actual.update($0) }
            }
            await reader.close()
            #expect(actual.finish() == expected.finish())
        }
    }

    @Test(arguments: StoreUnderTest.all)
    func spaceTellsRoom(_ kind: StoreUnderTest) async throws {
        try await kind.withStore { store in
            let space = try await store.space()
            #expect(space.freeBytes > 0)
            #expect(space.totalBytes >= space.freeBytes)
            await expectBlobError(.full) { _ = try await store.begin(blob, expectedBytes: .max) }
            await expectBlobError(.full) { _ = try await store.begin(blob, expectedBytes: space.totalBytes + 1) }
            // A refusal leaves nothing behind that would stand in the way.
            try await ContractTests.store([1], as: blob, in: store)
        }
    }
}
