/// Decides what the server fetches for its users. Pure: it knows no network and no DNS.
///
/// Two questions, both asked for the first URL and again for each redirect: may this URL be asked for (`judge` of a
/// target), and may this address be connected to (`admit`). Only the second protects the machine and its neighbours,
/// because a name says nothing about where it leads; so whoever connects needs an `AdmittedAddress`.
package struct EgressPolicy: Sendable {
    package let settings: EgressSettings

    package init(_ settings: EgressSettings) { self.settings = settings }

    /// The operator's lists, as Glance applies them: in each of scheme, host and port a list of what is allowed decides
    /// alone when it has entries, otherwise the list of what is not. A host that is an address is judged as one too.
    package func judge(_ target: EgressTarget) throws(EgressRefusal) {
        guard passes(target.scheme, allowed: settings.allowedSchemes, disallowed: settings.disallowedSchemes) else {
            throw .scheme(target.scheme.rawValue)
        }
        guard passes(target.host, allowed: settings.allowedHosts, disallowed: settings.disallowedHosts) else {
            throw .host(target.host.inURL)
        }
        if let port = target.port {
            guard passes(port, allowed: settings.allowedPorts, disallowed: settings.disallowedPorts) else {
                throw .port(port)
            }
        }
        if case .address(let address) = target.host { _ = try admit([address], of: target.host) }
    }

    private func passes<T: Equatable>(_ value: T, allowed: [T], disallowed: [T]) -> Bool {
        allowed.isEmpty ? !disallowed.contains(value) : allowed.contains(value)
    }

    /// Why an address must not be reached; nil when it may be.
    ///
    /// Addresses that carry another inside are judged by both, since it depends on the kernel and the network which of
    /// the two a packet is for.
    package func judge(_ address: NetworkAddress) -> NetworkKind? {
        if settings.deniedNetworks.contains(where: { $0.contains(address) }) { return .denied }
        if let inner = SpecialNetworks.embeddedV4(in: address), let kind = judge(inner) { return kind }
        if settings.allowedNetworks.contains(where: { $0.contains(address) }) { return nil }
        return SpecialNetworks.kind(of: address)
    }

    /// All of a host's addresses, in their order, when every one of them may be reached. One that may not condemns the
    /// rest: no honest name leads to both.
    package func admit(
        _ addresses: [NetworkAddress], of host: EgressHost
    ) throws(EgressRefusal) -> [AdmittedAddress] {
        guard !addresses.isEmpty else { throw .unknownName(host.inURL) }
        for address in addresses {
            if let kind = judge(address) { throw .address(address, kind, host: host.inURL) }
        }
        return addresses.map(AdmittedAddress.init)
    }
}

/// An address that an `EgressPolicy` let pass. Nobody else can make one.
package struct AdmittedAddress: Sendable, Hashable {
    package let address: NetworkAddress
    fileprivate init(_ address: NetworkAddress) { self.address = address }
}
