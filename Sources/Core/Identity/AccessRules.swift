import Persistence

/// An access rule as a user keeps it: application credentials share equal ones.
package struct OwnedAccessRule: Sendable, Hashable {
    package let id: AccessRuleID
    package let rule: AccessRule
}

extension AccessRule {
    static let methods: Set<String> = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
}

extension IdentityService {
    package func accessRules(of userID: UserID, as caller: Caller) async throws -> [OwnedAccessRule] {
        try caller.require("list_access_rules", caller.readsIdentity || caller.userID == userID)
        return try await database.read { db in
            _ = try db.user(userID)
            return try db.query(
                "SELECT id, service, path, method FROM identity_access_rules WHERE user_id = $1 ORDER BY id", userID
            ) { try OwnedAccessRule(row: $0) }
        }
    }

    package func accessRule(_ id: AccessRuleID, of userID: UserID, as caller: Caller) async throws -> OwnedAccessRule {
        try caller.require("get_access_rule", caller.readsIdentity || caller.userID == userID)
        return try await database.read { try $0.accessRule(id, of: userID) }
    }

    /// - Throws: `.forbidden` while an application credential has the rule.
    package func deleteAccessRule(_ id: AccessRuleID, of userID: UserID, as caller: Caller) async throws {
        try caller.require("delete_access_rule", caller.isAdmin || caller.userID == userID)
        try await change { db in
            _ = try db.accessRule(id, of: userID)
            do {
                try db.execute("DELETE FROM identity_access_rules WHERE id = $1", id)
            } catch let error as SQLError where error.code == .foreignKey {
                throw ServiceError.forbidden("May not delete access rule in use")
            }
        }
    }
}

extension OwnedAccessRule {
    init(row: any SQLRow) throws {
        self.init(
            id: try row.get(0),
            rule: AccessRule(service: try row.get(1), method: try row.get(3), path: try row.get(2)))
    }
}

extension SQLConnection {
    /// - Throws: `ServiceError.notFound`.
    func accessRule(_ id: AccessRuleID, of userID: UserID) throws -> OwnedAccessRule {
        let rule = try first(
            "SELECT id, service, path, method FROM identity_access_rules WHERE id = $1 AND user_id = $2", id, userID
        ) { try OwnedAccessRule(row: $0) }
        guard let rule else { throw ServiceError.missing("Access Rule", id) }
        return rule
    }
}
