import NIOCore
import Persistence
import Trust

/// The database against the stores: every blob that must be there is looked at, and if asked for, read.
extension FsckRun {
    private static let pageSize = 256
    private static let pieceBytes = 1 << 20
    /// How many blobs are looked at at once. Fewer are read: each keeps two pieces in memory, and a disk busy.
    private var width: Int { options.reading == .nothing ? 8 : 2 }

    /// Counts what is to be done, so that there is a total before the first step.
    func planBlobs() async throws {
        for store in stores {
            try await forEachPage(of: store.id) { page in
                let planned = page.reduce(0) { $0 + weight(of: $1) }
                tally.withLock { $0.planned += planned }
            }
        }
        tellProgress(adding: 0)
    }

    func checkBlobs(of store: any BlobStore) async throws {
        try await forEachPage(of: store.id) { page in
            for start in stride(from: 0, to: page.count, by: width) {
                try Task.checkCancellation()
                let blobs = page[start..<min(start + width, page.count)]
                for finding in try await examine(blobs, in: store) { try await settle(finding) }
            }
        }
    }

    /// Several at once; findings in the order of the rows.
    private func examine(_ blobs: ArraySlice<KeptBlob>, in store: any BlobStore) async throws -> [Finding] {
        try await withThrowingTaskGroup(of: (Int, [Finding]).self) { group in
            for (index, blob) in blobs.enumerated() {
                group.addTask { (index, try await examine(blob, in: store)) }
            }
            var findings: [(Int, [Finding])] = []
            for try await result in group { findings.append(result) }
            return findings.sorted { $0.0 < $1.0 }.flatMap(\.1)
        }
    }

    private func examine(_ blob: KeptBlob, in store: any BlobStore) async throws -> [Finding] {
        let place = store.place(of: blob.id)
        let reader: any BlobReader
        do {
            reader = try await store.open(blob.id)
        } catch let error as BlobError where error.code == .notFound {
            tally.withLock { $0.countBlob() }
            tellProgress(adding: weight(of: blob))
            // Erased after its row was read, it has no such row now.
            return try await isStillKept(blob.id) ? [.bytesMissing(blob, place: place)] : []
        } catch let error as BlobError {
            try await requireReachable(store, error)
            tellProgress(adding: weight(of: blob))
            return [.bytesUnreadable(blob, place: place, cause: error.cause)]
        }
        do {
            let findings = try await examine(blob, reader, place: place, in: store)
            await reader.close()
            return findings
        } catch {
            await reader.close()
            throw error
        }
    }

    private func examine(
        _ blob: KeptBlob, _ reader: any BlobReader, place: String, in store: any BlobStore
    ) async throws -> [Finding] {
        tally.withLock { $0.countBlob() }
        guard reader.sizeBytes == blob.sizeBytes else {
            tellProgress(adding: weight(of: blob))
            return [.bytesWrongSize(blob, place: place, found: reader.sizeBytes)]
        }
        guard isToBeRead(blob.id) else {
            tellProgress(adding: weight(of: blob))
            return []
        }
        let expected = digests(of: blob)
        let found: [DigestAlgorithm: String]
        do {
            found = try await digest(reader, expected.map(\.algorithm))
        } catch let error as BlobError {
            try await requireReachable(store, error)
            return [.bytesUnreadable(blob, place: place, cause: error.cause)]
        }
        tally.withLock { $0.countRead(blobs: 1, bytes: reader.sizeBytes) }
        var findings: [Finding] = expected.compactMap { algorithm, value in
            let actual = found[algorithm] ?? ""
            if actual == value.lowercased() { return nil }
            return .digestWrong(
                blob, place: place, algorithm: algorithm.rawValue, expected: value, found: actual)
        }
        if expected.isEmpty, blob.imageStatus == "active" || blob.imageStatus == "deactivated" {
            findings.append(.digestUnknown(blob))
        }
        return findings
    }

    /// What the image says its bytes have. An algorithm that this program does not know is no digest to it.
    private func digests(of blob: KeptBlob) -> [(algorithm: DigestAlgorithm, value: String)] {
        var digests: [(algorithm: DigestAlgorithm, value: String)] = []
        if let name = blob.hashAlgorithm, let algorithm = DigestAlgorithm(rawValue: name), let value = blob.hashValue {
            digests.append((algorithm, value))
        }
        if let value = blob.checksum, !digests.contains(where: { $0.algorithm == .md5 }) {
            digests.append((.md5, value))
        }
        return digests
    }

    /// Reads to the end, one piece ahead of the digests.
    private func digest(
        _ reader: any BlobReader, _ algorithms: [DigestAlgorithm]
    ) async throws -> [DigestAlgorithm: String] {
        let digests = algorithms.map { Digest($0) }
        var offset: Int64 = 0
        var piece = try await reader.read(offset: 0, count: Self.pieceBytes)
        while piece.readableBytes > 0 {
            try Task.checkCancellation()
            let current = piece
            let end = offset + Int64(current.readableBytes)
            async let next = reader.read(offset: end, count: Self.pieceBytes)
            try await withThrowingTaskGroup(of: Void.self) { group in
                for digest in digests {
                    group.addTask {
                        try await surroundings.work.run { current.withUnsafeReadableBytes { digest.update($0) } }
                    }
                }
                try await group.waitForAll()
            }
            piece = try await next
            offset = end
            tellProgress(adding: Int64(current.readableBytes))
        }
        return Dictionary(
            uniqueKeysWithValues: digests.map { ($0.algorithm, Hex.encode($0.finish())) })
    }

    /// One blob's trouble is a finding; a store's is the end of its check.
    /// - Throws: `StoreLost`.
    private func requireReachable(_ store: any BlobStore, _ error: BlobError) async throws {
        do {
            _ = try await store.space()
        } catch let lost as BlobError {
            throw StoreLost(cause: lost.cause)
        }
    }

    private func isStillKept(_ blob: BlobID) async throws -> Bool {
        try await database.read { db in
            try db.first("SELECT 1 FROM blobs WHERE id = $1 AND state IN ('live', 'recycled')", blob) { _ in true }
                ?? false
        }
    }

    /// The blobs that must be in a store, in the order of their ids.
    private func forEachPage(of store: StoreID, _ body: ([KeptBlob]) async throws -> Void) async throws {
        var last = ""
        while true {
            let after = last
            let page = try await database.read { db in
                try db.query(
                    """
                    SELECT b.id, b.store, b.image_id, i.status, b.size_bytes, i.checksum, i.os_hash_algo,
                        i.os_hash_value
                    FROM blobs b LEFT JOIN images i ON i.id = b.image_id
                    WHERE b.store = $1 AND b.state IN ('live', 'recycled') AND b.id > $2 ORDER BY b.id LIMIT $3
                    """, store, after, Self.pageSize
                ) { row in
                    KeptBlob(
                        id: try row.get(0), store: try row.get(1), image: try row.get(2), imageStatus: try row.get(3),
                        sizeBytes: try row.get(4), checksum: try row.get(5), hashAlgorithm: try row.get(6),
                        hashValue: try row.get(7))
                }
            }
            guard let end = page.last else { return }
            try await body(page)
            last = end.id.rawValue
        }
    }
}

extension FsckRun {
    func isToBeRead(_ blob: BlobID) -> Bool {
        switch options.reading {
        case .nothing: false
        case .everything: true
        case .sample(let percent, let seed): Sample.share(of: blob, seed: seed) * 100 < percent
        }
    }

    /// What a blob counts in the progress: its bytes where bytes are read, otherwise one.
    private func weight(of blob: KeptBlob) -> Int64 {
        if options.reading == .nothing { return 1 }
        return isToBeRead(blob.id) ? blob.sizeBytes : 0
    }

    private func tellProgress(adding amount: Int64) {
        let (done, total) = tally.withLock { tally in
            tally.done += amount
            return (tally.done, tally.planned)
        }
        // Uploads meanwhile add to what there is to do.
        report(
            .progress(
                FsckProgress(
                    phase: options.reading == .nothing ? .blobs : .data, done: done, total: max(done, total))))
    }
}

/// Draws by an id and a seed alone, so that a sample can be drawn again.
enum Sample {
    /// From 0 up to 1, evenly spread.
    static func share(of blob: BlobID, seed: UInt32) -> Double {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in "\(seed)/\(blob)".utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }  // FNV-1a
        // Its high bits depend little on the last bytes; this spreads them (SplitMix64's finalizer).
        hash = (hash ^ (hash >> 30)) &* 0xbf58_476d_1ce4_e5b9
        hash = (hash ^ (hash >> 27)) &* 0x94d0_49bb_1331_11eb
        hash ^= hash >> 31
        return Double(hash >> 11) / Double(1 << 53)
    }
}
