import Core
import NIOCore
import Testing

@Suite struct SecretMetadataTests {
    @Test func pairsComeAndGo() async throws {
        let fixture = try await SecretFixture()
        let secrets = fixture.secrets
        let id = try await fixture.store()
        let caller = fixture.caller()
        func all() async throws -> String {
            try await secrets.metadata(of: id, as: caller).map { "\($0.key)=\($0.value)" }.joined(separator: " ")
        }
        #expect(try await all() == "")
        try await secrets.replaceMetadata(of: id, with: ["b": "2", "a": "1"], as: caller)
        #expect(try await all() == "a=1 b=2")
        try await secrets.addMetadatum("c", "", to: id, as: caller)
        let again = await refusal { try await secrets.addMetadatum("c", "9", to: id, as: caller) }
        #expect(again == "409 Conflict. Key in request is already in the secret metadata")
        try await secrets.setMetadatum("c", "3", of: id, as: caller)
        #expect(try await secrets.metadatum("c", of: id, as: caller) == "3")
        #expect(
            await refusal { _ = try await secrets.metadatum("C", of: id, as: caller) }
                == "404 Secret metadata not found.")
        #expect(await status { try await secrets.setMetadatum("d", "4", of: id, as: caller) } == 404)
        try await secrets.removeMetadatum("a", of: id, as: caller)
        try await secrets.removeMetadatum("a", of: id, as: caller)
        #expect(try await all() == "b=2 c=3")
        try await secrets.replaceMetadata(of: id, with: [:], as: caller)
        #expect(try await all() == "")
    }

    @Test func onlyThoseOfTheProjectChangeIt() async throws {
        let fixture = try await SecretFixture()
        let id = try await fixture.store()
        try await fixture.letIn("friend", to: id)
        for caller in [fixture.caller("p2", user: "friend"), fixture.admin, fixture.caller(roles: ["reader"])] {
            #expect(await status { try await fixture.secrets.addMetadatum("a", "1", to: id, as: caller) } == 403)
            #expect(await status { try await fixture.secrets.removeMetadatum("a", of: id, as: caller) } == 403)
        }
    }

    private func json(_ text: String) throws -> JSONValue { try JSONValue(parsing: ByteBuffer(string: text)) }

    @Test func keysAreInLowerCase() throws {
        #expect(
            try SecretMetadata.pairs(try json(#"{"metadata": {"Geo": "X", "a-b_1": ""}, "else": 1}"#)) == [
                "geo": "X", "a-b_1": "",
            ])
        let pair = try SecretMetadata.pair(try json(#"{"key": "Third", "value": "Z"}"#))
        #expect(pair == ("third", "Z"))
    }

    @Test(arguments: [
        #"{}"#, #"{"metadata": null}"#, #"{"metadata": []}"#, #"{"metadata": {"a": 1}}"#,
        #"{"metadata": {"a b": "1"}}"#,
        #"{"metadata": {"ü": "1"}}"#, "[]", #"{"metadata": {"a": {"b": "c"}}}"#,
    ])
    func badPairs(_ text: String) async {
        #expect(await status { _ = try SecretMetadata.pairs(try json(text)) } == 400)
    }

    @Test(arguments: [
        #"{}"#, #"{"key": "a"}"#, #"{"value": "a"}"#, #"{"key": 1, "value": "a"}"#, #"{"key": "a", "value": null}"#,
        #"{"key": "a", "value": "b", "extra": 1}"#, #"{"key": "a/b", "value": "b"}"#, "1",
    ])
    func badPair(_ text: String) async { #expect(await status { _ = try SecretMetadata.pair(try json(text)) } == 400) }

    @Test func lengthsAreBounded() async throws {
        let long = String(repeating: "x", count: 256)
        #expect(await status { _ = try SecretMetadata.pair(["key": .string(long), "value": "a"]) } == 400)
        #expect(await status { _ = try SecretMetadata.pair(["key": "a", "value": .string(long)]) } == 400)
    }
}
