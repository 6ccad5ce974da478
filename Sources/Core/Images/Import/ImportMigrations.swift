import Persistence

/// The tables of imports. Versions 210 to 219.
enum ImportMigrations {
    static let all = [
        Migration(210, "staged bytes", stagedBytes),
        Migration(211, "tasks and imports", tasks + imports),
        Migration(212, "imports from other image services", [glance]),
    ]

    /// Staged bytes are a blob like any other that is not its image's data: not served, not counted among its stores.
    /// What turns them into data is a change of this column.
    private static let stagedBytes = [
        "ALTER TABLE blobs ADD COLUMN role TEXT NOT NULL DEFAULT 'data' CHECK (role IN ('data', 'staged'))"
    ]

    /// What clients watch (Image API digest, section 3.6). The open task of an image is the lock on its imports: there
    /// is one at most.
    private static let tasks = [
        """
        CREATE TABLE tasks (
            id TEXT PRIMARY KEY,
            type TEXT NOT NULL,
            status TEXT NOT NULL CHECK (status IN ('pending', 'processing', 'success', 'failure')),
            owner TEXT,
            user_id TEXT,
            request_id TEXT,
            image_id TEXT,
            input TEXT NOT NULL,
            result TEXT,
            message TEXT NOT NULL,
            created_at BIGINT NOT NULL,
            updated_at BIGINT NOT NULL,
            expires_at BIGINT,
            CHECK ((status IN ('success', 'failure')) = (expires_at IS NOT NULL))
        )
        """,
        """
        CREATE UNIQUE INDEX tasks_lock ON tasks (image_id)
            WHERE status IN ('pending', 'processing') AND type IN ('import', 'api_image_import')
        """,
        "CREATE INDEX tasks_image ON tasks (image_id, created_at, id)",
        "CREATE INDEX tasks_created ON tasks (created_at, id)",
        "CREATE INDEX tasks_expiring ON tasks (expires_at, id) WHERE expires_at IS NOT NULL",
        "CREATE INDEX tasks_open ON tasks (created_at, id) WHERE status IN ('pending', 'processing')",
    ]

    /// Of `glance-download`: the token of whoever asked for it, closed (`RecordSeal.conceal`), and what of the image's
    /// record the other service's description replaced, once it has.
    private static let glance = """
        CREATE TABLE import_glance (
            task_id TEXT PRIMARY KEY REFERENCES imports (task_id),
            token TEXT NOT NULL,
            replaced TEXT
        )
        """

    /// What an import is to do and how far it is; gone when its task ends.
    ///
    /// `source` is the blob that is copied: staged, or for `copy-image` none, for then it is any of the image's data.
    /// What the first verified pass found of the bytes (`size_bytes` to `hash_value`) is what each copy has to have;
    /// `asked` is what of the image's record they were held against.
    private static let imports = [
        """
        CREATE TABLE imports (
            task_id TEXT PRIMARY KEY REFERENCES tasks (id),
            method TEXT NOT NULL,
            must_all_succeed BIGINT NOT NULL,
            roles TEXT NOT NULL,
            certificate TEXT,
            source TEXT,
            steps_done BIGINT NOT NULL,
            size_bytes BIGINT,
            virtual_size BIGINT,
            checksum TEXT,
            hash_algorithm TEXT,
            hash_value TEXT,
            asked TEXT,
            CHECK ((size_bytes IS NULL) = (checksum IS NULL)),
            CHECK ((size_bytes IS NULL) = (hash_algorithm IS NULL)),
            CHECK ((size_bytes IS NULL) = (hash_value IS NULL)),
            CHECK ((size_bytes IS NULL) = (asked IS NULL)),
            CHECK (size_bytes IS NOT NULL OR virtual_size IS NULL)
        )
        """,
        """
        CREATE TABLE import_targets (
            task_id TEXT NOT NULL REFERENCES imports (task_id),
            store TEXT NOT NULL,
            position BIGINT NOT NULL,
            state TEXT NOT NULL CHECK (state IN ('waiting', 'copied', 'failed')),
            blob TEXT,
            PRIMARY KEY (task_id, store),
            CHECK ((state = 'copied') = (blob IS NOT NULL))
        )
        """,
    ]
}
