import API
import Testing

/// The table of the Image API digest, section 1, row by row.
@Suite struct ImageAPIVersionsTests {
    struct Row: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let hasCache: Bool
        let hasSeveralStores: Bool
        let ids: String
        let current: Int
    }

    static let rows = [
        Row(
            testDescription: "cache + multi-store", hasCache: true, hasSeveralStores: true,
            ids: "18 17 16 15 14 13 12 11 10 9 8 7 6 5 4 3 2 1 0", current: 18),
        Row(
            testDescription: "cache, single store", hasCache: true, hasSeveralStores: false,
            ids: "18 17 16 15 14 9 7 6 5 4 3 2 1 0", current: 18),
        Row(
            testDescription: "multi-store, no cache", hasCache: false, hasSeveralStores: true,
            ids: "15 13 12 11 10 9 8 17 7 6 5 4 3 2 1 0", current: 17),
        Row(
            testDescription: "neither", hasCache: false, hasSeveralStores: false, ids: "15 9 17 7 6 5 4 3 2 1 0",
            current: 17),
    ]

    @Test(arguments: rows)
    func versionsFollowWhatIsConfigured(_ row: Row) {
        let versions = ImageAPIVersions(hasSeveralStores: row.hasSeveralStores, hasCache: row.hasCache)
        #expect(versions.minors.map(String.init).joined(separator: " ") == row.ids)
        #expect(versions.current == row.current)
        #expect(Set(versions.minors).count == versions.minors.count)
        #expect(versions.contains(8) == row.hasSeveralStores && !versions.contains(19))
    }
}
