#include <sqlite3.h>

// What is variadic in SQLite's interface, which Swift cannot call.

/// SQLite counts the memory it uses, under a lock that every allocation takes. To be called before anything else of SQLite.
static inline int ambrotype_sqlite_counts_no_memory(void) {
    return sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

/// A name in double quotes that is no column is an error on this connection, not a text.
static inline int ambrotype_sqlite_quotes_only_names(sqlite3 *connection) {
    int code = sqlite3_db_config(connection, SQLITE_DBCONFIG_DQS_DDL, 0, (int *)0);
    return code == SQLITE_OK ? sqlite3_db_config(connection, SQLITE_DBCONFIG_DQS_DML, 0, (int *)0) : code;
}
