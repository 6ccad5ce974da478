import Core

/// How secrets look on the wire (digest, section 3).
enum SecretJSON {
    static func ref(_ id: SecretID, _ exchange: Exchange) -> String { exchange.v1 + "/secrets/" + id.rawValue }

    /// - Parameter showsConsumers: from microversion 1.1.
    static func write(
        _ view: SecretView, _ exchange: Exchange, showsConsumers: Bool, to json: inout JSONWriter
    ) {
        let secret = view.secret
        json.object { json in
            json.member("created", SecretTime.text(secret.createdAt))
            json.member("updated", SecretTime.text(secret.updatedAt))
            json.member("status", "ACTIVE")
            json.member("name", secret.name)
            json.member("secret_type", secret.type.rawValue)
            json.member("expiration", secret.expiresAt.map(SecretTime.text))
            json.member("algorithm", secret.algorithm)
            json.member("bit_length", secret.bitLength)
            json.member("mode", secret.mode)
            json.member("creator_id", secret.creator.rawValue)
            if showsConsumers {
                json.member(
                    "consumers", array: { json in for consumer in view.consumers { write(consumer, to: &json) } })
            }
            // Clients take its absence for the absence of a payload.
            if let type = secret.contentType {
                json.member("content_types", object: { $0.member("default", type) })
            }
            json.member("secret_ref", ref(secret.id, exchange))
        }
    }

    private static func write(_ consumer: KeyConsumer, to json: inout JSONWriter) {
        json.object { json in
            json.member("service", consumer.service)
            json.member("resource_type", consumer.resourceType)
            json.member("resource_id", consumer.resourceID)
        }
    }
}
