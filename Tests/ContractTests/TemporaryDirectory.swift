import Foundation
import Testing

/// Runs `body` with a fresh directory of its own, removed afterwards.
func withTemporaryDirectory<T>(_ body: (String) async throws -> T) async throws -> T {
    let path = NSTemporaryDirectory() + "ambrotype-test-" + UUID().uuidString.lowercased()
    try FileManager.default.createDirectory(
        atPath: path, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o700])
    defer {
        do {
            try FileManager.default.removeItem(atPath: path)
        } catch {
            Issue.record(error, "a test's directory could not be removed")
        }
    }
    return try await body(path)
}
