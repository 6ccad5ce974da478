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
    static let count = 18
    static let columns = """
        i.id, i.name, i.status, i.visibility, i.os_hidden, i.protected, i.owner, i.container_format, \
        i.disk_format, i.min_disk, i.min_ram, i.size, i.virtual_size, i.checksum, i.os_hash_algo, \
        i.os_hash_value, i.created_at, i.updated_at
        """

    /// Reads the columns as they are stored: this is done for every image of every list.
    static func read(_ row: any SQLRow) throws -> Image {
        guard let id = row.text(0), let status = row.text(2).flatMap(Image.Status.init(rawValue:)),
            let visibility = row.text(3).flatMap(Image.Visibility.init(rawValue:)), let isHidden = row.integer(4),
            let isProtected = row.integer(5), let minDisk = row.integer(9), let minRAM = row.integer(10),
            let createdAt = row.integer(16), let updatedAt = row.integer(17)
        else { throw SQLError(code: .corrupt, operation: "read image", message: "a column has no such value") }
        return Image(
            id: ImageID(id), name: row.text(1), status: status, visibility: visibility, isHidden: isHidden != 0,
            isProtected: isProtected != 0, owner: row.text(6).map { ProjectID($0) }, containerFormat: row.text(7),
            diskFormat: row.text(8), minDiskGB: minDisk, minRAMMB: minRAM, sizeBytes: row.integer(11),
            virtualSizeBytes: row.integer(12), checksum: row.text(13), hashAlgorithm: row.text(14),
            hashValue: row.text(15), createdAt: Timestamp(microseconds: createdAt),
            updatedAt: Timestamp(microseconds: updatedAt))
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
        try forEachRow("SELECT image_id, name, value FROM image_properties WHERE image_id IN (\(places))", ids) { row in
            guard let index = position[try row.get(0)], let name = row.text(1) else { return }
            images[index].properties[name] = .some(row.text(2))
        }
        try forEachRow("SELECT image_id, tag FROM image_tags WHERE image_id IN (\(places))", ids) { row in
            guard let index = position[try row.get(0)], let tag = row.text(1) else { return }
            images[index].tags.insert(tag)
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
