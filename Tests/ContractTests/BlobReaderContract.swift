import Blobs
import Core
import NIOCore
import Testing

/// Something that gives a `BlobReader`, under contract: the reading half of `BlobStoreContract`, which what is only
/// read has to keep as well.
struct ReaderUnderTest: Sendable, CustomTestStringConvertible {
    let testDescription: String
    /// Opens a blob with these bytes; what it needs lives in the directory.
    let open: @Sendable (_ bytes: [UInt8], _ directory: String) async throws -> any BlobReader

    static let all = [
        ReaderUnderTest(testDescription: "files") { bytes, directory in
            let store = try FileBlobStore(
                id: "local", directory: directory + "/store", work: ThreadWorkPool(), reserveBytes: 0)
            try await ContractTests.store(bytes, as: "5f1d8a3e-0000-4000-8000-000000000002", in: store)
            return try await store.open("5f1d8a3e-0000-4000-8000-000000000002")
        },
        ReaderUnderTest(testDescription: "other servers") { bytes, _ in
            try await remote(.bytes(bytes), bytes.count)
        },
        ReaderUnderTest(testDescription: "other servers that do not say how much comes") { bytes, _ in
            try await remote(.unsized(bytes), bytes.count)
        },
    ]

    static func remote(_ answer: ServedContent.Answer, _ count: Int) async throws -> any BlobReader {
        let store = RemoteStore(id: "web", source: ServedContent(["http://a/b": answer]))
        return try await store.open("http://a/b", sizeBytes: Int64(count))
    }

    func with(_ bytes: [UInt8], _ body: (any BlobReader) async throws -> Void) async throws {
        try await withTemporaryDirectory { directory in
            let reader = try await open(bytes, directory)
            try await body(reader)
            await reader.close()
        }
    }
}

@Suite struct BlobReaderContract {
    private let bytes = sampleBytes(200_000, seed: 5)

    private func read(_ reader: any BlobReader, _ offset: Int, _ count: Int) async throws -> [UInt8] {
        Array(try await reader.read(offset: Int64(offset), count: count).readableBytesView)
    }

    @Test(arguments: ReaderUnderTest.all)
    func allBytesComeInOrder(_ kind: ReaderUnderTest) async throws {
        try await kind.with(bytes) { reader in
            #expect(reader.sizeBytes == 200_000)
            var all: [UInt8] = []
            while all.count < bytes.count { all += try await read(reader, all.count, 7777) }
            #expect(all == bytes)
        }
    }

    @Test(arguments: ReaderUnderTest.all)
    func anyPartCanBeRead(_ kind: ReaderUnderTest) async throws {
        try await kind.with(bytes) { reader in
            for (offset, count) in [(0, 1), (100_000, 10), (3, 5000), (199_990, 10), (5003, 100), (0, 200_000)] {
                let part1 = try await read(reader, offset, count)
                #expect(part1 == Array(bytes[offset..<offset + count]))
            }
        }
    }

    @Test(arguments: ReaderUnderTest.all)
    func whatIsBehindTheEndIsCutOff(_ kind: ReaderUnderTest) async throws {
        try await kind.with(bytes) { reader in
            let part2 = try await read(reader, 199_999, 1000)
            #expect(part2 == [bytes[199_999]])
            let part3 = try await read(reader, 200_000, 1000)
            #expect(part3 == [])
            let part4 = try await read(reader, 200_001, 1)
            #expect(part4 == [])
        }
    }

    @Test(arguments: ReaderUnderTest.all)
    func severalMayReadAtOnce(_ kind: ReaderUnderTest) async throws {
        let bytes = bytes
        try await kind.with(bytes) { reader in
            try await withThrowingTaskGroup(of: Void.self) { group in
                for start in stride(from: 0, to: 200_000, by: 20_000) {
                    group.addTask {
                        var position = start
                        while position < start + 20_000 {
                            let part = try await reader.read(offset: Int64(position), count: 3000)
                            #expect(
                                Array(part.readableBytesView) == Array(bytes[position..<position + part.readableBytes]))
                            position += part.readableBytes
                        }
                    }
                }
                try await group.waitForAll()
            }
        }
    }

    @Test func anotherSizeThanPromisedIsCorrupt() async throws {
        await expectBlobError(.corrupt) { _ = try await ReaderUnderTest.remote(.bytes([1, 2, 3]), 4) }
        for count in [2, 4] {
            let reader = try await ReaderUnderTest.remote(.unsized([1, 2, 3]), count)
            await expectBlobError(.corrupt) { _ = try await reader.read(offset: 0, count: count) }
        }
    }

    @Test func aServerThatIsAwayIsUnavailable() async throws {
        await expectBlobError(.unavailable) { _ = try await ReaderUnderTest.remote(.down, 4) }
        await expectBlobError(.unavailable) { _ = try await ReaderUnderTest.remote(.gone, 4) }
        let reader = try await ReaderUnderTest.remote(.cutShort([1, 2, 3], after: 1), 3)
        await expectBlobError(.unavailable) { _ = try await reader.read(offset: 0, count: 3) }
    }
}
