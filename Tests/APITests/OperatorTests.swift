import Core
import Foundation
import NIOCore
import NIOHTTP1
import Persistence
import Server
import Testing

/// The operator's view on the wire.
@Suite(.server { $0.image?.settings.recycleBinSeconds = 3600 }) struct OperatorTests {
    private var server: TestServer { TestServer.current }

    private func createImage(_ server: TestServer, as token: String) async throws -> String {
        let answer = try await server.call(
            .POST, "/image/v2/images", as: token,
            json: #"{"name": "kept", "disk_format": "raw", "container_format": "bare", "os": "debian"}"#)
        return try #require(answer.json["id"]?.stringValue, "\(answer.text)")
    }

    private func uploaded(_ server: TestServer, _ text: String, as token: String) async throws -> String {
        let id = try await createImage(server, as: token)
        try await server.call(
            .PUT, "/image/v2/images/\(id)/file", as: token, headers: [("Content-Type", "application/octet-stream")],
            body: Array(text.utf8)
        ).expect(204)
        return id
    }

    private func read(_ server: TestServer, _ path: String) async throws -> JSONValue {
        let answer = try await server.call(.GET, "/image/ambrotype/v1" + path, as: server.admin)
        try answer.expect(200)
        #expect(answer.header("content-type") == "application/json")
        return answer.json
    }

    @Test(arguments: ["", "/"]) func theIndexLinksToWhatThereIs(_ path: String) async throws {
        let links = try await read(server, path)["links"]?.arrayValue ?? []
        #expect(links.count == 8)
        for link in links {
            let href = try #require(link["href"]?.stringValue)
            try await server.call(.GET, "/image" + href, as: server.admin).expect(200)
        }
    }

    /// Whatever a client says it accepts: this is no page for browsers.
    @Test(arguments: ["*/*", "text/html", "text/plain"]) func errorsAreJSON(_ accept: String) async throws {
        let answer = try await server.call(
            .GET, "/image/ambrotype/v1/jobs", as: server.demo, headers: [("Accept", accept)])
        #expect(answer.status == 403)
        #expect(answer.header("content-type") == "application/json")
        #expect(answer.json["code"] == "403 Forbidden")
    }

    @Test func anUploadUnderWayIsALeaseAndCountsAsReserved() async throws {
        let account = try await server.account()
        let id = try await createImage(server, as: account.token)
        let connection = try await server.connect()
        defer { connection.close() }
        try await connection.send(
            "PUT /image/v2/images/\(id)/file HTTP/1.1\r\nHost: x\r\nX-Auth-Token: \(account.token)\r\n"
                + "Content-Type: application/octet-stream\r\nContent-Length: 6\r\n\r\nabc")
        let lease = try await eventually("the upload begins") {
            try await read(server, "/leases")["blobs"]?.arrayValue?.first { $0["image"] == .string(id) }
        }
        #expect(lease["store"] == "local")
        #expect(lease["project"] == .string(account.projectID))
        #expect(lease["reserved_bytes"] == 6)
        #expect(lease["epoch"] == 1)
        let since = try #require(lease["since"]?.stringValue)
        #expect(Timestamp(iso8601: since) != nil && since.hasSuffix("Z"))
        let instances = try await read(server, "/leases")["instances"]?.arrayValue ?? []
        #expect(instances.map { $0["id"] } == [lease["lease_owner"]])
        func usage() async throws -> JSONValue {
            try await read(server, "/usage?project=" + account.projectID)["usage"]?.arrayValue?.first ?? .null
        }
        #expect(try await usage()["reserved_bytes"] == 6)
        try await connection.send("def")
        #expect(try await connection.response().status == 204)
        #expect(try await usage()["reserved_bytes"] == 0)
        #expect(try await usage()["live_bytes"] == 6)
        let store = try await read(server, "/stores")["stores"]?.arrayValue?.first
        #expect(store?["id"] == "local")
        #expect(store?["default"] == true)
        #expect(store?["error"] == .null)
        #expect((store?["blobs"]?["live"]?["size_bytes"]?.integerValue ?? 0) >= 6)
    }

    @Test func aDeletedImageIsListedAndComesBack() async throws {
        let account = try await server.account()
        let id = try await uploaded(server, "all of it", as: account.token)
        let before = try await server.call(.GET, "/image/v2/images/\(id)", as: account.token).json
        try await server.call(.DELETE, "/image/v2/images/\(id)", as: account.token).expect(204)
        try await server.call(.GET, "/image/v2/images/\(id)", as: server.admin).expect(404)
        let entry = try await read(server, "/deleted-images?limit=1000")["deleted_images"]?.arrayValue?.first {
            $0["id"] == .string(id)
        }
        #expect(entry?["name"] == "kept")
        #expect(entry?["owner"] == .string(account.projectID))
        #expect(entry?["size_bytes"] == 9)
        #expect(entry?["status_before_deletion"] == "active")
        let path = "/image/ambrotype/v1/deleted-images/\(id)"
        try await server.call(.POST, path + "/undelete", as: account.token).expect(403)
        try await server.call(.POST, path + "/undelete", as: server.admin).expect(204)
        try await server.call(.POST, path + "/undelete", as: server.admin).expect(404)
        var after = try await server.call(.GET, "/image/v2/images/\(id)", as: account.token).json.objectValue ?? [:]
        after["updated_at"] = before["updated_at"]
        #expect(JSONValue.object(after) == before)
        #expect(try await server.call(.GET, "/image/v2/images/\(id)/file", as: account.token).text == "all of it")
    }

    @Test func aDiscardedImageIsErasedAtOnce() async throws {
        let id = try await uploaded(server, "gone", as: server.demo)
        try await server.call(.DELETE, "/image/v2/images/\(id)", as: server.demo).expect(204)
        let path = "/image/ambrotype/v1/deleted-images/\(id)"
        try await server.call(.DELETE, path, as: server.admin).expect(204)
        try await server.call(.DELETE, path, as: server.admin).expect(404)
        _ = try await eventually(within: 4, "its bytes are erased") {
            let waiting = try await read(server, "/deletions")["deletions"]?.arrayValue ?? []
            return waiting.contains { $0["image"] == .string(id) } ? nil : true
        }
    }

    @Test func undeletingRefusesWhatTheQuotaHasNoRoomFor() async throws {
        try await TestServer.with {
            $0.image?.settings.recycleBinSeconds = 3600
            $0.image?.settings.imageCountQuota = 1
        } body: { server in
            let id = try await uploaded(server, "a", as: server.demo)
            try await server.call(.DELETE, "/image/v2/images/\(id)", as: server.demo).expect(204)
            _ = try await createImage(server, as: server.demo)
            let path = "/image/ambrotype/v1/deleted-images/\(id)/undelete"
            let refused = try await server.call(.POST, path, as: server.admin)
            #expect(refused.status == 413)
            #expect(refused.json["message"]?.stringValue?.contains("image_count_total") == true)
            try await server.call(.POST, path + "?over_quota=true", as: server.admin).expect(204)
            #expect(try await read(server, "/usage")["quotas"]?["images"] == 1)
        }
    }

    /// Deleted with the store away: what waits is shown with its reason, and a retry needs no waiting.
    @Test func aDeletionThatCannotBeDoneIsShownAndHealsByRetry() async throws {
        try await TestServer.with { server in
            let id = try await uploaded(server, "stuck", as: server.demo)
            let store = server.directory + "/stores/local"
            try FileManager.default.moveItem(atPath: store, toPath: store + "-away")
            try await server.call(.DELETE, "/image/v2/images/\(id)", as: server.demo).expect(204)
            let waiting = try await eventually("several attempts have failed") {
                let all = try await read(server, "/deletions")["deletions"]?.arrayValue ?? []
                return all.first { ($0["job"]?["attempts"]?.integerValue ?? 0) >= 3 }
            }
            #expect(waiting["image"] == .string(id))
            #expect(waiting["size_bytes"] == 5)
            #expect(waiting["reason"] == "image deleted")
            #expect(waiting["held_by"] == .null)
            #expect(waiting["job"]?["last_error"]?.stringValue?.contains("unavailable") == true)
            #expect(try await read(server, "/deletions")["total"]?["size_bytes"] == 5)
            let stores = try await read(server, "/stores")["stores"]?.arrayValue
            #expect(stores?.first?["free_bytes"] == .null)
            #expect(stores?.first?["error"]?.stringValue?.contains("unavailable") == true)
            let name = try #require(waiting["job"]?["name"]?.stringValue)
            #expect(try await read(server, "/jobs?state=waiting")["counts"]?["waiting"] == 1)
            #expect(try await read(server, "/jobs/" + name)["name"] == .string(name))
            try FileManager.default.moveItem(atPath: store + "-away", toPath: store)
            try await server.call(.POST, "/image/ambrotype/v1/jobs/\(name)/retry", as: server.admin).expect(202)
            _ = try await eventually(within: 4, "it is erased") {
                try await read(server, "/deletions")["total"]?["count"] == 0 ? true : nil
            }
            try await server.call(.GET, "/image/ambrotype/v1/jobs/\(name)", as: server.admin).expect(404)
        }
    }

    @Test func parkedJobsAreShownAndRetriedTogether() async throws {
        try await TestServer.with { server in
            let database = try SQLiteDatabase(path: server.directory + "/ambrotype.db")
            _ = try await database.write { db in
                for subject in ["a", "b", "c"] {
                    try db.execute(
                        """
                        INSERT INTO jobs (kind, subject, state, attempts, next_attempt_at, epoch, last_error, created_at)
                        VALUES ('strange', $1, 'parked', 8, 0, 0, 'nobody knows how', 1)
                        """, subject)
                }
            }
            let first = try await read(server, "/jobs?state=parked&kind=strange&limit=2")
            #expect(first["jobs"]?.arrayValue?.map { $0["subject"] } == ["a", "b"])
            #expect(first["jobs"]?.arrayValue?.first?["last_error"] == "nobody knows how")
            #expect(first["jobs"]?.arrayValue?.first?["next_attempt_at"] == .null)
            #expect(first["counts"]?["parked"] == 3)
            let next = try #require(first["next"]?.stringValue)
            let second = try await server.call(.GET, "/image" + next, as: server.admin).json
            #expect(second["jobs"]?.arrayValue?.map { $0["subject"] } == ["c"])
            #expect(second["next"] == nil)
            let metrics = try await eventually("the reconciler counts them") {
                let text = try await server.call(.GET, "/metrics").text
                return text.contains("ambrotype_jobs_parked 3") ? text : nil
            }
            #expect(metrics.contains("ambrotype_oldest_waiting_deletion_seconds 0"))
            #expect(metrics.contains("ambrotype_recycle_bin_bytes "))
            #expect(metrics.contains("ambrotype_recycle_bin_images "))
            let retried = try await server.call(
                .POST, "/image/ambrotype/v1/jobs/retry-parked", as: server.admin)
            #expect(retried.status == 202)
            #expect(retried.json["retried"] == 3)
            // This program knows no such jobs: it parks them again, with a reason of its own.
            _ = try await eventually("they were tried") {
                let job = try await read(server, "/jobs/strange/a")
                return job["state"] == "parked" && job["last_error"] != "nobody knows how" ? true : nil
            }
        }
    }
}
