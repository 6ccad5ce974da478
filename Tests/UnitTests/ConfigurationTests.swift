import Core
import Foundation
import Logging
import Server
import Testing
import Trust

@Suite struct ConfigurationTests {
    /// Reads settings as `serve` does.
    private static func settings(
        file: String? = nil, environment: [String: String] = [:], commandLine: [String: String] = [:]
    ) throws -> ServerSettings {
        try ServerSettings(resolve(file: file, environment: environment, commandLine: commandLine))
    }

    private static func resolve(
        file: String? = nil, environment: [String: String] = [:], commandLine: [String: String] = [:]
    ) throws -> ResolvedSettings {
        guard let file else {
            return try SettingSources(environment: environment, commandLine: commandLine).resolve()
        }
        let path = NSTemporaryDirectory() + "ambrotype-\(UUID().uuidString).yaml"
        try file.write(toFile: path, atomically: false, encoding: .utf8)
        defer { unlink(path) }
        return try SettingSources(file: path, environment: environment, commandLine: commandLine).resolve()
    }

    private static func problems(_ file: String?, _ environment: [String: String] = [:]) -> [String] {
        do {
            _ = try settings(file: file, environment: environment)
            return []
        } catch let error as ConfigurationError {
            return error.problems
        } catch {
            return ["not a ConfigurationError: \(error)"]
        }
    }

    struct Wrong: Sendable, CustomStringConvertible {
        let text: String
        /// Parts of the one problem that must be told.
        let told: [String]
        var environment: [String: String] = [:]
        var description: String { text + environment.map { "\($0.key)=\($0.value)" }.joined() }

        init(_ text: String, _ told: String...) {
            self.text = text
            self.told = told
        }

        init(_ name: String, _ value: String, in environment: Void = (), told: [String]) {
            text = ""
            self.told = told
            self.environment = [name: value]
        }
    }

    private static let keystone =
        "identity: {mode: keystone}\nkeystone: {auth_url: 'http://k', username: u, password: p}\n"

    static let wrong: [Wrong] = [
        Wrong("colour: blue", "colour", "no such setting"),
        Wrong("image:\n  qouta:\n    count: 1", "image.qouta", "no such setting"),
        Wrong("image:\n  quota:\n    counts: 1", "image.quota.counts", "did you mean image.quota.count?"),
        Wrong("image: on", "image", "group of settings"),
        Wrong("listen:\n  port: 80", "listen", "has a value"),
        Wrong("listen: nowhere", "listen 'nowhere'", "HOST:PORT"),
        Wrong("listen: 127.0.0.1:70000", "listen", "HOST:PORT"),
        Wrong("listen: 127.0.0.1:-1", "listen", "HOST:PORT"),
        Wrong("listen: '[127.0.0.1]:80'", "listen", "HOST:PORT"),
        Wrong("listen: 'a b:80'", "listen", "HOST:PORT"),
        Wrong("listen: ''", "listen", "HOST:PORT"),
        Wrong("data_dir: ''", "data_dir", "empty"),
        Wrong("data_dir: \"a\\nb\"", "data_dir", "control character"),
        Wrong("shutdown_deadline_seconds: soon", "shutdown_deadline_seconds", "0 to 3600"),
        Wrong("shutdown_deadline_seconds: -1", "shutdown_deadline_seconds '-1'", "out of range", "0 to 3600"),
        Wrong("shutdown_deadline_seconds: [1]", "shutdown_deadline_seconds", "0 to 3600"),
        Wrong("idle_timeout_seconds: 1.5", "idle_timeout_seconds", "5 to 3600"),
        Wrong("idle_timeout_seconds: 99999999999999999999", "idle_timeout_seconds", "5 to 3600"),
        Wrong("log:\n  level: loud", "log.level 'loud'", "trace, debug, info"),
        Wrong("log:\n  format: xml", "log.format 'xml'", "auto, text, json"),
        Wrong("metrics:\n  enabled: perhaps", "metrics.enabled", "true or false"),
        Wrong("identity:\n  mode: ldap", "identity.mode 'ldap'", "embedded, keystone"),
        Wrong("public_endpoints:\n  identity: ftp://x", "public_endpoints.identity 'ftp://x'", "http://"),
        Wrong("public_endpoints:\n  image: https://x/?q=1", "public_endpoints.image", "http://"),
        Wrong("public_endpoint:\n  image: https://x/", "public_endpoint ", "did you mean public_endpoints?"),
        Wrong("listeners:\n  images: 127.0.0.1:1", "listeners.images", "did you mean listeners.image?"),
        Wrong("listeners:\n  key-manager: nowhere", "listeners.key-manager 'nowhere'", "HOST:PORT"),
        Wrong("listeners: 127.0.0.1:1", "listeners", "group of settings", "listeners.key-manager"),
        Wrong("listeners: {image: {port: 1}}", "listeners.image", "has a value"),
        Wrong("identity:\n  token_lifetime_seconds: 1", "identity.token_lifetime_seconds", "60 to 604800"),
        Wrong("keystone:\n  cache_seconds: 61", "keystone.cache_seconds '61'", "0 to 60"),
        Wrong("image:\n  hash_algorithm: crc32", "image.hash_algorithm 'crc32'", "sha512"),
        Wrong("image:\n  quota:\n    bytes: -2", "image.quota.bytes '-2'", "from -1"),
        Wrong("image:\n  quota:\n    bytes: some", "image.quota.bytes", "wrong type", "from -1"),
        Wrong("image:\n  quotas:\n    bytes: 1", "image.quotas", "did you mean image.quota?"),
        Wrong(
            "image:\n  import:\n    plugins: image_unzip", "image.import.plugins 'image_unzip'", "image_decompression"),
        Wrong(
            "image:\n  import:\n    plugins: image_conversion image_conversion", "image.import.plugins", "stands twice"),
        Wrong("image:\n  import:\n    convert_to: vdi", "image.import.convert_to 'vdi'", "qcow2"),
        Wrong("image:\n  import:\n    inject: a=b", "image.import.inject", "inject_image_metadata"),
        Wrong(
            "image:\n  import:\n    plugins: inject_image_metadata\n    inject: a=b; c", "image.import.inject 'c'",
            "NAME=VALUE"),
        Wrong(
            "image:\n  import:\n    plugins: inject_image_metadata\n    inject: a=b; a=c", "image.import.inject",
            "a stands twice"),
        Wrong(
            "image:\n  import:\n    plugins: inject_image_metadata\n    inject: os_glance_x=b", "image.import.inject",
            "the server's own"),
        Wrong(
            "image:\n  import:\n    plugins: inject_image_metadata\n    inject: disk_format=raw",
            "image.import.inject", "the server's own"),
        Wrong("image:\n  quota: bytes=5", "image.quota", "group of settings", "image.quota.bytes"),
        Wrong("image:\n  quota: {list: 0}", "image.quota.list '0'", "1 to 10000"),
        Wrong("image:\n  quota: {source: keystone}", "image.quota.source 'keystone'", "settings, identity"),
        Wrong("image:\n  list_limit_max: 0", "image.list_limit_max", "image.quota.list"),
        Wrong("image:\n  upload_buffer_bytes: 1", "image.upload_buffer_bytes", "out of range"),
        Wrong("image:\n  stores: local", "image.stores", "a list"),
        Wrong("image:\n  stores: []", "image.stores", "a list"),
        Wrong("image:\n  stores: ['local']", "image.stores 'local'", "NAME:DIRECTORY"),
        Wrong("image:\n  stores: ['a/b:/x']", "image.stores 'a/b:/x'", "NAME:DIRECTORY"),
        Wrong("image:\n  stores: ['a:/x', 'a:/y']", "image.stores", "two stores are called a"),
        Wrong("image:\n  stores: ['a:/x', 'b:/x/']", "image.stores", "two stores are in /x"),
        Wrong("image:\n  stores: ['os_glance_tasks_store:/x']", "image.stores", "reserved"),
        Wrong("image:\n  stores: ['a:/x;weight=ten']", "image.stores 'a:/x;weight=ten'", "-1000000 to 1000000"),
        Wrong("image:\n  stores: ['a:/x;weight=1;weight=2']", "image.stores", "stands twice"),
        Wrong("image:\n  stores: ['a:/x;wieght=1']", "image.stores", "there is no option 'wieght'"),
        Wrong("image:\n  stores: ['a:/x;description=']", "image.stores", "1 to 255 characters"),
        Wrong("image:\n  stores: ['a:/x;']", "image.stores", "'' is no option"),
        Wrong("image:\n  stores: ['a:/x;read_only=yes']", "image.stores", "true or false"),
        Wrong("image:\n  stores: ['a:/x', 'b:http;read_only=false']", "image.stores", "always read-only"),
        Wrong("image:\n  stores: ['a:/x', 'b:http', 'c:http']", "image.stores", "there can be one"),
        Wrong("image:\n  stores: ['a:http', 'b:/x']", "image.stores", "'a' is read-only"),
        Wrong("image:\n  stores: ['a:/x;read_only=true']", "image.stores", "'a' is read-only"),
        Wrong("image:\n  recycle_bin_seconds: -1", "image.recycle_bin_seconds '-1'", "0 to"),
        Wrong("image:\n  schema_file: /does/not/exist", "image.schema_file", "No such file"),
        Wrong("tls:\n  certificate: /c.pem", "tls.key", "missing"),
        Wrong("tls:\n  key: /k.pem", "tls.certificate", "missing"),
        Wrong("cors_origins: ['*']", "cors_origins '*'", "scheme://host"),
        Wrong("cors_origins: ['https://a.example/']", "cors_origins 'https://a.example/'", "without a path"),
        Wrong("cors_origins: ['https://A.example']", "cors_origins 'https://A.example'", "lower case"),
        Wrong("listen: 0.0.0.0:9292", "listen '0.0.0.0:9292'", "allow_insecure_listen"),
        Wrong("listeners:\n  identity: 192.0.2.1:5000", "listeners.identity", "passwords", "allow_insecure_listen"),
        Wrong("listeners:\n  key-manager: 192.0.2.1:1", "listeners.key-manager", "secrets", "allow_insecure_listen"),
        Wrong("listeners:\n  image: 127.0.0.1:9292", "listeners.image", "the same address"),
        Wrong(
            "listeners: {image: '127.0.0.1:1', key-manager: '127.0.0.1:1'}", "listeners.key-manager '127.0.0.1:1'",
            "listeners.image has the same address"),
        Wrong(keystone + "listeners: {identity: '127.0.0.1:1'}", "listeners.identity", "no Identity here"),
        Wrong(
            keystone + "public_endpoints: {identity: 'http://x'}", "public_endpoints.identity", "no Identity here"),
        Wrong(
            keystone + "listeners: {key-manager: '192.0.2.1:1'}", "listeners.key-manager", "allow_insecure_listen"),
        Wrong(
            "image: {enabled: false}\nlisteners: {image: '127.0.0.1:1'}", "listeners.image", "no Image API here"),
        Wrong(
            "keys: {mode: off}\nlisteners: {key-manager: '127.0.0.1:1'}", "listeners.key-manager",
            "no key manager here", "keys.mode is off"),
        Wrong("keys: {mode: vault}", "keys.mode 'vault'", "embedded, barbican, off"),
        Wrong("keys: {mode: barbican}", "keys.mode 'barbican'", "needs identity.mode keystone", "owner's project"),
        Wrong("keys: {barbican_url: 'http://b'}", "keys.barbican_url", "keys.mode is embedded"),
        Wrong("keys: {mode: off, barbican_url: 'http://b'}", "keys.barbican_url", "keys.mode is off"),
        Wrong("keys: {mode: off, master_key_file: /k}", "keys.master_key_file", "keys.mode is off"),
        Wrong("keys: {retention_seconds: 31622401}", "keys.retention_seconds '31622401'", "0 to 31622400"),
        Wrong(
            keystone + "keys: {mode: barbican, retention_seconds: 604800}", "keys.retention_seconds",
            "no keys are kept here"),
        Wrong(keystone + "keys: {mode: barbican, master_key_file: /k}", "keys.master_key_file", "no keys are kept"),
        Wrong(
            "identity: {mode: keystone}\nkeystone: {username: u, password: p}", "keystone.auth_url", "missing"),
        Wrong(
            "identity: {mode: keystone}\nkeystone: {auth_url: 'http://k', username: u}", "keystone.password", "missing"),
        Wrong(
            "identity: {mode: keystone}\nkeystone: {auth_url: 'http://k', username: u, password: p, password_file: /f}",
            "keystone.password", "only one"),
        Wrong(
            "identity: {mode: keystone}\nkeystone: {auth_url: 'http://k', username: u, password_file: /does/not/exist}",
            "keystone.password_file", "No such file"),
        Wrong("- a\n- b", "NAME: VALUE"),
        Wrong("listen: 127.0.0.1:1\nlisten: 127.0.0.1:2", "listen"),
        Wrong("a: [", "line"),
        Wrong("AMBROTYPE_COLOUR", "blue", told: ["AMBROTYPE_COLOUR", "no such setting"]),
        Wrong("AMBROTYPE_LOG_LEVLE", "info", told: ["AMBROTYPE_LOG_LEVLE", "did you mean AMBROTYPE_LOG_LEVEL?"]),
        Wrong(
            "AMBROTYPE_IMAGE_QUOTA", "count=many", told: ["image.quota.count", "AMBROTYPE_IMAGE_QUOTA", "from -1"]),
        Wrong(
            "AMBROTYPE_IMAGE_QUOTA", "count=1,bytes=-2",
            told: ["image.quota.bytes '-2'", "AMBROTYPE_IMAGE_QUOTA", "from -1"]),
        Wrong(
            "AMBROTYPE_IMAGE_QUOTA", "counts=1",
            told: ["image.quota.counts (environment AMBROTYPE_IMAGE_QUOTA)", "did you mean image.quota.count?"]),
        Wrong("AMBROTYPE_IMAGE_QUOTA", "5", told: ["image.quota '5'", "NAME=VALUE", "count (", "from -1"]),
        Wrong("AMBROTYPE_IMAGE_QUOTA", "", told: ["image.quota ''", "NAME=VALUE"]),
        Wrong("AMBROTYPE_IMAGE_QUOTA", "tags=1,", told: ["image.quota ''", "NAME=VALUE"]),
        Wrong("AMBROTYPE_IMAGE_QUOTA", "tags=", told: ["image.quota.tags", "from -1"]),
        Wrong("AMBROTYPE_IMAGE_QUOTA", "=1", told: ["image.quota. ", "no such setting"]),
        Wrong("AMBROTYPE_IMAGE_QUOTA", "tags=1,tags=2", told: ["image.quota.tags", "stands twice"]),
        Wrong("AMBROTYPE_LISTENERS", "image=nowhere", told: ["listeners.image 'nowhere'", "HOST:PORT"]),
        Wrong("AMBROTYPE_METRICS_ENABLED", "perhaps", told: ["metrics.enabled", "true or false"]),
        Wrong("AMBROTYPE_LISTEN", "", told: ["listen", "HOST:PORT"]),
    ]

    @Test(arguments: wrong)
    func aWrongSettingIsRefusedByName(_ wrong: Wrong) throws {
        let problems = Self.problems(wrong.text.isEmpty ? nil : wrong.text, wrong.environment)
        try #require(problems.count == 1, "\(problems)")
        for part in wrong.told { #expect(problems[0].contains(part), "\(problems[0])") }
    }

    /// In the file and in the environment; whoever updates reads what to write instead.
    @Test(
        arguments: [
            ("identity.listen", "listeners.identity"), ("image.listen", "listeners.image"),
            ("identity.public_endpoint", "public_endpoints.identity"),
            ("image.public_endpoint", "public_endpoints.image"), ("image.size_cap_bytes", "image.quota.image_bytes"),
            ("image.list_limit_max", "image.quota.list"),
        ])
    func anOldNameNamesTheNewOne(_ old: String, _ new: String) throws {
        let (group, name) = try #require(old.firstIndex(of: ".").map { (old[..<$0], old[old.index(after: $0)...]) })
        for value in ["'127.0.0.1:1'", "{a: b}"] {
            let problems = Self.problems("\(group): {\(name): \(value)}")
            #expect(problems.count == 1)
            #expect(
                problems[0].hasPrefix("\(old) (") && problems[0].hasSuffix("it is called \(new) now"), "\(problems)")
        }
        let variable = Setting.environmentName(of: old)
        let parts = try #require(new.lastIndex(of: ".").map { (new[..<$0], new[new.index(after: $0)...]) })
        let instead = "\(Setting.environmentName(of: String(parts.0)))=\(parts.1)=VALUE"
        let told = Self.problems(nil, [variable: "127.0.0.1:1"])
        #expect(told == ["\(variable): there is no such setting; it is a part of another: \(instead)"])
    }

    @Test(
        arguments: [
            ("AMBROTYPE_IMAGE_QUOTA_BYTES", "AMBROTYPE_IMAGE_QUOTA=bytes=VALUE"),
            ("AMBROTYPE_LISTENERS_KEY_MANAGER", "AMBROTYPE_LISTENERS=key-manager=VALUE"),
        ])
    func aVariableForAPartOfATableNamesTheTable(_ variable: String, _ instead: String) {
        #expect(
            Self.problems(nil, [variable: "5"])
                == ["\(variable): there is no such setting; it is a part of another: \(instead)"])
    }

    /// Each name has its own strongest source, as when each was a setting.
    @Test func theSourcesOfATableAreJoined() throws {
        let resolved = try Self.resolve(
            file: "image: {quota: {count: 1, bytes: 2, tags: 3}}",
            environment: ["AMBROTYPE_IMAGE_QUOTA": " bytes=20, tags=-1 ,members=40"],
            commandLine: ["image.quota": "members=400"])
        let settings = try #require(try ServerSettings(resolved).image).settings
        #expect(settings.imageCountQuota == 1)
        #expect(settings.imageBytesQuota == 20)
        #expect(settings.tagQuota == -1)
        #expect(settings.memberQuota == 400)
        #expect(settings.propertyQuota == 128)
        #expect(settings.uploadingCountQuota == -1)
        let variable = SettingOrigin.environment("AMBROTYPE_IMAGE_QUOTA")
        #expect(resolved[.imageQuota, "bytes"]?.origin == variable)
        #expect(resolved[.imageQuota, "members"]?.origin == .commandLine)
        #expect(resolved[.imageQuota, "properties"]?.origin == .default)
        let report = resolved.report().split(separator: "\n").map { $0.split(separator: " ").map(String.init) }
        #expect(report.contains(["image.quota.tags", "-1", "environment", "AMBROTYPE_IMAGE_QUOTA"]))
        #expect(report.contains(["listeners.key-manager", "(not", "set)", "default"]))
    }

    @Test func aTableOfTheEnvironmentTakesWhatTheFileTakes() throws {
        let settings = try Self.settings(environment: [
            "AMBROTYPE_LISTENERS": "identity=[::1]:1,key-manager=127.0.0.1:2",
            "AMBROTYPE_PUBLIC_ENDPOINTS": "image=https://cloud.example/a=b",
        ])
        #expect(
            settings.listeners == [
                .identity: ListenAddress(host: "::1", port: 1), .keyManager: ListenAddress(host: "127.0.0.1", port: 2),
            ])
        #expect(settings.publicEndpoints == [.image: "https://cloud.example/a=b"])
    }

    @Test func aTableIsOneRowOfTheReadme() {
        let rows = ResolvedSettings.markdownTable().split(separator: "\n")
        let quota =
            "| `image.quota` | `source=settings,count=-1,bytes=-1,uploading=-1,properties=128,tags=128,members=128,"
            + "image_bytes=1099511627776,list=1000` | "
        #expect(rows.filter { $0.hasPrefix(quota) }.count == 1)
        #expect(
            rows.filter { $0.hasPrefix("| `listeners` | – | ") && $0.hasSuffix("identity, image, key-manager. |") }
                .count == 1)
    }

    @Test func whoKeepsLimits() throws {
        func limits(_ file: String) throws -> LimitSource? { try Self.settings(file: file).image?.settings.limits }
        guard case .settings = try limits("image: {quota: {count: 3}}") else {
            Issue.record("limits are not in the settings")
            return
        }
        guard case .identity(let region) = try limits("identity: {region: North}\nimage: {quota: {source: identity}}")
        else {
            Issue.record("limits are not in Identity")
            return
        }
        #expect(region == "North")
        // Until there is a connection to Keystone, nobody knows them.
        guard case .outOfReach = try limits(Self.keystone + "image: {quota: {source: identity}}") else {
            Issue.record("limits are not in Keystone")
            return
        }
    }

    @Test func whatIsRecordedAndCached() throws {
        #expect(try Self.settings().audit == nil)
        #expect(try Self.settings().image?.cache == nil)
        let file = "data_dir: /d\naudit: {webhook: 'https://s.example/a'}\n"
        #expect(
            try Self.settings(file: file).audit
                == ServerSettings.AuditChoice(file: "/d/audit.log", webhook: "https://s.example/a"))
        #expect(
            try Self.settings(file: "audit: {file: /l/audit}").audit == ServerSettings.AuditChoice(file: "/l/audit"))
        let cache = try Self.settings(
            file: "image: {stores: ['a:/a', 'b:/b'], cache: {directory: /c, bytes: 5, stores: b a}}"
        ).image?.cache
        #expect(cache == ServerSettings.CacheChoice(directory: "/c", bytes: 5, stores: ["b", "a"]))
        for (wrong, told) in [
            ("{directory: /c, stores: x}", "image.cache.stores 'x'"), ("{stores: a}", "image.cache.directory"),
            ("{directory: /a}", "image.cache.directory: store a is in /a"), ("{bytes: 0}", "image.cache.bytes"),
        ] {
            let problems = Self.problems("image: {stores: ['a:/a'], cache: \(wrong)}")
            #expect(problems.count == 1 && problems[0].contains(told), "\(problems)")
        }
    }

    @Test func whoKeepsKeys() throws {
        func keys(_ file: String) throws -> ServerSettings.KeysChoice { try Self.settings(file: file).keys }
        var embedded = ServerSettings.EmbeddedKeysChoice(masterKeyFile: "/d/master-keys")
        #expect(embedded.retentionSeconds == 604_800)
        #expect(try keys("data_dir: /d") == .embedded(embedded))
        embedded.masterKeyFile = "/apart/keys"
        embedded.retentionSeconds = 0
        #expect(
            try keys("keys: {mode: embedded, master_key_file: /apart/keys, retention_seconds: 0}")
                == .embedded(embedded))
        #expect(try keys("keys: {mode: off}") == .off)
        let theirs = try keys(Self.keystone + "keys: {mode: barbican, barbican_url: 'https://b/'}")
        guard case .barbican(let barbican) = theirs else {
            Issue.record("\(theirs)")
            return
        }
        #expect(barbican.url == "https://b/")
        #expect(try keys(Self.keystone + "keys: {mode: barbican}") != theirs)
        if case .embedded = try keys(Self.keystone) {} else { Issue.record("a Keystone keeps no keys") }
    }

    @Test func everythingWrongIsToldAtOnce() {
        let problems = Self.problems("colour: blue\nlisten: x\nimage: {lease_seconds: 0}", ["AMBROTYPE_X": "1"])
        #expect(problems.count == 4)
    }

    @Test func aSecretIsNeverShown() throws {
        let secret = "hush-hush"
        let file = "identity: {mode: keystone}\nkeystone: {auth_url: 'http://k', username: u, password: \(secret)}"
        let report = try Self.resolve(file: file).report()
        #expect(report.contains("<set>"))
        #expect(!report.contains(secret))
        // Also not when the file is wrong where it stands.
        for broken in [
            "keystone: {password: \"\(secret)\\u0001\"}", "keystone: {password: \(secret): x: [}",
            "keystone:\n  password: \(secret)\n bad", "keystone: {password: [\(secret)]}",
            "keystone: {password: {\(secret): 1}}",
        ] {
            let problems = Self.problems(broken)
            #expect(!problems.isEmpty)
            #expect(!problems.joined().contains(secret + " "), "\(problems)")
        }
        #expect(!Self.problems(nil, ["AMBROTYPE_KEYSTONE_PASSWORD": secret + "\u{1}"]).joined().contains(secret))
    }

    @Test func theStrongestSourceWins() throws {
        let file = "log: {level: debug}\nidle_timeout_seconds: 20\nlisten: 127.0.0.1:1\nshutdown_deadline_seconds: 3"
        let environment = ["AMBROTYPE_LISTEN": "127.0.0.1:2", "AMBROTYPE_IDLE_TIMEOUT_SECONDS": "30", "HOME": "/"]
        let resolved = try Self.resolve(file: file, environment: environment, commandLine: ["listen": "127.0.0.1:3"])
        #expect(resolved[.listen]?.value == .text("127.0.0.1:3"))
        #expect(resolved[.listen]?.origin == .commandLine)
        #expect(resolved[.idleTimeout]?.value == .integer(30))
        #expect(resolved[.idleTimeout]?.origin == .environment("AMBROTYPE_IDLE_TIMEOUT_SECONDS"))
        #expect(resolved[.logLevel]?.value == .text("debug"))
        #expect(resolved[.identityRegion]?.origin == .default)
        let report = resolved.report().split(separator: "\n")
        #expect(report.count == Setting.all.flatMap(\.entries).count)
        #expect(report.contains { $0.hasPrefix("listen ") && $0.hasSuffix("command line") })
    }

    @Test func aMistakeDoesNotHideBehindAStrongerSource() {
        #expect(Self.problems("log: {level: loud}", ["AMBROTYPE_LOG_LEVEL": "info"]).count == 1)
    }

    @Test func everySettingCanBeGiven() throws {
        let file = """
            data_dir: /d
            listen: '[::1]:0'
            tls: {certificate: c.pem, key: /k.pem}
            cors_origins: ['https://a.example', 'http://b.example:8080']
            log: {level: warning, format: text}
            metrics: {enabled: no}
            identity: {region: North, token_lifetime_seconds: 120}
            listeners: {image: '0.0.0.0:9393'}
            public_endpoints: {identity: 'https://id.example/'}
            image:
              stores: ['fast:/fast', 'slow:/slow']
              recycle_bin_seconds: 86400
              hash_algorithm: sha256
              quota: {count: 3, bytes: 4, uploading: 5, properties: 6, tags: 7, members: 8, image_bytes: 9, list: 10}
              lease_seconds: 11
              import:
                plugins: inject_image_metadata image_decompression image_conversion
                convert_to: qcow2
                inject: "os_distro=unknown; note=a = b, c"
                inject_ignored_roles: Trusted admin
            """
        let settings = try Self.settings(file: file)
        #expect(settings.dataDirectory == "/d")
        #expect(settings.listen == ListenAddress(host: "::1", port: 0))
        #expect(settings.tls?.certificate == FileManager.default.currentDirectoryPath + "/c.pem")
        #expect(settings.tls?.key == "/k.pem")
        #expect(settings.crossOrigins == ["https://a.example", "http://b.example:8080"])
        #expect(settings.logLevel == .warning)
        #expect(settings.logFormat == .text)
        #expect(!settings.hasMetrics)
        #expect(settings.region == "North")
        let image = try #require(settings.image)
        #expect(image.stores.map(\.id) == ["fast", "slow"])
        #expect(image.settings.defaultStore == "fast")
        #expect(image.settings.recycleBinSeconds == 86400)
        #expect(image.settings.hashAlgorithm == .sha256)
        #expect(image.settings.imageCountQuota == 3)
        #expect(image.settings.imageBytesQuota == 4)
        #expect(image.settings.uploadingCountQuota == 5)
        #expect(image.settings.propertyQuota == 6)
        #expect(image.settings.tagQuota == 7)
        #expect(image.settings.memberQuota == 8)
        #expect(image.settings.sizeCapBytes == 9)
        #expect(image.settings.listLimitMax == 10)
        #expect(image.settings.listLimitDefault == 10)
        #expect(image.settings.leaseSeconds == 11)
        let plugins = image.settings.imports.plugins
        #expect(plugins.order == [.injectMetadata, .decompression, .conversion])
        #expect(plugins.outputFormat == .qcow2)
        #expect(plugins.inject == ["os_distro": "unknown", "note": "a = b, c"])
        #expect(plugins.injectIgnoredRoles == ["trusted", "admin"])
        #expect(settings.listeners[.image]?.port == 9393)
        #expect(settings.publicEndpoints == [.identity: "https://id.example/"])
    }

    @Test func withoutAnythingItIsAWholeCloud() throws {
        let settings = try Self.settings()
        #expect(settings.listen == ListenAddress(host: "127.0.0.1", port: 9292))
        #expect(settings.image?.stores == [.local(under: "/var/lib/ambrotype")])
        guard case .embedded = settings.identity else {
            Issue.record("Identity is not embedded")
            return
        }
    }

    @Test(arguments: ["", "# nothing but a comment\n", "---\n", "image:\n", "{}"])
    func anEmptyFileChangesNothing(_ file: String) throws {
        let settings = try Self.settings(file: file)
        #expect(settings.image != nil)
    }

    @Test func anInsecureListenerCanBeAllowed() throws {
        for more in ["allow_insecure_listen: true", "tls: {certificate: /c, key: /k}"] {
            #expect(try Self.settings(file: "listen: 0.0.0.0:9292\n" + more).listen.isWildcard)
        }
    }

    @Test func aMissingFileIsNamed() {
        let sources = SettingSources(file: "/does/not/exist.yaml")
        #expect(throws: ConfigurationError(["/does/not/exist.yaml cannot be opened: No such file or directory"])) {
            try sources.resolve()
        }
    }

    @Test func theTableIsSound() {
        let keys = Setting.all.map(\.key)
        #expect(Set(keys).count == keys.count)
        #expect(keys.count <= 40)
        #expect(Set(Setting.all.map(\.environmentName)).count == keys.count)
        for setting in Setting.all {
            #expect(setting.summary.hasSuffix("."), "\(setting.key)")
            #expect(setting.key.allSatisfy { $0.isLowercase || $0 == "_" || $0 == "." }, "\(setting.key)")
            // A name is a value or a group, never both.
            #expect(!keys.contains { $0.hasPrefix(setting.key + ".") }, "\(setting.key)")
        }
        let entries = Setting.all.flatMap(\.entries)
        #expect(Set(entries.map(\.environmentName)).count == entries.count)
        for table in Setting.all where table.isTable {
            for entry in table.entries {
                let name = entry.key.dropFirst(table.key.count + 1)
                #expect(name.allSatisfy { $0.isLowercase || $0 == "-" || $0 == "_" }, "\(entry.key)")
                #expect(!entry.isTable && !keys.contains(entry.key), "\(entry.key)")
            }
        }
        for (old, new) in Setting.renamed {
            #expect(!keys.contains(old) && entries.contains { $0.key == new }, "\(old)")
        }
        #expect(ResolvedSettings.markdownTable().split(separator: "\n").count == keys.count + 2)
    }

    /// The commented sample names every setting there is, with its default.
    @Test func theSampleFileIsComplete() throws {
        let path = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appending(path: "etc/ambrotype.yaml")
        let sample = try String(contentsOf: path, encoding: .utf8)
        // A line of prose has one space behind its "#", a setting none or more.
        let uncommented = sample.split(separator: "\n", omittingEmptySubsequences: false)
            .map { line in
                let isSetting = line.hasPrefix("#") && (!line.hasPrefix("# ") || line.hasPrefix("#  "))
                return String(isSetting ? line.dropFirst() : line)
            }
            .joined(separator: "\n")
        let resolved = try Self.resolve(file: uncommented)
        for setting in Setting.all.flatMap(\.entries) {
            let entry = try #require(resolved[setting], "\(setting.key) is missing")
            if case .file = entry.origin {} else { Issue.record("\(setting.key) is missing") }
            if let value = setting.defaultValue { #expect(entry.value == value, "\(setting.key)") }
        }
        #expect(throws: Never.self) { try Self.settings(file: sample) }
    }

    @Test func storesHaveOptions() throws {
        var sources = SettingSources()
        sources.environment["AMBROTYPE_IMAGE_STORES"] =
            "fast:/fast;weight=10;description=Fast disks"
            + ",old:/old;read_only=true;weight=-1,web:http;description=Others' bytes"
        let stores = try #require(try ServerSettings(try sources.resolve()).image).stores
        #expect(stores.map(\.id) == ["fast", "old", "web"])
        #expect(stores.map(\.weight) == [10, -1, 0])
        #expect(stores.map(\.isReadOnly) == [false, true, true])
        #expect(stores.map(\.description) == ["Fast disks", nil, "Others' bytes"])
        #expect(stores.map(\.place) == [.directory("/fast"), .directory("/old"), .http])
    }
}
