"""The program as an operator meets it: start, files, settings, signals."""

import http.client
import os
import socket
import stat
import subprocess
import threading

import pytest
import requests
import yaml

from ambrotype import BINARY, Server, StartFailed, eventually
from clouds import unique
from conftest import site_of
from image_api import MIB, Pattern, expect

pytestmark = [pytest.mark.own_server, pytest.mark.own_identity]


def files(directory) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*")}


def test_an_empty_directory_becomes_a_cloud(start, scratch):
    server = start()
    clouds = server.data_dir / "clouds.yaml"
    assert stat.S_IMODE(clouds.stat().st_mode) == 0o600
    entries = yaml.safe_load(clouds.read_text())["clouds"]
    assert {"ambrotype-admin", "ambrotype"} <= entries.keys()
    admin, demo = entries["ambrotype-admin"]["auth"], entries["ambrotype"]["auth"]
    assert (admin["username"], admin["project_name"]) == ("admin", "admin")
    assert (demo["username"], demo["project_name"]) == ("demo", "demo")
    assert admin["password"] != demo["password"] and len(admin["password"]) >= 16
    for path in server.data_dir.rglob("*"):
        mode = path.lstat().st_mode
        assert not mode & (stat.S_IRWXG | stat.S_IRWXO) or path.is_dir(), f"{path} is open to others: {oct(mode)}"
    log = server.log.read_text()
    assert admin["password"] not in log and demo["password"] not in log


def test_every_start_makes_other_passwords(start):
    passwords = {(start().data_dir / "clouds.yaml").read_text().split("password: ")[1].split()[0] for _ in range(2)}
    assert len(passwords) == 2


def test_health_metrics_and_versions_need_no_token(server):
    health = requests.get(server.url + "/healthcheck", timeout=30)
    assert (health.status_code, health.text.strip()) == (200, "OK")
    metrics = requests.get(server.url + "/metrics", timeout=30)
    assert metrics.status_code == 200 and metrics.headers["Content-Type"].startswith("text/plain")
    versions = requests.get(server.url + "/image", timeout=30)
    assert versions.status_code == 300
    current = [version for version in versions.json()["versions"] if version["status"] == "CURRENT"]
    assert len(current) == 1 and current[0]["links"][0]["href"] == server.url + "/image/v2/"
    assert requests.get(server.url + "/image/versions", timeout=30).status_code == 200
    identity = requests.get(server.url + "/identity/v3", timeout=30)
    assert identity.json()["version"]["id"].startswith("v3.")


def test_metrics_count_by_template_not_by_image(server, demo):
    image = demo.api.create(name=unique("metrics"))["id"]
    demo.api.show(image)
    text = requests.get(server.url + "/metrics", timeout=30).text
    assert image not in text
    assert "/v2/images/{" in text


def test_a_service_has_an_address_of_its_own(start):
    """As where Glance stood: at the root of its own port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = start({"listeners": {"image": f"127.0.0.1:{port}"}})
    own = f"http://127.0.0.1:{port}"
    versions = requests.get(own, timeout=30)
    assert versions.status_code == 300
    assert versions.json()["versions"][0]["links"][0]["href"] == own + "/v2/"
    site = site_of(server, server.data_dir / "clients")
    catalog = {row["Type"]: row["Endpoints"] for row in site.demo.openstack("catalog", "list")}
    assert {endpoint["url"] for endpoint in catalog["image"]} == {own}
    assert site.demo.openstack("image", "create", unique("own-port"))["status"] == "queued"


@pytest.mark.parametrize("settings, named", [
    ({"image": {"colour": "blue"}}, "image.colour"),
    ({"image": {"listen": "127.0.0.1:0"}}, "listeners.image"),
    ({"listeners": {"image": "nowhere"}}, "listeners.image"),
    ({"image": {"quota": {"bytes": -2}}}, "image.quota.bytes"),
    ({"image": {"hash_algorithm": "crc32"}}, "image.hash_algorithm"),
    ({"idle_timeout_seconds": "soon"}, "idle_timeout_seconds"),
    ({"identity": {"mode": "keystone"}}, "keystone.auth_url"),
])
def test_a_wrong_setting_stops_the_start_by_name(scratch, settings, named):
    config = scratch / f"{unique('wrong')}.yaml"
    config.write_text(yaml.safe_dump(settings))
    result = subprocess.run([BINARY, "serve", "--data-dir", scratch / unique("never"), "--listen", "127.0.0.1:0",
                             "--config", config], capture_output=True, text=True, timeout=60)
    assert result.returncode != 0
    assert named in result.stderr
    assert "ready" not in result.stdout


def test_a_keystone_that_does_not_answer_stops_the_start(scratch):
    config = scratch / f"{unique('absent')}.yaml"
    config.write_text(yaml.safe_dump({"identity": {"mode": "keystone"}, "keystone": {
        "auth_url": "http://127.0.0.1:9/v3", "username": "glance", "password": "not-a-real-one"}}))
    result = subprocess.run([BINARY, "serve", "--data-dir", scratch / unique("never"), "--listen", "127.0.0.1:0",
                             "--config", config], capture_output=True, text=True, timeout=120)
    assert result.returncode != 0
    assert "127.0.0.1:9" in result.stderr
    assert "not-a-real-one" not in result.stderr


def test_config_shows_every_value_and_its_origin_but_no_secret(scratch):
    config = scratch / f"{unique('shown')}.yaml"
    config.write_text(yaml.safe_dump({"image": {"quota": {"count": 2, "list": 500}}, "keystone": {"password": "hush-hush"}}))
    shown = subprocess.run([BINARY, "config", "--config", config], capture_output=True, text=True, timeout=60,
                           env=os.environ | {"AMBROTYPE_LOG_LEVEL": "debug", "AMBROTYPE_IMAGE_QUOTA": "bytes=5"})
    assert shown.returncode == 0, shown.stderr
    lines = {line.split()[0].rstrip(":="): line for line in shown.stdout.splitlines() if line.strip()}
    assert "500" in lines["image.quota.list"] and str(config) in lines["image.quota.list"]
    assert "debug" in lines["log.level"] and "AMBROTYPE_LOG_LEVEL" in lines["log.level"]
    assert "default" in lines["image.hash_algorithm"]
    assert lines["image.quota.bytes"].split()[1:] == ["5", "environment", "AMBROTYPE_IMAGE_QUOTA"]
    assert lines["image.quota.count"].split()[1:] == ["2", "file", str(config)]
    assert lines["image.quota.tags"].split()[1:] == ["128", "default"]
    assert "hush-hush" not in shown.stdout + shown.stderr


def test_version_and_help():
    assert subprocess.run([BINARY, "version"], capture_output=True, text=True, timeout=60).stdout.strip()
    help_text = subprocess.run([BINARY, "serve", "--help"], capture_output=True, text=True, timeout=60).stdout
    assert "--data-dir" in help_text and "--listen" in help_text


def test_one_directory_serves_one_server_at_a_time(start):
    first = start()
    with pytest.raises(StartFailed):
        Server(first.data_dir, log=first.log.with_suffix(".second.log")).start(seconds=30)
    assert requests.get(first.url + "/healthcheck", timeout=30).status_code == 200


def test_idle_it_stops_at_once_with_status_0(start):
    server = start()
    site = site_of(server, server.data_dir / "clients")
    site.demo.api.list()  # leaves a connection open, kept alive
    assert server.stop(seconds=10) == 0


def test_stopping_lets_requests_finish(start):
    server = start()
    site = site_of(server, server.data_dir / "clients")
    api, image = site.demo.api, site.demo.api.create_raw(name="finishing")["id"]
    data = Pattern(24 * MIB)
    upload = api.begin_upload(image, data.size).send(data.blocks(0, 8 * MIB))
    eventually(lambda: api.show(image)["status"] == "saving")
    server.terminate()
    host, port = server.url.removeprefix("http://").split(":")

    def is_refused() -> bool:
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
        except ConnectionRefusedError:
            return True
        return False

    eventually(is_refused, message="it goes on accepting connections")
    status, body = upload.send_all_and_answer(data.blocks(8 * MIB))
    assert status == 204, body
    assert server.wait(30) == 0
    server.restart()
    assert site.demo.api.download(image).content == data.bytes()


def test_stopping_does_not_wait_for_ever(start):
    server = start({"shutdown_deadline_seconds": 2})
    site = site_of(server, server.data_dir / "clients")
    api, image = site.demo.api, site.demo.api.create_raw(name="unfinished")["id"]
    upload = api.begin_upload(image, 64 * MIB).send(Pattern(64 * MIB).blocks(0, 8 * MIB))
    eventually(lambda: api.show(image)["status"] == "saving")
    server.terminate()
    assert server.wait(20) == 0
    upload.abort()
    server.restart()
    eventually(lambda: site.demo.api.show(image)["status"] == "queued")
    expect(site.demo.api.upload(image, b"again"), 204)


def test_images_tokens_and_users_survive_a_restart(start):
    server = start()
    site = site_of(server, server.data_dir / "clients")
    api = site.demo.api
    image = api.create_raw(name="survivor", tags=["kept"])["id"]
    expect(api.upload(image, Pattern(3 * MIB).bytes()), 204)
    before = api.show(image)
    clouds = (server.data_dir / "clouds.yaml").read_text()
    assert server.stop() == 0
    server.restart()
    assert api.show(image) == before, "the same token, the same image"
    assert api.download(image).content == Pattern(3 * MIB).bytes()
    assert (server.data_dir / "clouds.yaml").read_text() == clouds


def test_no_token_or_payload_is_logged(start):
    server = start({"log": {"level": "trace"}})
    site = site_of(server, server.data_dir / "clients")
    api = site.demo.api
    image = api.create_raw(name="quiet")["id"]
    expect(api.upload(image, b"the-payload-itself"), 204)
    expect(api.request("GET", "/v2/images", headers={"X-Auth-Token": "the-wrong-token"}), 401)
    site.user("logged")
    assert server.stop() == 0
    log = server.log.read_text()
    secrets = [api.token, site.admin.sdk.auth_token, "the-payload-itself", "the-wrong-token"]
    secrets += [entry["auth"]["password"] for entry in site.file.clouds.values()]
    assert [secret for secret in secrets if secret in log] == []
    assert image in log, "nothing was logged of the requests"


def test_half_requests_and_silence_do_no_harm(server):
    """Connections that send a part of a request, or nothing, and go."""
    host, port = server.url.removeprefix("http://").split(":")
    pieces = [b"", b"GET ", b"GET /image/v2/images HTTP/1.1\r\nHost: x\r\n", b"PUT /image/v2/images/x/file HTTP/1.1\r\n"
              b"Host: x\r\nContent-Length: 1000000\r\n\r\nshort", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\0" * 5000]

    def touch(piece: bytes) -> None:
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(piece)

    threads = [threading.Thread(target=touch, args=(piece,)) for piece in pieces * 20]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    connection.request("GET", "/healthcheck")
    assert connection.getresponse().status == 200
