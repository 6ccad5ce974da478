import Core
import HTTPTypes

/// A microversion of the Key Manager API (digest, section 1).
package struct KeyManagerVersion: Sendable, Equatable, Comparable {
    package let minor: Int

    package static let v1_0 = Self(minor: 0)
    /// Secrets show their consumers.
    package static let v1_1 = Self(minor: 1)
    /// A deletion may be forced.
    package static let v1_2 = Self(minor: 2)
    package static let latest = v1_2

    package var text: String { "1.\(minor)" }
    package static func < (a: Self, b: Self) -> Bool { a.minor < b.minor }

    private static let service = "key-manager"

    /// What the request asks for: 1.0 without a header, the newest for `latest`.
    /// - Throws: `ServiceError`: `.badRequest` (malformed), `.notAcceptable` (none of ours).
    package init(_ headers: HTTPFields) throws {
        // One header may name several services: "compute 2.1, key-manager 1.1". The last word counts.
        let asked = headers[values: .openstackAPIVersion].joined(separator: ",").split(separator: ",")
            .map { $0.split { $0 == " " || $0 == "\t" } }
            .last { $0.first?.lowercased() == Self.service }
        guard let asked, asked.count > 1 else {
            self = .v1_0
            return
        }
        if asked.count == 2, asked[1] == "latest" {
            self = .latest
            return
        }
        let text = String(asked.dropFirst().joined(separator: " ").prefix(32))
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 2, let major = Int(parts[0]), let minor = Int(parts[1]) else {
            throw Self.malformed(text)
        }
        guard major == 1, (0...Self.latest.minor).contains(minor) else {
            throw ServiceError.notAcceptable(
                "Version \(text) is not supported by the API. Minimum is 1.0 and maximum is \(Self.latest.text).")
        }
        self.init(minor: minor)
    }

    private init(minor: Int) { self.minor = minor }

    private static func malformed(_ text: String) -> ServiceError {
        .badRequest("API Version String '\(text)' is of invalid format. Must be of format MajorNum.MinorNum.")
    }
}

extension HTTPField.Name {
    package static let openstackAPIVersion = HTTPField.Name("OpenStack-API-Version")!
}
