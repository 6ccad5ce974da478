import Configuration
import Yams

/// Where settings come from. Stronger sources first: command line, environment, file, default.
package struct SettingSources: Sendable {
    /// Path of a YAML file.
    package var file: String?
    package var environment: [String: String]
    /// By the settings' keys.
    package var commandLine: [String: String]

    package init(file: String? = nil, environment: [String: String] = [:], commandLine: [String: String] = [:]) {
        self.file = file
        self.environment = environment
        self.commandLine = commandLine
    }

    /// Reads every setting.
    /// - Throws: `ConfigurationError` for what no setting is called, and for values of a wrong kind.
    package func resolve() throws -> ResolvedSettings {
        var problems: [String] = []
        var layers = [commandLineLayer(&problems), environmentLayer(&problems)]
        if let file { layers.append(try Self.fileLayer(file, &problems)) }
        var values: [String: ResolvedSettings.Entry] = [:]
        for setting in Setting.all {
            // Of a table, each name's value has its own strongest source.
            for entry in setting.entries {
                var strongest: ResolvedSettings.Entry?
                for layer in layers {
                    // A weaker source's value is read as well: a mistake must not hide until it counts.
                    do {
                        let found = try layer.value(of: entry, in: setting)
                        strongest = strongest ?? found
                    } catch let problem as ValueProblem {
                        problems.append(problem.description)
                    }
                }
                values[entry.key] = strongest ?? entry.defaultValue.map { .init(value: $0, origin: .default) }
            }
        }
        guard problems.isEmpty else { throw ConfigurationError(problems) }
        return ResolvedSettings(values: values)
    }

    private func commandLineLayer(_ problems: inout [String]) -> SettingLayer {
        // Values of the command line are text, like those of the environment.
        let given = Setting.all.compactMap { setting in commandLine[setting.key].map { (setting, $0) } }
        let variables = Self.variables(given, from: { _ in .commandLine }, &problems)
        return SettingLayer(
            snapshot: EnvironmentVariablesProvider(environmentVariables: variables).snapshot(), prefix: ["ambrotype"],
            origin: { _ in .commandLine })
    }

    private func environmentLayer(_ problems: inout [String]) -> SettingLayer {
        let names = Set(Setting.all.map(\.environmentName))
        for name in environment.keys.sorted()
        where name.hasPrefix(Setting.environmentPrefix) && !names.contains(name) {
            let hint = Self.tableVariable(for: name) ?? Self.suggestion(for: name, among: names.sorted())
            problems.append("\(name): there is no such setting" + hint)
        }
        let given = Setting.all.compactMap { setting in environment[setting.environmentName].map { (setting, $0) } }
        let variables = Self.variables(given, from: { .environment($0.environmentName) }, &problems)
        let provider = EnvironmentVariablesProvider(environmentVariables: variables, secretsSpecifier: .all)
        return SettingLayer(
            snapshot: provider.snapshot(), prefix: ["ambrotype"], origin: { .environment($0.environmentName) })
    }

    /// What a variable that stands for one name of a table, now or before it was renamed, must be instead.
    private static func tableVariable(for variable: String) -> String? {
        let renamed = Setting.renamed.first { Setting.environmentName(of: $0.key) == variable }?.value
        for table in Setting.all where table.isTable {
            for entry in table.entries where entry.key == renamed || entry.environmentName == variable {
                let name = entry.key.dropFirst(table.key.count + 1)
                return "; it is a part of another: \(table.environmentName)=\(name)=VALUE"
            }
        }
        return nil
    }

    /// What was given as text, as the provider takes it: a table's `NAME=VALUE,NAME=VALUE` becomes a variable for
    /// each name. Items are parted as those of lists are: at every comma, and without the spaces around them.
    private static func variables(
        _ given: [(Setting, String)], from origin: (Setting) -> SettingOrigin, _ problems: inout [String]
    ) -> [String: String] {
        var variables: [String: String] = [:]
        for (setting, text) in given {
            guard case .table = setting.kind else {
                variables[setting.environmentName] = text
                continue
            }
            let entries = Dictionary(uniqueKeysWithValues: setting.entries.map { ($0.key, $0) })
            for item in text.split(separator: ",", omittingEmptySubsequences: false) {
                var item = item.drop { $0.isWhitespace }
                while item.last?.isWhitespace == true { item.removeLast() }
                let parts = item.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
                guard parts.count == 2 else {
                    let problem = ValueProblem(
                        setting: setting, origin: origin(setting), given: String(item), what: "it is no NAME=VALUE")
                    problems.append(problem.description)
                    continue
                }
                let key = "\(setting.key).\(parts[0])"
                guard let entry = entries[key] else {
                    problems.append(
                        "\(key) (\(origin(setting))): there is no such setting"
                            + suggestion(for: key, among: entries.keys.sorted()))
                    continue
                }
                if variables.updateValue(String(parts[1]), forKey: entry.environmentName) != nil {
                    problems.append("\(key) (\(origin(setting))): it stands twice")
                }
            }
        }
        return variables
    }

    private static func fileLayer(_ path: String, _ problems: inout [String]) throws -> SettingLayer {
        let content: [UInt8]
        do {
            content = try SmallFile.read(path)
        } catch {
            throw ConfigurationError(["\(error)"])
        }
        do {
            guard let text = String(validating: content, as: UTF8.self) else {
                throw ConfigurationError(["\(path) is not UTF-8"])
            }
            guard let root = try Yams.compose(yaml: text), !isEmpty(root) else {
                return SettingLayer(
                    snapshot: InMemoryProvider(values: [:]).snapshot(), prefix: [], origin: { _ in .file(path) })
            }
            guard root.mapping != nil else {
                throw ConfigurationError(["\(path) must hold settings as NAME: VALUE"])
            }
            problems += unknownNames(in: root, path: path)
            let snapshot = try YAMLSnapshot(
                data: content.span.bytes, providerName: path, parsingOptions: .init(secretsSpecifier: .all))
            return SettingLayer(snapshot: snapshot, prefix: [], origin: { _ in .file(path) })
        } catch let error as YamlError {
            throw ConfigurationError(["\(path): \(error.place)"])
        } catch let error as ConfigurationError {
            throw problems.isEmpty ? error : ConfigurationError(problems + error.problems)
        } catch {
            // What is left is a shape that no setting has: a list of lists, say.
            throw ConfigurationError(problems.isEmpty ? ["\(path): \(error)"] : problems)
        }
    }

    /// A file of comments alone is a null.
    private static func isEmpty(_ node: Node) -> Bool { node.scalar?.string.isEmpty == true }

    private static func unknownNames(in root: Node, path: String) -> [String] {
        let keys = Set(Setting.all.flatMap(\.entries).map(\.key))
        let known = keys.union(Setting.all.map(\.key)).sorted()
        var problems: [String] = []
        func visit(_ node: Node, _ name: String) {
            if keys.contains(name) {
                if node.mapping != nil { problems.append("\(name) (\(path)): it has a value, not settings of its own") }
                return
            }
            let isGroup = name.isEmpty || keys.contains { $0.hasPrefix(name + ".") }
            guard isGroup else {
                let hint = Setting.renamed[name].map { "; it is called \($0) now" }
                problems.append(
                    "\(name) (\(path)): there is no such setting" + (hint ?? suggestion(for: name, among: known)))
                return
            }
            if let mapping = node.mapping {
                for (key, value) in mapping {
                    visit(value, name.isEmpty ? key.string ?? "?" : name + "." + (key.string ?? "?"))
                }
            } else if !isEmpty(node) {
                let members = keys.filter { $0.hasPrefix(name + ".") }.sorted()
                problems.append("\(name) (\(path)): it is a group of settings: \(members.joined(separator: ", "))")
            }
        }
        visit(root, "")
        return problems
    }

    private static func suggestion(for name: String, among known: [String]) -> String {
        let near = known.map { (name: $0, distance: EditDistance.between(name, $0)) }.min { $0.distance < $1.distance }
        guard let near, near.distance <= max(2, name.count / 5) else { return "; ambrotype config lists them" }
        return "; did you mean \(near.name)?"
    }
}

/// One source, asked for one setting at a time.
private struct SettingLayer {
    let snapshot: any ConfigSnapshot
    let prefix: [String]
    let origin: (Setting) -> SettingOrigin

    /// Nil when the source does not have the value.
    /// - Parameters:
    ///   - setting: an entry of `whole`.
    ///   - whole: the setting as the source has it.
    /// - Throws: `ValueProblem`.
    func value(of setting: Setting, in whole: Setting) throws -> ResolvedSettings.Entry? {
        let key = AbsoluteConfigKey(prefix + setting.key.split(separator: ".").map(String.init))
        let origin = origin(whole)
        let result: LookupResult
        do {
            result = try snapshot.value(forKey: key, type: setting.kind.configType)
        } catch {
            throw ValueProblem(setting: setting, origin: origin, given: nil, what: "the value has the wrong type")
        }
        guard let content = result.value?.content else { return nil }
        let value: SettingValue =
            switch content {
            case .string(let text): .text(text)
            case .int(let number): .integer(number)
            case .bool(let flag): .flag(flag)
            case .stringArray(let items): .list(items)
            default: preconditionFailure("no setting asks for \(content)")
            }
        if let what = setting.objection(to: value) {
            throw ValueProblem(setting: setting, origin: origin, given: value.display, what: what)
        }
        return .init(value: value, origin: origin)
    }
}

private struct ValueProblem: Error, CustomStringConvertible {
    let setting: Setting
    let origin: SettingOrigin
    let given: String?
    let what: String

    var description: String {
        let value = setting.isSecret ? nil : given.map { " '\($0)'" }
        return "\(setting.key)\(value ?? "") (\(origin)): \(what); allowed: \(setting.allowed)"
    }
}

extension Setting.Kind {
    fileprivate var configType: ConfigType {
        switch self {
        case .text, .path, .address, .url, .choice: .string
        case .integer: .int
        case .flag: .bool
        case .list: .stringArray
        case .table: preconditionFailure("a table is read by its entries")
        }
    }
}

extension Setting {
    /// What is wrong with a value of the right type; nil when nothing is.
    fileprivate func objection(to value: SettingValue) -> String? {
        switch (kind, value) {
        case (.integer(let range), .integer(let number)): range.contains(number) ? nil : "it is out of range"
        case (.choice(let known), .text(let text)): known.contains(text) ? nil : "there is no such choice"
        case (.address, .text(let text)): ListenAddress(text) == nil ? "it is no address" : nil
        case (.url, .text(let text)): ServiceURL.isValid(text) ? nil : "it is no such URL"
        case (_, .text(let text)):
            if text.isEmpty {
                "it is empty; leave the setting out instead"
            } else if text.unicodeScalars.contains(where: { $0.value < 0x20 || $0.value == 0x7f }) {
                "it has a control character"
            } else {
                nil
            }
        case (_, .list(let items)): items.isEmpty || items.contains("") ? "it has an empty item or none" : nil
        default: nil
        }
    }
}

extension YamlError {
    /// Where and what, without the text around it, which may be a password.
    var place: String {
        switch self {
        case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
            .composer(_, let problem, let mark, _):
            "line \(mark.line), column \(mark.column): \(problem)"
        case .duplicatedKeysInMapping(let duplicates, _):
            "a name stands twice: \(duplicates.joined(separator: ", "))"
        default: "it is not YAML"
        }
    }
}

enum EditDistance {
    /// How many characters must be inserted, removed or changed (Levenshtein).
    static func between(_ a: String, _ b: String) -> Int {
        let b = Array(b.lowercased())
        var row = Array(0...b.count)
        for (i, character) in a.lowercased().enumerated() {
            var diagonal = row[0]
            row[0] = i + 1
            for j in b.indices {
                let change = diagonal + (character == b[j] ? 0 : 1)
                diagonal = row[j + 1]
                row[j + 1] = min(change, row[j] + 1, row[j + 1] + 1)
            }
        }
        return row[b.count]
    }
}
