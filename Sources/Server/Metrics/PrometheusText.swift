import NIOCore

/// The text exposition format of Prometheus, version 0.0.4.
package enum PrometheusText {
    package static let mediaType = "text/plain; version=0.0.4; charset=utf-8"

    /// What the metrics mean, for `# HELP`. A name that is missing here is still exported.
    private static let help: [String: String] = [
        "ambrotype_requests_total": "Requests answered, by service, method, route template and status.",
        "ambrotype_request_seconds": "Time from a request's head to the end of its response.",
        "ambrotype_received_bytes_total": "Bytes of request bodies read.",
        "ambrotype_sent_bytes_total": "Bytes of response bodies of known length sent.",
        "ambrotype_uploads_in_flight": "Uploads of image data being received now.",
        "ambrotype_database_write_wait_seconds": "Time from asking for a write to its being durable.",
        "ambrotype_database_read_wait_seconds": "Time reads waited for a free connection, when they had to.",
        "ambrotype_database_group_writes": "Writes that shared one commit.",
        "ambrotype_job_queue_depth": "Work that waits to be done in the background, by queue and state.",
        "ambrotype_jobs_parked": "Jobs that are not tried again by themselves.",
        "ambrotype_jobs_parked_total": "How often a job was parked, by kind.",
        "ambrotype_oldest_waiting_deletion_seconds": "Age of the oldest bytes to be erased; 0 when there are none.",
        "ambrotype_recycle_bin_bytes": "Bytes of deleted images that can be had back.",
        "ambrotype_recycle_bin_images": "Deleted images that can be had back.",
        "ambrotype_metrics_refused_total": "Label sets turned away because there were too many.",
        "ambrotype_build_info": "Always 1; the version is its label.",
        "process_resident_memory_bytes": "Resident memory.",
        "process_cpu_seconds_total": "Processor time used, user and system.",
        "process_open_fds": "Open file descriptors.",
        "process_start_time_seconds": "When the process started, in seconds since 1970.",
    ]

    static func heading(_ name: String, _ kind: SeriesKind, into out: inout ByteBuffer) {
        if let text = help[name] { out.writeString("# HELP \(name) \(text)\n") }
        out.writeString("# TYPE \(name) \(kind.rawValue)\n")
    }

    static func sample(_ name: String, _ labels: String, _ value: String, into out: inout ByteBuffer) {
        out.writeString(name)
        if !labels.isEmpty { out.writeString("{" + labels + "}") }
        out.writeString(" " + value + "\n")
    }

    /// `name="value",…`, without braces.
    static func labels(_ dimensions: [(String, String)]) -> String {
        dimensions.map { labelName($0.0) + "=\"" + escape($0.1) + "\"" }.joined(separator: ",")
    }

    static func number(_ value: Double) -> String {
        if value.isNaN { return "NaN" }
        if value.isInfinite { return value > 0 ? "+Inf" : "-Inf" }
        if let whole = Int64(exactly: value), abs(whole) < 1 << 53 { return String(whole) }
        return "\(value)"
    }

    static func metricName(_ text: String) -> String { name(text, alsoAllowed: ":") }
    private static func labelName(_ text: String) -> String { name(text, alsoAllowed: "_") }

    /// Characters a name cannot have become underscores.
    private static func name(_ text: String, alsoAllowed: Unicode.Scalar) -> String {
        var out = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "a"..."z", "A"..."Z", "_", alsoAllowed: out.unicodeScalars.append(scalar)
            case "0"..."9":
                if out.isEmpty { out = "_" }
                out.unicodeScalars.append(scalar)
            default: out.append("_")
            }
        }
        return out.isEmpty ? "_" : out
    }

    private static func escape(_ value: String) -> String {
        guard value.utf8.contains(where: { $0 == UInt8(ascii: "\\") || $0 == UInt8(ascii: "\"") || $0 == 10 })
        else { return value }
        var out = ""
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\\": out += "\\\\"
            case "\"": out += "\\\""
            case "\n": out += "\\n"
            default: out.unicodeScalars.append(scalar)
            }
        }
        return out
    }
}
