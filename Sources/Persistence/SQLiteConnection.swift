/// A handle as the shared dialect sees it, inside a transaction.
struct SQLiteConnection: SQLConnection {
    let handle: SQLiteHandle

    func execute(_ sql: String, _ arguments: [any SQLBindable]) throws -> Int {
        let statement = try handle.statement(sql)
        try statement.bind(arguments)
        try statement.run()
        return handle.changesCount
    }

    func forEachRow(_ sql: String, _ arguments: [any SQLBindable], _ row: (any SQLRow) throws -> Void) throws {
        let statement = try handle.statement(sql)
        try statement.bind(arguments)
        try statement.forEachRow(row)
    }
}
