import Core
import Testing

/// What the plugins do to an image, beside conversion.
@Suite struct ImportPluginTests {
    private static let decompression = {
        var plugins = ImportPlugins()
        plugins.order = [.decompression]
        return plugins
    }()

    @Test(arguments: ["gzip -c <in >out", "xz -c <in >out", "zstd -q -c <in >out", "zip -q m.zip in; mv m.zip out"])
    func packedBytesBecomeWhatIsInThem(_ command: String) async throws {
        let fixture = try await ImportStepFixture()
        let disk = SeededRandomness().bytes(300_000) + [UInt8](repeating: 0, count: 3_000_000)
        let made = try await fixture.run(Self.decompression, try Shell.run(command, input: disk))
        #expect(made.bytes == disk)
        #expect(made.result == ImportStepResult(replacesBytes: true))
    }

    @Test func otherBytesStayAsTheyAre() async throws {
        let fixture = try await ImportStepFixture()
        for bytes in [[], [0x1f], [UInt8](repeating: 0, count: 100_000)] {
            let made = try await fixture.run(Self.decompression, bytes)
            #expect(made.result == nil)
            #expect(made.bytes.isEmpty)
        }
    }

    @Test func theContainerCompressedStaysPacked() async throws {
        let fixture = try await ImportStepFixture()
        let packed = try Shell.run("gzip -c <in >out", input: [1, 2, 3])
        #expect(try await fixture.run(Self.decompression, packed, container: "compressed").result == nil)
    }

    @Test func emptyFilesComeOutEmpty() async throws {
        let fixture = try await ImportStepFixture()
        let made = try await fixture.run(Self.decompression, try Shell.run("gzip -c <in >out"))
        #expect(made.result == ImportStepResult(replacesBytes: true))
        #expect(made.bytes.isEmpty)
    }

    @Test func whatCannotBeUnpackedSaysWhy() async throws {
        let fixture = try await ImportStepFixture()
        let packed = try Shell.run("gzip -c <in >out", input: SeededRandomness().bytes(10_000))
        for (bytes, words) in [
            (Array(packed.dropLast(5)), "The image data cannot be unpacked: the gzip data ends before it is whole."),
            (packed + [1], "The image data cannot be unpacked: the gzip data is followed by something else."),
            (
                [0, 0] + Array("-lh5-".utf8),
                "The image data cannot be unpacked: lha archives cannot be unpacked; use gzip, xz, zstd or zip."
            ),
        ] {
            let error = await #expect(throws: ServiceError.self) { try await fixture.run(Self.decompression, bytes) }
            #expect(error?.status == 400)
            #expect(error?.message == words)
        }
    }

    @Test func aFullOutputEndsIt() async throws {
        let fixture = try await ImportStepFixture()
        let packed = try Shell.run("head -c 100M /dev/zero | gzip -c >out")
        let output = KeptOutput(limitBytes: 3 << 20)
        let status = try await fixture.status { try await fixture.run(Self.decompression, packed, output: output) }
        #expect(status == 413)
        #expect(output.bytes.count <= 4 << 20)
    }

    @Test func bombsAreRefused() async throws {
        let fixture = try await ImportStepFixture()
        let part = try Shell.run("head -c 64M /dev/zero | zstd -q -c >out")
        let bomb = Array(repeatElement(part, count: 160).joined())
        let output = KeptOutput(isCountedOnly: true)
        let status = try await fixture.status { try await fixture.run(Self.decompression, bomb, output: output) }
        #expect(status == 400)
        #expect(output.count <= 1 << 30)
    }

    @Test func propertiesAreInjectedUnlessARoleIsTrusted() async throws {
        let fixture = try await ImportStepFixture()
        var plugins = ImportPlugins()
        plugins.order = [.injectMetadata]
        #expect(try await fixture.run(plugins, [1]).result == nil)
        plugins.inject = ["os_distro": "unknown", "imported": "yes"]
        let expected = ImportStepResult(replacesBytes: false, properties: plugins.inject)
        #expect(try await fixture.run(plugins, [1]).result == expected)
        #expect(try await fixture.run(plugins, [1], roles: []).result == expected)
        #expect(try await fixture.run(plugins, [1], roles: ["admin", "member"]).result == nil)
        plugins.injectIgnoredRoles = ["trusted"]
        #expect(try await fixture.run(plugins, [1], roles: ["admin"]).result == expected)
        #expect(try await fixture.run(plugins, [1], roles: ["trusted"]).result == nil)
    }
}
