import Core

extension ImportPlugins {
    /// What is done to what imports bring (`image.import`, docs/import-plugins.md).
    init(_ resolved: ResolvedSettings, _ problems: inout [String]) {
        self.init()
        let table = Setting.imageImport
        for name in (resolved.text(table, "plugins") ?? "").split(separator: " ").map(String.init) {
            guard let plugin = Plugin(rawValue: name) else {
                let known = Plugin.allCases.map(\.rawValue).joined(separator: ", ")
                problems.append("\(table.key).plugins '\(name)': there is no such plugin; allowed: \(known)")
                continue
            }
            if order.contains(plugin) {
                problems.append("\(table.key).plugins: \(name) stands twice")
            } else {
                order.append(plugin)
            }
        }
        outputFormat = resolved.text(table, "convert_to").flatMap(ConversionTarget.init) ?? .raw
        readProperties(resolved.text(table, "inject") ?? "", table.key, &problems)
        let roles = (resolved.text(table, "inject_ignored_roles") ?? "").lowercased().split(separator: " ")
        injectIgnoredRoles = Set(roles.map(String.init))
    }

    /// `NAME=VALUE; NAME=VALUE`
    private mutating func readProperties(_ text: String, _ key: String, _ problems: inout [String]) {
        for item in text.split(separator: ";") {
            let parts = item.split(separator: "=", maxSplits: 1).map(Self.trimmed)
            guard parts.count == 2, !parts[0].isEmpty, !parts[1].isEmpty else {
                problems.append("\(key).inject '\(Self.trimmed(item))': it is no NAME=VALUE; others follow after a ';'")
                continue
            }
            if !Self.mayInject(parts[0]) {
                problems.append("\(key).inject: the property \(parts[0]) is the server's own, or names a key")
            } else if inject.updateValue(parts[1], forKey: parts[0]) != nil {
                problems.append("\(key).inject: \(parts[0]) stands twice")
            }
        }
        if !inject.isEmpty, !order.contains(.injectMetadata) {
            problems.append("\(key).inject: it is of no use unless plugins has \(Plugin.injectMetadata.rawValue)")
        }
    }

    private static func trimmed(_ text: Substring) -> String {
        var text = text.drop { $0 == " " }
        while text.last == " " { text.removeLast() }
        return String(text)
    }
}
