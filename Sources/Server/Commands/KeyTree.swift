import Core

/// What needs a key, drawn as a tree.
package enum KeyTree {
    package static func text(_ graph: KeyGraphView) -> String {
        var lines = ["key \(graph.id): \(root(graph.secret))"]
        let ends = graph.edges.map(text) + graph.containers.map(text)
        for (index, end) in ends.enumerated() {
            lines.append((index == ends.count - 1 ? "└── " : "├── ") + TextTable.printable(end))
        }
        lines.append(verdict(graph))
        return lines.joined(separator: "\n")
    }

    private static func root(_ secret: KeyGraphView.Secret?) -> String {
        guard let secret else { return "not kept here (another key manager's, or erased)" }
        let record = secret.record
        var text = TextTable.printable("\(record.type.rawValue) of project \(record.project)\(quoted(record.name))")
        if record.contentType == nil { text += ", without a payload" }
        if let expiresAt = record.expiresAt { text += ", expires \(expiresAt.iso8601)" }
        if let deletedAt = secret.deletedAt, let until = secret.quarantinedUntil {
            let reason = secret.reason.map { " (\($0.rawValue))" } ?? ""
            text += ", deleted \(deletedAt.iso8601)\(reason), kept until \(until.iso8601) at least"
        }
        return text
    }

    private static func quoted(_ name: String?) -> String { name.map { " \"\($0)\"" } ?? "" }

    private static func text(_ end: KeyGraphView.Edge) -> String {
        let edge = end.edge
        let isImage = edge.consumer == .image(ImageID(edge.consumer.resourceID))
        var text = isImage ? "image" : "\(edge.consumer.service) \(edge.consumer.resourceType)"
        text += " \(edge.consumer.resourceID)"
        if let image = end.image {
            let status = image.recycledUntil.map { "in the recycle bin until \($0.iso8601)" } ?? image.status
            text += "\(quoted(image.name)) (\(status), project \(image.owner?.rawValue ?? "none"))"
        } else if isImage {
            text += " (unknown here)"
        }
        return text
            + ", \(edge.via == "consumer" ? "registered by project \(edge.project?.rawValue ?? "none")" : edge.via): "
            + meaning(edge)
    }

    private static func meaning(_ edge: KeyEdge) -> String {
        if !edge.holds { return "names it without the right to use it, and keeps nothing" }
        return switch edge.state {
        case .held: "needs it"
        case .releasing:
            "is deleted, needs it until its bytes are erased" + (edge.destroys ? "; the key is to go with it" : "")
        case .destroying: "is erased, the key is being destroyed with it"
        case .leaving: "is erased, and lets go of it"
        }
    }

    private static func text(_ container: KeyGraphView.Container) -> String {
        "container \(container.id)\(quoted(container.name)) has it as \"\(container.member)\", and keeps nothing"
    }

    private static func verdict(_ graph: KeyGraphView) -> String {
        switch graph.needing.count {
        case 0: "Nothing needs it."
        case 1: "If it goes, the one that needs it can no longer be read."
        case let count: "If it goes, the \(count) that need it can no longer be read."
        }
    }
}
