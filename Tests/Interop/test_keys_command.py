"""`ambrotype keys` beside a server at work: rotation, check, status, what needs a key, deleted keys."""

from __future__ import annotations

import base64
import json
import os
import shutil
import sqlite3
import subprocess
import threading
import uuid

import pytest
import requests

from ambrotype import BINARY, Server, eventually
from conftest import site_of
from image_api import MIB, Pattern, expect
from test_operator import ROOT, ambrotype, read, rows

pytestmark = [pytest.mark.own_server, pytest.mark.own_identity]


class Keys:
    """A project's secrets, over the Key Manager API."""

    def __init__(self, server: Server, account) -> None:
        self.url = f"{server.url}/key-manager/v1/secrets"
        self.session = requests.Session()
        self.session.trust_env = False  # no proxy for the loopback
        self.session.headers["X-Auth-Token"] = account.sdk.auth_token
        self.stored: dict[str, bytes] = {}

    def store(self, payload: bytes | None = None, **fields) -> str:
        payload = payload or os.urandom(32)
        body = {"payload": base64.b64encode(payload).decode(), "payload_content_type": "application/octet-stream",
                "payload_content_encoding": "base64", "secret_type": "symmetric", **fields}
        answer = self.session.post(self.url, json=body)
        assert answer.status_code == 201, answer.text
        key = answer.json()["secret_ref"].rsplit("/", 1)[1]
        self.stored[key] = payload
        return key

    def payload(self, key: str) -> requests.Response:
        return self.session.get(f"{self.url}/{key}/payload", headers={"Accept": "application/octet-stream"})

    def delete(self, key: str) -> None:
        answer = self.session.delete(f"{self.url}/{key}")
        assert answer.status_code == 204, answer.text

    def check(self) -> None:
        for key, payload in list(self.stored.items()):
            answer = self.payload(key)
            assert answer.status_code == 200 and answer.content == payload, key


def keys_of(server: Server):
    site = site_of(server, server.data_dir / "clients")
    return Keys(server, site.demo), site


def check(server: Server, status: int = 0) -> tuple[list[dict], dict]:
    command = [BINARY, "keys", "check", "--json", "--data-dir", server.data_dir]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == status, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    *findings, summary = [json.loads(line) for line in done.stdout.splitlines()]
    assert summary["type"] == "summary" and summary["exit"] == status
    return findings, summary


def master_keys(server: Server) -> list[str]:
    """Ids in the file."""
    lines = (server.data_dir / "master-keys").read_text().splitlines()
    return [line.split()[0] for line in lines if not line.startswith("#")]


def test_rotations_while_the_server_stores_and_reads(start):
    server = start()
    keys, _ = keys_of(server)
    for _ in range(5):
        keys.store()
    before = master_keys(server)
    stop, failures = threading.Event(), []

    def work() -> None:
        try:
            while not stop.is_set():
                keys.store()
                keys.check()
        except BaseException as error:  # told by the test, not by a thread
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    [thread.start() for thread in threads]
    try:
        for _ in range(5):
            said = ambrotype(server, "keys", "rotate-master")
            assert master_keys(server)[0] in said
            assert "rotated" in ambrotype(server, "keys", "rotate-project", "--all")
            assert check(server)[0] == []
    finally:
        stop.set()
        [thread.join() for thread in threads]
    assert failures == []
    assert len(master_keys(server)) == 1 and master_keys(server) != before
    assert (server.data_dir / "master-keys").stat().st_mode & 0o777 == 0o600
    server.stop()
    server.restart()
    keys.check()
    keys.store()


def test_a_rotation_that_is_killed_goes_on(start):
    server = start()
    keys, _ = keys_of(server)
    for _ in range(20):
        keys.store()
    command = [BINARY, "keys", "rotate-master", "--data-dir", server.data_dir]
    for delay in range(12):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(0.01 + 0.008 * delay)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        keys.check()
        keys.store()
        assert check(server)[0] == []
    ambrotype(server, "keys", "rotate-master")
    status = json.loads(ambrotype(server, "keys", "status", "--json"))
    assert [key["state"] for key in status["master_keys"]] == ["active"] and status["warnings"] == []
    assert master_keys(server) == [status["master_keys"][0]["id"]]
    keys.check()


def test_two_rotations_at_once(start):
    server = start()
    keys, _ = keys_of(server)
    for _ in range(10):
        keys.store()
    command = [BINARY, "keys", "rotate-master", "--data-dir", server.data_dir]
    for _ in range(5):
        pair = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
        for process in pair:
            error = process.communicate(timeout=60)[1]
            assert process.returncode == 0 or "another rotation came between" in error
        keys.check()
        assert check(server)[0] == []
    ambrotype(server, "keys", "rotate-master")
    assert len(master_keys(server)) == 1


def test_damage_is_found_and_keeps_the_old_keys(start):
    server = start()
    keys, _ = keys_of(server)
    good, broken = keys.store(), keys.store()
    old = master_keys(server)
    with sqlite3.connect(server.data_dir / "ambrotype.db") as database:
        [sealed] = database.execute("SELECT wrapped_key FROM secrets WHERE id = ?", (broken,)).fetchone()
        database.execute("UPDATE secrets SET wrapped_key = ? WHERE id = ?", (sealed[:-1] + bytes([sealed[-1] ^ 1]), broken))
    findings, _ = check(server, 2)
    assert [(one["kind"], one["subject"]) for one in findings] == [("secret-key-broken", f"secret {broken}")]
    said = ambrotype(server, "keys", "rotate-project", "--all", status=1)
    assert broken in said and "the old key is kept" in said and len(said.splitlines()) == 1
    assert "rotate-project" in ambrotype(server, "keys", "status")
    assert keys.payload(good).content == keys.stored[good]
    # Master keys do not depend on secrets.
    ambrotype(server, "keys", "rotate-master")
    assert master_keys(server) != old
    keys.delete(broken)
    ambrotype(server, "keys", "erase", broken, "--yes")
    ambrotype(server, "keys", "rotate-project", "--all")
    assert check(server)[0] == []
    assert keys.payload(good).content == keys.stored[good]


def test_what_foreign_keys_hold_is_found_where_other_hands_got_past_them(start):
    server = start()
    keys, _ = keys_of(server)
    keys.store()
    server.stop()
    with sqlite3.connect(server.data_dir / "ambrotype.db") as database:  # which enforces no foreign key
        database.execute("UPDATE project_keys SET id = 'another'")
    kinds = {one["kind"] for one in check(server, 2)[0]}
    assert kinds == {"project-key-broken", "project-key-missing"}
    done = subprocess.run([BINARY, "fsck", "--json", "--data-dir", server.data_dir], capture_output=True, text=True)
    assert done.returncode == 2 and '"secret-without-project-key"' in done.stdout
    with sqlite3.connect(server.data_dir / "ambrotype.db") as database:
        database.execute("DELETE FROM project_keys")
        database.execute("DELETE FROM master_keys")
    assert {one["kind"] for one in check(server, 2)[0]} == {"project-key-missing"}


def test_without_its_master_keys_nothing_is_changed(start):
    server = start()
    keys, _ = keys_of(server)
    keys.store()
    path = server.data_dir / "master-keys"
    whole = path.read_bytes()
    aside = path.rename(path.with_name("aside"))
    assert "bring the file back" in ambrotype(server, "keys", "rotate-master", status=1)
    assert "bring the file back" in ambrotype(server, "keys", "check", status=3)
    assert "bring the file back" in ambrotype(server, "keys", "status")
    assert not path.exists()
    aside.rename(path)
    path.chmod(0o644)
    assert "chmod 600" in ambrotype(server, "keys", "rotate-master", status=1)
    path.chmod(0o600)
    # The file of another server.
    other = start(name="another")
    keys_of(other)[0].store()
    shutil.copy(other.data_dir / "master-keys", path)
    assert "is not in the master key file" in ambrotype(server, "keys", "rotate-master", status=1)
    assert [one["kind"] for one in check(server, 3)[0]] == ["master-key-missing"]
    path.write_bytes(whole)
    path.chmod(0o600)
    assert check(server)[0] == []
    keys.check()
    # While the server does not run, too.
    server.stop()
    ambrotype(server, "keys", "rotate-master")
    server.restart()
    keys.check()


def test_what_needs_a_key_and_how_deleted_ones_come_back(start):
    server = start({"image": {"recycle_bin_seconds": 3600}})
    keys, site = keys_of(server)
    key, free = keys.store(name="disk\x1b[31m"), keys.store(name="free")
    image = site.demo.api.create_raw(name="encrypted", cinder_encryption_key_id=key)["id"]
    expect(site.demo.api.upload(image, Pattern(MIB).bytes()), 204)
    tree = ambrotype(server, "keys", "graph", key)
    assert "\x1b" not in tree and f"image {image}" in tree and "needs it" in tree
    graph = json.loads(ambrotype(server, "keys", "graph", key, "--json"))
    assert graph == read(site.admin.api, f"/keys/{key}")
    assert graph["needed_by"] == 1 and graph["edges"][0]["image"]["status"] == "active"
    expect(site.demo.api.request("GET", f"{ROOT}/keys/{key}"), 403)
    assert "Nothing here knows" in ambrotype(server, "keys", "graph", str(uuid.uuid4()), status=1)
    assert "No deleted key" in ambrotype(server, "keys", "deleted")

    assert keys.session.delete(f"{keys.url}/{key}").status_code == 400
    keys.delete(free)
    assert keys.payload(free).status_code == 404
    [cells] = [cells for cells in rows(ambrotype(server, "keys", "deleted")) if cells[0] == free]
    assert "no" in cells and "free" in cells
    listed = json.loads(ambrotype(server, "keys", "deleted", "--json"))
    assert listed["deleted_keys"] == read(site.admin.api, "/deleted-keys")["deleted_keys"]
    ambrotype(server, "keys", "undelete", free)
    assert keys.payload(free).content == keys.stored[free]
    assert "not among the deleted" in ambrotype(server, "keys", "undelete", free, status=1)

    forced = keys.session.delete(f"{keys.url}/{key}?force=true", headers={"OpenStack-API-Version": "key-manager 1.2"})
    assert forced.status_code == 204, forced.text
    assert "still needed" in ambrotype(server, "keys", "erase", key, "--yes", status=1)
    expect(site.admin.api.request("DELETE", f"{ROOT}/deleted-keys/{key}"), 409)
    expect(site.admin.api.request("POST", f"{ROOT}/deleted-keys/{key}/undelete"), 204)
    assert keys.payload(key).content == keys.stored[key]

    keys.delete(free)
    assert "--yes" in ambrotype(server, "keys", "erase", free, status=1)
    ambrotype(server, "keys", "erase", free, "--yes")
    assert "not among the deleted" in ambrotype(server, "keys", "undelete", free, status=1)
    with sqlite3.connect(server.data_dir / "ambrotype.db") as database:
        assert database.execute("SELECT COUNT(*) FROM secrets WHERE id = ?", (free,)).fetchone() == (0,)
    metrics = eventually(lambda: (text := requests.get(f"{server.url}/metrics").text) and "ambrotype_keys 1" in text and text)
    assert "ambrotype_keys_deleted 0" in metrics and "ambrotype_keys_held_past_time 0" in metrics


def test_wrong_options_have_their_own_status(start):
    server = start()
    for arguments in (["rotate-project"], ["rotate-project", "x", "--all"], ["graph"], ["check", "--what"], ["what"]):
        done = subprocess.run([BINARY, "keys", *arguments, "--data-dir", server.data_dir], capture_output=True, timeout=60)
        assert done.returncode == 64, arguments
    assert "has no key" in ambrotype(server, "keys", "rotate-project", "nobody", status=1)
