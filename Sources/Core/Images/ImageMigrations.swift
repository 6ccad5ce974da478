import Persistence

/// The tables of images and their bytes. Versions 200 to 299.
package enum ImageMigrations {
    package static let all =
        [
            Migration(200, "images", images + children + blobs),
            Migration(201, "recycle bin", recycleBin + blobsWithJobs),
            Migration(202, "size of the recycle bin", recycleBinSize),
            Migration(203, "provenance of images", provenance),
            Migration(204, "indexes of lists", ImageListIndexes.arms),
            Migration(205, "indexes of rare filters", ImageListIndexes.rare),
            Migration(206, "shares by the age of their images", ImageListIndexes.shares),
            Migration(207, "properties and tags in one tree each", inOneTree),
            Migration(220, "locations of images", locations),
        ] + ImportMigrations.all + CacheMigrations.all

    /// A deleted image stays as a row, so that its id is never given out again (OSSN-0075). All that
    /// lists and lookups read is in partial indexes without the deleted.
    private static let images = [
        """
        CREATE TABLE images (
            id TEXT PRIMARY KEY,
            name TEXT,
            status TEXT NOT NULL,
            visibility TEXT NOT NULL,
            os_hidden BIGINT NOT NULL,
            protected BIGINT NOT NULL,
            owner TEXT,
            container_format TEXT,
            disk_format TEXT,
            min_disk BIGINT NOT NULL,
            min_ram BIGINT NOT NULL,
            size BIGINT,
            virtual_size BIGINT,
            checksum TEXT,
            os_hash_algo TEXT,
            os_hash_value TEXT,
            created_at BIGINT NOT NULL,
            updated_at BIGINT NOT NULL,
            deleted_at BIGINT,
            CHECK ((status = 'deleted') = (deleted_at IS NOT NULL)),
            CHECK (status NOT IN ('active', 'deactivated') OR size IS NOT NULL),
            CHECK (status <> 'queued' OR (size IS NULL AND checksum IS NULL AND os_hash_value IS NULL))
        )
        """,
        // One index an arm of the list (ListImages.swift), in the order of its default sort.
        """
        CREATE INDEX images_owner ON images (owner, os_hidden, created_at, id)
            WHERE deleted_at IS NULL
        """,
        """
        CREATE INDEX images_visibility ON images (visibility, os_hidden, created_at, id)
            WHERE deleted_at IS NULL
        """,
        "CREATE INDEX images_created ON images (os_hidden, created_at, id) WHERE deleted_at IS NULL",
        // And one for the sort that people use most beside it, and for each filter that picks few rows.
        "CREATE INDEX images_updated ON images (os_hidden, updated_at, created_at, id) WHERE deleted_at IS NULL",
        "CREATE INDEX images_name ON images (name, created_at, id) WHERE deleted_at IS NULL",
        """
        CREATE INDEX images_sort_name ON images (os_hidden, COALESCE(name, ''), created_at, id)
            WHERE deleted_at IS NULL
        """,
        """
        CREATE INDEX images_owner_name ON images (owner, os_hidden, COALESCE(name, ''), created_at, id)
            WHERE deleted_at IS NULL
        """,
        """
        CREATE INDEX images_visibility_name ON images (visibility, os_hidden, COALESCE(name, ''), created_at, id)
            WHERE deleted_at IS NULL
        """,
        "CREATE INDEX images_checksum ON images (checksum) WHERE deleted_at IS NULL AND checksum IS NOT NULL",
        "CREATE INDEX images_hash ON images (os_hash_value) WHERE deleted_at IS NULL AND os_hash_value IS NOT NULL",
        "CREATE INDEX images_status ON images (status, created_at, id) WHERE deleted_at IS NULL",
    ]

    private static let children = [
        """
        CREATE TABLE image_properties (
            image_id TEXT NOT NULL REFERENCES images (id),
            name TEXT NOT NULL,
            value TEXT,
            PRIMARY KEY (image_id, name)
        )
        """,
        "CREATE INDEX image_properties_value ON image_properties (name, value, image_id)",
        """
        CREATE TABLE image_tags (
            image_id TEXT NOT NULL REFERENCES images (id),
            tag TEXT NOT NULL,
            PRIMARY KEY (image_id, tag)
        )
        """,
        "CREATE INDEX image_tags_tag ON image_tags (tag, image_id)",
        """
        CREATE TABLE image_members (
            image_id TEXT NOT NULL REFERENCES images (id),
            member TEXT NOT NULL,
            status TEXT NOT NULL CHECK (status IN ('pending', 'accepted', 'rejected')),
            created_at BIGINT NOT NULL,
            updated_at BIGINT NOT NULL,
            PRIMARY KEY (image_id, member)
        )
        """,
        "CREATE INDEX image_members_member ON image_members (member, status, image_id)",
    ]

    /// An image's properties and tags stand together in the tree of their primary key, and not in another one that it
    /// leads to: half the pages to read and to write. The clause is SQLite's; other engines' tables are the same without.
    private static let inOneTree = [
        """
        CREATE TABLE image_properties_in_order (
            image_id TEXT NOT NULL REFERENCES images (id),
            name TEXT NOT NULL,
            value TEXT,
            PRIMARY KEY (image_id, name)
        ) WITHOUT ROWID
        """,
        "INSERT INTO image_properties_in_order SELECT image_id, name, value FROM image_properties ORDER BY image_id, name",
        "DROP TABLE image_properties",
        "ALTER TABLE image_properties_in_order RENAME TO image_properties",
        "CREATE INDEX image_properties_value ON image_properties (name, value, image_id)",
        """
        CREATE TABLE image_tags_in_order (
            image_id TEXT NOT NULL REFERENCES images (id),
            tag TEXT NOT NULL,
            PRIMARY KEY (image_id, tag)
        ) WITHOUT ROWID
        """,
        "INSERT INTO image_tags_in_order SELECT image_id, tag FROM image_tags ORDER BY image_id, tag",
        "DROP TABLE image_tags",
        "ALTER TABLE image_tags_in_order RENAME TO image_tags",
        "CREATE INDEX image_tags_tag ON image_tags (tag, image_id)",
    ]

    /// Every byte in a store has a row here from before it is written until after it is erased:
    ///
    ///     writing ──commit──▶ live ──delete──▶ doomed ──erased──▶ (no row)
    ///        └──────failure, delete, lost lease──────▲
    ///
    /// `charged_bytes` is what the project's quota is charged: the reservation while writing, the
    /// size once live, nothing once doomed. `epoch` fences: who took the lease last has the highest.
    private static let blobs = [
        """
        CREATE TABLE blobs (
            id TEXT PRIMARY KEY,
            store TEXT NOT NULL,
            image_id TEXT NOT NULL REFERENCES images (id),
            project TEXT,
            state TEXT NOT NULL CHECK (state IN ('writing', 'live', 'doomed')),
            charged_bytes BIGINT NOT NULL CHECK (charged_bytes >= 0),
            epoch BIGINT NOT NULL,
            lease_owner TEXT,
            lease_until BIGINT,
            created_at BIGINT NOT NULL,
            attempts BIGINT NOT NULL,
            next_attempt_at BIGINT NOT NULL,
            last_error TEXT,
            CHECK ((state = 'writing') = (lease_owner IS NOT NULL)),
            CHECK ((state = 'writing') = (lease_until IS NOT NULL)),
            CHECK (state <> 'doomed' OR charged_bytes = 0)
        )
        """,
        "CREATE INDEX blobs_image ON blobs (image_id, state)",
        "CREATE INDEX blobs_usage ON blobs (project, charged_bytes) WHERE charged_bytes > 0",
        "CREATE INDEX blobs_doomed ON blobs (next_attempt_at, id) WHERE state = 'doomed'",
        "CREATE INDEX blobs_writing ON blobs (lease_until, id) WHERE state = 'writing'",
    ]

    /// In the recycle bin an image is deleted for everyone, but keeps its children and bytes until
    /// `recycled_until`.
    private static let recycleBin = [
        "ALTER TABLE images ADD COLUMN recycled_until BIGINT",
        "ALTER TABLE images ADD COLUMN status_before_deletion TEXT",
        "CREATE INDEX images_recycled ON images (recycled_until, id) WHERE recycled_until IS NOT NULL",
    ]

    /// Erasing is a job; and a doomed blob keeps the owner of its last lease until that has let go:
    ///
    ///     writing ──commit──▶ live ◀──undelete/delete──▶ recycled
    ///        │                 │ delete                     │ bin emptied
    ///        └─failure, lost───┴──────────▶ doomed ◀────────┘
    ///          lease, delete                  └──erased and let go──▶ (no row)
    private static let blobsWithJobs = [
        """
        CREATE TABLE blobs_new (
            id TEXT PRIMARY KEY,
            store TEXT NOT NULL,
            image_id TEXT NOT NULL REFERENCES images (id),
            project TEXT,
            state TEXT NOT NULL CHECK (state IN ('writing', 'live', 'recycled', 'doomed')),
            charged_bytes BIGINT NOT NULL CHECK (charged_bytes >= 0),
            size_bytes BIGINT,
            epoch BIGINT NOT NULL,
            lease_owner TEXT,
            lease_until BIGINT,
            created_at BIGINT NOT NULL,
            doomed_at BIGINT,
            doom_reason TEXT,
            CHECK ((state = 'writing') = (lease_until IS NOT NULL)),
            CHECK (state <> 'writing' OR lease_owner IS NOT NULL),
            CHECK (state IN ('writing', 'doomed') OR lease_owner IS NULL),
            CHECK (state <> 'live' OR (size_bytes IS NOT NULL AND charged_bytes = size_bytes)),
            CHECK (state <> 'recycled' OR size_bytes IS NOT NULL),
            CHECK (state IN ('writing', 'live') OR charged_bytes = 0),
            CHECK ((state = 'doomed') = (doomed_at IS NOT NULL)),
            CHECK ((state = 'doomed') = (doom_reason IS NOT NULL))
        )
        """,
        """
        INSERT INTO blobs_new (id, store, image_id, project, state, charged_bytes, size_bytes, epoch, lease_owner,
            lease_until, created_at, doomed_at, doom_reason)
        SELECT id, store, image_id, project, state, charged_bytes,
            CASE WHEN state = 'live' THEN charged_bytes END, epoch, lease_owner, lease_until, created_at,
            CASE WHEN state = 'doomed' THEN created_at END, CASE WHEN state = 'doomed' THEN 'image deleted' END
        FROM blobs
        """,
        """
        INSERT INTO jobs (kind, subject, lane, project, state, attempts, next_attempt_at, epoch, last_error,
            created_at)
        SELECT 'erase-blob', id, store, project, 'waiting', attempts, next_attempt_at, 0, last_error, created_at
        FROM blobs WHERE state = 'doomed'
        """,
        "DROP TABLE blobs",
        "ALTER TABLE blobs_new RENAME TO blobs",
        "CREATE INDEX blobs_image ON blobs (image_id, state)",
        "CREATE INDEX blobs_usage ON blobs (project, charged_bytes) WHERE charged_bytes > 0",
        "CREATE INDEX blobs_doomed ON blobs (doomed_at, id) WHERE state = 'doomed'",
        "CREATE INDEX blobs_held ON blobs (lease_owner, id) WHERE lease_owner IS NOT NULL",
    ]
    /// The bin's size is a metric, hence asked for every few seconds.
    private static let recycleBinSize = [
        "CREATE INDEX blobs_recycled ON blobs (project, size_bytes) WHERE state = 'recycled'"
    ]

    /// What was verified of an image's bytes (Provenance.swift), and what was found wrong with them since
    /// (ImageFlags.swift). A signer is there whole or not at all.
    private static let provenance = [
        """
        CREATE TABLE image_provenance (
            image_id TEXT PRIMARY KEY REFERENCES images (id),
            size_bytes BIGINT NOT NULL,
            algorithm TEXT NOT NULL,
            digest TEXT NOT NULL,
            signer_subject TEXT,
            signer_fingerprint TEXT,
            certificate TEXT,
            key_type TEXT,
            hash_method TEXT,
            chain TEXT CHECK (chain IN ('unchecked', 'trusted', 'untrusted')),
            chain_detail TEXT,
            verified_at BIGINT NOT NULL,
            seal_key TEXT NOT NULL,
            seal TEXT NOT NULL,
            CHECK ((signer_subject IS NULL) = (signer_fingerprint IS NULL)),
            CHECK ((signer_subject IS NULL) = (certificate IS NULL)),
            CHECK ((signer_subject IS NULL) = (key_type IS NULL)),
            CHECK ((signer_subject IS NULL) = (hash_method IS NULL)),
            CHECK ((signer_subject IS NULL) = (chain IS NULL))
        )
        """,
        """
        CREATE TABLE image_flags (
            image_id TEXT PRIMARY KEY REFERENCES images (id),
            store TEXT,
            reason TEXT NOT NULL,
            first_at BIGINT NOT NULL,
            last_at BIGINT NOT NULL,
            count BIGINT NOT NULL
        )
        """,
        "CREATE INDEX image_flags_first ON image_flags (first_at, image_id)",
    ]

    /// Bytes of images that other servers keep (ImageLocation.swift). What was promised of bytes that are still being
    /// checked stands beside them. A location of either kind may have metadata: `location` is a blob or a location.
    private static let locations = [
        """
        CREATE TABLE image_locations (
            id TEXT PRIMARY KEY,
            image_id TEXT NOT NULL REFERENCES images (id),
            store TEXT NOT NULL,
            url TEXT NOT NULL,
            size_bytes BIGINT NOT NULL CHECK (size_bytes > 0),
            state TEXT NOT NULL CHECK (state IN ('live', 'checking', 'rejected')),
            promised_algorithm TEXT,
            promised_digest TEXT,
            created_at BIGINT NOT NULL,
            CHECK ((state = 'checking') = (promised_digest IS NOT NULL)),
            CHECK ((promised_algorithm IS NULL) = (promised_digest IS NULL))
        )
        """,
        "CREATE INDEX image_locations_image ON image_locations (image_id, state)",
        """
        CREATE TABLE image_location_metadata (
            image_id TEXT NOT NULL REFERENCES images (id),
            location TEXT NOT NULL,
            name TEXT NOT NULL,
            value TEXT NOT NULL,
            PRIMARY KEY (image_id, location, name)
        )
        """,
    ]
}
