import Core
import Persistence
import Testing

/// Every documented list and every lookup reads from an index: no query walks the table.
@Suite struct ImagePlanTests {
    private static let rows = 20_000

    /// 20,000 images of 50 projects, a tenth of them deleted, written without the API to be quick.
    private static func populated(_ rows: Int = rows) async throws -> ImageFixture {
        let fixture = try await ImageFixture()
        let visibilities = Image.Visibility.allCases.map(\.rawValue)
        try await fixture.database.write { db in
            for n in 0..<rows {
                let digits = String(n)
                let id = "00000000-0000-4000-8000-" + String(repeating: "0", count: 12 - digits.count) + digits
                let isDeleted = n.isMultiple(of: 10)
                try db.execute(
                    """
                    INSERT INTO images (id, name, status, visibility, os_hidden, protected, owner, min_disk, min_ram,
                        created_at, updated_at, deleted_at)
                    VALUES ($1, $2, $3, $4, 0, 0, $5, 0, 0, $6, $6, $7)
                    """,
                    id, "image \(n % 1000)", isDeleted ? "deleted" : "queued", visibilities[n % 4], "p\(n % 50)",
                    Int64(n) * 1_000_000, isDeleted ? Int64(1) : nil)
                guard !isDeleted else { continue }
                try db.execute(
                    "INSERT INTO image_properties (image_id, name, value) VALUES ($1, 'os', $2)", id, "os \(n % 300)")
                try db.execute("INSERT INTO image_tags (image_id, tag) VALUES ($1, $2)", id, "tag \(n % 300)")
                if visibilities[n % 4] == "shared" {
                    try db.execute(
                        """
                        INSERT INTO image_members
                            (image_id, member, status, created_at, updated_at, image_created_at)
                        VALUES ($1, $2, 'accepted', 0, 0, $3)
                        """, id, "p\((n + 7) % 50)", Int64(n) * 1_000_000)
                }
            }
        }
        return fixture
    }

    private static func plan(_ fixture: ImageFixture, _ sql: String, _ arguments: [any SQLBindable]) async throws
        -> [String]
    {
        try await fixture.database.read { db in
            try db.query("EXPLAIN QUERY PLAN " + sql, arguments) { try $0.get(3, as: String.self) }
        }
    }

    private static let scopes: [ImageListQuery.Scope] = [
        .standard, .all, .only(.public), .only(.community), .only(.shared), .only(.private),
    ]

    /// Filters that a walk takes in, and the index of a project's arm that it is then a walk over.
    private static let pinned: [(ImageListQuery.Filter, String)] = [
        (.text(.name, anyOf: ["image 5"]), "name"), (.text(.name, anyOf: ["image 5", "image 6"]), "name"),
        (.text(.status, anyOf: ["queued"]), "status"), (.text(.status, anyOf: ["active", "queued"]), "status"),
        (.text(.diskFormat, anyOf: ["raw"]), "disk"), (.text(.containerFormat, anyOf: ["bare"]), "container"),
        (.number(.size, .eq, 5), "size"),
    ]

    /// Filters that find images when a walk does not, and what by.
    private static let driving: [(ImageListQuery.Filter, String)] = [
        (.text(.id, anyOf: ["00000000-0000-4000-8000-000000000005"]), "sqlite_autoindex_images_1"),
        (.text(.checksum, anyOf: ["00"]), "images_checksum"), (.text(.hashValue, anyOf: ["00"]), "images_hash"),
        (.text(.hashAlgorithm, anyOf: ["sha512"]), "images_hash_algorithm"), (.tag("tag 5"), "image_tags_tag"),
        (.property("os", "os 5"), "image_properties_value"), (.protected(true), "images_protected"),
        (.number(.minRAM, .gte, 5), "images_min_ram"), (.number(.minDisk, .eq, 5), "images_min_disk"),
        (.number(.virtualSize, .lte, 5), "images_virtual_size"),
        (.number(.size, .gte, 5), "images_owner_size"),
        (.time(.updatedAt, .gt, Timestamp(seconds: 7)), "images_owner_updated"),
        (.text(.status, anyOf: ["active", "x", "y", "z", "a", "b", "c", "d", "e"]), "images_owner_status"),
    ]

    private struct Asked: CustomStringConvertible {
        let query: ImageListQuery
        let isAdmin: Bool
        let marker: Image?
        let search: ImageListSearch

        var description: String {
            "\(query.scope) \(query.sort) \(query.filters) admin=\(isAdmin) marker=\(marker != nil)"
        }
    }

    private static func marker(_ fixture: ImageFixture) async throws -> Image {
        try await fixture.images.get(
            "00000000-0000-4000-8000-000000009999", as: fixture.caller("admin", roles: ["admin"])
        ).image
    }

    private static func asked(_ marker: Image, _ change: (inout ImageListQuery) -> Void) -> [Asked] {
        var all: [Asked] = []
        for scope in scopes {
            for isAdmin in [false, true] {
                for marker in [nil, marker] {
                    var query = ImageListQuery()
                    query.scope = scope
                    change(&query)
                    let search = ImageListSearch(query, project: "p1", isAdmin: isAdmin, marker: marker)
                    all.append(Asked(query: query, isAdmin: isAdmin, marker: marker, search: search))
                }
            }
        }
        return all
    }

    /// Every sort, alone and with every filter by equality, is a walk over indexes: nothing is sorted but what is shared
    /// with a project, and each arm is found by all that it is.
    @Test(arguments: ImageListQuery.SortKey.allCases, [ImageListQuery.Direction.asc, .desc])
    func everySortIsAWalkOverIndexes(_ key: ImageListQuery.SortKey, _ direction: ImageListQuery.Direction) async throws
    {
        let fixture = try await Self.populated()
        let marker = try await Self.marker(fixture)
        var filters: [ImageListQuery.Filter?] = [nil]
        if key == .createdAt { filters += Self.pinned.map(\.0) + [.text(.owner, anyOf: ["p7"])] }
        for filter in filters {
            let all = Self.asked(marker) { query in
                query.sort = [(key, direction)]
                query.tieDirection = direction
                query.filters = filter.map { [$0] } ?? []
            }
            for asked in all {
                let arms = ImageListArm.arms(of: asked.query, project: "p1", isAdmin: asked.isAdmin)
                if arms.isEmpty { continue }
                let hasShared = arms.contains { !$0.isIndexed }
                let statement = asked.search.walkStatement
                let plan = try await Self.plan(fixture, statement.sql, statement.arguments)
                #expect(!plan.contains { $0.hasPrefix("SCAN") }, "\(asked): \(plan)")
                let sorts = plan.contains { $0.contains("TEMP B-TREE") }
                #expect(!sorts || hasShared && key != .createdAt, "\(asked): \(plan)")
                let unbounded = plan.filter {
                    $0.contains("INDEX images_") && !$0.contains("visibility=? AND os_hidden=?")
                }
                #expect(unbounded == [], "\(asked): \(plan)")
                // A page that is not the first begins in the index, not at the arm's beginning.
                if asked.marker != nil {
                    let late = plan.filter { line in
                        let isWalked =
                            line.contains("INDEX images_")
                            || key == .createdAt && line.contains("INDEX image_members_member")
                        return isWalked && !line.contains(">") && !line.contains("<")
                    }
                    #expect(late == [], "\(asked): \(plan)")
                }
            }
        }
    }

    @Test func filtersByEqualityAreAPartOfTheWalk() async throws {
        let fixture = try await Self.populated()
        for (filter, index) in Self.pinned {
            var query = ImageListQuery()
            query.filters = [filter]
            let search = ImageListSearch(query, project: "p1", isAdmin: false, marker: nil)
            let plan = try await Self.plan(fixture, search.walkStatement.sql, search.walkStatement.arguments)
            let walks = plan.filter { $0.contains("INDEX images_") }
            #expect(
                walks.allSatisfy {
                    $0.contains("INDEX images_owner_\(index) ") || $0.contains("INDEX images_visibility_\(index) ")
                }, "\(filter): \(plan)")
            #expect(!walks.isEmpty)
        }
    }

    @Test func rareFiltersFindByIndexesOfTheirOwn() async throws {
        let fixture = try await Self.populated()
        let marker = try await Self.marker(fixture)
        for (filter, index) in Self.driving {
            let all = Self.asked(marker) { query in
                query.filters = [filter, .protected(false)]
                query.sort = [(.name, .asc)]
            }
            for asked in all where !asked.isAdmin && asked.query.scope == .standard {
                let statement = try #require(asked.search.drivenStatement(by: filter))
                let plan = try await Self.plan(fixture, statement.sql, statement.arguments)
                #expect(!plan.contains { $0.hasPrefix("SCAN") }, "\(filter): \(plan)")
                #expect(plan.contains { $0.contains("INDEX \(index) ") }, "\(filter): \(plan)")
            }
        }
    }

    /// A filter that finds few images is what they are found by; one that finds many is left to the walk.
    @Test func aFilterLeadsIfItFindsFew() async throws {
        let fixture = try await Self.populated()
        func leader(_ filters: [ImageListQuery.Filter], _ limit: Int) async throws -> ImageListQuery.Filter? {
            var query = ImageListQuery()
            query.filters = filters
            let search = ImageListSearch(query, project: "p1", isAdmin: true, marker: nil)
            return try await fixture.database.read { try search.driver(finding: limit, in: $0) }
        }
        // Of 300 tags this one has 67 images.
        #expect(try await leader([.tag("tag 5")], 67) == .tag("tag 5"))
        #expect(try await leader([.tag("tag 5")], 66) == nil)
        #expect(try await leader([.tag("tag 5"), .protected(true)], 100) == .protected(true))
        #expect(try await leader([.number(.minRAM, .eq, 0)], 100_000) == nil)
        #expect(try await leader([.time(.updatedAt, .gte, Timestamp(seconds: 19_980))], 100) != nil)
    }

    /// What a page costs, in steps of SQLite's machine, is what it returns: twenty times the images, the same steps.
    @Test func pagesCostTheSameHoweverManyImagesThereAre() async throws {
        let sizes = [1_000, 20_000]
        var steps: [[Int]] = []
        let changes: [(String, @Sendable (inout ImageListQuery) -> Void)] = [
            ("standard", { _ in }), ("all", { $0.scope = .all }), ("public", { $0.scope = .only(.public) }),
            ("by name", { $0.sort = [(.name, .desc)] }), ("by size", { $0.sort = [(.size, .desc)] }),
            ("queued", { $0.filters = [.text(.status, anyOf: ["queued"])] }),
            ("active, of which there are none", { $0.filters = [.text(.status, anyOf: ["active"])] }),
            ("protected, of which there are none", { $0.filters = [.protected(true)] }),
            ("a tag that nobody gave", { $0.filters = [.tag("nobody's")] }),
            ("all that have no RAM to ask for", { $0.filters = [.number(.minRAM, .eq, 0)] }),
            ("large, of which there are none", { $0.filters = [.number(.size, .gte, 1)] }),
        ]
        for size in sizes {
            let fixture = try await Self.populated(size)
            var these: [Int] = []
            for (_, change) in changes {
                for isAdmin in [false, true] {
                    var query = ImageListQuery()
                    change(&query)
                    // A project with which nothing is shared: shares are sorted.
                    let search = ImageListSearch(query, project: "p2", isAdmin: isAdmin, marker: nil)
                    these.append(try await fixture.database.measuredRead { try search.run(in: $0).count }.steps)
                }
            }
            steps.append(these)
        }
        for (index, (few, many)) in zip(steps[0], steps[1]).enumerated() {
            #expect(many > 0 && many <= few * 13 / 10 + 50, "\(changes[index / 2].0): \(few) steps, then \(many)")
        }
    }

    @Test func lookupsUseIndexes() async throws {
        let fixture = try await Self.populated()
        let id = "00000000-0000-4000-8000-000000000005"
        let statements: [(String, [any SQLBindable])] = [
            ("SELECT name FROM images i WHERE i.id = $1 AND i.deleted_at IS NULL", [id]),
            ("SELECT name, value FROM image_properties WHERE image_id = $1", [id]),
            ("SELECT tag FROM image_tags WHERE image_id = $1", [id]),
            ("SELECT 1 FROM image_members WHERE image_id = $1 AND member = $2", [id, "p"]),
            ("SELECT id, store FROM blobs WHERE image_id = $1 AND state = 'live' ORDER BY created_at, id", [id]),
            ("SELECT COALESCE(SUM(charged_bytes), 0) FROM blobs WHERE project = $1 AND charged_bytes > 0", ["p"]),
            (
                """
                SELECT kind, subject FROM jobs WHERE state = 'waiting' AND lane = $1 AND next_attempt_at <= $2
                ORDER BY next_attempt_at, kind, subject LIMIT 32
                """, ["local", Int64(1)]
            ),
            ("SELECT id FROM images WHERE recycled_until <= $1 ORDER BY recycled_until, id", [Int64(1)]),
            ("SELECT MIN(store) FROM blobs WHERE store > $1", [""]),
        ]
        for (sql, arguments) in statements {
            let plan = try await Self.plan(fixture, sql, arguments)
            #expect(plan.allSatisfy { !$0.hasPrefix("SCAN") }, "\(sql): \(plan)")
        }
    }

    /// What every pass of the reconciler reads: of blobs and jobs only those that are held, by their own indexes.
    @Test func thePassesOfTheReconcilerReadOnlyWhatIsHeld() async throws {
        let fixture = try await Self.populated()
        let uploads = try await Self.plan(fixture, Images.heldBlobsSQL, [])
        #expect(uploads.first?.contains("USING INDEX blobs_held") == true, "\(uploads)")
        let jobs = try await Self.plan(fixture, Jobs.runningSQL, [])
        #expect(jobs.first?.contains("USING INDEX jobs_running") == true, "\(jobs)")
        #expect(!(uploads + jobs).contains { $0.contains("TEMP B-TREE") })
    }

    /// What the operator pages through, and what the metrics ask for every few seconds.
    @Test func theOperatorsListsUseIndexesAndSortNothing() async throws {
        let fixture = try await Self.populated()
        let marker = PageMarker(Timestamp(seconds: 1), "erase-blob/x")
        var statements: [(String, [any SQLBindable])] = [
            (RecycleBin.countSQL, []), (RecycleBin.bytesSQL, []),
            ("SELECT MIN(doomed_at) FROM blobs WHERE state = 'doomed'", []),
        ]
        for page in [PageRequest(), PageRequest(after: marker)] {
            var lists = [RecycleBin.statement(page), OperatorView.waitingDeletionsStatement(page)]
            lists.append(try JobAdministration.statement(.init(), page))
            lists.append(try JobAdministration.statement(.init(kind: .eraseBlob), page))
            lists.append(try JobAdministration.statement(.init(state: .waiting, kind: .eraseBlob), page))
            statements += lists.map { ($0.sql, $0.arguments) }
        }
        for (sql, arguments) in statements {
            let plan = try await Self.plan(fixture, sql, arguments)
            let walks = plan.filter { $0.hasPrefix("SCAN") && !$0.contains(" INDEX ") }
            #expect(walks == [], "\(sql): \(plan)")
            #expect(!plan.contains { $0.contains("TEMP B-TREE") }, "\(sql): \(plan)")
        }
        // Few rows: sorted, but found without a walk.
        let few =
            [(OperatorView.writtenBlobsSQL, [10] as [any SQLBindable])]
            + (try [Job.State.running, .parked].map { state in
                let statement = try JobAdministration.statement(.init(state: state), PageRequest())
                return (statement.sql, statement.arguments)
            })
        for (sql, arguments) in few {
            let plan = try await Self.plan(fixture, sql, arguments)
            #expect(plan.allSatisfy { !$0.hasPrefix("SCAN") || $0.contains(" INDEX ") }, "\(sql): \(plan)")
        }
    }
}
