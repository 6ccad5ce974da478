import Foundation
import Testing

/// The house rules that a test can hold. A failure names the file that strayed.
@Suite struct TidyTests {
    private static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    struct Source: Sendable, CustomStringConvertible {
        let path: String
        let target: String
        let lines: [String]
        var description: String { path }
    }

    private static func files(below folder: String) -> [Source] {
        let base = root.appending(path: folder)
        guard let found = FileManager.default.enumerator(at: base, includingPropertiesForKeys: nil) else { return [] }
        return found.compactMap { $0 as? URL }.filter { $0.pathExtension == "swift" }.compactMap { file in
            guard let text = try? String(contentsOf: file, encoding: .utf8) else { return nil }
            let path = String(file.path.dropFirst(root.path.count + 1))
            return Source(
                path: path, target: path.split(separator: "/").dropFirst().first.map(String.init) ?? "",
                lines: text.components(separatedBy: "\n"))
        }.sorted { $0.path < $1.path }
    }

    private static let sources = files(below: "Sources")
    private static let tests = files(below: "Tests")

    /// Which of our targets and which sensitive packages each target may import. SwiftPM refuses most
    /// strays by itself; this says it in one place, and also holds what a transitive dependency would let through.
    private static let mayImport: [String: Set<String>] = [
        "Trust": ["COpenSSL", "CCrypt", "CLinuxIO", "JWTKit"],
        "Formats": [],
        "Compression": ["CLZMA", "CZlib", "CZstd"],
        "Persistence": ["CLinuxIO", "CSQLite"],
        "Core": ["Compression", "Formats", "Trust", "Persistence"],
        "Blobs": ["Core", "Trust", "CLinuxIO"],
        "Conversion": ["CLinuxIO", "Core", "Formats"],
        "Remote": ["Core", "Trust", "AsyncHTTPClient", "HTTPTypes", "NIOHTTP1", "NIOSSL"],
        "API": ["Compression", "Core", "HTTPTypes", "HummingbirdCore", "NIOHTTP1", "NIOHTTPTypes"],
        "Server": [
            "API", "Blobs", "Conversion", "Core", "Persistence", "Remote", "Trust", "HTTPTypes", "HummingbirdCore",
            "HummingbirdTLS",
            "AsyncHTTPClient", "NIOHTTP1", "NIOHTTPTypes", "NIOHTTPTypesHTTP1", "NIOSSL", "CoreMetrics",
        ],
        "ambrotype": ["Server"],
        "Simulation": ["Blobs", "Core", "Persistence", "Trust", "CSQLite"],
        "torture": ["Simulation"],
    ]

    /// Modules that only some targets may see; what is not listed here anyone may import.
    private static let guarded: Set<String> = Set(mayImport.keys).union([
        "COpenSSL", "CCrypt", "CLinuxIO", "CLZMA", "CZlib", "CZstd", "CSQLite", "JWTKit", "Crypto",
        "CryptoExtras", "X509",
        "AsyncHTTPClient",
        "HTTPTypes", "Hummingbird", "HummingbirdCore", "HummingbirdTLS", "NIOHTTP1", "NIOHTTPTypes",
        "NIOHTTPTypesHTTP1",
        "NIOSSL", "CoreMetrics",
    ])

    @Test func thereAreSources() {
        #expect(Self.sources.count > 40)
        #expect(Set(Self.sources.map(\.target)) == Set(Self.mayImport.keys))
    }

    @Test func importsPointDown() {
        for source in Self.sources {
            for line in source.lines {
                guard
                    let match = line.firstMatch(
                        of:
                            /^(?:@\w+ )*(?:package |public |internal |private )?import (?:struct |class |enum |func )?(\w+)/
                    )
                else { continue }
                let module = String(match.output.1)
                let isAllowed =
                    !Self.guarded.contains(module) || Self.mayImport[source.target]?.contains(module) == true
                #expect(isAllowed, "\(source.path) imports \(module)")
            }
        }
    }

    /// Words that have no place in what ships, and why.
    private static var banned: [(pattern: Regex<Substring>, why: String)] {
        [
            (/\btry!/, "a crash on input"),
            (/\bfatalError\(/, "precondition says the mistake is ours"),
            (/\bTask\s*(?:\.detached)?\s*(?:\([^)]*\))?\s*\{/, "unstructured tasks cannot be replayed or awaited"),
            (/Thread\.sleep|\busleep\(/, "blocks a thread"),
            (/\bTODO\b|\bFIXME\b|\bXXX\b/, "unfinished"),
            (/@testable/, "tests see package access"),
            (/DispatchQueue\.main/, "there is no main queue in a server"),
        ]
    }

    @Test func sourcesKeepTheRules() {
        for source in Self.sources {
            for (number, line) in source.lines.enumerated() {
                let code = line.trimmingCharacters(in: .whitespaces)
                if code.hasPrefix("//") { continue }
                for (pattern, why) in Self.banned {
                    #expect(code.firstMatch(of: pattern) == nil, "\(source.path):\(number + 1): \(why)")
                }
                #expect(
                    code.firstMatch(of: /^(?:public|open)\s/) == nil,
                    "\(source.path):\(number + 1): package access is enough")
                let mayPrint = ["Server", "ambrotype", "torture"].contains(source.target)
                #expect(mayPrint || !code.hasPrefix("print("), "\(source.path):\(number + 1): a library does not print")
            }
        }
    }

    @Test func roomsAreSmall() {
        for source in Self.sources + Self.tests {
            #expect(source.lines.count <= 600, "\(source.path) has \(source.lines.count) lines")
        }
    }

    @Test func textIsClean() {
        for source in Self.sources + Self.tests {
            #expect(source.lines.last == "", "\(source.path) does not end with a newline")
            for (number, line) in source.lines.enumerated() {
                #expect(!line.contains("\t"), "\(source.path):\(number + 1): a tab")
                #expect(line.last != " ", "\(source.path):\(number + 1): a space at the end")
            }
        }
    }

    /// What one machine has is no business of the project.
    @Test func noMachinePaths() throws {
        let words = ["wo" + "rk", "fa" + "rm", "ro" + "ot"]
        for source in Self.sources + Self.tests {
            for (number, line) in source.lines.enumerated() {
                for word in words {
                    #expect(!line.contains("\"/\(word)/"), "\(source.path):\(number + 1): a path of one machine")
                }
            }
        }
    }
}
