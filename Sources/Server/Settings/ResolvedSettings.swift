/// Where a value came from.
package enum SettingOrigin: Sendable, Equatable, CustomStringConvertible {
    case `default`
    case file(String)
    case environment(String)
    case commandLine

    package var description: String {
        switch self {
        case .default: "default"
        case .file(let path): "file \(path)"
        case .environment(let name): "environment \(name)"
        case .commandLine: "command line"
        }
    }
}

/// Every setting's value and origin, each of them valid by itself.
package struct ResolvedSettings: Sendable {
    package struct Entry: Sendable {
        package let value: SettingValue
        package let origin: SettingOrigin
    }
    private let values: [String: Entry]

    init(values: [String: Entry]) { self.values = values }

    package subscript(_ setting: Setting) -> Entry? { values[setting.key] }

    func text(_ setting: Setting) -> String? {
        if case .text(let text) = values[setting.key]?.value { text } else { nil }
    }

    func list(_ setting: Setting) -> [String]? {
        if case .list(let items) = values[setting.key]?.value { items } else { nil }
    }

    /// For settings that have a default.
    func requiredText(_ setting: Setting) -> String {
        guard let text = text(setting) else { preconditionFailure("\(setting.key) has no default") }
        return text
    }

    func integer(_ setting: Setting) -> Int {
        guard case .integer(let number) = values[setting.key]?.value else {
            preconditionFailure("\(setting.key) has no default")
        }
        return number
    }

    func flag(_ setting: Setting) -> Bool {
        guard case .flag(let flag) = values[setting.key]?.value else {
            preconditionFailure("\(setting.key) has no default")
        }
        return flag
    }

    /// One line a setting: name, value, origin, in columns. Secrets are shown as `<set>`.
    package func report() -> String {
        let rows = Setting.all.map { setting -> [String] in
            guard let entry = values[setting.key] else {
                return [setting.key, setting.defaultNote.map { "(\($0))" } ?? "(not set)", "default"]
            }
            return [setting.key, setting.isSecret ? "<set>" : entry.value.display, entry.origin.description]
        }
        let widths = (0..<2).map { column in rows.map { $0[column].count }.max() ?? 0 }
        return rows.map { row in
            (0..<2).map { row[$0] + String(repeating: " ", count: widths[$0] - row[$0].count + 2) }.joined() + row[2]
        }.joined(separator: "\n")
    }

    /// The table of settings as the README has it.
    package static func markdownTable() -> String {
        let rows = Setting.all.map { setting in
            let value = setting.defaultValue.map { "`\($0.display)`" } ?? setting.defaultNote ?? "–"
            return "| `\(setting.key)` | \(value) | \(setting.summary) |"
        }
        return (["| Setting | Default | Meaning |", "|---|---|---|"] + rows).joined(separator: "\n")
    }
}
