import Synchronization

/// A file that is held until it is let go of.
final class Held: Sendable {
    private let held: Mutex<UnnamedFile?>

    init(_ file: UnnamedFile? = nil) { held = Mutex(file) }

    var file: UnnamedFile {
        guard let file = held.withLock({ $0 }) else { preconditionFailure("the conversion is closed") }
        return file
    }

    func hold(_ file: UnnamedFile) { held.withLock { $0 = file } }

    func release() -> UnnamedFile? {
        held.withLock { file in
            defer { file = nil }
            return file
        }
    }
}
