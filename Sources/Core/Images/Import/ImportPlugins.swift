import Compression

/// What the operator has done to images that are imported: `image.import.plugins` and what belongs to it.
package struct ImportPlugins: Sendable, Equatable {
    package enum Plugin: String, Sendable, CaseIterable {
        case decompression = "image_decompression"
        case conversion = "image_conversion"
        case injectMetadata = "inject_image_metadata"
    }

    /// In the order in which they run.
    package var order: [Plugin] = []
    package var outputFormat = ConversionTarget.raw
    package var inject: [String: String] = [:]
    /// Whose imports get no properties; in lower case.
    package var injectIgnoredRoles: Set<String> = ["admin"]

    package init() {}

    /// Whether a plugin may set a property. It may not set what means something to the server: a column, a name of its
    /// own, or one that would hold a key.
    package static func mayInject(_ name: String) -> Bool {
        !ImageFields.isServerSet(name) && !ImageFields.writable.contains(name) && name != "id"
            && !ImageKeys.properties.contains { $0.name == name || $0.policy == name }
    }

    /// - Parameter converter: what converts; needed when conversion is among the plugins.
    package func steps(
        converter: (any ImageConverter)?, work: any WorkPool, formats: FormatSettings, sizeCapBytes: Int64
    ) -> [any ImportStep] {
        order.map { plugin in
            switch plugin {
            case .decompression: return DecompressionStep(limits: UnpackLimits(), work: work)
            case .conversion:
                guard let converter else { preconditionFailure("conversion without a converter") }
                return ConversionStep(
                    target: outputFormat, converter: converter, rules: formats, sizeCapBytes: sizeCapBytes)
            case .injectMetadata:
                return InjectMetadataStep(properties: inject, ignoredRoles: injectIgnoredRoles)
            }
        }
    }
}
