/// A regular expression over names, found anywhere in them as Python's `re.search` does, in time that grows with the
/// length of the name alone.
///
/// The patterns are the operator's and the names are any user's. A matcher that backtracks can be sent into hours of
/// work by 255 characters, so this one walks all possibilities at once (Thompson 1968): at most `sizeMax` steps a
/// character. What that cannot do is refused: back references and looking around.
///
/// Understood are literals, `.`, `[…]`, `\d \w \s` and their opposites, `^ $ \A \Z`, `|`, groups, `* + ? {m,n}`
/// also with a `?` behind it. `$` is the very end.
package struct NamePattern: Sendable {
    /// Steps of the compiled pattern, repetitions written out.
    package static let sizeMax = 2000
    package static let nestingMax = 50

    package let text: String
    private let program: [PatternStep]

    /// - Throws: `PolicyError` with the position.
    package init(_ text: String) throws(PolicyError) {
        self.text = text
        var parser = PatternParser(text)
        var compiler = PatternCompiler()
        program = try compiler.program(of: try parser.whole())
    }

    package func isFound(in name: String) -> Bool {
        let scalars = Array(name.unicodeScalars)
        var current = StateSet(count: program.count)
        var following = StateSet(count: program.count)
        for position in 0...scalars.count {
            // It may begin anywhere.
            if add(0, to: &current, position, scalars.count) { return true }
            guard position < scalars.count else { break }
            following.removeAll()
            for state in current.states {
                guard case .character(let set) = program[state], set.contains(scalars[position]) else { continue }
                if add(state + 1, to: &following, position + 1, scalars.count) { return true }
            }
            swap(&current, &following)
        }
        return false
    }

    /// Adds a state and all that follow from it without a character.
    /// - Returns: whether the pattern is found.
    private func add(_ state: Int, to set: inout StateSet, _ position: Int, _ end: Int) -> Bool {
        var waiting = [state]
        while let state = waiting.popLast() {
            guard set.insert(state) else { continue }
            switch program[state] {
            case .found: return true
            case .character: break
            case .start: if position == 0 { waiting.append(state + 1) }
            case .end: if position == end { waiting.append(state + 1) }
            case .jump(let target): waiting.append(target)
            case .split(let other): waiting += [other, state + 1]
            }
        }
        return false
    }

    /// Each state once.
    private struct StateSet {
        private(set) var states: [Int] = []
        private var isIn: [Bool]

        init(count: Int) { isIn = Array(repeating: false, count: count) }

        mutating func insert(_ state: Int) -> Bool {
            if isIn[state] { return false }
            isIn[state] = true
            states.append(state)
            return true
        }

        mutating func removeAll() {
            for state in states { isIn[state] = false }
            states.removeAll(keepingCapacity: true)
        }
    }
}

private enum PatternStep: Sendable {
    case character(CharacterSet)
    case start
    case end
    case jump(Int)
    /// Goes on, and at the other place as well.
    case split(Int)
    case found
}

private struct CharacterSet: Sendable {
    enum Item: Sendable {
        case range(ClosedRange<Unicode.Scalar>)
        case digit(Bool)
        case word(Bool)
        case space(Bool)

        func contains(_ scalar: Unicode.Scalar) -> Bool {
            switch self {
            case .range(let range): range.contains(scalar)
            case .digit(let wanted): (scalar.properties.generalCategory == .decimalNumber) == wanted
            case .word(let wanted):
                (scalar.properties.isAlphabetic || scalar.properties.numericType != nil || scalar == "_") == wanted
            case .space(let wanted): scalar.properties.isWhitespace == wanted
            }
        }
    }

    var items: [Item]
    var isNegated = false

    init(_ items: [Item]) { self.items = items }
    init(_ scalar: Unicode.Scalar) { items = [.range(scalar...scalar)] }

    /// `.`: anything but the end of a line.
    static var any: CharacterSet {
        var set = CharacterSet("\n")
        set.isNegated = true
        return set
    }

    func contains(_ scalar: Unicode.Scalar) -> Bool { items.contains { $0.contains(scalar) } != isNegated }
}

private indirect enum PatternNode {
    case character(CharacterSet)
    case start
    case end
    case sequence([PatternNode])
    case choice([PatternNode])
    case repeated(PatternNode, atLeast: Int, atMost: Int?)
}

private struct PatternParser {
    private let scalars: [Unicode.Scalar]
    private var next = 0

    init(_ text: String) { scalars = Array(text.unicodeScalars) }

    mutating func whole() throws(PolicyError) -> PatternNode {
        let node = try choice(depth: 0)
        guard next == scalars.count else { throw error("This ')' closes nothing.") }
        return node
    }

    private var peek: Unicode.Scalar? { next < scalars.count ? scalars[next] : nil }

    private mutating func take(_ scalar: Unicode.Scalar) -> Bool {
        guard peek == scalar else { return false }
        next += 1
        return true
    }

    private func error(_ problem: String, at index: Int? = nil) -> PolicyError {
        PolicyError(position: (index ?? next) + 1, problem)
    }

    private mutating func choice(depth: Int) throws(PolicyError) -> PatternNode {
        guard depth < NamePattern.nestingMax else {
            throw error("Nested deeper than \(NamePattern.nestingMax) levels.")
        }
        var branches = [try sequence(depth: depth)]
        while take("|") { branches.append(try sequence(depth: depth)) }
        return branches.count == 1 ? branches[0] : .choice(branches)
    }

    private mutating func sequence(depth: Int) throws(PolicyError) -> PatternNode {
        var nodes: [PatternNode] = []
        while let scalar = peek, scalar != "|", scalar != ")" { nodes.append(try repeated(depth: depth)) }
        return nodes.count == 1 ? nodes[0] : .sequence(nodes)
    }

    private mutating func repeated(depth: Int) throws(PolicyError) -> PatternNode {
        let node = try atom(depth: depth)
        let bounds: (Int, Int?)
        switch peek {
        case "*": bounds = (0, nil)
        case "+": bounds = (1, nil)
        case "?": bounds = (0, 1)
        case "{": bounds = try counts()
        default: return node
        }
        next += 1
        // Lazy or not finds the same.
        _ = take("?")
        if let scalar = peek, "*+?{".unicodeScalars.contains(scalar) { throw error("A repetition of a repetition.") }
        return .repeated(node, atLeast: bounds.0, atMost: bounds.1)
    }

    /// `{m}`, `{m,}`, `{,n}`, `{m,n}`; stops at the brace.
    private mutating func counts() throws(PolicyError) -> (Int, Int?) {
        let start = next
        guard let close = scalars[start...].firstIndex(of: "}") else {
            throw error("'{' begins a repetition such as {2,5}; write \\{ for the character.")
        }
        var text = String.UnicodeScalarView()
        text.append(contentsOf: scalars[(start + 1)..<close])
        let parts = String(text).split(separator: ",", omittingEmptySubsequences: false)
        let numbers = parts.map { part in part.isEmpty ? nil : Int(part) }
        let areNumbers = zip(parts, numbers).allSatisfy { part, number in
            part.isEmpty || number.map { (0...255).contains($0) } == true && part.utf8.allSatisfy { $0 != 43 }
        }
        guard (1...2).contains(parts.count), areNumbers, parts.contains(where: { !$0.isEmpty }) else {
            throw error("A repetition has one or two numbers up to 255: {2,5}.")
        }
        let atLeast = numbers[0] ?? 0
        let atMost = parts.count == 1 ? atLeast : numbers[1]
        guard atMost.map({ $0 >= atLeast }) ?? true else { throw error("The repetition ends before it begins.") }
        next = close
        return (atLeast, atMost)
    }

    private mutating func atom(depth: Int) throws(PolicyError) -> PatternNode {
        let index = next
        guard let scalar = peek else { throw error("The pattern ends too early.") }
        next += 1
        switch scalar {
        case ".": return .character(.any)
        case "^": return .start
        case "$": return .end
        case "[": return .character(try set(from: index))
        case "\\": return try escape(from: index)
        case "(":
            if take("?"), !take(":") {
                throw error("Groups that look around, are named or set flags are not supported.", at: index)
            }
            let node = try choice(depth: depth + 1)
            guard take(")") else { throw error("This '(' is not closed.", at: index) }
            return node
        case "*", "+", "?", "{": throw error("There is nothing to repeat.", at: index)
        default: return .character(CharacterSet(scalar))
        }
    }

    /// Behind a backslash.
    private mutating func escape(from index: Int) throws(PolicyError) -> PatternNode {
        switch peek {
        case "A":
            next += 1
            return .start
        case "Z":
            next += 1
            return .end
        default: return .character(CharacterSet([try escapedItem(from: index)]))
        }
    }

    private mutating func escapedItem(from index: Int) throws(PolicyError) -> CharacterSet.Item {
        guard let scalar = peek else { throw error("A backslash at the end.", at: index) }
        next += 1
        switch scalar {
        case "d": return .digit(true)
        case "D": return .digit(false)
        case "w": return .word(true)
        case "W": return .word(false)
        case "s": return .space(true)
        case "S": return .space(false)
        case "n": return .range("\n"..."\n")
        case "t": return .range("\t"..."\t")
        case "r": return .range("\r"..."\r")
        default:
            guard scalar.isASCII, !scalar.properties.isAlphabetic, scalar.properties.numericType == nil else {
                throw error("\\\(scalar) is not supported.", at: index)
            }
            return .range(scalar...scalar)
        }
    }

    /// Behind `[`.
    private mutating func set(from index: Int) throws(PolicyError) -> CharacterSet {
        var set = CharacterSet([])
        set.isNegated = take("^")
        // A bracket that stands first is meant.
        var isFirst = true
        while true {
            guard let scalar = peek else { throw error("This '[' is not closed.", at: index) }
            let start = next
            next += 1
            if scalar == "]", !isFirst { return set }
            isFirst = false
            let item = scalar == "\\" ? try escapedItem(from: start) : .range(scalar...scalar)
            guard case .range(let low) = item, peek == "-", next + 1 < scalars.count, scalars[next + 1] != "]" else {
                set.items.append(item)
                continue
            }
            next += 1
            let end = next
            next += 1
            let other = scalars[end] == "\\" ? try escapedItem(from: end) : .range(scalars[end]...scalars[end])
            guard case .range(let high) = other, high.lowerBound >= low.lowerBound else {
                throw error("A range of characters that ends before it begins.", at: start)
            }
            set.items.append(.range(low.lowerBound...high.lowerBound))
        }
    }
}

private struct PatternCompiler {
    private var steps: [PatternStep] = []
    /// Nodes compiled: repetitions of nothing have no steps.
    private var visits = 0

    mutating func program(of node: PatternNode) throws(PolicyError) -> [PatternStep] {
        try compile(node)
        try append(.found)
        return steps
    }

    private var tooLarge: PolicyError {
        PolicyError("The pattern is larger than \(NamePattern.sizeMax) steps when its repetitions are written out.")
    }

    private mutating func append(_ step: PatternStep) throws(PolicyError) {
        guard steps.count < NamePattern.sizeMax else { throw tooLarge }
        steps.append(step)
    }

    private mutating func compile(_ node: PatternNode) throws(PolicyError) {
        visits += 1
        guard visits <= 4 * NamePattern.sizeMax else { throw tooLarge }
        switch node {
        case .character(let set): try append(.character(set))
        case .start: try append(.start)
        case .end: try append(.end)
        case .sequence(let nodes): for node in nodes { try compile(node) }
        case .choice(let branches): try compile(branches)
        case .repeated(let node, let atLeast, let atMost):
            for _ in 0..<atLeast { try compile(node) }
            guard let atMost else { return try loop(node) }
            var exits: [Int] = []
            for _ in atLeast..<atMost {
                exits.append(steps.count)
                try append(.split(0))
                try compile(node)
            }
            for exit in exits { steps[exit] = .split(steps.count) }
        }
    }

    private mutating func loop(_ node: PatternNode) throws(PolicyError) {
        let start = steps.count
        try append(.split(0))
        try compile(node)
        try append(.jump(start))
        steps[start] = .split(steps.count)
    }

    private mutating func compile(_ branches: [PatternNode]) throws(PolicyError) {
        var exits: [Int] = []
        for (index, branch) in branches.enumerated() {
            guard index < branches.count - 1 else {
                try compile(branch)
                break
            }
            let start = steps.count
            try append(.split(0))
            try compile(branch)
            exits.append(steps.count)
            try append(.jump(0))
            steps[start] = .split(steps.count)
        }
        for exit in exits { steps[exit] = .jump(steps.count) }
    }
}
