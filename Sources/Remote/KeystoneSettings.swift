/// How to reach a Keystone, and as whom (`identity: keystone`).
package struct KeystoneSettings: Sendable, CustomStringConvertible {
    /// Where Identity v3 is, with or without `/v3` at the end.
    package var authURL: String
    /// What clients are told on a 401; `authURL` if nil.
    package var publicURL: String?
    package var username: String
    package var password: String
    package var userDomainName = "Default"
    package var projectName = "service"
    package var projectDomainName = "Default"
    /// A service token counts only with one of these.
    package var serviceTokenRoles = ["service"]
    /// False lets service tokens without such a role pass, though they permit nothing more.
    package var serviceTokenRolesRequired = true
    /// How long a validated token is remembered, and so how long a revocation may go unseen: 0…60.
    package var cacheSeconds: Int64 = 60
    /// For one try to get an answer.
    package var timeoutSeconds: Int64 = 10

    package init(authURL: String, username: String, password: String) {
        self.authURL = authURL
        self.username = username
        self.password = password
    }

    /// Without the password, wherever it may be printed.
    package var description: String { "\(username) in \(projectName) at \(authURL)" }
}

extension KeystoneSettings: CustomReflectable {
    package var customMirror: Mirror { Mirror(self, children: ["authURL": authURL, "username": username]) }
}
