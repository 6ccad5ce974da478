import Persistence

/// One page of a list.
package struct SecretPage: Sendable {
    package let secrets: [SecretView]
    /// How many there are on all pages.
    package let total: Int64
}

extension Secrets {
    /// `GET /v1/secrets`: what the caller's project has, or what it is on the access list of. Private secrets of
    /// others in the project are listed too, as the real service does it.
    /// - Throws: `ServiceError.forbidden`.
    package func list(_ query: SecretListQuery, withConsumers: Bool, as caller: Caller) async throws -> SecretPage {
        let project = try SecretPolicy.require(.list, caller)
        let statement = SecretListStatement(query, project: project, user: caller.userID, now: now)
        return try await database.read { db in
            let total = try db.query(statement.count, statement.arguments) { try $0.get(0, as: Int64.self) }.first ?? 0
            guard query.offset < total else { return SecretPage(secrets: [], total: total) }
            let secrets = try db.query(statement.page, statement.pageArguments, row: SecretRow.read)
            return SecretPage(
                secrets: try secrets.map {
                    SecretView(secret: $0, consumers: withConsumers ? try db.consumers(of: $0.id) : [])
                }, total: total)
        }
    }
}
