/// What the server may fetch for its users, and how much of it. The first six lists are Glance's
/// `[import_filtering_opts]`; an operator's entries are separated by spaces.
package struct EgressSettings: Sendable, Equatable {
    /// Where a list of what is allowed has entries, the list of what is not allowed means nothing.
    package var allowedSchemes: [EgressTarget.Scheme] = [.http, .https]
    package var disallowedSchemes: [EgressTarget.Scheme] = []
    /// Compared whole with the URL's host; empty opens every host.
    package var allowedHosts: [EgressHost] = []
    package var disallowedHosts: [EgressHost] = []
    /// For URLs that name a port; one without passes.
    package var allowedPorts = [80, 443]
    package var disallowedPorts: [Int] = []
    /// Opened although they are not part of the public Internet: an operator's own mirror, in a network of its own.
    /// An IPv6 network that carries IPv4 inside (NAT64) does not open the IPv4 addresses along with it.
    package var allowedNetworks: [NetworkPrefix] = []
    /// Closed whatever `allowedNetworks` says. The public addresses of the cloud's own services belong here: the
    /// server cannot know them.
    package var deniedNetworks: [NetworkPrefix] = []

    /// 0 follows none. Glance follows ten.
    package var maxRedirects = 5
    /// 1 TiB, Glance's `image_size_cap`.
    package var maxSizeBytes: Int64 = 1 << 40
    /// To find the host's addresses, and for each of them that is tried.
    package var connectSeconds: Int64 = 10
    /// Without a byte although we wait for some.
    package var stallSeconds: Int64 = 60
    /// From the start to the last byte, redirects included.
    package var totalSeconds: Int64 = 12 * 3600

    package init() {}
}

extension EgressSettings {
    /// An entry that cannot be read.
    package struct Invalid: Error, Equatable, CustomStringConvertible {
        package let key: String
        package let value: String
        package let allowed: String
        package var description: String { "\(key): '\(value)' is not \(allowed)" }
    }

    /// The names of the operator's table.
    package static let keys = [
        "allowed_schemes", "disallowed_schemes", "allowed_hosts", "disallowed_hosts", "allowed_ports",
        "disallowed_ports", "allowed_networks", "denied_networks", "max_redirects", "max_size_bytes", "connect_seconds",
        "stall_seconds", "total_seconds",
    ]

    /// - Parameter table: what the operator set; the rest keeps its default. An empty text is an empty list.
    /// - Throws: `Invalid`, also for a name that is not in `keys`.
    package init(table: [String: String]) throws(Invalid) {
        for (key, text) in table.sorted(by: { $0.key < $1.key }) {
            let entry = Entry(key: key, text: text)
            switch key {
            case "allowed_schemes": allowedSchemes = try entry.schemes()
            case "disallowed_schemes": disallowedSchemes = try entry.schemes()
            case "allowed_hosts": allowedHosts = try entry.hosts()
            case "disallowed_hosts": disallowedHosts = try entry.hosts()
            case "allowed_ports": allowedPorts = try entry.ports()
            case "disallowed_ports": disallowedPorts = try entry.ports()
            case "allowed_networks": allowedNetworks = try entry.networks()
            case "denied_networks": deniedNetworks = try entry.networks()
            case "max_redirects": maxRedirects = Int(try entry.number(0...20))
            case "max_size_bytes": maxSizeBytes = try entry.number(1...Int64.max)
            case "connect_seconds": connectSeconds = try entry.number(1...300)
            case "stall_seconds": stallSeconds = try entry.number(1...3600)
            case "total_seconds": totalSeconds = try entry.number(1...604_800)
            default: throw Invalid(key: key, value: text, allowed: "known; there are \(Self.keys)")
            }
        }
    }

    private struct Entry {
        let key: String
        let text: String

        func schemes() throws(Invalid) -> [EgressTarget.Scheme] {
            try items("http or https") { EgressTarget.Scheme(rawValue: $0.lowercased()) }
        }

        func hosts() throws(Invalid) -> [EgressHost] {
            // People write IPv6 without brackets where no port follows.
            try items("a DNS name or an IP address") { EgressHost($0) ?? EgressHost("[\($0)]") }
        }

        func ports() throws(Invalid) -> [Int] {
            try items("a port from 1 to 65535") { item in
                Int(item).flatMap { (1...65535).contains($0) ? $0 : nil }
            }
        }

        func networks() throws(Invalid) -> [NetworkPrefix] {
            try items("a network such as 10.1.0.0/16 or 2001:db8::/32") { NetworkPrefix($0) }
        }

        func number(_ range: ClosedRange<Int64>) throws(Invalid) -> Int64 {
            guard let value = Int64(text), range.contains(value) else {
                throw Invalid(
                    key: key, value: text, allowed: "a number from \(range.lowerBound) to \(range.upperBound)")
            }
            return value
        }

        private func items<T>(_ allowed: String, _ read: (Substring) -> T?) throws(Invalid) -> [T] {
            var items: [T] = []
            for item in text.split(separator: " ") {
                guard let value = read(item) else {
                    throw Invalid(key: key, value: String(item), allowed: allowed)
                }
                items.append(value)
            }
            return items
        }
    }
}
