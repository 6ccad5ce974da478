import Core
import HTTPTypes
import HummingbirdCore

/// What clients find the API and its microversions by (digest, section 1). Two forms: the older is what a
/// request without a microversion gets.
enum KeyManagerDiscovery {
    static func add(to routes: inout RouteTable) {
        routes.open(.get, "/") { exchange in
            .json(.multipleChoices) { json in
                json.object { json in
                    if exchange.keyManagerVersion >= .v1_1 {
                        json.member("versions", array: { current(&$0, exchange) })
                    } else {
                        json.member("versions", object: { $0.member("values", array: { stable(&$0, exchange) }) })
                    }
                }
            }
        }
        routes.get("/v1") { exchange, _ in
            .json(.ok) { json in
                json.object { json in
                    json.key("version")
                    if exchange.keyManagerVersion >= .v1_1 { current(&json, exchange) } else { stable(&json, exchange) }
                }
            }
        }
    }

    private static func stable(_ json: inout JSONWriter, _ exchange: Exchange) {
        json.object { json in
            json.member("id", "v1")
            json.member("status", "stable")
            links(&json, exchange)
            json.member(
                "media-types",
                array: { json in
                    json.object { json in
                        json.member("base", "application/json")
                        json.member("type", "application/vnd.openstack.key-manager-v1+json")
                    }
                })
        }
    }

    private static func current(_ json: inout JSONWriter, _ exchange: Exchange) {
        json.object { json in
            json.member("id", "v1")
            json.member("status", "CURRENT")
            json.member("min_version", KeyManagerVersion.v1_0.text)
            json.member("max_version", KeyManagerVersion.latest.text)
            links(&json, exchange)
        }
    }

    private static func links(_ json: inout JSONWriter, _ exchange: Exchange) {
        json.member(
            "links",
            array: { json in
                json.object { json in
                    json.member("rel", "self")
                    json.member("href", exchange.v1 + "/")
                }
                json.object { json in
                    json.member("rel", "describedby")
                    json.member("type", "text/html")
                    json.member("href", "https://docs.openstack.org/")
                }
            })
    }
}
