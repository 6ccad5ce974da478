package struct SecretID: Identifier {
    package let rawValue: String
    package init(rawValue: String) { self.rawValue = rawValue }

    /// From what a client wrote; nil unless it is a version 4 UUID (RFC 9562) in lower case with hyphens,
    /// the only form of an id there is (Key Manager digest, section 2).
    package init?(canonical text: String) {
        guard CanonicalUUID.isVersion4(text) else { return nil }
        self.init(rawValue: text)
    }
}

package struct ContainerID: Identifier {
    package let rawValue: String
    package init(rawValue: String) { self.rawValue = rawValue }
}

package struct OrderID: Identifier {
    package let rawValue: String
    package init(rawValue: String) { self.rawValue = rawValue }
}

/// A project's key, which wraps the keys of its secrets.
package struct ProjectKeyID: Identifier {
    package let rawValue: String
    package init(rawValue: String) { self.rawValue = rawValue }
}

package enum CanonicalUUID {
    /// `xxxxxxxx-xxxx-4xxx-[89ab]xxx-xxxxxxxxxxxx` in lower case.
    package static func isVersion4(_ text: String) -> Bool {
        let bytes = Array(text.utf8)
        guard bytes.count == 36 else { return false }
        for (index, byte) in bytes.enumerated() {
            switch index {
            case 8, 13, 18, 23: guard byte == UInt8(ascii: "-") else { return false }
            case 14: guard byte == UInt8(ascii: "4") else { return false }
            case 19: guard [UInt8]("89ab".utf8).contains(byte) else { return false }
            default: guard (48...57).contains(byte) || (97...102).contains(byte) else { return false }
            }
        }
        return true
    }
}
