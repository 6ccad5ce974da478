import Core
import Glibc
import Logging
import NIOCore
import Trust

/// What the operator decided, checked as a whole and ready to build the server from.
package struct ServerSettings: Sendable {
    /// Absolute.
    package var dataDirectory: String
    package var listen: ListenAddress
    package var shutdownDeadlineSeconds = 30
    package var idleTimeoutSeconds = 75
    package var tls: TLSFiles?
    package var logLevel = Logger.Level.info
    /// Nil lets standard error decide.
    package var logFormat: LogFormat?
    package var hasMetrics = true
    package var identity = IdentityChoice.embedded(EmbeddedIdentityChoice())
    package var identityListen: ListenAddress?
    package var identityPublicEndpoint: String?
    package var region = "RegionOne"
    /// Nil when the Image API is switched off.
    package var image: ImageChoice?

    package struct TLSFiles: Sendable, Equatable {
        package let certificate: String
        package let key: String

        package init(certificate: String, key: String) {
            self.certificate = certificate
            self.key = key
        }
    }

    package enum IdentityChoice: Sendable {
        case embedded(EmbeddedIdentityChoice)
        case keystone(KeystoneChoice)
    }

    package struct EmbeddedIdentityChoice: Sendable {
        package var tokenLifetimeSeconds: Int64 = 3600
        /// log2 of scrypt's N; below 16 only in tests.
        package var scryptCost = 16
        package init() {}
    }

    package struct KeystoneChoice: Sendable {
        package let authURL: String
        package let username: String
        package let password: String
        package let project: String
        package let userDomain: String
        package let projectDomain: String
        package let cacheSeconds: Int64
    }

    package struct ImageChoice: Sendable {
        package var listen: ListenAddress?
        package var publicEndpoint: String?
        package var stores: [StoreChoice]
        package var settings: ImageSettings

        package init(stores: [StoreChoice], settings: ImageSettings) {
            self.stores = stores
            self.settings = settings
        }
    }

    package struct StoreChoice: Sendable, Equatable {
        package let id: StoreID
        /// Absolute.
        package let directory: String

        package init(id: StoreID, directory: String) {
            self.id = id
            self.directory = directory
        }

        /// Nil unless it is `NAME:DIRECTORY` with a name of letters, digits, `-` and `_`.
        init?(_ text: String) {
            let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2, !parts[1].isEmpty, (1...64).contains(parts[0].utf8.count),
                parts[0].utf8.allSatisfy({ Self.isNameByte($0) })
            else { return nil }
            self.init(id: StoreID(String(parts[0])), directory: absolutePath(String(parts[1])))
        }

        private static func isNameByte(_ byte: UInt8) -> Bool {
            (48...57).contains(byte) || (97...122).contains(byte | 0x20) || byte == UInt8(ascii: "-")
                || byte == UInt8(ascii: "_")
        }
    }

    /// Everything under one directory, on one address, with the defaults.
    package init(dataDirectory: String, listen: ListenAddress) {
        self.dataDirectory = absolutePath(dataDirectory)
        self.listen = listen
        image = ImageChoice(stores: [.local(under: self.dataDirectory)], settings: ImageSettings())
    }
}

extension ServerSettings.StoreChoice {
    /// The store there is when none is configured.
    package static func local(under dataDirectory: String) -> Self {
        Self(id: "local", directory: dataDirectory + "/stores/local")
    }
}

extension ServerSettings {
    /// - Throws: `ConfigurationError` for values that do not go together.
    package init(_ resolved: ResolvedSettings) throws {
        self.init(
            dataDirectory: resolved.requiredText(.dataDirectory), listen: Self.address(resolved, .listen)!)
        var problems: [String] = []
        shutdownDeadlineSeconds = resolved.integer(.shutdownDeadline)
        idleTimeoutSeconds = resolved.integer(.idleTimeout)
        tls = Self.tls(resolved, &problems)
        logLevel = Logger.Level(rawValue: resolved.requiredText(.logLevel)) ?? .info
        logFormat = LogFormat(rawValue: resolved.requiredText(.logFormat))
        hasMetrics = resolved.flag(.metricsEnabled)
        identityListen = Self.address(resolved, .identityListen)
        identityPublicEndpoint = resolved.text(.identityPublicEndpoint)
        region = resolved.requiredText(.identityRegion)
        identity = Self.identity(resolved, &problems)
        image = resolved.flag(.imageEnabled) ? Self.image(resolved, dataDirectory, &problems) : nil
        problems += addressProblems(mayBeInsecure: resolved.flag(.allowInsecureListen))
        guard problems.isEmpty else { throw ConfigurationError(problems) }
    }

    private static func address(_ resolved: ResolvedSettings, _ setting: Setting) -> ListenAddress? {
        resolved.text(setting).flatMap { ListenAddress($0) }
    }

    private static func tls(_ resolved: ResolvedSettings, _ problems: inout [String]) -> TLSFiles? {
        let files: (String?, String?) = (resolved.text(.tlsCertificate), resolved.text(.tlsKey))
        switch files {
        case (nil, nil): return nil
        case (let certificate?, let key?):
            return TLSFiles(certificate: absolutePath(certificate), key: absolutePath(key))
        case (_?, nil):
            problems.append("tls.key: it is missing; tls.certificate needs it")
        case (nil, _?):
            problems.append("tls.certificate: it is missing; tls.key needs it")
        }
        return nil
    }

    private static func identity(_ resolved: ResolvedSettings, _ problems: inout [String]) -> IdentityChoice {
        guard resolved.text(.identityMode) == "keystone" else {
            var choice = EmbeddedIdentityChoice()
            choice.tokenLifetimeSeconds = Int64(resolved.integer(.identityTokenLifetime))
            return .embedded(choice)
        }
        for setting in [Setting.identityListen, Setting.identityPublicEndpoint] where resolved[setting] != nil {
            problems.append("\(setting.key): there is no Identity here to serve when identity.mode is keystone")
        }
        for setting in [Setting.keystoneAuthURL, Setting.keystoneUsername] where resolved[setting] == nil {
            problems.append("\(setting.key): it is missing; identity.mode keystone needs it")
        }
        return .keystone(
            KeystoneChoice(
                authURL: resolved.text(.keystoneAuthURL) ?? "", username: resolved.text(.keystoneUsername) ?? "",
                password: keystonePassword(resolved, &problems),
                project: resolved.requiredText(.keystoneProject),
                userDomain: resolved.requiredText(.keystoneUserDomain),
                projectDomain: resolved.requiredText(.keystoneProjectDomain),
                cacheSeconds: Int64(resolved.integer(.keystoneCache))))
    }

    private static func keystonePassword(_ resolved: ResolvedSettings, _ problems: inout [String]) -> String {
        let given: (String?, String?) = (resolved.text(.keystonePassword), resolved.text(.keystonePasswordFile))
        switch given {
        case (let password?, nil):
            return password
        case (nil, let path?):
            do {
                let text = String(decoding: try SmallFile.read(path), as: UTF8.self)
                if let line = text.split(whereSeparator: \.isNewline).first { return String(line) }
                problems.append("keystone.password_file: \(path) is empty; its first line must be the password")
            } catch {
                problems.append("keystone.password_file: \(error)")
            }
        case (nil, nil):
            problems.append(
                "keystone.password: it is missing; identity.mode keystone needs it, or keystone.password_file")
        case (_?, _?):
            problems.append("keystone.password: keystone.password_file is set too; only one of them may be")
        }
        return ""
    }

    private static func image(
        _ resolved: ResolvedSettings, _ dataDirectory: String, _ problems: inout [String]
    ) -> ImageChoice {
        let stores = stores(resolved, dataDirectory, &problems)
        var settings = ImageSettings()
        settings.hashAlgorithm = DigestAlgorithm(rawValue: resolved.requiredText(.imageHashAlgorithm)) ?? .sha512
        settings.listLimitMax = resolved.integer(.imageListLimitMax)
        settings.listLimitDefault = min(settings.listLimitDefault, settings.listLimitMax)
        settings.imageCountQuota = Int64(resolved.integer(.imageQuotaCount))
        settings.imageBytesQuota = Int64(resolved.integer(.imageQuotaBytes))
        settings.uploadingCountQuota = Int64(resolved.integer(.imageQuotaUploading))
        settings.propertyQuota = resolved.integer(.imageQuotaProperties)
        settings.tagQuota = resolved.integer(.imageQuotaTags)
        settings.memberQuota = resolved.integer(.imageQuotaMembers)
        settings.sizeCapBytes = Int64(resolved.integer(.imageSizeCap))
        settings.uploadBufferBytes = resolved.integer(.imageUploadBuffer)
        settings.leaseSeconds = Int64(resolved.integer(.imageLease))
        settings.defaultStore = stores.first?.id ?? settings.defaultStore
        settings.recycleBinSeconds = Int64(resolved.integer(.imageRecycleBin))
        if let path = resolved.text(.imageSchemaFile) {
            do {
                settings.schemaProperties = try SchemaProperties(
                    file: try JSONValue(parsing: ByteBuffer(bytes: try SmallFile.read(path))))
            } catch let problem as FileProblem {
                problems.append("image.schema_file: \(problem)")
            } catch {
                problems.append("image.schema_file: \(path): \(error)")
            }
        }
        var choice = ImageChoice(stores: stores, settings: settings)
        choice.listen = address(resolved, .imageListen)
        choice.publicEndpoint = resolved.text(.imagePublicEndpoint)
        return choice
    }

    private static func stores(
        _ resolved: ResolvedSettings, _ dataDirectory: String, _ problems: inout [String]
    ) -> [StoreChoice] {
        guard let items = resolved.list(.imageStores) else { return [.local(under: dataDirectory)] }
        var stores: [StoreChoice] = []
        for item in items {
            guard let store = StoreChoice(item) else {
                problems.append(
                    "image.stores '\(item)': it is no store; allowed: NAME:DIRECTORY, the name of letters, "
                        + "digits, - and _")
                continue
            }
            if stores.contains(where: { $0.id == store.id }) {
                problems.append("image.stores: two stores are called \(store.id)")
            } else if stores.contains(where: { $0.directory == store.directory }) {
                problems.append("image.stores: two stores are in \(store.directory)")
            } else {
                stores.append(store)
            }
        }
        return stores
    }

    private func addressProblems(mayBeInsecure: Bool) -> [String] {
        var problems: [String] = []
        let listeners =
            [("listen", listen)]
            + [("identity.listen", identityListen), ("image.listen", image?.listen)]
            .compactMap { key, address in address.map { (key, $0) } }
        for (index, (key, address)) in listeners.enumerated() where address.port != 0 {
            if let other = listeners[..<index].first(where: { $0.1 == address }) {
                problems.append("\(key) '\(address)': \(other.0) has the same address; each needs its own")
            }
        }
        guard case .embedded = identity, tls == nil, !mayBeInsecure else { return problems }
        for (key, address) in listeners.filter({ $0.0 != "image.listen" }) where !address.isLoopback {
            problems.append(
                "\(key) '\(address)': Identity would take passwords in clear from the network; allowed: a loopback "
                    + "address, or TLS (tls.certificate, tls.key), or allow_insecure_listen: true")
        }
        return problems
    }
}

/// Relative paths are relative to where the program was started; `.` and `..` stay as they are.
func absolutePath(_ path: String) -> String {
    var path = path
    if !path.hasPrefix("/") {
        guard let current = getcwd(nil, 0) else { preconditionFailure("the working directory is gone") }
        defer { free(current) }
        while path.hasPrefix("./") { path.removeFirst(2) }
        path = String(cString: current) + (path.isEmpty || path == "." ? "" : "/" + path)
    }
    while path.count > 1, path.hasSuffix("/") { path.removeLast() }
    return path
}
