/// How bytes come to an image by an import, by the names that clients know.
package enum ImportMethod: String, Sendable, CaseIterable {
    /// From what was staged.
    case glanceDirect = "glance-direct"
    /// From a URL.
    case webDownload = "web-download"
    /// From the image's own data, to other stores.
    case copyImage = "copy-image"
    /// From another image service of the cloud.
    case glanceDownload = "glance-download"
}

/// What the operator decides about imports.
package struct ImportSettings: Sendable {
    /// In the order that clients are told.
    package var methods = ImportMethod.allCases.filter { $0 != .glanceDownload }
    /// How long an ended task can be looked at.
    package var taskHours: Int64 = 48
    /// How often an import that fails for reasons that may pass is tried in all.
    package var attempts: Int64 = 4
    /// How many imports one server works on at once.
    package var width = 16
    /// What is done to imported bytes before they are an image's.
    package var plugins = ImportPlugins()
    /// With what the names of properties begin that `glance-download` copies with the image.
    package var copiedProperties = ["hw_", "trait:", "os_distro", "os_secure_boot", "os_type"]
    /// What may be fetched, for imports and for locations.
    package var egress = EgressSettings()

    package init() {}
}
