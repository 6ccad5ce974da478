/// The directory of a zip archive, read as strictly as an archive of one file allows (APPNOTE.TXT 6.3.10):
///
///     0                                                                       sizeBytes
///     │ local header │ packed bytes │ descriptor, if any │ header │ zip64, if any │ end │
///
/// Nothing else is in it, nothing is in two places and nothing is left over, so that there is one way to read it.
enum ZipDirectory {
    private static let endBytes = 22
    private static let zip64Bytes = 56
    private static let locatorBytes = 20
    private static let headerBytes = 46
    private static let localBytes = 30

    private struct End {
        let entries: UInt64
        let sizeBytes: UInt64
        let offset: UInt64
        /// Where the directory has to end.
        let boundary: Int64
    }

    private struct Entry {
        let name: ArraySlice<UInt8>
        let flags: Int
        let method: Int
        let promise: PackedContent.Promise
        let packedBytes: Int64
    }

    static func onlyFile(
        sizeBytes: Int64, read: @Sendable (_ offset: Int64, _ count: Int) async throws -> [UInt8]
    ) async throws -> PackedContent {
        let tailBytes = Int(min(sizeBytes, Int64(endBytes + 0xffff + locatorBytes + zip64Bytes)))
        let tail = Fields(try await read(sizeBytes - Int64(tailBytes), tailBytes))
        let end = try end(tail, sizeBytes: sizeBytes)
        guard end.entries == 1 else {
            throw UnpackError(.unsupported, "the zip archive has \(end.entries) files; it has to have exactly one")
        }
        guard end.sizeBytes >= headerBytes, end.sizeBytes <= headerBytes + 3 * 0xffff,
            end.offset <= UInt64(sizeBytes), Int64(end.offset) + Int64(end.sizeBytes) == end.boundary
        else { throw damaged("its directory is not where it should be") }
        let offset = Int64(end.offset)
        let entry = try entry(Fields(try await read(offset, Int(end.sizeBytes))))
        let local = Fields(try await read(0, Int(min(offset, Int64(localBytes + 2 * 0xffff)))))
        let start = try start(local, of: entry)
        guard entry.packedBytes <= offset - start else { throw damaged("its file reaches into the directory") }
        let left = offset - start - entry.packedBytes
        // With bit 3 a descriptor follows the bytes: with or without a mark, with sizes of 4 or 8 bytes.
        guard left == 0 || entry.flags & 8 != 0 && [12, 16, 20, 24].contains(left) else {
            throw damaged("there is something between its file and its directory")
        }
        let coding: PackedContent.Coding
        switch entry.method {
        case 0: coding = .stored
        case 8: coding = .deflate
        default:
            throw UnpackError(
                .unsupported, "the zip archive packs its file with method \(entry.method); only deflate is taken")
        }
        return PackedContent(
            format: .zip, range: start..<start + entry.packedBytes, coding: coding, promise: entry.promise)
    }

    private static func end(_ tail: Fields, sizeBytes: Int64) throws -> End {
        let candidates = stride(from: tail.count - endBytes, through: 0, by: -1)
        // A comment of up to 64 KiB may follow, and has to end with the stream.
        let found = candidates.first {
            tail.four($0) == 0x0605_4b50 && $0 + endBytes + Int(tail.two($0 + 20)) == tail.count
        }
        guard let at = found else {
            throw UnpackError(.cutShort, "the zip data ends before it is whole: it has no directory")
        }
        let place = sizeBytes - Int64(tail.count - at)
        let small = End(
            entries: tail.two(at + 10), sizeBytes: tail.four(at + 12), offset: tail.four(at + 16), boundary: place)
        guard tail.two(at + 4) == 0, tail.two(at + 6) == 0, tail.two(at + 8) == tail.two(at + 10) else {
            throw UnpackError(.unsupported, "the zip archive is in several parts")
        }
        guard at >= locatorBytes, tail.four(at - locatorBytes) == 0x0706_4b50 else { return small }
        let record = at - locatorBytes - zip64Bytes
        let recordPlace = place - Int64(locatorBytes + zip64Bytes)
        guard record >= 0, tail.four(record) == 0x0606_4b50, tail.eight(record + 4) == UInt64(zip64Bytes - 12),
            tail.eight(at - locatorBytes + 8) == UInt64(recordPlace), tail.four(record + 16) == 0,
            tail.four(record + 20) == 0, tail.eight(record + 24) == tail.eight(record + 32)
        else { throw damaged("its 64 bit directory is not where it should be") }
        let large = End(
            entries: tail.eight(record + 32), sizeBytes: tail.eight(record + 40), offset: tail.eight(record + 48),
            boundary: recordPlace)
        guard [large.entries, 0xffff].contains(small.entries),
            [large.sizeBytes, 0xffff_ffff].contains(small.sizeBytes),
            [large.offset, 0xffff_ffff].contains(small.offset)
        else { throw damaged("its two directories differ") }
        return large
    }

    private static func entry(_ header: Fields) throws -> Entry {
        let nameBytes = Int(header.two(28))
        let extraBytes = Int(header.two(30))
        guard header.four(0) == 0x0201_4b50, headerBytes + nameBytes + extraBytes + Int(header.two(32)) == header.count
        else { throw damaged("its directory makes no sense") }
        let name = header.bytes[headerBytes..<headerBytes + nameBytes]
        let flags = Int(header.two(8))
        // 0: encrypted, 5: a patch, 6 and 13: encrypted otherwise.
        guard flags & (1 << 0 | 1 << 5 | 1 << 6 | 1 << 13) == 0 else {
            throw UnpackError(.unsupported, "the zip archive is encrypted or a patch")
        }
        guard name.last != UInt8(ascii: "/") else {
            throw UnpackError(.unsupported, "the zip archive has a directory and no file")
        }
        // What does not fit into 32 bits is in an extra field (id 1), in this order.
        var long = header.extra(1, in: headerBytes + nameBytes..<headerBytes + nameBytes + extraBytes)
        func wide(_ narrow: UInt64) throws -> UInt64 {
            guard narrow == 0xffff_ffff else { return narrow }
            guard long.count >= 8 else { throw damaged("a size of its file is missing") }
            defer { long = long.dropFirst(8) }
            return Fields(Array(long.prefix(8))).eight(0)
        }
        let size = try wide(header.four(24))
        let packed = try wide(header.four(20))
        let offset = try wide(header.four(42))
        guard offset == 0, header.two(34) == 0, size <= UInt64(Int64.max), packed <= UInt64(Int64.max) else {
            throw damaged("its file is not where it should be")
        }
        return Entry(
            name: name, flags: flags, method: Int(header.two(10)),
            promise: .init(sizeBytes: Int64(size), crc32: UInt32(header.four(16))), packedBytes: Int64(packed))
    }

    /// Where the packed bytes begin.
    private static func start(_ local: Fields, of entry: Entry) throws -> Int64 {
        guard local.count >= localBytes, local.four(0) == 0x0403_4b50 else { throw damaged("its file has no header") }
        let nameEnd = localBytes + Int(local.two(26))
        guard nameEnd <= local.count, local.bytes[localBytes..<nameEnd] == entry.name,
            Int(local.two(8)) == entry.method
        else { throw damaged("its file and its directory differ") }
        return Int64(nameEnd) + Int64(local.two(28))
    }

    private static func damaged(_ what: String) -> UnpackError {
        UnpackError(.damaged, "the zip archive is damaged: \(what)")
    }
}

/// Little-endian numbers in bytes; those who ask for them have seen to it that they are there.
private struct Fields {
    let bytes: [UInt8]

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    var count: Int { bytes.count }

    func two(_ offset: Int) -> UInt64 { number(offset, 2) }
    func four(_ offset: Int) -> UInt64 { number(offset, 4) }
    func eight(_ offset: Int) -> UInt64 { number(offset, 8) }

    private func number(_ offset: Int, _ count: Int) -> UInt64 {
        bytes[offset..<offset + count].reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }

    /// The content of an extra field; empty when it is not there.
    func extra(_ id: UInt64, in range: Range<Int>) -> ArraySlice<UInt8> {
        var at = range.lowerBound
        while at + 4 <= range.upperBound {
            let end = at + 4 + Int(two(at + 2))
            guard end <= range.upperBound else { break }
            if two(at) == id { return bytes[at + 4..<end] }
            at = end
        }
        return []
    }
}
