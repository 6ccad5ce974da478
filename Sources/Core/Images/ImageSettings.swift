import Trust

/// What the operator decides about images.
package struct ImageSettings: Sendable {
    /// The trusted digest of new uploads (`os_hash_algo`).
    package var hashAlgorithm: DigestAlgorithm = .sha512
    /// Images a list returns when it names no limit, and at most.
    package var listLimitDefault = 25
    package var listLimitMax = 1000
    /// Quotas of one image; negative is unlimited.
    package var propertyQuota = 128
    package var tagQuota = 128
    package var memberQuota = 128
    /// Where the limits of projects are kept.
    package var limits = LimitSource.settings
    /// Quotas of one project, when its limits are kept in the settings; negative is unlimited.
    package var imageCountQuota: Int64 = -1
    package var imageBytesQuota: Int64 = -1
    package var uploadingCountQuota: Int64 = -1
    /// The largest image there may be, in bytes.
    package var sizeCapBytes: Int64 = 1 << 40
    package var containerFormats = ["ami", "ari", "aki", "bare", "ovf", "ova", "docker", "compressed"]
    package var diskFormats = ["ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "iso", "ploop"]
    /// Typed common properties (`schema-image.json`); empty when the operator has none.
    package var schemaProperties = SchemaProperties.standard
    /// Who may do what.
    package var policy = ImagePolicy.standard
    /// How long a deleted image can be had back, in seconds; 0 is not at all.
    package var recycleBinSeconds: Int64 = 0
    /// How long the lease of an upload or a job lasts without being renewed, in seconds.
    package var leaseSeconds: Int64 = 30
    /// Bytes of uploads that may be in memory at once, over all uploads.
    package var uploadBufferBytes = 96 << 20
    package var signatures = SignatureSettings()
    package var formats = FormatSettings()
    package var imports = ImportSettings()
    package var locations = LocationSettings()
    /// The store for uploads that name none.
    package var defaultStore: StoreID = "local"

    package init() {}
}
