/// One request that a restricted application credential allows (Identity API v3, "access rules").
///
/// `path` is a pattern: `*` and `{name}` stand for one or more characters within a segment, `**` for
/// any run of characters, empty or with slashes; everything else stands for itself. The method and
/// the service type are compared as they are.
package struct AccessRule: Sendable, Hashable {
    package let service: String
    package let method: String
    package let path: String

    package init(service: String, method: String, path: String) {
        self.service = service
        self.method = method
        self.path = path
    }

    package func covers(_ request: CredentialContext) -> Bool {
        service == request.serviceType && method == request.method && Self.matches(request.path, pattern: path)
    }

    private enum Element: Equatable {
        case literal(UInt8)
        /// `*` and `{name}`.
        case segmentPart
        /// `**`
        case anything
    }

    /// A brace without its partner stands for itself. Of three stars the first two are `**`.
    private static func elements(of pattern: String) -> [Element] {
        var result: [Element] = []
        var rest = Substring(pattern).utf8
        while let byte = rest.popFirst() {
            if byte == UInt8(ascii: "*") {
                if rest.first == UInt8(ascii: "*") {
                    rest.removeFirst()
                    result.append(.anything)
                } else {
                    result.append(.segmentPart)
                }
            } else if byte == UInt8(ascii: "{"), let end = rest.firstIndex(of: UInt8(ascii: "}")) {
                rest = rest[rest.index(after: end)...]
                result.append(.segmentPart)
            } else {
                result.append(.literal(byte))
            }
        }
        return result
    }

    /// Follows all ways to match at once, so that no pattern takes longer than its length times the
    /// path's: patterns come from users.
    private static func matches(_ path: String, pattern: String) -> Bool {
        let elements = elements(of: pattern)
        /// `reached[i]`: the path so far is matched by the first `i` elements.
        var reached = [Bool](repeating: false, count: elements.count + 1)
        reached[0] = true
        passEmptyMatches(elements, &reached)
        for byte in path.utf8 {
            var next = [Bool](repeating: false, count: elements.count + 1)
            for (index, element) in elements.enumerated() {
                switch element {
                case .literal(let expected):
                    if reached[index], byte == expected { next[index + 1] = true }
                case .segmentPart:
                    if reached[index] || reached[index + 1], byte != UInt8(ascii: "/") { next[index + 1] = true }
                case .anything:
                    if reached[index] || reached[index + 1] { next[index + 1] = true }
                }
            }
            passEmptyMatches(elements, &next)
            reached = next
        }
        return reached[elements.count]
    }

    /// `**` also matches nothing.
    private static func passEmptyMatches(_ elements: [Element], _ reached: inout [Bool]) {
        for (index, element) in elements.enumerated() where element == .anything && reached[index] {
            reached[index + 1] = true
        }
    }
}
