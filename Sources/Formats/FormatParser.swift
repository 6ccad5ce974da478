/// What a parser waits for.
enum Appetite: Sendable, Equatable {
    /// These bytes, exactly. They begin where the bytes before ended, or later.
    case bytes(ByteRange)
    /// The end of the stream: `end` is then given its last bytes.
    case tail
    /// Nothing: it has seen all it needs.
    case nothing
}

/// The size of the disk that an image holds.
enum VirtualSize: Sendable, Equatable {
    /// What the header says.
    case bytes(Int64)
    /// The rest of the stream, from this byte on.
    case streamFrom(Int64)
    /// The format has none, or its header does not tell.
    case unknown
}

/// A structure that a header says is in the stream: the stream must not end before it does.
struct Claim: Sendable, Equatable {
    let what: String
    /// Where the field is that says so.
    let fieldBytes: Int64
    /// Where the structure ends, counted from the beginning of the stream. Past 2⁶³ it is in no stream.
    let endBytes: UInt64?
}

/// Reads one format's structures, in the order in which they are in the stream. Each parser is a state machine
/// without buffers of its own: it says which bytes it waits for and is given exactly those.
protocol FormatParser: Sendable {
    static var format: DiskFormat { get }
    /// Whether what was read is of this format at all.
    var isRecognised: Bool { get }
    var virtualSize: VirtualSize { get }
    var claims: [Claim] { get }
    /// Whether it can come to wait for `Appetite.tail`.
    var mayWantTail: Bool { get }

    /// Reads what was asked for, at first the first sector.
    ///
    /// - Throws: the check that failed; nothing is read after that.
    mutating func read(_ window: Window) throws(FormatFinding) -> Appetite

    /// The stream ended; `tail` has its last bytes, up to `Tail.maximumBytes`.
    mutating func end(tail: Window) throws(FormatFinding)

    /// The stream ended before the bytes that were asked for did.
    mutating func cutShort(_ partial: Window) throws(FormatFinding)
}

extension FormatParser {
    var isRecognised: Bool { true }
    var claims: [Claim] { [] }
    var mayWantTail: Bool { false }

    mutating func end(tail: Window) throws(FormatFinding) {}

    mutating func cutShort(_ partial: Window) throws(FormatFinding) {
        throw FormatFinding(
            format: Self.format, check: "truncated", offsetBytes: partial.endBytes,
            message: "the stream ends inside the header")
    }

    func fields(_ window: Window) -> Fields { Fields(format: Self.format, window: window) }
}

/// What is known of a stream as one format.
struct FormatReport: Sendable {
    let format: DiskFormat
    let virtualSize: VirtualSize
    let claims: [Claim]
    /// The check that failed, if one did.
    let finding: FormatFinding?
}

/// A parser at work: collects the bytes it waits for.
struct Pursuit: Sendable {
    private var parser: any FormatParser
    private(set) var appetite: Appetite
    private var finding: FormatFinding?
    private var buffer: [UInt8] = []

    init(_ parser: any FormatParser, waitingFor appetite: Appetite) {
        self.parser = parser
        self.appetite = appetite
    }

    var bufferedBytes: Int { buffer.count }
    var mayWantTail: Bool { appetite != .nothing && parser.mayWantTail }

    /// - Parameter position: where `bytes` begins in the stream.
    mutating func feed(_ bytes: UnsafeRawBufferPointer, at position: Int64) {
        while case .bytes(let range) = appetite {
            let skipped = range.offsetBytes + Int64(buffer.count) - position
            guard skipped >= 0, let from = Int(exactly: skipped), from < bytes.count else { return }
            let taken = min(range.count - buffer.count, bytes.count - from)
            if buffer.isEmpty { buffer.reserveCapacity(range.count) }
            buffer.append(contentsOf: UnsafeRawBufferPointer(rebasing: bytes[from..<(from + taken)]))
            guard buffer.count == range.count else { return }
            give(Window(offsetBytes: range.offsetBytes, bytes: buffer))
        }
    }

    mutating func give(_ window: Window) {
        buffer = []
        appetite = attempt { parser throws(FormatFinding) in try parser.read(window) } ?? .nothing
    }

    /// The stream is over.
    ///
    /// - Returns: nil when it is not of the parser's format.
    mutating func finish(tail: Window) -> FormatReport? {
        switch appetite {
        case .bytes(let range):
            let partial = Window(offsetBytes: range.offsetBytes, bytes: buffer)
            attempt { parser throws(FormatFinding) in try parser.cutShort(partial) }
        case .tail: attempt { parser throws(FormatFinding) in try parser.end(tail: tail) }
        case .nothing: break
        }
        buffer = []
        appetite = .nothing
        guard parser.isRecognised || finding != nil else { return nil }
        return FormatReport(
            format: type(of: parser).format, virtualSize: parser.virtualSize, claims: parser.claims, finding: finding)
    }

    @discardableResult
    private mutating func attempt<Result>(
        _ step: (inout any FormatParser) throws(FormatFinding) -> Result
    ) -> Result? {
        do throws(FormatFinding) {
            return try step(&parser)
        } catch {
            finding = error
            return nil
        }
    }
}
