import Foundation
import Testing

/// A file of `Tests/Vectors`: comments that say where it is from, then records of `NAME = VALUE` lines with
/// empty lines between. A word alone on its line has an empty value.
struct Vectors {
    let records: [[String: String]]

    init(_ name: String) throws {
        let file = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appending(path: "Vectors").appending(path: name)
        let lines = try String(contentsOf: file, encoding: .utf8).components(separatedBy: "\n")
        records = lines.filter { !$0.hasPrefix("#") }.split(separator: "").map { lines in
            Dictionary(
                uniqueKeysWithValues: lines.map { line in
                    let parts = line.split(separator: "=", maxSplits: 1).map { $0.trimmingCharacters(in: .whitespaces) }
                    return (parts[0], parts.count > 1 ? parts[1] : "")
                })
        }
    }
}
