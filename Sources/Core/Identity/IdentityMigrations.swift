import Persistence

/// The schema of Identity. Truth is 0/1, times are microseconds UTC; `extra` holds a JSON object of
/// attributes that no API defines (Keystone keeps and returns them), empty when there are none.
package enum IdentityMigrations {
    package static let all: [Migration] = [
        Migration(100, "identity: domains, projects, users, roles", people),
        Migration(101, "identity: catalogue and limits", catalog),
        Migration(102, "identity: application credentials and revocations", credentials),
    ]

    private static let people = [
        """
        CREATE TABLE identity_domains (
            id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, description TEXT NOT NULL, enabled BIGINT NOT NULL,
            tags TEXT NOT NULL, extra TEXT NOT NULL)
        """,
        """
        CREATE TABLE identity_projects (
            id TEXT PRIMARY KEY, domain_id TEXT NOT NULL REFERENCES identity_domains (id), name TEXT NOT NULL,
            parent_id TEXT REFERENCES identity_projects (id), description TEXT NOT NULL, enabled BIGINT NOT NULL,
            tags TEXT NOT NULL, extra TEXT NOT NULL, UNIQUE (domain_id, name))
        """,
        "CREATE INDEX identity_projects_parent ON identity_projects (parent_id)",
        "CREATE INDEX identity_projects_name ON identity_projects (name)",
        """
        CREATE TABLE identity_users (
            id TEXT PRIMARY KEY, domain_id TEXT NOT NULL REFERENCES identity_domains (id), name TEXT NOT NULL,
            enabled BIGINT NOT NULL, default_project_id TEXT, password_hash TEXT, extra TEXT NOT NULL,
            not_before BIGINT NOT NULL, failed_attempts BIGINT NOT NULL, failed_at BIGINT NOT NULL,
            UNIQUE (domain_id, name))
        """,
        "CREATE INDEX identity_users_name ON identity_users (name)",
        "CREATE INDEX identity_users_default_project ON identity_users (default_project_id)",
        // Policies compare roles without regard to case, so two that differ in case alone must not be.
        """
        CREATE TABLE identity_roles (
            id TEXT PRIMARY KEY, name TEXT NOT NULL, name_key TEXT NOT NULL UNIQUE, description TEXT,
            fixed BIGINT NOT NULL, extra TEXT NOT NULL)
        """,
        // target_kind is 'project', 'domain' or 'system'; the system's target_id is 'all'.
        """
        CREATE TABLE identity_assignments (
            user_id TEXT NOT NULL REFERENCES identity_users (id) ON DELETE CASCADE,
            target_kind TEXT NOT NULL CHECK (target_kind IN ('project', 'domain', 'system')),
            target_id TEXT NOT NULL,
            role_id TEXT NOT NULL REFERENCES identity_roles (id) ON DELETE CASCADE,
            PRIMARY KEY (user_id, target_kind, target_id, role_id))
        """,
        "CREATE INDEX identity_assignments_target ON identity_assignments (target_kind, target_id)",
        "CREATE INDEX identity_assignments_role ON identity_assignments (role_id)",
    ]

    private static let catalog = [
        """
        CREATE TABLE identity_regions (
            id TEXT PRIMARY KEY, description TEXT NOT NULL, parent_region_id TEXT REFERENCES identity_regions (id),
            extra TEXT NOT NULL)
        """,
        "CREATE INDEX identity_regions_parent ON identity_regions (parent_region_id)",
        """
        CREATE TABLE identity_services (
            id TEXT PRIMARY KEY, type TEXT NOT NULL, name TEXT, description TEXT, enabled BIGINT NOT NULL,
            extra TEXT NOT NULL)
        """,
        """
        CREATE TABLE identity_endpoints (
            id TEXT PRIMARY KEY,
            service_id TEXT NOT NULL REFERENCES identity_services (id) ON DELETE CASCADE,
            interface TEXT NOT NULL CHECK (interface IN ('public', 'internal', 'admin')),
            region_id TEXT REFERENCES identity_regions (id), url TEXT NOT NULL, enabled BIGINT NOT NULL,
            extra TEXT NOT NULL)
        """,
        "CREATE INDEX identity_endpoints_service ON identity_endpoints (service_id)",
        "CREATE INDEX identity_endpoints_region ON identity_endpoints (region_id)",
        // NULLs are distinct under UNIQUE, so a limit of no region has the key ''.
        """
        CREATE TABLE identity_registered_limits (
            id TEXT PRIMARY KEY, service_id TEXT NOT NULL REFERENCES identity_services (id),
            region_id TEXT REFERENCES identity_regions (id), region_key TEXT NOT NULL, resource_name TEXT NOT NULL,
            default_limit BIGINT NOT NULL, description TEXT, UNIQUE (service_id, region_key, resource_name))
        """,
        "CREATE INDEX identity_registered_limits_region ON identity_registered_limits (region_id)",
        // owner is 'project/ID' or 'domain/ID'.
        """
        CREATE TABLE identity_limits (
            id TEXT PRIMARY KEY, registered_limit_id TEXT NOT NULL REFERENCES identity_registered_limits (id),
            project_id TEXT REFERENCES identity_projects (id), domain_id TEXT REFERENCES identity_domains (id),
            owner TEXT NOT NULL, resource_limit BIGINT NOT NULL, description TEXT,
            UNIQUE (registered_limit_id, owner))
        """,
        "CREATE INDEX identity_limits_project ON identity_limits (project_id)",
        "CREATE INDEX identity_limits_domain ON identity_limits (domain_id)",
    ]

    private static let credentials = [
        """
        CREATE TABLE identity_app_credentials (
            id TEXT PRIMARY KEY, user_id TEXT NOT NULL REFERENCES identity_users (id) ON DELETE CASCADE,
            project_id TEXT NOT NULL REFERENCES identity_projects (id), name TEXT NOT NULL, description TEXT,
            secret_hash TEXT NOT NULL, expires_at BIGINT, unrestricted BIGINT NOT NULL,
            has_access_rules BIGINT NOT NULL, UNIQUE (user_id, name))
        """,
        "CREATE INDEX identity_app_credentials_project ON identity_app_credentials (project_id)",
        """
        CREATE TABLE identity_app_credential_roles (
            credential_id TEXT NOT NULL REFERENCES identity_app_credentials (id) ON DELETE CASCADE,
            role_id TEXT NOT NULL REFERENCES identity_roles (id) ON DELETE CASCADE,
            PRIMARY KEY (credential_id, role_id))
        """,
        "CREATE INDEX identity_app_credential_roles_role ON identity_app_credential_roles (role_id)",
        """
        CREATE TABLE identity_access_rules (
            id TEXT PRIMARY KEY, user_id TEXT NOT NULL REFERENCES identity_users (id) ON DELETE CASCADE,
            service TEXT NOT NULL, path TEXT NOT NULL, method TEXT NOT NULL,
            UNIQUE (user_id, service, path, method))
        """,
        """
        CREATE TABLE identity_app_credential_rules (
            credential_id TEXT NOT NULL REFERENCES identity_app_credentials (id) ON DELETE CASCADE,
            rule_id TEXT NOT NULL REFERENCES identity_access_rules (id),
            PRIMARY KEY (credential_id, rule_id))
        """,
        "CREATE INDEX identity_app_credential_rules_rule ON identity_app_credential_rules (rule_id)",
        "CREATE TABLE identity_revocations (audit_id TEXT PRIMARY KEY, keep_until BIGINT NOT NULL)",
        "CREATE INDEX identity_revocations_end ON identity_revocations (keep_until)",
    ]
}
