import Core

/// How images and members look on the wire.
enum ImageJSON {
    static func write(_ view: ImageView, to json: inout JSONWriter) {
        json.object { members(view, &$0) }
    }

    private static func members(_ view: ImageView, _ json: inout JSONWriter) {
        let image = view.image
        let id = image.id.rawValue
        for (name, value) in image.properties.sorted(by: { $0.key < $1.key }) { json.member(name, value) }
        json.member("name", image.name)
        json.member("disk_format", image.diskFormat)
        json.member("container_format", image.containerFormat)
        json.member("visibility", image.visibility.rawValue)
        json.member("size", image.sizeBytes)
        json.member("virtual_size", image.virtualSizeBytes)
        json.member("status", image.status.rawValue)
        json.member("checksum", image.checksum)
        json.member("protected", image.isProtected)
        json.member("min_ram", image.minRAMMB)
        json.member("min_disk", image.minDiskGB)
        json.member("owner", image.owner?.rawValue)
        json.member("os_hidden", image.isHidden)
        json.member("os_hash_algo", image.hashAlgorithm)
        json.member("os_hash_value", image.hashValue)
        json.member("id", id)
        json.member("created_at", image.createdAt.iso8601)
        json.member("updated_at", image.updatedAt.iso8601)
        if !view.stores.isEmpty { json.member("stores", view.stores.map(\.rawValue).joined(separator: ",")) }
        if let locations = view.locations {
            json.key("locations")
            write(locations, to: &json)
        }
        if let url = view.directURL { json.member("direct_url", url) }
        json.member("tags", array: { json in for tag in image.tags.sorted() { json.string(tag) } })
        json.member("self", "/v2/images/" + id)
        json.member("file", "/v2/images/" + id + "/file")
        json.member("schema", "/v2/schemas/image")
    }

    static func write(_ locations: [ShownLocation], to json: inout JSONWriter) {
        json.array { json in
            for location in locations {
                json.object { json in
                    json.member("url", location.url)
                    json.member(
                        "metadata",
                        object: { json in
                            for (name, value) in location.metadata.sorted(by: { $0.key < $1.key }) {
                                json.member(name, value)
                            }
                        })
                }
            }
        }
    }

    static func write(_ member: ImageMember, to json: inout JSONWriter) {
        json.object { json in
            json.member("member_id", member.member.rawValue)
            json.member("image_id", member.image.rawValue)
            json.member("status", member.status.rawValue)
            json.member("created_at", member.createdAt.iso8601)
            json.member("updated_at", member.updatedAt.iso8601)
            json.member("schema", "/v2/schemas/member")
        }
    }
}
