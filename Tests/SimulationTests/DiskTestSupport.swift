import Blobs
import Simulation

let here = CallSite(#fileID, #line)

extension DiskFile {
    /// Writes all of it, however often it takes.
    func put(_ bytes: [UInt8], offset: Int = 0) throws {
        var done = 0
        while done < bytes.count {
            done += try bytes[done...].withUnsafeBytes { try write([$0][...], offset: Int64(offset + done), at: here) }
        }
    }

    func get(_ count: Int, offset: Int = 0) throws -> [UInt8] {
        try [UInt8](unsafeUninitializedCapacity: count) { space, got in
            got = try read(into: UnsafeMutableRawBufferPointer(space), offset: Int64(offset), at: here)
        }
    }
}

extension Disk {
    func create(_ path: String, _ bytes: [UInt8] = [], isSynced: Bool = false) throws -> any DiskFile {
        let file = try open(path, .create, at: here)
        try file.put(bytes)
        if isSynced { try file.sync(at: here) }
        return file
    }

    func syncNames(_ path: String) throws { try open(path, .directory, at: here).sync(at: here) }
}

/// The `errno` a call fails with; 0 if it does not.
func code(_ body: () throws -> Void) -> Int32 {
    do {
        try body()
        return 0
    } catch {
        return (error as? SystemCallError)?.code ?? -1
    }
}
