/// How to reach a Barbican (`keys.mode: barbican`), and as whom: our user of Keystone, in the project whose key
/// is concerned.
package struct BarbicanSettings: Sendable {
    package var keystone: KeystoneSettings
    /// With or without `/v1` at the end. Nil takes it from Keystone's catalogue.
    package var url: String?
    /// Which of the catalogue's endpoints: `public`, `internal`.
    package var interface = "public"
    /// Needed when the catalogue has key managers in several regions.
    package var region: String?
    /// For one try to get an answer.
    package var timeoutSeconds: Int64 = 10

    package init(keystone: KeystoneSettings, url: String?) {
        self.keystone = keystone
        self.url = url
    }
}
