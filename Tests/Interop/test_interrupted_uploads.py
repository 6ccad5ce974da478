"""Failed and interrupted uploads leave nothing: the image is queued again, its bytes are gone, and
the same image can be uploaded again at once."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from ambrotype import Server, eventually
from clouds import unique
from conftest import site_of
from image_api import MIB, ImageAPI, Pattern, expect

pytestmark = [pytest.mark.own_server, pytest.mark.own_identity]


def stored_files(directory: Path) -> dict[str, int]:
    """The blobs under a store's directory, finished or not, with the bytes each takes on the disk."""
    files = {}
    for path in directory.rglob("*"):
        try:
            if path.is_file() and path.name != ".ambrotype-store":
                files[str(path.relative_to(directory))] = path.stat().st_blocks * 512
        except FileNotFoundError:
            pass  # removed meanwhile
    return files


def store_of(server: Server) -> Path:
    return server.data_dir / "stores/local"


def assert_free_again(api: ImageAPI, image: str, seconds: float = 10) -> None:
    """The image waits for data as if nothing had happened."""
    eventually(lambda: api.show(image)["status"] == "queued", seconds, "the image is not queued again")
    shown = api.show(image)
    assert [shown[key] for key in ("size", "virtual_size", "checksum", "os_hash_algo", "os_hash_value")] == [None] * 5
    answer = expect(api.download(image), 204)
    assert answer.content == b""


def assert_uploads(api: ImageAPI, image: str, data: Pattern) -> None:
    status, body = api.begin_upload(image, data.size).send_all_and_answer(data.blocks())
    assert status == 204, (status, body)
    assert api.show(image)["status"] == "active"
    assert api.download(image).content == data.bytes()


def upload_half(api: ImageAPI, image: str, data: Pattern, is_chunked: bool):
    """Sends the first half, and returns when the server is at it."""
    upload = api.begin_upload(image, None if is_chunked else data.size).send(data.blocks(0, data.size // 2))
    eventually(lambda: api.show(image)["status"] == "saving", 10)
    return upload


BODIES = pytest.mark.parametrize("is_chunked", [False, True], ids=["announced", "chunked"])


@BODIES
def test_kill_9_in_the_middle(start, is_chunked):
    server = start()
    api = site_of(server, server.data_dir / "clients").demo.api
    kept = api.create_raw(name="kept")["id"]
    expect(api.upload(kept, Pattern(MIB, seed=1).bytes()), 204)
    before = stored_files(store_of(server))

    data = Pattern(96 * MIB)
    image = api.create_raw(name="interrupted")["id"]
    upload = upload_half(api, image, data, is_chunked)
    eventually(lambda: sum(stored_files(store_of(server)).values()) > sum(before.values()) + 8 * MIB or
               free_descriptors_hold(server.pid, 8 * MIB), 10, "no bytes reach the disk")
    server.kill()
    upload.abort()

    server.restart()
    assert_free_again(api, image)
    eventually(lambda: stored_files(store_of(server)) == before, 10, "bytes of the upload are left")
    assert_uploads(api, image, data)
    assert api.download(kept).content == Pattern(MIB, seed=1).bytes()


def free_descriptors_hold(pid: int, size: int) -> bool:
    """Whether an unnamed file (O_TMPFILE) of a process has that many bytes."""
    held = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            status = descriptor.stat()
        except FileNotFoundError:
            continue
        if status.st_nlink == 0:
            held += status.st_blocks * 512
    return held >= size


def test_kill_9_again_and_again(start):
    """Each time at another moment, without waiting for what the last start had to clean up."""
    server = start()
    api = site_of(server, server.data_dir / "clients").demo.api
    data = Pattern(64 * MIB)
    images = []
    for portion in (0, 1, 7, 33, 64):
        image = api.create_raw(name=f"interrupted-{portion}")["id"]
        images.append(image)
        upload = api.begin_upload(image, data.size).send(data.blocks(0, portion * MIB))
        if portion == 33:
            eventually(lambda: api.show(image)["status"] == "saving", 10)
        server.kill()
        upload.abort()
        server.restart()
    for image in images:
        # Only the last may have been committed; then its bytes are the ones that were sent.
        status = eventually(lambda: (s := api.show(image)["status"]) in ("queued", "active") and s, 10)
        if status == "active":
            assert api.download(image).content == data.bytes()
        else:
            assert_free_again(api, image)
    active = [image for image in images if api.show(image)["status"] == "active"]
    eventually(lambda: len(stored_files(store_of(server))) == len(active), 10, "bytes are left")


def test_an_acknowledged_upload_survives_kill_9(start):
    server = start()
    api = site_of(server, server.data_dir / "clients").demo.api
    image = api.create_raw(name="acknowledged")["id"]
    data = Pattern(20 * MIB)
    status, _ = api.begin_upload(image, data.size).send_all_and_answer(data.blocks())
    server.kill()
    assert status == 204
    server.restart()
    assert api.show(image)["status"] == "active"
    assert api.download(image).content == data.bytes()


def test_a_deletion_cut_short_is_finished(start):
    server = start()
    api = site_of(server, server.data_dir / "clients").demo.api
    empty = stored_files(store_of(server))
    images = [api.create_raw(name=f"doomed-{index}")["id"] for index in range(8)]
    for image in images:
        expect(api.upload(image, Pattern(4 * MIB).bytes()), 204)
    for image in images:
        expect(api.delete(image), 204)
    server.kill()
    server.restart()
    for image in images:
        expect(api.request("GET", f"/v2/images/{image}"), 404)
    eventually(lambda: stored_files(store_of(server)) == empty, 40, "bytes of deleted images are left")


@BODIES
def test_a_client_that_goes_away(start, is_chunked):
    server = start()
    api = site_of(server, server.data_dir / "clients").demo.api
    data = Pattern(48 * MIB)
    image = api.create_raw(name="abandoned")["id"]
    upload_half(api, image, data, is_chunked).abort()
    assert_free_again(api, image)
    eventually(lambda: stored_files(store_of(server)) == {}, 10, "bytes of the upload are left")
    assert_uploads(api, image, data)


def test_a_size_quota_holds_against_uploads_at_once(start):
    """Over-commit is impossible: of eight uploads of 16 MiB, three fit in 50."""
    server = start({"image": {"quota": {"bytes": 50 * MIB}}})
    api = site_of(server, server.data_dir / "clients").demo.api
    data = Pattern(16 * MIB)
    images = [api.create_raw(name=f"at-once-{index}")["id"] for index in range(8)]
    uploads = []
    for image in images:
        try:
            uploads.append(api.begin_upload(image, data.size).send(data.blocks(0, 4 * MIB)))
        except (BrokenPipeError, ConnectionResetError):
            uploads.append(None)
    statuses = []
    for upload in uploads:
        statuses.append(upload.send_all_and_answer(data.blocks(4 * MIB))[0] if upload else 413)
    assert sorted(statuses) == [204] * 3 + [413] * 5
    for image, status in zip(images, statuses):
        assert api.show(image)["status"] == ("active" if status == 204 else "queued")
    expect(api.delete(images[statuses.index(204)]), 204)
    assert_uploads(api, images[statuses.index(413)], data)


@pytest.fixture
def small_disk(scratch):
    """A file system of 160 MiB of its own, in memory."""
    path = scratch / unique("small-disk")
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160m,mode=700", "tmpfs", path],
                             capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs: {mounted.stderr.strip()}")
    yield path
    subprocess.run(["umount", "-l", path], check=True)


def used_bytes(path: Path) -> int:
    status = os.statvfs(path)
    return (status.f_blocks - status.f_bfree) * status.f_frsize


@BODIES
def test_a_full_disk(start, small_disk, is_chunked):
    server = start({"image": {"stores": [f"small:{small_disk / 'store'}"]}})
    api = site_of(server, server.data_dir / "clients").demo.api
    first, second = (api.create_raw(name=name)["id"] for name in ("fits", "does-not-fit"))
    assert_uploads(api, first, Pattern(20 * MIB))
    used = used_bytes(small_disk)

    data = Pattern(400 * MIB)
    upload = api.begin_upload(second, None if is_chunked else data.size)
    status, body = upload.send_all_and_answer(data.blocks())
    assert status == 413, (status, body)
    assert_free_again(api, second)
    eventually(lambda: used_bytes(small_disk) <= used + 65536, 10, "space was not given back")
    # The disk is as good as before: what fits is taken, and what was there is whole.
    assert_uploads(api, second, Pattern(30 * MIB, seed=2))
    assert api.download(first).content == Pattern(20 * MIB).bytes()


def test_a_disk_filled_by_others_during_the_upload(start, small_disk):
    server = start({"image": {"stores": [f"small:{small_disk / 'store'}"]}})
    api = site_of(server, server.data_dir / "clients").demo.api
    image = api.create_raw(name="squeezed")["id"]
    data = Pattern(60 * MIB)
    upload = api.begin_upload(image, None).send(data.blocks(0, 10 * MIB))
    eventually(lambda: api.show(image)["status"] == "saving", 10)
    other = small_disk / "somebody-elses"
    with open(other, "wb", buffering=0) as file:
        try:
            for block in Pattern(200 * MIB, seed=9).blocks():
                file.write(block)
        except OSError:
            pass  # full, as intended
    status, body = upload.send_all_and_answer(data.blocks(10 * MIB))
    assert status == 413, (status, body)
    assert_free_again(api, image)
    other.unlink()
    assert_uploads(api, image, data)


def test_a_store_that_is_gone_comes_back(start):
    """As when its disk is not mounted: refused, nothing lost, and no empty store made in its place."""
    server = start()
    api = site_of(server, server.data_dir / "clients").demo.api
    image, waiting = (api.create_raw(name=name)["id"] for name in ("there", "waiting"))
    data = Pattern(2 * MIB)
    assert_uploads(api, image, data)
    store, away = store_of(server), server.data_dir / "away"
    store.rename(away)
    expect(api.download(image), 503)
    status, body = api.begin_upload(waiting, data.size).send_all_and_answer(data.blocks())
    assert status == 503, (status, body)
    assert api.show(image)["status"] == "active"
    away.rename(store)
    assert api.download(image).content == data.bytes()
    assert_free_again(api, waiting)
    assert_uploads(api, waiting, data)


def test_a_slow_upload_outlives_its_lease(start):
    """A lease is renewed while its upload lives, however slowly the bytes come."""
    server = start({"image": {"lease_seconds": 5}})
    api = site_of(server, server.data_dir / "clients").demo.api
    image = api.create_raw(name="slow")["id"]
    data = Pattern(8 * MIB)
    upload = api.begin_upload(image, data.size)
    deadline = time.monotonic() + 12
    for block in data.blocks(0, 6 * MIB):
        upload.send(block)
        time.sleep(max(0, (deadline - time.monotonic()) / 6))
    time.sleep(max(0, deadline - time.monotonic()))
    assert api.show(image)["status"] == "saving"
    status, body = upload.send_all_and_answer(data.blocks(6 * MIB))
    assert status == 204, (status, body)
    assert api.download(image).content == data.bytes()
