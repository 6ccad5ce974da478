"""The server under load, killed 20 times (`make torture`: 200 times); and that what the check looks for, it
finds: with one fault planted at a time, it must report it."""

from __future__ import annotations

import os
import random
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from conftest import prepared
from image_api import MIB
from kill_check import Catalogue, Check, fsck, has_fsck, stored, wait_until_finished
from kill_load import Run
from kill_oracle import Data, Image, created, deleted, uploaded, with_tag
from kill_torture import SETTINGS, Torture

pytestmark = [pytest.mark.own_server, pytest.mark.own_identity]


def test_nothing_acknowledged_is_lost_and_nothing_else_is_left_by_kill_9(scratch, measured):
    kills = int(os.environ.get("KILLS", 20))
    seed = int(os.environ.get("INTEROP_SEED", random.SystemRandom().getrandbits(32)))
    data_dir = scratch / "torture"
    data_dir.mkdir()
    torture = Torture(prepared(data_dir, SETTINGS), seed, command_every=4,
                      say=lambda text: print(text, file=sys.stderr))
    problems = torture.run(kills)
    for line in torture.figures.lines():
        measured("torture", line)
    assert problems == [], "\n".join(problems[:20])
    assert torture.figures.kills >= kills and torture.figures.counts["acknowledged"] > kills


# That the check can fail.


@pytest.fixture(scope="module")
def small(scratch):
    """A server with a few images, each acknowledged; and what was acknowledged."""
    data_dir = scratch / "planted"
    data_dir.mkdir()
    torture = Torture(prepared(data_dir, SETTINGS), seed=1, say=lambda _: None)
    worker = torture.workers[0]
    for number in range(4):
        image = Image(None, f"small {number}", worker.project)
        image.id = worker.client.create(name=image.name)
        image.acknowledge("create", created(image.name))
        if number < 3:
            data = Data(MIB + number, number)
            worker.client.upload(image.id, data, is_chunked=False)
            image.acknowledge("upload", uploaded(data))
        worker.images.append(image)
    worker.client.add_tag(worker.images[0].id, "kept")
    worker.images[0].acknowledge("tag", with_tag("kept"))
    worker.client.delete(worker.images[2].id)
    worker.images[2].acknowledge("delete", deleted)
    assert wait_until_finished(Catalogue(data_dir), 15) == []
    yield torture
    torture.server.kill()


def look(torture: Torture, seconds: float = 1) -> list[str]:
    return Check(torture.server, torture.admin, torture.workers[0].images).run(seconds)


class Planted:
    """The files and rows of the small server while it does not run, all put back afterwards."""

    def __init__(self, torture: Torture):
        self.torture = torture
        self.store = torture.server.data_dir / "stores/local"
        self.image, self.other, self.gone, self.queued = torture.workers[0].images

    def file(self, image: Image) -> Path:
        (blob,), = self.rows("SELECT id FROM blobs WHERE image_id = ? AND state = 'live'", image.id)
        return self.store / f"blobs/{blob[:2]}/{blob}"

    def rows(self, statement: str, *arguments) -> list[tuple]:
        with closing(sqlite3.connect(self.torture.server.data_dir / "ambrotype.db")) as database:
            rows = database.execute(statement, arguments).fetchall()
            database.commit()
            return rows

    def lost_file(self) -> str:
        self.file(self.image).unlink()
        return "has no bytes"

    def flipped_byte(self) -> str:
        path = self.file(self.image)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        return "bytes were read that are not the"

    def short_file(self) -> str:
        os.truncate(self.file(self.image), 1000)
        return "has 1000 bytes and not"

    def stray_incoming_file(self) -> str:
        (self.store / "incoming/0123456789abcdef").write_bytes(b"stray")
        return "file local/incoming/0123456789abcdef has 5 bytes"

    def stray_blob(self) -> str:
        path = self.store / "blobs/01/0123456789abcdef"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"stray")
        return "it has no owner"

    def stuck_image(self) -> str:
        self.rows("UPDATE images SET status = 'saving' WHERE id = ?", self.queued.id)
        return f"image {self.queued.id} is in saving"

    def stuck_blob(self) -> str:
        self.rows("INSERT INTO blobs (id, store, image_id, project, state, charged_bytes, epoch, created_at, "
                  "doomed_at, doom_reason) SELECT '0123456789abcdef', store, image_id, project, 'doomed', 0, 1, 0, 0, "
                  "'image deleted' FROM blobs LIMIT 1")
        return "is doomed"

    def stuck_job(self) -> str:
        self.rows("INSERT INTO jobs (kind, subject, state, attempts, next_attempt_at, epoch, created_at, "
                  "last_error) VALUES ('erase-blob', '0123456789abcdef', 'parked', 8, 0, 1, 0, 'hopeless')")
        return "is parked"

    def wrong_usage(self) -> str:
        self.rows("UPDATE blobs SET project = 'another' WHERE image_id = ?", self.image.id)
        return "usage is"

    def lost_tag(self) -> str:
        self.rows("DELETE FROM image_tags WHERE image_id = ?", self.image.id)
        return "tags are [] and not ['kept']"

    def lost_image(self) -> str:
        self.rows("UPDATE images SET status = 'deleted', deleted_at = 1 WHERE id = ?", self.queued.id)
        return "acknowledged and not there"

    def revived_image(self) -> str:
        self.rows("UPDATE images SET status = 'queued', deleted_at = NULL, size = NULL, virtual_size = NULL, "
                  "checksum = NULL, os_hash_algo = NULL, os_hash_value = NULL WHERE id = ?", self.gone.id)
        return "it is queued and has to be deleted"

    def forgotten_id(self) -> str:
        self.rows("DELETE FROM images WHERE id = ?", self.gone.id)
        return "it is absent"

    def unknown_image(self) -> str:
        columns = ", ".join(name for _, name, *_ in self.rows("PRAGMA table_info(images)") if name != "id")
        self.rows(f"INSERT INTO images (id, {columns}) SELECT 'nobody-made-it', {columns} FROM images WHERE id = ?",
                  self.queued.id)
        return "image nobody-made-it, which nobody made, is listed"


FAULTS = [name for name, value in vars(Planted).items() if callable(value) and not name.startswith("_")
          and name not in ("file", "rows")]


def snapshot(data_dir: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in data_dir.rglob("*") if path.is_file()}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_check_reports(small, fault):
    small.server.kill()
    whole = snapshot(small.server.data_dir)
    try:
        expected = getattr(Planted(small), fault)()
        small.server.restart()
        problems = look(small)
        assert any(expected in problem for problem in problems), (expected, problems)
    finally:
        small.server.kill()
        for path in snapshot(small.server.data_dir).keys() - whole.keys():
            path.unlink()
        for path, content in whole.items():
            path.write_bytes(content)
        small.server.restart()
    assert look(small, seconds=15) == []


def test_the_check_reports_an_upload_that_nobody_acknowledged_as_done(small):
    """In doubt it would be right, acknowledged as something else it is not."""
    image = small.workers[0].images[1]
    ways, image.ways = image.ways, [image.ways[0], *[uploaded(Data(5, 9))(image.ways[0])]]
    try:
        assert look(small) == []
        assert image.ways == ways
        image.ways = [uploaded(Data(5, 9))(ways[0])]
        assert any("size is" in problem for problem in look(small))
    finally:
        image.ways = ways


def test_the_load_reports_an_answer_it_must_not_get(small):
    """A worker whose image disappears under it says so."""
    run = Run()
    worker = small.workers[1]
    lost = Image("00000000-0000-4000-8000-000000000000", "lost", worker.project)
    lost.acknowledge("create", created("lost"))
    worker.images = [lost] * 6
    worker.begin(run, "1").join(60)
    worker.images = []
    assert run.failed.is_set() and "404" in run.problems[0]


@pytest.mark.skipif(not has_fsck(), reason="this build has no fsck")
def test_fsck_is_asked(small):
    assert fsck(small.server) == []
    stray = small.server.data_dir / "stores/local/incoming/0123456789abcdef"
    stray.write_bytes(b"stray")
    try:
        assert fsck(small.server) != []
    finally:
        stray.unlink()
    assert stored(stray.parent) == {}
