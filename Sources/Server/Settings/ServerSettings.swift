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
    /// Origins whose pages may call the services from a browser.
    package var crossOrigins: [String] = []
    package var logLevel = Logger.Level.info
    /// Nil lets standard error decide.
    package var logFormat: LogFormat?
    package var hasMetrics = true
    /// Nil when calls are not recorded.
    package var audit: AuditChoice?
    package var identity = IdentityChoice.embedded(EmbeddedIdentityChoice())
    package var region = "RegionOne"
    /// Addresses of their own, of services that are served here.
    package var listeners: [ServiceType: ListenAddress] = [:]
    /// URLs as clients reach them, of services that are served here.
    package var publicEndpoints: [ServiceType: String] = [:]
    /// Nil when the Image API is switched off.
    package var image: ImageChoice?
    package var keys: KeysChoice

    package struct TLSFiles: Sendable, Equatable {
        package let certificate: String
        package let key: String

        package init(certificate: String, key: String) {
            self.certificate = certificate
            self.key = key
        }
    }

    package struct AuditChoice: Sendable, Equatable {
        /// Absolute.
        package let file: String
        package let webhook: String?

        package init(file: String, webhook: String? = nil) {
            self.file = file
            self.webhook = webhook
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
        package var stores: [StoreChoice]
        package var settings: ImageSettings
        /// Nil when nothing is cached.
        package var cache: CacheChoice?

        package init(stores: [StoreChoice], settings: ImageSettings, cache: CacheChoice? = nil) {
            self.stores = stores
            self.settings = settings
            self.cache = cache
        }
    }

    /// Everything under one directory, on one address, with the defaults.
    package init(dataDirectory: String, listen: ListenAddress) {
        self.dataDirectory = absolutePath(dataDirectory)
        self.listen = listen
        keys = .embedded(EmbeddedKeysChoice(masterKeyFile: self.dataDirectory + "/master-keys"))
        image = ImageChoice(stores: [.local(under: self.dataDirectory)], settings: ImageSettings())
    }
}

extension ServerSettings {
    /// - Throws: `ConfigurationError` for values that do not go together.
    package init(_ resolved: ResolvedSettings) throws {
        self.init(
            dataDirectory: resolved.requiredText(.dataDirectory),
            listen: ListenAddress(resolved.requiredText(.listen))!)
        var problems: [String] = []
        shutdownDeadlineSeconds = resolved.integer(.shutdownDeadline)
        idleTimeoutSeconds = resolved.integer(.idleTimeout)
        tls = Self.tls(resolved, &problems)
        crossOrigins = Self.crossOrigins(resolved, &problems)
        logLevel = Logger.Level(rawValue: resolved.requiredText(.logLevel)) ?? .info
        logFormat = LogFormat(rawValue: resolved.requiredText(.logFormat))
        hasMetrics = resolved.flag(.metricsEnabled)
        let recorded: (file: String?, webhook: String?) = (
            resolved.text(.audit, "file"), resolved.text(.audit, "webhook")
        )
        if recorded.file != nil || recorded.webhook != nil {
            // The file is what waits to be sent.
            audit = AuditChoice(
                file: absolutePath(recorded.file ?? dataDirectory + "/audit.log"), webhook: recorded.webhook)
        }
        region = resolved.requiredText(.identityRegion)
        identity = Self.identity(resolved, &problems)
        image = resolved.flag(.imageEnabled) ? Self.image(resolved, dataDirectory, &problems) : nil
        keys = KeysChoice(resolved, dataDirectory: dataDirectory, identity, &problems)
        place(resolved, &problems)
        problems += addressProblems(mayBeInsecure: resolved.flag(.allowInsecureListen))
        guard problems.isEmpty else { throw ConfigurationError(problems) }
    }

    /// Where each service stands. An address on which nobody would answer is a problem.
    private mutating func place(_ resolved: ResolvedSettings, _ problems: inout [String]) {
        for service in ServiceType.allCases {
            if let reason = absence(of: service, resolved) {
                for table in [Setting.listeners, Setting.publicEndpoints]
                where resolved[table, service.rawValue] != nil {
                    problems.append("\(table.key).\(service.rawValue): \(reason)")
                }
            } else {
                listeners[service] = resolved.text(.listeners, service.rawValue).flatMap { ListenAddress($0) }
                publicEndpoints[service] = resolved.text(.publicEndpoints, service.rawValue)
            }
        }
    }

    /// Why a service is not served here; nil when it is.
    private func absence(of service: ServiceType, _ resolved: ResolvedSettings) -> String? {
        switch service {
        case .identity:
            if case .embedded = identity { return nil }
            return "there is no Identity here to serve when identity.mode is keystone"
        case .image:
            return image == nil ? "there is no Image API here to serve when image.enabled is false" : nil
        case .keyManager:
            if case .embedded = keys { return nil }
            return "there is no key manager here to serve when keys.mode is \(resolved.requiredText(.keysMode))"
        }
    }

    private static func tls(_ resolved: ResolvedSettings, _ problems: inout [String]) -> TLSFiles? {
        let files: (String?, String?) = (resolved.text(.tls, "certificate"), resolved.text(.tls, "key"))
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

    /// Origins as browsers send them: scheme, host and perhaps a port, in lower case, and nothing behind.
    private static func crossOrigins(_ resolved: ResolvedSettings, _ problems: inout [String]) -> [String] {
        let origins = resolved.list(.crossOrigins) ?? []
        for origin in origins {
            let rest = ["https://", "http://"].first { origin.hasPrefix($0) }.map { origin.dropFirst($0.count) }
            let isOrigin = rest.map { !$0.isEmpty && !$0.contains { "/?#@* ".contains($0) || $0.isUppercase } }
            guard isOrigin == true else {
                problems.append(
                    "cors_origins '\(origin)': it is no origin; allowed: scheme://host or scheme://host:port, in lower case, "
                        + "without a path")
                continue
            }
        }
        return origins
    }

    private static func identity(_ resolved: ResolvedSettings, _ problems: inout [String]) -> IdentityChoice {
        guard resolved.text(.identityMode) == "keystone" else {
            var choice = EmbeddedIdentityChoice()
            choice.tokenLifetimeSeconds = Int64(resolved.integer(.identityTokenLifetime))
            return .embedded(choice)
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
        let stores = StoreChoice.all(resolved, dataDirectory, &problems)
        var settings = ImageSettings()
        settings.hashAlgorithm = DigestAlgorithm(rawValue: resolved.requiredText(.imageHashAlgorithm)) ?? .sha512
        settings.listLimitMax = resolved.integer(.imageQuota, "list")
        settings.listLimitDefault = min(settings.listLimitDefault, settings.listLimitMax)
        settings.imageCountQuota = Int64(resolved.integer(.imageQuota, "count"))
        settings.imageBytesQuota = Int64(resolved.integer(.imageQuota, "bytes"))
        settings.uploadingCountQuota = Int64(resolved.integer(.imageQuota, "uploading"))
        settings.propertyQuota = resolved.integer(.imageQuota, "properties")
        settings.tagQuota = resolved.integer(.imageQuota, "tags")
        settings.memberQuota = resolved.integer(.imageQuota, "members")
        settings.sizeCapBytes = Int64(resolved.integer(.imageQuota, "image_bytes"))
        settings.limits = limitSource(resolved)
        settings.uploadBufferBytes = resolved.integer(.imageUploadBuffer)
        settings.leaseSeconds = Int64(resolved.integer(.imageLease))
        settings.defaultStore = stores.first?.id ?? settings.defaultStore
        settings.recycleBinSeconds = Int64(resolved.integer(.imageRecycleBin))
        settings.imports = ImportSettings(resolved, &problems)
        settings.verify(resolved, &problems)
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
        if let path = resolved.text(.imagePolicyFile) {
            do {
                settings.policy = try PolicyFile(path: path).policy
            } catch let error as ConfigurationError {
                problems += error.problems.map { "image.policy_file: \($0)" }
            } catch {
                problems.append("image.policy_file: \(error)")
            }
        }
        return ImageChoice(
            stores: stores, settings: settings, cache: CacheChoice(resolved, stores: stores, &problems))
    }

    /// A Keystone's limits are within reach once there is a connection to it (`Application`).
    private static func limitSource(_ resolved: ResolvedSettings) -> LimitSource {
        guard resolved.text(.imageQuota, "source") == "identity" else { return .settings }
        guard resolved.text(.identityMode) != "keystone" else { return .outOfReach }
        return .identity(region: RegionID(resolved.requiredText(.identityRegion)))
    }

    private func addressProblems(mayBeInsecure: Bool) -> [String] {
        var problems: [String] = []
        let own = ServiceType.allCases.compactMap { service in
            listeners[service].map { (key: "listeners.\(service.rawValue)", address: $0, service: service) }
        }
        let all = [(key: "listen", address: listen)] + own.map { (key: $0.key, address: $0.address) }
        for (index, (key, address)) in all.enumerated() where address.port != 0 {
            if let other = all[..<index].first(where: { $0.address == address }) {
                problems.append("\(key) '\(address)': \(other.key) has the same address; each needs its own")
            }
        }
        guard tls == nil, !mayBeInsecure else { return problems }
        var clear: [(key: String, address: ListenAddress, what: String)] = []
        let passwords = "Identity would take passwords in clear from the network"
        let secrets = "secrets would cross the network in clear"
        if case .embedded = identity {
            clear.append(("listen", listen, passwords))
        } else if case .embedded = keys {
            // Every service stands on the main listener as well.
            clear.append(("listen", listen, secrets))
        }
        for (key, address, service) in own {
            switch service {
            case .identity: clear.append((key, address, passwords))
            case .keyManager: clear.append((key, address, secrets))
            case .image: break
            }
        }
        for (key, address, what) in clear where !address.isLoopback {
            problems.append(
                "\(key) '\(address)': \(what); allowed: a loopback address, or TLS (tls.certificate, tls.key), or "
                    + "allow_insecure_listen: true")
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
