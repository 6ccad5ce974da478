/// Why the settings cannot be used. Everything that is wrong is told at once.
package struct ConfigurationError: Error, CustomStringConvertible, Equatable {
    /// One line each: the setting, what was wrong with it, what is allowed.
    package let problems: [String]

    package init(_ problems: [String]) {
        precondition(!problems.isEmpty)
        self.problems = problems
    }

    package var description: String { problems.map { "configuration: " + $0 }.joined(separator: "\n") }
}
