import Core
import HTTPTypes
import HummingbirdCore

struct MetadefTagRoutes: Sendable {
    let metadefs: Metadefs

    func add(to routes: inout RouteTable) {
        let all = "/v2/metadefs/namespaces/{namespace}/tags"
        routes.get(all) { exchange, caller in
            let query = try MetadefListParser.tags(try exchange.query())
            let tags = try await metadefs.tags(in: exchange.namespace, query, as: caller).map(\.name)
            return .json(.ok) { json in json.object { json in MetadefJSON.write(tags, to: &json) } }
        }
        routes.on(.post, all) { exchange, caller in
            let tags = try MetadefTag.names(json: try await exchange.json())
            try await metadefs.addTags(tags, to: exchange.namespace, isAppending: exchange.appends, as: caller)
            return .json(.created) { json in json.object { json in MetadefJSON.write(tags, to: &json) } }
        }
        routes.on(.delete, all, body: .refused) { exchange, caller in
            try await metadefs.deleteTags(from: exchange.namespace, as: caller)
            return .empty(.noContent)
        }
        routes.get(all + "/{tag}") { exchange, caller in
            let tag = try await metadefs.tag(exchange.tag, in: exchange.namespace, as: caller)
            return .json(.ok) { MetadefJSON.write(tag, to: &$0) }
        }
        routes.on(.post, all + "/{tag}", body: .refused) { exchange, caller in
            let name = try MetadefTag.name(json: ["name": .string(exchange.tag)])
            let tag = try await metadefs.addTag(name, to: exchange.namespace, as: caller)
            return .json(.created) { MetadefJSON.write(tag, to: &$0) }
        }
        routes.on(.put, all + "/{tag}") { exchange, caller in
            let name = try MetadefTag.name(json: try await exchange.json())
            let tag = try await metadefs.renameTag(exchange.tag, to: name, in: exchange.namespace, as: caller)
            return .json(.ok) { MetadefJSON.write(tag, to: &$0) }
        }
        routes.on(.delete, all + "/{tag}", body: .refused) { exchange, caller in
            try await metadefs.deleteTag(exchange.tag, from: exchange.namespace, as: caller)
            return .empty(.noContent)
        }
    }
}

extension Exchange {
    fileprivate var tag: String { parameter("tag") }

    /// Whether `X-Openstack-Append` says yes, in any of the words that OpenStack's services take for it.
    fileprivate var appends: Bool {
        guard let name = HTTPField.Name("X-Openstack-Append"), let text = headers[name] else { return false }
        return ["1", "t", "true", "on", "y", "yes"].contains(text.trimmingSpaces().lowercased())
    }
}
