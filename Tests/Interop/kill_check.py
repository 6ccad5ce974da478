"""Whether a server and its files are what was acknowledged, to be asked once it had time to reconcile.

Looks three ways that share nothing: through the API, into the database, and at the files.
"""

from __future__ import annotations

import hashlib
import random
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import requests

from ambrotype import BINARY, Server
from image_api import ImageAPI, describe
from kill_oracle import ABSENT, DELETED, OURS, Facts, Image

TRANSIENT = ("saving", "uploading", "importing")


class Catalogue:
    """The database of a server, read beside it."""

    def __init__(self, data_dir: Path):
        self.path = Path(data_dir) / "ambrotype.db"

    def rows(self, query: str, *arguments) -> list[tuple]:
        with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=30)) as database:
            return database.execute(query, arguments).fetchall()

    def unfinished(self) -> list[str]:
        """What still has to be done or undone; nothing, at rest."""
        marks = ", ".join(f"'{status}'" for status in TRANSIENT)
        found = [f"image {id} is in {status}" for id, status in
                 self.rows(f"SELECT id, status FROM images WHERE status IN ({marks}) ORDER BY id")]
        found += [f"blob {id} of image {image} is {state}, owner of its lease: {owner}" for id, image, state, owner in
                  self.rows("SELECT id, image_id, state, lease_owner FROM blobs WHERE state <> 'live' ORDER BY id")]
        found += [f"job {kind} {subject} is {state}, attempts {attempts}, last error: {error}"
                  for kind, subject, state, attempts, error in
                  self.rows("SELECT kind, subject, state, attempts, last_error FROM jobs ORDER BY kind, subject")]
        return found

    def usage(self) -> dict[str, int]:
        """The bytes each project is charged."""
        return dict(self.rows("SELECT project, SUM(charged_bytes) FROM blobs GROUP BY project"))


def wait_until_finished(catalogue: Catalogue, seconds: float) -> list[str]:
    """What is unfinished after all that time; empty as soon as nothing is."""
    deadline = time.monotonic() + seconds
    while True:
        left = catalogue.unfinished()
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.02)


def stored(directory: Path) -> dict[str, int]:
    """Every file below a store's directory but its marker, and its size."""
    files = {}
    for path in sorted(directory.rglob("*")):
        try:
            if path.is_file() and path != directory / ".ambrotype-store":
                files[str(path.relative_to(directory))] = path.stat().st_size
        except FileNotFoundError:
            pass  # erased meanwhile
    return files


def has_fsck() -> bool:
    overview = subprocess.run([BINARY, "--help"], capture_output=True, text=True, timeout=60).stdout
    return any(line.split()[:1] == ["fsck"] for line in overview.splitlines())


def fsck(server: Server) -> list[str]:
    """The program's own check, with or without the server running."""
    command = [str(BINARY), "fsck", "--data-dir", str(server.data_dir), "--read-data"]
    if server.config:
        command += ["--config", str(server.config)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if result.returncode == 0:
        return []
    return [f"fsck ended with status {result.returncode}: {(result.stdout + result.stderr)[-2000:]}"]


class Check:
    """One check of everything; `problems` has what is wrong, in sentences."""

    def __init__(self, server: Server, admin: ImageAPI, images: Iterable[Image], gone: Iterable[str] = ()):
        """`gone`: ids of images known to be deleted, of which some are looked at again."""
        self.server = server
        self.admin = admin
        self.images = list(images)
        self.gone = list(gone)
        self.catalogue = Catalogue(server.data_dir)
        self.problems: list[str] = []
        self.happened = self.did_not_happen = 0
        self.bytes_read = 0

    def run(self, seconds: float = 15) -> list[str]:
        self.problems += [f"still unfinished after {seconds} s: {left}"
                          for left in wait_until_finished(self.catalogue, seconds)]
        self._find_names()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(self._check_image, self.images))
            list(pool.map(self._check_gone, self.gone))
        self._check_nothing_else()
        self._check_blobs()
        self._check_database()
        return self.problems

    def _find_names(self) -> None:
        """The ids of images whose creation nobody heard of."""
        unheard = [image for image in self.images if image.id is None]
        if unheard:
            ids = {image["name"]: image["id"] for image in self.admin.list(limit=1000)}
            for image in unheard:
                image.id = ids.get(image.name)

    # Through the API.

    def _check_image(self, image: Image) -> None:
        try:
            found, problem = self._found(image)
        except (requests.RequestException, AssertionError) as error:
            self.problems.append(f"{image}: cannot be looked at: {error}")
            return
        if problem:
            self.problems.append(f"{image}: {problem}")
            return
        if not image.is_certain:
            if found == image.ways[0]:
                self.did_not_happen += 1
            else:
                self.happened += 1
            image.resolve(found)
        if found == DELETED:
            self._check_gone(image.id)

    def _found(self, image: Image) -> tuple[Facts, str | None]:
        """Which of its ways an image went, or what is wrong with it."""
        if image.id is None:
            return ABSENT, None if ABSENT in image.ways else "acknowledged and not there"
        response = self.admin.request("GET", f"/v2/images/{image.id}")
        if response.status_code == 404:
            gone = [way for way in (DELETED, ABSENT) if way in image.ways]
            if not gone:
                return ABSENT, f"acknowledged and not there; possible: {image.ways}"
            # Only the tombstone tells a deleted image from one that never was.
            rows = self.catalogue.rows("SELECT status FROM images WHERE id = ?", image.id)
            way = DELETED if rows else ABSENT
            return way, None if way in image.ways else f"it is {way.presence}; possible: {image.ways}"
        if response.status_code != 200:
            return ABSENT, describe(response)
        shown = response.json()
        possible = [way for way in image.ways if way.is_present]
        members: list[dict] = []
        if possible:
            members = self.admin.request("GET", f"/v2/images/{image.id}/members").json()["members"]
        problems = []
        for way in possible:
            wrong = self._differences(image, way, shown, members)
            if not wrong:
                return way, self._wrong_bytes(image, way)
            problems.append(", ".join(wrong))
        return ABSENT, "; or ".join(problems) or f"it is {shown['status']} and has to be {image.ways[0].presence}"

    def _differences(self, image: Image, way: Facts, shown: dict, members: list[dict]) -> list[str]:
        md5, sha512 = way.data.digests() if way.data else (None, None)
        expected = {
            "status": way.status, "name": way.name, "owner": image.project, "protected": way.is_protected,
            "size": way.data.size if way.data else None, "checksum": md5, "os_hash_value": sha512,
            "os_hash_algo": "sha512" if way.data else None, "visibility": "shared", "disk_format": "raw",
            "container_format": "bare",
        }
        wrong = [f"{key} is {shown[key]!r} and not {value!r}" for key, value in expected.items() if shown[key] != value]
        found = {
            "tags": frozenset(shown["tags"]),
            "properties": frozenset((key, value) for key, value in shown.items() if key.startswith(OURS)),
            "members": frozenset((member["member_id"], member["status"]) for member in members),
        }
        wrong += [f"{key} are {sorted(value)} and not {sorted(getattr(way, key))}"
                  for key, value in found.items() if value != getattr(way, key)]
        return wrong

    def _wrong_bytes(self, image: Image, way: Facts) -> str | None:
        # The administrator may read deactivated images too.
        with self.admin.request("GET", f"/v2/images/{image.id}/file", stream=True) as response:
            if way.data is None:
                return None if response.status_code == 204 else f"no data is expected: {response.status_code}"
            if response.status_code != 200:
                return f"its bytes cannot be read: {describe(response)}"
            digest, size = hashlib.sha512(), 0
            for piece in response.iter_content(1 << 20):
                digest.update(piece)
                size += len(piece)
        self.bytes_read += size
        if (size, digest.hexdigest()) != (way.data.size, way.data.digests()[1]):
            return f"{size} bytes were read that are not the {way.data.size} bytes sent"
        return None

    def _check_gone(self, id: str) -> None:
        shown = self.admin.request("GET", f"/v2/images/{id}")
        if shown.status_code != 404:
            self.problems.append(f"image {id} was deleted: {describe(shown)}")
        again = self.admin.request("POST", "/v2/images", json={"id": id, "name": "again"})
        if again.status_code != 409:
            self.problems.append(f"the id of the deleted image {id} can be used again: {describe(again)}")

    def _check_nothing_else(self) -> None:
        """No image that nobody made."""
        expected = sorted(image.id for image in self.images if image.ways[0].is_present and image.id)
        listed = sorted(image["id"] for image in self.admin.list(limit=1000))
        rows = sorted(id for id, in self.catalogue.rows("SELECT id FROM images WHERE deleted_at IS NULL"))
        for what, found in (("listed", listed), ("in the database", rows)):
            self.problems += [f"image {id}, which nobody made, is {what}" for id in sorted(set(found) - set(expected))]
            self.problems += [f"image {id} is not {what}" for id in sorted(set(expected) - set(found))]
            self.problems += [f"image {id} is {what} {count} times"
                              for id, count in Counter(found).items() if count > 1]

    # In the database and the files.

    def _check_blobs(self) -> None:
        rows = self.catalogue.rows("SELECT id, store, image_id, project, charged_bytes, size_bytes FROM blobs "
                                   "WHERE state = 'live' ORDER BY id")
        holders = {image.id: image for image in self.images if image.is_certain and image.facts.data}
        expected_files: dict[str, dict[str, int]] = {}
        for id, store, holder, project, charged, size in rows:
            expected_files.setdefault(store, {})[f"blobs/{id[:2]}/{id}"] = size
            image = holders.get(holder)
            wanted = (image.facts.data.size, image.facts.data.size, image.project) if image else None
            if wanted != (size, charged, project):
                self.problems.append(f"blob {id} of image {holder} has size, charge and project "
                                     f"{(size, charged, project)} and not {wanted}")
        for image, count in Counter([row[2] for row in rows]).items():
            if count > 1:
                self.problems.append(f"image {image} has {count} blobs")
        for image in sorted(holders.keys() - {row[2] for row in rows}):
            self.problems.append(f"image {image} has no blob")
        for directory in sorted((self.server.data_dir / "stores").iterdir()):
            wanted, found = expected_files.pop(directory.name, {}), stored(directory)
            for name in sorted(wanted.keys() | found.keys()):
                if wanted.get(name) != found.get(name):
                    self.problems.append(f"file {directory.name}/{name} has {found.get(name, 'no')} bytes and not "
                                         f"{wanted.get(name, 'none: it has no owner')}")
        usage = Counter()
        for image in holders.values():
            usage[image.project] += image.facts.data.size
        found_usage = {project: size for project, size in self.catalogue.usage().items() if size}
        if found_usage != {project: size for project, size in usage.items() if size}:
            self.problems.append(f"usage is {found_usage} and not {dict(usage)}")

    def _check_database(self) -> None:
        integrity = self.catalogue.rows("PRAGMA integrity_check")
        if integrity != [("ok",)]:
            self.problems.append(f"the database is damaged: {integrity[:5]}")
        if orphans := self.catalogue.rows("PRAGMA foreign_key_check"):
            self.problems.append(f"rows without their parents: {orphans[:5]}")


def some(ids: list[str], count: int, source: random.Random) -> list[str]:
    return source.sample(ids, min(count, len(ids)))
