import Blobs

/// A call a simulated disk is asked to do.
package struct DiskCall: Sendable, CustomStringConvertible {
    package enum Kind: String, Sendable, CaseIterable {
        case open, create, close, status, names, access, space
        case read, write, sync, truncate, reserve, startWriteback
        case makeDirectory, unlink, rename, link
        /// SQLite's locks, on the file and in its shared memory.
        case lock, unlock
        /// Mapping SQLite's shared memory.
        case map
    }

    /// Where it comes from.
    package enum Place: Sendable, Hashable, CustomStringConvertible {
        case program(CallSite)
        /// SQLite, by the name of the VFS method.
        case sqlite(StaticMethod)

        package var description: String {
            switch self {
            case .program(let site): site.description
            case .sqlite(let method): method.rawValue
            }
        }
    }

    package enum StaticMethod: String, Sendable {
        case xOpen, xDelete, xAccess, xClose, xRead, xWrite, xTruncate, xSync, xFileSize
        case xLock, xUnlock, xCheckReservedLock, xShmMap, xShmLock
    }

    package let kind: Kind
    /// On the disk, without what leads SQLite to it. Of a rename and a link, the new one.
    package let path: String
    package let place: Place
    /// Which process calls.
    package let mount: String
    /// Whether it changes the disk, or what of it is durable.
    package let isEffect: Bool
    /// Of what is read or written; else 0.
    package let sizeBytes: Int
    /// From 1 on, among all calls of the disk.
    package let number: Int
    /// How many effects were asked for until then, this call included.
    package let effectNumber: Int

    package var description: String { "#\(number) \(mount) \(kind) \(path) (\(place))" }
}

/// What an interceptor makes of a call.
package enum DiskFault: Sendable, Hashable {
    /// It fails with this `errno` and does nothing; what a sync did not cover, a later one may. An unlock
    /// and a close are done all the same: they do not fail on a real machine either.
    case error(Int32)
    /// A write does a part of its work: it returns fewer bytes, and SQLite's fails for want of space.
    /// Other calls go on as usual.
    case short
    /// The machine stops before the call does anything.
    case crash
}
