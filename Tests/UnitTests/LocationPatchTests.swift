import Core
import NIOCore
import Persistence
import Testing
import Trust

/// `/locations` in a PATCH, where locations are shown.
@Suite struct LocationPatchTests {
    private static let a = "http://images.example/a"
    private static let bytes: [UInt8] = Array(repeating: 7, count: 3000)

    private func fixture(
        _ change: (inout ImageSettings) -> Void = { _ in }
    ) async throws -> ImageFixture {
        try await ImageFixture(
            {
                $0.locations.areShown = true
                $0.locations.isDirectURLShown = true
                change(&$0)
            }, traits: ["web": StoreTraits(kind: .http)],
            remote: ServedContent([
                Self.a: .bytes(Self.bytes), "http://images.example/other": .bytes([1, 2, 3]),
                "http://images.example/empty": .bytes([]),
            ]))
    }

    private func patch(
        _ verb: ImagePatch.Verb, _ path: [String], _ value: String = "null", _ id: ImageID, _ fixture: ImageFixture,
        as caller: Caller? = nil
    ) async throws -> ImageView {
        let json = try JSONValue(parsing: ByteBuffer(string: value))
        return try await fixture.images.patch(
            id, [ImagePatch(verb: verb, path: path, value: json, addRefusesExisting: false)],
            as: caller ?? fixture.caller())
    }

    private func location(_ url: String, metadata: String = "{}", validation: String? = nil) -> String {
        let data = validation.map { #", "validation_data": \#($0)"# } ?? ""
        return #"{"url": "\#(url)", "metadata": \#(metadata)\#(data)}"#
    }

    /// An image with two locations.
    private func imageWithTwo(_ fixture: ImageFixture) async throws -> ImageID {
        let image = try await fixture.createImage()
        _ = try await patch(
            .add, ["locations", "-"], location(Self.a, metadata: #"{"foo": "bar"}"#), image.id, fixture)
        _ = try await patch(.add, ["locations", "-"], location(Self.a + "#new"), image.id, fixture)
        return image.id
    }

    @Test func anAddedLocationMakesTheImageActive() async throws {
        let fixture = try await fixture()
        let image = try await fixture.createImage()
        #expect(try await fixture.images.get(image.id, as: fixture.caller()).locations == [])
        let view = try await patch(
            .add, ["locations", "-"], location(Self.a, metadata: #"{"foo": "bar"}"#), image.id, fixture)
        #expect(view.image.status == .active && view.image.sizeBytes == 3000)
        #expect(view.locations == [ShownLocation(url: Self.a, metadata: ["foo": "bar", "store": "web"])])
        #expect(view.directURL == Self.a)
        #expect(view.image.hashAlgorithm == nil && view.image.hashValue == nil)
        #expect(try await fixture.bytes(of: image.id) == Self.bytes)
    }

    struct Refusal: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let path: [String]
        let value: String
        let status: Int
        init(_ path: String, _ value: String, _ status: Int) {
            testDescription = "\(path) \(value): \(status)"
            self.path = path.split(separator: "/").map(String.init)
            self.value = value
            self.status = status
        }
    }

    private static func url(_ text: String) -> String { #"{"url": "\#(text)", "metadata": {}}"# }

    @Test(arguments: [
        Refusal("locations/-", url("file:///etc/passwd"), 400),
        Refusal("locations/-", url("filesystem:///etc/passwd"), 400),
        Refusal("locations/-", url("swift+config://a/b"), 400),
        Refusal("locations/-", url("gopher://info.cern.ch"), 400),
        Refusal("locations/-", url(""), 400), Refusal("locations/-", url(String(repeating: "a", count: 256)), 400),
        Refusal("locations/-", url("http://images.example/nothing"), 400),
        Refusal("locations/-", url("http://images.example/empty"), 400),
        Refusal("locations/-", #"{"url": "http://images.example/a"}"#, 400),
        Refusal("locations/-", #"{"url": "http://images.example/a", "metadata": {"a": 1}}"#, 400),
        Refusal("locations/-", #"{"url": "http://images.example/a", "metadata": {}, "x": 1}"#, 400),
        Refusal("locations/-", #"["http://images.example/a"]"#, 400), Refusal("locations/1", url(a), 400),
        Refusal("locations/x", url(a), 400), Refusal("locations/-1", url(a), 400), Refusal("locations", url(a), 400),
        Refusal("locations/0/url", url(a), 400),
    ])
    func whatIsNoLocationIsRefused(_ refusal: Refusal) async throws {
        let fixture = try await fixture()
        let image = try await fixture.createImage()
        #expect(
            await status { _ = try await patch(.add, refusal.path, refusal.value, image.id, fixture) }
                == refusal.status)
        #expect(try await fixture.images.get(image.id, as: fixture.caller()).image.status == .queued)
    }

    @Test func hiddenLocationsCannotBeChanged() async throws {
        let fixture = try await fixture { $0.locations.areShown = false }
        let image = try await fixture.createImage()
        for (verb, path) in [
            (ImagePatch.Verb.add, ["locations", "-"]), (.replace, ["locations"]), (.add, ["locations"]),
        ] {
            #expect(await status { _ = try await patch(verb, path, location(Self.a), image.id, fixture) } == 403)
        }
    }

    @Test func moreLocationsHaveToFit() async throws {
        let fixture = try await fixture { $0.locations.quota = 2 }
        let id = try await imageWithTwo(fixture)
        let view = try await fixture.images.get(id, as: fixture.caller())
        #expect(view.locations?.map(\.url) == [Self.a, Self.a + "#new"])
        func add(_ url: String) async -> Int {
            await status { _ = try await patch(.add, ["locations", "-"], location(url), id, fixture) }
        }
        #expect(await add(Self.a + "#third") == 413)
        let roomy = try await self.fixture()
        let other = try await imageWithTwo(roomy)
        func addThere(_ url: String) async -> Int {
            await status { _ = try await patch(.add, ["locations", "-"], location(url), other, roomy) }
        }
        #expect(await addThere(Self.a) == 400, "a duplicate")
        #expect(await addThere("http://images.example/other") == 400, "another size")
        #expect(await addThere(Self.a + "#third") == 200)
    }

    @Test func onlyMetadataCanBeReplaced() async throws {
        let fixture = try await fixture()
        let id = try await imageWithTwo(fixture)
        func replace(_ value: String) async -> Int {
            await status { _ = try await patch(.replace, ["locations"], value, id, fixture) }
        }
        let first = location(Self.a, metadata: #"{"date": "2015-10-15", "store": "web"}"#)
        let second = location(Self.a + "#new")
        #expect(await replace("[\(first), \(second)]") == 200)
        #expect(await replace("[]") == 403)
        #expect(await replace("[\(first)]") == 400)
        #expect(await replace("[\(first), \(location(Self.a + "#new3"))]") == 400)
        #expect(await replace("[\(location(Self.a, metadata: #"{"store": "local"}"#)), \(second)]") == 400)
        #expect(await replace("{}") == 400)
        let view = try await fixture.images.get(id, as: fixture.caller())
        #expect(
            view.locations == [
                ShownLocation(url: Self.a, metadata: ["date": "2015-10-15", "store": "web"]),
                ShownLocation(url: Self.a + "#new", metadata: ["store": "web"]),
            ])
    }

    @Test func replacingOnAQueuedImageSetsItsLocations() async throws {
        let fixture = try await fixture()
        let image = try await fixture.createImage()
        let view = try await patch(
            .replace, ["locations"], "[\(location(Self.a)), \(location(Self.a + "#b"))]", image.id, fixture)
        #expect(view.image.status == .active && view.image.sizeBytes == 3000)
        #expect(view.locations?.count == 2)
        let none = try await fixture.createImage()
        #expect(await status { _ = try await patch(.replace, ["locations"], "[]", none.id, fixture) } == 403)
    }

    @Test func onlyAdminsRemoveAndNeverTheLast() async throws {
        let fixture = try await fixture()
        let id = try await imageWithTwo(fixture)
        func remove(_ position: String, as caller: Caller? = nil) async -> Int {
            await status {
                _ = try await patch(.remove, ["locations", position], "null", id, fixture, as: caller ?? fixture.admin)
            }
        }
        #expect(await remove("0", as: fixture.caller()) == 403)
        #expect(await remove("2") == 400)
        #expect(await remove("-") == 400)
        #expect(await remove("0") == 200)
        let view = try await fixture.images.get(id, as: fixture.caller())
        #expect(view.locations?.map(\.url) == [Self.a + "#new"] && view.directURL == Self.a + "#new")
        #expect(await remove("0") == 403)
        let queued = try await fixture.createImage()
        #expect(
            await status {
                _ = try await patch(.remove, ["locations", "0"], "null", queued.id, fixture, as: fixture.admin)
            } == 409)
    }

    @Test func aRemovedCopyOfOursIsErased() async throws {
        let fixture = try await fixture()
        let image = try await fixture.createImage()
        try await fixture.upload(Self.bytes, to: image.id)
        _ = try await patch(.add, ["locations", "-"], location(Self.a), image.id, fixture)
        var view = try await fixture.images.get(image.id, as: fixture.caller())
        #expect(view.locations?.first?.url.hasPrefix("file:///") == true && view.stores == ["local", "web"])
        view = try await patch(.remove, ["locations", "0"], "null", image.id, fixture, as: fixture.admin)
        #expect(view.stores == ["web"])
        try await fixture.images.reconcile()
        #expect(try fixture.storedFiles() == [])
        #expect(try await fixture.bytes(of: image.id) == Self.bytes)
        #expect(try await fixture.chargedBytes() == 0)
    }

    @Test func validationDataMustBeNewOrTheSame() async throws {
        let fixture = try await fixture()
        let digest = String(repeating: "deadbeef", count: 16)
        func data(_ checksum: String, _ algorithm: String, _ digest: String) -> String {
            #"{"checksum": "\#(checksum)", "os_hash_algo": "\#(algorithm)", "os_hash_value": "\#(digest)"}"#
        }
        let ones = String(repeating: "1", count: 32)
        let image = try await fixture.createImage()
        func add(_ url: String, _ validation: String) async -> Int {
            await status {
                _ = try await patch(.add, ["locations", "-"], location(url, validation: validation), image.id, fixture)
            }
        }
        #expect(await add(Self.a, data(ones, "sha256", String(repeating: "00", count: 32))) == 409)
        #expect(await add(Self.a, data(ones, "sha512", "00")) == 409)
        #expect(await add(Self.a, data("11", "sha512", digest)) == 400)
        #expect(await add(Self.a, #"{"os_hash_algo": "sha512"}"#) == 400)
        #expect(await add(Self.a, data(ones, "sha512", digest)) == 200)
        let view = try await fixture.images.get(image.id, as: fixture.caller())
        #expect(view.image.checksum == ones && view.image.hashValue == digest && view.image.hashAlgorithm == "sha512")
        #expect(await add(Self.a + "#new", data(String(repeating: "2", count: 32), "sha512", digest)) == 409)
        #expect(await add(Self.a + "#new", data(ones, "sha512", String(repeating: "beefdead", count: 16))) == 409)
        #expect(await add(Self.a + "#new", data(ones, "sha256", digest)) == 409)
        #expect(await add(Self.a + "#new", data(ones, "sha512", digest)) == 200)
    }

    @Test func deactivatedImagesShowTheirLocationsToAdminsAlone() async throws {
        let fixture = try await fixture()
        let id = try await imageWithTwo(fixture)
        try await fixture.images.deactivate(id, as: fixture.caller())
        let view = try await fixture.images.get(id, as: fixture.caller())
        #expect(view.locations == [] && view.directURL == nil)
        #expect(try await fixture.images.get(id, as: fixture.admin).locations?.count == 2)
        #expect(
            await status { _ = try await patch(.add, ["locations", "-"], location(Self.a + "#c"), id, fixture) } == 409)
    }
}
