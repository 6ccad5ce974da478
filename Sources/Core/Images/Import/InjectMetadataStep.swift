/// The plugin `inject_image_metadata`: properties that the operator gives every imported image, unless whoever imports
/// it is trusted to know better.
struct InjectMetadataStep: ImportStep {
    let name = "inject_image_metadata"
    let properties: [String: String]
    /// In lower case.
    let ignoredRoles: Set<String>

    func run(_ input: ImportStepInput, output: any ImportOutput) async throws -> ImportStepResult? {
        guard !properties.isEmpty, input.roles.isDisjoint(with: ignoredRoles) else { return nil }
        return ImportStepResult(replacesBytes: false, properties: properties)
    }
}
