import Core
import Trust

extension ImageSettings {
    /// What image data has to prove, and what is told of where it is (`image.verification`).
    mutating func verify(_ resolved: ResolvedSettings, _ problems: inout [String]) {
        let table = Setting.imageVerification
        signatures.chains = resolved.text(table, "chains").flatMap(SignatureSettings.Chains.init) ?? .warn
        signatures.checkedDownloads =
            resolved.text(table, "downloads").flatMap(SignatureSettings.CheckedDownloads.init) ?? .signed
        formats.mustMatch = resolved.flag(table, "format_match")
        formats.arePartitionTablesChecked = resolved.flag(table, "partition_tables")
        locations.areShown = resolved.flag(table, "show_locations")
        locations.isDirectURLShown = resolved.flag(table, "show_direct_url")
        locations.areHashed = resolved.flag(table, "secure_hash")
        let projects = (resolved.text(table, "require_signed_projects") ?? "").split(separator: " ")
        switch (resolved.flag(table, "require_signed"), projects.isEmpty) {
        case (true, true): signatures.requireSigned = .everyone
        case (false, true): signatures.requireSigned = .nobody
        case (false, false): signatures.requireSigned = .projects(Set(projects.map { ProjectID(String($0)) }))
        case (true, false):
            problems.append(
                "\(table.key).require_signed_projects: require_signed is true, which is for all projects; leave one out"
            )
        }
        trust(resolved.text(table, "trusted_certificates"), table.key, &problems)
    }

    private mutating func trust(_ file: String?, _ key: String, _ problems: inout [String]) {
        guard let file else {
            if signatures.chains == .require {
                problems.append(
                    "\(key).trusted_certificates: it is missing; chains 'require' needs a PEM file with the certificates "
                        + "that signers have to lead to")
            }
            return
        }
        do {
            signatures.trusted = try TrustedCertificates(pem: try SmallFile.read(absolutePath(file)))
        } catch {
            problems.append("\(key).trusted_certificates: \(file): \(error)")
        }
    }
}
