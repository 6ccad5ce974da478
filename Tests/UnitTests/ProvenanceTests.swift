import Blobs
import Core
import Foundation
import NIOCore
import Persistence
import Testing
import Trust

/// What is recorded of an upload, and what becomes of downloads when the record or the bytes are changed.
@Suite struct ProvenanceTests {
    private static let bytes = (0..<100_000).map { UInt8(truncatingIfNeeded: $0 &* 7 ^ $0 >> 8) }

    private func active(_ fixture: ImageFixture) async throws -> ImageID {
        let image = try await fixture.createImage()
        try await fixture.upload(Self.bytes, to: image.id)
        return image.id
    }

    /// All bytes as a download sends them: in order, from `wholeReader`.
    private func downloaded(_ id: ImageID, _ fixture: ImageFixture, as caller: Caller? = nil) async throws -> [UInt8] {
        let data = try #require(try await fixture.images.download(id, as: caller ?? fixture.caller()))
        let reader = data.wholeReader
        var bytes: [UInt8] = []
        do {
            while bytes.count < data.sizeBytes {
                let part = try await reader.read(
                    offset: Int64(bytes.count), count: min(30_000, Int(data.sizeBytes) - bytes.count))
                bytes += Array(part.readableBytesView)
            }
        } catch {
            await reader.close()
            throw error
        }
        await reader.close()
        return bytes
    }

    private func changeStoredBytes(_ fixture: ImageFixture) throws {
        let name = try #require(try fixture.storedFiles().first)
        let all = FileManager.default.enumerator(at: fixture.directory, includingPropertiesForKeys: nil)
        while let file = all?.nextObject() as? URL {
            guard file.lastPathComponent == name else { continue }
            try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: file.path)
            var data = try Data(contentsOf: file)
            data[50_000] ^= 1
            try data.write(to: file)
        }
    }

    @Test func anUploadIsOnRecord() async throws {
        let fixture = try await ImageFixture()
        let id = try await active(fixture)
        let (record, flag) = try await fixture.images.provenance(of: id, as: fixture.caller())
        #expect(record.seal == .intact)
        #expect(record.provenance.algorithm == "sha512")
        #expect(record.provenance.digest == Hex.encode(Digest.of(Self.bytes, .sha512)))
        #expect(record.provenance.sizeBytes == 100_000)
        #expect(record.provenance.signer == nil)
        #expect(record.provenance.verifiedAt == fixture.clock.now)
        #expect(flag == nil)
    }

    @Test func aRecordIsForWhoSeesTheImage() async throws {
        let fixture = try await ImageFixture()
        let id = try await active(fixture)
        #expect(
            await status { _ = try await fixture.images.provenance(of: id, as: fixture.caller("p2")) } == 404)
        let empty = try await fixture.createImage()
        #expect(await status { _ = try await fixture.images.provenance(of: empty.id, as: fixture.caller()) } == 404)
    }

    @Test func aFailedUploadIsNotOnRecord() async throws {
        let fixture = try await ImageFixture()
        let image = try await fixture.createImage()
        #expect(await status { try await fixture.upload([1, 2], to: image.id, declared: 3) } == 400)
        #expect(await status { _ = try await fixture.images.provenance(of: image.id, as: fixture.caller()) } == 404)
        #expect(try await rows(fixture) == 0)
    }

    private func rows(_ fixture: ImageFixture) async throws -> Int {
        try await fixture.database.read { db in
            try db.first(
                "SELECT (SELECT COUNT(*) FROM image_provenance) + (SELECT COUNT(*) FROM image_flags)"
            ) { try $0.get(0) } ?? -1
        }
    }

    @Test func deletionLeavesNoRecord() async throws {
        let fixture = try await ImageFixture { $0.signatures.checkedDownloads = .all }
        let id = try await active(fixture)
        try changeStoredBytes(fixture)
        await #expect(throws: (any Error).self) { try await downloaded(id, fixture) }
        #expect(try await rows(fixture) == 2)
        try await fixture.images.delete(id, as: fixture.caller())
        #expect(try await rows(fixture) == 0)
    }

    @Test(arguments: [
        "digest = 'ab'", "size_bytes = size_bytes + 1", "algorithm = 'md5'", "verified_at = verified_at + 1",
        "seal = 'ab'", "seal = ''", "seal = '?'",
        """
        signer_subject = 'CN=me', signer_fingerprint = 'ab', certificate = 'c', key_type = 'DSA', \
        hash_method = 'SHA-256', chain = 'trusted', chain_detail = 'CN=you'
        """,
    ])
    func aChangedRecordIsFoundOut(_ change: String) async throws {
        let fixture = try await ImageFixture()
        let id = try await active(fixture)
        _ = try await fixture.database.write { try $0.execute("UPDATE image_provenance SET \(change)") }
        let (record, _) = try await fixture.images.provenance(of: id, as: fixture.caller())
        #expect(record.seal == .broken)
        #expect(await status { _ = try await fixture.images.download(id, as: fixture.caller()) } == 503)
        #expect(try await fixture.images.provenance(of: id, as: fixture.caller()).flag?.count == 1)
        // An admin can still save the data, held against what the image itself says.
        #expect(try await downloaded(id, fixture, as: fixture.admin) == Self.bytes)
    }

    @Test func aRecordHoldsForItsImageAlone() async throws {
        let fixture = try await ImageFixture()
        let one = try await active(fixture)
        let other = try await active(fixture)
        try await fixture.database.write { db in
            try db.execute("DELETE FROM image_provenance WHERE image_id = $1", one)
            try db.execute("UPDATE image_provenance SET image_id = $1 WHERE image_id = $2", one, other)
        }
        #expect(try await fixture.images.provenance(of: one, as: fixture.caller()).record.seal == .broken)
    }

    @Test func aLostKeyCostsTheRecordsAndNotTheImages() async throws {
        let fixture = try await ImageFixture { $0.signatures.checkedDownloads = .all }
        let id = try await active(fixture)
        _ = try await fixture.database.write { try $0.execute("UPDATE image_provenance SET seal_key = 'another'") }
        #expect(try await fixture.images.provenance(of: id, as: fixture.caller()).record.seal == .unknownKey)
        #expect(try await downloaded(id, fixture) == Self.bytes)
    }

    @Test func bytesThatChangedAreNotHandedOutWhole() async throws {
        let fixture = try await ImageFixture { $0.signatures.checkedDownloads = .all }
        let id = try await active(fixture)
        #expect(try await downloaded(id, fixture) == Self.bytes)
        try changeStoredBytes(fixture)
        for count in 1...3 as ClosedRange<Int64> {
            await #expect(throws: BlobError.self) { try await downloaded(id, fixture) }
            #expect(try await fixture.images.provenance(of: id, as: fixture.caller()).flag?.count == count)
        }
        let view = OperatorView(fixture.images)
        #expect(await status { _ = try await view.flaggedImages(PageRequest(), as: fixture.caller()) } == 403)
        #expect(await status { try await view.unflag(id, as: fixture.caller()) } == 403)
        let page = try await view.flaggedImages(PageRequest(), as: fixture.admin)
        #expect(page.entries.map(\.image) == [id] && page.entries.map(\.store) == ["local"])
        try await view.unflag(id, as: fixture.admin)
        #expect(await status { try await view.unflag(id, as: fixture.admin) } == 404)
        #expect(try await view.flaggedImages(PageRequest(), as: fixture.admin).entries == [])
    }

    @Test func whatIsNotSignedTrustsTheStoreUnlessAllIsChecked() async throws {
        let fixture = try await ImageFixture()
        let id = try await active(fixture)
        try changeStoredBytes(fixture)
        #expect(try await downloaded(id, fixture) != Self.bytes)
    }

    @Test func flagsAreListedInPages() async throws {
        let fixture = try await ImageFixture { $0.signatures.checkedDownloads = .all }
        var ids: [ImageID] = []
        for _ in 0..<5 {
            let id = try await active(fixture)
            try changeStoredBytes(fixture)
            await #expect(throws: BlobError.self) { try await downloaded(id, fixture) }
            fixture.clock.advance(seconds: 1)
            ids.append(id)
            // One blob in the store at a time, so that the right one is changed.
            _ = try await fixture.database.write { try $0.execute("DELETE FROM blobs") }
            for name in try fixture.storedFiles() { try await fixture.store.erase(BlobID(name)) }
        }
        let view = OperatorView(fixture.images)
        var found: [ImageID] = []
        var request = PageRequest(limit: 2)
        while true {
            let page = try await view.flaggedImages(request, as: fixture.admin)
            found += page.entries.map(\.image)
            guard let next = page.next else { break }
            request.after = next
        }
        #expect(found == ids)
    }

    @Test func anEmptyImageIsOnRecordAndDownloads() async throws {
        let fixture = try await ImageFixture { $0.signatures.checkedDownloads = .all }
        let image = try await fixture.createImage()
        try await fixture.upload([], to: image.id)
        #expect(try await fixture.images.provenance(of: image.id, as: fixture.caller()).record.seal == .intact)
        #expect(try await downloaded(image.id, fixture) == [])
    }
}
