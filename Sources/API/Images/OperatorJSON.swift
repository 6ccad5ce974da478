import Core

/// How the operator's view looks on the wire and in the output of commands. Sizes are bytes, times UTC; what
/// is not known is null.
package enum OperatorJSON {
    package static func write(_ job: Job, to json: inout JSONWriter) {
        json.object { json in
            json.member("name", job.name.description)
            json.member("kind", job.name.kind.rawValue)
            json.member("subject", job.name.subject)
            json.member("project", job.project?.rawValue)
            json.member("state", job.state.rawValue)
            json.member("attempts", job.attempts)
            json.member("next_attempt_at", job.state == .waiting ? job.nextAttemptAt.iso8601 : nil)
            json.member("last_error", job.lastError)
            json.member("lease_owner", job.leaseOwner?.rawValue)
            json.member("lease_until", job.leaseUntil?.iso8601)
            json.member("epoch", job.epoch)
            json.member("created_at", job.createdAt.iso8601)
        }
    }

    package static func write(_ entry: RecycleBin.Entry, to json: inout JSONWriter) {
        json.object { json in
            json.member("id", entry.id.rawValue)
            json.member("name", entry.name)
            json.member("owner", entry.owner?.rawValue)
            json.member("status_before_deletion", entry.status.rawValue)
            json.member("size_bytes", entry.sizeBytes)
            json.member("deleted_at", entry.deletedAt.iso8601)
            json.member("recycled_until", entry.recycledUntil.iso8601)
        }
    }

    static func write(_ deletion: WaitingDeletion, to json: inout JSONWriter) {
        json.object { json in
            json.member("blob", deletion.blob.rawValue)
            json.member("image", deletion.image.rawValue)
            json.member("store", deletion.store.rawValue)
            json.member("project", deletion.project?.rawValue)
            json.member("size_bytes", deletion.sizeBytes)
            json.member("doomed_at", deletion.doomedAt.iso8601)
            json.member("reason", deletion.reason)
            json.member("held_by", deletion.holder?.rawValue)
            json.key("job")
            if let job = deletion.job { write(job, to: &json) } else { json.null() }
        }
    }

    static func write(_ leases: Leases, to json: inout JSONWriter) {
        json.object { json in
            json.member("blobs", array: { json in for blob in leases.blobs { write(blob, to: &json) } })
            json.member("jobs", array: { json in for job in leases.jobs { write(job, to: &json) } })
            json.member("instances", array: { json in for one in leases.instances { write(one, to: &json) } })
            json.member(
                "total",
                object: { json in
                    json.member("blobs", leases.blobCount)
                    json.member("reserved_bytes", leases.reservedBytes)
                    json.member("jobs", leases.jobCount)
                })
        }
    }

    private static func write(_ blob: Leases.WrittenBlob, to json: inout JSONWriter) {
        json.object { json in
            json.member("blob", blob.blob.rawValue)
            json.member("image", blob.image.rawValue)
            json.member("store", blob.store.rawValue)
            json.member("project", blob.project?.rawValue)
            json.member("reserved_bytes", blob.reservedBytes)
            json.member("lease_owner", blob.owner.rawValue)
            json.member("lease_until", blob.until.iso8601)
            json.member("epoch", blob.epoch)
            json.member("since", blob.since.iso8601)
        }
    }

    private static func write(_ instance: Leases.Instance, to json: inout JSONWriter) {
        json.object { json in
            json.member("id", instance.id.rawValue)
            json.member("node", instance.node)
            json.member("started_at", instance.startedAt.iso8601)
            json.member("seen_at", instance.seenAt.iso8601)
        }
    }

    static func write(_ store: StoreState, to json: inout JSONWriter) {
        json.object { json in
            json.member("id", store.id.rawValue)
            json.member("default", store.isDefault)
            json.member("total_bytes", store.space?.totalBytes)
            json.member("free_bytes", store.space?.freeBytes)
            json.member("error", store.problem)
            json.member(
                "blobs",
                object: { json in
                    for (name, total, unit) in [
                        ("live", store.live, "size_bytes"), ("recycled", store.recycled, "size_bytes"),
                        ("doomed", store.doomed, "size_bytes"), ("writing", store.writing, "reserved_bytes"),
                    ] {
                        json.member(
                            name,
                            object: { json in
                                json.member("count", total.count)
                                json.member(unit, total.bytes)
                            })
                    }
                })
        }
    }

    static func write(_ usage: ProjectUsage, to json: inout JSONWriter) {
        json.object { json in
            json.member("project", usage.project?.rawValue)
            json.member("images", usage.images)
            json.member("live_bytes", usage.liveBytes)
            json.member("reserved_bytes", usage.reservedBytes)
            json.member("charged_bytes", usage.chargedBytes)
            json.member("recycled_images", usage.recycledImages)
            json.member("recycled_bytes", usage.recycledBytes)
            json.member("doomed_bytes", usage.doomedBytes)
        }
    }

    static func write(_ quotas: ImageQuotas, to json: inout JSONWriter) {
        json.object { json in
            json.member("images", quotas.images)
            json.member("charged_bytes", quotas.bytes)
            json.member("uploads", quotas.uploads)
            json.member("source", quotas.areIdentitys ? "identity" : "settings")
        }
    }
}
