import Core
import Testing

/// What an import is asked to fetch goes through the same gate, whatever the form of the request: nothing is connected to.
@Suite(.timeLimit(.minutes(10))) struct ImportEgressTests {
    /// None of those that are tried because they are not in the operator's list.
    private static let port = 18_765

    private static func service(_ fixture: EgressFixture) async throws -> ImageFixture {
        // One attempt: nothing here is worth another.
        try await ImageFixture({ $0.imports.attempts = 1 }, remote: fixture.client)
    }

    /// - Returns: how the task ended; nil when the request was refused.
    private static func outcome(_ service: ImageFixture, _ url: String, for id: ImageID) async throws -> ImageTask? {
        do {
            try await service.importImage(id, ["method": ["name": "web-download", "uri": .string(url)]])
            let task = try #require(try await service.mark("import_task", of: id))
            try await service.images.reconcile()
            return try await service.images.task(TaskID(task), as: service.admin)
        } catch let error as ServiceError {
            #expect(error.status == 400, "\(url.debugDescription): \(error)")
            return nil
        }
    }

    @Test func noImportReachesAForbiddenTarget() async throws {
        let fixture = try EgressFixture(nil, ["allowed_ports": "80 443 \(Self.port)"])
        let service = try await Self.service(fixture)
        let id = try await service.createImage().id
        let forms = EgressForms.all(port: Self.port)
        var (refused, failed) = (0, 0)
        for form in forms {
            fixture.resolver.setAll(form.answers)
            guard let task = try await Self.outcome(service, form.url, for: id) else {
                refused += 1
                continue
            }
            #expect(task.status == .failure && task.message.contains("does not pass filtering"), "\(form): \(task)")
            #expect(try await service.image(id).status == .queued)
            failed += 1
        }
        #expect(refused + failed >= 3000 && refused > 1000 && failed > 100, "\(refused) \(failed)")
        #expect(fixture.connector.connects.isEmpty)
        #expect(try await service.blobs() == [])
    }

    @Test func noImportIsRedirectedToAForbiddenTarget() async throws {
        let forms = EgressForms.all(port: Self.port).filter { form in
            form.isAbsolute && form.url.utf8.allSatisfy { (0x21...0x7e).contains($0) }
        }
        try await EgressPeer.with { connection in
            let number = Int(try await connection.request().split(separator: " ")[1].dropFirst()) ?? 0
            try await connection.send("HTTP/1.1 307 X\r\nLocation: \(forms[number].url)\r\nContent-Length: 0\r\n\r\n")
        } _: { peer in
            let fixture = try EgressFixture(peer, ["allowed_ports": "80 443 \(Self.port)"])
            let service = try await Self.service(fixture)
            let id = try await service.createImage().id
            var count = 0
            // One in two: each is a request, a job and a connection.
            for (number, form) in forms.enumerated() where number % 2 == 0 {
                fixture.resolver.setAll(form.answers)
                fixture.resolver.set("origin.test", .addresses([EgressForms.openAddress]))
                let task = try #require(try await Self.outcome(service, "http://origin.test/\(number)", for: id))
                #expect(task.status == .failure && task.message.contains("does not pass filtering"), "\(form): \(task)")
                count += 1
            }
            #expect(count >= 1000)
            // The origin alone.
            #expect(fixture.connector.connects.count == count)
            #expect(Set(fixture.connector.connects.map(\.description)) == ["93.184.216.34:80"])
        }
    }
}
