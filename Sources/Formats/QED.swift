/// QEMU's enhanced disk format (QEMU, `docs/interop/qed_spec`): abandoned, and refused whatever it holds.
struct QED: FormatParser {
    static let format = DiskFormat.qed
    let virtualSize = VirtualSize.unknown

    static func recognises(_ start: Window) -> Bool {
        start.count >= FormatInspector.beginningBytes && start.has("QED\0", at: 0)
    }

    mutating func read(_ window: Window) throws(FormatFinding) -> Appetite {
        throw fields(window).finding("banned", at: 0, "this format is not allowed")
    }
}
