/// Why a signature, a certificate or a key cannot be used. The text tells the user what to mend and holds no secret.
package struct SignatureError: Error, Equatable, CustomStringConvertible {
    package let description: String

    init(_ description: String) { self.description = description }

    /// What was given is shortened: it is a stranger's.
    static func unknown(_ name: String, what: String, known: [String]) -> SignatureError {
        SignatureError("\(what) \"\(name.prefix(40))\" is unknown; there are \(known.joined(separator: ", "))")
    }
}
