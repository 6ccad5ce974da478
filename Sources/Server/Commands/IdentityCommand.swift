import ArgumentParser
import Blobs
import Core
import Glibc
import Logging
import Persistence
import Trust

struct IdentityCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "identity", abstract: "Look after the embedded Identity from its machine.",
        subcommands: [SetPasswordCommand.self])
}

struct SetPasswordCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "set-password", abstract: "Give a user of the default domain a new password.",
        discussion: """
            Reads the password from the first line of standard input, or makes one with --generate. The user's \
            tokens end, and DIR/clouds.yaml is brought up to date. The server may be running meanwhile.
            """)

    @Argument(help: "The user's name, such as admin.")
    var user: String

    @Flag(help: "Make a random password, for clouds.yaml; printed only if the file has no entry for the user.")
    var generate = false

    @OptionGroup var options: SettingOptions

    func run() async throws {
        umask(0o077)
        try await Failure.reported {
            let settings = try ServerSettings(try options.resolve())
            guard case .embedded(let choice) = settings.identity else {
                throw StartProblem("identity.mode is keystone: its users are kept there")
            }
            let randomness = SystemRandomness()
            let password = try generate ? Secret.base64URL(randomness.bytes(Secret.sizeBytes)) : Self.read()
            try await Self.set(password, of: user, settings, choice, randomness)
            try Self.tell(password, of: user, settings, isGenerated: generate)
        }
    }

    private static func read() throws -> String {
        if isatty(STDIN_FILENO) == 1 { StandardError.say("New password (it is shown as you type):") }
        guard let line = readLine(), !line.isEmpty else {
            throw StartProblem("standard input has no password; give one, or use --generate")
        }
        return line
    }

    private static func set(
        _ password: String, of name: String, _ settings: ServerSettings,
        _ choice: ServerSettings.EmbeddedIdentityChoice, _ randomness: SystemRandomness
    ) async throws {
        let directory = settings.dataDirectory
        let path = directory + "/ambrotype.db"
        guard SmallFile.exists(path) else {
            throw StartProblem("data_dir: there is no database under \(directory); was the server ever started?")
        }
        let identity = IdentityService(
            database: try SQLiteDatabase(path: path, turn: WriteTurn(database: path)),
            surroundings: Surroundings(clock: SystemClock(), randomness: randomness, work: ThreadWorkPool()),
            settings: choice.identitySettings(region: settings.region, publicURL: ""),
            keys: try await TokenKeys.loadOrCreate(path: directory + "/token-keys.pem"),
            changes: try SharedCounter(path: DataDirectory.identityChanges(in: directory)))
        // Whoever may write the database's file may do anything with it.
        let caller = Caller(
            userID: "operator", projectID: nil, hasSystemScope: true, roles: ["admin"], requestID: "set-password",
            logger: Logger(label: "ambrotype", factory: { _ in SwiftLogNoOpLogHandler() }))
        let found = try await identity.users(UserFilter(name: name, domainID: "default"), as: caller)
        guard let user = found.first else { throw StartProblem("there is no user '\(name)' in the default domain") }
        _ = try await identity.updateUser(user.id, ["user": ["password": .string(password)]], as: caller)
    }

    private static func tell(
        _ password: String, of user: String, _ settings: ServerSettings, isGenerated: Bool
    ) throws {
        let clouds = CloudsFile(path: settings.dataDirectory + "/clouds.yaml")
        if !clouds.isThere {
            let accounts = CloudsFile.accounts([user: password])
            // The address is put right by the next start.
            if !accounts.isEmpty { try clouds.write(accounts, at: settings.expectedPlace) }
        }
        let changed = clouds.isThere ? try clouds.setPassword(password, of: user) : []
        if changed.isEmpty {
            StandardError.say("password of \(user) set; clouds.yaml has no entry for this user")
            if isGenerated { StandardOutput.say(password) }
        } else {
            StandardError.say(
                "password of \(user) set; in \(settings.dataDirectory)/clouds.yaml: \(changed.joined(separator: ", "))")
        }
    }
}

extension ServerSettings {
    /// Where Identity will answer, as far as it is known before it listens.
    fileprivate var expectedPlace: CloudsFile.Place {
        let scheme = tls == nil ? "http" : "https"
        let own = listeners[.identity].map { "\(scheme)://\($0)" } ?? "\(scheme)://\(listen)/identity"
        return CloudsFile.Place(
            authURL: (publicEndpoints[.identity] ?? own) + "/v3", region: region, caCertificate: tls?.certificate)
    }
}
