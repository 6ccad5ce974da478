import Core
import Trust

/// One thing an operator can decide. The table `Setting.all` is the only list of them: what is read,
/// what `ambrotype config` prints, and the README's table all come from it.
package struct Setting: Sendable {
    package indirect enum Kind: Sendable {
        case text
        /// A file or directory; a relative one is relative to where the program was started.
        case path
        /// `HOST:PORT`; port 0 lets the system choose.
        case address
        /// `http://…` or `https://…`, without query.
        case url
        case integer(ClosedRange<Int>)
        case flag
        case choice([String])
        case list
        /// Fixed names, each with a value of its own, of any kind but a list or a table. A mapping in the file,
        /// `NAME=VALUE,NAME=VALUE` in the environment and on the command line.
        case table([Column])

        /// A table whose values are all of one kind.
        static func table(keys: [String], of kind: Kind) -> Kind { .table(keys.map { Column($0, kind) }) }
    }

    /// One name of a table.
    package struct Column: Sendable {
        package let name: String
        package let kind: Kind

        init(_ name: String, _ kind: Kind) {
            self.name = name
            self.kind = kind
        }
    }

    /// As it stands in the file: groups and name, joined with dots.
    package let key: String
    package let kind: Kind
    /// Nil when there is none, or when it follows from other settings (then `defaultNote` says how).
    package let defaultValue: SettingValue?
    package let defaultNote: String?
    /// Of a table, by name.
    private let defaults: [String: SettingValue]
    /// One line for tables.
    package let summary: String
    /// Whether the value must never be shown.
    package let isSecret: Bool

    package init(
        _ key: String, _ kind: Kind, default defaultValue: SettingValue? = nil,
        defaults: [String: SettingValue] = [:], note: String? = nil, isSecret: Bool = false, _ summary: String
    ) {
        self.key = key
        self.kind = kind
        self.defaultValue = defaultValue
        self.defaults = defaults
        defaultNote = note
        self.isSecret = isSecret
        self.summary = summary
    }

    /// What has one value: of a table a setting for each name, called by the table's key and the name.
    package var entries: [Setting] {
        guard case .table(let columns) = kind else { return [self] }
        return columns.map {
            Setting("\(key).\($0.name)", $0.kind, default: defaults[$0.name], isSecret: isSecret, summary)
        }
    }

    package var isTable: Bool { if case .table = kind { true } else { false } }

    /// `AMBROTYPE_` and the key in upper case, with underscores for dots. Of an entry of a table it is no variable
    /// that anybody sets.
    package var environmentName: String { Self.environmentName(of: key) }

    package static func environmentName(of key: String) -> String {
        environmentPrefix + String(key.map { $0 == "." || $0 == "-" ? "_" : $0 }).uppercased()
    }

    package static let environmentPrefix = "AMBROTYPE_"

    /// What values there may be, in words.
    package var allowed: String { kind.allowed }
}

extension Setting.Kind {
    package var allowed: String {
        switch self {
        case .text: "any text"
        case .path: "a path"
        case .address: "HOST:PORT, such as 127.0.0.1:9292 or [::1]:9292"
        case .url: "a URL that begins with http:// or https://"
        case .integer(let range):
            range.upperBound == .max
                ? "a whole number from \(range.lowerBound)" : "\(range.lowerBound) to \(range.upperBound)"
        case .flag: "true or false"
        case .choice(let values): values.joined(separator: ", ")
        case .list: "a list"
        case .table(let columns):
            if let kind = columns.first?.kind.allowed, columns.allSatisfy({ $0.kind.allowed == kind }) {
                "NAME=VALUE,NAME=VALUE with the names \(columns.map(\.name).joined(separator: ", ")); a value is \(kind)"
            } else {
                "NAME=VALUE,NAME=VALUE with the names "
                    + columns.map { "\($0.name) (\($0.kind.allowed))" }.joined(separator: ", ")
            }
        }
    }
}

package enum SettingValue: Sendable, Equatable {
    case text(String)
    case integer(Int)
    case flag(Bool)
    case list([String])

    /// As a person would write it.
    package var display: String {
        switch self {
        case .text(let text): text
        case .integer(let number): String(number)
        case .flag(let flag): flag ? "true" : "false"
        case .list(let items): items.joined(separator: ",")
        }
    }
}

extension Setting {
    package static let dataDirectory = Setting(
        "data_dir", .path, default: .text("/var/lib/ambrotype"), "Directory that everything is kept under.")
    package static let listen = Setting(
        "listen", .address, default: .text("127.0.0.1:9292"),
        "Address of the main listener, where every service answers.")
    package static let allowInsecureListen = Setting(
        "allow_insecure_listen", .flag, default: .flag(false),
        "Let Identity and the key manager listen beyond the loopback without TLS: passwords and secrets then cross the "
            + "network in clear.")
    package static let listeners = Setting(
        "listeners", .table(keys: ServiceType.allCases.map(\.rawValue), of: .address),
        "An address of its own for a service, which stands at its root.")
    package static let publicEndpoints = Setting(
        "public_endpoints", .table(keys: ServiceType.allCases.map(\.rawValue), of: .url),
        "A service's URL as clients reach it, without the version; for the catalogue and links.")
    package static let shutdownDeadline = Setting(
        "shutdown_deadline_seconds", .integer(0...3600), default: .integer(30),
        "How long running requests may take to end after a signal to stop.")
    package static let idleTimeout = Setting(
        "idle_timeout_seconds", .integer(5...3600), default: .integer(75),
        "A connection on which nothing has moved for so long is closed; other limits follow (docs/operating.md).")
    package static let tls = Setting(
        "tls", .table(keys: ["certificate", "key"], of: .path),
        "PEM files: the certificate with its chain, and its private key. Both together turn TLS on.")
    package static let crossOrigins = Setting(
        "cors_origins", .list, note: "none",
        "Origins whose pages may call the services from a browser, such as https://dashboard.example.")
    package static let logLevel = Setting(
        "log.level", .choice(["trace", "debug", "info", "notice", "warning", "error", "critical"]),
        default: .text("info"), "The least severe messages that are logged.")
    package static let logFormat = Setting(
        "log.format", .choice(["auto", "text", "json"]), default: .text("auto"),
        "How log lines look; auto is text on a terminal and JSON otherwise.")
    package static let audit = Setting(
        "audit", .table([Column("file", .path), Column("webhook", .url)]),
        "Record every call that may change something: in a file, and at a URL that its lines are posted to "
            + "(docs/operating.md).")
    package static let metricsEnabled = Setting(
        "metrics.enabled", .flag, default: .flag(true), "Serve GET /metrics on the main listener.")

    package static let identityMode = Setting(
        "identity.mode", .choice(["embedded", "keystone"]), default: .text("embedded"),
        "Who proves tokens: the Identity service in this program, or a Keystone.")
    package static let identityRegion = Setting(
        "identity.region", .text, default: .text("RegionOne"), "The region of the catalogue's endpoints.")
    package static let identityTokenLifetime = Setting(
        "identity.token_lifetime_seconds", .integer(60...604_800), default: .integer(3600),
        "How long new tokens are valid.")

    package static let keystoneAuthURL = Setting(
        "keystone.auth_url", .url, "The Keystone that proves tokens, for identity.mode keystone.")
    package static let keystoneUsername = Setting(
        "keystone.username", .text, "This service's own user there.")
    package static let keystonePassword = Setting(
        "keystone.password", .text, isSecret: true, "That user's password; or name a file with it.")
    package static let keystonePasswordFile = Setting(
        "keystone.password_file", .path, "File whose first line is that user's password.")
    package static let keystoneProject = Setting(
        "keystone.project", .text, default: .text("service"), "The project that user works in.")
    package static let keystoneUserDomain = Setting(
        "keystone.user_domain", .text, default: .text("Default"), "The name of the user's domain.")
    package static let keystoneProjectDomain = Setting(
        "keystone.project_domain", .text, default: .text("Default"), "The name of the project's domain.")
    package static let keystoneCache = Setting(
        "keystone.cache_seconds", .integer(0...60), default: .integer(60),
        "How long a token found valid is believed; a revocation is noticed at most so much later.")

    package static let imageEnabled = Setting(
        "image.enabled", .flag, default: .flag(true), "Serve the Image API.")
    package static let imageStores = Setting(
        "image.stores", .list, note: "local:<data_dir>/stores/local",
        "Where image data lives: NAME:DIRECTORY, one or more, and at most one NAME:http for what other servers keep; "
            + "with options ;weight=10;description=TEXT;read_only=true. The first takes the uploads that name none.")
    package static let imageRecycleBin = Setting(
        "image.recycle_bin_seconds", .integer(0...31_622_400), default: .integer(0),
        "How long a deleted image can be had back by the operator; 0 is not at all.")
    package static let imageHashAlgorithm = Setting(
        "image.hash_algorithm", .choice(DigestAlgorithm.allCases.map(\.rawValue)), default: .text("sha512"),
        "The digest kept as os_hash_value of new uploads.")
    package static let imageQuota = Setting(
        "image.quota",
        .table(
            [Column("source", .choice(["settings", "identity"]))]
                + ["count", "bytes", "uploading", "properties", "tags", "members"].map {
                    Column($0, .integer(-1...Int.max))
                }
                + [Column("image_bytes", .integer(1...Int.max)), Column("list", .integer(1...10_000))]),
        defaults: [
            "source": .text("settings"), "count": .integer(-1), "bytes": .integer(-1), "uploading": .integer(-1),
            "properties": .integer(128), "tags": .integer(128), "members": .integer(128),
            "image_bytes": .integer(1 << 40), "list": .integer(1000),
        ],
        "Images, bytes and uploads at once a project may have (or, source=identity, as the limits registered in Identity "
            + "say); properties, tags, members and bytes an image; images a page of a list; -1 is no limit.")
    package static let imageVerification = Setting(
        "image.verification",
        .table([
            Column("chains", .choice(SignatureSettings.Chains.allCases.map(\.rawValue))),
            Column("trusted_certificates", .path), Column("require_signed", .flag),
            Column("require_signed_projects", .text),
            Column("downloads", .choice(SignatureSettings.CheckedDownloads.allCases.map(\.rawValue))),
            Column("format_match", .flag), Column("partition_tables", .flag), Column("secure_hash", .flag),
            Column("show_locations", .flag), Column("show_direct_url", .flag),
        ]),
        defaults: [
            "chains": .text("warn"), "require_signed": .flag(false), "downloads": .text("signed"),
            "format_match": .flag(true), "partition_tables": .flag(true), "secure_hash": .flag(true),
            "show_locations": .flag(false), "show_direct_url": .flag(false),
        ],
        "What image data has to prove: signers (docs/signing.md), formats (docs/inspection.md), digests of locations; and "
            + "whether images show where it is (docs/stores.md).")
    package static let imageImport = Setting(
        "image.import",
        .table(
            ImportMethod.allCases.map { Column($0.settingName, .flag) }
                + [
                    Column("task_hours", .integer(1...8760)), Column("plugins", .text),
                    Column("convert_to", .choice(ConversionTarget.allCases.map(\.rawValue))),
                    Column("inject", .text), Column("inject_ignored_roles", .text),
                    Column("copied_properties", .text),
                ] + EgressSettings.keys.map { Column($0, .text) }),
        defaults: [
            "glance_direct": .flag(true), "web_download": .flag(true), "copy_image": .flag(true),
            "glance_download": .flag(false),
            "copied_properties": .text(ImportSettings().copiedProperties.joined(separator: " ")),
            "task_hours": .integer(48), "convert_to": .text("raw"), "inject_ignored_roles": .text("admin"),
        ],
        "The import methods that there are, how long a task that ended can be looked at, what is done to what comes in "
            + "(docs/import-plugins.md), and what may be fetched (docs/fetching.md).")
    package static let imageCache = Setting(
        "image.cache",
        .table([Column("directory", .path), Column("bytes", .integer(1...Int.max)), Column("stores", .text)]),
        defaults: ["bytes": .integer(10 << 30)],
        "A directory for copies of images, how many bytes they may have together, and the stores, parted by spaces, whose "
            + "images are cached when they are downloaded (docs/operating.md). Without a directory nothing is cached.")
    package static let imageSchemaFile = Setting(
        "image.schema_file", .path, note: "built in",
        "JSON file with the typed common properties (schema-image.json).")
    package static let imagePolicyFile = Setting(
        "image.policy_file", .path, note: "built in",
        "YAML file with rules that replace defaults, and with property protections (docs/policy.md).")
    package static let imageUploadBuffer = Setting(
        "image.upload_buffer_bytes", .integer(16 << 20...64 << 30), default: .integer(96 << 20),
        "Memory that all uploads together may use as buffers.")
    package static let imageLease = Setting(
        "image.lease_seconds", .integer(5...3600), default: .integer(30),
        "How long after its server's last sign of life an upload or a job is given up.")

    package static let keysMode = Setting(
        "keys.mode", .choice(["embedded", "barbican", "off"]), default: .text("embedded"),
        "Who keeps keys: the key manager in this program, a Barbican, or nobody.")
    package static let keysBarbicanURL = Setting(
        "keys.barbican_url", .url,
        "The Barbican, for keys.mode barbican; without it, its URL is taken from Keystone's catalogue.")
    package static let keysRetention = Setting(
        "keys.retention_seconds", .integer(0...31_622_400), default: .integer(604_800),
        "How long a deleted key can be had back by the operator.")
    package static let keysMasterKeyFile = Setting(
        "keys.master_key_file", .path, note: "<data_dir>/master-keys",
        "File with the keys that wrap all others; keep a copy of it apart from the database.")

    package static let all: [Setting] = [
        dataDirectory, listen, allowInsecureListen, listeners, publicEndpoints, shutdownDeadline, idleTimeout,
        tls, crossOrigins, logLevel, logFormat, metricsEnabled, audit,
        identityMode, identityRegion, identityTokenLifetime,
        keystoneAuthURL, keystoneUsername, keystonePassword, keystonePasswordFile, keystoneProject,
        keystoneUserDomain, keystoneProjectDomain, keystoneCache,
        imageEnabled, imageStores, imageRecycleBin, imageHashAlgorithm, imageVerification, imageQuota, imageImport,
        imageCache, imageSchemaFile, imagePolicyFile, imageUploadBuffer, imageLease,
        keysMode, keysBarbicanURL, keysRetention, keysMasterKeyFile,
    ]

    /// What settings were called in earlier versions, and what became of them. Old names are not obeyed: the
    /// problem that names one says the new one.
    package static let renamed = [
        "identity.listen": "listeners.identity",
        "identity.public_endpoint": "public_endpoints.identity",
        "image.listen": "listeners.image",
        "image.public_endpoint": "public_endpoints.image",
        "image.size_cap_bytes": "image.quota.image_bytes",
        "image.list_limit_max": "image.quota.list",
    ]
}
