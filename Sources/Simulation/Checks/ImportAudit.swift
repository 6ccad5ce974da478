import Blobs
import Core
import NIOCore
import Persistence

/// What must be true at rest of a cloud that stages, imports and copies, read from its database and its disk directly.
struct ImportAudit: Sendable {
    let server: SimulatedServer

    /// An image as it was found.
    private struct Found {
        var status = ""
        var checksum: String?
        var sizeBytes: Int64?
        var lock: String?
        var importing: String?
        /// Whether it has what another image service said of its image.
        var isDescribed = false
        var blobs: [(id: String, store: String, state: String, role: String, sizeBytes: Int64?)] = []
    }

    /// - Returns: what each image is, and what is wrong.
    func run() async throws -> (found: [ImageID: ImportModel], violations: [String]) {
        let images = try await server.database.read { try Self.images(in: $0) }
        var violations = try await server.database.read { try Self.unfinished(in: $0) }
        violations += owned(images)
        var found: [ImageID: ImportModel] = [:]
        for (id, image) in images.sorted(by: { $0.key < $1.key }) {
            let (model, problems) = try await look(id, image)
            found[id] = model
            violations += problems
        }
        return (found, violations)
    }

    private static func images(in db: any SQLConnection) throws -> [ImageID: Found] {
        var images: [ImageID: Found] = [:]
        try db.forEachRow("SELECT id, status, checksum, size FROM images", []) {
            images[try $0.get(0)] = Found(
                status: try $0.get(1), checksum: try $0.get(2), sizeBytes: try $0.get(3))
        }
        try db.forEachRow("SELECT image_id, name, value FROM image_properties", []) {
            let image = try $0.get(0, as: ImageID.self)
            switch try $0.get(1, as: String.self) {
            case "os_glance_import_task": images[image]?.lock = try $0.get(2)
            case "os_glance_importing_to_stores": images[image]?.importing = try $0.get(2)
            case SimulatedRemote.describedProperty: images[image]?.isDescribed = true
            default: break
            }
        }
        try db.forEachRow("SELECT image_id, id, store, state, role, size_bytes FROM blobs ORDER BY store, id", []) {
            images[try $0.get(0)]?.blobs.append(
                (try $0.get(1), try $0.get(2), try $0.get(3), try $0.get(4), try $0.get(5)))
        }
        return images
    }

    /// (g), (d): nothing is under way, and usage is the sum of what there is.
    private static func unfinished(in db: any SQLConnection) throws -> [String] {
        var violations: [String] = []
        for (what, sql) in [
            ("open tasks", "SELECT COUNT(*) FROM tasks WHERE status IN ('pending', 'processing')"),
            ("plans of imports", "SELECT COUNT(*) FROM imports"),
            ("tokens of imports", "SELECT COUNT(*) FROM import_glance"),
            ("targets of imports", "SELECT COUNT(*) FROM import_targets"), ("jobs", "SELECT COUNT(*) FROM jobs"),
            ("blobs under way", "SELECT COUNT(*) FROM blobs WHERE state IN ('writing', 'doomed')"),
            (
                "charges that do not fit",
                "SELECT COUNT(*) FROM blobs WHERE state = 'live' AND charged_bytes <> size_bytes"
            ),
        ] {
            let count = try db.first(sql) { try $0.get(0, as: Int.self) } ?? 0
            if count > 0 { violations.append("(g) \(count) \(what) at rest") }
        }
        return violations
    }

    /// (a), (b), (f): an image is one of the states that last, and its copies are all the same bytes.
    private func look(_ id: ImageID, _ image: Found) async throws -> (ImportModel, [String]) {
        var violations: [String] = []
        if image.status != "deleted", image.lock != nil || !(image.importing ?? "").isEmpty {
            violations.append("(g) image \(id) says that it is being imported")
        }
        if image.isDescribed, image.status != "active" {
            violations.append("(b) image \(id), \(image.status), has the properties of an import that failed")
        }
        let roles = Set(image.blobs.map(\.role))
        let stores = Set(image.blobs.map(\.store))
        var contents: Set<Int> = []
        for blob in image.blobs { contents.insert(await content(BlobID(blob.id), in: blob.store)) }
        if contents.contains(-1) || contents.count > 1 {
            violations.append("(f) image \(id) has contents \(contents.sorted()) in \(image.blobs)")
        }
        switch image.status {
        case "queued", "deleted":
            if !image.blobs.isEmpty { violations.append("(b) image \(id), \(image.status), has \(image.blobs)") }
            return (image.status == "queued" ? .queued : .deleted, violations)
        case "uploading":
            if image.blobs.count != 1 || roles != ["staged"] || image.checksum != nil {
                violations.append("(b) image \(id) is staged and has \(image.blobs)")
            }
            return (.staged(contents.first ?? -1), violations)
        case "active":
            let content = contents.first ?? -1
            let isRight =
                Payloads.digests.indices.contains(content) && image.checksum == Payloads.digests[content].checksum
                && image.sizeBytes == Payloads.digests[content].sizeBytes
            if roles != ["data"] || stores.count != image.blobs.count || !isRight {
                violations.append("(a) image \(id) is active, its record does not fit \(image.blobs)")
            }
            return (.active(content, stores: stores), violations)
        default:
            violations.append("(g) image \(id) is \(image.status) at rest")
            return (.absent, violations)
        }
    }

    private func content(_ blob: BlobID, in store: String) async -> Int {
        guard let place = store == "local" ? server.store : server.secondStore else { return -1 }
        do {
            let reader = try await place.open(blob)
            var bytes = try await reader.read(offset: 0, count: Int(reader.sizeBytes))
            await reader.close()
            return Payloads.identify(bytes.readBytes(length: bytes.readableBytes) ?? []) ?? -1
        } catch {
            return -1
        }
    }

    /// (c): every file has a row, and every row its file.
    private func owned(_ images: [ImageID: Found]) -> [String] {
        var rows: Set<String> = []
        for image in images.values {
            for blob in image.blobs where blob.state == "live" { rows.insert("\(blob.store) \(blob.id)") }
        }
        var violations: [String] = []
        var files: Set<String> = []
        for (store, directory) in [
            ("local", SimulatedServer.storeDirectory), ("second", SimulatedServer.secondStoreDirectory),
        ] {
            for path in server.mount.disk.state.paths where path.hasPrefix(directory + "/") && !path.hasSuffix("/") {
                let name = String(path.split(separator: "/").last ?? "")
                if name == ".ambrotype-store" { continue }
                let row = "\(store) \(name)"
                if path.hasPrefix(directory + "/blobs/"), rows.contains(row), files.insert(row).inserted { continue }
                violations.append("(c) \(path) belongs to nobody")
            }
        }
        for lost in rows.subtracting(files).sorted() { violations.append("(a) the file of \(lost) is gone") }
        return violations
    }
}
