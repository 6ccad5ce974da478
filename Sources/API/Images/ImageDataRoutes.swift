import Core
import HTTPTypes
import HummingbirdCore
import NIOCore

/// The bytes: upload and download.
struct ImageDataRoutes: Sendable {
    let images: Images

    func add(to routes: inout RouteTable) {
        routes.on(.put, "/v2/images/{image}/file", upload)
        routes.get("/v2/images/{image}/file", download)
    }

    private func upload(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        try exchange.requireImageData()
        try await images.upload(
            exchange.body, to: exchange.image, declaredSizeBytes: try exchange.declaredImageSize(),
            store: exchange.headers[.metaStore].map(StoreID.init(rawValue:)), as: caller,
            token: exchange.headers[.authToken].map(CallerToken.init))
        return .empty(.noContent)
    }

    private func download(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        let prefer = try exchange.query()["prefer"]?.split(separator: ",").map { StoreID($0.trimmingSpaces()) } ?? []
        // A part is read where the whole is.
        let isWhole = exchange.headers[.range] == nil && exchange.headers[.contentRange] == nil
        guard let data = try await images.download(exchange.image, prefer: prefer, isWhole: isWhole, as: caller) else {
            return .empty(.noContent)
        }
        let span: ByteSpan
        do {
            span = try ByteSpan(
                range: exchange.headers[.range], contentRange: exchange.headers[.contentRange], of: data.sizeBytes)
        } catch {
            await data.reader.close()
            throw error
        }
        var headers: HTTPFields = [.contentType: "application/octet-stream", .contentLength: String(span.count)]
        if let checksum = data.checksum, !span.isPartial { headers[.contentMD5] = checksum }
        if span.isPartial {
            headers[.contentRange] = "bytes \(span.offset)-\(span.offset + span.count - 1)/\(data.sizeBytes)"
        }
        let reader = span.count == data.sizeBytes ? data.wholeReader : data.reader
        return Response(
            status: span.isPartial ? .partialContent : .ok, headers: headers,
            body: ImageBody.stream(reader, offset: span.offset, count: span.count, through: exchange.sender))
    }
}

/// The part of a whole that a request asks for (RFC 9110 section 14; one range only).
struct ByteSpan: Equatable {
    let offset: Int64
    let count: Int64
    let isPartial: Bool

    /// - Parameters:
    ///   - range: the `Range` header.
    ///   - contentRange: the legacy form, `Content-Range` on a request.
    /// - Throws: `ServiceError.rangeNotSatisfiable`; `.badRequest` for several ranges.
    init(range: String?, contentRange: String?, of size: Int64) throws {
        if let range {
            self = try Self.parse(range, of: size)
        } else if let contentRange {
            self = try Self.parseLegacy(contentRange, of: size)
        } else {
            self.init(offset: 0, count: size, isPartial: false)
        }
    }

    private init(offset: Int64, count: Int64, isPartial: Bool) {
        self.offset = offset
        self.count = count
        self.isPartial = isPartial
    }

    private static func parse(_ text: String, of size: Int64) throws -> ByteSpan {
        let bad = ServiceError.rangeNotSatisfiable(
            "The range '\(text)' cannot be served from \(size) bytes.", sizeBytes: size)
        guard text.lowercased().hasPrefix("bytes=") else { throw bad }
        let spec = text.dropFirst(6)
        guard !spec.contains(",") else {
            throw ServiceError.badRequest("Requests for several ranges are not supported.")
        }
        let parts = spec.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false).map {
            $0.trimmingSpaces()
        }
        guard parts.count == 2 else { throw bad }
        if parts[0].isEmpty {
            guard let suffix = digits(parts[1]), suffix > 0, size > 0 else { throw bad }
            let count = min(suffix, size)
            return ByteSpan(offset: size - count, count: count, isPartial: true)
        }
        guard let first = digits(parts[0]), first < size else { throw bad }
        if parts[1].isEmpty { return ByteSpan(offset: first, count: size - first, isPartial: true) }
        guard let last = digits(parts[1]), last >= first else { throw bad }
        return ByteSpan(offset: first, count: min(last, size - 1) - first + 1, isPartial: true)
    }

    /// `bytes a-b/size` or `bytes a-b/*`.
    private static func parseLegacy(_ text: String, of size: Int64) throws -> ByteSpan {
        let bad = ServiceError.rangeNotSatisfiable(
            "The range '\(text)' cannot be served from \(size) bytes.", sizeBytes: size)
        guard text.lowercased().hasPrefix("bytes ") else { throw bad }
        let parts = text.dropFirst(6).split(separator: "/", maxSplits: 1)
        let bounds = parts.first?.split(separator: "-", maxSplits: 1).map { $0.trimmingSpaces() } ?? []
        guard parts.count == 2, bounds.count == 2, let first = digits(bounds[0]), let last = digits(bounds[1]),
            first <= last, last < size, parts[1] == "*" || digits(parts[1].trimmingSpaces()) == size
        else { throw bad }
        return ByteSpan(offset: first, count: last - first + 1, isPartial: true)
    }

    /// A number past what fits is past every end.
    private static func digits(_ text: String) -> Int64? {
        guard !text.isEmpty, text.utf8.allSatisfy({ (48...57).contains($0) }) else { return nil }
        return Int64(text) ?? .max
    }
}

extension Exchange {
    /// - Throws: `ServiceError.unsupportedMediaType`.
    func requireImageData() throws {
        guard contentType == "application/octet-stream" else {
            throw ServiceError.unsupportedMediaType("Image data has the content type application/octet-stream.")
        }
    }

    /// `X-Openstack-Image-Size` goes before `Content-Length`.
    /// - Throws: `ServiceError.badRequest`.
    func declaredImageSize() throws -> Int64? {
        if let text = headers[.imageSize] {
            guard text.utf8.allSatisfy({ (48...57).contains($0) }), let size = Int64(text) else {
                throw ServiceError.badRequest("X-Openstack-Image-Size must be a number of bytes.")
            }
            return size
        }
        return headers[.contentLength].flatMap { Int64($0) }
    }
}

extension HTTPField.Name {
    static let importMethods = HTTPField.Name("OpenStack-image-import-methods")!
    static let imageSize = HTTPField.Name("X-Openstack-Image-Size")!
    static let metaStore = HTTPField.Name("X-Image-Meta-Store")!
    static let contentMD5 = HTTPField.Name("Content-MD5")!
}
