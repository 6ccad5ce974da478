/// The tables whose rows are parts of an image, by `image_id`: they go with it.
enum ImageChildren {
    static let tables = [
        "image_properties", "image_tags", "image_members", "image_provenance", "image_flags", "image_location_metadata",
        "image_locations",
    ]
}
