import Core
import Glibc
import NIOCore
import Synchronization

/// Where the addresses of a name come from. What it says is believed by nobody: the policy judges every address, and
/// the connection goes to the address that was judged, so a second answer that differs leads nowhere.
package protocol NameResolver: Sendable {
    /// - Parameter name: a DNS name as `EgressHost` has it.
    /// - Returns: all its addresses, in the order to try them; none when it has none.
    /// - Throws: `RemoteContentError` when that cannot be found out now; `CancellationError`, promptly.
    func addresses(of name: String) async throws -> [NetworkAddress]
}

/// The machine's own resolver: its `/etc/hosts`, its DNS servers, its search list.
package final class SystemResolver: NameResolver {
    /// Those that were given up still sit in a thread for as long as the machine's resolver takes.
    private static let lookupLimit = 64

    private let work: any WorkPool
    private let lookups = Atomic<Int>(0)

    /// - Parameter work: threads of its own; a DNS server that does not answer blocks them all.
    package init(work: any WorkPool) { self.work = work }

    package func addresses(of name: String) async throws -> [NetworkAddress] {
        guard lookups.add(1, ordering: .relaxed).newValue <= Self.lookupLimit else {
            lookups.subtract(1, ordering: .relaxed)
            throw RemoteContentError(.unreachable, "Too many names are being looked up; try again later.")
        }
        return try await work.runAbandonably { [self] in
            defer { lookups.subtract(1, ordering: .relaxed) }
            return try Self.lookUp(name)
        }
    }

    private static func lookUp(_ name: String) throws -> [NetworkAddress] {
        var hints = addrinfo()
        hints.ai_family = AF_UNSPEC
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var list: UnsafeMutablePointer<addrinfo>?
        let code = getaddrinfo(name, nil, &hints, &list)
        defer { if let list { freeaddrinfo(list) } }
        switch code {
        case 0: break
        // EAI_NODATA (-5) and EAI_ADDRFAMILY (-9) are GNU's own: a name without an address.
        case EAI_NONAME, -5, -9: return []
        default: throw RemoteContentError(.unreachable, "The address of '\(name)' cannot be found at the moment.")
        }
        var addresses: [NetworkAddress] = []
        var next = list
        while let entry = next {
            if let address = NetworkAddress(entry.pointee.ai_addr), !addresses.contains(address) {
                addresses.append(address)
            }
            next = entry.pointee.ai_next
        }
        return addresses
    }
}

extension NetworkAddress {
    /// Nil for what is neither IPv4 nor IPv6.
    fileprivate init?(_ address: UnsafeMutablePointer<sockaddr>?) {
        guard let address else { return nil }
        let raw = UnsafeRawPointer(address)
        let socket: SocketAddress
        switch Int32(address.pointee.sa_family) {
        case AF_INET: socket = SocketAddress(raw.loadUnaligned(as: sockaddr_in.self))
        case AF_INET6: socket = SocketAddress(raw.loadUnaligned(as: sockaddr_in6.self))
        default: return nil
        }
        guard let text = socket.ipAddress else { return nil }
        self.init(text)
    }
}
