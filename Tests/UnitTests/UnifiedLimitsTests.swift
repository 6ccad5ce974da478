import Core
import NIOCore
import Persistence
import Synchronization
import Testing

/// Quotas whose limits an Identity keeps.
@Suite struct UnifiedLimitsTests {
    /// Registered limits on the same database as the images, for the service there is.
    private func fixture(_ limits: [(name: String, region: String?, limit: Int64)]) async throws -> ImageFixture {
        let fixture = try await ImageFixture { $0.limits = .identity(region: "North") }
        try await fixture.database.write { db in
            try db.execute("INSERT INTO identity_services (id, type, enabled, extra) VALUES ('s', 'image', 1, '')")
            for region in ["North", "South"] {
                try db.execute("INSERT INTO identity_regions (id, description, extra) VALUES ($1, '', '')", region)
            }
            for (number, limit) in limits.enumerated() {
                try db.execute(
                    """
                    INSERT INTO identity_registered_limits (id, service_id, region_id, region_key, resource_name,
                        default_limit)
                    VALUES ($1, 's', $2, $3, $4, $5)
                    """, "r\(number)", limit.region, limit.region ?? "", limit.name, limit.limit)
            }
        }
        return fixture
    }

    private static let open: [(String, String?, Int64)] = [
        ("image_count_total", nil, -1), ("image_count_uploading", nil, -1), ("image_stage_total", nil, -1),
    ]

    @Test func whatIsNotRegisteredIsDenied() async throws {
        let fixture = try await fixture([("image_size_total", nil, 1)])
        #expect(await status { _ = try await fixture.createImage() } == 413)
    }

    /// A limit of another region is none here, and one of this region goes before one of all.
    @Test func limitsAreTheRegions() async throws {
        let fixture = try await fixture([
            ("image_count_total", nil, 5), ("image_count_total", "North", 1), ("image_count_total", "South", 0),
        ])
        _ = try await fixture.createImage()
        do {
            _ = try await fixture.createImage()
            Issue.record("a second image")
        } catch ServiceError.tooLarge(let text) {
            #expect(
                text == "Request exceeds quota: Resource image_count_total is over limit of 1 due to current usage 1 "
                    + "and delta 1.")
        }
        // Another project's images are not counted.
        _ = try await fixture.createImage(as: fixture.caller("p2"))
    }

    /// Twenty uploads race for what is left: exactly what the limit has room for gets through.
    @Test func manyAtOnceNeverExceedTheLimit() async throws {
        let fixture = try await fixture(Self.open + [("image_size_total", nil, 1)])
        var ids: [ImageID] = []
        for _ in 0..<20 { ids.append(try await fixture.createImage().id) }
        let part = 200_000
        let outcomes = await withTaskGroup(of: Int.self) { group in
            for id in ids {
                group.addTask {
                    await status {
                        try await fixture.upload([UInt8](repeating: 1, count: part), to: id, declared: Int64(part))
                    }
                }
            }
            return await group.reduce(into: [Int]()) { $0.append($1) }
        }
        #expect(outcomes.count { $0 == 200 } == (1 << 20) / part)
        #expect(outcomes.count { $0 == 413 } == 20 - (1 << 20) / part)
        #expect(try await fixture.chargedBytes() <= 1 << 20)
    }

    /// Twenty creations at once: the limit on the number of images holds as well.
    @Test func manyCreationsAtOnceNeverExceedTheLimit() async throws {
        let fixture = try await fixture([("image_count_total", "North", 7)])
        let outcomes = await withTaskGroup(of: Int.self) { group in
            for _ in 0..<20 { group.addTask { await status { _ = try await fixture.createImage() } } }
            return await group.reduce(into: [Int]()) { $0.append($1) }
        }
        #expect(outcomes.count { $0 == 200 } == 7)
    }

    /// A limit that is lowered counts for the very next request, and for uploads of unknown length under way.
    @Test func aLimitCountsAtOnce() async throws {
        let fixture = try await fixture(Self.open + [("image_size_total", nil, -1)])
        let image = try await fixture.createImage()
        let body = Body(chunks: (0..<4).map { _ in ByteBuffer(repeating: 1, count: 40 << 20) }) { index in
            guard index == 1 else { return }
            do {
                _ = try await fixture.database.write { db in
                    try db.execute(
                        "UPDATE identity_registered_limits SET default_limit = 0 WHERE resource_name = 'image_size_total'"
                    )
                }
            } catch { Issue.record(error) }
        }
        let outcome = await status {
            try await fixture.images.upload(
                body, to: image.id, declaredSizeBytes: nil, store: nil, as: fixture.caller())
        }
        #expect(outcome == 413)
        #expect(try await fixture.chargedBytes() == 0)
    }

    @Test func usageIsInWholeUnits() async throws {
        let fixture = try await fixture(Self.open + [("image_size_total", nil, 3)])
        let image = try await fixture.createImage()
        try await fixture.upload([UInt8](repeating: 1, count: (1 << 20) + 5), to: image.id)
        let uses = try await fixture.images.quotaUse(as: fixture.caller())
        #expect(uses.map(\.resource) == [.sizeTotal, .stageTotal, .countTotal, .countUploading])
        #expect(uses.map(\.usage) == [1, 0, 1, 0])
        #expect(uses.map(\.limit) == [3, -1, -1, -1])
    }

    @Test func withoutIdentitysLimitsThereIsNoUsage() async throws {
        let fixture = try await ImageFixture { $0.imageCountQuota = 3 }
        #expect(try await fixture.images.quotaUse(as: fixture.caller()) == [])
    }

    // MARK: kept elsewhere

    /// Knows what it was asked about before.
    private final class Elsewhere: RemoteLimits {
        private struct State {
            var known: [ProjectID: ProjectLimits] = [:]
            var asked: [ProjectID] = []
            var failure: ServiceError?
        }
        private let state = Mutex(State())

        var asked: [ProjectID] { state.withLock { $0.asked } }
        func fail(with error: ServiceError) { state.withLock { $0.failure = error } }
        func known(of project: ProjectID) -> ProjectLimits? { state.withLock { $0.known[project] } }
        func learn(of project: ProjectID) async throws {
            try state.withLock { state in
                state.asked.append(project)
                if let failure = state.failure { throw failure }
                state.known[project] = ProjectLimits(registered: [
                    "image_count_total": 2, "image_size_total": 1, "image_count_uploading": -1,
                ])
            }
        }
    }

    @Test func limitsKeptElsewhereAreLearntWhenTheyAreNeeded() async throws {
        let elsewhere = Elsewhere()
        let fixture = try await ImageFixture { $0.limits = .remote(elsewhere) }
        let first = try await fixture.createImage()
        #expect(elsewhere.asked == ["p1"])
        _ = try await fixture.createImage()
        #expect(await status { _ = try await fixture.createImage() } == 413)
        try await fixture.upload([1], to: first.id)
        #expect(elsewhere.asked == ["p1"])
        // Given to another project, the image is charged to that one's limits.
        let admin = fixture.admin
        let given = try await fixture.createImage(as: fixture.caller("p2"))
        _ = try await fixture.images.patch(
            given.id, [ImagePatch(verb: .replace, path: ["owner"], value: "p3", addRefusesExisting: false)], as: admin)
        #expect(
            await status {
                try await fixture.upload(
                    [UInt8](repeating: 1, count: (1 << 20) + 1), to: given.id, declared: (1 << 20) + 1, as: admin)
            } == 413)
        #expect(elsewhere.asked == ["p1", "p2", "p3"])
    }

    @Test func whatCannotBeLearntIsTheAnswer() async throws {
        let elsewhere = Elsewhere()
        let fixture = try await ImageFixture { $0.limits = .remote(elsewhere) }
        elsewhere.fail(with: .unavailable("away"))
        #expect(await status { _ = try await fixture.createImage() } == 503)
        elsewhere.fail(with: .internalError(cause: CancellationError()))
        #expect(await status { _ = try await fixture.images.quotaUse(as: fixture.caller()) } == 500)
    }
}
