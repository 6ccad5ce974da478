import Persistence

/// The tables of metadata definitions. Versions 400 to 409.
package enum MetadefMigrations {
    package static let all = [Migration(400, "metadata definitions", tables)]

    /// `position` keeps the order in which a namespace's objects and tags came; definitions and lists are JSON.
    private static let tables = [
        """
        CREATE TABLE metadef_namespaces (
            id TEXT PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            display_name TEXT,
            description TEXT,
            visibility TEXT NOT NULL CHECK (visibility IN ('public', 'private')),
            protected BIGINT NOT NULL,
            owner TEXT NOT NULL,
            created_at BIGINT NOT NULL,
            updated_at BIGINT NOT NULL
        )
        """,
        "CREATE INDEX metadef_namespaces_created ON metadef_namespaces (created_at, name)",
        """
        CREATE TABLE metadef_properties (
            namespace_id TEXT NOT NULL REFERENCES metadef_namespaces (id),
            name TEXT NOT NULL,
            definition TEXT NOT NULL,
            PRIMARY KEY (namespace_id, name)
        )
        """,
        """
        CREATE TABLE metadef_objects (
            namespace_id TEXT NOT NULL REFERENCES metadef_namespaces (id),
            name TEXT NOT NULL,
            position BIGINT NOT NULL,
            description TEXT,
            required TEXT NOT NULL,
            properties TEXT NOT NULL,
            created_at BIGINT NOT NULL,
            updated_at BIGINT NOT NULL,
            PRIMARY KEY (namespace_id, name)
        )
        """,
        """
        CREATE TABLE metadef_tags (
            namespace_id TEXT NOT NULL REFERENCES metadef_namespaces (id),
            name TEXT NOT NULL,
            position BIGINT NOT NULL,
            created_at BIGINT NOT NULL,
            updated_at BIGINT NOT NULL,
            PRIMARY KEY (namespace_id, name)
        )
        """,
        // A type outlives the associations that brought it: clients choose from it for new ones.
        """
        CREATE TABLE metadef_resource_types (
            name TEXT PRIMARY KEY,
            created_at BIGINT NOT NULL,
            updated_at BIGINT NOT NULL
        )
        """,
        """
        CREATE TABLE metadef_associations (
            namespace_id TEXT NOT NULL REFERENCES metadef_namespaces (id),
            resource_type TEXT NOT NULL REFERENCES metadef_resource_types (name),
            prefix TEXT,
            properties_target TEXT,
            created_at BIGINT NOT NULL,
            updated_at BIGINT NOT NULL,
            PRIMARY KEY (namespace_id, resource_type)
        )
        """,
        "CREATE INDEX metadef_associations_type ON metadef_associations (resource_type, namespace_id)",
    ]
}
