/// The versions of the Image API that discovery lists: clients choose features by these exact numbers, so which there
/// are follows from what is configured (Image API digest, section 1).
package struct ImageAPIVersions: Sendable, Equatable {
    /// Minor versions in the order they are emitted in.
    package let minors: [Int]

    /// - Parameters:
    ///   - hasSeveralStores: 2.8 and 2.10 to 2.13: choosing stores, and taking an image out of one.
    ///   - hasCache: 2.14, 2.16 and 2.18: the cache API.
    package init(hasSeveralStores: Bool, hasCache: Bool) {
        minors =
            switch (hasCache, hasSeveralStores) {
            case (true, true): Array((0...18).reversed())
            case (true, false): [18, 17, 16, 15, 14, 9] + Self.common
            case (false, true): [15, 13, 12, 11, 10, 9, 8, 17] + Self.common
            case (false, false): [15, 9, 17] + Self.common
            }
    }

    private static let common = [7, 6, 5, 4, 3, 2, 1, 0]

    /// The newest, wherever it stands.
    package var current: Int { minors.max() ?? 0 }
    package func contains(_ minor: Int) -> Bool { minors.contains(minor) }
}
