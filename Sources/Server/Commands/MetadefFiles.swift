import API
import Core
import Foundation
import NIOCore

/// Files of metadata definitions.
package enum MetadefFiles {
    /// The files meant by paths: themselves, and those of directories whose names end in `.json`, by name.
    /// - Throws: `Refusal` for a path that is not there, and a directory without such files.
    static func found(in paths: [String]) throws -> [String] {
        try paths.flatMap { path -> [String] in
            var isDirectory: ObjCBool = false
            guard FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory) else {
                throw Refusal("\(path) is not there")
            }
            guard isDirectory.boolValue else { return [path] }
            let names: [String]
            do {
                names = try FileManager.default.contentsOfDirectory(atPath: path)
            } catch {
                throw Refusal("\(path) cannot be read: \(error.localizedDescription)")
            }
            let files = names.filter { $0.hasSuffix(".json") }.sorted()
            guard !files.isEmpty else { throw Refusal("\(path) has no files whose names end in .json") }
            return files.map { path + "/" + $0 }
        }
    }

    /// - Throws: `FileProblem`, `Refusal`.
    static func json(_ path: String) throws -> JSONValue {
        let bytes = try SmallFile.read(path)
        do {
            return try JSONValue(parsing: ByteBuffer(bytes: bytes))
        } catch {
            throw Refusal("\(path) is not JSON: \(error)")
        }
    }

    /// - Throws: `Refusal`.
    static func makeDirectory(_ path: String) throws {
        do {
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        } catch {
            throw Refusal("\(path) cannot be made: \(error.localizedDescription)")
        }
    }

    /// File names for namespaces, each its own: what is no letter or digit of ASCII becomes a hyphen, and a
    /// number tells apart what then looks the same.
    package static func names(for namespaces: [String]) -> [String] {
        var taken: Set<String> = []
        return namespaces.map { namespace in
            let words = namespace.unicodeScalars.split { !isPlain($0) }.map { String(String.UnicodeScalarView($0)) }
            let stem = words.isEmpty ? "namespace" : words.joined(separator: "-")
            var name = stem
            var number = 2
            // Two names that differ in case alone are one on some file systems.
            while !taken.insert(name.lowercased()).inserted {
                name = "\(stem)-\(number)"
                number += 1
            }
            return name + ".json"
        }
    }

    private static func isPlain(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar {
        case "a"..."z", "A"..."Z", "0"..."9", "_": true
        default: false
        }
    }
}

/// JSON for people and for `diff`: four spaces a level, a member a line, members by name.
package enum IndentedJSON {
    package static func text(_ value: JSONValue) -> String { text(value, indent: "") }

    private static func text(_ value: JSONValue, indent: String) -> String {
        let inner = indent + "    "
        switch value {
        case .array(let values) where !values.isEmpty:
            let lines = values.map { inner + text($0, indent: inner) }
            return "[\n\(lines.joined(separator: ",\n"))\n\(indent)]"
        case .object(let members) where !members.isEmpty:
            let lines = members.sorted { $0.key < $1.key }.map { name, value in
                "\(inner)\(scalar(.string(name))): \(text(value, indent: inner))"
            }
            return "{\n\(lines.joined(separator: ",\n"))\n\(indent)}"
        case .null, .bool, .integer, .number, .string, .array, .object:
            return scalar(value)
        }
    }

    private static func scalar(_ value: JSONValue) -> String {
        var json = JSONWriter()
        json.value(value)
        return String(buffer: json.finish())
    }
}
