import Compression
import Testing

@Suite struct UnpackTests {
    @Test(arguments: Packer.allCases) func whatTheToolsPackComesOutAgain(_ packer: Packer) async throws {
        let disk = [UInt8].noise(300_000) + [UInt8](repeating: 0, count: 2_000_000) + [UInt8].noise(70_001)
        for content in [[], [7], Array(disk.prefix(65_536)), disk] {
            let packed = try packer.pack(content)
            #expect(PackedFormat(beginning: Array(packed.prefix(7))) == packer.format)
            for (input, output) in [(1 << 20, 4 << 20), (64 << 10, 65_536), (4096, 1 << 20), (333, 777)] {
                let unpacked = try await Unpacking.unpack(packed, inputBytes: input, outputBytes: output)
                #expect(unpacked == content, "\(content.count) bytes by \(input) and \(output)")
            }
        }
        let packed = try packer.pack(Array(disk.prefix(3000)))
        #expect(try await Unpacking.unpack(packed, inputBytes: 1, outputBytes: 1) == Array(disk.prefix(3000)))
    }

    @Test func itIsTheBytesThatTellTheFormatAndNothingElse() throws {
        #expect(PackedFormat(beginning: []) == nil)
        #expect(PackedFormat(beginning: [0x1f, 0x8b]) == nil)
        #expect(PackedFormat(beginning: [0x1f, 0x8b, 0x07, 0, 0, 0, 0]) == nil)
        #expect(PackedFormat(beginning: Array("QFI\u{fb}...".utf8.prefix(7))) == nil)
        #expect(PackedFormat(beginning: [0x50, 0x4b, 0x05, 0x06, 0, 0, 0]) == nil)
        #expect(PackedFormat(beginning: [9, 9] + Array("-lh5-".utf8)) == .lha)
        #expect(PackedFormat(beginning: [0x5a, 0x2a, 0x4d, 0x18, 0, 0, 0]) == .zstd)
    }

    @Test func lhaIsRefusedInSoManyWords() async throws {
        #expect(try await Unpacking.error([9, 9] + Array("-lh5-".utf8) + .noise(100)) == .unsupported)
    }

    @Test(arguments: [Packer.gzip, .xz, .zstd]) func membersThatFollowEachOtherAreOneFile(_ packer: Packer) async throws
    {
        let parts = [[UInt8].noise(70_000), [], [1, 2, 3]]
        let packed = try parts.flatMap { try packer.pack($0) }
        for input in [1, 100, 1 << 20] {
            #expect(try await Unpacking.unpack(packed, inputBytes: input) == Array(parts.joined()))
        }
    }

    @Test func paddingIsTakenWhereTheToolsTakeIt() async throws {
        let content = [UInt8].noise(1000)
        let zeros = [UInt8](repeating: 0, count: 512)
        #expect(try await Unpacking.unpack(try Packer.gzip.pack(content) + zeros) == content)
        #expect(try await Unpacking.unpack(try Packer.xz.pack(content) + zeros) == content)
        #expect(try await Unpacking.error(try Packer.gzip.pack(content) + zeros + [1]) == .trailingBytes)
        #expect(try await Unpacking.error(try Packer.xz.pack(content) + zeros + [0]) != nil)
        #expect(try await Unpacking.error(try Packer.zstd.pack(content) + zeros) == .trailingBytes)
    }

    @Test func skippedFramesAreSkipped() async throws {
        let content = [UInt8].noise(1000)
        let skipped: [UInt8] = [0x50, 0x2a, 0x4d, 0x18, 5, 0, 0, 0, 1, 2, 3, 4, 5]
        let packed = try skipped + Packer.zstd.pack(content) + skipped
        for input in [1, 5, 1 << 20] { #expect(try await Unpacking.unpack(packed, inputBytes: input) == content) }
    }

    @Test(arguments: Packer.allCases) func whatIsCutShortIsRefusedWhereverItIsCut(_ packer: Packer) async throws {
        let packed = try packer.pack(Array(repeatElement([UInt8].noise(40), count: 20).joined()))
        for length in 7..<packed.count {
            let error = try await Unpacking.error(Array(packed.prefix(length)))
            #expect(
                error == .cutShort || packer == .zip && error != nil, "\(length) of \(packed.count): \(error as Any)")
        }
    }

    @Test(arguments: Packer.allCases) func whatFollowsIsRefused(_ packer: Packer) async throws {
        let packed = try packer.pack(.noise(1000))
        for tail in [[1], [UInt8].noise(20), Array("<html>".utf8), [0x1f], [0x1f, 0x8b, 0x08], [0x28]] {
            #expect(try await Unpacking.error(packed + tail) != nil, "\(tail)")
        }
        let expected: UnpackError.Code =
            switch packer {
            case .gzip, .zstd: .trailingBytes
            case .xz: .damaged
            case .zip: .cutShort
            }
        #expect(try await Unpacking.error(packed + .noise(5000)) == expected)
    }

    @Test(arguments: Packer.allCases) func noChangedByteChangesWhatComesOut(_ packer: Packer) async throws {
        let content = Array(repeatElement([UInt8].noise(40), count: 20).joined())
        let packed = try packer.pack(content)
        var refused = 0
        for index in packed.indices {
            for bit in [UInt8(1), 0x80, 0xff] {
                var changed = packed
                changed[index] ^= bit
                do {
                    // Some bytes say nothing of the content: a name, a time.
                    let unpacked = try await Unpacking.unpack(changed)
                    #expect(unpacked == content, "byte \(index), \(bit)")
                } catch is UnpackError {
                    refused += 1
                } catch is Unpacking.NotPacked {
                    refused += 1
                }
            }
        }
        #expect(refused > packed.count)
    }

    @Test func framesOfFormatsBeforeTheFirstVersionAreNotTaken() async throws {
        let old: [UInt8] = [0x27, 0xb5, 0x2f, 0xfd] + .noise(100)
        #expect(try await Unpacking.error(try Packer.zstd.pack([1]) + old) == .trailingBytes)
        await #expect(throws: Unpacking.NotPacked.self) { try await Unpacking.unpack(old) }
    }

    @Test func anArchiveInAnArchiveStaysOne() async throws {
        for outer in Packer.allCases {
            for inner in Packer.allCases {
                let content = try inner.pack([1, 2, 3])
                #expect(try await Unpacking.unpack(try outer.pack(content)) == content)
            }
        }
    }
}
