import API
import ArgumentParser
import Core
import Glibc
import NIOCore

struct JobsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "jobs", abstract: "See what waits to be done and why, and have it tried again.",
        discussion: """
            Works on the database under DIR, while the server runs or not. A running server notices within \
            seconds; one that does not run does the jobs when it is started.
            """,
        subcommands: [ListJobsCommand.self, RetryJobsCommand.self])
}

extension Job.State: ExpressibleByArgument {}

struct ListJobsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "Print the jobs there are, oldest first.",
        discussion: "A job that is done is gone. One that is parked is not tried again by itself.")

    @Option(help: "Only jobs in this state.")
    var state: Job.State?

    @Flag(help: "Print JSON, as GET /image/ambrotype/v1/jobs answers.")
    var json = false

    @OptionGroup var options: SettingOptions

    func run() async throws {
        umask(0o077)
        try await Failure.reported {
            let jobs = try await OpenCatalogue(try ServerSettings(try options.resolve())).jobs
            let found = try await WholeList.collect { try await jobs.jobs(.init(state: state), $0) }
            StandardOutput.say(json ? Self.json(found) : Self.text(found, state))
        }
    }

    private static func json(_ jobs: [Job]) -> String {
        var json = JSONWriter()
        json.object { json in
            json.member("jobs", array: { json in for job in jobs { OperatorJSON.write(job, to: &json) } })
        }
        return String(buffer: json.finish())
    }

    private static func text(_ jobs: [Job], _ state: Job.State?) -> String {
        guard !jobs.isEmpty else {
            return state.map { "No job is \($0.rawValue)." } ?? "There are no jobs: nothing waits to be done."
        }
        var table = TextTable("JOB", "STATE", ">ATTEMPTS", "SINCE", "NEXT ATTEMPT", "LAST ERROR")
        for job in jobs {
            table.add(
                job.name.description, job.state.rawValue, String(job.attempts), job.createdAt.iso8601,
                job.state == .waiting ? job.nextAttemptAt.iso8601 : "", job.lastError ?? "")
        }
        return table.text
    }
}

struct RetryJobsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "retry", abstract: "Have a job that waits or is parked tried now, as if it had never failed.")

    @Argument(help: "The job, as `jobs list` prints it: KIND/SUBJECT.")
    var job: String?

    @Flag(help: "All jobs that are parked.")
    var parked = false

    @OptionGroup var options: SettingOptions

    func validate() throws {
        guard (job == nil) == parked else { throw ValidationError("Give either a job, KIND/SUBJECT, or --parked.") }
        if let job, JobName(job) == nil { throw ValidationError("'\(job)' is no job: they are called KIND/SUBJECT.") }
    }

    func run() async throws {
        umask(0o077)
        try await Failure.reported {
            let jobs = try await OpenCatalogue(try ServerSettings(try options.resolve())).jobs
            if let name = job.flatMap({ JobName($0) }) {
                try await jobs.retry(name)
                StandardOutput.say("\(name) is tried as soon as a server runs.")
            } else {
                let count = try await jobs.retryParked()
                StandardOutput.say(
                    count == 0
                        ? "No job is parked."
                        : "\(HumanSize.count(count, "job")) will be tried as soon as a server runs.")
            }
        }
    }
}
