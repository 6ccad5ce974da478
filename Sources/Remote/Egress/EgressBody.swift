import Core
import NIOCore

/// The content of an answer. To be read once.
struct EgressBody: AsyncSequence, Sendable {
    typealias Element = ByteBuffer

    let hold: EgressHold
    /// What the answer said; nil when it did not say.
    let sizeBytes: Int64?
    let limitBytes: Int64

    func makeAsyncIterator() -> Iterator { Iterator(body: self) }

    struct Iterator: AsyncIteratorProtocol {
        let body: EgressBody
        private var receivedBytes: Int64 = 0

        init(body: EgressBody) { self.body = body }

        mutating func next() async throws -> ByteBuffer? {
            let part: ByteBuffer?
            do {
                part = try await body.hold.exchange.part()
            } catch {
                // Whatever happens to a connection of somebody who gave up, it is the giving up that counts.
                try Task.checkCancellation()
                throw error
            }
            guard let part else {
                guard body.sizeBytes == nil || body.sizeBytes == receivedBytes else {
                    throw RemoteContentError(.cutShort, "The content ends before all of it came.")
                }
                return nil
            }
            receivedBytes += Int64(part.readableBytes)
            guard receivedBytes <= body.sizeBytes ?? body.limitBytes else {
                let error = EgressAnswer.tooLarge(body.sizeBytes ?? body.limitBytes)
                body.hold.exchange.fail(error, atOnce: true)
                throw error
            }
            return part
        }
    }
}
