import Persistence

/// A moment: microseconds since 1970-01-01T00:00:00Z, leap seconds not counted.
package struct Timestamp: Sendable, Hashable, Comparable, SQLBindable, SQLReadable {
    package var microseconds: Int64

    package init(microseconds: Int64) { self.microseconds = microseconds }
    package init(seconds: Int64) { self.microseconds = seconds * 1_000_000 }

    package static func < (a: Timestamp, b: Timestamp) -> Bool { a.microseconds < b.microseconds }

    package var sqlValue: SQLValue { .integer(microseconds) }
    package init?(sqlValue: SQLValue) {
        guard case .integer(let value) = sqlValue else { return nil }
        microseconds = value
    }

    package func adding(seconds: Int64) -> Timestamp { Timestamp(microseconds: microseconds + seconds * 1_000_000) }

    /// Whole seconds since 1970, rounded down.
    package var seconds: Int64 {
        let (quotient, remainder) = microseconds.quotientAndRemainder(dividingBy: 1_000_000)
        return remainder < 0 ? quotient - 1 : quotient
    }

    /// `YYYY-MM-DDTHH:MM:SSZ`, the Image API's form: the fraction is cut off.
    package var iso8601: String { text(fractionDigits: 0) }

    /// `YYYY-MM-DDTHH:MM:SS.ffffffZ`, the Identity API's form.
    package var iso8601Microseconds: String { text(fractionDigits: 6) }

    /// `YYYY-MM-DDTHH:MM:SS.mmmZ` (RFC 3339), for logs.
    package var iso8601Milliseconds: String { text(fractionDigits: 3) }

    /// What does not fit is cut off.
    private func text(fractionDigits: Int) -> String {
        let seconds = seconds
        let days = Int(seconds >= 0 ? seconds / 86400 : (seconds - 86399) / 86400)
        let rest = Int(seconds) - days * 86400
        let (year, month, day) = Self.civil(daysSinceEpoch: days)
        let fraction = Int(microseconds - seconds * 1_000_000)
        return String(unsafeUninitializedCapacity: 28) { out in
            var place = 0
            func digits(_ number: Int, _ count: Int, then separator: Unicode.Scalar) {
                var number = number
                for index in stride(from: place + count - 1, through: place, by: -1) {
                    out[index] = UInt8(48 + number % 10)
                    number /= 10
                }
                out[place + count] = UInt8(ascii: separator)
                place += count + 1
            }
            digits(year, 4, then: "-")
            digits(month, 2, then: "-")
            digits(day, 2, then: "T")
            digits(rest / 3600, 2, then: ":")
            digits(rest / 60 % 60, 2, then: ":")
            digits(rest % 60, 2, then: fractionDigits == 0 ? "Z" : ".")
            switch fractionDigits {
            case 3: digits(fraction / 1000, 3, then: "Z")
            case 6: digits(fraction, 6, then: "Z")
            default: break
            }
            return place
        }
    }

    /// Proleptic Gregorian date of a day number (400-year eras that begin on 1 March).
    private static func civil(daysSinceEpoch: Int) -> (year: Int, month: Int, day: Int) {
        let shifted = daysSinceEpoch + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let marchMonth = (5 * dayOfYear + 2) / 153
        let month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, dayOfYear - (153 * marchMonth + 2) / 5 + 1)
    }

    private static func days(year: Int, month: Int, day: Int) -> Int {
        let y = month <= 2 ? year - 1 : year
        let era = (y >= 0 ? y : y - 399) / 400
        let yearOfEra = y - era * 400
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
        return era * 146_097 + dayOfEra - 719_468
    }

    /// Reads ISO 8601: a date, optionally with a time (`T` or a space), a fraction of a second and an
    /// offset (`Z`, `±HH`, `±HH:MM`, `±HHMM`); without an offset UTC is meant. Nil for anything else.
    package init?(iso8601 text: String) {
        var reader = DigitReader(text.utf8)
        guard let year = reader.digits(4), reader.skip("-"), let month = reader.digits(2), reader.skip("-"),
            let day = reader.digits(2), (1...12).contains(month), (1...31).contains(day),
            Self.civil(daysSinceEpoch: Self.days(year: year, month: month, day: day)) == (year, month, day)
        else { return nil }
        var seconds = 0
        var micros: Int64 = 0
        if reader.skip("T") || reader.skip(" ") {
            guard let hour = reader.digits(2), hour < 24, reader.skip(":"), let minute = reader.digits(2), minute < 60
            else { return nil }
            seconds = hour * 3600 + minute * 60
            if reader.skip(":") {
                guard let second = reader.digits(2), second < 60 else { return nil }
                seconds += second
                if reader.skip(".") || reader.skip(",") {
                    guard let fraction = reader.fraction() else { return nil }
                    micros = fraction
                }
            }
            guard let offset = reader.offset() else { return nil }
            seconds -= offset
        }
        guard reader.isAtEnd else { return nil }
        let total = Int64(Self.days(year: year, month: month, day: day)) * 86400 + Int64(seconds)
        microseconds = total * 1_000_000 + micros
    }
}

private struct DigitReader {
    private var rest: Substring.UTF8View
    init(_ text: String.UTF8View) { rest = Substring(String(text)).utf8 }

    var isAtEnd: Bool { rest.isEmpty }

    mutating func skip(_ character: Unicode.Scalar) -> Bool {
        guard rest.first == UInt8(ascii: character) else { return false }
        rest.removeFirst()
        return true
    }

    mutating func digits(_ count: Int) -> Int? {
        guard rest.count >= count else { return nil }
        var value = 0
        for _ in 0..<count {
            guard let digit = digit() else { return nil }
            value = value * 10 + digit
        }
        return value
    }

    private mutating func digit() -> Int? {
        guard let byte = rest.first, (48...57).contains(byte) else { return nil }
        rest.removeFirst()
        return Int(byte) - 48
    }

    /// The digits after the decimal point as microseconds; further digits are cut off.
    mutating func fraction() -> Int64? {
        guard var value = digit().map(Int64.init) else { return nil }
        var count = 1
        while let next = digit() {
            if count < 6 {
                value = value * 10 + Int64(next)
                count += 1
            }
        }
        while count < 6 {
            value *= 10
            count += 1
        }
        return value
    }

    /// Seconds east of UTC.
    mutating func offset() -> Int? {
        if isAtEnd || skip("Z") { return 0 }
        let sign: Int
        if skip("+") { sign = 1 } else if skip("-") { sign = -1 } else { return nil }
        guard let hours = digits(2), hours < 24 else { return nil }
        if isAtEnd { return sign * hours * 3600 }
        _ = skip(":")
        guard let minutes = digits(2), minutes < 60 else { return nil }
        return sign * (hours * 3600 + minutes * 60)
    }
}
