import Core
import Testing

/// What `KeyManager` promises, held against every implementation.
@Suite struct KeyManagerContract {
    typealias Bench = KeyManagerUnderTest.Bench

    private let image = KeyConsumer.image("1a1a1a1a-0000-4000-8000-000000000001")
    private let otherImage = KeyConsumer.image("1a1a1a1a-0000-4000-8000-000000000002")
    private let volume = KeyConsumer(
        service: "volume", resourceType: "volume", resourceID: "1a1a1a1a-0000-4000-8000-000000000003")
    private let unknown: SecretID = "0badc0de-0000-4000-8000-000000000000"

    private func expectKept(
        _ key: SecretID, of consumer: KeyConsumer, _ bench: Bench, at location: SourceLocation = #_sourceLocation
    ) async throws {
        let fate = try await bench.keys.destroy(key, of: consumer, for: bench.project)
        guard case .kept = fate else {
            Issue.record("it was \(fate)", sourceLocation: location)
            return
        }
        #expect(try await bench.exists(key), sourceLocation: location)
    }

    @Test(arguments: KeyManagerUnderTest.all, ["symmetric", "passphrase"])
    func aKeyOfTheProjectIsDestroyed(_ kind: KeyManagerUnderTest, _ type: String) async throws {
        try await kind.with { bench in
            let key = try await bench.makeKey(type)
            #expect(try await bench.exists(key))
            #expect(try await bench.keys.destroy(key, of: image, for: bench.project) == .destroyed)
            #expect(try await !bench.exists(key))
        }
    }

    @Test(arguments: KeyManagerUnderTest.all, ["opaque", "private", "public", "certificate"])
    func whatIsNoKeyOfAnImageStays(_ kind: KeyManagerUnderTest, _ type: String) async throws {
        try await kind.with { bench in
            try await expectKept(try await bench.makeKey(type), of: image, bench)
        }
    }

    /// Whether it says that it stays or that it may not is its own affair; it must never go.
    @Test(arguments: KeyManagerUnderTest.all)
    func aKeyOfAnotherProjectStays(_ kind: KeyManagerUnderTest) async throws {
        try await kind.with { bench in
            let key = try await bench.makeKey("symmetric", bench.otherProject)
            do {
                let fate = try await bench.keys.destroy(key, of: image, for: bench.project)
                guard case .kept = fate else {
                    Issue.record("it was \(fate)")
                    return
                }
            } catch let error as KeyManagerError {
                #expect(error.code == .refused)
            }
            #expect(try await bench.exists(key))
        }
    }

    @Test(arguments: KeyManagerUnderTest.all)
    func aKeyThatSomethingElseNeedsStays(_ kind: KeyManagerUnderTest) async throws {
        try await kind.with { bench in
            let key = try await bench.makeKey()
            try await bench.keys.register(image, of: key, for: bench.project)
            try await bench.consume(key, volume)
            try await expectKept(key, of: image, bench)
        }
    }

    @Test(arguments: KeyManagerUnderTest.all)
    func whoLetsGoOfTheKeyDoesNotKeepIt(_ kind: KeyManagerUnderTest) async throws {
        try await kind.with { bench in
            let key = try await bench.makeKey()
            try await bench.keys.register(image, of: key, for: bench.project)
            #expect(try await bench.keys.destroy(key, of: image, for: bench.project) == .destroyed)
            #expect(try await !bench.exists(key))
        }
    }

    @Test(arguments: KeyManagerUnderTest.all)
    func destroyingAgainFindsNothing(_ kind: KeyManagerUnderTest) async throws {
        try await kind.with { bench in
            let key = try await bench.makeKey()
            #expect(try await bench.keys.destroy(key, of: image, for: bench.project) == .destroyed)
            #expect(try await bench.keys.destroy(key, of: image, for: bench.project) == .notFound)
        }
    }

    @Test(arguments: KeyManagerUnderTest.all)
    func aKeyThatNeverWasIsNotFound(_ kind: KeyManagerUnderTest) async throws {
        try await kind.with { bench in
            for key in [unknown, "0badc0de-0000-1000-8000-000000000000", "no id at all/.."] {
                #expect(try await bench.keys.destroy(key, of: image, for: bench.project) == .notFound)
                try await bench.keys.unregister(image, of: key, for: bench.project)
                guard bench.keys.keepsOwnConsumers else { continue }
                await #expect {
                    try await bench.keys.register(image, of: key, for: bench.project)
                } throws: {
                    ($0 as? KeyManagerError)?.code == .notFound
                }
            }
        }
    }

    @Test(arguments: KeyManagerUnderTest.all)
    func registeringMayBeRepeatedAndIsUndoneAtOnce(_ kind: KeyManagerUnderTest) async throws {
        try await kind.with { bench in
            let key = try await bench.makeKey()
            try await bench.keys.unregister(otherImage, of: key, for: bench.project)
            for _ in 0..<3 { try await bench.keys.register(otherImage, of: key, for: bench.project) }
            if bench.keys.keepsOwnConsumers { try await expectKept(key, of: image, bench) }
            for _ in 0..<3 { try await bench.keys.unregister(otherImage, of: key, for: bench.project) }
            try await bench.keys.register(otherImage, of: key, for: bench.project)
            if bench.keys.keepsOwnConsumers { try await expectKept(key, of: image, bench) }
            try await bench.keys.unregister(otherImage, of: key, for: bench.project)
            #expect(try await bench.keys.destroy(key, of: image, for: bench.project) == .destroyed)
            try await bench.keys.unregister(otherImage, of: key, for: bench.project)
        }
    }

    @Test(arguments: KeyManagerUnderTest.all)
    func registrationsOfManyDoNotDisturbEachOther(_ kind: KeyManagerUnderTest) async throws {
        try await kind.with { bench in
            let key = try await bench.makeKey()
            let images = (10..<30).map { KeyConsumer.image(ImageID("1a1a1a1a-0000-4000-8000-0000000000\($0)")) }
            for image in images { try await bench.keys.register(image, of: key, for: bench.project) }
            if bench.keys.keepsOwnConsumers { try await expectKept(key, of: images[0], bench) }
            for image in images.dropFirst() { try await bench.keys.unregister(image, of: key, for: bench.project) }
            #expect(try await bench.keys.destroy(key, of: images[0], for: bench.project) == .destroyed)
        }
    }

    @Test(arguments: KeyManagerUnderTest.all)
    func destroyingAtOnceEndsWellForAll(_ kind: KeyManagerUnderTest) async throws {
        try await kind.with { bench in
            let key = try await bench.makeKey()
            try await bench.keys.register(image, of: key, for: bench.project)
            let (keys, project, image) = (bench.keys, bench.project, image)
            let fates = try await withThrowingTaskGroup(of: KeyFate.self) { group in
                for _ in 0..<6 { group.addTask { try await keys.destroy(key, of: image, for: project) } }
                var fates: [KeyFate] = []
                for try await fate in group { fates.append(fate) }
                return fates
            }
            #expect(fates.allSatisfy { $0 == .destroyed || $0 == .notFound }, "\(fates)")
            #expect(fates.contains(.destroyed))
            #expect(try await !bench.exists(key))
        }
    }
}
