extension PolicyRule {
    /// The longest rule, in bytes.
    package static let textBytesMax = 16 << 10
    /// How deep parentheses and `not` may be nested.
    package static let nestingMax = 50

    /// Parses a rule. What oslo.policy would take for "never" with a line in the log (a check without a colon, a
    /// missing operator) is refused, so that a slip is seen at the start and not by a user.
    /// - Throws: `PolicyError` with the position.
    package init(parsing text: String) throws(PolicyError) {
        guard text.utf8.count <= Self.textBytesMax else {
            throw PolicyError("The rule is longer than \(Self.textBytesMax) bytes.")
        }
        let words = try PolicyLexer(text).words()
        guard !words.isEmpty else {
            self = .always
            return
        }
        var parser = PolicyParser(words: words, end: text.unicodeScalars.count + 1)
        self = try parser.whole()
    }
}

/// A word of a rule and where it starts, counted from 1.
private struct PolicyWord {
    enum Kind {
        case and, or, not, open, close
        case check(PolicyRule)
    }
    let kind: Kind
    let position: Int
}

/// Splits a rule at white space. Parentheses belong to a word only inside of it: `%(name)s`.
private struct PolicyLexer {
    private let scalars: [Unicode.Scalar]

    init(_ text: String) { scalars = Array(text.unicodeScalars) }

    func words() throws(PolicyError) -> [PolicyWord] {
        var words: [PolicyWord] = []
        var index = 0
        while index < scalars.count {
            if scalars[index].properties.isWhitespace {
                index += 1
                continue
            }
            let start = index
            while index < scalars.count, !scalars[index].properties.isWhitespace { index += 1 }
            try split(start..<index, into: &words)
        }
        return words
    }

    private func split(_ range: Range<Int>, into words: inout [PolicyWord]) throws(PolicyError) {
        var start = range.lowerBound
        var end = range.upperBound
        while start < end, scalars[start] == "(" {
            words.append(PolicyWord(kind: .open, position: start + 1))
            start += 1
        }
        while end > start, scalars[end - 1] == ")" { end -= 1 }
        if start < end {
            words.append(PolicyWord(kind: try kind(of: start..<end), position: start + 1))
        }
        for index in end..<range.upperBound { words.append(PolicyWord(kind: .close, position: index + 1)) }
    }

    private func kind(of range: Range<Int>) throws(PolicyError) -> PolicyWord.Kind {
        switch text(range).lowercased() {
        case "and": .and
        case "or": .or
        case "not": .not
        case "@": .check(.always)
        case "!": .check(.never)
        default: .check(try check(range))
        }
    }

    private func text(_ range: Range<Int>) -> String {
        var text = String.UnicodeScalarView()
        text.append(contentsOf: scalars[range])
        return String(text)
    }

    /// `kind:match`.
    private func check(_ range: Range<Int>) throws(PolicyError) -> PolicyRule {
        let first = scalars[range.lowerBound]
        if first == "'" || first == "\"" { return try quoted(first, range) }
        guard let colon = scalars[range].firstIndex(of: ":"), colon > range.lowerBound else {
            throw error(
                range.lowerBound, "'\(text(range))' is no check: checks look like role:member or key:%(attribute)s.")
        }
        let kind = text(range.lowerBound..<colon)
        let right = (colon + 1)..<range.upperBound
        guard !right.isEmpty else {
            throw error(range.lowerBound, "Nothing stands behind the colon of '\(text(range))'.")
        }
        switch kind {
        case "role": return .role(try template(right))
        case "rule": return .reference(text(right))
        case "http", "https":
            throw error(
                range.lowerBound, "The check \(kind): is not supported: no other server is asked for a decision.")
        default: return .match(try left(kind, at: range.lowerBound), try template(right))
        }
    }

    private func left(_ kind: String, at start: Int) throws(PolicyError) -> PolicyRule.Left {
        if kind == "None" { return .null }
        if PolicyRule.Left.isBare(kind) { return .literal(kind) }
        let isName = kind.unicodeScalars.allSatisfy {
            $0.properties.isAlphabetic || ("0"..."9").contains($0) || $0 == "_" || $0 == "." || $0 == "-"
        }
        guard isName, let first = kind.unicodeScalars.first, first.properties.isAlphabetic || first == "_" else {
            throw error(
                start, "'\(kind)' is neither an attribute of the caller nor a literal; texts stand in quotes.")
        }
        return .caller(kind)
    }

    /// `'literal':match`.
    private func quoted(_ quote: Unicode.Scalar, _ range: Range<Int>) throws(PolicyError) -> PolicyRule {
        let inside = (range.lowerBound + 1)..<range.upperBound
        guard let close = scalars[inside].firstIndex(of: quote) else {
            throw error(range.lowerBound, "The quote is not closed; a quoted text has no white space.")
        }
        let literal = text((range.lowerBound + 1)..<close)
        guard !literal.unicodeScalars.contains("\\") else {
            throw error(range.lowerBound, "A quoted text has no backslash.")
        }
        guard close + 1 < range.upperBound, scalars[close + 1] == ":", close + 2 < range.upperBound else {
            throw error(
                range.lowerBound, "A quoted text is compared with something: '\(literal)':%(attribute)s.")
        }
        return .match(.literal(literal), try template((close + 2)..<range.upperBound))
    }

    private func template(_ range: Range<Int>) throws(PolicyError) -> PolicyTemplate {
        guard scalars[range.lowerBound] != "'", scalars[range.lowerBound] != "\"" else {
            throw error(range.lowerBound, "The text behind the colon stands without quotes: they would be part of it.")
        }
        var parts: [PolicyTemplate.Part] = []
        var plain = String.UnicodeScalarView()
        var index = range.lowerBound
        while index < range.upperBound {
            guard scalars[index] == "%" else {
                plain.append(scalars[index])
                index += 1
                continue
            }
            if index + 1 < range.upperBound, scalars[index + 1] == "%" {
                plain.append("%")
                index += 2
                continue
            }
            if !plain.isEmpty { parts.append(.text(String(plain))) }
            plain = String.UnicodeScalarView()
            let place = try self.place(index..<range.upperBound)
            parts.append(.target(place.name))
            index = place.end
        }
        if !plain.isEmpty { parts.append(.text(String(plain))) }
        return PolicyTemplate(parts)
    }

    /// `%(name)s` at the start of the range.
    private func place(_ range: Range<Int>) throws(PolicyError) -> (name: String, end: Int) {
        let malformed = error(
            range.lowerBound, "A percent sign starts %(attribute)s, or is written twice when it is meant.")
        let start = range.lowerBound + 2
        guard start < range.upperBound, scalars[start - 1] == "(",
            let close = scalars[start..<range.upperBound].firstIndex(of: ")"), close > start,
            close + 1 < range.upperBound, scalars[close + 1] == "s"
        else { throw malformed }
        return (text(start..<close), close + 2)
    }

    private func error(_ index: Int, _ problem: String) -> PolicyError { PolicyError(position: index + 1, problem) }
}

/// Recursive descent over the words; depth is bounded by `nestingMax`.
private struct PolicyParser {
    let words: [PolicyWord]
    /// The position behind the last character.
    let end: Int
    private var next = 0

    init(words: [PolicyWord], end: Int) {
        self.words = words
        self.end = end
    }

    mutating func whole() throws(PolicyError) -> PolicyRule {
        let rule = try any(depth: 0)
        guard let word = peek else { return rule }
        if case .close = word.kind { throw PolicyError(position: word.position, "This ')' closes nothing.") }
        throw PolicyError(position: word.position, "'and' or 'or' is missing before this.")
    }

    private var peek: PolicyWord? { next < words.count ? words[next] : nil }

    private mutating func take(_ isWanted: (PolicyWord.Kind) -> Bool) -> Bool {
        guard let word = peek, isWanted(word.kind) else { return false }
        next += 1
        return true
    }

    private mutating func any(depth: Int) throws(PolicyError) -> PolicyRule {
        var rules = [try all(depth: depth)]
        while take({ if case .or = $0 { true } else { false } }) { rules.append(try all(depth: depth)) }
        return rules.count == 1 ? rules[0] : .any(rules)
    }

    private mutating func all(depth: Int) throws(PolicyError) -> PolicyRule {
        var rules = [try unary(depth: depth)]
        while take({ if case .and = $0 { true } else { false } }) { rules.append(try unary(depth: depth)) }
        return rules.count == 1 ? rules[0] : .all(rules)
    }

    private mutating func unary(depth: Int) throws(PolicyError) -> PolicyRule {
        guard let word = peek else { throw PolicyError(position: end, "The rule ends where a check is missing.") }
        guard depth < PolicyRule.nestingMax else {
            throw PolicyError(position: word.position, "Nested deeper than \(PolicyRule.nestingMax) levels.")
        }
        next += 1
        switch word.kind {
        case .check(let rule): return rule
        case .not: return .not(try unary(depth: depth + 1))
        case .open:
            let inner = try any(depth: depth + 1)
            guard take({ if case .close = $0 { true } else { false } }) else {
                throw PolicyError(position: word.position, "This '(' is not closed.")
            }
            return inner
        case .and, .or, .close: throw PolicyError(position: word.position, "A check is missing before this.")
        }
    }
}
