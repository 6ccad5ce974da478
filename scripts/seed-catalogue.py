#!/usr/bin/env python3
"""Fill a stopped server's catalogue with many images, to measure lists and requests with it.

    seed-catalogue.py --data-dir DIR --count N [--projects 50] [--files] [--seed 1]

The server must have been started once: its database has to be there, and so does the project `demo`, which gets its
share of the images. The rows are those that uploads of empty images leave: with `--files` the empty files are written
too, and `ambrotype fsck` finds nothing. Without them it is quicker, and fsck misses their bytes.

The images follow from the seed. Of a hundred, 15 are public, 5 are community images, 20 are shared and one of those
is shared with the next project; each has three properties and one tag; one in a thousand has the tag `rare`, one in
ten `common`; one in a hundred is queued, one in a thousand is protected. Times are a second apart, names repeat 20
times.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import sqlite3
import sys
import time
from pathlib import Path

MD5 = hashlib.md5(b"").hexdigest()
SHA512 = hashlib.sha512(b"").hexdigest()
BATCH = 10_000

IMAGE = """INSERT INTO images (id, name, status, visibility, os_hidden, protected, owner, container_format, disk_format,
    min_disk, min_ram, size, checksum, os_hash_algo, os_hash_value, created_at, updated_at)
    VALUES (?, ?, ?, ?, 0, ?, ?, 'bare', ?, 0, 0, ?, ?, ?, ?, ?, ?)"""
BLOB = """INSERT INTO blobs (id, store, image_id, project, state, charged_bytes, size_bytes, epoch, created_at)
    VALUES (?, 'local', ?, ?, 'live', 0, 0, 1, ?)"""
PROPERTY = "INSERT INTO image_properties (image_id, name, value) VALUES (?, ?, ?)"
TAG = "INSERT INTO image_tags (image_id, tag) VALUES (?, ?)"
MEMBER = """INSERT INTO image_members (image_id, member, status, created_at, updated_at, image_created_at)
    VALUES (?, ?, 'accepted', ?, ?, ?)"""


def uuid(numbers: random.Random) -> str:
    digits = f"{numbers.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:]}"


class Catalogue:
    """The rows of images, batch by batch."""

    def __init__(self, demo: str, projects: int, count: int, seed: int):
        self.numbers = random.Random(seed)
        self.owners = [demo] + [f"{self.numbers.getrandbits(128):032x}" for _ in range(projects - 1)]
        self.count = count
        self.start = int(time.time() - count) * 1_000_000

    def rows(self, first: int, last: int):
        images, blobs, properties, tags, members = [], [], [], [], []
        for n in range(first, last):
            image, now = uuid(self.numbers), self.start + n * 1_000_000
            place = n % len(self.owners)
            owner = self.owners[place]
            kind = self.numbers.randrange(100)
            visibility = "public" if kind < 15 else "community" if kind < 20 else "shared" if kind < 40 else "private"
            has_data = self.numbers.randrange(100) > 0
            images.append((
                image, f"image {n // 20}", "active" if has_data else "queued", visibility,
                int(self.numbers.randrange(1000) == 0), owner, "qcow2" if n % 3 else "raw",
                0 if has_data else None, MD5 if has_data else None, "sha512" if has_data else None,
                SHA512 if has_data else None, now, now))
            if has_data:
                blobs.append((uuid(self.numbers), image, owner, now))
            for name, values in (("os_distro", ["debian", "fedora", "ubuntu", "windows"]), ("os_version", ["1", "2"]),
                                 ("hw_disk_bus", ["virtio", "scsi"])):
                properties.append((image, name, self.numbers.choice(values)))
            which = self.numbers.randrange(1000)
            tags.append((image, "rare" if which == 0 else "common" if which <= 100 else f"tag-{n % 100}"))
            if kind == 39:
                members.append((image, self.owners[(place + 1) % len(self.owners)], now, now, now))
        return images, blobs, properties, tags, members


def write_files(store: Path, blobs: list[tuple]) -> None:
    for blob, *_ in blobs:
        directory = store / "blobs" / blob[:2]
        directory.mkdir(exist_ok=True)
        (directory / blob).touch()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--projects", type=int, default=50)
    parser.add_argument("--files", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    path = options.data_dir / "ambrotype.db"
    if not path.exists():
        print(f"{path} is not there: start the server once", file=sys.stderr)
        return 1
    database = sqlite3.connect(path)
    database.execute("PRAGMA synchronous = OFF")
    database.execute("PRAGMA cache_size = -262144")
    demo = database.execute("SELECT id FROM identity_projects WHERE name = 'demo'").fetchone()[0]
    catalogue = Catalogue(demo, options.projects, options.count, options.seed)
    # Indexes are made once all rows are there: a fifth of the time.
    indexes = []
    if options.count > 50_000:
        tables = "('images', 'image_properties', 'image_tags', 'image_members', 'blobs')"
        indexes = database.execute(
            f"SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND tbl_name IN {tables}"
        ).fetchall()
        for name, _ in indexes:
            database.execute(f"DROP INDEX {name}")
    for first in range(0, options.count, BATCH):
        images, blobs, properties, tags, members = catalogue.rows(first, min(options.count, first + BATCH))
        for statement, rows in ((IMAGE, images), (BLOB, blobs), (PROPERTY, properties), (TAG, tags), (MEMBER, members)):
            database.executemany(statement, rows)
        if options.files:
            write_files(options.data_dir / "stores/local", blobs)
    for _, statement in indexes:
        database.execute(statement)
    database.commit()
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
