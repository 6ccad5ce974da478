import Core
import HTTPTypes
import HummingbirdCore
import NIOCore
import Synchronization

/// Errors of the listener itself, where no service's envelope applies.
enum PlainErrors {
    static func response(_ error: ServiceError) -> Response {
        Response(
            status: .init(code: error.status), headers: [.contentType: "text/plain; charset=UTF-8"],
            bytes: ByteBuffer(string: error.message + "\n"))
    }
}

/// The standard reason phrase of a status (RFC 9110), which some clients look for in the body.
package func reasonPhrase(_ status: Int) -> String {
    switch status {
    case 400: "Bad Request"
    case 401: "Unauthorized"
    case 403: "Forbidden"
    case 404: "Not Found"
    case 405: "Method Not Allowed"
    case 406: "Not Acceptable"
    case 409: "Conflict"
    case 410: "Gone"
    case 413: "Request Entity Too Large"
    case 415: "Unsupported Media Type"
    case 416: "Requested Range Not Satisfiable"
    case 431: "Request Header Fields Too Large"
    case 500: "Internal Server Error"
    case 501: "Not Implemented"
    case 503: "Service Unavailable"
    default: ""
    }
}

extension ServiceError {
    /// Errors of the layers below that reached the edge untranslated.
    package init(unexpected error: any Error) {
        if let error = error as? ServiceError {
            self = error
        } else if let error = ServiceError(storage: error) {
            self = error
        } else {
            self = .internalError(cause: error)
        }
    }
}

/// `Date` (RFC 9110 section 5.6.7).
enum HTTPDate {
    private static let days = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"]
    private static let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]

    /// The text of the second that was asked for last: it is asked for with every answer.
    private static let last = Mutex((seconds: Int64.min, text: ""))

    static func string(_ time: Timestamp) -> String {
        let seconds = time.seconds
        return last.withLock { last in
            if last.seconds != seconds { last = (seconds, make(time)) }
            return last.text
        }
    }

    private static func make(_ time: Timestamp) -> String {
        let iso = Array(time.iso8601.utf8)
        func text(_ range: Range<Int>) -> String { String(decoding: iso[range], as: UTF8.self) }
        let weekday = days[Int((time.seconds / 86400) % 7)]
        let month = months[(Int(text(5..<7)) ?? 1) - 1]
        return "\(weekday), \(text(8..<10)) \(month) \(text(0..<4)) \(text(11..<19)) GMT"
    }
}
