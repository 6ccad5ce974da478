import Compression
import Testing

/// What is packed here is read by gzip(1).
@Suite struct GzipEncoderTests {
    private static let inputs: [[UInt8]] = [
        [], [7], [UInt8](repeating: 0, count: 3_000_000),
        (0..<1_000_000).map { UInt8(truncatingIfNeeded: ($0 &* 2_654_435_761) >> 13) },
        Array(String(repeating: "{\"id\": \"x\"},", count: 5000).utf8),
    ]

    @Test(arguments: inputs.indices, [1, 6, 9] as [Int32]) func gzipReadsIt(_ index: Int, _ level: Int32) throws {
        let input = Self.inputs[index]
        let packed = try #require(input.withUnsafeBytes { GzipEncoder.pack($0, level: level) })
        #expect(try Shell.run("gzip -dc", input: packed) == input)
        if input.count > 10_000, index != 3 { #expect(packed.count < input.count / 10) }
    }
}
