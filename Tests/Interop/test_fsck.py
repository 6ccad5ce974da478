"""`ambrotype fsck`: what it says of a server at work, of damage made by hand and of a crash."""

from __future__ import annotations

import json
import os
import pty
import sqlite3
import subprocess
import threading
from pathlib import Path

import pytest
import yaml

from ambrotype import BINARY, Server, eventually
from conftest import site_of
from image_api import MIB, ImageAPI, Pattern, expect

pytestmark = [pytest.mark.own_server, pytest.mark.own_identity]

STRAY = "ab000000-0000-4000-8000-000000000000"


def fsck(server: Server, *options: str) -> subprocess.CompletedProcess:
    command = [BINARY, "fsck", "--data-dir", server.data_dir, *options]
    if server.config:
        command += ["--config", server.config]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def check(server: Server, status: int, *options: str) -> tuple[list[dict], dict]:
    """Runs it; the findings (and garbage), and the summary."""
    done = fsck(server, "--json", *options)
    assert done.returncode == status, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    assert done.stderr == "", "no progress where there is no terminal"
    *lines, summary = [json.loads(line) for line in done.stdout.splitlines()]
    assert summary["type"] == "summary" and summary["exit"] == status
    return lines, summary


def kinds(lines: list[dict]) -> list[str]:
    return sorted(line["kind"] for line in lines if line["type"] == "finding")


def api_of(server: Server) -> ImageAPI:
    return site_of(server, server.data_dir / "clients").demo.api


def store_of(server: Server) -> Path:
    return server.data_dir / "stores/local"


def blob_files(server: Server) -> list[Path]:
    return sorted(path for path in (store_of(server) / "blobs").rglob("*") if path.is_file())


def active(api: ImageAPI, size: int = MIB, seed: int = 0) -> str:
    image = api.create_raw(name=f"checked-{seed}")["id"]
    expect(api.upload(image, Pattern(size, seed=seed).bytes()), 204)
    return image


def test_a_server_at_work_is_clean(start):
    server = start()
    api = api_of(server)
    stop, failures = threading.Event(), []

    def work(number: int) -> None:
        try:
            while not stop.is_set():
                image = active(api, 2 * MIB, seed=number)
                assert api.download(image).status_code == 200
                if number == 0:
                    api.begin_upload(api.create_raw()["id"], 4 * MIB).send(b"x" * MIB).abort()
                expect(api.delete(image), 204)
        except Exception as error:  # told by the test, not by a thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    [thread.start() for thread in threads]
    try:
        for turn in range(8):
            lines, _ = check(server, 0, *(["--read-data"] if turn % 2 else []), *(["--repair"] if turn > 3 else []))
            assert lines == []
    finally:
        stop.set()
        [thread.join() for thread in threads]
    assert failures == []


def test_missing_and_changed_bytes_are_found_and_never_repaired_away(start):
    server = start()
    api = api_of(server)
    gone, changed, good = (active(api, seed=seed) for seed in range(3))
    paths = {path.read_bytes(): path for path in blob_files(server)}
    paths[Pattern(MIB, seed=0).bytes()].unlink()
    with open(paths[Pattern(MIB, seed=1).bytes()], "r+b") as file:
        file.seek(1000)
        file.write(b"!")

    lines, _ = check(server, 2)
    assert kinds(lines) == ["bytes-missing"]
    assert lines[0]["subject"] == f"image {gone}"
    assert str(paths[Pattern(MIB, seed=0).bytes()]) in lines[0]["advice"]
    assert api.show(gone)["os_hash_value"] in lines[0]["advice"]
    lines, summary = check(server, 2, "--read-data", "--repair")
    assert kinds(lines) == ["bytes-missing", "digest-wrong", "digest-wrong"]  # sha512 and md5
    assert {line["subject"] for line in lines if line["kind"] == "digest-wrong"} == {f"image {changed}"}
    assert summary["bytes_read"] == 2 * MIB and summary["repaired"] == 0
    assert len(blob_files(server)) == 2
    assert api.download(good).content == Pattern(MIB, seed=2).bytes()
    # Restored as the report says, all is well again.
    paths[Pattern(MIB, seed=0).bytes()].write_bytes(Pattern(MIB, seed=0).bytes())
    paths[Pattern(MIB, seed=1).bytes()].write_bytes(Pattern(MIB, seed=1).bytes())
    check(server, 0, "--read-data")


@pytest.mark.parametrize("is_running", [True, False], ids=["running", "stopped"])
def test_a_stray_file_is_found_repaired_and_gone(start, is_running):
    server = start()
    api = api_of(server)
    image = active(api)
    stray = [store_of(server) / "incoming" / STRAY, store_of(server) / "blobs/ab" / STRAY]
    if not is_running:
        server.stop()
    for path in stray:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"stray")
    lines, summary = check(server, 2, "--garbage")
    assert kinds(lines) == ["bytes-unowned"] * 2
    garbage = [line for line in lines if line["type"] == "garbage"]
    assert [line["bytes"] for line in garbage] == [5, 5]
    assert summary["garbage"] == [{"kind": "unowned", "files": 2, "bytes": 10}]
    # A finished blob without a row is none that a crash leaves: the database may be the wrong one.
    lines, summary = check(server, 2, "--repair")
    assert summary["repaired"] == 0 and all(path.exists() for path in stray)
    lines, summary = check(server, 1, "--repair", "--erase-unowned", "local")
    assert summary["repaired"] >= 1
    assert not any(path.exists() for path in stray)
    check(server, 0)
    if not is_running:
        server.restart()
    assert api.download(image).content == Pattern(MIB).bytes()


def test_a_foreign_file_is_told_and_left(start):
    server = start()
    foreign = store_of(server) / "blobs/README"
    foreign.write_text("mine")
    assert kinds(check(server, 2, "--repair")[0]) == ["file-foreign"]
    assert foreign.read_text() == "mine"


def test_kill_9_in_an_upload_is_explained_before_the_restart_and_gone_after(start):
    server = start()
    api = api_of(server)
    active(api)
    image = api.create_raw(name="interrupted")["id"]
    data = Pattern(32 * MIB)
    upload = api.begin_upload(image, data.size).send(data.blocks(0, data.size // 2))
    eventually(lambda: list((store_of(server) / "incoming").iterdir()), 10, "no bytes reach the store")
    server.kill()
    upload.abort()

    lines, _ = check(server, 0, "--garbage", "--read-data")
    assert [line["kind"] for line in lines] == ["uploading"]
    assert image in lines[0]["text"] and "lease until" in lines[0]["text"]
    assert check(server, 0, "--repair")[0] == []
    assert list((store_of(server) / "incoming").iterdir()), "an upload may still be somebody's"

    server.restart()
    eventually(lambda: api.show(image)["status"] == "queued", 10)
    eventually(lambda: check(server, 0, "--garbage")[0] == [], 20, "bytes of the upload are left")


def test_damage_in_the_database_is_found(start):
    """What a program of ours cannot write: constraints are no defence against other hands."""
    server = start()
    active(api_of(server))
    server.stop()
    with sqlite3.connect(server.data_dir / "ambrotype.db") as database:  # which enforces no foreign key
        database.execute("INSERT INTO image_tags (image_id, tag) VALUES ('nowhere', 'lost')")
    lines, _ = check(server, 2)
    assert kinds(lines) == ["database-damaged"]
    assert "image_tags" in lines[0]["text"]
    with sqlite3.connect(server.data_dir / "ambrotype.db") as database:
        for table in ("image_tags", "image_provenance", "images"):
            database.execute(f"DELETE FROM {table}")
    lines, _ = check(server, 2)
    assert kinds(lines) == ["bytes-of-missing-image", "database-damaged"]


def test_a_store_away_makes_the_check_incomplete(start):
    server = start()
    image = active(api_of(server))
    store = store_of(server)
    store.rename(store.with_name("away"))
    lines, summary = check(server, 3, "--repair")
    assert kinds(lines) == ["store-out-of-reach"] and summary["incomplete"]
    assert not store.exists(), "it made a store"
    store.with_name("away").rename(store)
    check(server, 0)
    assert api_of_again(server).download(image).status_code == 200


def api_of_again(server: Server) -> ImageAPI:
    return site_of(server, server.data_dir / "clients-again").demo.api


def test_what_cannot_be_checked_has_a_status_of_its_own(start, scratch):
    server = start()
    server.stop()
    empty = scratch / "never-started"
    empty.mkdir()
    done = subprocess.run([BINARY, "fsck", "--data-dir", empty], capture_output=True, text=True, timeout=60)
    assert done.returncode == 3 and "no database" in done.stderr
    assert list(empty.iterdir()) == []
    for option in ["--read-data=0%", "--read-data=110%", "--read-data=some", "--what"]:
        assert fsck(server, option).returncode == 64, option
    config = scratch / "wrong-fsck.yaml"
    config.write_text(yaml.safe_dump({"image": {"colour": "blue"}}))
    done = subprocess.run([BINARY, "fsck", "--data-dir", server.data_dir, "--config", config],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 78 and "image.colour" in done.stderr

    database = sqlite3.connect(server.data_dir / "ambrotype.db")
    with database:
        database.execute("INSERT INTO schema_migrations VALUES (99999, 'from the future', 1)")
    done = fsck(server)
    assert done.returncode == 3 and "99999" in done.stderr
    with database:
        database.execute("DELETE FROM schema_migrations WHERE version IN (99999, 201)")
    done = fsck(server)
    assert done.returncode == 3 and "schema version 201" in done.stderr
    database.close()


def test_a_sample_can_be_drawn_again(start):
    server = start()
    api = api_of(server)
    for seed in range(12):
        active(api, 1000, seed=seed)
    _, first = check(server, 0, "--read-data=50%")
    assert first["sample_percent"] == 50 and 0 < first["blobs_read"] <= 12
    _, second = check(server, 0, "--read-data=50%", "--seed", str(first["seed"]))
    assert second["blobs_read"] == first["blobs_read"] and second["seed"] == first["seed"]
    _, whole = check(server, 0, "--read-data")
    assert whole["blobs_read"] == 12 and whole["bytes_read"] == 12_000
    said = fsck(server, "--read-data=50%").stdout
    assert "--seed" in said and "problems: 0" in said


def test_a_terminal_sees_progress_and_then_a_clean_line(start):
    server = start()
    api = api_of(server)
    active(api, 64 * MIB)
    ours, theirs = pty.openpty()
    process = subprocess.Popen([BINARY, "fsck", "--read-data", "--data-dir", server.data_dir],
                               stdout=subprocess.PIPE, stderr=theirs, text=True)
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # the other side was closed
            break
        if not piece:
            break
        shown += piece
    said = process.communicate(timeout=60)[0]
    os.close(ours)
    assert process.returncode == 0, said
    assert b"reading" in shown and b"%" in shown and b"of 67.1 MB" in shown
    assert shown.endswith(b"\r\x1b[K"), "the bar is taken away"
    assert "\x1b" not in said
