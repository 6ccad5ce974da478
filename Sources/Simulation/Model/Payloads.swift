import NIOCore
import Trust

/// The bytes that simulated clients upload: number n always is the same bytes, and no two numbers are
/// alike, nor is one the beginning of another.
package enum Payloads {
    package static let count = 256
    private static let sizes = [1, 511, 4096, 5000, 9000, 20_000]

    package static func bytes(_ number: Int) -> [UInt8] {
        precondition((0..<count).contains(number))
        if number == 0 { return [] }
        var random = SplitMix64(seed: UInt64(number) &* 0x2545_f491_4f6c_dd1d)
        return random.bytes(sizes[number % sizes.count] + number / sizes.count)
    }

    /// What an image's record says of a content.
    package struct Digests: Sendable, Equatable {
        package let sizeBytes: Int64
        package let checksum: String
        package let hash: String
    }

    package static let digests: [Digests] = (0..<count).map { number in
        let bytes = bytes(number)
        return Digests(
            sizeBytes: Int64(bytes.count), checksum: Hex.encode(Digest.of(bytes, .md5)),
            hash: Hex.encode(Digest.of(bytes, .sha512)))
    }

    private static let numbers: [String: Int] = Dictionary(
        uniqueKeysWithValues: digests.enumerated().map { ($0.element.checksum, $0.offset) })

    /// Which content these bytes are; nil for bytes that nobody ever uploaded whole.
    package static func identify(_ bytes: [UInt8]) -> Int? {
        numbers[Hex.encode(Digest.of(bytes, .md5))].flatMap { Self.bytes($0) == bytes ? $0 : nil }
    }
}
