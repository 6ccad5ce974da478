import Core

/// How containers look on the wire (digest, section 3).
enum ContainerJSON {
    static func ref(_ id: ContainerID, _ exchange: Exchange) -> String {
        exchange.v1 + "/containers/" + id.rawValue
    }

    static func write(_ container: KeyContainer, _ exchange: Exchange, to json: inout JSONWriter) {
        json.object { json in
            json.member("created", SecretTime.text(container.createdAt))
            json.member("updated", SecretTime.text(container.updatedAt))
            json.member("status", "ACTIVE")
            json.member("name", container.name)
            json.member("type", container.kind.rawValue)
            json.member("creator_id", container.creator.rawValue)
            json.member(
                "secret_refs",
                array: { json in
                    for member in container.members {
                        json.object { json in
                            json.member("name", member.name)
                            json.member("secret_ref", SecretJSON.ref(member.secret, exchange))
                        }
                    }
                })
            json.member(
                "consumers",
                array: { json in
                    for consumer in container.consumers { json.object { write(consumer, to: &$0) } }
                })
            json.member("container_ref", ref(container.id, exchange))
        }
    }

    /// The members of an object.
    static func write(_ consumer: KeyContainer.Consumer, to json: inout JSONWriter) {
        json.member("name", consumer.name)
        json.member("URL", consumer.url)
    }
}
