import Trust

/// One thing an operator can decide. The table `Setting.all` is the only list of them: what is read,
/// what `ambrotype config` prints, and the README's table all come from it.
package struct Setting: Sendable {
    package enum Kind: Sendable {
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
    }

    /// As it stands in the file: groups and name, joined with dots.
    package let key: String
    package let kind: Kind
    /// Nil when there is none, or when it follows from other settings (then `defaultNote` says how).
    package let defaultValue: SettingValue?
    package let defaultNote: String?
    /// One line for tables.
    package let summary: String
    /// Whether the value must never be shown.
    package let isSecret: Bool

    package init(
        _ key: String, _ kind: Kind, default defaultValue: SettingValue? = nil, note: String? = nil,
        isSecret: Bool = false, _ summary: String
    ) {
        self.key = key
        self.kind = kind
        self.defaultValue = defaultValue
        defaultNote = note
        self.isSecret = isSecret
        self.summary = summary
    }

    /// `AMBROTYPE_` and the key in upper case, with underscores for dots.
    package var environmentName: String {
        Self.environmentPrefix + String(key.map { $0 == "." ? "_" : $0 }).uppercased()
    }

    package static let environmentPrefix = "AMBROTYPE_"

    /// What values there may be, in words.
    package var allowed: String {
        switch kind {
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
        "Let the embedded Identity listen beyond the loopback without TLS: passwords then cross the network in clear.")
    package static let shutdownDeadline = Setting(
        "shutdown_deadline_seconds", .integer(0...3600), default: .integer(30),
        "How long running requests may take to end after a signal to stop.")
    package static let idleTimeout = Setting(
        "idle_timeout_seconds", .integer(5...3600), default: .integer(75),
        "A connection on which nothing has moved for so long is closed.")
    package static let tlsCertificate = Setting(
        "tls.certificate", .path, "PEM file with the certificate and its chain; with tls.key it turns TLS on.")
    package static let tlsKey = Setting("tls.key", .path, "PEM file with the certificate's private key.")
    package static let logLevel = Setting(
        "log.level", .choice(["trace", "debug", "info", "notice", "warning", "error", "critical"]),
        default: .text("info"), "The least severe messages that are logged.")
    package static let logFormat = Setting(
        "log.format", .choice(["auto", "text", "json"]), default: .text("auto"),
        "How log lines look; auto is text on a terminal and JSON otherwise.")
    package static let metricsEnabled = Setting(
        "metrics.enabled", .flag, default: .flag(true), "Serve GET /metrics on the main listener.")

    package static let identityMode = Setting(
        "identity.mode", .choice(["embedded", "keystone"]), default: .text("embedded"),
        "Who proves tokens: the Identity service in this program, or a Keystone.")
    package static let identityListen = Setting(
        "identity.listen", .address, "An address of its own for Identity, which stands at its root.")
    package static let identityPublicEndpoint = Setting(
        "identity.public_endpoint", .url,
        "Identity's URL as clients reach it, without /v3; for the catalogue and links.")
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
    package static let imageListen = Setting(
        "image.listen", .address, "An address of its own for the Image API, which stands at its root.")
    package static let imagePublicEndpoint = Setting(
        "image.public_endpoint", .url,
        "The Image API's URL as clients reach it, without /v2; for the catalogue and links.")
    package static let imageStores = Setting(
        "image.stores", .list, note: "local:<data_dir>/stores/local",
        "Where image data lives: NAME:DIRECTORY, one or more; the first takes the uploads that name none.")
    package static let imageRecycleBin = Setting(
        "image.recycle_bin_seconds", .integer(0...31_622_400), default: .integer(0),
        "How long a deleted image can be had back by the operator; 0 is not at all.")
    package static let imageHashAlgorithm = Setting(
        "image.hash_algorithm", .choice(DigestAlgorithm.allCases.map(\.rawValue)), default: .text("sha512"),
        "The digest kept as os_hash_value of new uploads.")
    package static let imageQuotaCount = quota("count", -1, "Images a project may have")
    package static let imageQuotaBytes = quota("bytes", -1, "Bytes of image data a project may have")
    package static let imageQuotaUploading = quota("uploading", -1, "Uploads a project may have under way at once")
    package static let imageQuotaProperties = quota("properties", 128, "Properties an image may have")
    package static let imageQuotaTags = quota("tags", 128, "Tags an image may have")
    package static let imageQuotaMembers = quota("members", 128, "Members an image may have")
    package static let imageSizeCap = Setting(
        "image.size_cap_bytes", .integer(1...Int.max), default: .integer(1 << 40), "The largest image there may be.")
    package static let imageListLimitMax = Setting(
        "image.list_limit_max", .integer(1...10_000), default: .integer(1000),
        "The most images one page of a list holds.")
    package static let imageSchemaFile = Setting(
        "image.schema_file", .path, note: "built in",
        "JSON file with the typed common properties (schema-image.json).")
    package static let imageUploadBuffer = Setting(
        "image.upload_buffer_bytes", .integer(16 << 20...64 << 30), default: .integer(96 << 20),
        "Memory that all uploads together may use as buffers.")
    package static let imageLease = Setting(
        "image.lease_seconds", .integer(5...3600), default: .integer(30),
        "How long after its server's last sign of life an upload or a job is given up.")

    private static func quota(_ name: String, _ value: Int, _ what: String) -> Setting {
        Setting("image.quota." + name, .integer(-1...Int.max), default: .integer(value), what + "; -1 is no limit.")
    }

    package static let all: [Setting] = [
        dataDirectory, listen, allowInsecureListen, shutdownDeadline, idleTimeout, tlsCertificate, tlsKey, logLevel,
        logFormat, metricsEnabled,
        identityMode, identityListen, identityPublicEndpoint, identityRegion, identityTokenLifetime,
        keystoneAuthURL, keystoneUsername, keystonePassword, keystonePasswordFile, keystoneProject,
        keystoneUserDomain, keystoneProjectDomain, keystoneCache,
        imageEnabled, imageListen, imagePublicEndpoint, imageStores, imageRecycleBin, imageHashAlgorithm,
        imageQuotaCount, imageQuotaBytes, imageQuotaUploading, imageQuotaProperties, imageQuotaTags,
        imageQuotaMembers, imageSizeCap, imageListLimitMax, imageSchemaFile, imageUploadBuffer, imageLease,
    ]
}
