import Core
import HTTPTypes
import HummingbirdCore

struct ApplicationCredentialRoutes: Sendable {
    let identity: IdentityService

    func add(to routes: inout RouteTable) {
        let all = "/v3/users/{user_id}/application_credentials"
        routes.read(all) { exchange, caller in
            let name = try exchange.query()["name"]
            let credentials = try await identity.applicationCredentials(of: exchange.userID, name: name, as: caller)
            return .identity { json in
                json.list("application_credentials", credentials, exchange) { $0.credential($1, nil, exchange) }
            }
        }
        routes.on(.post, all) { exchange, caller in
            let document = try await exchange.json()
            let token = try await identity.tokenOf(exchange, caller)
            let (credential, secret) = try await identity.createApplicationCredential(
                of: exchange.userID, document, token: token, as: caller)
            return .identity(.created) { json in
                json.key("application_credential")
                json.credential(credential, secret, exchange)
            }
        }
        let single = all + "/{application_credential_id}"
        routes.read(single) { exchange, caller in
            let credential = try await identity.applicationCredential(
                exchange.credentialID, of: exchange.userID, as: caller)
            return .identity { json in
                json.key("application_credential")
                json.credential(credential, nil, exchange)
            }
        }
        routes.on(.delete, single, body: .refused) { exchange, caller in
            let token = try await identity.tokenOf(exchange, caller)
            try await identity.deleteApplicationCredential(
                exchange.credentialID, of: exchange.userID, token: token, as: caller)
            return .done
        }
        addAccessRules(to: &routes)
    }

    private func addAccessRules(to routes: inout RouteTable) {
        routes.read("/v3/users/{user_id}/access_rules") { exchange, caller in
            let rules = try await identity.accessRules(of: exchange.userID, as: caller)
            return .identity { $0.list("access_rules", rules, exchange) { $0.linkedRule($1, exchange) } }
        }
        let single = "/v3/users/{user_id}/access_rules/{access_rule_id}"
        routes.read(single) { exchange, caller in
            let rule = try await identity.accessRule(exchange.accessRuleID, of: exchange.userID, as: caller)
            return .identity { json in
                json.key("access_rule")
                json.linkedRule(rule, exchange)
            }
        }
        routes.on(.delete, single, body: .refused) { exchange, caller in
            try await identity.deleteAccessRule(exchange.accessRuleID, of: exchange.userID, as: caller)
            return .done
        }
    }
}

extension Exchange {
    fileprivate var credentialID: ApplicationCredentialID {
        ApplicationCredentialID(parameter("application_credential_id"))
    }
    fileprivate var accessRuleID: AccessRuleID { AccessRuleID(parameter("access_rule_id")) }
}

extension JSONWriter {
    /// - Parameter secret: only in the answer to the request that made it.
    fileprivate mutating func credential(
        _ credential: ApplicationCredential, _ secret: String?, _ exchange: Exchange
    ) {
        object { json in
            json.member("id", credential.id.rawValue)
            json.member("name", credential.name)
            json.member("description", credential.description)
            json.member("user_id", credential.userID.rawValue)
            json.member("project_id", credential.projectID.rawValue)
            json.member("system", nil as String?)
            // Keystone writes this one time without a zone.
            json.member("expires_at", credential.expiresAt.map { String($0.iso8601Microseconds.dropLast()) })
            json.member("unrestricted", credential.isUnrestricted)
            json.member(
                "roles", array: { json in for role in credential.roles { json.object { $0.roleMembers(role) } } })
            if let rules = credential.accessRules {
                json.member(
                    "access_rules", array: { json in for rule in rules { json.object { $0.accessRule(rule) } } })
            }
            if let secret { json.member("secret", secret) }
            json.selfLink("\(exchange.v3)/application_credentials/\(credential.id)")
        }
    }

    fileprivate mutating func linkedRule(_ rule: OwnedAccessRule, _ exchange: Exchange) {
        object { json in
            json.accessRule(rule)
            json.selfLink("\(exchange.v3)/access_rules/\(rule.id)")
        }
    }
}
