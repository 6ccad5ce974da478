import API
import Core
import HTTPTypes
import HummingbirdCore
import NIOCore
import Persistence

/// What a listener answers by itself, to anybody: `/healthcheck`, and on the main listener
/// `/metrics` and the list of services at `/`.
struct ListenerRoutes: Sendable {
    let database: any SQLDatabase
    /// A file that an operator makes to take the server out of a load balancer.
    let disableSwitch: String
    /// Nil when metrics are switched off.
    let metrics: PrometheusRegistry?

    func table(isMain: Bool, mounts: [Mount]) -> RouteTable {
        var table = RouteTable()
        table.open(.get, "/healthcheck", body: .refused) { _ in await health() }
        table.open(.head, "/healthcheck", body: .refused) { _ in
            let answer = await health()
            return Response(status: answer.status, headers: [.contentType: "text/plain"], bytes: ByteBuffer())
        }
        guard isMain else { return table }
        if let metrics {
            table.open(.get, "/metrics", body: .refused) { _ in
                var page = metrics.render()
                ProcessMetrics.render(into: &page)
                PrometheusText.heading("ambrotype_build_info", .gauge, into: &page)
                PrometheusText.sample(
                    "ambrotype_build_info", PrometheusText.labels([("version", programVersion)]), "1", into: &page)
                return Response(status: .ok, headers: [.contentType: PrometheusText.mediaType], bytes: page)
            }
        }
        table.open(.get, "/", body: .refused) { exchange in
            .json(.ok) { json in
                json.object { json in
                    json.member("version", programVersion)
                    json.member(
                        "services",
                        array: { json in
                            for mount in mounts {
                                json.object { json in
                                    json.member("type", mount.service.type)
                                    json.member("url", mount.publicEndpoint ?? exchange.baseURL + mount.prefix)
                                }
                            }
                        })
                }
            }
        }
        return table
    }

    private func health() async -> Response {
        if SmallFile.exists(disableSwitch) { return answer(.serviceUnavailable, "DISABLED BY FILE") }
        do {
            _ = try await database.read { db in try db.first("SELECT COUNT(*) FROM schema_migrations") { _ in true } }
        } catch {
            return answer(.serviceUnavailable, "DATABASE UNAVAILABLE")
        }
        return answer(.ok, "OK")
    }

    private func answer(_ status: HTTPResponse.Status, _ text: String) -> Response {
        Response(status: status, headers: [.contentType: "text/plain"], bytes: ByteBuffer(string: text))
    }
}
