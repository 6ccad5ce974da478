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

    /// However a filter finds its images (in the walk, by asking each, by an index of its own), it finds the same ones in
    /// the same order, and pages meet.
    @Test func everyFilterFindsTheSameUnderEverySort() async throws {
        let fixture = try await ImageFixture()
        var all: [Image] = []
        for index in 0..<48 {
            fixture.clock.advance(seconds: index.isMultiple(of: 3) ? 1 : 0)
            let image = try await fixture.createImage(
                {
                    $0.name = index % 4 == 0 ? nil : index % 4 == 1 ? "" : "n\(index % 3)"
                    $0.visibility = Image.Visibility.allCases[index % 4]
                    $0.owner = ["p1", "p2"][index / 4 % 2]
                    $0.tags = index % 5 == 0 ? ["t"] : []
                    $0.properties = ["os": "os \(index % 6)"]
                    $0.minRAMMB = Int64(index % 3)
                    $0.isProtected = index % 7 == 0
                    if index % 8 == 0 { $0.diskFormat = "qcow2" }
                }, as: fixture.admin)
            if index % 6 == 0, index % 8 != 0 {
                try await fixture.upload([UInt8](repeating: 1, count: index / 6), to: image.id, as: fixture.admin)
            }
            if image.visibility == .shared, image.owner == "p2" {
                _ = try await fixture.images.addMember("p1", to: image.id, as: fixture.caller("p2"))
                _ = try await fixture.images.setMemberStatus(
                    .accepted, of: "p1", on: image.id, as: fixture.caller("p1"))
            }
            all.append(try await fixture.images.get(image.id, as: fixture.admin).image)
        }
        let second = Timestamp(seconds: 1_800_000_008)
        let hash = try #require(all[6].hashValue)
        let filters: [(ImageListQuery.Filter, (Image) -> Bool)] = [
            (.text(.name, anyOf: ["n1"]), { $0.name == "n1" }), (.text(.name, anyOf: [""]), { $0.name == "" }),
            (.text(.name, anyOf: ["n1", "n2", "", "x"]), { ["n1", "n2", ""].contains($0.name) }),
            (.text(.status, anyOf: ["active"]), { $0.status == .active }),
            (.text(.status, anyOf: ["active", "queued"]), { _ in true }),
            (.text(.diskFormat, anyOf: ["qcow2"]), { $0.diskFormat == "qcow2" }),
            (.text(.owner, anyOf: ["p2"]), { $0.owner == "p2" }), (.text(.owner, anyOf: ["p1"]), { $0.owner == "p1" }),
            (.text(.id, anyOf: [all[2].id.rawValue, all[9].id.rawValue]), { [all[2].id, all[9].id].contains($0.id) }),
            (.text(.hashValue, anyOf: [hash]), { $0.hashValue == hash }),
            (.text(.hashAlgorithm, anyOf: ["sha512"]), { $0.hashAlgorithm == "sha512" }),
            (.number(.size, .eq, 0), { $0.sizeBytes == 0 }), (.number(.size, .eq, 3), { $0.sizeBytes == 3 }),
            (.number(.size, .lte, 3), { $0.sizeBytes.map { $0 <= 3 } ?? false }),
            (.number(.size, .neq, 3), { $0.sizeBytes.map { $0 != 3 } ?? false }),
            (.number(.minRAM, .gte, 2), { $0.minRAMMB >= 2 }), (.number(.minRAM, .eq, 0), { $0.minRAMMB == 0 }),
            (.time(.createdAt, .lt, second), { $0.createdAt < second }),
            (.time(.updatedAt, .gte, second), { $0.updatedAt >= second }),
            (.time(.createdAt, .neq, second), { $0.createdAt.seconds != second.seconds }),
            (.protected(true), { $0.isProtected }), (.protected(false), { !$0.isProtected }),
            (.tag("t"), { $0.tags.contains("t") }), (.property("os", "os 2"), { $0.properties["os"] == "os 2" }),
        ]
        func isSeen(_ image: Image, _ isAdmin: Bool) -> Bool {
            isAdmin && (image.visibility != .community || image.owner == "admin")
                || !isAdmin && (image.owner == "p1" || image.visibility == .public || image.visibility == .shared)
        }
        for caller in [fixture.caller("p1"), fixture.admin] {
            for (filter, fits) in filters {
                for key in ImageListQuery.SortKey.allCases {
                    for directions in [(ImageListQuery.Direction.asc, ImageListQuery.Direction.asc), (.desc, .asc)] {
                        var query = ImageListQuery()
                        query.filters = [filter]
                        query.sort = [(key, directions.0)]
                        query.tieDirection = directions.1
                        query.limit = 5
                        var paged: [ImageID] = []
                        while true {
                            let page = try await fixture.images.list(query, as: caller)
                            paged += page.images.map(\.image.id)
                            guard page.isFull else { break }
                            query.marker = page.last
                        }
                        query.limit = 1000
                        query.marker = nil
                        let whole = try await fixture.images.list(query, as: caller).images.map(\.image.id)
                        #expect(paged == whole, "\(filter) by \(key) \(directions)")
                        let expected = all.filter { isSeen($0, caller.isAdmin) && fits($0) }.map(\.id)
                        #expect(Set(whole) == Set(expected) && whole.count == expected.count, "\(filter) by \(key)")
                    }
                }
            }
        }
    }
}
