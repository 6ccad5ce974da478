import Core

/// The query of a request of the operator's view. What is not known is refused: a misspelt filter would
/// otherwise show everything.
struct OperatorQuery {
    private let query: Query

    /// - Throws: `ServiceError.badRequest`.
    init(_ exchange: Exchange, allowed: Set<String> = []) throws {
        query = try exchange.query()
        for (name, _) in query.pairs where !allowed.contains(name) {
            let known = allowed.sorted().joined(separator: ", ")
            throw ServiceError.badRequest(
                "There is no parameter '\(name.prefix(64))' here" + (known.isEmpty ? "." : "; there are \(known)."))
        }
        if let name = query.pairs.map(\.name).first(where: { name in query.all(name).count > 1 }) {
            throw ServiceError.badRequest("The parameter \(name) is given twice.")
        }
    }

    subscript(_ name: String) -> String? { query[name] }

    func page() throws -> PageRequest {
        var page = PageRequest()
        if let text = query["limit"] {
            guard let limit = Int(text), text.utf8.allSatisfy({ (48...57).contains($0) }) else {
                throw ServiceError.badRequest("limit must be an integer, zero or more.")
            }
            page.limit = min(limit, PageRequest.maxLimit)
        }
        if let text = query["marker"] {
            guard let marker = PageMarker(text) else {
                throw ServiceError.badRequest("Invalid marker: take the one in a page's link to the next.")
            }
            page.after = marker
        }
        return page
    }

    func jobFilter() throws -> JobAdministration.Filter {
        var filter = JobAdministration.Filter()
        if let text = query["state"] {
            guard let state = Job.State(rawValue: text) else {
                let known = Job.State.allCases.map(\.rawValue).joined(separator: ", ")
                throw ServiceError.badRequest("There is no state '\(text.prefix(64))' of jobs; there are \(known).")
            }
            filter.state = state
        }
        if let text = query["kind"] {
            guard !text.isEmpty else { throw ServiceError.badRequest("kind is empty.") }
            filter.kind = JobKind(text)
        }
        return filter
    }

    func flag(_ name: String) throws -> Bool {
        switch query[name] {
        case nil, "false": return false
        case "true": return true
        default: throw ServiceError.badRequest("\(name) must be true or false.")
        }
    }

    /// The same request for the page that begins at `marker`.
    func link(_ path: String, _ marker: PageMarker) -> String {
        var pairs = query.pairs.filter { $0.name != "marker" }
        pairs.append(("marker", marker.text))
        let text = pairs.map { "\(Percent.encode($0.name))=\(Percent.encode($0.value))" }.joined(separator: "&")
        return "\(OperatorRoutes.root)\(path)?\(text)"
    }
}
