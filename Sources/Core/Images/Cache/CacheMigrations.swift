import Persistence

/// The tables of the cache (ImageCache.swift). Versions 230 to 239.
package enum CacheMigrations {
    package static let all = [Migration(230, "image cache", imageCache)]

    /// What each node has of which image. While a blob is named here or among the doomed, it may exist.
    private static let imageCache = [
        """
        CREATE TABLE image_cache (
            node TEXT NOT NULL,
            image_id TEXT NOT NULL REFERENCES images (id),
            state TEXT NOT NULL CHECK (state IN ('queued', 'filling', 'cached')),
            blob TEXT UNIQUE,
            size_bytes BIGINT,
            hits BIGINT NOT NULL,
            queued_at BIGINT NOT NULL,
            last_modified BIGINT,
            last_accessed BIGINT,
            PRIMARY KEY (node, image_id),
            CHECK ((state = 'queued') = (blob IS NULL)),
            CHECK ((state = 'queued') = (size_bytes IS NULL)),
            CHECK ((state = 'cached') = (last_accessed IS NOT NULL)),
            CHECK ((state = 'cached') = (last_modified IS NOT NULL))
        )
        """,
        "CREATE INDEX image_cache_image ON image_cache (image_id)",
        "CREATE INDEX image_cache_queue ON image_cache (node, queued_at, image_id) WHERE state = 'queued'",
        "CREATE INDEX image_cache_used ON image_cache (node, last_accessed, image_id) WHERE state = 'cached'",
        "CREATE TABLE image_cache_doomed (blob TEXT PRIMARY KEY, node TEXT NOT NULL)",
    ]
}
