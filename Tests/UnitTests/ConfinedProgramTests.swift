import CLinuxIO
import Conversion
import Core
import Foundation
import NIOCore
import Testing

/// What is left when qemu-img does whatever it wants: scripts in its place, found by a word that they sleep for.
@Suite(.serialized) struct ConfinedProgramTests {
    private static let info = #"info) echo '{"format":"raw","virtual-size":1048576}';;"#
    private static let disk = [UInt8](repeating: 7, count: 1 << 20)

    private func limits(_ seconds: Double = 1) -> QemuImg.Limits {
        var limits = QemuImg.Limits()
        (limits.infoSeconds, limits.baseSeconds) = (seconds, seconds)
        return limits
    }

    private func attempt(
        _ script: String, seconds: Double = 1, to target: ConversionTarget = .qcow2
    ) async throws -> (status: Int?, fixture: ImportStepFixture) {
        let fixture = try await ImportStepFixture(qemuImg: script, limits: limits(seconds))
        let status = try await fixture.status { try await fixture.convert(Self.disk, from: "raw", to: target) }
        return (status, fixture)
    }

    private func convert(_ commands: String) -> String { "case $1 in \(Self.info) convert) \(commands);; esac" }

    @Test func oneThatHangsIsKilledWithAllThatItStarted() async throws {
        for script in ["sleep 41001 & sleep 41001", convert("sleep 41001 & sleep 41001")] {
            let start = ContinuousClock.now
            let (status, fixture) = try await attempt(script)
            #expect(status == 400)
            #expect(ContinuousClock.now - start < .seconds(240))
            #expect(try await fixture.becomesClean(mark: "41001"))
        }
    }

    @Test func oneThatLeavesOthersBehindDoesNot() async throws {
        let (status, fixture) = try await attempt(
            convert("sleep 41002 & setsid sleep 41002 & cat <&3 >&4"), seconds: 20)
        // Raw bytes are no qcow2.
        #expect(status == 415)
        #expect(try await fixture.becomesClean(mark: "41002"))
    }

    @Test func oneThatWorksWithoutEndIsStoppedByItsProcessorTime() async throws {
        let start = ContinuousClock.now
        let (status, fixture) = try await attempt("while :; do :; done", seconds: 100)
        #expect(status == 400)
        #expect(ContinuousClock.now - start < .seconds(240))
        #expect(try await fixture.becomesClean(mark: fixture.images.directory.path))
    }

    @Test func oneThatWritesWithoutEndIsStoppedByTheSizeOfItsFile() async throws {
        let (status, fixture) = try await attempt(convert("exec yes >&4"), seconds: 100)
        #expect(status == 400)
        #expect(try await fixture.becomesClean(mark: fixture.images.directory.path))
    }

    @Test func oneThatTalksWithoutEndIsStoppedByTheClock() async throws {
        for stream in [1, 2] {
            let start = ContinuousClock.now
            let (status, fixture) = try await attempt(convert("exec yes >&\(stream)"))
            #expect(status == 400)
            #expect(ContinuousClock.now - start < .seconds(240))
            #expect(try await fixture.becomesClean(mark: fixture.images.directory.path))
        }
    }

    @Test func oneThatWantsAllMemoryGetsAGibibyte() async throws {
        let script = convert(#"exec awk 'BEGIN { s = "x"; while (1) s = s s }'"#)
        let (status, _) = try await attempt(script, seconds: 100)
        #expect(status == 400)
    }

    @Test func oneThatFailsIsNotShownToTheUser() async throws {
        let script = convert("echo 'the secret is in /etc/shadow' >&2; exit 1")
        let fixture = try await ImportStepFixture(qemuImg: script)
        let error = await #expect(throws: ServiceError.self) {
            try await fixture.convert(Self.disk, from: "raw", to: .qcow2)
        }
        #expect(error?.message == "The image could not be converted from raw to qcow2.")
    }

    @Test func aFullDiskIsNoFaultOfTheImage() async throws {
        let script = convert("echo 'error while writing: No space left on device' >&2; exit 1")
        #expect(try await attempt(script).status == 503)
    }

    @Test func whatInfoSaysIsHeldAgainstTheDeclaration() async throws {
        let words = [
            #"{"format":"qcow2","virtual-size":1048576}"#,
            #"{"format":"raw","virtual-size":1048576,"backing-filename":"x"}"#,
            #"{"format":"raw","virtual-size":1048576,"format-specific":{"data":{"data-file":"x"}}}"#,
        ]
        for word in words {
            #expect(try await attempt("echo '\(word)'").status == 415)
        }
        for word in [#"{"format":"raw"}"#, "{", "", #"{"format":"raw","virtual-size":-1}"#] {
            #expect(try await attempt("echo '\(word)'").status == 400)
        }
        #expect(try await attempt(#"echo '{"format":"raw","virtual-size":9000000000000000}'"#).status == 413)
    }

    @Test func whatComesOutIsInspectedAsIfAUserHadSentIt() async throws {
        #expect(try await attempt(convert(":")).status == 415)
        let words = #"printf 'QFI\373\000\000\000\003\000\000\000\000\000\000\001\000\000\000\000\020' >&4"#
        #expect(try await attempt(convert("\(words); cat <&3 >&4")).status == 415)
    }

    @Test func itSeesNeitherFilesNorNetworkNorEnvironment() async throws {
        let tries = [
            "cat /etc/passwd", "cat /etc/hostname", "ls /", "ls /tmp", "echo x >/tmp/ambrotype-confined",
            "mkdir /tmp/ambrotype-confined", "cat /proc/1/cmdline", "cat /dev/zero", "setsid true", "kill -0 $PPID",
            "mount -t tmpfs x /mnt", "unshare -n true",
            "python3 -c 'import socket; socket.socket()'",
            "python3 -c 'import socket; socket.socketpair()'",
        ]
        guard clinuxio_can_confine_files() else { return }
        // One that succeeds complains of something that has a status of its own.
        let complaint = "echo 'No space left on device' >&2"
        let all =
            tries.map { "if \($0) >/dev/null 2>&1; then \(complaint); fi" }.joined(separator: "\n")
            + "\n[ \"$HOME$USER$LD_PRELOAD\" = '' ] || \(complaint)\nexit 1"
        #expect(try await attempt(all, seconds: 60).status == 400)
        #expect(try await attempt("cat </dev/null && \(complaint); exit 1").status == 503)
        #expect(!FileManager.default.fileExists(atPath: "/tmp/ambrotype-confined"))
    }

    @Test func cancelledItEndsAtOnce() async throws {
        for script in ["exec sleep 41003", convert("sleep 41003 & exec sleep 41003")] {
            let fixture = try await ImportStepFixture(qemuImg: script, limits: limits(1000))
            let start = ContinuousClock.now
            await #expect(throws: CancellationError.self) {
                try await withThrowingTaskGroup(of: Void.self) { group in
                    group.addTask { _ = try await fixture.convert(Self.disk, from: "raw", to: .qcow2) }
                    while try ImportStepFixture.processes(naming: "41003").isEmpty,
                        ContinuousClock.now - start < .seconds(240)
                    {
                        try await Task.sleep(for: .milliseconds(5))
                    }
                    group.cancelAll()
                    try await group.waitForAll()
                }
            }
            #expect(ContinuousClock.now - start < .seconds(240))
            // What was killed is gone once the kernel has done it.
            try await eventually("all it started is gone") { (try? fixture.isClean(mark: "41003")) == true }
        }
    }

    @Test func oneThatIsNotThereIsNoFaultOfTheImage() async throws {
        let fixture = try await ImportStepFixture(qemuImg: ":")
        try FileManager.default.removeItem(at: fixture.images.directory.appending(path: "qemu-img"))
        let status = try await fixture.status { try await fixture.convert(Self.disk, from: "raw", to: .qcow2) }
        #expect(status == 503)
    }

    /// Whatever ends the process ends the thread that waits for the child, and with it the child.
    @Test func itDiesWithTheThreadThatStartedIt() async throws {
        var status: Int32 = 0
        let child = await startAndEndThread()
        #expect(child > 0)
        #expect(waitpid(child, &status, 0) == child)
        #expect(status == SIGKILL)
    }

    private func startAndEndThread() async -> pid_t {
        await withCheckedContinuation { continuation in
            Thread.detachNewThread {
                let null = open("/dev/null", O_RDWR)
                let words: [UnsafeMutablePointer<CChar>?] = [strdup("sleep"), strdup("41004"), nil]
                let paths: [UnsafeMutablePointer<CChar>?] = [strdup("/usr"), strdup("/bin"), strdup("/lib"), nil]
                let path = strdup("/bin/sleep")
                var child: pid_t = -1
                words.withUnsafeBufferPointer { words in
                    paths.map { UnsafePointer($0) }.withUnsafeBufferPointer { paths in
                        [null, null, null].withUnsafeBufferPointer { descriptors in
                            var program = clinuxio_program(
                                path: path, arguments: words.baseAddress, readable_paths: paths.baseAddress,
                                descriptors: descriptors.baseAddress, descriptor_count: 3, memory_bytes: 1 << 30,
                                cpu_seconds: 10, file_bytes: 0)
                            _ = clinuxio_start_confined(&program, &child)
                        }
                    }
                }
                for word in words + paths + [path] { free(word) }
                close(null)
                continuation.resume(returning: child)
            }
        }
    }
}
