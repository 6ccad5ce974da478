import Persistence

/// One page of a list.
package struct ImagePage: Sendable {
    package let images: [ImageView]
    /// The last image that was looked at, shown or not: where the next page begins.
    package let last: ImageID?
    /// Whether a further page may exist: this one is full.
    package let isFull: Bool
}

extension Images {
    /// `GET /v2/images`: a page of what the caller may see.
    ///
    /// What a page costs depends on what it shows and not on how many images there are: `ImageListSearch`.
    /// - Throws: `ServiceError.badRequest` when the marker is no image the caller can see.
    package func list(_ query: ImageListQuery, as caller: Caller) async throws -> ImagePage {
        try settings.policy.require(.getImages, caller, ImageTarget(listing: caller.projectID))
        guard let project = caller.projectID else { return ImagePage(images: [], last: nil, isFull: false) }
        return try await database.read { db in
            let marker = try query.marker.map { id -> Image in
                guard let image = try db.image(id), try isSeen(image, by: caller, in: db) else {
                    throw ServiceError.badRequest("Invalid marker: image \(id) is not there, or not yours to see.")
                }
                return image
            }
            guard query.limit > 0 else { return ImagePage(images: [], last: nil, isFull: false) }
            let found = try ImageListSearch(query, project: project, isAdmin: caller.isAdmin, marker: marker).run(
                in: db)
            return try page(of: found[...], of: query, as: caller, in: db)
        }
    }

    /// A page may end early: a thousand images with all the properties there may be are a quarter of a
    /// gigabyte. `next` then leads on as ever.
    private func page(
        of found: ArraySlice<Image>, of query: ImageListQuery, as caller: Caller, in db: any SQLConnection
    ) throws -> ImagePage {
        var views: [ImageView] = []
        var last: ImageID?
        var count = 0
        var bytes = 0
        var rest = found
        while !rest.isEmpty, bytes < Self.pageBytes {
            var part = Array(rest.prefix(Self.pagePart))
            rest = rest.dropFirst(Self.pagePart)
            try db.completeImages(&part)
            for image in part {
                bytes += image.properties.reduce(600) { $0 + $1.key.utf8.count + ($1.value?.utf8.count ?? 0) }
                count += 1
                last = image.id
                guard let shown = try shown(image, by: query, to: caller, in: db) else { continue }
                views.append(try view(of: image, as: shown, to: caller, in: db))
            }
        }
        return ImagePage(images: views, last: last, isFull: count == query.limit || !rest.isEmpty)
    }

    /// As SQL finds images: before any rule of the operator's.
    private func isSeen(_ image: Image, by caller: Caller, in db: any SQLConnection) throws -> Bool {
        ImageStanding(image, isMember: try isMember(caller, of: image, in: db), of: caller).isSeen(by: caller)
    }

    /// An image that the list found, as the caller may see it; nil when a rule of the operator's hides it, or when it
    /// was found by a property that is hidden.
    private func shown(
        _ image: Image, by query: ImageListQuery, to caller: Caller, in db: any SQLConnection
    ) throws -> Image? {
        let policy = settings.policy
        guard policy.decidesImageByImage || policy.protections != nil else { return image }
        let standing = ImageStanding(image, isMember: try isMember(caller, of: image, in: db), of: caller)
        guard policy.allows(.getImage, caller, standing, ImageTarget(image, standing, caller)) else { return nil }
        let properties = policy.properties(of: image, standing, for: caller)
        for case .property(let name, _) in query.filters where !properties.allows(.read, name) { return nil }
        return properties.readable(image)
    }

    private static let pageBytes = 4 << 20
    /// How many images' properties are read at once.
    private static let pagePart = 25
}
