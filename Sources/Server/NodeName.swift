/// One of the servers that share a data directory, and with it the database (`serve --node`). Each has a name of its
/// own; of one name there is one process at a time.
package struct NodeName: Sendable, Equatable, CustomStringConvertible {
    private static let longest = 32

    /// The server without a name. It alone sets the directory up, changes the schema and keeps the catalogue.
    package static let first = NodeName(known: "local")

    package let description: String

    private init(known: String) { description = known }

    /// - Parameter text: lower-case letters, digits and hyphens, the first one no hyphen; at most 32.
    package init?(_ text: String) {
        let letters = text.utf8
        let isWellFormed = letters.allSatisfy {
            UInt8(ascii: "a")...UInt8(ascii: "z") ~= $0 || UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0
                || $0 == UInt8(ascii: "-")
        }
        guard isWellFormed, 1...Self.longest ~= letters.count, letters.first != UInt8(ascii: "-") else { return nil }
        description = text
    }
}
