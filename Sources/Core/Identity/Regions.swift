import Persistence

package struct Region: Sendable {
    package let id: RegionID
    package var description: String
    package var parentID: RegionID?
    package var extra: ExtraAttributes
}

extension IdentityService {
    /// Open to everyone with a token, as in Keystone.
    package func regions(parent: RegionID? = nil) async throws -> [Region] {
        try await database.read { db in
            var conditions = Conditions()
            conditions.equal("parent_region_id", parent)
            return try db.query(
                "SELECT \(Region.columns) FROM identity_regions\(conditions.sql) ORDER BY id", conditions.arguments
            ) { try Region(row: $0) }
        }
    }

    package func region(_ id: RegionID) async throws -> Region {
        try await database.read { try $0.region(id) }
    }

    /// - Parameter pathID: the id that a PUT names; it must agree with the body's.
    package func createRegion(_ document: JSONValue, id pathID: RegionID? = nil, as caller: Caller) async throws
        -> Region
    {
        try caller.requireAdmin("create_region")
        var body = try ResourceBody(document, "region")
        let given = try body.text("id", ResourceBody.textLength).value.flatMap { $0.isEmpty ? nil : RegionID($0) }
        if let pathID, let given, pathID != given {
            throw ServiceError.badRequest("Conflicting region IDs specified: \"\(pathID)\" != \"\(given)\"")
        }
        if let pathID, pathID.rawValue.unicodeScalars.count > 255 {
            throw ResourceBody.invalid("id", "it must have 1 to 255 characters")
        }
        let region = Region(
            id: pathID ?? given ?? RegionID(surroundings.hexUUID()),
            description: try body.text("description", 0...65535).value ?? "",
            parentID: try body.text("parent_region_id").value.map { RegionID($0) }, extra: try body.rest())
        try await change { db in
            if let parent = region.parentID { _ = try db.region(parent) }
            try db.insert(region)
        }
        return region
    }

    package func updateRegion(_ id: RegionID, _ document: JSONValue, as caller: Caller) async throws -> Region {
        try caller.requireAdmin("update_region")
        var body = try ResourceBody(document, "region")
        try body.unchanged("id", id.rawValue, "Cannot change region ID")
        let description = try body.text("description", 0...65535)
        let parent = try body.text("parent_region_id")
        let extra = try body.rest()
        return try await change { db in
            var region = try db.region(id)
            region.description = description.over(region.description) ?? ""
            region.parentID = parent.over(region.parentID?.rawValue).map { RegionID($0) }
            region.extra = region.extra.merging(extra)
            // A region above itself would make every walk upwards endless.
            var above = region.parentID
            while let next = above {
                guard next != id else { throw ServiceError.badRequest("A region cannot be above itself.") }
                above = try db.region(next).parentID
            }
            try db.execute(
                "UPDATE identity_regions SET description = $1, parent_region_id = $2, extra = $3 WHERE id = $4",
                region.description, region.parentID, region.extra, id)
            return region
        }
    }

    /// Deletes a region with the regions below it.
    /// - Throws: `.forbidden` while an endpoint or a limit stands in one of them.
    package func deleteRegion(_ id: RegionID, as caller: Caller) async throws {
        try caller.requireAdmin("delete_region")
        try await change { db in
            var all = [try db.region(id).id]
            var index = 0
            while index < all.count {
                all += try db.query(
                    "SELECT id FROM identity_regions WHERE parent_region_id = $1 ORDER BY id", all[index]
                ) {
                    try $0.get(0, as: RegionID.self)
                }
                index += 1
            }
            do {
                // Those below first.
                for region in all.reversed() { try db.execute("DELETE FROM identity_regions WHERE id = $1", region) }
            } catch let error as SQLError where error.code == .foreignKey {
                throw ServiceError.forbidden(
                    "Unable to delete region \(id) because it or its child regions have associated endpoints.")
            }
        }
    }
}

extension Region {
    static let columns = "id, description, parent_region_id, extra"

    init(row: any SQLRow) throws {
        self.init(id: try row.get(0), description: try row.get(1), parentID: try row.get(2), extra: try row.get(3))
    }
}

extension SQLConnection {
    /// - Throws: `ServiceError.notFound`.
    func region(_ id: RegionID) throws -> Region {
        let region = try first("SELECT \(Region.columns) FROM identity_regions WHERE id = $1", id) {
            try Region(row: $0)
        }
        guard let region else { throw ServiceError.missing("region", id) }
        return region
    }

    func insert(_ region: Region) throws {
        try execute(
            "INSERT INTO identity_regions (id, description, parent_region_id, extra) VALUES ($1, $2, $3, $4)",
            [region.id, region.description, region.parentID, region.extra],
            orConflict: .duplicate("region", "Duplicate ID, \(region.id)"))
    }
}
