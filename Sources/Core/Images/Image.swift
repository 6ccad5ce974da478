import Persistence

/// The image record (Image API v2, "Image record").
package struct Image: Sendable, Equatable {
    package enum Status: String, Sendable, CaseIterable {
        case queued, saving, uploading, importing, active, deactivated
        case pendingDelete = "pending_delete"
        case killed, deleted
    }

    package enum Visibility: String, Sendable, CaseIterable {
        case `public`, community, shared, `private`
    }

    package let id: ImageID
    package var name: String?
    package var status: Status
    package var visibility: Visibility
    package var isHidden: Bool
    package var isProtected: Bool
    package var owner: ProjectID?
    package var containerFormat: String?
    package var diskFormat: String?
    package var minDiskGB: Int64
    package var minRAMMB: Int64
    package var sizeBytes: Int64?
    package var virtualSizeBytes: Int64?
    /// MD5 in hexadecimal: the legacy `checksum`, good for finding accidents alone.
    package var checksum: String?
    package var hashAlgorithm: String?
    package var hashValue: String?
    package let createdAt: Timestamp
    package var updatedAt: Timestamp
    /// Extra properties; a value is null only where the schema of a typed property allows it.
    package var properties: [String: String?] = [:]
    package var tags: Set<String> = []
}

extension Image {
    /// Whether the formats may still be changed (they freeze once there is data).
    var hasMutableFormats: Bool { status == .queued || status == .importing }
}

/// The columns of `images`, in the order `ImageRow` reads them.
enum ImageRow {
    static let columns = """
        i.id, i.name, i.status, i.visibility, i.os_hidden, i.protected, i.owner, i.container_format, \
        i.disk_format, i.min_disk, i.min_ram, i.size, i.virtual_size, i.checksum, i.os_hash_algo, \
        i.os_hash_value, i.created_at, i.updated_at
        """

    static func read(_ row: any SQLRow) throws -> Image {
        guard let status = Image.Status(rawValue: try row.get(2)),
            let visibility = Image.Visibility(rawValue: try row.get(3))
        else { throw SQLError(code: .corrupt, operation: "read image", message: "unknown status or visibility") }
        return Image(
            id: try row.get(0), name: try row.get(1), status: status, visibility: visibility,
            isHidden: try row.get(4), isProtected: try row.get(5), owner: try row.get(6),
            containerFormat: try row.get(7), diskFormat: try row.get(8), minDiskGB: try row.get(9),
            minRAMMB: try row.get(10), sizeBytes: try row.get(11), virtualSizeBytes: try row.get(12),
            checksum: try row.get(13), hashAlgorithm: try row.get(14), hashValue: try row.get(15),
            createdAt: try row.get(16), updatedAt: try row.get(17))
    }
}

extension SQLConnection {
    /// An image that is not deleted, with its properties and tags.
    func image(_ id: ImageID) throws -> Image? {
        let found = try first(
            "SELECT \(ImageRow.columns) FROM images i WHERE i.id = $1 AND i.deleted_at IS NULL", id, row: ImageRow.read)
        guard var image = found else { return nil }
        try forEachRow("SELECT name, value FROM image_properties WHERE image_id = $1", [id]) {
            image.properties[try $0.get(0)] = .some(try $0.get(1, as: String?.self))
        }
        try forEachRow("SELECT tag FROM image_tags WHERE image_id = $1", [id]) {
            image.tags.insert(try $0.get(0))
        }
        return image
    }

    /// Fills in properties and tags of a page of images, in two queries.
    func completeImages(_ images: inout [Image]) throws {
        guard !images.isEmpty else { return }
        let places = (1...images.count).map { "$\($0)" }.joined(separator: ",")
        let ids = images.map(\.id)
        var position: [String: Int] = [:]
        for (index, image) in images.enumerated() { position[image.id.rawValue] = index }
        try forEachRow("SELECT image_id, name, value FROM image_properties WHERE image_id IN (\(places))", ids) {
            guard let index = position[try $0.get(0)] else { return }
            images[index].properties[try $0.get(1)] = .some(try $0.get(2, as: String?.self))
        }
        try forEachRow("SELECT image_id, tag FROM image_tags WHERE image_id IN (\(places))", ids) {
            guard let index = position[try $0.get(0)] else { return }
            images[index].tags.insert(try $0.get(1))
        }
    }

    /// Whether the image is shared with the project, accepted or not.
    func isMember(_ project: ProjectID?, of image: ImageID) throws -> Bool {
        guard let project else { return false }
        return try first(
            "SELECT 1 FROM image_members WHERE image_id = $1 AND member = $2", image, project, row: { _ in true })
            ?? false
    }
}
