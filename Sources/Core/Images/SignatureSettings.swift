import Trust

/// What the operator decides about signed images.
package struct SignatureSettings: Sendable {
    /// What becomes of an upload whose signer's certificate does not lead to a trusted one.
    package enum Chains: String, Sendable, CaseIterable {
        /// Nobody looks.
        case off
        /// It is taken; the log and the provenance say why the signer is not trusted.
        case warn
        /// It is refused.
        case require
    }

    /// Who may upload signed images only.
    package enum RequireSigned: Sendable, Equatable {
        case nobody, everyone
        case projects(Set<ProjectID>)

        func includes(_ owner: ProjectID?) -> Bool {
            switch self {
            case .nobody: false
            case .everyone: true
            case .projects(let projects): owner.map(projects.contains) ?? false
            }
        }
    }

    /// Which downloads are checked against the digest as they go out. The rest trust the sealed digest of the upload
    /// and the store.
    package enum CheckedDownloads: String, Sendable, CaseIterable { case signed, all }

    package var chains = Chains.warn
    package var trusted = TrustedCertificates([])
    package var requireSigned = RequireSigned.nobody
    package var checkedDownloads = CheckedDownloads.signed

    package init() {}
}

/// What the operator decides about the formats of images.
package struct FormatSettings: Sendable {
    /// Whether the bytes must be what `disk_format` says. Their safety is looked at in any case.
    package var mustMatch = true
    /// Whether a partition table that is not sane refuses the image.
    package var arePartitionTablesChecked = true

    package init() {}
}
