import Core
import Foundation
import NIOCore
import NIOPosix
import NIOSSL
import Remote
import Synchronization
import Testing

/// Says of names what the test says, and counts.
final class ScriptedResolver: NameResolver {
    enum Answer {
        case addresses([NetworkAddress])
        case failure
        /// Nothing, for as long as somebody waits.
        case silence
    }

    private struct State {
        var answers: [String: [Answer]] = [:]
        var others = [EgressForms.openAddress]
        var asked: [String] = []
        var waiting = 0
    }
    private let state = Mutex(State())

    /// One answer after the other; the last again and again.
    func set(_ name: String, _ answers: Answer...) { state.withLock { $0.answers[name] = answers } }
    /// Where every other name leads.
    func setAll(_ addresses: [NetworkAddress]) { state.withLock { $0.others = addresses } }
    func forget() { state.withLock { $0.asked = [] } }
    var asked: [String] { state.withLock { $0.asked } }
    var waitingCount: Int { state.withLock { $0.waiting } }

    func addresses(of name: String) async throws -> [NetworkAddress] {
        let answer = state.withLock { state -> Answer in
            state.asked.append(name)
            guard var answers = state.answers[name], let answer = answers.first else {
                return .addresses(state.others)
            }
            if answers.count > 1 {
                answers.removeFirst()
                state.answers[name] = answers
            }
            return answer
        }
        switch answer {
        case .addresses(let addresses): return addresses
        case .failure: throw RemoteContentError(.unreachable, "no DNS")
        case .silence:
            state.withLock { $0.waiting += 1 }
            defer { state.withLock { $0.waiting -= 1 } }
            try await Task.sleep(for: .seconds(3600))
            return []
        }
    }
}

/// Writes down where connections go, and leads those to places of the Internet that the test knows to its own peers. What
/// is meant for loopback goes there in earnest, everything else nowhere.
final class RecordingConnector: EgressConnector {
    struct Place: Hashable, Sendable, CustomStringConvertible {
        let address: NetworkAddress
        let port: Int
        var description: String { "\(address.hostInURL):\(port)" }
    }

    private struct State {
        var ways: [Place: Int] = [:]
        var connects: [Place] = []
    }
    private let state = Mutex(State())
    private let sockets = SocketConnector(group: .singletonMultiThreadedEventLoopGroup)
    private let loopback: AdmittedAddress

    init() throws {
        let policy = EgressPolicy(try EgressSettings(table: ["allowed_networks": "127.0.0.1"]))
        loopback = try policy.admit([.v4(0x7f00_0001)], of: .name("localhost"))[0]
    }

    var connects: [Place] { state.withLock { $0.connects } }
    func forget() { state.withLock { $0.connects = [] } }
    func lead(_ port: Int, of address: NetworkAddress = EgressForms.openAddress, to peer: Int) {
        state.withLock { $0.ways[Place(address: address, port: port)] = peer }
    }

    func connect(
        to address: AdmittedAddress, port: Int, timeoutSeconds: Int64,
        setUp: @escaping @Sendable (any Channel) throws -> Void
    ) -> EventLoopFuture<Void> {
        let place = Place(address: address.address, port: port)
        let peer = state.withLock { state in
            state.connects.append(place)
            return state.ways[place]
        }
        if let peer {
            return sockets.connect(to: loopback, port: peer, timeoutSeconds: timeoutSeconds, setUp: setUp)
        }
        if ["127.0.0.1", "::1"].contains(address.address.description) {
            return sockets.connect(to: address, port: port, timeoutSeconds: timeoutSeconds, setUp: setUp)
        }
        return MultiThreadedEventLoopGroup.singleton.next().makeFailedFuture(IOError(errnoCode: 111, reason: "connect"))
    }
}

/// A client with the policy of a server nobody changed, for which one peer is 93.184.216.34.
struct EgressFixture: Sendable {
    enum Outcome: Equatable {
        case content(String)
        case failed(RemoteContentError.Code)
        case refused(EgressRefusal)
        case cancelled
        case other(String)
    }

    let resolver = ScriptedResolver()
    let connector: RecordingConnector
    let client: EgressClient

    /// - Parameters:
    ///   - peer: answers on port 80.
    ///   - tlsPeer: answers on port 443.
    init(_ peer: EgressPeer? = nil, tls tlsPeer: EgressPeer? = nil, _ table: [String: String] = [:]) throws {
        connector = try RecordingConnector()
        if let peer { connector.lead(80, to: peer.port) }
        if let tlsPeer { connector.lead(443, to: tlsPeer.port) }
        client = EgressClient(
            EgressPolicy(try EgressSettings(table: table)), resolver: resolver, connector: connector,
            trustRoots: .certificates([try EgressCertificates.certificate("root")]))
    }

    /// A peer with a script, and a client that takes it for all the Internet.
    static func with<R>(
        _ table: [String: String] = [:], _ script: @escaping EgressPeer.Script,
        _ body: (EgressFixture, EgressPeer) async throws -> R
    ) async throws -> R {
        try await EgressPeer.with(script) { peer in try await body(try EgressFixture(peer, table), peer) }
    }

    func outcome(
        _ url: String = "http://mirror.example/image", range: Range<Int64>? = nil,
        headers: [(name: String, value: String)] = []
    ) async -> Outcome {
        await Self.outcome {
            let content = try await client.open(url, range: range, headers: headers)
            return String(buffer: try await Self.read(content))
        }
    }

    static func outcome(_ body: () async throws -> String) async -> Outcome {
        do {
            return .content(try await body())
        } catch let error as RemoteContentError {
            return .failed(error.code)
        } catch let refusal as EgressRefusal {
            return .refused(refusal)
        } catch is CancellationError {
            return .cancelled
        } catch {
            return .other("\(error)")
        }
    }

    static func read(_ content: RemoteContent) async throws -> ByteBuffer {
        var all = ByteBuffer()
        for try await part in content.body { all.writeImmutableBuffer(part) }
        return all
    }
}

enum EgressCertificates {
    private static let vectors = Result { try Vectors("egress/certificates.txt").records }

    private static func der(_ name: String, _ key: String) throws -> [UInt8] {
        let record = try #require(try vectors.get().first { $0["NAME"] == name }, "\(name)")
        return Array(try #require(Data(base64Encoded: record[key] ?? ""), "\(name)"))
    }

    static func certificate(_ name: String) throws -> NIOSSLCertificate {
        try NIOSSLCertificate(bytes: der(name, "CERTIFICATE"), format: .der)
    }

    /// What a server needs to show this certificate.
    static func server(_ name: String) throws -> NIOSSLContext {
        try NIOSSLContext(
            configuration: .makeServerConfiguration(
                certificateChain: [.certificate(try certificate(name))],
                privateKey: .privateKey(try NIOSSLPrivateKey(bytes: der("key", "KEY"), format: .der))))
    }
}

/// Waits for a condition, however busy the machine is.
func eventually(_ what: String, _ condition: () -> Bool) async throws {
    for _ in 0..<12_000 {
        if condition() { return }
        try await Task.sleep(for: .milliseconds(5))
    }
    Issue.record("never came: \(what)")
}
