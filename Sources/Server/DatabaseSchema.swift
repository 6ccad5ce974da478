import Core
import Persistence

/// All that the database of a server holds.
package enum DatabaseSchema {
    package static let migrations =
        IdentityMigrations.all + JobMigrations.all + ImageMigrations.all + SecretMigrations.all
        + MetadefMigrations.all
}
