import NIOCore
import Persistence

/// A task as clients see it (Image API digest, section 3.6): what was asked for, how far it is, what came of it.
package struct ImageTask: Sendable, Equatable {
    package enum Status: String, Sendable, CaseIterable {
        case pending, processing, success, failure

        /// Whether it is still to end.
        package var isOpen: Bool { self == .pending || self == .processing }
    }

    /// The names of types on the wire.
    package enum Kind: String, Sendable, CaseIterable {
        /// `POST /v2/tasks`: an image made from a URL.
        case `import`
        /// `POST /v2/images/{id}/import`.
        case imageImport = "api_image_import"
        /// `POST /v2/images/{id}/locations`: the look at the bytes there. Has the location's id.
        case locationImport = "location_import"
    }

    package let id: TaskID
    /// As it was written; `Kind` has those that this program makes.
    package let type: String
    package let status: Status
    package let owner: ProjectID?
    package let user: UserID?
    package let requestID: String?
    package let image: ImageID?
    package let input: JSONValue
    package let result: JSONValue?
    package let message: String
    package let createdAt: Timestamp
    package let updatedAt: Timestamp
    /// When an ended task is forgotten.
    package let expiresAt: Timestamp?
}

extension ImageTask {
    /// A new one, pending.
    init(
        id: TaskID, _ kind: Kind, image: ImageID?, input: JSONValue, by caller: Caller, now: Timestamp
    ) {
        self.init(
            id: id, type: kind.rawValue, status: .pending, owner: caller.projectID, user: caller.userID,
            requestID: caller.requestID, image: image, input: input, result: nil, message: "", createdAt: now,
            updatedAt: now, expiresAt: nil)
    }

    static let columns = """
        t.id, t.type, t.status, t.owner, t.user_id, t.request_id, t.image_id, t.input, t.result, t.message, \
        t.created_at, t.updated_at, t.expires_at
        """

    static func read(_ row: any SQLRow) throws -> ImageTask {
        guard let status = Status(rawValue: try row.get(2)) else {
            throw SQLError(code: .corrupt, operation: "read task", message: "unknown status")
        }
        return ImageTask(
            id: try row.get(0), type: try row.get(1), status: status, owner: try row.get(3), user: try row.get(4),
            requestID: try row.get(5), image: try row.get(6), input: try json(try row.get(7)),
            result: try row.get(8, as: String?.self).map(json), message: try row.get(9), createdAt: try row.get(10),
            updatedAt: try row.get(11), expiresAt: try row.get(12))
    }

    private static func json(_ text: String) throws -> JSONValue {
        do {
            return try JSONValue(parsing: ByteBuffer(string: text))
        } catch {
            throw SQLError(code: .corrupt, operation: "read task", message: "no JSON")
        }
    }

    func insert(in db: any SQLConnection) throws {
        try db.execute(
            """
            INSERT INTO tasks (id, type, status, owner, user_id, request_id, image_id, input, result, message,
                created_at, updated_at, expires_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
            """, id, type, status.rawValue, owner, user, requestID, image, input.text, result?.text, message,
            createdAt, updatedAt, expiresAt)
    }

    static func find(_ id: TaskID, in db: any SQLConnection) throws -> ImageTask? {
        try db.first("SELECT \(columns) FROM tasks t WHERE t.id = $1", id, row: read)
    }

    /// The task that holds the lock on an image's imports.
    static func open(of image: ImageID, in db: any SQLConnection) throws -> ImageTask? {
        try db.first(
            """
            SELECT \(columns) FROM tasks t
            WHERE t.image_id = $1 AND t.status IN ('pending', 'processing') AND t.type IN ('import', 'api_image_import')
            """, image, row: read)
    }

    /// An open task ends. Does nothing to one that has ended.
    static func end(
        _ id: TaskID, _ status: Status, _ message: String, result: JSONValue? = nil, keptHours: Int64, now: Timestamp,
        in db: any SQLConnection
    ) throws {
        precondition(!status.isOpen)
        try db.execute(
            """
            UPDATE tasks SET status = $1, message = $2, result = $3, updated_at = $4, expires_at = $5
            WHERE id = $6 AND status IN ('pending', 'processing')
            """, status.rawValue, message, result?.text, now, now.adding(seconds: keptHours * 3600), id)
    }
}
