"""Stores and databases on disks that are full, gone, read-only, slow, or fail once: each request is answered
as the API says, deletions always, and everything heals by itself once the disk is well again."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openstack.exceptions
import pytest

from ambrotype import Server, eventually
from clouds import unique
from conftest import prepared, servers, site_of
from image_api import MIB, ImageAPI, Pattern, expect
from kill_check import Catalogue, stored, wait_until_finished
from test_interrupted_uploads import assert_free_again, assert_uploads, used_bytes

pytestmark = [pytest.mark.own_server, pytest.mark.own_identity]

BODIES = pytest.mark.parametrize("is_chunked", [False, True], ids=["announced", "chunked"])


@pytest.fixture
def mount(scratch):
    """Mounts file systems in memory, and unmounts them whatever happens: `mount(mebibytes)`."""
    mounted = []

    def mount_tmpfs(mebibytes: int) -> Path:
        path = scratch / unique("disk")
        path.mkdir()
        result = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=700", "tmpfs", path],
                                capture_output=True, text=True)
        if result.returncode:
            pytest.skip(f"cannot mount a tmpfs: {result.stderr.strip()}")
        mounted.append(path)
        return path

    yield mount_tmpfs
    for path in reversed(mounted):
        subprocess.run(["umount", "-l", path], check=True)


def api_of(server: Server) -> ImageAPI:
    return site_of(server, server.data_dir.with_suffix(".clients")).demo.api


def fill(directory: Path, name: str = "somebody-elses") -> Path:
    """Takes what is left of a disk, to the last byte."""
    path = directory / name
    with open(path, "ab", buffering=0) as file:
        for block in (bytes(MIB), bytes(4096), b"x"):
            try:
                while file.write(block):
                    pass
            except OSError:
                pass  # full, as intended
    return path


def upload(api: ImageAPI, image: str, data: Pattern, is_chunked: bool = False) -> int:
    begun = api.begin_upload(image, None if is_chunked else data.size)
    return begun.send_all_and_answer(data.blocks())[0]


def timed(limit: float, call, *arguments, **options):
    """The call's answer, which has to come in time."""
    start = time.monotonic()
    answer = call(*arguments, **options)
    taken = time.monotonic() - start
    assert taken < limit, f"{call.__name__} took {taken:.2f} s"
    return answer


def assert_healed(server: Server, store: Path, seconds: float = 40) -> None:
    """Nothing is left to do, and the store has what the catalogue says and nothing else."""
    catalogue = Catalogue(server.data_dir)
    assert wait_until_finished(catalogue, seconds) == []
    rows = catalogue.rows("SELECT id, size_bytes FROM blobs")
    assert stored(store) == {f"blobs/{id[:2]}/{id}": size for id, size in rows}


def assert_the_rest_works(api: ImageAPI, image: str) -> None:
    """All that needs no bytes, at its usual speed."""
    name = unique("meanwhile")
    made = timed(1, api.create_raw, name=name)["id"]
    assert [found["id"] for found in timed(1, api.list, name=name)] == [made]
    assert timed(1, api.show, image)["status"] == "active"
    expect(timed(1, api.patch, made, {"op": "add", "path": "/touched", "value": "yes"}), 200)
    expect(timed(1, api.request, "PUT", f"/v2/images/{made}/tags/touched"), 204)
    expect(timed(1, api.delete, made), 204)


# Full.


@BODIES
def test_a_store_without_a_free_byte(start, mount, is_chunked):
    disk = mount(160)
    store = disk / "store"
    server = start({"image": {"stores": [f"small:{store}"]}})
    api = api_of(server)
    empty = used_bytes(disk)
    kept, doomed, waiting = (api.create_raw(name=name)["id"] for name in ("kept", "doomed", "waiting"))
    assert_uploads(api, kept, Pattern(5 * MIB, seed=1))
    assert_uploads(api, doomed, Pattern(20 * MIB, seed=2))
    filler = fill(disk)

    for size in (1, 30 * MIB):
        assert upload(api, waiting, Pattern(size), is_chunked) == 413
        assert_free_again(api, waiting)
    assert_the_rest_works(api, kept)
    assert api.download(kept).content == Pattern(5 * MIB, seed=1).bytes()
    expect(timed(1, api.delete, doomed), 204)
    expect(api.request("GET", f"/v2/images/{doomed}"), 404)
    # A full disk does not keep bytes from being erased.
    assert_healed(server, store)
    assert used_bytes(disk) - filler.stat().st_blocks * 512 < empty + 6 * MIB

    filler.unlink()
    assert_uploads(api, waiting, Pattern(30 * MIB, seed=3))
    assert_healed(server, store)


# Gone.


def test_a_store_that_is_away(start):
    server = start()
    api = api_of(server)
    store, away = server.data_dir / "stores/local", server.data_dir / "away"
    kept, waiting, *doomed = (api.create_raw(name=f"image-{index}")["id"] for index in range(5))
    assert_uploads(api, kept, Pattern(2 * MIB, seed=1))
    for image in doomed:
        assert_uploads(api, image, Pattern(3 * MIB, seed=2))
    cut_off = api.begin_upload(waiting, None).send(Pattern(8 * MIB).blocks(0, 4 * MIB))
    eventually(lambda: api.show(waiting)["status"] == "saving")
    store.rename(away)

    # The upload that is under way loses its store as well.
    status, body = cut_off.send_all_and_answer(Pattern(8 * MIB).blocks(4 * MIB))
    assert status == 503, (status, body)
    for is_chunked in (False, True):
        assert upload(api, waiting, Pattern(MIB), is_chunked) == 503
        eventually(lambda: api.show(waiting)["status"] == "queued")
    expect(timed(1, api.download, kept), 503)
    for image in doomed:
        expect(timed(1, api.delete, image), 204)
        expect(api.request("GET", f"/v2/images/{image}"), 404)
        expect(api.request("POST", "/v2/images", json={"id": image}), 409)
    assert_the_rest_works(api, kept)
    assert Catalogue(server.data_dir).usage()[api.show(kept)["owner"]] == 2 * MIB, "deleted images cost nothing"
    assert not store.exists(), "an empty store was made in place of the one that is away"

    away.rename(store)
    assert api.download(kept).content == Pattern(2 * MIB, seed=1).bytes()
    assert_uploads(api, waiting, Pattern(4 * MIB, seed=3))
    assert_healed(server, store)


def test_a_server_killed_while_its_store_is_away_finds_it_again(start):
    """What was to be erased is still to be erased after a kill and a restart."""
    server = start()
    api = api_of(server)
    store, away = server.data_dir / "stores/local", server.data_dir / "away"
    image = api.create_raw(name="doomed")["id"]
    assert_uploads(api, image, Pattern(3 * MIB))
    store.rename(away)
    expect(api.delete(image), 204)
    catalogue = Catalogue(server.data_dir)
    eventually(lambda: catalogue.rows("SELECT 1 FROM jobs WHERE last_error IS NOT NULL"), 10, "erasing was not tried")
    server.kill()
    away.rename(store)
    server.restart()
    assert_healed(server, store)


def test_a_server_starts_without_a_store_and_has_it_once_it_is_back(start):
    server = start()
    api = api_of(server)
    store, away = server.data_dir / "stores/local", server.data_dir / "away"
    kept, doomed, later = (api.create_raw(name=name)["id"] for name in ("kept", "doomed", "later"))
    assert_uploads(api, kept, Pattern(2 * MIB, seed=1))
    assert_uploads(api, doomed, Pattern(2 * MIB, seed=2))
    server.kill()
    store.rename(away)
    server.restart()
    assert "out of reach; starting without it" in server.log.read_text()
    expect(api.download(kept), 503)
    assert upload(api, later, Pattern(MIB), False) == 503
    expect(api.delete(doomed), 204)
    away.rename(store)
    assert api.download(kept).content == Pattern(2 * MIB, seed=1).bytes()
    assert_uploads(api, later, Pattern(MIB))
    assert_healed(server, store)


# Read-only.


def test_a_store_that_is_read_only(start, mount):
    disk = mount(256)
    store = disk / "store"
    server = start({"image": {"stores": [f"small:{store}"]}})
    api = api_of(server)
    kept, doomed, waiting = (api.create_raw(name=name)["id"] for name in ("kept", "doomed", "waiting"))
    assert_uploads(api, kept, Pattern(5 * MIB, seed=1))
    assert_uploads(api, doomed, Pattern(5 * MIB, seed=2))
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)

    for is_chunked in (False, True):
        assert upload(api, waiting, Pattern(2 * MIB), is_chunked) == 503
        assert_free_again(api, waiting)
    assert api.download(kept).content == Pattern(5 * MIB, seed=1).bytes()
    expect(timed(1, api.delete, doomed), 204)
    assert_the_rest_works(api, kept)
    assert len(stored(store)) == 2

    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    assert_healed(server, store)
    assert len(stored(store)) == 1
    assert_uploads(api, waiting, Pattern(4 * MIB, seed=3))


# Slow, or failing once.


class Faults:
    """What happens to the system calls on a store's files (`store_faults.c`)."""

    def __init__(self, control: Path):
        self.control = control

    def slow(self, milliseconds: int) -> None:
        (self.control / "slow").write_text(str(milliseconds))

    def fail(self, call: str, pattern: str) -> None:
        (self.control / f"fail-{call}").write_text(pattern)

    def hold(self, call: str, pattern: str = "*") -> None:
        (self.control / f"hold-{call}").write_text(pattern)

    def release(self, call: str) -> None:
        (self.control / f"hold-{call}").unlink()

    @property
    def left(self) -> list[str]:
        """Those that have not come yet."""
        return sorted(path.name for path in self.control.iterdir())

    def end(self) -> None:
        for path in self.control.iterdir():
            path.unlink()


@pytest.fixture(scope="session")
def preloaded(scratch) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if not compiler:
        pytest.skip("no C compiler")
    library = scratch / "store_faults.so"
    source = Path(__file__).with_name("store_faults.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, source, "-ldl"], check=True)
    return library


@pytest.fixture
def faulty(start, scratch, preloaded):
    """A server whose store obeys `Faults`, and the store's directory."""
    store, control = scratch / unique("store"), scratch / unique("control")
    control.mkdir()
    environment = {"LD_PRELOAD": str(preloaded), "STORE_FAULTS_BELOW": f"{store}/",
                   "STORE_FAULTS_CONTROL": str(control)}
    faults = Faults(control)
    # Downloads are read, so that reads can fail: what nobody has to see, the kernel sends by itself.
    settings = {"image": {"stores": [f"faulty:{store}"], "verification": {"downloads": "all"}}}
    yield start(settings, environment=environment), faults, store
    faults.end()


@BODIES
def test_a_store_that_fails_once(faulty, is_chunked):
    """At each system call that an upload depends on: refused, nothing left, and the next is taken."""
    server, faults, store = faulty
    api = api_of(server)
    for call, pattern in (("pwritev", "*/incoming/*"), ("fsync", "*/incoming/*"), ("fsync", "*/blobs"),
                          ("renameat2", "*/blobs/*"), ("fsync", "*/blobs/??"), ("fsync", "*/incoming")):
        if pattern == "*/blobs" and is_chunked:
            continue  # only when a fan-out directory is made, as by the first upload of a server
        image = api.create_raw(name=f"{call} {pattern}")["id"]
        faults.fail(call, pattern)
        status = upload(api, image, Pattern(6 * MIB), is_chunked)
        assert faults.left == [], f"no {call} of {pattern}"
        assert status == 503, f"{call} of {pattern} failed: {status}"
        assert_free_again(api, image)
        assert_healed(server, store)
        assert stored(store) == {}, f"{call} of {pattern} failed"
        assert_uploads(api, image, Pattern(6 * MIB, seed=1))
        expect(api.delete(image), 204)
        assert_healed(server, store)


def test_an_erasure_that_fails_once_is_repeated(faulty):
    """Each call of it, in turn."""
    server, faults, store = faulty
    api = api_of(server)
    ways = ("unlink", "*/blobs/*"), ("fsync", "*/blobs/??"), ("fsync", "*/incoming")
    images = [api.create_raw(name="sticky")["id"] for _ in ways]
    for image in images:
        assert_uploads(api, image, Pattern(2 * MIB))
    for image, (call, pattern) in zip(images, ways):
        faults.fail(call, pattern)
        expect(timed(1, api.delete, image), 204)
        eventually(lambda: faults.left == [], 10, f"no {call} of {pattern}")
    assert_healed(server, store)
    assert stored(store) == {}


def test_a_download_that_fails_once(faulty):
    """Before the first byte it could be 503; later only a broken connection tells that bytes are missing."""
    server, faults, store = faulty
    api = api_of(server)
    image = api.create_raw(name="unreadable")["id"]
    data = Pattern(9 * MIB)
    assert_uploads(api, image, data)
    faults.fail("pread", "*/blobs/*")
    try:
        answer = api.download(image)
        assert answer.status_code == 503, "bytes that could not be read were acknowledged"
    except OSError:
        pass  # cut off; requests' exceptions are OSErrors
    assert faults.left == []
    assert api.download(image).content == data.bytes()


def test_a_slow_store_slows_nothing_else(faulty, measured):
    """Sixteen uploads, more than the store has threads, each of whose system calls takes 300 ms longer."""
    server, faults, store = faulty
    api = api_of(server)
    kept = api.create_raw(name="kept")["id"]
    assert_uploads(api, kept, Pattern(MIB, seed=99))
    doomed = [api.create_raw(name=f"doomed-{index}")["id"] for index in range(8)]
    for image in doomed[:4]:
        assert_uploads(api, image, Pattern(1000))
    images = [api.create_raw(name=f"slow-{index}")["id"] for index in range(16)]
    faults.slow(300)
    with ThreadPoolExecutor(16) as pool:
        uploads = [pool.submit(upload, api, image, Pattern(2 * MIB, seed=index), index % 2 == 0)
                   for index, image in enumerate(images)]
        eventually(lambda: any(image["status"] == "saving" for image in api.list()))
        rounds = 0
        while rounds < 8 or not all(begun.done() for begun in uploads):
            if doomed:
                expect(timed(1, api.delete, doomed.pop()), 204)
            assert_the_rest_works(api, kept)
            rounds += 1
        assert [begun.result() for begun in uploads] == [204] * 16
    faults.end()
    for index, image in enumerate(images):
        assert api.download(image).content == Pattern(2 * MIB, seed=index).bytes()
    assert_healed(server, store)
    measured("rounds of other requests during sixteen uploads to a slow store", str(rounds))


@pytest.fixture
def hanging(faulty):
    """As an NFS server that stopped answering: writes hang, more of them than the store has threads."""
    server, faults, store = faulty
    site = site_of(server, server.data_dir.with_suffix(".clients"))
    api = site.demo.api
    kept = api.create_raw(name="kept")["id"]
    assert_uploads(api, kept, Pattern(MIB, seed=99))
    images = [api.create_raw(name=f"hung-{index}")["id"] for index in range(16)]
    faults.hold("pwritev")
    with ThreadPoolExecutor(16) as pool:
        uploads = [pool.submit(upload, api, image, Pattern(MIB, seed=index)) for index, image in enumerate(images)]
        try:
            eventually(lambda: sum(size == 0 for size in stored(store).values()) >= 8, 10, "no write hangs")
            yield site, kept
        finally:
            faults.release("pwritev")
        assert [begun.result() for begun in uploads] == [204] * 16
    assert_healed(server, store)


def test_a_store_that_hangs_holds_up_nothing_else(hanging):
    site, kept = hanging
    assert_the_rest_works(site.demo.api, kept)


def test_a_store_that_hangs_keeps_nobody_from_logging_in(hanging):
    site, _ = hanging
    entered = threading.Event()

    def log_in() -> None:
        try:
            site.demo.connect().authorize()
            entered.set()
        except openstack.exceptions.SDKException:
            pass  # it waited until the server was gone

    threading.Thread(target=log_in, daemon=True).start()
    assert entered.wait(10), "a login waits for the store"


def test_a_kill_in_the_middle_of_an_erasure(faulty):
    """The job's owner is known to be gone: the next start does not wait for the end of its lease (30 s)."""
    server, faults, store = faulty
    api = api_of(server)
    image = api.create_raw(name="half-erased")["id"]
    assert_uploads(api, image, Pattern(2 * MIB))
    faults.hold("unlink", "*/blobs/*")
    expect(timed(1, api.delete, image), 204)
    catalogue = Catalogue(server.data_dir)
    eventually(lambda: catalogue.rows("SELECT 1 FROM jobs WHERE state = 'running'"), 10, "nothing is erased")
    server.kill()
    faults.end()
    server.restart()
    assert_healed(server, store, seconds=10)
    assert stored(store) == {}


def test_deleting_what_is_being_written_to_a_store_that_hangs(faulty):
    """The deletion is answered at once, and the bytes go when the store has let go of them."""
    server, faults, store = faulty
    api = api_of(server)
    image = api.create_raw(name="doomed")["id"]
    faults.hold("pwritev")
    with ThreadPoolExecutor(1) as pool:
        begun = pool.submit(upload, api, image, Pattern(8 * MIB))
        try:
            eventually(lambda: stored(store), 10)
            expect(timed(1, api.delete, image), 204)
            expect(api.request("GET", f"/v2/images/{image}"), 404)
        finally:
            faults.release("pwritev")
        assert begun.result() in (404, 410)
    assert_healed(server, store)
    assert stored(store) == {}


# The database's disk.


def test_a_full_disk_of_the_database(scratch, mount):
    disk = mount(64)
    store = scratch / unique("store")
    data_dir = disk / "data"
    data_dir.mkdir()
    server = prepared(data_dir, {"image": {"stores": [f"elsewhere:{store}"]}}, log=scratch / f"{unique('full')}.log")
    try:
        server.start()
        api = site_of(server, scratch / unique("clients")).demo.api
        kept, doomed, waiting, begun = (api.create_raw(name=f"image-{index}")["id"] for index in range(4))
        assert_uploads(api, kept, Pattern(2 * MIB, seed=1))
        assert_uploads(api, doomed, Pattern(MIB, seed=3))
        under_way = api.begin_upload(begun, None).send(Pattern(4 * MIB).blocks(0, 2 * MIB))
        eventually(lambda: api.show(begun)["status"] == "saving")
        filler = fill(disk)
        made = until_refused(api)
        fill(disk)

        # What still fits in the log that is there may be written; all else says so, and nothing breaks.
        answers = [api.request("POST", "/v2/images", json={"name": "refused", "x": "x" * 60000}) for _ in range(5)]
        assert {answer.status_code for answer in answers} <= {201, 503}
        assert 503 in {answer.status_code for answer in answers}
        made += [answer.json()["id"] for answer in answers if answer.status_code == 201]
        changed = expect(api.patch(kept, {"op": "add", "path": "/changed", "value": "x" * 60000}), 200, 503)
        gone = expect(api.delete(doomed), 204, 503)
        status = upload(api, waiting, Pattern(MIB))
        assert status in (204, 503)
        ended, body = under_way.send_all_and_answer(Pattern(4 * MIB).blocks(2 * MIB))
        assert ended in (204, 503), body
        # Reads go on.
        assert api.show(kept)["status"] == "active"
        assert kept in {image["id"] for image in api.list()}
        assert api.download(kept).content == Pattern(2 * MIB, seed=1).bytes()

        filler.unlink()
        # Each did what it said, all of it or nothing.
        assert ("changed" in api.show(kept)) == (changed.status_code == 200)
        if gone.status_code == 503:
            assert api.download(doomed).content == Pattern(MIB, seed=3).bytes()
            expect(api.delete(doomed), 204)
        expect(api.request("GET", f"/v2/images/{doomed}"), 404)
        assert_healed(server, store)
        for image, answered in ((waiting, status), (begun, ended)):
            assert api.show(image)["status"] == ("active" if answered == 204 else "queued")
        if status == 503:
            assert_uploads(api, waiting, Pattern(MIB, seed=2))
        for image in made:
            expect(api.delete(image), 204)
        assert_healed(server, store)
        server.kill()
        server.restart()
        assert api.download(kept).content == Pattern(2 * MIB, seed=1).bytes()
        assert_healed(server, store)
    finally:
        server.kill()
        servers.remove(server)


def until_refused(api: ImageAPI) -> list[str]:
    """Creates images until the disk has no room for more; those that were made."""
    made = []
    for _ in range(2000):
        answer = expect(api.request("POST", "/v2/images", json={"name": "filling", "x": "x" * 20000}), 201, 503)
        if answer.status_code == 503:
            return made
        made.append(answer.json()["id"])
    raise AssertionError("the disk is full, and images are made all the same")
