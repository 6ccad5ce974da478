import ArgumentParser
import Foundation
import Remote
import Yams

/// Which cloud a command works with: an entry of a `clouds.yaml`, found as openstacksdk finds it.
struct CloudOptions: ParsableArguments {
    @Option(
        name: .customLong("os-cloud"),
        help: ArgumentHelp("The entry of clouds.yaml (OS_CLOUD). Not needed if there is one only.", valueName: "name"))
    var name: String?

    @Option(
        name: .customLong("os-clouds-file"),
        help: ArgumentHelp(
            "The file (OS_CLIENT_CONFIG_FILE, ./clouds.yaml, ~/.config/openstack/clouds.yaml, "
                + "/etc/openstack/clouds.yaml).",
            valueName: "file"), completion: .file())
    var file: String?

    /// - Throws: `Refusal`.
    func account() throws -> CloudAccount {
        let environment = ProcessInfo.processInfo.environment
        let path = try path(environment)
        guard let text = SmallFile.text(path) else { throw Refusal("\(path) cannot be read") }
        // Yams' own errors quote the file, passwords included.
        guard let clouds = (try? Yams.compose(yaml: text))?["clouds"]?.mapping else {
            throw Refusal("\(path) is no clouds.yaml")
        }
        let wanted = name ?? environment["OS_CLOUD"]
        guard let chosen = wanted ?? (clouds.count == 1 ? clouds.keys.first?.string : nil) else {
            throw Refusal("\(path) has several clouds: say which, with --os-cloud")
        }
        guard let entry = clouds[Node(chosen)] else { throw Refusal("\(path) has no cloud \(chosen)") }
        return try CloudEntry(entry, place: "\(path), cloud \(chosen)").account()
    }

    private func path(_ environment: [String: String]) throws -> String {
        if let given = file ?? environment["OS_CLIENT_CONFIG_FILE"] { return given }
        let usual =
            ["clouds.yaml"]
            + (environment["HOME"].map { [$0 + "/.config/openstack/clouds.yaml"] } ?? [])
            + ["/etc/openstack/clouds.yaml"]
        guard let found = usual.first(where: SmallFile.exists) else {
            throw Refusal("there is no clouds.yaml: say where it is, with --os-clouds-file")
        }
        return found
    }
}

/// One cloud of a `clouds.yaml`.
private struct CloudEntry {
    let entry: Node
    let place: String

    init(_ entry: Node, place: String) {
        self.entry = entry
        self.place = place
    }

    func account() throws -> CloudAccount {
        CloudAccount(
            authURL: try required("auth_url"), credential: try credential(), region: entry["region_name"]?.string,
            interface: entry["interface"]?.string ?? "public", caCertificateFile: entry["cacert"]?.string)
    }

    private func credential() throws -> CloudAccount.Credential {
        switch entry["auth_type"]?.string ?? "password" {
        case "password", "v3password":
            return .password(
                user: try named("user_id", "username"), userDomain: domain("user"), password: try required("password"),
                project: try named("project_id", "project_name"), projectDomain: domain("project"))
        case "v3applicationcredential":
            return .application(
                id: try required("application_credential_id"), secret: try required("application_credential_secret"))
        case let other: throw Refusal("\(place): auth_type \(other) is not supported")
        }
    }

    private func auth(_ member: String) -> String? { entry["auth"]?[member]?.scalar?.string }

    private func required(_ member: String) throws -> String {
        guard let value = auth(member) else { throw Refusal("\(place): there is no auth.\(member)") }
        return value
    }

    private func named(_ id: String, _ name: String) throws -> CloudAccount.Named {
        if let value = auth(id) { return .id(value) }
        return .name(try required(name))
    }

    /// Of a user or a project; `default` is the domain that every cloud has.
    private func domain(_ owner: String) -> CloudAccount.Named {
        if let id = auth(owner + "_domain_id") ?? auth("domain_id") { return .id(id) }
        if let name = auth(owner + "_domain_name") ?? auth("domain_name") { return .name(name) }
        return .id("default")
    }
}
