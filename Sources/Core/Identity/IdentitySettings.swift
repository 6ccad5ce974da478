/// What the operator decides about the embedded Identity.
package struct IdentitySettings: Sendable {
    package var tokenLifetimeSeconds: Int64 = 3600
    /// How long a service may still use a user's expired token.
    package var expiredWindowSeconds: Int64 = 172_800
    /// Wrong passwords in a row after which a user is locked out.
    package var lockoutAttempts = 5
    /// How long, counted from the last wrong password.
    package var lockoutSeconds: Int64 = 1800
    package var region = "RegionOne"
    /// log2 of scrypt's N: 16 takes 64 MiB and some 200 ms for each login.
    package var scryptCost = 16
    /// Logins hashed at once; each holds scrypt's memory.
    package var hashingConcurrency = 2
    /// Logins that may wait for their turn; a further one is told to come back.
    package var hashingQueueLimit = 256
    /// Validated tokens kept in memory, and for how long at most.
    package var tokenCacheLimit = 20_000
    package var tokenCacheSeconds: Int64 = 60
    /// What `WWW-Authenticate` names: where clients find this Identity.
    package var publicURL = "http://127.0.0.1:5000/v3"

    package init() {}
}
