import NIOCore
import Persistence

/// A key that was to be made. It is made at once, so no order is ever pending.
package struct KeyOrder: Sendable, Equatable {
    package enum Kind: String, Sendable, CaseIterable { case key, asymmetric }

    package enum Outcome: Sendable, Equatable {
        case secret(SecretID)
        /// The pair, and the passphrase if there is one.
        case container(ContainerID)
        case failed(OrderFailure)
    }

    package let id: OrderID
    package let project: ProjectID
    package let creator: UserID
    package let kind: Kind
    package let meta: OrderMeta
    package let outcome: Outcome
    package let createdAt: Timestamp
    package let updatedAt: Timestamp
}

/// Why a key was not made, in the words of Barbican.
package struct OrderFailure: Sendable, Equatable {
    package let status: String
    package let reason: String

    static let unsupportedAlgorithm = OrderFailure(
        status: "400", reason: "Process TypeOrder issue seen - Requested algorithm is not supported.")
    static let unknownAlgorithm = OrderFailure(
        status: "400", reason: "Process TypeOrder issue seen - Secret generate supported plugin not found..")
    static let unsupportedLength = OrderFailure(
        status: "500", reason: "Process TypeOrder failure seen - please contact site administrator.")
}

/// What was asked for. The client raises an error on any other member (Key Manager digest, section 3), and a
/// passphrase has no place in the catalogue.
package struct OrderMeta: Sendable, Equatable, SQLBindable, SQLReadable {
    package var algorithm: String
    package var bitLength: Int64
    package var mode: String?
    package var name: String?
    package var expiresAt: Timestamp?
    package var contentType: String?

    init(
        algorithm: String, bitLength: Int64, mode: String? = nil, name: String? = nil, expiresAt: Timestamp? = nil,
        contentType: String? = nil
    ) {
        self.algorithm = algorithm
        self.bitLength = bitLength
        self.mode = mode
        self.name = name
        self.expiresAt = expiresAt
        self.contentType = contentType
    }

    /// An object of JSON; `expiration` in microseconds.
    package var sqlValue: SQLValue {
        var members: [String: JSONValue] = ["algorithm": .string(algorithm), "bit_length": .integer(bitLength)]
        members["mode"] = mode.map { .string($0) }
        members["name"] = name.map { .string($0) }
        members["expiration"] = expiresAt.map { .integer($0.microseconds) }
        members["payload_content_type"] = contentType.map { .string($0) }
        return .text(JSONValue.object(members).text)
    }

    package init?(sqlValue: SQLValue) {
        guard case .text(let text) = sqlValue, let members = try? JSONValue(parsing: ByteBuffer(string: text)),
            let algorithm = members["algorithm"]?.stringValue, let bitLength = members["bit_length"]?.integerValue
        else { return nil }
        self.init(
            algorithm: algorithm, bitLength: bitLength, mode: members["mode"]?.stringValue,
            name: members["name"]?.stringValue,
            expiresAt: members["expiration"]?.integerValue.map { Timestamp(microseconds: $0) },
            contentType: members["payload_content_type"]?.stringValue)
    }
}

extension KeyOrder {
    static let columns = """
        id, project, creator, type, meta, status, secret_id, container_id, error_status, error_reason, created_at, \
        updated_at
        """

    init(row: any SQLRow) throws {
        let corrupt = SQLError(code: .corrupt, operation: "read order", message: "unknown type or outcome")
        guard let kind = Kind(rawValue: try row.get(3)) else { throw corrupt }
        let secret = try row.get(6, as: SecretID?.self)
        let container = try row.get(7, as: ContainerID?.self)
        let outcome: Outcome
        switch (try row.get(5, as: String.self), secret, container) {
        case ("ACTIVE", let id?, nil): outcome = .secret(id)
        case ("ACTIVE", nil, let id?): outcome = .container(id)
        case ("ERROR", nil, nil): outcome = .failed(OrderFailure(status: try row.get(8), reason: try row.get(9)))
        default: throw corrupt
        }
        self.init(
            id: try row.get(0), project: try row.get(1), creator: try row.get(2), kind: kind, meta: try row.get(4),
            outcome: outcome, createdAt: try row.get(10), updatedAt: try row.get(11))
    }
}

extension SQLConnection {
    func insert(_ order: KeyOrder) throws {
        var secret: SecretID?
        var container: ContainerID?
        var failure: OrderFailure?
        switch order.outcome {
        case .secret(let id): secret = id
        case .container(let id): container = id
        case .failed(let why): failure = why
        }
        try execute(
            """
            INSERT INTO secret_orders (id, project, creator, type, meta, status, secret_id, container_id, error_status,
                error_reason, created_at, updated_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
            """, order.id, order.project, order.creator, order.kind.rawValue, order.meta,
            failure == nil ? "ACTIVE" : "ERROR", secret, container, failure?.status, failure?.reason, order.createdAt,
            order.updatedAt)
    }
}
