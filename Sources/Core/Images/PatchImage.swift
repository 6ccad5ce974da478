import Logging
import Persistence

/// One operation of a JSON patch on an image.
package struct ImagePatch: Sendable, Equatable {
    package enum Verb: String, Sendable { case add, replace, remove }

    package let verb: Verb
    /// The pointer's segments, unescaped.
    package let path: [String]
    /// The value; null for `remove`.
    package let value: JSONValue
    /// In the 2.0 dialect adding what exists is a conflict, in 2.1 it overwrites.
    package let addRefusesExisting: Bool

    package init(verb: Verb, path: [String], value: JSONValue, addRefusesExisting: Bool) {
        self.verb = verb
        self.path = path
        self.value = value
        self.addRefusesExisting = addRefusesExisting
    }
}

extension Images {
    /// `PATCH /v2/images/{id}`: all operations or none.
    /// - Throws: `ServiceError`: `.badRequest`, `.forbidden`, `.notFound`, `.conflict`, `.tooLarge`.
    package func patch(_ id: ImageID, _ operations: [ImagePatch], as caller: Caller) async throws -> ImageView {
        let locations = try await gatherLocationChanges(operations, of: id, as: caller)
        let now = now
        let (view, asksForWork) = try await database.write { db -> (ImageView, Bool) in
            let before = try visibleImage(id, .modifyImage, caller, in: db)
            var image = before
            let properties = try propertyAccess(caller, to: before, in: db)
            var asksForWork = false
            for (index, operation) in operations.enumerated() {
                if LocationChanges.concerns(operation) {
                    try applyToLocations(operation, at: index, locations, &image, as: caller, now: now, in: db)
                } else {
                    try apply(operation, to: &image, as: caller, properties)
                }
            }
            if !operations.isEmpty {
                image.updatedAt = now
                try Self.save(image, insteadOf: before, in: db)
                if operations.contains(where: LocationChanges.concerns) {
                    try Self.saveData(of: image, insteadOf: before, in: db)
                    // A copy that was removed is erased.
                    asksForWork = true
                }
                asksForWork = try followKeys(image, insteadOf: before, as: caller, now: now, in: db) || asksForWork
            }
            return (try self.view(of: image, as: properties.readable(image), to: caller, in: db), asksForWork)
        }
        if asksForWork { reconcilerWake.signal() }
        caller.logger.info("image changed", metadata: ["image": "\(id)"])
        return view
    }

    private func apply(
        _ operation: ImagePatch, to image: inout Image, as caller: Caller, _ properties: PropertyAccess
    ) throws {
        let name = operation.path[0]
        guard operation.path.count == 1 else {
            if name == "tags" {
                throw ServiceError.badRequest("Tags are replaced as a whole: use the path /tags.")
            }
            throw ServiceError.badRequest("The path /\(operation.path.joined(separator: "/")) has too many segments.")
        }
        if name == "id" || ImageFields.isServerSet(name) {
            throw ServiceError.forbidden("Attribute '\(name)' is read-only.")
        }
        if ImageFields.writable.contains(name) {
            try applyToColumn(name, operation, &image, caller)
        } else {
            try applyToProperty(name, operation, &image, properties)
        }
    }

    private func applyToColumn(
        _ name: String, _ operation: ImagePatch, _ image: inout Image, _ caller: Caller
    ) throws {
        guard operation.verb != .remove else {
            throw ServiceError.forbidden("Property \(name) may not be removed.")
        }
        if operation.verb == .add, operation.addRefusesExisting {
            throw ServiceError.conflict("Property \(name) already exists.")
        }
        let fields = ImageFields(settings: settings)
        let value = operation.value
        switch name {
        case "name": image.name = try fields.optionalText(name, value)
        case "visibility":
            let wanted = try fields.visibility(value)
            try requireVisibility(wanted, of: image, as: caller)
            image.visibility = wanted
        case "os_hidden": image.isHidden = try fields.flag(name, value)
        case "protected": image.isProtected = try fields.flag(name, value)
        case "owner":
            guard caller.isAdmin else { throw ServiceError.forbidden("Owner can't be updated by non admin.") }
            image.owner = try fields.optionalText(name, value).map(ProjectID.init(rawValue:))
        case "container_format":
            let wanted = try fields.containerFormat(value)
            try requireMutableFormats(image, name)
            image.containerFormat = wanted
        case "disk_format":
            let wanted = try fields.diskFormat(value)
            try requireMutableFormats(image, name)
            image.diskFormat = wanted
        case "min_disk": image.minDiskGB = try fields.number(name, value)
        case "min_ram": image.minRAMMB = try fields.number(name, value)
        case "tags":
            let wanted = try fields.tags(value)
            try requireTagRoom(wanted.count)
            image.tags = wanted
        default: preconditionFailure("a writable column without a rule: \(name)")
        }
    }

    private func requireVisibility(_ wanted: Image.Visibility, of image: Image, as caller: Caller) throws {
        let target = ImageTarget(image, ImageStanding(image, isMember: false, of: caller), caller)
        switch wanted {
        case .public: try settings.policy.require(.publicizeImage, caller, target)
        case .community: try settings.policy.require(.communitizeImage, caller, target)
        case .private, .shared: break
        }
    }

    private func requireMutableFormats(_ image: Image, _ name: String) throws {
        guard image.hasMutableFormats else {
            throw ServiceError.forbidden(
                "Attribute \(name) can be only replaced for a queued image; this one is \(image.status.rawValue).")
        }
    }

    private func applyToProperty(
        _ name: String, _ operation: ImagePatch, _ image: inout Image, _ properties: PropertyAccess
    ) throws {
        let exists = image.properties[name] != nil
        switch operation.verb {
        case .add:
            if exists { try properties.requireChange(.update, name) } else { try properties.require(.create, name) }
            if exists, operation.addRefusesExisting {
                throw ServiceError.conflict("Property \(name) already exists.")
            }
            let value = try ImageFields(settings: settings).property(name, operation.value)
            image.properties[name] = .some(value)
            try settings.requirePropertyRoom(image.properties)
        case .replace:
            try properties.requireChange(.update, name)
            guard exists else { throw ServiceError.conflict("Property \(name) does not exist.") }
            image.properties[name] = .some(try ImageFields(settings: settings).property(name, operation.value))
            try settings.requirePropertyRoom(image.properties)
        case .remove:
            try properties.requireChange(.delete, name)
            guard exists else { throw ServiceError.conflict("Property \(name) does not exist.") }
            image.properties[name] = nil
        }
    }

    /// Byte for byte: to Swift two spellings of one character are equal, to the database they are not.
    private static func isSame(_ a: String??, _ b: String??) -> Bool {
        switch (a, b) {
        case (.some(.some(let a)), .some(.some(let b))): a.utf8.elementsEqual(b.utf8)
        case (.some(.none), .some(.none)), (.none, .none): true
        default: false
        }
    }

    /// Writes what differs.
    private static func save(_ image: Image, insteadOf before: Image, in db: any SQLConnection) throws {
        try db.execute(
            """
            UPDATE images SET name = $1, visibility = $2, os_hidden = $3, protected = $4, owner = $5,
                container_format = $6, disk_format = $7, min_disk = $8, min_ram = $9, updated_at = $10
            WHERE id = $11 AND status = $12
            """,
            image.name, image.visibility.rawValue, image.isHidden, image.isProtected, image.owner,
            image.containerFormat, image.diskFormat, image.minDiskGB, image.minRAMMB, image.updatedAt, image.id,
            before.status.rawValue)
        for (name, value) in before.properties where !Self.isSame(image.properties[name], .some(value)) {
            try db.execute("DELETE FROM image_properties WHERE image_id = $1 AND name = $2", image.id, name)
        }
        for (name, value) in image.properties where !Self.isSame(before.properties[name], .some(value)) {
            try insertProperty(name, value, of: image.id, in: db)
        }
        for tag in before.tags.subtracting(image.tags) {
            try db.execute("DELETE FROM image_tags WHERE image_id = $1 AND tag = $2", image.id, tag)
        }
        for tag in image.tags.subtracting(before.tags) { try insertTag(tag, of: image.id, in: db) }
        if image.owner != before.owner {
            // The bytes are charged to whom the image belongs.
            try db.execute("UPDATE blobs SET project = $1 WHERE image_id = $2", image.owner, image.id)
        }
    }
}
