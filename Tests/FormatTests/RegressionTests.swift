import Formats
import Glibc
import Testing

/// What once stopped a parser, tried again (`Tests/Vectors/formats`).
@Suite struct RegressionTests {
    private static let directory =
        #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(2).joined(separator: "/")
        + "/Vectors/formats"

    private static func names() -> [String] {
        guard let directory = opendir(directory) else { return [] }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            names.append(
                withUnsafePointer(to: &entry.pointee.d_name) {
                    $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
                })
        }
        return names.filter { !$0.hasPrefix(".") }.sorted()
    }

    @Test func noInputStopsAParserAgain() throws {
        #expect(!Self.names().isEmpty, "\(Self.directory) has at least its README")
        for name in Self.names() {
            let bytes = try File.bytes(Self.directory + "/" + name)
            let verdict = Inspected(bytes, chunkBytes: max(1, bytes.count)).verdict("raw")
            #expect(Inspected(bytes, chunkBytes: 7).verdict("raw") == verdict, "\(name)")
        }
    }
}
