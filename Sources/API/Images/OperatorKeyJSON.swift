import Core

/// How keys look to the operator, on the wire and in the output of commands.
extension OperatorJSON {
    package static func write(_ entry: Quarantine.Entry, to json: inout JSONWriter) {
        json.object { json in
            json.member("id", entry.id.rawValue)
            json.member("name", entry.name)
            json.member("project", entry.project.rawValue)
            json.member("type", entry.type.rawValue)
            json.member("deleted_at", entry.deletedAt.iso8601)
            json.member("reason", entry.reason.rawValue)
            json.member("quarantined_until", entry.quarantinedUntil.iso8601)
            json.member("held", entry.isHeld)
        }
    }

    package static func write(_ graph: KeyGraphView, to json: inout JSONWriter) {
        json.object { json in
            json.member("id", graph.id.rawValue)
            json.key("secret")
            if let secret = graph.secret { write(secret, to: &json) } else { json.null() }
            json.member("needed_by", graph.needing.count)
            json.member("edges", array: { json in for edge in graph.edges { write(edge, to: &json) } })
            json.member(
                "containers",
                array: { json in
                    for container in graph.containers {
                        json.object { json in
                            json.member("id", container.id.rawValue)
                            json.member("name", container.name)
                            json.member("member", container.member)
                        }
                    }
                })
        }
    }

    private static func write(_ secret: KeyGraphView.Secret, to json: inout JSONWriter) {
        json.object { json in
            json.member("name", secret.record.name)
            json.member("project", secret.record.project.rawValue)
            json.member("creator", secret.record.creator.rawValue)
            json.member("type", secret.record.type.rawValue)
            json.member("has_payload", secret.record.contentType != nil)
            json.member("created_at", secret.record.createdAt.iso8601)
            json.member("expires_at", secret.record.expiresAt?.iso8601)
            json.member("deleted_at", secret.deletedAt?.iso8601)
            json.member("deletion_reason", secret.reason?.rawValue)
            json.member("quarantined_until", secret.quarantinedUntil?.iso8601)
        }
    }

    private static func write(_ end: KeyGraphView.Edge, to json: inout JSONWriter) {
        let edge = end.edge
        json.object { json in
            json.member("service", edge.consumer.service)
            json.member("resource_type", edge.consumer.resourceType)
            json.member("resource_id", edge.consumer.resourceID)
            json.member("via", edge.via)
            json.member("project", edge.project?.rawValue)
            json.member("state", edge.state.rawValue)
            json.member("holds", edge.holds)
            json.member("destroys", edge.destroys)
            json.member("needs_key", edge.keepsKey)
            json.member("created_at", edge.createdAt.iso8601)
            json.key("image")
            guard let image = end.image else {
                json.null()
                return
            }
            json.object { json in
                json.member("name", image.name)
                json.member("owner", image.owner?.rawValue)
                json.member("status", image.status)
                json.member("recycled_until", image.recycledUntil?.iso8601)
            }
        }
    }
}
