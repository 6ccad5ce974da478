import API
import Core
import Persistence
import Testing

@Suite struct ImageListTests {
    private func ids(_ fixture: ImageFixture, _ caller: Caller, _ change: (inout ImageListQuery) -> Void = { _ in })
        async throws -> [ImageID]
    {
        var query = ImageListQuery()
        query.limit = 1000
        change(&query)
        return try await fixture.images.list(query, as: caller).images.map(\.image.id)
    }

    @Test func newestFirstAndPagesMeetWithoutGapOrOverlap() async throws {
        let fixture = try await ImageFixture()
        var created: [ImageID] = []
        for index in 0..<57 {
            // Many share a second, and some a microsecond: the id breaks the tie.
            if index.isMultiple(of: 3) { fixture.clock.advance(seconds: 1) }
            created.append(try await fixture.createImage().id)
        }
        let whole = try await ids(fixture, fixture.caller())
        #expect(Set(whole) == Set(created))
        var paged: [ImageID] = []
        var query = ImageListQuery()
        query.limit = 10
        while true {
            let page = try await fixture.images.list(query, as: fixture.caller())
            paged += page.images.map(\.image.id)
            guard page.isFull else { break }
            query.marker = page.images.last?.image.id
        }
        #expect(paged == whole)
    }

    @Test(arguments: ImageListQuery.SortKey.allCases, [ImageListQuery.Direction.asc, .desc])
    func everySortPagesInOneOrder(_ key: ImageListQuery.SortKey, _ direction: ImageListQuery.Direction) async throws {
        let fixture = try await ImageFixture()
        for index in 0..<23 {
            fixture.clock.advance(seconds: 1)
            let image = try await fixture.createImage {
                $0.name = index.isMultiple(of: 4) ? nil : "n\(index % 5)"
                $0.visibility = index.isMultiple(of: 2) ? .private : .shared
            }
            if index.isMultiple(of: 3) { try await fixture.upload([UInt8](repeating: 0, count: index), to: image.id) }
        }
        for tie in [ImageListQuery.Direction.asc, .desc] {
            let whole = try await ids(fixture, fixture.caller()) {
                $0.sort = [(key, direction)]
                $0.tieDirection = tie
            }
            #expect(whole.count == 23)
            var paged: [ImageID] = []
            var query = ImageListQuery()
            query.limit = 4
            query.sort = [(key, direction)]
            query.tieDirection = tie
            while true {
                let page = try await fixture.images.list(query, as: fixture.caller())
                paged += page.images.map(\.image.id)
                guard page.isFull else { break }
                query.marker = page.images.last?.image.id
            }
            #expect(paged == whole)
        }
    }

    /// The visibility matrix: who sees which of another project's images, under which scope.
    @Test func scopesShowWhatTheySay() async throws {
        let fixture = try await ImageFixture()
        var mine: [Image.Visibility: ImageID] = [:]
        var theirs: [Image.Visibility: ImageID] = [:]
        for visibility in Image.Visibility.allCases {
            mine[visibility] = try await fixture.createImage(
                {
                    $0.visibility = visibility
                    $0.owner = "p1"
                }, as: fixture.admin
            ).id
            theirs[visibility] = try await fixture.createImage(
                {
                    $0.visibility = visibility
                    $0.owner = "p2"
                }, as: fixture.admin
            ).id
        }
        let offered = theirs[.shared]!
        _ = try await fixture.images.addMember("p1", to: offered, as: fixture.caller("p2"))
        func seen(_ scope: ImageListQuery.Scope, _ caller: Caller, _ status: ImageMember.Status? = .accepted)
            async throws -> Set<ImageID>
        {
            Set(
                try await ids(fixture, caller) {
                    $0.scope = scope
                    $0.memberStatus = status
                })
        }
        let me = fixture.caller()
        let own = Set(mine.values)
        #expect(try await seen(.standard, me) == own.union([theirs[.public]!]))
        #expect(try await seen(.standard, me, .pending) == own.union([theirs[.public]!, offered]))
        #expect(try await seen(.standard, me, nil) == own.union([theirs[.public]!, offered]))
        #expect(try await seen(.all, me) == own.union([theirs[.public]!, theirs[.community]!]))
        #expect(try await seen(.only(.community), me) == [mine[.community]!, theirs[.community]!])
        #expect(try await seen(.only(.public), me) == [mine[.public]!, theirs[.public]!])
        #expect(try await seen(.only(.private), me) == [mine[.private]!])
        #expect(try await seen(.only(.shared), me) == [mine[.shared]!])
        #expect(try await seen(.only(.shared), me, .pending) == [mine[.shared]!, offered])
        let everything = own.union(theirs.values)
        let admin = fixture.admin
        #expect(try await seen(.standard, admin) == everything.subtracting([mine[.community]!, theirs[.community]!]))
        #expect(try await seen(.all, admin) == everything)
        #expect(try await seen(.only(.private), admin) == [mine[.private]!, theirs[.private]!])
    }

    @Test func hiddenImagesShowOnlyWhenAskedFor() async throws {
        let fixture = try await ImageFixture()
        let shown = try await fixture.createImage().id
        let hidden = try await fixture.createImage { $0.isHidden = true }.id
        #expect(try await ids(fixture, fixture.caller()) == [shown])
        #expect(try await ids(fixture, fixture.caller()) { $0.isHidden = true } == [hidden])
    }

    @Test func filtersPick() async throws {
        let fixture = try await ImageFixture()
        let a = try await fixture.createImage {
            $0.name = "a,b"
            $0.tags = ["x", "y"]
            $0.properties = ["os": "linux"]
        }.id
        fixture.clock.advance(seconds: 10)
        let b = try await fixture.createImage {
            $0.name = "b"
            $0.tags = ["x"]
            $0.minRAMMB = 512
            $0.isProtected = true
        }.id
        try await fixture.upload([1, 2, 3], to: b)
        func pick(_ filters: ImageListQuery.Filter...) async throws -> Set<ImageID> {
            Set(try await ids(fixture, fixture.caller()) { $0.filters = filters })
        }
        #expect(try await pick(.text(.name, anyOf: ["a,b"])) == [a])
        #expect(try await pick(.text(.name, anyOf: ["a,b", "b"])) == [a, b])
        #expect(try await pick(.tag("x")) == [a, b])
        #expect(try await pick(.tag("x"), .tag("y")) == [a])
        #expect(try await pick(.property("os", "linux")) == [a])
        #expect(try await pick(.property("os", "Linux")) == [])
        #expect(try await pick(.text(.status, anyOf: ["active"])) == [b])
        #expect(try await pick(.number(.size, .gte, 3)) == [b])
        #expect(try await pick(.number(.size, .gte, 4)) == [])
        #expect(try await pick(.number(.minRAM, .eq, 512)) == [b])
        #expect(try await pick(.protected(true)) == [b])
        let first = Timestamp(seconds: 1_800_000_000)
        #expect(try await pick(.time(.createdAt, .eq, first)) == [a])
        #expect(try await pick(.time(.createdAt, .neq, first)) == [b])
        #expect(try await pick(.time(.createdAt, .gt, first)) == [b])
        #expect(try await pick(.time(.createdAt, .lte, first)) == [a])
    }

    @Test func aMarkerThatIsNotThereIsRefused() async throws {
        let fixture = try await ImageFixture()
        let image = try await fixture.createImage()
        let stranger = fixture.caller("p2")
        #expect(await status { _ = try await ids(fixture, stranger) { $0.marker = image.id } } == 400)
        try await fixture.images.delete(image.id, as: fixture.caller())
        #expect(await status { _ = try await ids(fixture, fixture.caller()) { $0.marker = image.id } } == 400)
    }

    /// Many large properties make a page end early; the pages still meet.
    @Test func largePagesEndEarly() async throws {
        let fixture = try await ImageFixture()
        let value = String(repeating: "v", count: 60_000)
        for _ in 0..<60 {
            _ = try await fixture.createImage { $0.properties = ["a": value, "b": value, "c": value, "d": value] }
        }
        var query = ImageListQuery()
        query.limit = 1000
        var sizes: [Int] = []
        while true {
            let page = try await fixture.images.list(query, as: fixture.caller())
            sizes.append(page.images.count)
            guard page.isFull else { break }
            query.marker = page.images.last?.image.id
        }
        #expect(sizes.count > 1)
        #expect(sizes.reduce(0, +) == 60)
    }
}
