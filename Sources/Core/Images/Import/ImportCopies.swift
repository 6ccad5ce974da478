import NIOCore
import Persistence
import Trust

/// The copies of an import: each store gets bytes that were verified on their way into it.
extension ImportRun {
    /// - Returns: the last transaction's steps.
    func copy(_ start: ImportPlan) async throws -> @Sendable (any SQLConnection) throws -> Void {
        var plan = start
        var failure: (any Error)?
        var isToBeTriedAgain = false
        for target in start.targets where target.state == .waiting {
            do {
                plan = try await copy(plan, to: target.store)
            } catch let refusal as ContentRefused {
                // No store takes what none may have.
                throw refusal.error
            } catch let error where error is ImportLost || error is CancellationError || Task.isCancelled {
                throw error
            } catch let error where plan.mustAllSucceed {
                throw ImportFailure(error: error, stores: [target.store])
            } catch {
                failure = error
                if worker.isTriedAgain(error, job) {
                    isToBeTriedAgain = true
                } else {
                    plan = try await advance(plan) { image, db in
                        try db.execute(
                            "UPDATE import_targets SET state = 'failed' WHERE task_id = $1 AND store = $2",
                            start.task.id, target.store)
                        try ImportMarks.update(start.task.id, of: image.id, in: db)
                    }
                }
            }
        }
        if let failure, isToBeTriedAgain { throw failure }
        return try await end(plan, failure)
    }

    /// The bytes are not to be taken, by any store.
    private struct ContentRefused: Error {
        let error: ServiceError
    }

    private func copy(_ plan: ImportPlan, to storeID: StoreID) async throws -> ImportPlan {
        let store = try store(storeID)
        let image = try await write(plan) { image, _ in image }
        let judge = try await Judge(self, plan, image)
        let (reader, place) = try await openSource(plan, image)
        do {
            let next: ImportPlan
            if let source = plan.source, source.store == storeID, place == source.blob {
                next = try await keepInPlace(source, reader, judge, plan)
            } else {
                next = try await copy(reader, judge, plan, to: store)
            }
            await reader.close()
            return next
        } catch {
            await reader.close()
            throw error
        }
    }

    /// The staged bytes, or any of the image's data.
    private func openSource(
        _ plan: ImportPlan, _ image: Image
    ) async throws -> (reader: any BlobReader, blob: BlobID) {
        if let source = plan.source { return (try await store(source.store).open(source.blob), source.blob) }
        let places = try await write(plan) { image, db in try BlobLedger.live(of: image.id, in: db) }
        var failure: any Error = BlobError(code: .unavailable, operation: "copy", cause: "no store has the image")
        for place in places {
            do {
                return (try await store(place.store).open(place.blob), place.blob)
            } catch {
                failure = error
            }
        }
        throw failure
    }

    /// Staged bytes that lie where they are to stay are read, and then are the store's copy.
    private func keepInPlace(
        _ source: ImportPlan.Source, _ reader: any BlobReader, _ judge: Judge, _ plan: ImportPlan
    ) async throws -> ImportPlan {
        let pipeline = UploadPipeline(
            work: worker.surroundings.work, budget: intake.budget, algorithms: judge.algorithms, format: judge.format)
        let bytes = try await pipeline.run(BlobBytes(reader), to: NoWriter()) { _ in }
        let data = try await judge.judge(bytes)
        return try await advance(plan) { image, db in
            try record(source.blob, in: source.store, data, judge, plan, image, in: db)
        }
    }

    private func copy(
        _ reader: any BlobReader, _ judge: Judge, _ plan: ImportPlan, to store: any BlobStore
    ) async throws -> ImportPlan {
        let lease = intake.lease(in: store.id, of: judge.image)
        intake.held.hold(lease.blob)
        defer { intake.held.letGo(lease.blob) }
        // Staged bytes that do not stay are not charged for beside the copies that take their place.
        let forgiven = plan.source.flatMap { source in
            plan.targets.contains { $0.store == source.store } ? nil : source.sizeBytes
        }
        let claim = try await write(plan) { image, db in
            try intake.announce(
                lease, .staged, declaredSizeBytes: reader.sizeBytes, owner: image.owner,
                forgivenBytes: forgiven ?? 0, in: db)
        }
        do {
            try await intake.stream(BlobBytes(reader), into: store, claim, judge.algorithms, judge.format) {
                bytes, writer in
                let data = try await judge.judge(bytes)
                try await writer.commit()
                try await write(plan) { image, db in
                    guard try BlobLedger.makeLive(lease, sizeBytes: bytes.sizeBytes, in: db) else {
                        throw BlobLeaseTaken()
                    }
                    try record(lease.blob, in: store.id, data, judge, plan, image, in: db)
                }
            }
        } catch {
            await giveUp(lease)
            throw error
        }
        return try await advance(plan) { _, _ in }
    }

    /// A store has its copy. Of an import that need not succeed everywhere the copy counts at once, and the first makes
    /// the image active; otherwise all wait for the last.
    private func record(
        _ blob: BlobID, in store: StoreID, _ data: VerifiedData?, _ judge: Judge, _ plan: ImportPlan, _ image: Image,
        in db: any SQLConnection
    ) throws {
        let changed = try db.execute(
            """
            UPDATE import_targets SET state = 'copied', blob = $1
            WHERE task_id = $2 AND store = $3 AND state = 'waiting'
            """, blob, plan.task.id, store)
        guard changed == 1 else { throw ImportLost() }
        if let data {
            try db.execute(
                """
                UPDATE imports SET size_bytes = $1, virtual_size = $2, checksum = $3, hash_algorithm = $4,
                    hash_value = $5, asked = $6
                WHERE task_id = $7
                """, data.sizeBytes, data.virtualSizeBytes, data.checksum, data.hashAlgorithm, data.hashValue,
                judge.expectation.asked, plan.task.id)
        }
        if !plan.mustAllSucceed {
            guard try BlobLedger.makeData(blob, of: image.id, in: db) else { throw ImportLost() }
            if image.status == .importing {
                guard let data else { throw ImportLost() }
                try judge.requireSame(image)
                guard try data.activate(image.id, from: .importing, judge.expectation, worker.seal, now: now, in: db)
                else { throw ImportLost() }
            }
            // Otherwise a store is still to come until all are there: clients take what is not as done.
            try ImportMarks.update(plan.task.id, of: image.id, in: db)
        }
    }

    /// All that can be copied is.
    private func end(
        _ plan: ImportPlan, _ failure: (any Error)?
    ) async throws -> @Sendable (any SQLConnection) throws -> Void {
        let image = try await write(plan) { image, _ in image }
        let judge = try await Judge(self, plan, image)
        let (settings, seal, now, id) = (settings, worker.seal, now, plan.task.id)
        let failureMessage = failure.map { ImportWorker.message($0) } ?? "Task failed due to Internal Error"
        return { db in
            guard let plan = try ImportPlan.find(id, in: db), let imageID = plan.task.image,
                let image = try db.image(imageID)
            else { return }
            let copies = plan.targets.compactMap(\.blob)
            guard !copies.isEmpty else {
                return try ImportEnd.fail(plan.task, failureMessage, settings, now: now, in: db)
            }
            if plan.mustAllSucceed {
                // Asked before anything is changed: what fails here is undone like any other failure.
                let staged = Set(try BlobLedger.live(.staged, of: imageID, in: db).map(\.blob))
                let isSame = judge.expectation.fits(image) && judge.expectation.asked == plan.asked
                guard copies.allSatisfy(staged.contains), isSame || image.status != .importing else {
                    return try ImportEnd.fail(plan.task, Judge.changed, settings, now: now, in: db)
                }
                for blob in copies { _ = try BlobLedger.makeData(blob, of: imageID, in: db) }
                if image.status == .importing, let found = plan.found {
                    _ = try found.activate(imageID, from: .importing, judge.expectation, seal, now: now, in: db)
                }
            }
            if let source = plan.source { try BlobLedger.doomStaged(source.blob, .importDone, now: now, in: db) }
            try ImportMarks.end(
                failed: plan.targets.filter { $0.state == .failed }.map(\.store), of: imageID, in: db)
            try ImportEnd.end(
                plan.task, .success, "", result: ["image_id": .string(imageID.rawValue)], settings, now: now, in: db)
        }
    }

    /// What a pass over the bytes has to find: the first of an import, that they are what the image's record says;
    /// each further one, and those of a copy, that they are the same.
    private struct Judge: Sendable {
        static let changed = "The formats or the signature of the image were changed while it was being imported."

        let image: ImageID
        let expectation: DataExpectation
        private let known: (sizeBytes: Int64, digests: [(algorithm: DigestAlgorithm, value: String)])?
        private let run: ImportRun

        init(_ run: ImportRun, _ plan: ImportPlan, _ image: Image) async throws {
            self.run = run
            self.image = image.id
            let isCopy = plan.method == .copyImage
            let signature = isCopy ? nil : try await run.signature(of: image, plan)
            expectation = DataExpectation(of: image, signature, run.settings)
            if let found = plan.found {
                known = (found.sizeBytes, Self.digests(found.hashAlgorithm, found.hashValue, found.checksum))
            } else if isCopy, let size = image.sizeBytes {
                known = (size, Self.digests(image.hashAlgorithm, image.hashValue, image.checksum))
            } else {
                known = nil
            }
        }

        private static func digests(
            _ algorithm: String?, _ value: String?, _ checksum: String?
        ) -> [(algorithm: DigestAlgorithm, value: String)] {
            var digests: [(algorithm: DigestAlgorithm, value: String)] = []
            if let algorithm = algorithm.flatMap(DigestAlgorithm.init), let value { digests.append((algorithm, value)) }
            if let checksum, digests.first?.algorithm != .md5 { digests.append((.md5, checksum)) }
            return digests
        }

        var algorithms: Set<DigestAlgorithm> {
            known.map { Set($0.digests.map(\.algorithm)) } ?? expectation.algorithms
        }
        var format: FormatWatch? { known == nil ? expectation.format : nil }

        /// - Returns: what was found, of a first pass; nil when the bytes are those that are known.
        func judge(_ bytes: UploadedBytes) async throws -> VerifiedData? {
            guard let known else {
                do {
                    return try await expectation.verify(
                        bytes, of: image, run.worker.surroundings.work, logger: run.worker.logger)
                } catch let error as ServiceError {
                    throw ContentRefused(error: error)
                }
            }
            let isSame =
                bytes.sizeBytes == known.sizeBytes
                && known.digests.allSatisfy { Hex.encode(bytes[$0.algorithm]) == $0.value.lowercased() }
            guard isSame else {
                throw BlobError(code: .corrupt, operation: "copy", cause: "the bytes are not those that were verified")
            }
            return nil
        }

        /// - Throws: when the record asks something else by now.
        func requireSame(_ image: Image) throws {
            guard expectation.fits(image) else { throw ContentRefused(error: .conflict(Self.changed)) }
        }
    }

    /// The signature that the image's record asks for, with the certificate that was fetched when the import was.
    private func signature(of image: Image, _ plan: ImportPlan) async throws -> ExpectedSignature? {
        guard let properties = try SignatureProperties(of: image) else {
            // It was signed when the import was asked for: what was required then is not got rid of by taking it away.
            if plan.certificate != nil { throw ServiceError.conflict(Judge.changed) }
            return nil
        }
        guard let certificate = plan.certificate else { throw ServiceError.conflict(Judge.changed) }
        let (rules, now) = (settings.signatures, now)
        return try await worker.surroundings.work.run {
            try ExpectedSignature(properties, certificate: certificate, rules, at: now)
        }
    }
}

/// A blob's bytes, in order.
struct BlobBytes: AsyncSequence, Sendable {
    /// A piece is a chunk of its own in an upload's budget.
    private static let pieceBytes = 256 << 10
    private let reader: any BlobReader

    init(_ reader: any BlobReader) { self.reader = reader }

    struct AsyncIterator: AsyncIteratorProtocol {
        fileprivate let reader: any BlobReader
        fileprivate var offset: Int64 = 0

        mutating func next() async throws -> ByteBuffer? {
            guard offset < reader.sizeBytes else { return nil }
            try Task.checkCancellation()
            let piece = try await reader.read(offset: offset, count: BlobBytes.pieceBytes)
            guard piece.readableBytes > 0 else {
                throw BlobError(code: .corrupt, operation: "read", cause: "the blob ends before its size")
            }
            offset += Int64(piece.readableBytes)
            return piece
        }
    }
    func makeAsyncIterator() -> AsyncIterator { AsyncIterator(reader: reader) }
}

/// For bytes that are looked at and stay where they are.
private struct NoWriter: BlobWriter {
    func write(_ buffers: [ByteBuffer]) async throws {}
    func commit() async throws {}
    func abandon() async {}
}
