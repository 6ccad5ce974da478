import Foundation
import Server
import Testing

/// Documents that repeat what the program knows must say the same.
@Suite struct DocumentTests {
    private func document(_ path: String) throws -> String {
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        return try String(contentsOf: root.appending(path: path), encoding: .utf8)
    }

    /// Made by `ambrotype config --table`.
    @Test func readmeHasTheTableOfSettings() throws {
        let table = ResolvedSettings.markdownTable().trimmingCharacters(in: .whitespacesAndNewlines)
        #expect(
            try document("README.md").contains("\n" + table + "\n"), "ambrotype config --table prints what it must be")
    }
}
