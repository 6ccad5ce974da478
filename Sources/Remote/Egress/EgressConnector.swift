import Core
import NIOCore
import NIOPosix

/// The one place from which connections go out. It takes no name and no address that no policy let pass.
package protocol EgressConnector: Sendable {
    /// - Parameters:
    ///   - timeoutSeconds: until the connection stands, without TLS.
    ///   - setUp: called once, before anything is sent or received; what it throws ends the attempt.
    /// - Returns: done when the connection stands; what becomes of it is the business of what `setUp` put into it.
    func connect(
        to address: AdmittedAddress, port: Int, timeoutSeconds: Int64,
        setUp: @escaping @Sendable (any Channel) throws -> Void
    ) -> EventLoopFuture<Void>
}

/// TCP, from this machine straight to the address: no proxy, whatever the environment says.
package struct SocketConnector: EgressConnector {
    private let group: any EventLoopGroup

    package init(group: any EventLoopGroup) { self.group = group }

    package func connect(
        to address: AdmittedAddress, port: Int, timeoutSeconds: Int64,
        setUp: @escaping @Sendable (any Channel) throws -> Void
    ) -> EventLoopFuture<Void> {
        let loop = group.next()
        let socket: SocketAddress
        do {
            // The canonical spelling of an address: read by `inet_pton`, which asks nobody.
            socket = try SocketAddress(ipAddress: address.address.description, port: port)
        } catch {
            return loop.makeFailedFuture(error)
        }
        return ClientBootstrap(group: loop)
            .connectTimeout(.seconds(timeoutSeconds))
            .channelInitializer { channel in channel.eventLoop.makeCompletedFuture { try setUp(channel) } }
            .connect(to: socket)
            .map { _ in }
    }
}
