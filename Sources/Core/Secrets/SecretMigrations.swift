import Persistence

/// The tables of keys: who wraps what, the secrets, who needs them, and what the Key Manager API keeps
/// beside them. Versions 300 to 399.
package enum SecretMigrations {
    package static let all = [
        Migration(300, "keys", wrapping + secrets + edges + access + containers + orders)
    ]

    /// master key (a file) ─wraps▶ project key ─wraps▶ secret's key ─seals▶ payload. A key that still wraps
    /// something cannot go: its row is referred to.
    private static let wrapping = [
        """
        CREATE TABLE master_keys (
            id TEXT PRIMARY KEY,
            state TEXT NOT NULL CHECK (state IN ('active', 'retiring')),
            canary BYTEA NOT NULL,
            created_at BIGINT NOT NULL
        )
        """,
        "CREATE UNIQUE INDEX master_keys_active ON master_keys (state) WHERE state = 'active'",
        """
        CREATE TABLE project_keys (
            id TEXT PRIMARY KEY,
            project TEXT NOT NULL,
            master_key TEXT NOT NULL REFERENCES master_keys (id),
            state TEXT NOT NULL CHECK (state IN ('active', 'retiring')),
            wrapped BYTEA NOT NULL,
            wraps BIGINT NOT NULL,
            created_at BIGINT NOT NULL
        )
        """,
        "CREATE UNIQUE INDEX project_keys_active ON project_keys (project) WHERE state = 'active'",
        "CREATE INDEX project_keys_master ON project_keys (master_key, id)",
    ]

    /// A deleted secret is nobody's but the operator's until `quarantined_until`; erasing it removes the row
    /// and with it the only wrapping of its key.
    private static let secrets = [
        """
        CREATE TABLE secrets (
            id TEXT PRIMARY KEY,
            project TEXT NOT NULL,
            creator TEXT NOT NULL,
            name TEXT,
            secret_type TEXT NOT NULL,
            algorithm TEXT,
            bit_length BIGINT,
            mode TEXT,
            expires_at BIGINT,
            created_at BIGINT NOT NULL,
            updated_at BIGINT NOT NULL,
            content_type TEXT,
            project_key TEXT REFERENCES project_keys (id),
            wrapped_key BYTEA,
            sealed_payload BYTEA,
            deleted_at BIGINT,
            quarantined_until BIGINT,
            deletion_reason TEXT,
            CHECK ((content_type IS NULL) = (sealed_payload IS NULL)),
            CHECK ((sealed_payload IS NULL) = (wrapped_key IS NULL)),
            CHECK ((wrapped_key IS NULL) = (project_key IS NULL)),
            CHECK ((deleted_at IS NULL) = (quarantined_until IS NULL)),
            CHECK ((deleted_at IS NULL) = (deletion_reason IS NULL))
        )
        """,
        "CREATE INDEX secrets_project ON secrets (project, created_at, id) WHERE deleted_at IS NULL",
        "CREATE INDEX secrets_wrapped ON secrets (project_key, id) WHERE project_key IS NOT NULL",
        """
        CREATE INDEX secrets_quarantined ON secrets (quarantined_until, id) WHERE quarantined_until IS NOT NULL
        """,
        """
        CREATE INDEX secrets_expiring ON secrets (expires_at, id)
            WHERE deleted_at IS NULL AND expires_at IS NOT NULL
        """,
        """
        CREATE TABLE secret_metadata (
            secret_id TEXT NOT NULL REFERENCES secrets (id),
            name TEXT NOT NULL,
            value TEXT NOT NULL,
            PRIMARY KEY (secret_id, name)
        )
        """,
    ]

    /// Who needs which key, whatever service it belongs to and wherever the key is kept (rule R5):
    ///
    ///     held ──resource deleted, its bytes erased──▶ releasing ──nobody else──▶ destroying ──▶ (no row)
    ///                                                      └──others need the key──▶ leaving ──▶ (no row)
    ///
    /// `via` is the property that names the key, or `consumer` for what clients registered. An edge that
    /// does not hold is of somebody who could not use the key: it is shown and protects nothing.
    private static let edges = [
        """
        CREATE TABLE key_edges (
            secret_id TEXT NOT NULL,
            service TEXT NOT NULL,
            resource_type TEXT NOT NULL,
            resource_id TEXT NOT NULL,
            via TEXT NOT NULL,
            project TEXT,
            holds BIGINT NOT NULL,
            state TEXT NOT NULL CHECK (state IN ('held', 'releasing', 'destroying', 'leaving')),
            destroys BIGINT NOT NULL,
            created_at BIGINT NOT NULL,
            PRIMARY KEY (secret_id, service, resource_type, resource_id, via),
            CHECK (state = 'held' OR via <> 'consumer'),
            CHECK (state <> 'held' OR destroys = 0),
            CHECK (state <> 'destroying' OR destroys = 1)
        )
        """,
        // What images name already (`ImageKeys`), those in the recycle bin included.
        """
        INSERT INTO key_edges (secret_id, service, resource_type, resource_id, via, project, holds, state, destroys,
            created_at)
        SELECT LOWER(p.value), 'image', 'image', p.image_id, p.name, i.owner, 1, 'held', 0, i.created_at
        FROM image_properties p JOIN images i ON i.id = p.image_id
        WHERE p.name IN ('cinder_encryption_key_id', 'os_encrypt_key_id', 'hw_ephemeral_encryption_secret_uuid',
                'img_signature_certificate_uuid')
            AND p.value LIKE '________-____-____-____-____________'
        """,
        "CREATE INDEX key_edges_resource ON key_edges (service, resource_type, resource_id, secret_id)",
        "CREATE INDEX key_edges_project ON key_edges (project, via)",
    ]

    /// Access beyond the project's own, of secrets and containers alike. Without a row: the project's members.
    private static let access = [
        """
        CREATE TABLE secret_acls (
            resource_id TEXT PRIMARY KEY,
            project_access BIGINT NOT NULL,
            created_at BIGINT NOT NULL,
            updated_at BIGINT NOT NULL
        )
        """,
        """
        CREATE TABLE secret_acl_users (
            resource_id TEXT NOT NULL REFERENCES secret_acls (resource_id),
            user_id TEXT NOT NULL,
            PRIMARY KEY (resource_id, user_id)
        )
        """,
        "CREATE INDEX secret_acl_users_user ON secret_acl_users (user_id, resource_id)",
        """
        CREATE TABLE key_quotas (
            project TEXT PRIMARY KEY,
            secrets BIGINT,
            orders BIGINT,
            containers BIGINT,
            consumers BIGINT
        )
        """,
    ]

    private static let containers = [
        """
        CREATE TABLE secret_containers (
            id TEXT PRIMARY KEY,
            project TEXT NOT NULL,
            creator TEXT NOT NULL,
            name TEXT,
            type TEXT NOT NULL CHECK (type IN ('generic', 'rsa', 'certificate')),
            created_at BIGINT NOT NULL,
            updated_at BIGINT NOT NULL
        )
        """,
        "CREATE INDEX secret_containers_project ON secret_containers (project, created_at, id)",
        """
        CREATE TABLE secret_container_members (
            container_id TEXT NOT NULL REFERENCES secret_containers (id),
            secret_id TEXT NOT NULL,
            name TEXT NOT NULL,
            PRIMARY KEY (container_id, secret_id, name)
        )
        """,
        "CREATE INDEX secret_container_members_secret ON secret_container_members (secret_id, container_id)",
        """
        CREATE TABLE secret_container_consumers (
            container_id TEXT NOT NULL REFERENCES secret_containers (id),
            name TEXT NOT NULL,
            url TEXT NOT NULL,
            project TEXT,
            created_at BIGINT NOT NULL,
            updated_at BIGINT NOT NULL,
            PRIMARY KEY (container_id, name, url)
        )
        """,
        "CREATE INDEX secret_container_consumers_project ON secret_container_consumers (project)",
    ]

    private static let orders = [
        """
        CREATE TABLE secret_orders (
            id TEXT PRIMARY KEY,
            project TEXT NOT NULL,
            creator TEXT NOT NULL,
            type TEXT NOT NULL CHECK (type IN ('key', 'asymmetric')),
            meta TEXT NOT NULL,
            status TEXT NOT NULL CHECK (status IN ('PENDING', 'ACTIVE', 'ERROR')),
            secret_id TEXT,
            container_id TEXT,
            error_status TEXT,
            error_reason TEXT,
            created_at BIGINT NOT NULL,
            updated_at BIGINT NOT NULL
        )
        """,
        "CREATE INDEX secret_orders_project ON secret_orders (project, created_at, id)",
    ]
}
