import API
import NIOCore
import Trust

/// What can be measured.
package enum LoadOperation: String, Sendable, CaseIterable {
    case get, list
    case createDelete = "create-delete"
    case upload, download

    /// Whether rates are of bytes.
    package var isTransfer: Bool { self == .upload || self == .download }

    /// What one of them is called.
    package var unit: String {
        switch self {
        case .get, .list: "request"
        case .createDelete: "pair"
        case .upload, .download: "transfer"
        }
    }
}

/// The bytes of uploads: a block of random bytes over and over, so that sending them costs little.
struct LoadData: Sendable {
    let block: ByteBuffer
    let sizeBytes: Int64
    /// MD5 of all of it, in hexadecimal: what the service has to answer as `checksum`.
    let checksum: String

    init(sizeBytes: Int64) {
        var generator = SystemRandomNumberGenerator()
        var block = ByteBuffer()
        let blockBytes = Int(min(sizeBytes, 4 << 20))
        block.reserveCapacity(blockBytes + 8)
        while block.readableBytes < blockBytes { block.writeInteger(generator.next()) }
        block.moveWriterIndex(to: blockBytes)
        let digest = Digest(.md5)
        var left = sizeBytes
        while left > 0 {
            block.withUnsafeReadableBytes { digest.update(.init(rebasing: $0.prefix(Int(min(left, Int64($0.count)))))) }
            left -= Int64(min(left, Int64(blockBytes)))
        }
        self.block = block
        self.sizeBytes = sizeBytes
        checksum = Hex.encode(digest.finish())
    }
}

extension LoadTarget {
    func getPlan(_ image: String) -> LoadPlan {
        LoadPlan(steps: [.init(label: "GET an image", head: head("GET", "/v2/images/\(image)"), expectedStatus: 200)])
    }

    /// - Parameter query: percent-encoded.
    func listPlan(_ query: String) -> LoadPlan {
        let path = "/v2/images" + (query.isEmpty ? "" : "?" + query)
        return LoadPlan(steps: [.init(label: "GET a list", head: head("GET", path), expectedStatus: 200)])
    }

    func createDeletePlan(document: String) -> LoadPlan {
        let fields = "Content-Type: application/json\r\nContent-Length: \(document.utf8.count)\r\n"
        return LoadPlan(steps: [
            .init(
                label: "POST an image", head: head("POST", "/v2/images", fields, body: document), expectedStatus: 201,
                answersID: true),
            .init(label: "DELETE an image", head: head("DELETE", imagePath: ""), expectedStatus: 204),
        ])
    }

    func uploadPlan(_ data: LoadData, into images: [String]) -> LoadPlan {
        let fields = "Content-Type: application/octet-stream\r\nContent-Length: \(data.sizeBytes)\r\n"
        return LoadPlan(
            steps: [
                .init(
                    label: "PUT data", head: head("PUT", imagePath: "/file", fields),
                    body: (data.block, data.sizeBytes), expectedStatus: 204)
            ], imageIDs: images)
    }

    func downloadPlan(_ image: String) -> LoadPlan {
        LoadPlan(steps: [
            .init(label: "GET data", head: head("GET", "/v2/images/\(image)/file"), expectedStatus: 200)
        ])
    }
}
