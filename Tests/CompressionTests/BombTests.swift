import Compression
import Foundation
import Testing

/// What is small and would become endless. One at a time, for the memory of the process is looked at.
@Suite(.serialized) struct BombTests {
    /// Ten gibibytes of zeros.
    @Test(arguments: [Packer.gzip, .xz, .zstd]) func zerosStopSoonAfterWhatIsFree(_ packer: Packer) async throws {
        let bomb = try packer.zeros(mebibytes: 10 << 10)
        #expect(bomb.count < 16 << 20)
        let (code, produced, grown) = try await run(bomb, UnpackLimits())
        #expect(code == .tooDense)
        #expect(produced <= 2 << 30)
        #expect(grown < 64 << 20, "\(grown) bytes of memory")
    }

    @Test func zerosInAZipArchiveStopToo() async throws {
        var limits = UnpackLimits()
        limits.freeBytes = 16 << 20
        let (code, produced, _) = try await run(try Packer.zip.zeros(mebibytes: 256), limits)
        #expect(code == .tooDense)
        #expect(produced <= 17 << 20)
    }

    @Test(arguments: Packer.allCases) func whatIsDenseButSmallIsTaken(_ packer: Packer) async throws {
        let (code, produced, _) = try await run(try packer.zeros(mebibytes: 64), UnpackLimits())
        #expect(code == nil)
        #expect(produced == 64 << 20)
    }

    @Test func dictionariesThatAreTooLargeAreRefusedBeforeTheyAreMade() async throws {
        // The size of an LZMA2 dictionary: (2 | bit 0) << (rest / 2 + 11); 40 is the largest, 4 GiB.
        for (size, isTaken) in [(24, true), (30, true), (31, false), (36, false), (40, false)] {
            let bomb = try xz(dictionary: UInt8(size))
            let (code, _, grown) = try await run(bomb, UnpackLimits())
            #expect(code == (isTaken ? nil : .tooMuchMemory), "\(size)")
            #expect(isTaken || grown < 16 << 20)
        }
    }

    @Test func windowsThatAreTooLargeAreRefusedBeforeTheyAreMade() async throws {
        for (log, isTaken) in [(20, true), (27, true), (28, false), (31, false), (41, false)] {
            // A frame (RFC 8878, 3.1.1) with a window of 1 << log bytes, and in it one raw block of one byte.
            let frame: [UInt8] = [0x28, 0xb5, 0x2f, 0xfd, 0x00, UInt8((log - 10) << 3), 0x09, 0x00, 0x00, 0x61]
            let (code, produced, grown) = try await run(frame, UnpackLimits())
            #expect(code == (isTaken ? nil : .tooMuchMemory), "\(log)")
            #expect(produced == (isTaken ? 1 : 0))
            #expect(isTaken || grown < 16 << 20)
        }
    }

    @Test func aMillionEmptyMembersAreJustSlow() async throws {
        for packer in [Packer.gzip, .zstd] {
            let empty = try packer.pack([])
            let bomb = Array(repeatElement(empty, count: 1_000_000).joined())
            let start = ContinuousClock.now
            let (code, produced, grown) = try await run(bomb, UnpackLimits())
            #expect(code == nil)
            #expect(produced == 0)
            #expect(grown < 64 << 20)
            #expect(ContinuousClock.now - start < .seconds(240))
        }
    }

    /// A small .xz file that asks for a dictionary of another size.
    private func xz(dictionary: UInt8) throws -> [UInt8] {
        var bytes = try Packer.xz.pack([1, 2, 3])
        // A stream's header has 12 bytes; a block's says its size, flags, and its filters: LZMA2 is 0x21, with one byte.
        let size = (Int(bytes[12]) + 1) * 4
        let at = try #require(bytes[12..<12 + size].indices.first { bytes[$0] == 0x21 && bytes[$0 + 1] == 1 })
        bytes[at + 2] = dictionary
        bytes.replaceSubrange(
            12 + size - 4..<12 + size, with: [UInt8].littleEndian(crc32(bytes[12..<12 + size - 4]), 4))
        return bytes
    }

    /// - Returns: how it ended, how much came out, and how much memory that took.
    private func run(
        _ bytes: [UInt8], _ limits: UnpackLimits
    ) async throws -> (code: UnpackError.Code?, produced: Int64, grown: Int64) {
        let before = try residentBytes()
        var highest = before
        var produced: Int64 = 0
        var steps = 0
        func measure() { highest = max(highest, (try? residentBytes()) ?? .max) }
        var code: UnpackError.Code?
        do {
            try await Unpacking.run(bytes, limits: limits) {
                produced += Int64($0.count)
                steps += 1
                if steps % 64 == 0 { measure() }
            }
        } catch let error as UnpackError {
            code = error.code
        }
        measure()
        return (code, produced, highest - before)
    }

    private func residentBytes() throws -> Int64 {
        let text = try String(contentsOfFile: "/proc/self/statm", encoding: .utf8)
        let pages = text.split(separator: " ").dropFirst().first.flatMap { Int64($0) }
        return try #require(pages) * 4096
    }
}
