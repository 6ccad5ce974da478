/// What the operator decides about locations.
package struct LocationSettings: Sendable, Equatable {
    /// Whether images show their locations to whoever sees them, and take changes of them by `PATCH`. A URL may tell
    /// where files are and open what it names (OSSN-0065, OSSN-0090).
    package var areShown = false
    /// Whether images show the URL of one of them.
    package var isDirectURLShown = false
    /// Whether the bytes behind new locations are read for their digest.
    package var areHashed = true
    /// The most locations of an image; negative is unlimited.
    package var quota = 10

    package init() {}
}
