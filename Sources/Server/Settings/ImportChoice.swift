import Core

extension ImportSettings {
    /// How bytes come to images other than by an upload (`image.import`).
    init(_ resolved: ResolvedSettings, _ problems: inout [String]) {
        self.init()
        let table = Setting.imageImport
        methods = ImportMethod.allCases.filter { resolved.flag(table, $0.settingName) }
        taskHours = Int64(resolved.integer(table, "task_hours"))
        copiedProperties = (resolved.text(table, "copied_properties") ?? "").split(separator: " ").map(String.init)
        plugins = ImportPlugins(resolved, &problems)
        do throws(EgressSettings.Invalid) {
            let texts = EgressSettings.keys.compactMap { key in resolved.text(table, key).map { (key, $0) } }
            egress = try EgressSettings(table: Dictionary(uniqueKeysWithValues: texts))
        } catch {
            problems.append("\(table.key).\(error)")
        }
    }
}

extension ImportMethod {
    /// Names of settings have underscores.
    var settingName: String { String(rawValue.map { $0 == "-" ? "_" : $0 }) }
}
