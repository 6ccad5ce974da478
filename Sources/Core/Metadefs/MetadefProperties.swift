import NIOCore
import Persistence

extension Metadefs {
    /// `GET …/{namespace}/properties`, by name.
    /// - Throws: `ServiceError.notFound`.
    package func properties(in name: String, as caller: Caller) async throws -> [MetadefProperty] {
        try await database.read { db in
            try db.metadefProperties(in: try namespace(name, .getProperties, caller, in: db).id)
        }
    }

    /// `GET …/{namespace}/properties/{property}`.
    /// - Parameter resourceType: the property is named as on resources of this type, with the prefix of its
    ///   association.
    /// - Throws: `ServiceError.notFound`, also for a type that is not associated and a name without its prefix.
    package func property(
        _ property: String, in name: String, for resourceType: String? = nil, as caller: Caller
    ) async throws -> MetadefProperty {
        try await database.read { db in
            let namespace = try namespace(name, .getProperty, caller, in: db)
            let bare = try resourceType.map { try db.bareName(property, in: namespace, on: $0) } ?? property
            guard let found = try db.metadefProperties(in: namespace.id, named: bare).first else {
                throw ServiceError.noMetadef("property", property, name)
            }
            return found
        }
    }

    /// `POST …/{namespace}/properties`.
    /// - Throws: `ServiceError.notFound`, `.forbidden`, `.conflict`.
    package func addProperty(_ property: MetadefProperty, to name: String, as caller: Caller) async throws {
        try await database.write { db in
            let namespace = try namespace(name, .addProperty, caller, in: db)
            guard try db.insertProperty(property, into: namespace.id) else {
                throw ServiceError.twice("property", property.name, name)
            }
        }
    }

    /// `PUT …/{namespace}/properties/{property}`: the whole definition, and the name.
    /// - Throws: `ServiceError.notFound`, `.forbidden`, `.conflict`.
    package func replaceProperty(
        _ old: String, with property: MetadefProperty, in name: String, as caller: Caller
    ) async throws {
        try await database.write { db in
            let namespace = try namespace(name, .modifyProperty, caller, in: db)
            try db.requireRenamable(old, to: property.name, "property", in: "metadef_properties", of: namespace)
            try db.execute(
                "UPDATE metadef_properties SET name = $1, definition = $2 WHERE namespace_id = $3 AND name = $4",
                property.name, JSONColumn(.object(property.definition)), namespace.id, old)
        }
    }

    /// `DELETE …/{namespace}/properties/{property}`.
    /// - Throws: `ServiceError.notFound`, `.forbidden`.
    package func removeProperty(_ property: String, from name: String, as caller: Caller) async throws {
        try await database.write { db in
            let namespace = try namespace(name, .removeProperty, caller, in: db)
            try db.removeMetadef(property, "property", from: "metadef_properties", of: namespace)
        }
    }

    /// `DELETE …/{namespace}/properties`.
    /// - Throws: `ServiceError.notFound`, `.forbidden`.
    package func removeProperties(from name: String, as caller: Caller) async throws {
        try await database.write { db in
            let namespace = try unprotectedNamespace(name, .deleteNamespace, caller, in: db)
            try db.execute("DELETE FROM metadef_properties WHERE namespace_id = $1", namespace.id)
        }
    }
}

/// JSON in a column.
struct JSONColumn: SQLBindable, SQLReadable {
    let value: JSONValue
    init(_ value: JSONValue) { self.value = value }

    var sqlValue: SQLValue { .text(value.text) }

    init?(sqlValue: SQLValue) {
        guard case .text(let text) = sqlValue, let value = try? JSONValue(parsing: ByteBuffer(string: text)) else {
            return nil
        }
        self.value = value
    }
}

extension SQLConnection {
    /// - Returns: false if the namespace has one of this name.
    func insertProperty(_ property: MetadefProperty, into id: MetadefNamespaceID) throws -> Bool {
        try execute(
            """
            INSERT INTO metadef_properties (namespace_id, name, definition) VALUES ($1, $2, $3)
            ON CONFLICT (namespace_id, name) DO NOTHING
            """, id, property.name, JSONColumn(.object(property.definition))) == 1
    }

    /// By name.
    /// - Parameter named: only the one of this name.
    func metadefProperties(in id: MetadefNamespaceID, named: String? = nil) throws -> [MetadefProperty] {
        var conditions = Conditions()
        conditions.equal("namespace_id", id)
        conditions.equal("name", named)
        return try query(
            "SELECT name, definition FROM metadef_properties\(conditions.sql) ORDER BY name", conditions.arguments
        ) { row in
            MetadefProperty(
                name: try row.get(0), definition: try row.get(1, as: JSONColumn.self).value.objectValue ?? [:])
        }
    }

    /// The name of a property without the prefix that it has on resources of a type.
    /// - Throws: `ServiceError.notFound`.
    fileprivate func bareName(
        _ property: String, in namespace: MetadefNamespace, on resourceType: String
    ) throws -> String {
        guard let association = try associations(in: namespace.id).first(where: { $0.name == resourceType }) else {
            throw ServiceError.noMetadef("resource type association", resourceType, namespace.name)
        }
        let prefix = association.prefix ?? ""
        // By bytes: a combining mark behind the prefix belongs to the name.
        guard property.utf8.starts(with: prefix.utf8),
            let bare = String(property.utf8.dropFirst(prefix.utf8.count))
        else {
            throw ServiceError.notFound(
                "Property \(property) does not start with the expected resource type association prefix of "
                    + "'\(prefix)'.")
        }
        return bare
    }

    /// Checks that there is something of the name, and that the new name is free or its own.
    /// - Throws: `ServiceError.notFound`, `.conflict`.
    func requireRenamable(
        _ old: String, to new: String, _ kind: String, in table: String, of namespace: MetadefNamespace
    ) throws {
        func exists(_ name: String) throws -> Bool {
            try first("SELECT 1 FROM \(table) WHERE namespace_id = $1 AND name = $2", namespace.id, name) { _ in true }
                ?? false
        }
        guard try exists(old) else { throw ServiceError.noMetadef(kind, old, namespace.name) }
        // By bytes, as the database compares them.
        if !old.utf8.elementsEqual(new.utf8), try exists(new) {
            throw ServiceError.twice(kind, new, namespace.name)
        }
    }

    /// - Throws: `ServiceError.notFound`, `.forbidden` in a protected namespace.
    func removeMetadef(_ name: String, _ kind: String, from table: String, of namespace: MetadefNamespace) throws {
        let removed = try execute("DELETE FROM \(table) WHERE namespace_id = $1 AND name = $2", namespace.id, name)
        guard removed == 1 else { throw ServiceError.noMetadef(kind, name, namespace.name) }
        if namespace.isProtected { throw ServiceError.protectedNamespace(namespace.name) }
    }
}
