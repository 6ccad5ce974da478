// swift-tools-version: 6.2
import PackageDescription

// The import rules of the house (ARCHITECTURE.md) are the dependency lists below:
// a target that does not depend on a module cannot import it. `TidyTests` holds the rest.

let ours: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .treatAllWarnings(as: .error),
]

let argumentParser = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
let asyncHTTPClient = Target.Dependency.product(name: "AsyncHTTPClient", package: "async-http-client")
let configuration = Target.Dependency.product(name: "Configuration", package: "swift-configuration")
let hummingbirdCore = Target.Dependency.product(name: "HummingbirdCore", package: "hummingbird")
let hummingbirdTLS = Target.Dependency.product(name: "HummingbirdTLS", package: "hummingbird")
let httpTypes = Target.Dependency.product(name: "HTTPTypes", package: "swift-http-types")
let jwtKit = Target.Dependency.product(name: "JWTKit", package: "jwt-kit")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let metrics = Target.Dependency.product(name: "Metrics", package: "swift-metrics")
let coreMetrics = Target.Dependency.product(name: "CoreMetrics", package: "swift-metrics")
let nioCore = Target.Dependency.product(name: "NIOCore", package: "swift-nio")
let nioHTTP1 = Target.Dependency.product(name: "NIOHTTP1", package: "swift-nio")
let nioPosix = Target.Dependency.product(name: "NIOPosix", package: "swift-nio")
let nioHTTPTypes = Target.Dependency.product(name: "NIOHTTPTypes", package: "swift-nio-extras")
let nioHTTPTypesHTTP1 = Target.Dependency.product(name: "NIOHTTPTypesHTTP1", package: "swift-nio-extras")
let nioTLS = Target.Dependency.product(name: "NIOTLS", package: "swift-nio")
let nioSSL = Target.Dependency.product(name: "NIOSSL", package: "swift-nio-ssl")
let serviceLifecycle = Target.Dependency.product(name: "ServiceLifecycle", package: "swift-service-lifecycle")
let unixSignals = Target.Dependency.product(name: "UnixSignals", package: "swift-service-lifecycle")
let yams = Target.Dependency.product(name: "Yams", package: "Yams")

let package = Package(
    name: "ambrotype",
    products: [
        .executable(name: "ambrotype", targets: ["ambrotype"])
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-configuration", from: "1.4.0", traits: ["YAML"]),
        .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
        .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.0"),
        .package(url: "https://github.com/apple/swift-nio-extras", from: "1.35.0"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.0"),
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.0"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.0"),
        .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
        .package(url: "https://github.com/vapor/jwt-kit", from: "5.7.0"),
    ],
    targets: [
        // Debian's libcrypto: digests, scrypt, sealing, key pairs, random. Seen by Trust alone.
        .systemLibrary(name: "COpenSSL", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),
        // crypt_r, for bcrypt hashes that come from a Keystone. Seen by Trust alone.
        .systemLibrary(name: "CCrypt", providers: [.apt(["libcrypt-dev"])]),
        // zlib, liblzma and libzstd: what unpacks imported images. Seen by Compression alone.
        .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
        .systemLibrary(name: "CLZMA", pkgConfig: "liblzma", providers: [.apt(["liblzma-dev"])]),
        .systemLibrary(name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),
        // Debian's SQLite. Seen by Persistence alone, and by the simulation, which gives it a disk.
        .systemLibrary(name: "CSQLite", pkgConfig: "sqlite3", providers: [.apt(["libsqlite3-dev"])]),
        // System calls that Swift cannot see through Glibc. Seen by Blobs, Conversion and Trust alone.
        .target(name: "CLinuxIO"),

        .target(name: "Trust", dependencies: ["CCrypt", "CLinuxIO", "COpenSSL", jwtKit], swiftSettings: ours),
        // Disk image formats, recognised and checked as their bytes pass. Depends on nothing.
        .target(name: "Formats", swiftSettings: ours),
        // Packed files, unpacked as their bytes pass. No I/O.
        .target(name: "Compression", dependencies: ["CLZMA", "CZlib", "CZstd"], swiftSettings: ours),
        .target(
            name: "Persistence", dependencies: ["CLinuxIO", "CSQLite", logging, metrics, nioPosix], swiftSettings: ours
        ),
        .target(
            name: "Core", dependencies: ["Compression", "Formats", "Trust", "Persistence", logging, metrics, nioCore],
            swiftSettings: ours),
        .target(
            name: "Blobs", dependencies: ["Core", "Trust", "CLinuxIO", logging, nioCore, nioPosix], swiftSettings: ours),
        // Disk images written anew in other formats, by qemu-img as a confined child process.
        .target(
            name: "Conversion", dependencies: ["CLinuxIO", "Core", "Formats", logging, nioCore], swiftSettings: ours),
        // Clients of other services (Keystone, …). Core knows them by their seams alone, or not at all.
        .target(
            name: "Remote",
            dependencies: [
                "Core", "Trust", asyncHTTPClient, httpTypes, logging, nioCore, nioHTTP1, nioPosix, nioSSL, nioTLS,
            ],
            swiftSettings: ours),
        .target(
            name: "API",
            dependencies: [
                "Compression", "Core", hummingbirdCore, httpTypes, logging, metrics, nioCore, nioHTTP1, nioHTTPTypes,
            ],
            swiftSettings: ours),
        .target(
            name: "Server",
            dependencies: [
                "API", "Blobs", "Conversion", "Core", "Persistence", "Remote", "Trust", argumentParser, configuration,
                coreMetrics, httpTypes, hummingbirdCore, hummingbirdTLS, logging, metrics, nioCore,
                nioHTTP1, nioHTTPTypes, nioHTTPTypesHTTP1, nioPosix, nioSSL, serviceLifecycle, unixSignals, yams,
            ],
            swiftSettings: ours),
        .executableTarget(name: "ambrotype", dependencies: ["Server", argumentParser], swiftSettings: ours),

        // The real Core on real SQLite, on disks, clocks and a scheduler that follow from a seed. For tests alone.
        .target(
            name: "Simulation",
            dependencies: ["Blobs", "Core", "Persistence", "Trust", "CSQLite", logging, nioCore], swiftSettings: ours),
        .executableTarget(name: "torture", dependencies: ["Simulation", argumentParser], swiftSettings: ours),

        .testTarget(name: "FormatTests", dependencies: ["Formats"], swiftSettings: ours),
        .testTarget(name: "CompressionTests", dependencies: ["Compression"], swiftSettings: ours),
        .testTarget(
            name: "UnitTests",
            dependencies: [
                "API", "Blobs", "CLinuxIO", "Conversion", "Core", "Persistence", "Remote", "Server", "Trust",
                asyncHTTPClient, httpTypes, logging, metrics, nioCore, nioHTTP1, nioPosix, nioSSL,
            ],
            swiftSettings: ours),
        .testTarget(
            name: "ContractTests",
            dependencies: [
                "Blobs", "Core", "Persistence", "Remote", "Trust", asyncHTTPClient, nioCore, nioHTTP1, nioPosix,
                logging,
            ],
            swiftSettings: ours),
        .testTarget(
            name: "SimulationTests",
            dependencies: ["Blobs", "Core", "Persistence", "Simulation", "CSQLite", logging], swiftSettings: ours),
        .testTarget(
            name: "APITests",
            dependencies: [
                "API", "Blobs", "Core", "Persistence", "Server", "Trust", asyncHTTPClient, httpTypes, logging, metrics,
                nioCore, nioHTTP1, nioPosix, nioSSL, serviceLifecycle,
            ],
            swiftSettings: ours),
    ],
    swiftLanguageModes: [.v6]
)
