import Yams

/// `clouds.yaml` in the data directory: what the OpenStack clients need to know to use this cloud
/// (openstacksdk, "Configuring OpenStack SDK Applications").
package struct CloudsFile: Sendable {
    /// One entry: a user in the project of a cloud.
    package struct Account: Sendable, Equatable {
        package let cloud: String
        package let username: String
        package let project: String
        package let password: String

        package init(cloud: String, username: String, project: String, password: String) {
            self.cloud = cloud
            self.username = username
            self.project = project
            self.password = password
        }
    }

    /// What is the same for all accounts.
    package struct Place: Sendable, Equatable {
        /// Identity's URL with `/v3`.
        package let authURL: String
        package let region: String
        /// What the clients check the server's certificate against; nil without TLS.
        package let caCertificate: String?

        package init(authURL: String, region: String, caCertificate: String? = nil) {
            self.authURL = authURL
            self.region = region
            self.caCertificate = caCertificate
        }
    }

    private let path: String

    package init(path: String) { self.path = path }

    package var isThere: Bool { SmallFile.exists(path) }

    /// Writes the file anew.
    /// - Throws: `FileProblem`.
    package func write(_ accounts: [Account], at place: Place) throws {
        var text = "# Credentials for this cloud. Use: export OS_CLIENT_CONFIG_FILE=\(path) OS_CLOUD=NAME\nclouds:\n"
        for account in accounts {
            text += """
                  \(account.cloud):
                    auth:
                      auth_url: \(Self.quoted(place.authURL))
                      username: \(Self.quoted(account.username))
                      password: \(Self.quoted(account.password))
                      project_name: \(Self.quoted(account.project))
                      user_domain_id: default
                      project_domain_id: default
                    region_name: \(Self.quoted(place.region))
                    identity_api_version: 3
                    image_api_version: 2
                """ + "\n"
            if let certificate = place.caCertificate { text += "    cacert: \(Self.quoted(certificate))\n" }
        }
        try SmallFile.replace(path, with: Array(text.utf8))
    }

    /// Brings the addresses up to date and leaves everything else (passwords, clouds of the
    /// operator's own) as it is; the file is not touched when they are.
    /// - Returns: whether it was changed.
    /// - Throws: `FileProblem`, `YamlError`, `StartProblem` when the file does not look like ours.
    @discardableResult
    package func refresh(_ clouds: [String], at place: Place) throws -> Bool {
        var root = try parse()
        let before = root
        for cloud in clouds where root["clouds"]?[cloud]?["auth"]?.mapping != nil {
            root["clouds"]?[cloud]?["auth"]?["auth_url"] = Node(place.authURL)
            root["clouds"]?[cloud]?["region_name"] = Node(place.region)
            if let certificate = place.caCertificate {
                root["clouds"]?[cloud]?["cacert"] = Node(certificate)
            } else {
                root["clouds"]?[cloud]?.mapping?["cacert"] = nil
            }
        }
        guard root != before else { return false }
        try SmallFile.replace(path, with: Array(try Yams.serialize(node: root).utf8))
        return true
    }

    /// Puts a new password where the user has entries.
    /// - Returns: the clouds that were changed.
    /// - Throws: `FileProblem`, `YamlError`, `StartProblem` when the file does not look like ours.
    package func setPassword(_ password: String, of username: String) throws -> [String] {
        var root = try parse()
        var changed: [String] = []
        for (key, cloud) in root["clouds"]?.mapping ?? Node.Mapping([]) {
            guard let name = key.string, cloud["auth"]?["username"]?.string == username else { continue }
            root["clouds"]?[name]?["auth"]?["password"] = Node(password)
            changed.append(name)
        }
        if !changed.isEmpty { try SmallFile.replace(path, with: Array(try Yams.serialize(node: root).utf8)) }
        return changed
    }

    /// The password of a cloud's entry.
    package func password(of cloud: String) throws -> String? {
        try parse()["clouds"]?[cloud]?["auth"]?["password"]?.string
    }

    private func parse() throws -> Node {
        let content = String(decoding: try SmallFile.read(path), as: UTF8.self)
        // Yams' own errors quote the file, passwords included.
        guard let root = try? Yams.compose(yaml: content), root["clouds"]?.mapping != nil else {
            throw StartProblem("\(path) is no clouds.yaml; correct it or move it away")
        }
        return root
    }

    /// A YAML scalar in double quotes, which takes the escapes of JSON.
    private static func quoted(_ text: String) -> String {
        var out = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"", "\\": out += "\\" + String(Character(scalar))
            case "\u{0}"..<"\u{20}": out += "\\x" + (scalar.value < 16 ? "0" : "") + String(scalar.value, radix: 16)
            default: out.unicodeScalars.append(scalar)
            }
        }
        return out + "\""
    }
}
