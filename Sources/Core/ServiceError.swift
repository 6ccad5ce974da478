/// What a request can fail with. Closed: each service's response envelope is one `switch` over it.
///
/// Messages are written for the caller: they name what was wrong and what to do, and never hold a
/// secret or an internal path. Causes are for the log alone.
package enum ServiceError: Error, Sendable {
    /// 400
    case badRequest(String)
    /// 401
    case unauthorized(String)
    /// 403
    case forbidden(String)
    /// 404
    case notFound(String)
    /// 405, with the methods that are allowed
    case methodNotAllowed([String])
    /// 406
    case notAcceptable(String)
    /// 409
    case conflict(String)
    /// 410
    case gone(String)
    /// 413: a body, a quota or a cap
    case tooLarge(String)
    /// 415; `acceptPatch` lists what a PATCH takes
    case unsupportedMediaType(String, acceptPatch: [String] = [])
    /// 416; `sizeBytes` is the whole's size
    case rangeNotSatisfiable(String, sizeBytes: Int64)
    /// 431
    case headerTooLarge(String)
    /// 500: our fault; the cause is logged, not shown
    case internalError(cause: any Error)
    /// 501
    case notImplemented(String)
    /// 503; the cause is logged, not shown
    case unavailable(String, cause: (any Error)? = nil)

    package var status: Int {
        switch self {
        case .badRequest: 400
        case .unauthorized: 401
        case .forbidden: 403
        case .notFound: 404
        case .methodNotAllowed: 405
        case .notAcceptable: 406
        case .conflict: 409
        case .gone: 410
        case .tooLarge: 413
        case .unsupportedMediaType: 415
        case .rangeNotSatisfiable: 416
        case .headerTooLarge: 431
        case .internalError: 500
        case .notImplemented: 501
        case .unavailable: 503
        }
    }

    /// Safe to show to whoever made the request.
    package var message: String {
        switch self {
        case .badRequest(let text), .unauthorized(let text), .forbidden(let text), .notFound(let text),
            .notAcceptable(let text), .conflict(let text), .gone(let text), .tooLarge(let text),
            .unsupportedMediaType(let text, _), .rangeNotSatisfiable(let text, _), .headerTooLarge(let text),
            .notImplemented(let text), .unavailable(let text, _):
            text
        case .methodNotAllowed(let allowed): "This resource allows \(allowed.joined(separator: ", "))."
        case .internalError: "The server met an unexpected condition; the request id finds it in the log."
        }
    }

    /// For the log alone.
    package var cause: (any Error)? {
        switch self {
        case .internalError(let cause): cause
        case .unavailable(_, let cause): cause
        default: nil
        }
    }
}
