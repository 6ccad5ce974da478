/// Who may do what: Keystone's defaults. An admin does everything; a reader of the system reads
/// everything; others see themselves.
extension Caller {
    /// - Parameter action: Keystone's name of the rule, which its clients and tests look for.
    func require(_ action: String, _ allowed: Bool) throws {
        guard allowed else {
            throw ServiceError.forbidden("You are not authorized to perform the requested action: identity:\(action).")
        }
    }

    func requireAdmin(_ action: String) throws { try require(action, isAdmin) }

    /// Admin, or reader with system scope.
    var readsIdentity: Bool { isAdmin || hasSystemScope && has("reader") }
    func requireReader(_ action: String) throws { try require(action, readsIdentity) }

    /// The domain that a request which names none means.
    var ownDomainID: DomainID { domainID ?? projectDomainID ?? .standard }
}

extension ServiceError {
    static func missing(_ what: String, _ id: some Identifier) -> ServiceError {
        .notFound("Could not find \(what): \(id.rawValue.prefix(255)).")
    }

    /// The one text for every failed login: it must not tell which part was wrong.
    static let loginFailed = ServiceError.unauthorized("The request you have made requires authentication.")

    static func duplicate(_ what: String, _ detail: String) -> ServiceError {
        .conflict("Conflict occurred attempting to store \(what) - \(detail).")
    }
}
