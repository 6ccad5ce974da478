import AsyncHTTPClient
import NIOCore

extension HTTPClient {
    /// Sends a request and reads all of the answer, within twice the timeout and a size.
    /// - Throws: `NIOTooManyBytesError` for an answer that is larger, `HTTPClientError`.
    func exchange(
        _ request: HTTPClientRequest, timeoutSeconds: Int64, limitBytes: Int
    ) async throws -> (HTTPClientResponse, ByteBuffer) {
        let deadline = NIODeadline.now() + .seconds(timeoutSeconds)
        let response = try await execute(request, deadline: deadline)
        var body = ByteBuffer()
        // The deadline ends with the head. Each part has to come within the timeout for reading; however small
        // the parts are, after the deadline there is one more at most.
        for try await part in response.body {
            guard body.readableBytes + part.readableBytes <= limitBytes else {
                throw NIOTooManyBytesError(maxBytes: limitBytes)
            }
            guard NIODeadline.now() < deadline else { throw HTTPClientError.deadlineExceeded }
            body.writeImmutableBuffer(part)
        }
        return (response, body)
    }
}
