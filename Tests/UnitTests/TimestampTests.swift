import Core
import Testing

@Suite struct TimestampTests {
    @Test(
        arguments: [
            (0, "1970-01-01T00:00:00Z"), (951_782_400, "2000-02-29T00:00:00Z"), (1_800_000_000, "2027-01-15T08:00:00Z"),
            (4_102_444_799, "2099-12-31T23:59:59Z"), (-1, "1969-12-31T23:59:59Z"),
            (-2_208_988_800, "1900-01-01T00:00:00Z"),
        ] as [(Int64, String)])
    func formatsAndReadsBack(_ seconds: Int64, _ text: String) {
        #expect(Timestamp(seconds: seconds).iso8601 == text)
        #expect(Timestamp(iso8601: text) == Timestamp(seconds: seconds))
    }

    @Test(
        arguments: [
            ("2027-01-15", 1_799_971_200_000_000), ("2027-01-15T08:00:00", 1_800_000_000_000_000),
            ("2027-01-15 08:00:00", 1_800_000_000_000_000), ("2027-01-15T08:00", 1_800_000_000_000_000),
            ("2027-01-15T09:30:00+01:30", 1_800_000_000_000_000), ("2027-01-15T03:00:00-0500", 1_800_000_000_000_000),
            ("2027-01-15T08:00:00.25Z", 1_800_000_000_250_000), ("2027-01-15T08:00:00.1234567Z", 1_800_000_000_123_456),
        ] as [(String, Int64)])
    func readsWhatClientsSend(_ text: String, _ microseconds: Int64) {
        #expect(Timestamp(iso8601: text)?.microseconds == microseconds)
    }

    @Test(arguments: [
        "", "x", "2027", "2027-1-1", "2027-13-01", "2027-02-29", "2027-01-15T", "2027-01-15T25:00:00Z",
        "2027-01-15T08:61:00Z", "2027-01-15T08:00:00ZZ", "2027-01-15T08:00:00+", "2027-01-15T08:00:00+99:00",
        "2027-01-15T08:00:00.Z", "20270115T080000Z", "２０２７-01-15",
    ])
    func refusesTheRest(_ text: String) {
        #expect(Timestamp(iso8601: text) == nil)
    }

    @Test func microsecondsHaveSixDigits() {
        #expect(Timestamp(microseconds: 1_000_007).iso8601Microseconds == "1970-01-01T00:00:01.000007Z")
        #expect(Timestamp(microseconds: -1).iso8601Microseconds == "1969-12-31T23:59:59.999999Z")
    }
}
