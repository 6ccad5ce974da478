import Blobs
import Core
import NIOCore
import Persistence

/// What must be true of a cloud at rest, read from its database and its disk directly: the invariants of
/// the design, each by its letter. (g) is that it came to rest at all (`SimulatedServer.settle`).
package struct Audit: Sendable {
    package let server: SimulatedServer
    /// Of each image, what it may be: one state, or more where an answer never came.
    package let expected: [ImageID: Set<ModelImage>]

    package init(_ server: SimulatedServer, expected: [ImageID: Set<ModelImage>]) {
        self.server = server
        self.expected = expected
    }

    /// An image as it was found.
    struct Found {
        var model = ModelImage()
        var sizeBytes: Int64?
        var checksum: String?
        var hash: String?
        var blobs: [(id: String, state: String, sizeBytes: Int64?)] = []

        /// A tombstone keeps its last columns; what they say is nobody's business.
        var normalised: ModelImage {
            guard model.status == .deleted else { return model }
            var tombstone = ModelImage()
            tombstone.status = .deleted
            return tombstone
        }
    }

    package struct Result: Sendable {
        /// What each image was found to be.
        package var found: [ImageID: ModelImage] = [:]
        package var violations: [String] = []
    }

    package func run(checksDatabase: Bool = false) async throws -> Result {
        var result = Result()
        let images = try await server.database.read { try Self.images(in: $0) }
        result.violations += try await server.database.read { try Self.unfinished(in: $0) }
        result.violations += owned(images)
        for (id, allowed) in expected.sorted(by: { $0.key < $1.key }) {
            let found = images[id] ?? Found()
            result.found[id] = found.normalised
            result.violations += check(id, found, allowed: allowed)
        }
        for id in images.keys.sorted() where expected[id] == nil {
            result.violations.append("(b) image \(id) was never asked for")
        }
        result.violations += try await server.database.read { try Self.usage(in: $0) }
        for (id, found) in images.sorted(by: { $0.key < $1.key }) {
            result.violations += await asSeen(id, found)
        }
        if checksDatabase {
            let report = try await server.database.read { db in
                try db.query("PRAGMA integrity_check") { try $0.get(0, as: String.self) }
            }
            if report != ["ok"] { result.violations.append("the database is damaged: \(report)") }
        }
        return result
    }

    // MARK: Reading

    /// What one image is found to be.
    package static func model(of id: ImageID, in database: any SQLDatabase) async throws -> ModelImage {
        try await database.read { try images(in: $0)[id]?.normalised } ?? .absent
    }

    private static func images(in db: any SQLConnection) throws -> [ImageID: Found] {
        var images: [ImageID: Found] = [:]
        try db.forEachRow(
            """
            SELECT id, name, status, status_before_deletion, protected, size, checksum, os_hash_value, recycled_until
            FROM images
            """, []
        ) { row in
            var found = Found()
            found.model.name = try row.get(1)
            found.model.isProtected = try row.get(4)
            found.sizeBytes = try row.get(5)
            found.checksum = try row.get(6)
            found.hash = try row.get(7)
            let isRecycled = row.value(8) != .null
            let status = Self.status(try row.get(2))
            found.model.status =
                isRecycled ? .recycled(Self.status(try row.get(3, as: String?.self) ?? "")) : status
            images[try row.get(0)] = found
        }
        try db.forEachRow("SELECT image_id, name, value FROM image_properties", []) {
            let (image, value) = (try $0.get(0, as: ImageID.self), try $0.get(2, as: String?.self))
            switch try $0.get(1, as: String.self) {
            case "os_distro": images[image]?.model.property = value
            case SimulatedClient.keyProperty: images[image]?.model.key = value
            case SimulatedClient.policyProperty:
                images[image]?.model.destroysKey = value == SimulatedClient.destroysText
            case SimulatedClient.certificateProperty: images[image]?.model.certificate = value
            default: break
            }
        }
        try db.forEachRow("SELECT image_id, tag FROM image_tags", []) {
            images[try $0.get(0)]?.model.tags.insert(try $0.get(1))
        }
        try db.forEachRow("SELECT image_id, member, status FROM image_members", []) {
            images[try $0.get(0)]?.model.members[try $0.get(1)] = try $0.get(2, as: String.self) == "accepted"
        }
        try db.forEachRow("SELECT image_id, id, state, size_bytes FROM blobs ORDER BY id", []) {
            images[try $0.get(0)]?.blobs.append((try $0.get(1), try $0.get(2), try $0.get(3)))
        }
        return images.mapValues { found in
            var found = found
            found.model.content = found.checksum.flatMap(Self.content)
            return found
        }
    }

    private static func content(_ checksum: String) -> Int? {
        Payloads.digests.firstIndex { $0.checksum == checksum } ?? -1
    }

    private static func status(_ text: String) -> ModelImage.Status {
        switch text {
        case "queued": .queued
        case "saving": .saving(0)
        case "active": .active
        case "deactivated": .deactivated
        case "deleted": .deleted
        default: .absent
        }
    }

    private static func unfinished(in db: any SQLConnection) throws -> [String] {
        var violations: [String] = []
        try db.forEachRow("SELECT id, state, lease_owner FROM blobs WHERE state IN ('writing', 'doomed')", []) {
            violations.append("(g) blob \(try $0.get(0, as: String.self)) is \(try $0.get(1, as: String.self)) at rest")
        }
        try db.forEachRow("SELECT kind, subject, state, last_error FROM jobs", []) {
            violations.append(
                "(g) job \(try $0.get(0, as: String.self))/\(try $0.get(1, as: String.self)) is "
                    + "\(try $0.get(2, as: String.self)) at rest: \(try $0.get(3, as: String?.self) ?? "no error")")
        }
        return violations
    }

    // MARK: Checking

    /// (a), (b): what was acknowledged is there, and nothing else is.
    private func check(_ id: ImageID, _ found: Found, allowed: Set<ModelImage>) -> [String] {
        var violations: [String] = []
        let model = found.normalised
        if model.status == .deleted {
            let hasChildren =
                !found.model.tags.isEmpty || !found.model.members.isEmpty || found.model.property != nil
                || found.model.key != nil || found.model.destroysKey != nil || found.model.certificate != nil
            if hasChildren || !found.blobs.isEmpty { violations.append("(b) image \(id) is deleted and not wholly") }
        }
        if !allowed.contains(model) {
            let expectation = allowed.map(\.description).sorted().joined(separator: "; or ")
            violations.append("(a) image \(id) is <\(model)>, expected <\(expectation)>")
        }
        return violations
    }

    /// (a), (f): an image's bytes are what its record says, and what its owner uploaded.
    private func asSeen(_ id: ImageID, _ found: Found) async -> [String] {
        switch found.model.status {
        case .active, .deactivated, .recycled(.active), .recycled(.deactivated):
            guard let content = found.model.content, Payloads.digests.indices.contains(content) else {
                return ["(a) image \(id) has data that nobody uploaded"]
            }
            let digests = Payloads.digests[content]
            guard found.sizeBytes == digests.sizeBytes, found.hash == digests.hash else {
                return ["(a) image \(id) has a wrong size or digest in its record"]
            }
            guard found.blobs.count == 1, found.blobs[0].sizeBytes == digests.sizeBytes else {
                return ["(a) image \(id) has blobs \(found.blobs), one of \(digests.sizeBytes) bytes is due"]
            }
            return await readable(id, BlobID(found.blobs[0].id), content)
        default:
            return found.blobs.isEmpty ? [] : ["(b) image \(id), \(found.model.status), has blobs \(found.blobs)"]
        }
    }

    private func readable(_ id: ImageID, _ blob: BlobID, _ content: Int) async -> [String] {
        do {
            let reader = try await server.store.open(blob)
            var bytes = try await reader.read(offset: 0, count: Int(reader.sizeBytes))
            await reader.close()
            let read = bytes.readBytes(length: bytes.readableBytes) ?? []
            return read == Payloads.bytes(content) ? [] : ["(a) image \(id) has other bytes than content \(content)"]
        } catch {
            return ["(a) the bytes of image \(id) cannot be read: \(error)"]
        }
    }

    /// (c): every file of the store has a row, and every row of bytes its file; the disk tells, not the store.
    private func owned(_ images: [ImageID: Found]) -> [String] {
        var rows: Set<String> = []
        for image in images.values {
            for blob in image.blobs where blob.state == "live" || blob.state == "recycled" { rows.insert(blob.id) }
        }
        var violations: [String] = []
        var files: Set<String> = []
        let prefix = SimulatedServer.storeDirectory + "/"
        for path in server.mount.disk.state.paths where path.hasPrefix(prefix) && !path.hasSuffix("/") {
            let name = String(path.split(separator: "/").last ?? "")
            if name == ".ambrotype-store" { continue }
            if path.hasPrefix(prefix + "blobs/"), rows.contains(name), files.insert(name).inserted { continue }
            violations.append("(c) \(path) belongs to nobody")
        }
        for lost in rows.subtracting(files).sorted() { violations.append("(a) the file of blob \(lost) is gone") }
        return violations
    }

    /// (d): what a project is charged is what its images hold.
    private static func usage(in db: any SQLConnection) throws -> [String] {
        let rows = try db.query(
            """
            SELECT b.project, SUM(b.charged_bytes), (
                SELECT COALESCE(SUM(i.size), 0) FROM images i
                WHERE i.owner = b.project AND i.deleted_at IS NULL AND i.status IN ('active', 'deactivated'))
            FROM blobs b GROUP BY b.project
            """
        ) { (try $0.get(0, as: String.self), try $0.get(1, as: Int64.self), try $0.get(2, as: Int64.self)) }
        return rows.filter { $0.1 != $0.2 }.map { "(d) project \($0.0) is charged \($0.1) bytes for \($0.2)" }
    }
}
