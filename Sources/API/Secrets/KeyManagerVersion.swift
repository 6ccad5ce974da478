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
        // One header may name several services: "compute 2.1, key-manager 1.1".
        let asked = headers[values: .openstackAPIVersion].joined(separator: ",").split(separator: ",")
            .map { $0.split(separator: " ").map(String.init) }
            .first { $0.first == Self.service }
        guard let asked else {
            self = .v1_0
            return
        }
        guard asked.count == 2 else { throw Self.malformed(asked.dropFirst().joined(separator: " ")) }
        if asked[1] == "latest" {
            self = .latest
            return
        }
        let parts = asked[1].split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 2, let major = Int(parts[0]), let minor = Int(parts[1]), major >= 0, minor >= 0 else {
            throw Self.malformed(asked[1])
        }
        guard major == 1, minor <= Self.latest.minor else {
            throw ServiceError.notAcceptable(
                "Version \(asked[1]) is not supported by the API. Minimum is 1.0 and maximum is \(Self.latest.text).")
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
