import Core
import HTTPTypes
import HummingbirdCore

/// A list that is paged by counting, from its query to its answer.
struct KeyManagerList {
    let query: Query
    private let path: String
    private let limit: Int64
    private let offset: Int64

    /// - Parameter path: the list's own URL, without a query.
    /// - Throws: `ServiceError.badRequest`.
    init(_ exchange: Exchange, _ path: String) throws {
        query = try exchange.query()
        self.path = path
        (limit, offset) = KeyManagerLinks.place(query)
    }

    var request: KeyPageRequest { KeyPageRequest(limit: limit, offset: offset) }

    func response<Entry>(
        _ name: String, _ page: KeyPage<Entry>, _ write: (Entry, inout JSONWriter) -> Void
    ) -> Response {
        let links = KeyManagerLinks(path, query, limit: limit, offset: offset, total: page.total)
        return .json(.ok) { json in
            json.object { json in
                json.member(name, array: { json in for entry in page.entries { write(entry, &json) } })
                if let previous = links.previous { json.member("previous", previous) }
                if let next = links.next { json.member("next", next) }
                json.member("total", page.total)
            }
        }
    }
}
