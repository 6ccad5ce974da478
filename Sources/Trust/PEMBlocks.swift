/// The certificates of a PEM text (RFC 7468). What else stands in it is passed over: comments, other blocks.
enum PEMBlocks {
    /// The bytes between `BEGIN CERTIFICATE` and `END CERTIFICATE`, in their order; nil for a block that is not
    /// base64 or has no end.
    static func certificates(in text: [UInt8]) -> [[UInt8]?] {
        var found: [[UInt8]?] = []
        var body: [UInt8]?
        for line in text.split(whereSeparator: { $0 == UInt8(ascii: "\n") || $0 == UInt8(ascii: "\r") }) {
            if isMark(line, "-----BEGIN CERTIFICATE-----") {
                if body != nil { found.append(nil) }
                body = []
            } else if isMark(line, "-----END CERTIFICATE-----") {
                if let whole = body { found.append(decode(whole)) }
                body = nil
            } else {
                body?.append(contentsOf: line)
            }
        }
        if body != nil { found.append(nil) }
        return found
    }

    private static func isMark(_ line: ArraySlice<UInt8>, _ mark: String) -> Bool {
        let end = line.lastIndex { $0 != UInt8(ascii: " ") && $0 != UInt8(ascii: "\t") } ?? line.startIndex
        return line[...end].elementsEqual(mark.utf8)
    }

    private static func decode(_ base64: [UInt8]) -> [UInt8]? {
        base64.withUnsafeBytes { Base64.decode($0) }?.withUnsafeBytes { Array($0) }
    }
}
