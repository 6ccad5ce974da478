"""Several servers that share a data directory, as processes: what one was at when it was killed the others finish or
undo, and none keeps another waiting."""

import hashlib
import os
import subprocess
import threading

import pytest

from ambrotype import BINARY, Server, StartFailed, eventually
from conftest import prepared, servers, site_of
from image_api import MIB, ImageAPI, Pattern, expect

pytestmark = [pytest.mark.own_server, pytest.mark.own_identity]

DATA = Pattern(32 * MIB, seed=21)


@pytest.fixture
def nodes(start, tmp_path):
    """The first server, another beside it, and the demo user's API at each."""
    first = start()
    second = Server(first.data_dir, node="b", log=tmp_path / "b.log")
    servers.append(second)
    second.start()
    demo = site_of(first, tmp_path / "clients").demo
    yield first, second, demo.api, ImageAPI(second.url + "/image", demo.api.token)
    second.kill()
    servers.remove(second)


def assert_clean(*running: Server) -> None:
    for server in running:
        assert server.stop() == 0
    done = subprocess.run([BINARY, "fsck", "--read-data", "--data-dir", running[0].data_dir], capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def blobs(server: Server) -> list[str]:
    store = server.data_dir / "stores/local"
    return [path.name for path in store.rglob("*") if path.is_file() and path.name != ".ambrotype-store"]


@pytest.mark.parametrize("victim", ["first", "second"])
def test_an_upload_to_a_killed_node_is_undone_by_the_other(nodes, victim):
    first, second, *apis = nodes
    killed, api, kept = (first, apis[0], apis[1]) if victim == "first" else (second, apis[1], apis[0])
    image = api.create_raw()["id"]
    upload = api.begin_upload(image, DATA.size).send(DATA.blocks(0, DATA.size // 2))
    eventually(lambda: kept.show(image)["status"] == "saving")
    killed.kill()
    upload.abort()
    # Long before the lease (30 s) is over, and without the killed one: its process is known to be gone.
    eventually(lambda: kept.show(image)["status"] == "queued", 15)
    eventually(lambda: not blobs(first), 15, "the bytes are gone")
    expect(kept.upload(image, DATA.bytes()), 204)
    assert hashlib.sha512(kept.download(image).content).hexdigest() == kept.show(image)["os_hash_value"]
    killed.restart()
    assert api.show(image)["status"] == "active"
    assert_clean(first, second)


def test_a_living_nodes_upload_is_left_alone(nodes):
    first, second, here, there = nodes
    image = there.create_raw()["id"]
    upload = there.begin_upload(image, DATA.size).send(DATA.blocks(0, DATA.size // 2))
    eventually(lambda: here.show(image)["status"] == "saving")
    first.stop()
    first.restart()
    assert here.show(image)["status"] == "saving"
    status, body = upload.send_all_and_answer(DATA.blocks(DATA.size // 2))
    assert status == 204, body
    assert here.download(image).content == DATA.bytes()
    assert_clean(first, second)


def test_an_import_of_a_killed_node_ends_by_the_other(nodes):
    first, second, here, there = nodes
    images = []
    for _ in range(4):
        image = there.create_raw()["id"]
        expect(there.request("PUT", f"/v2/images/{image}/stage", data=DATA.bytes(),
                             headers={"Content-Type": "application/octet-stream"}), 204)
        images.append(image)
    for image in images:
        expect(there.request("POST", f"/v2/images/{image}/import", json={"method": {"name": "glance-direct"}}), 202)
    second.kill()
    for image in images:
        shown = eventually(lambda image=image: here.show(image) if here.show(image)["status"] == "active" else None, 30)
        assert hashlib.sha512(here.download(image).content).hexdigest() == shown["os_hash_value"]
    assert_clean(first)


def test_neither_keeps_the_other_waiting(nodes):
    """One is busy with the writes of 64 clients; what the other is asked meanwhile is answered in good time."""
    first, second, here, there = nodes
    busy = subprocess.Popen([BINARY, "bench", "create-delete", "--url", here.url, "--connections", "64", "--seconds", "4",
                             "--repeats", "1", "--json"], env=os.environ | {"OS_TOKEN": here.token},
                            stdout=subprocess.PIPE, text=True)
    # So that it is busy when it counts.
    eventually(lambda: here.request("GET", "/v2/images?limit=1").json()["images"])
    pairs = 0
    while busy.poll() is None:
        expect(there.delete(there.create_raw()["id"]), 204)
        pairs += 1
    assert busy.returncode == 0, busy.stdout.read()
    # Without turns it is one or two, after several seconds; some 70 a second with them.
    assert pairs >= 50
    assert_clean(first, second)


def test_rolling_restarts_are_seen_by_nobody(nodes):
    """Whoever asks the node that runs is answered, whatever happens to the other."""
    first, second, here, there = nodes
    def work(api: ImageAPI, is_over: threading.Event, failures: list[str]) -> None:
        while not is_over.is_set():
            try:
                image = api.create_raw()["id"]
                expect(api.upload(image, b"data"), 204)
                assert api.download(image).content == b"data"
                expect(api.delete(image), 204)
            except Exception as error:  # told to the test
                failures.append(str(error))
                return

    for restarted, api in ((first, there), (second, here), (first, there)):
        is_over, failures = threading.Event(), []
        worker = threading.Thread(target=work, args=(api, is_over, failures))
        worker.start()
        assert restarted.stop() == 0
        restarted.restart()
        is_over.set()
        worker.join()
        assert not failures, failures
    assert_clean(first, second)


def test_what_cannot_be_started(nodes, tmp_path):
    first, second, *_ = nodes
    for node, text in (("b", "of the name b"), (None, "in use by another ambrotype server"), ("B", "--node 'B'")):
        third = Server(first.data_dir, node=node, log=tmp_path / "third.log")
        with pytest.raises(StartFailed) as failed:
            third.start()
        assert text in str(failed.value)
    alone = prepared(tmp_path / "empty", node="b")
    with pytest.raises(StartFailed) as failed:
        alone.start()
    servers.remove(alone)
    assert "only the first node, without --node, does that" in str(failed.value)


def test_nodes_are_listed_and_forgotten(nodes, tmp_path):
    first, second, *_ = nodes

    def command(*words: str) -> subprocess.CompletedProcess:
        return subprocess.run([BINARY, "nodes", *words, "--data-dir", first.data_dir], capture_output=True, text=True)

    def listed() -> dict[str, str]:
        done = command("list")
        assert done.returncode == 0, done.stderr
        rows = [line.split() for line in done.stdout.splitlines()[1:]]
        return {row[0]: row[2] if row[1] == "process" else "" for row in rows}

    assert listed() == {"local": str(first.pid), "b": str(second.pid)}
    refused = command("forget", "b")
    assert refused.returncode == 1 and "stop it first" in refused.stderr
    second.kill()
    assert listed() == {"local": str(first.pid), "b": ""}
    assert command("forget", "b").returncode == 0
    assert listed() == {"local": str(first.pid)}
    # Its lock is not all that is known of it: a directory that was restored has none.
    second.start()
    second.kill()
    (first.data_dir / "lock-b").unlink()
    assert listed() == {"local": str(first.pid), "b": ""}
    assert command("forget", "b").returncode == 0
    for other in ("b", "local", "../x"):
        assert command("forget", other).returncode == 1, other
    assert second.restart()
    assert set(listed()) == {"local", "b"}
    assert_clean(first, second)
