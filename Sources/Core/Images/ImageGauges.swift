import Metrics
import Persistence

/// What waits and what is kept, as numbers to watch. Written at every pass of the reconciler, so each query
/// reads an index, and of it only what waits or is kept.
extension Images {
    func recordGauges() async throws {
        let now = now
        let (jobs, oldest) = try await database.read { db in
            let jobs = try db.query("SELECT kind, state, COUNT(*) FROM jobs GROUP BY kind, state") {
                (
                    kind: try $0.get(0, as: String.self), isParked: try $0.get(1, as: String.self) == "parked",
                    count: try $0.get(2, as: Int.self)
                )
            }
            let oldest = try db.first("SELECT MIN(doomed_at) FROM blobs WHERE state = 'doomed'") {
                try $0.get(0, as: Timestamp?.self)
            }
            return (jobs, oldest ?? nil)
        }
        let erasing = jobs.filter { $0.kind == JobKind.eraseBlob.rawValue }
        for (state, isParked) in [("waiting", false), ("parked", true)] {
            Gauge(label: "ambrotype_job_queue_depth", dimensions: [("queue", "erase"), ("state", state)])
                .record(erasing.reduce(0) { $0 + ($1.isParked == isParked ? $1.count : 0) })
        }
        Gauge(label: "ambrotype_jobs_parked").record(jobs.reduce(0) { $0 + ($1.isParked ? $1.count : 0) })
        let ageSeconds = oldest.map { max(0, now.seconds - $0.seconds) } ?? 0
        Gauge(label: "ambrotype_oldest_waiting_deletion_seconds").record(ageSeconds)
        let bin = try await RecycleBin(database: database, clock: surroundings.clock, settings: settings).size()
        Gauge(label: "ambrotype_recycle_bin_images").record(bin.images)
        Gauge(label: "ambrotype_recycle_bin_bytes").record(bin.bytes)
    }
}
