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

/// Every setting's value and origin, each of them valid by itself. What a table holds is asked for by name.
package struct ResolvedSettings: Sendable {
    package struct Entry: Sendable {
        package let value: SettingValue
        package let origin: SettingOrigin
    }
    /// By the keys of `Setting.entries`.
    private let values: [String: Entry]

    init(values: [String: Entry]) { self.values = values }

    /// - Parameter name: one of a table's names; nil for settings that are none.
    package subscript(_ setting: Setting, name: String? = nil) -> Entry? {
        precondition(setting.isTable == (name != nil), "\(setting.key) is asked for as what it is not")
        return values[name.map { "\(setting.key).\($0)" } ?? setting.key]
    }

    /// Whether anybody decided it.
    func isGiven(_ setting: Setting) -> Bool { self[setting].map { $0.origin != .default } ?? false }

    func text(_ setting: Setting, _ name: String? = nil) -> String? {
        if case .text(let text) = self[setting, name]?.value { text } else { nil }
    }

    func list(_ setting: Setting) -> [String]? {
        if case .list(let items) = self[setting]?.value { items } else { nil }
    }

    /// For settings that have a default.
    func requiredText(_ setting: Setting) -> String {
        guard let text = text(setting) else { preconditionFailure("\(setting.key) has no default") }
        return text
    }

    func flag(_ setting: Setting, _ name: String) -> Bool {
        guard case .flag(let flag) = self[setting, name]?.value else {
            preconditionFailure("\(setting.key) has no default")
        }
        return flag
    }

    func integer(_ setting: Setting, _ name: String? = nil) -> Int {
        guard case .integer(let number) = self[setting, name]?.value else {
            preconditionFailure("\(setting.key) has no default")
        }
        return number
    }

    func flag(_ setting: Setting) -> Bool {
        guard case .flag(let flag) = self[setting]?.value else {
            preconditionFailure("\(setting.key) has no default")
        }
        return flag
    }

    /// One line a value, so one for each name of a table: name, value, origin, in columns. Secrets are shown as
    /// `<set>`.
    package func report() -> String {
        let rows = Setting.all.flatMap(\.entries).map { setting -> [String] in
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
            let value = setting.defaultDisplay.map { "`\($0)`" } ?? setting.defaultNote ?? "–"
            return "| `\(setting.key)` | \(value) | \(setting.summary)\(setting.namesForTable) |"
        }
        return (["| Setting | Default | Meaning |", "|---|---|---|"] + rows).joined(separator: "\n")
    }
}

extension Setting {
    fileprivate var defaultDisplay: String? {
        guard case .table(let columns) = kind else { return defaultValue?.display }
        let values = zip(columns, entries).compactMap { column, entry in
            entry.defaultValue.map { "\(column.name)=\($0.display)" }
        }
        return values.isEmpty ? nil : values.joined(separator: ",")
    }

    /// The names of a table that its default does not show.
    fileprivate var namesForTable: String {
        guard case .table(let columns) = kind else { return "" }
        let hidden = zip(columns, entries).filter { $0.1.defaultValue == nil }.map(\.0.name)
        guard !hidden.isEmpty else { return "" }
        return " \(hidden.count == columns.count ? "Names" : "And"): \(hidden.joined(separator: ", "))."
    }
}
