import Persistence

extension ServiceError {
    /// What an error of the database or a store means to a caller when no use case knew better.
    /// Nil for errors of other kinds.
    package init?(storage error: any Error) {
        switch error {
        case let error as SQLError:
            switch error.code {
            case .serialization, .unavailable:
                self = .unavailable("The database is busy or out of reach; try again.", cause: error)
            case .full:
                self = .unavailable("The database's disk is full; the operator has to make room.", cause: error)
            case .unique, .foreignKey, .check, .corrupt, .statement:
                self = .internalError(cause: error)
            }
        case let error as BlobError:
            switch error.code {
            case .full:
                self = .tooLarge("There is not enough disk space in the store.")
            case .readOnly:
                self = .unavailable("The store cannot be written.", cause: error)
            case .notFound, .unavailable, .corrupt, .alreadyExists:
                self = .unavailable("The store is out of reach; try again later.", cause: error)
            }
        default:
            return nil
        }
    }
}
