import Persistence

/// A project an image is shared with.
package struct ImageMember: Sendable, Equatable {
    package enum Status: String, Sendable, CaseIterable { case pending, accepted, rejected }

    package let image: ImageID
    package let member: ProjectID
    package var status: Status
    package let createdAt: Timestamp
    package var updatedAt: Timestamp
}

extension Images {
    /// `POST /v2/images/{id}/members`: the member can read at once; accepting only affects its lists.
    /// - Throws: `ServiceError`: `.badRequest`, `.notFound`, `.forbidden` (policy, not `shared`),
    ///   `.conflict` (a member already), `.tooLarge`.
    package func addMember(_ member: ProjectID, to id: ImageID, as caller: Caller) async throws -> ImageMember {
        guard !member.rawValue.isEmpty, member.rawValue.unicodeScalars.count <= 255 else {
            throw ServiceError.badRequest("A member is a project's id of 1 to 255 characters.")
        }
        let now = now
        return try await database.write { db in
            let image = try sharedImage(id, .addMember, caller, in: db)
            if try db.isMember(member, of: id) {
                throw ServiceError.conflict("Project \(member) is already a member of image \(id).")
            }
            let count = try db.first("SELECT COUNT(*) FROM image_members WHERE image_id = $1", id) {
                try $0.get(0, as: Int.self)
            }
            guard settings.memberQuota < 0 || (count ?? 0) < settings.memberQuota else {
                throw ServiceError.tooLarge("The limit on members of an image is \(settings.memberQuota).")
            }
            try db.execute(
                """
                INSERT INTO image_members (image_id, member, status, created_at, updated_at, image_created_at)
                VALUES ($1, $2, 'pending', $3, $3, $4)
                """,
                id, member, now, image.createdAt)
            return ImageMember(image: id, member: member, status: .pending, createdAt: now, updatedAt: now)
        }
    }

    /// `GET /v2/images/{id}/members`: all for the owner, only itself for a member.
    /// - Throws: `ServiceError.notFound`, `.forbidden`.
    package func members(of id: ImageID, as caller: Caller) async throws -> [ImageMember] {
        try await database.read { db in
            let image = try sharedImage(id, .getMembers, caller, in: db)
            let members = try Self.members(of: id, in: db)
            if caller.isAdmin || image.owner == caller.projectID { return members }
            return members.filter { $0.member == caller.projectID }
        }
    }

    /// `GET /v2/images/{id}/members/{member}`.
    /// - Throws: `ServiceError.notFound`, also for an image that is not shared and a member the caller
    ///   may not see.
    package func member(_ member: ProjectID, of id: ImageID, as caller: Caller) async throws -> ImageMember {
        try await database.read { db in
            let image = try visibleImage(id, .getImage, caller, in: db)
            guard image.visibility == .shared,
                caller.isAdmin || image.owner == caller.projectID || member == caller.projectID,
                let found = try Self.members(of: id, in: db).first(where: { $0.member == member })
            else { throw Self.noMember(member, id) }
            let isMember = try isMember(caller, of: image, in: db)
            try settings.policy.require(.getMember, caller, image, isMember: isMember)
            return found
        }
    }

    /// `PUT /v2/images/{id}/members/{member}`: only the member itself (or an admin) answers an offer.
    /// - Throws: `ServiceError`: `.badRequest`, `.notFound`, `.forbidden`.
    package func setMemberStatus(
        _ status: ImageMember.Status, of member: ProjectID, on id: ImageID, as caller: Caller
    ) async throws -> ImageMember {
        let now = now
        return try await database.write { db in
            let image = try sharedImage(id, .getImage, caller, in: db)
            guard caller.isAdmin || member == caller.projectID && image.owner != caller.projectID else {
                throw ServiceError.forbidden("Only the member itself can set the status of its membership.")
            }
            guard var found = try Self.members(of: id, in: db).first(where: { $0.member == member }) else {
                throw Self.noMember(member, id)
            }
            try settings.policy.require(.modifyMember, caller, image, isMember: true)
            try db.execute(
                "UPDATE image_members SET status = $1, updated_at = $2 WHERE image_id = $3 AND member = $4",
                status.rawValue, now, id, member)
            found.status = status
            found.updatedAt = now
            return found
        }
    }

    /// `DELETE /v2/images/{id}/members/{member}`, by the owner alone.
    /// - Throws: `ServiceError.notFound`, `.forbidden`.
    package func removeMember(_ member: ProjectID, from id: ImageID, as caller: Caller) async throws {
        try await database.write { db in
            _ = try sharedImage(id, .deleteMember, caller, in: db)
            let removed = try db.execute(
                "DELETE FROM image_members WHERE image_id = $1 AND member = $2", id, member)
            guard removed == 1 else { throw Self.noMember(member, id) }
        }
    }

    private static func noMember(_ member: ProjectID, _ id: ImageID) -> ServiceError {
        .notFound("\(member) is not a member of image \(id).")
    }

    private func sharedImage(
        _ id: ImageID, _ action: ImageAction, _ caller: Caller, in db: any SQLConnection
    ) throws -> Image {
        _ = try visibleImage(id, .getImage, caller, in: db)
        let image = try visibleImage(id, action, caller, in: db)
        guard image.visibility == .shared else {
            throw ServiceError.forbidden(
                "Only shared images have members; image \(id) is \(image.visibility.rawValue).")
        }
        return image
    }

    private static func members(of id: ImageID, in db: any SQLConnection) throws -> [ImageMember] {
        try db.query(
            """
            SELECT member, status, created_at, updated_at FROM image_members
            WHERE image_id = $1 ORDER BY created_at, member
            """, id
        ) { row in
            guard let status = ImageMember.Status(rawValue: try row.get(1)) else {
                throw SQLError(code: .corrupt, operation: "read member", message: "unknown status")
            }
            return ImageMember(
                image: id, member: try row.get(0), status: status, createdAt: try row.get(2), updatedAt: try row.get(3))
        }
    }
}
