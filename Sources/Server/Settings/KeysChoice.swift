extension ServerSettings {
    /// Who keeps the keys that things are encrypted with.
    package enum KeysChoice: Sendable, Equatable {
        /// The key manager in this program.
        case embedded(EmbeddedKeysChoice)
        case barbican(BarbicanChoice)
        /// Nobody: nothing can be encrypted.
        case off
    }

    package struct EmbeddedKeysChoice: Sendable, Equatable {
        package var retentionSeconds: Int64 = 604_800
        /// Absolute.
        package var masterKeyFile: String

        package init(masterKeyFile: String) { self.masterKeyFile = masterKeyFile }
    }

    package struct BarbicanChoice: Sendable, Equatable {
        /// Nil leaves it to Keystone's catalogue.
        package let url: String?
    }
}

extension ServerSettings.KeysChoice {
    /// - Parameter dataDirectory: absolute.
    init(
        _ resolved: ResolvedSettings, dataDirectory: String, _ identity: ServerSettings.IdentityChoice,
        _ problems: inout [String]
    ) {
        func refuse(_ settings: [Setting], _ reason: String) {
            problems += settings.filter { resolved.isGiven($0) }.map { "\($0.key): \(reason)" }
        }
        switch resolved.requiredText(.keysMode) {
        case "barbican":
            refuse([.keysRetention, .keysMasterKeyFile], "no keys are kept here when keys.mode is barbican")
            if case .embedded = identity {
                problems.append(
                    "keys.mode 'barbican': it needs identity.mode keystone; a Barbican is called in the owner's "
                        + "project, with a token of the Keystone that it believes")
            }
            self = .barbican(.init(url: resolved.text(.keysBarbicanURL)))
        case "off":
            refuse([.keysBarbicanURL], "no Barbican is called when keys.mode is off")
            refuse([.keysRetention, .keysMasterKeyFile], "no keys are kept here when keys.mode is off")
            self = .off
        default:
            refuse([.keysBarbicanURL], "no Barbican is called when keys.mode is embedded")
            var choice = ServerSettings.EmbeddedKeysChoice(
                masterKeyFile: absolutePath(resolved.text(.keysMasterKeyFile) ?? dataDirectory + "/master-keys"))
            choice.retentionSeconds = Int64(resolved.integer(.keysRetention))
            self = .embedded(choice)
        }
    }
}
