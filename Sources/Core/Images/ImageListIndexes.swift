/// The indexes of lists: migrations 204 to 206.
///
/// An arm of a list (`ImageListArm`) is the first columns of an index, a filter by equality or the sort key the next,
/// and `created_at, id` the last: so each arm is read in order from wherever the page begins. There are two indexes a
/// key, since an arm is a project's or everybody's. Absent values sort as empty ones, in columns that the engine derives:
/// an index on the expression itself could not be entered at a marker's position.
enum ImageListIndexes {
    private static let keys = [
        ("created", ""),
        ("updated", "updated_at, "),
        ("name", "sort_name, "),
        ("status", "status, "),
        ("container", "sort_container, "),
        ("disk", "sort_disk, "),
        ("size", "sort_size, "),
    ]

    /// Of version 200, in which only `created_at` and `name` had indexes an arm.
    private static let former = [
        "owner", "visibility", "created", "updated", "name", "sort_name", "owner_name", "visibility_name", "status",
    ]

    private static let derived = [
        ("sort_name TEXT", "COALESCE(name, '')"), ("sort_container TEXT", "COALESCE(container_format, '')"),
        ("sort_disk TEXT", "COALESCE(disk_format, '')"), ("sort_size BIGINT", "COALESCE(size, 0)"),
    ].map { "ALTER TABLE images ADD COLUMN \($0) GENERATED ALWAYS AS (\($1)) VIRTUAL" }

    static let arms: [String] = {
        var statements = former.map { "DROP INDEX images_\($0)" }
        statements += derived
        for (name, column) in keys {
            statements.append(index("owner_\(name)", "owner, visibility, os_hidden, \(column)created_at, id"))
            statements.append(index("visibility_\(name)", "visibility, os_hidden, \(column)created_at, id"))
        }
        statements.append(index("owner_id", "owner, visibility, os_hidden, id"))
        statements.append(index("visibility_id", "visibility, os_hidden, id"))
        return statements
    }()

    /// Of what most images do not have: only those that have it are in the index.
    static let rare = [
        index("protected", "protected, id", "protected = 1"),
        index("min_disk", "min_disk, id", "min_disk > 0"),
        index("min_ram", "min_ram, id", "min_ram > 0"),
        index("virtual_size", "virtual_size, id", "virtual_size IS NOT NULL"),
        index("hash_algorithm", "os_hash_algo, id", "os_hash_algo IS NOT NULL"),
        "CREATE INDEX blobs_store ON blobs (store, id)",
    ]

    /// When an image was made never changes, so a share can have it too: what is shared with a project is then read in the
    /// order that lists have unless another is asked for.
    static let shares = [
        "ALTER TABLE image_members ADD COLUMN image_created_at BIGINT NOT NULL DEFAULT 0",
        """
        UPDATE image_members SET image_created_at =
            (SELECT i.created_at FROM images i WHERE i.id = image_members.image_id)
        """,
        "DROP INDEX image_members_member",
        "CREATE INDEX image_members_member ON image_members (member, status, image_created_at, image_id)",
    ]

    private static func index(_ name: String, _ columns: String, _ condition: String? = nil) -> String {
        "CREATE INDEX images_\(name) ON images (\(columns)) WHERE deleted_at IS NULL"
            + (condition.map { " AND \($0)" } ?? "")
    }
}
