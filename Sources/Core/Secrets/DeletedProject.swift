import Persistence

extension Secrets {
    /// A step of a project's deletion: its keys go into quarantine, except those that others need, and what
    /// stands beside them goes for good. What the project registered as consumers of others' keys stays: whoever
    /// owns such a key can say that it is not needed any more.
    package func letGo(of project: ProjectID, in db: any SQLConnection) throws {
        try quarantine.addAll(of: project, now: now, in: db)
        let containers = try db.query("SELECT id FROM secret_containers WHERE project = $1 ORDER BY id", project) {
            try $0.get(0, as: ContainerID.self)
        }
        for container in containers { try db.deleteContainer(container) }
        try db.execute("DELETE FROM secret_orders WHERE project = $1", project)
        try db.execute("DELETE FROM key_quotas WHERE project = $1", project)
    }
}
