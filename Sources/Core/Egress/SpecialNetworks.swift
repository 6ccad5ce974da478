/// Why an address is not one of the public Internet's.
package enum NetworkKind: String, Sendable, CaseIterable {
    case unspecified, loopback, linkLocal, privateUse, sharedByCarrier, protocolAssignment, documentation, benchmarking
    case anycastRelay, multicast, broadcast, reserved, mappedV4, compatibleV4, translatedV4, tunnelledV4, discard
    case uniqueLocal, siteLocal, segmentRouting, providerService, notGlobalUnicast
    /// The operator closed it.
    case denied
}

/// The blocks that are no place to fetch an image from: every entry of the IANA IPv4 and IPv6 Special-Purpose Address
/// Registries (RFC 6890; as of 2025), also those that are globally reachable, since none of them holds a file; what
/// RFC 4291 and RFC 3879 withdrew but kernels still route; multicast; and in IPv6 whatever IANA has not given out as
/// global unicast (2000::/3).
package enum SpecialNetworks {
    package static func kind(of address: NetworkAddress) -> NetworkKind? {
        if let entry = table.first(where: { $0.network.contains(address) }) { return entry.kind }
        if case .v6(let value) = address, value >> 125 != 0b001 { return .notGlobalUnicast }
        return nil
    }

    /// The IPv4 address that a packet to this IPv6 address is meant for, where the address says so.
    package static func embeddedV4(in address: NetworkAddress) -> NetworkAddress? {
        guard case .v6(let value) = address else { return nil }
        let last = UInt32(truncatingIfNeeded: value)
        switch value >> 32 {
        // ::/96 compatible (RFC 4291), of which ::/128 and ::1/128 are not; ::ffff:0:0/96 mapped;
        // ::ffff:0:0:0/96 translated (RFC 2765).
        case 0: return value <= 1 ? nil : .v4(last)
        case 0xffff, 0xffff_0000: return .v4(last)
        // 64:ff9b::/96 (RFC 6052)
        case 0x0064_ff9b << 64: return .v4(last)
        default: break
        }
        // 2002::/16 (RFC 3056): right behind the prefix.
        if value >> 112 == 0x2002 { return .v4(UInt32(truncatingIfNeeded: value >> 80)) }
        // ISATAP (RFC 5214): an interface id in any network.
        if [0x0000_5efe, 0x0200_5efe].contains(UInt32(truncatingIfNeeded: value >> 32)) { return .v4(last) }
        return nil
    }

    /// The first that holds the address counts.
    private static let table: [(network: NetworkPrefix, kind: NetworkKind)] = entries.compactMap { text, kind in
        NetworkPrefix(text).map { ($0, kind) }
    }

    package static let entries: [(String, NetworkKind)] = [
        ("0.0.0.0/8", .unspecified),  // RFC 791
        ("10.0.0.0/8", .privateUse),  // RFC 1918
        ("100.64.0.0/10", .sharedByCarrier),  // RFC 6598
        ("127.0.0.0/8", .loopback),  // RFC 1122
        ("169.254.0.0/16", .linkLocal),  // RFC 3927; the metadata services of clouds
        ("172.16.0.0/12", .privateUse),
        ("192.0.0.0/24", .protocolAssignment),  // RFC 6890
        ("192.0.2.0/24", .documentation),  // RFC 5737
        ("192.31.196.0/24", .anycastRelay),  // AS112, RFC 7535
        ("192.52.193.0/24", .anycastRelay),  // AMT, RFC 7450
        ("192.88.99.0/24", .anycastRelay),  // 6to4, RFC 7526
        ("192.168.0.0/16", .privateUse),
        ("192.175.48.0/24", .anycastRelay),  // AS112, RFC 7534
        ("198.18.0.0/15", .benchmarking),  // RFC 2544
        ("198.51.100.0/24", .documentation),
        ("203.0.113.0/24", .documentation),
        ("224.0.0.0/4", .multicast),  // RFC 5771
        ("255.255.255.255/32", .broadcast),  // RFC 919
        ("240.0.0.0/4", .reserved),  // RFC 1112
        // Not in the registries: a public address that answers guests of Azure alone, with the host's secrets.
        ("168.63.129.16/32", .providerService),

        ("::/128", .unspecified),  // RFC 4291
        ("::1/128", .loopback),
        ("::/96", .compatibleV4),
        ("::ffff:0:0/96", .mappedV4),
        ("::ffff:0:0:0/96", .translatedV4),  // RFC 2765
        ("64:ff9b::/96", .translatedV4),  // NAT64, RFC 6052
        ("64:ff9b:1::/48", .translatedV4),  // NAT64, RFC 8215
        ("100::/64", .discard),  // RFC 6666
        ("100:0:0:1::/64", .discard),  // RFC 9780
        ("2001::/32", .tunnelledV4),  // Teredo, RFC 4380
        ("2001:2::/48", .benchmarking),  // RFC 5180
        ("2001::/23", .protocolAssignment),  // RFC 2928; ORCHID, AMT, DRIP, …
        ("2001:db8::/32", .documentation),  // RFC 3849
        ("2002::/16", .tunnelledV4),  // 6to4, RFC 3056
        ("2620:4f:8000::/48", .anycastRelay),  // AS112, RFC 7534
        ("3fff::/20", .documentation),  // RFC 9637
        ("5f00::/16", .segmentRouting),  // RFC 9602
        ("fc00::/7", .uniqueLocal),  // RFC 4193
        ("fe80::/10", .linkLocal),  // RFC 4291
        ("fec0::/10", .siteLocal),  // RFC 3879
        ("ff00::/8", .multicast),
    ]
}
