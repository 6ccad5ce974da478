import Core
import Foundation
import Glibc
import NIOHTTP1
import NIOSSL
import Server
import Testing

@Suite struct TLSTests {
    /// A key and a self-signed certificate for 127.0.0.1, made by the openssl command.
    private static func makeCertificate(in directory: String, name: String = "server") throws -> ServerSettings.TLSFiles
    {
        let files = ServerSettings.TLSFiles(
            certificate: "\(directory)/\(name).pem", key: "\(directory)/\(name)-key.pem")
        let status = try spawn(
            "/usr/bin/openssl",
            [
                "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
                "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", files.key, "-out",
                files.certificate,
            ])
        try #require(status == 0)
        return files
    }

    /// Runs a program to its end, its complaints unread. Foundation's `Process` crashes now and then when
    /// several are started while many sockets are open.
    /// - Returns: the status as `waitpid` gives it.
    private static func spawn(_ path: String, _ arguments: [String]) throws -> Int32 {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)
        var words: [UnsafeMutablePointer<CChar>?] = ([path] + arguments).map { strdup($0) } + [nil]
        var environment: [UnsafeMutablePointer<CChar>?] = [strdup("PATH=/usr/bin:/bin"), nil]
        defer { for word in words + environment { free(word) } }
        var child: pid_t = 0
        let failure = posix_spawn(&child, path, &actions, nil, &words, &environment)
        guard failure == 0 else { throw TestFailure("\(path): \(String(cString: strerror(failure)))") }
        var status: Int32 = 0
        while waitpid(child, &status, 0) < 0 {
            guard errno == EINTR else { throw TestFailure("waitpid: \(errno)") }
        }
        return status
    }

    @Test func everythingWorksOverTLS() async throws {
        let directory = try TestServer.makeDirectory()
        defer { TestServer.remove(directory) }
        let files = try Self.makeCertificate(in: directory)
        try await TestServer.with {
            $0.tls = files
        } body: { server in
            #expect(server.url.hasPrefix("https://127.0.0.1:"))
            var trust = TLSConfiguration.makeClientConfiguration()
            trust.trustRoots = .file(files.certificate)
            #expect(try await server.call(.GET, "/healthcheck", tls: trust).text == "OK")
            let clouds = CloudsFile(path: server.directory + "/clouds.yaml")
            let token = try await TestServer.token(
                from: server.url + "/identity", user: "demo",
                password: try #require(try clouds.password(of: "ambrotype")),
                project: "demo", tls: trust)
            let created = try await server.call(
                .POST, "/image/v2/images", as: token, headers: [("Content-Type", "application/json")],
                body: Array(#"{"disk_format": "raw", "container_format": "bare"}"#.utf8), tls: trust)
            let id = try #require(created.json["id"]?.stringValue)
            let data = DownloadTests.bytes(DownloadTests.largeBytes)
            let upload = try await server.call(
                .PUT, "/image/v2/images/\(id)/file", as: token, headers: [("Content-Type", "application/octet-stream")],
                body: data, tls: trust)
            #expect(upload.status == 204)
            #expect(try await server.call(.GET, "/image/v2/images/\(id)/file", as: token, tls: trust).bytes == data)
            try await Self.expectEveryByte(of: id, as: token, from: server, data, trust)
            // Links say https as well, and the clients are told what to check the certificate against.
            #expect(try await server.call(.GET, "/image", tls: trust).text.contains("\"\(server.url)/image/v2/\""))
            let text = try String(contentsOfFile: server.directory + "/clouds.yaml", encoding: .utf8)
            #expect(text.contains("cacert: \"\(files.certificate)\""))
        }
    }

    /// Ranges that begin and end within parts of the file and within the pieces they are copied in.
    private static func expectEveryByte(
        of id: String, as token: String, from server: TestServer, _ data: [UInt8], _ trust: TLSConfiguration
    ) async throws {
        let part = 2 << 20
        let last = data.count - 1
        for (from, to) in [
            (0, 0), (0, part - 1), (0, part), (1, part + 1), (part - 1, part), (4097, 8193), (7 << 14, 14 << 14),
            (last, last), (last - part, last), (5_000_001, 12_345_678),
        ] {
            let answer = try await server.call(
                .GET, "/image/v2/images/\(id)/file", as: token, headers: [("Range", "bytes=\(from)-\(to)")], tls: trust)
            #expect(answer.status == 206)
            #expect(answer.bytes.elementsEqual(data[from...to]), "\(from)-\(to)")
        }
    }

    @Test func plainTextIsNotAnswered() async throws {
        let directory = try TestServer.makeDirectory()
        defer { TestServer.remove(directory) }
        let files = try Self.makeCertificate(in: directory)
        try await TestServer.with {
            $0.tls = files
        } body: { server in
            await #expect(throws: (any Error).self) {
                try await server.raw("GET /healthcheck HTTP/1.1\r\nHost: x\r\n\r\n")
            }
        }
    }

    @Test func wrongFilesAreNamed() async throws {
        let directory = try TestServer.makeDirectory()
        defer { TestServer.remove(directory) }
        let files = try Self.makeCertificate(in: directory)
        let other = try Self.makeCertificate(in: directory, name: "other")
        let cases: [(ServerSettings.TLSFiles, String)] = [
            (.init(certificate: "/does/not/exist", key: files.key), "tls.certificate: /does/not/exist"),
            (.init(certificate: files.certificate, key: "/does/not/exist"), "tls.key: /does/not/exist"),
            (.init(certificate: files.key, key: files.key), "tls.certificate: \(files.key)"),
            (.init(certificate: files.certificate, key: files.certificate), "tls.key: \(files.certificate)"),
            (.init(certificate: files.certificate, key: other.key), "is not the key of"),
        ]
        for (wrong, told) in cases {
            await #expect {
                try await TestServer.with {
                    $0.tls = wrong
                } body: { _ in
                }
            } throws: { error in
                (error as? StartProblem)?.description.contains(told) == true
            }
        }
    }
}
