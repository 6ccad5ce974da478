/// The text in a VMDK that says what the disk consists of ("VMware Virtual Disk Format 5.0", "The Descriptor File").
enum VMDKDescriptor {
    private static let check = "descriptor"

    /// What a content id without its leading zeros can leave behind.
    private static let remnantBytes = 6

    /// Whether nothing is behind a descriptor, or what qemu leaves there now and then: it writes a new content id of up to
    /// eight digits in the place of the old one, and what becomes shorter keeps a few bytes of its old end behind the new.
    private static func isRemnant(_ rest: ArraySlice<UInt8>, of text: ArraySlice<UInt8>) -> Bool {
        let count = (rest.lastIndex { $0 != 0 } ?? rest.startIndex - 1) + 1 - rest.startIndex
        return count <= remnantBytes && rest.prefix(count).elementsEqual(text.suffix(count))
    }

    /// Refuses a descriptor that has a line which is not understood, or that makes the disk need another file.
    ///
    /// - Parameter descriptor: all sectors of the descriptor.
    static func check(_ descriptor: Fields, header: Fields) throws(FormatFinding) {
        let bytes = try descriptor.bytes(0, count: descriptor.window.count)
        guard let end = bytes.firstIndex(of: 0) else {
            throw descriptor.finding(check, at: 0, "the descriptor has no end")
        }
        let text = bytes[..<end]
        try descriptor.require(
            isRemnant(bytes[(end + 1)...], of: text), check, at: end, "something is hidden behind the descriptor's end")
        try descriptor.require(
            text.allSatisfy { (0x20...0x7e).contains($0) || (0x09...0x0d).contains($0) }, check, at: 0,
            "the descriptor is not ASCII text")
        try searchWholeText(Array(text), descriptor)
        var extents = 0
        var kind: String?
        var parent: String?
        for line in text.split(separator: UInt8(ascii: "\n")) {
            switch try statement(line, descriptor) {
            case .nothing: break
            case .extent(let sectors):
                extents += 1
                try requireExtent(line, sectors: sectors, descriptor, header)
            case .field(let name, let value):
                if name == "createtype" { kind = value }
                if name == "parentcid" { parent = value }
            }
        }
        try descriptor.require(
            kind == "\"monolithicsparse\"" || kind == "\"streamoptimized\"", "subformat", at: 0,
            "createType \(kind?.prefix(64) ?? "is missing")")
        try descriptor.require(parent == "ffffffff", "parent", at: 0, "parentCID \(parent?.prefix(64) ?? "is missing")")
        try descriptor.require(extents == 1, "extents", at: 0, "\(extents) extents where there is one")
    }

    /// QEMU looks for these words wherever they are, in comments too.
    private static func searchWholeText(_ text: [UInt8], _ descriptor: Fields) throws(FormatFinding) {
        for (word, most, name) in [("createtype", 1, "subformat"), ("parentfilenamehint", 0, "parent")] {
            let places = occurrences(of: Array(word.utf8), in: text)
            try descriptor.require(
                places.count <= most, name, at: places.last ?? 0, "\(word) is there \(places.count) times")
        }
    }

    private static func occurrences(of word: [UInt8], in text: [UInt8]) -> [Int] {
        guard let first = word.first, text.count >= word.count else { return [] }
        return (0...(text.count - word.count)).lazy.filter { place in
            lowercase(text[place]) == first
                && word.indices.allSatisfy { lowercase(text[place + $0]) == word[$0] }
        }.prefix(3).map { $0 }
    }

    private enum Statement {
        case nothing
        case field(name: String, value: String)
        case extent(sectors: UInt64)
    }

    private static func statement(_ line: ArraySlice<UInt8>, _ descriptor: Fields) throws(FormatFinding) -> Statement {
        let words = line.split(whereSeparator: isSpace)
        guard let first = words.first, first.first != UInt8(ascii: "#") else { return .nothing }
        if let equals = line.firstIndex(of: UInt8(ascii: "=")) {
            let name = line[..<equals].split(whereSeparator: isSpace)
            if name.count == 1, let name = name.first {
                let value = line[line.index(after: equals)...].split(whereSeparator: isSpace).joined(separator: [0x20])
                return .field(name: lowercased(name), value: lowercased(Array(value)[...]))
            }
        }
        guard ["rw", "rdonly", "noaccess"].contains(lowercased(first)), words.count >= 4,
            lowercased(words[2]) == "sparse", let sectors = UInt64(String(decoding: words[1], as: UTF8.self))
        else {
            throw descriptor.finding(
                check, at: line.startIndex, "the line is neither a field nor a sparse extent: \(excerpt(line))")
        }
        return .extent(sectors: sectors)
    }

    private static func requireExtent(
        _ line: ArraySlice<UInt8>, sectors: UInt64, _ descriptor: Fields, _ header: Fields
    ) throws(FormatFinding) {
        func require(_ holds: Bool, _ message: String) throws(FormatFinding) {
            try descriptor.require(holds, "extents", at: line.startIndex, "\(message): \(excerpt(line))")
        }
        let quote = UInt8(ascii: "\"")
        guard let open = line.firstIndex(of: quote), let close = line.lastIndex(of: quote), open < close else {
            return try require(false, "an extent without a name")
        }
        let name = line[(open + 1)..<close]
        let isPlain = !name.contains { $0 == quote || $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "\\") || $0 < 0x20 }
        try require(isPlain && !name.isEmpty && !name.elementsEqual("..".utf8), "the extent's name is a path")
        try require(line[(close + 1)...].allSatisfy(isSpace), "something is behind the extent's name")
        try require(
            line[..<open].split(whereSeparator: isSpace).count == 3, "something is in front of the extent's name")
        let capacity = try header.little64(12)
        let grain = try header.little64(20)
        try require(
            sectors > 0 && sectors <= capacity && capacity - sectors < grain, "the extent is not the whole disk")
    }

    private static func excerpt(_ line: ArraySlice<UInt8>) -> String {
        String(decoding: line.prefix(80).map { isSpace($0) ? 0x20 : $0 }, as: UTF8.self)
    }

    private static func lowercased(_ word: ArraySlice<UInt8>) -> String {
        String(decoding: word.map(lowercase), as: UTF8.self)
    }

    static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0d).contains(byte) }

    static func lowercase(_ byte: UInt8) -> UInt8 { (0x41...0x5a).contains(byte) ? byte | 0x20 : byte }
}

/// Looks for a VMDK descriptor that is a file of its own: text that names the files of the disk. QEMU, told that a
/// file is VMDK, looks for the word `createType` in what comes before the first zero byte of the first mebibyte.
struct DescriptorScan: Sendable {
    private static let word = Array("createtype".utf8)
    private static let title = "# Disk DescriptorFile"

    private enum State: Sendable {
        /// So many bytes of the word were seen last, and so many bytes in all.
        case scanning(matched: Int, seenBytes: Int)
        case over
    }

    private var state = State.scanning(matched: 0, seenBytes: 0)
    private(set) var isDescriptor = false

    var isScanning: Bool {
        if case .scanning = state { true } else { false }
    }

    mutating func begin(_ start: Window) {
        let title = Array(Self.title.utf8).map(VMDKDescriptor.lowercase)
        if start.bytes(at: 0, count: title.count)?.map(VMDKDescriptor.lowercase) == title { find() }
    }

    mutating func feed(_ bytes: UnsafeRawBufferPointer) {
        guard case .scanning(var matched, let seen) = state else { return }
        for byte in bytes.prefix(VMDK.maximumDescriptorBytes - seen) {
            if byte == 0 {
                state = .over
                return
            }
            // No beginning of the word is in it again, but for its first letter.
            let letter = VMDKDescriptor.lowercase(byte)
            matched = letter == Self.word[matched] ? matched + 1 : letter == Self.word[0] ? 1 : 0
            if matched == Self.word.count { return find() }
        }
        let now = seen + min(bytes.count, VMDK.maximumDescriptorBytes - seen)
        state = now < VMDK.maximumDescriptorBytes ? .scanning(matched: matched, seenBytes: now) : .over
    }

    private mutating func find() {
        isDescriptor = true
        state = .over
    }

    var report: FormatReport {
        FormatReport(
            format: .vmdk, virtualSize: .unknown, claims: [],
            finding: FormatFinding(
                format: .vmdk, check: "text_descriptor", offsetBytes: 0,
                message: "a descriptor without a disk: it names other files"))
    }
}
