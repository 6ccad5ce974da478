import API
import Core
import NIOCore

/// One window.
struct LoadRound: Sendable {
    let seconds: Double
    let operations: Int
    let bytes: Int64
    let latency: LatencyHistogram
    let errors: [String: Int]
    let driverCPUSeconds: Double
    var serverCPUSeconds: Double?
    var serverResidentBytes: Int64?

    init(_ outcome: LoadPool.Outcome, driverCPUSeconds: Double) {
        seconds = outcome.seconds
        operations = Int(outcome.counts.latency.count)
        bytes = outcome.counts.bytes
        latency = outcome.counts.latency
        errors = outcome.counts.errors
        self.driverCPUSeconds = driverCPUSeconds
    }

    var operationsPerSecond: Double { Double(operations) / seconds }
    var megabytesPerSecond: Double { Double(bytes) / seconds / 1e6 }
}

/// What was measured of an operation.
struct LoadResult: Sendable {
    let operation: LoadOperation
    let shape: LoadShape
    private(set) var rounds: [LoadRound] = []
    private(set) var errors: [String: Int] = [:]

    init(operation: LoadOperation, shape: LoadShape) {
        self.operation = operation
        self.shape = shape
    }

    /// - Parameter mismatches: uploads after which the service had something else.
    mutating func add(_ round: LoadRound, mismatches: Int, isWarmUp: Bool) {
        errors.merge(round.errors, uniquingKeysWith: +)
        if mismatches > 0 { errors["checksum or size is not that of what was sent", default: 0] += mismatches }
        if !isWarmUp { rounds.append(round) }
    }

    var errorCount: Int { errors.values.reduce(0, +) }

    /// Over the repeats.
    struct Spread: Sendable {
        let median: Double
        let least: Double
        let most: Double

        /// Nil of nothing.
        init?(_ values: [Double]) {
            let sorted = values.filter(\.isFinite).sorted()
            guard let first = sorted.first, let last = sorted.last else { return nil }
            least = first
            most = last
            let middle = sorted.count / 2
            median = sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
        }
    }

    func spread(_ value: (LoadRound) -> Double?) -> Spread? { Spread(rounds.compactMap(value)) }

    /// Seconds of processor time for an operation; for a GiB if rates are of bytes.
    func cost(_ round: LoadRound, _ seconds: Double?) -> Double? {
        guard let seconds, round.operations > 0 else { return nil }
        return operation.isTransfer
            ? seconds * Double(1 << 30) / Double(round.bytes) : seconds / Double(round.operations)
    }
}

/// The results for people and for machines.
struct LoadReport: Sendable {
    let url: String
    let results: [LoadResult]

    // MARK: text

    var text: String {
        var table = TextTable(
            "operation", ">connections", ">rate", "range", ">p50 ms", ">p99 ms", ">max ms", ">driver CPU",
            ">server CPU",
            ">server RSS")
        for result in results {
            let isTransfer = result.operation.isTransfer
            let rate = result.spread { isTransfer ? $0.megabytesPerSecond : $0.operationsPerSecond }
            let unit = isTransfer ? " MB/s" : "/s"
            table.add(
                result.operation.rawValue, String(result.shape.connections),
                rate.map { Self.number($0.median) + unit } ?? "", rate.map(Self.range) ?? "",
                Self.milliseconds(result) { $0.percentile(0.5) }, Self.milliseconds(result) { $0.percentile(0.99) },
                Self.longest(result), Self.cost(result) { $0.driverCPUSeconds },
                Self.cost(result) { $0.serverCPUSeconds }, Self.memory(result))
        }
        return ([table.text] + results.flatMap(Self.errors)).joined(separator: "\n")
    }

    private static func errors(_ result: LoadResult) -> [String] {
        result.errors.sorted { $0.key < $1.key }.map {
            "error: \(result.operation.rawValue): \($0.key) (\($0.value) times)"
        }
    }

    private static func range(_ spread: LoadResult.Spread) -> String {
        "\(number(spread.least))-\(number(spread.most))"
    }

    private static func milliseconds(_ result: LoadResult, _ value: (LatencyHistogram) -> UInt64) -> String {
        result.spread { Double(value($0.latency)) / 1e6 }.map { decimals($0.median) } ?? ""
    }

    private static func longest(_ result: LoadResult) -> String {
        decimals(Double(result.rounds.map(\.latency.longest).max() ?? 0) / 1e6)
    }

    private static func cost(_ result: LoadResult, _ seconds: (LoadRound) -> Double?) -> String {
        guard let cost = result.spread({ result.cost($0, seconds($0)) }) else { return "" }
        return result.operation.isTransfer ? decimals(cost.median) + " s/GiB" : decimals(cost.median * 1e3, 4) + " ms"
    }

    private static func memory(_ result: LoadResult) -> String {
        result.rounds.compactMap(\.serverResidentBytes).max().map(HumanSize.text) ?? ""
    }

    /// With commas.
    private static func number(_ value: Double) -> String {
        guard value >= 1000 else { return decimals(value, value < 10 ? 2 : 0) }
        var digits = Substring(String(Int64(value.rounded())))
        var groups: [Substring] = []
        while digits.count > 3 {
            groups.append(digits.suffix(3))
            digits.removeLast(3)
        }
        return ([digits] + groups.reversed()).joined(separator: ",")
    }

    private static func decimals(_ value: Double, _ places: Int = 2) -> String {
        guard places > 0 else { return String(Int64(value.rounded())) }
        let scale = (0..<places).reduce(1.0) { scale, _ in scale * 10 }
        let scaled = Int64((value * scale).rounded())
        let rest = String(scaled % Int64(scale))
        return "\(scaled / Int64(scale))." + String(repeating: "0", count: places - rest.count) + rest
    }

    // MARK: JSON

    var json: String {
        var json = JSONWriter()
        json.object { json in
            json.member("version", programVersion)
            json.member("url", url)
            json.member("results", array: { json in for result in results { Self.write(result, &json) } })
        }
        return String(buffer: json.finish())
    }

    private static func write(_ result: LoadResult, _ json: inout JSONWriter) {
        json.object { json in
            let shape = result.shape
            json.member("operation", result.operation.rawValue)
            json.member("connections", shape.connections)
            if result.operation == .list { json.member("query", shape.query) }
            if result.operation.isTransfer { json.member("size_bytes", shape.sizeBytes) }
            json.member(
                "errors",
                object: { json in
                    for (what, count) in result.errors.sorted(by: { $0.key < $1.key }) { json.member(what, count) }
                })
            spread("operations_per_second", result.spread { $0.operationsPerSecond }, &json)
            if result.operation.isTransfer {
                spread("megabytes_per_second", result.spread { $0.megabytesPerSecond }, &json)
            }
            for (name, share) in [("p50_ms", 0.5), ("p99_ms", 0.99), ("p999_ms", 0.999)] {
                spread(name, result.spread { Double($0.latency.percentile(share)) / 1e6 }, &json)
            }
            spread("max_ms", result.spread { Double($0.latency.longest) / 1e6 }, &json)
            let per = result.operation.isTransfer ? "gib" : result.operation.unit
            spread("driver_cpu_seconds_per_\(per)", result.spread { result.cost($0, $0.driverCPUSeconds) }, &json)
            spread("server_cpu_seconds_per_\(per)", result.spread { result.cost($0, $0.serverCPUSeconds) }, &json)
            spread("server_resident_bytes", result.spread { $0.serverResidentBytes.map(Double.init) }, &json)
            json.member("repeats", array: { json in for round in result.rounds { write(round, &json) } })
        }
    }

    private static func write(_ round: LoadRound, _ json: inout JSONWriter) {
        json.object { json in
            json.member("operations", round.operations)
            json.member("bytes", round.bytes)
            json.member("seconds", .number(round.seconds))
            json.member("driver_cpu_seconds", .number(round.driverCPUSeconds))
            if let seconds = round.serverCPUSeconds { json.member("server_cpu_seconds", .number(seconds)) }
        }
    }

    private static func spread(_ name: String, _ spread: LoadResult.Spread?, _ json: inout JSONWriter) {
        guard let spread else { return }
        json.member(
            name,
            object: { json in
                json.member("median", .number(spread.median))
                json.member("min", .number(spread.least))
                json.member("max", .number(spread.most))
            })
    }
}
