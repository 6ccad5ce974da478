import Core
import Persistence
import Testing

/// Every documented list and every lookup reads from an index: no query walks the table.
@Suite struct ImagePlanTests {
    private static let rows = 20_000

    /// 20,000 images of 50 projects, a tenth of them deleted, written without the API to be quick.
    private static func populated() async throws -> ImageFixture {
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
                        INSERT INTO image_members (image_id, member, status, created_at, updated_at)
                        VALUES ($1, $2, 'accepted', 0, 0)
                        """, id, "p\((n + 7) % 50)")
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

    private static let queries: [(String, @Sendable (inout ImageListQuery) -> Void)] = [
        ("default", { _ in }),
        ("all", { $0.scope = .all }),
        ("public", { $0.scope = .only(.public) }),
        ("community", { $0.scope = .only(.community) }),
        ("shared", { $0.scope = .only(.shared) }),
        ("private", { $0.scope = .only(.private) }),
        (
            "by name",
            {
                $0.sort = [(.name, .asc)]
                $0.tieDirection = .asc
            }
        ),
        ("by updated_at", { $0.sort = [(.updatedAt, .desc)] }),
        ("name=", { $0.filters = [.text(.name, anyOf: ["image 5"])] }),
        ("name=in:", { $0.filters = [.text(.name, anyOf: ["image 5", "image 6"])] }),
        ("id=", { $0.filters = [.text(.id, anyOf: ["00000000-0000-4000-8000-000000000005"])] }),
        ("checksum=", { $0.filters = [.text(.checksum, anyOf: ["00"])] }),
        ("os_hash_value=", { $0.filters = [.text(.hashValue, anyOf: ["00"])] }),
        ("tag=", { $0.filters = [.tag("tag 5")] }),
        ("os=", { $0.filters = [.property("os", "os 5")] }),
    ]

    @Test func everyArmOfEveryListUsesAnIndex() async throws {
        let fixture = try await Self.populated()
        let marker = try await fixture.images.get(
            "00000000-0000-4000-8000-000000009999", as: fixture.caller("admin", roles: ["admin"])
        ).image
        for (name, change) in Self.queries {
            for isAdmin in [false, true] {
                for marker in [nil, marker] {
                    var query = ImageListQuery()
                    change(&query)
                    for arm in ImageListArm.arms(of: query, project: "p1", isAdmin: isAdmin) {
                        let statement = ImageListStatement(arm: arm, query: query, marker: marker)
                        let plan = try await Self.plan(fixture, statement.sql, statement.arguments)
                        let scans = plan.filter {
                            $0.hasPrefix("SCAN") && !$0.contains("USING INDEX") && !$0.contains("USING COVERING INDEX")
                        }
                        #expect(scans == [], "\(name) \(arm.source) admin=\(isAdmin): \(plan)")
                        // An arm is found by what it is, never by walking all images in some order.
                        if arm.source != .everything, !isAdmin {
                            let walks = plan.filter { $0.contains("(os_hidden=?") }
                            #expect(walks == [], "\(name) \(arm.source): \(plan)")
                        }
                    }
                }
            }
        }
    }

    /// The default list is read in order: nothing is sorted, however many images there are.
    @Test func theDefaultListSortsNothing() async throws {
        let fixture = try await Self.populated()
        for isAdmin in [false, true] {
            for scope in [ImageListQuery.Scope.standard, .only(.public), .only(.community)] {
                var query = ImageListQuery()
                query.scope = scope
                for arm in ImageListArm.arms(of: query, project: "p1", isAdmin: isAdmin) {
                    if case .sharedWith = arm.source { continue }
                    let statement = ImageListStatement(arm: arm, query: query, marker: nil)
                    let plan = try await Self.plan(fixture, statement.sql, statement.arguments)
                    #expect(!plan.contains { $0.contains("TEMP B-TREE") }, "\(arm.source): \(plan)")
                }
            }
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
