/// A service that this program can serve, by its type in the catalogue. Settings name it so too.
package enum ServiceType: String, CaseIterable, Sendable {
    case identity
    case image
    case keyManager = "key-manager"

    /// The path below which it stands on the main listener.
    package var prefix: String { "/" + rawValue }

    /// Its name in the catalogue. Clients and tempest look for services under these very names.
    package var catalogName: String {
        switch self {
        case .identity: "keystone"
        case .image: "glance"
        case .keyManager: "barbican"
        }
    }
}
