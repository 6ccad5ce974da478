/// What a sealed value is bound to: it opens nowhere else. Unambiguous, for every part has its length in front:
///
///     1 byte    the format's version, 1
///     4 bytes   length of the layer's name, big-endian, then the name
///     4 bytes   length of the id of the key that seals, then the id
///     4 bytes   length of the project's id, then the id
///     4 bytes   length of the secret's id, then the id
package struct SealContext: Sendable {
    /// What is sealed.
    package enum Layer: String, Sendable {
        /// A project's key, by a master key.
        case projectKey = "project-key"
        /// A secret's key, by its project's.
        case secretKey = "secret-key"
        /// A secret's bytes, by its key.
        case payload
        /// Known bytes, by a master key: they tell at the start whether it is the right one.
        case canary
    }

    package let layer: Layer
    package let keyID: String
    package let project: String
    package let secret: String

    /// - Parameters:
    ///   - keyID: the key that seals.
    ///   - project: empty where the layer has none.
    ///   - secret: empty where the layer has none.
    package init(layer: Layer, keyID: String, project: String, secret: String) {
        self.layer = layer
        self.keyID = keyID
        self.project = project
        self.secret = secret
    }

    /// As drawn above.
    package var bytes: [UInt8] {
        var out = [Sealing.version]
        for part in [layer.rawValue, keyID, project, secret] {
            let length = UInt32(part.utf8.count)
            for shift in [24, 16, 8, 0] as [UInt32] { out.append(UInt8(truncatingIfNeeded: length >> shift)) }
            out.append(contentsOf: part.utf8)
        }
        return out
    }
}
