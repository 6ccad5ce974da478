import Core
import HTTPTypes
import HummingbirdCore

/// What clients ask first, without a token.
enum DiscoveryRoutes {
    static func add(to routes: inout RouteTable) {
        for method in [HTTPRequest.Method.get, .head] {
            routes.open(method, "/", body: .refused) { exchange in
                .identity(.multipleChoices, headers: [.location: exchange.v3 + "/"]) { json in
                    json.nested("versions") {
                        $0.member("values", array: { $0.object { write(&$0, exchange) } })
                    }
                }
            }
            routes.open(method, "/v3", body: .refused) { exchange in
                .identity { $0.nested("version") { write(&$0, exchange) } }
            }
        }
    }

    /// Tempest wants an id that begins with `v3.`.
    private static func write(_ json: inout JSONWriter, _ exchange: Exchange) {
        json.member("id", "v3.14")
        json.member("status", "stable")
        json.member("updated", "2020-04-07T00:00:00Z")
        json.member(
            "links",
            array: {
                $0.object {
                    $0.member("rel", "self")
                    $0.member("href", exchange.v3 + "/")
                }
            })
        json.member(
            "media-types",
            array: {
                $0.object {
                    $0.member("base", "application/json")
                    $0.member("type", "application/vnd.openstack.identity-v3+json")
                }
            })
    }
}
