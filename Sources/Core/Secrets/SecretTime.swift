/// Times as the Key Manager API has them.
package enum SecretTime {
    /// `YYYY-MM-DDTHH:MM:SS`: UTC, although nothing says so.
    package static func text(_ time: Timestamp) -> String { String(time.iso8601.dropLast()) }

    /// Reads ISO 8601 as generously as Barbican does: the basic form, a year or a month alone, a blank for `T`,
    /// white space around it; without an offset UTC is meant. The fraction of a second is dropped. Nil for
    /// anything else, and for what is outside of the years 1 to 9999.
    package static func read(_ text: String) -> Timestamp? {
        guard text.utf8.count <= 64 else { return nil }
        var reader = Reader(rest: Array(text.trimmingWhitespace().utf8)[...])
        guard let date = reader.date(), let clock = reader.clock(), reader.rest.isEmpty else { return nil }
        // The calendar is Timestamp's business.
        guard let read = Timestamp(iso8601: date + clock) else { return nil }
        let time = Timestamp(seconds: read.seconds)
        return years.contains(time) ? time : nil
    }

    private static let years = Timestamp(seconds: -62_135_596_800)..<Timestamp(seconds: 253_402_300_800)

    /// Takes the parts of a time, and gives them back in the extended form.
    private struct Reader {
        var rest: ArraySlice<UInt8>

        mutating func date() -> String? {
            guard let year = digits(4...4) else { return nil }
            let isExtended = skip("-")
            // `YYYYMM` would be read as a time of day elsewhere: a month alone has its hyphen.
            guard let month = digits(isExtended ? 1...2 : 2...2) else {
                return isExtended ? nil : "\(year)-01-01"
            }
            guard isExtended ? skip("-") : !rest.isEmpty else { return isExtended ? "\(year)-\(month)-01" : nil }
            guard let day = digits(isExtended ? 1...2 : 2...2) else { return nil }
            return "\(year)-\(month)-\(day)"
        }

        mutating func clock() -> String? {
            if rest.isEmpty { return "" }
            guard skip("T") || skip(" "), let hour = digits(2...2) else { return nil }
            var clock = "T\(hour)"
            _ = skip(":")
            if let minute = digits(2...2) {
                clock += ":\(minute)"
                _ = skip(":")
                if let second = digits(1...2) {
                    clock += ":\(second)"
                    if skip(".") || skip(","), digits(1...64) == nil { return nil }
                }
            } else {
                clock += ":00"
            }
            guard let offset = offset() else { return nil }
            return clock + offset
        }

        private mutating func offset() -> String? {
            if rest.isEmpty || skip("Z") { return "Z" }
            let sign: String
            if skip("+") { sign = "+" } else if skip("-") { sign = "-" } else { return nil }
            guard let hours = digits(2...2) else { return nil }
            _ = skip(":")
            return sign + hours + ":" + (digits(2...2) ?? "00")
        }

        private mutating func skip(_ character: Unicode.Scalar) -> Bool {
            guard rest.first == UInt8(ascii: character) else { return false }
            rest.removeFirst()
            return true
        }

        /// As many as there are, and no more than `count` allows; a lonely digit gets a zero before it.
        private mutating func digits(_ count: ClosedRange<Int>) -> String? {
            let found = rest.prefix(count.upperBound).prefix { (48...57).contains($0) }
            guard found.count >= count.lowerBound else { return nil }
            rest = rest.dropFirst(found.count)
            let text = String(decoding: found, as: UTF8.self)
            return found.count == 1 ? "0" + text : text
        }
    }
}

extension StringProtocol {
    /// Without the white space (Unicode's) at both ends.
    func trimmingWhitespace() -> String {
        let scalars = unicodeScalars
        guard let first = scalars.firstIndex(where: { !$0.properties.isWhitespace }),
            let last = scalars.lastIndex(where: { !$0.properties.isWhitespace })
        else { return "" }
        return String(String.UnicodeScalarView(scalars[first...last]))
    }
}
