import Core

extension ServerSettings {
    /// One of `image.stores`: `NAME:DIRECTORY`, or `NAME:http` for what other servers keep; then options, each behind a
    /// semicolon: `weight=10`, `description=Fast disks`, `read_only=true`.
    package struct StoreChoice: Sendable, Equatable {
        package enum Place: Sendable, Equatable {
            /// Absolute.
            case directory(String)
            case http
        }
        package let id: StoreID
        package let place: Place
        package var weight = 0
        package var description: String?
        package var isReadOnly = false

        package init(id: StoreID, place: Place) {
            self.id = id
            self.place = place
            if place == .http { isReadOnly = true }
        }

        package init(id: StoreID, directory: String) { self.init(id: id, place: .directory(directory)) }

        package var traits: StoreTraits {
            let kind: StoreTraits.Kind =
                switch place {
                case .directory(let path): .file(directory: path)
                case .http: .http
                }
            return StoreTraits(kind: kind, weight: weight, description: description, isReadOnly: isReadOnly)
        }
    }
}

extension ServerSettings.StoreChoice {
    /// The store there is when none is configured.
    package static func local(under dataDirectory: String) -> Self {
        Self(id: "local", directory: dataDirectory + "/stores/local")
    }

    /// What is wrong with a store's text, and what is allowed.
    struct Flaw: Error { let text: String }

    static let weights = -1_000_000...1_000_000

    /// - Throws: `Flaw`.
    init(parsing text: String) throws(Flaw) {
        let parts = text.split(separator: ";", omittingEmptySubsequences: false)
        let head = parts[0].split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        guard head.count == 2, !head[1].isEmpty, (1...64).contains(head[0].utf8.count),
            head[0].utf8.allSatisfy({ Self.isNameByte($0) })
        else {
            throw Flaw(
                text:
                    "it is no store; allowed: NAME:DIRECTORY or NAME:http, the name of letters, digits, - and _, then "
                    + "options such as ;weight=10")
        }
        guard !head[0].hasPrefix("os_glance_") else {
            throw Flaw(text: "the names os_glance_* are reserved; allowed: any other name")
        }
        let place: Place = head[1] == "http" ? .http : .directory(absolutePath(String(head[1])))
        self.init(id: StoreID(String(head[0])), place: place)
        var seen: Set<Substring> = []
        for option in parts.dropFirst() {
            let pair = option.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard pair.count == 2, seen.insert(pair[0]).inserted else {
                throw Flaw(text: "'\(option)' is no option, or stands twice; allowed: \(Self.options)")
            }
            try set(String(pair[0]), String(pair[1]))
        }
    }

    private static let options = "weight=NUMBER, description=TEXT, read_only=true or false"

    private mutating func set(_ name: String, _ value: String) throws(Flaw) {
        switch name {
        case "weight":
            guard let number = Int(value), Self.weights.contains(number) else {
                throw Flaw(
                    text: "the weight '\(value)' is no number; allowed: \(Self.weights.lowerBound) to "
                        + "\(Self.weights.upperBound)")
            }
            weight = number
        case "description":
            guard (1...255).contains(value.unicodeScalars.count) else {
                throw Flaw(text: "the description is empty or too long; allowed: 1 to 255 characters")
            }
            description = value
        case "read_only":
            guard let flag = ["true": true, "false": false][value] else {
                throw Flaw(text: "read_only is '\(value)'; allowed: true or false")
            }
            guard flag || place != .http else { throw Flaw(text: "a store of the kind http is always read-only") }
            isReadOnly = flag
        default:
            throw Flaw(text: "there is no option '\(name)'; allowed: \(Self.options)")
        }
    }

    private static func isNameByte(_ byte: UInt8) -> Bool {
        (48...57).contains(byte) || (97...122).contains(byte | 0x20) || byte == UInt8(ascii: "-")
            || byte == UInt8(ascii: "_")
    }

    /// All of `image.stores`; the first takes the uploads that name none.
    static func all(
        _ resolved: ResolvedSettings, _ dataDirectory: String, _ problems: inout [String]
    ) -> [Self] {
        let key = Setting.imageStores.key
        guard let items = resolved.list(.imageStores) else { return [.local(under: dataDirectory)] }
        var stores: [Self] = []
        for item in items {
            do {
                let store = try Self(parsing: item)
                if let problem = store.clash(with: stores) {
                    problems.append("\(key): \(problem)")
                } else {
                    stores.append(store)
                }
            } catch {
                problems.append("\(key) '\(item)': \(error.text)")
            }
        }
        if let first = stores.first, first.isReadOnly {
            problems.append(
                "\(key): the first store takes the uploads that name none, and '\(first.id)' is read-only; allowed: a "
                    + "store that can be written to")
        }
        return stores
    }

    private func clash(with others: [Self]) -> String? {
        if others.contains(where: { $0.id == id }) { return "two stores are called \(id)" }
        guard others.contains(where: { $0.place == place }) else { return nil }
        switch place {
        case .directory(let path): return "two stores are in \(path)"
        case .http: return "two stores are of the kind http; there can be one"
        }
    }
}
