import Core
import HTTPTypes
import HummingbirdCore

/// What a route does with a request's body.
package enum BodyRule: Sendable {
    /// A request with a body is refused with 400 before anything is looked up.
    case refused
    /// The handler reads it, or leaves it: then the connection is closed.
    case accepted
}

/// One method of one path.
package struct Route: Sendable {
    package enum Handler: Sendable {
        /// Needs no token.
        case open(@Sendable (Exchange) async throws -> Response)
        /// Runs only for a caller whose token was accepted.
        case authenticated(@Sendable (Exchange, Caller) async throws -> Response)
    }

    package let method: HTTPRequest.Method
    /// Path behind the mount; `{name}` captures one segment. Also the route's name in metrics.
    package let template: String
    package let body: BodyRule
    package let handler: Handler
    /// The same for a request that can be answered without waiting for anything; it returns nil, or throws, when that
    /// turns out not to be so, and then has done nothing. Only where the work is bounded and takes microseconds.
    package let brief: (@Sendable (Exchange, Caller) throws -> Response.Ready?)?

    package init(
        method: HTTPRequest.Method, template: String, body: BodyRule, handler: Handler,
        brief: (@Sendable (Exchange, Caller) throws -> Response.Ready?)? = nil
    ) {
        self.method = method
        self.template = template
        self.body = body
        self.handler = handler
        self.brief = brief
    }
}

/// A service's routes as a tree over path segments: literals win over captures.
package struct RouteTable: Sendable {
    package private(set) var routes: [Route] = []
    private var root = Node()

    private struct Node: Sendable {
        var literals: [String: Node] = [:]
        var capture: (name: String, node: Box)?
        var methods: [HTTPRequest.Method: Route] = [:]
    }

    /// Gives the recursive value a place to live.
    private final class Box: Sendable {
        let node: Node
        init(_ node: Node) { self.node = node }
    }

    package enum Match {
        case route(Route, parameters: [String: String])
        case wrongMethod(template: String, allowed: [String])
        case none
    }

    package init() {}

    package mutating func add(_ route: Route) {
        routes.append(route)
        let segments = route.template.split(separator: "/", omittingEmptySubsequences: false).dropFirst().map(
            String.init)
        Self.insert(route, segments[...], into: &root)
    }

    package mutating func get(
        _ template: String, _ handler: @escaping @Sendable (Exchange, Caller) async throws -> Response,
        brief: (@Sendable (Exchange, Caller) throws -> Response.Ready?)? = nil
    ) {
        add(
            Route(
                method: .get, template: template, body: .refused, handler: .authenticated(handler), brief: brief))
    }

    package mutating func on(
        _ method: HTTPRequest.Method, _ template: String, body: BodyRule = .accepted,
        _ handler: @escaping @Sendable (Exchange, Caller) async throws -> Response
    ) {
        add(Route(method: method, template: template, body: body, handler: .authenticated(handler)))
    }

    package mutating func open(
        _ method: HTTPRequest.Method, _ template: String, body: BodyRule = .accepted,
        _ handler: @escaping @Sendable (Exchange) async throws -> Response
    ) {
        add(Route(method: method, template: template, body: body, handler: .open(handler)))
    }

    private static func insert(_ route: Route, _ segments: ArraySlice<String>, into node: inout Node) {
        guard let first = segments.first else {
            precondition(node.methods[route.method] == nil, "\(route.method) \(route.template) is there twice")
            node.methods[route.method] = route
            return
        }
        if first.hasPrefix("{") {
            let name = String(first.dropFirst().dropLast())
            precondition(node.capture == nil || node.capture!.name == name, "two names for one segment: \(first)")
            var child = node.capture?.node.node ?? Node()
            insert(route, segments.dropFirst(), into: &child)
            node.capture = (name, Box(child))
        } else {
            insert(route, segments.dropFirst(), into: &node.literals[first, default: Node()])
        }
    }

    /// An empty segment is never captured: `/v2/images/` is not an image.
    package func match(_ method: HTTPRequest.Method, _ path: [String]) -> Match {
        var parameters: [String: String] = [:]
        guard let node = Self.find(path[...], from: root, &parameters), let any = node.methods.values.first else {
            return .none
        }
        if let route = node.methods[method] { return .route(route, parameters: parameters) }
        return .wrongMethod(template: any.template, allowed: node.methods.keys.map(\.rawValue).sorted())
    }

    private static func find(
        _ path: ArraySlice<String>, from node: Node, _ parameters: inout [String: String]
    ) -> Node? {
        guard let first = path.first else { return node.methods.isEmpty ? nil : node }
        if let child = node.literals[first], let found = find(path.dropFirst(), from: child, &parameters) {
            return found
        }
        guard let capture = node.capture, !first.isEmpty else { return nil }
        guard let found = find(path.dropFirst(), from: capture.node.node, &parameters) else { return nil }
        parameters[capture.name] = first
        return found
    }
}
