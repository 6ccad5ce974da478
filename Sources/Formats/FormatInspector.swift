/// Looks at the bytes of an image as they pass and says which disk formats they are.
///
/// However the stream is cut into chunks, the result is the same. No more than `maximumBufferedBytes` are ever
/// kept, and no structure is read twice, whatever the headers say. What the formats' parsers check, and why, is in
/// `docs/inspection.md`.
package struct FormatInspector: Sendable {
    /// What one inspector keeps at most: a VMDK's descriptor, the largest structure of any format, and as much
    /// again as a quarter of it for everything else.
    package static let maximumBufferedBytes = 5 * VMDK.maximumDescriptorBytes / 4

    /// How much of the stream tells most formats: a sector.
    static let beginningBytes = 512

    private var position: Int64 = 0
    private var beginning: [UInt8]? = []
    private var pursuits: [Pursuit] = [Pursuit(ISO(), waitingFor: ISO.first)]
    private var text = DescriptorScan()
    private var tail = Tail()

    /// Whether the bytes that follow can change the result. When not, the rest of the stream may be kept from it.
    package private(set) var needsMoreBytes = true

    package init() {}

    /// What is kept now.
    package var bufferedBytes: Int {
        (beginning?.count ?? 0) + tail.bufferedBytes + pursuits.reduce(0) { $0 + $1.bufferedBytes }
    }

    /// The next bytes of the stream.
    package mutating func feed(_ bytes: UnsafeRawBufferPointer) {
        guard needsMoreBytes, !bytes.isEmpty else { return }
        if let soFar = beginning {
            let begun = soFar + bytes.prefix(Self.beginningBytes - soFar.count)
            beginning = begun
            if begun.count == Self.beginningBytes { begin(begun) }
        }
        for index in pursuits.indices { pursuits[index].feed(bytes, at: position) }
        text.feed(bytes)
        let wantsTail = beginning != nil || pursuits.contains { $0.mayWantTail }
        if wantsTail { tail.feed(bytes) } else { tail.clear() }
        position += Int64(bytes.count)
        needsMoreBytes = beginning != nil || text.isScanning || pursuits.contains { $0.appetite != .nothing }
    }

    /// The stream is over.
    package mutating func finish() -> FormatInspection {
        if let beginning { begin(beginning) }
        needsMoreBytes = false
        let end = tail.window(streamBytes: position)
        tail.clear()
        var reports: [FormatReport] = []
        for index in pursuits.indices {
            if let report = pursuits[index].finish(tail: end) { reports.append(report) }
        }
        if text.isDescriptor, !reports.contains(where: { $0.format == .vmdk }) { reports.append(text.report) }
        return FormatInspection(reports: reports)
    }

    /// Starts the parsers of the formats that the first sector, or a stream that is shorter, begins like.
    private mutating func begin(_ bytes: [UInt8]) {
        beginning = nil
        let start = Window(offsetBytes: 0, bytes: bytes)
        text.begin(start)
        for parser in Self.parsers(recognising: start) {
            var pursuit = Pursuit(parser, waitingFor: .nothing)
            pursuit.give(start)
            pursuits.append(pursuit)
        }
    }

    private static func parsers(recognising start: Window) -> [any FormatParser] {
        var found: [any FormatParser] = []
        if Qcow2.recognises(start) { found.append(Qcow2()) }
        if VHD.recognises(start) { found.append(VHD()) }
        if VHDX.recognises(start) { found.append(VHDX()) }
        if VMDK.recognises(start) { found.append(VMDK()) }
        if VDI.recognises(start) { found.append(VDI()) }
        if QED.recognises(start) { found.append(QED()) }
        if PartitionTable.recognises(start) { found.append(PartitionTable()) }
        if LUKS.recognises(start) { found.append(LUKS()) }
        return found
    }
}
