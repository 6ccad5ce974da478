"""Usage and the cache with python-glanceclient; the audit log of a process that is killed, and whose file is moved."""

import json
import os
import signal
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from ambrotype import BINARY, eventually
from conftest import site_of
from image_api import MIB, Pattern, expect
from test_operator import ambrotype

pytestmark = [pytest.mark.own_server, pytest.mark.own_identity]


def test_usage_by_command_line(start):
    server = start({"image": {"quota": {"source": "identity"}}})
    site = site_of(server, server.data_dir / "clients")
    identity = site.admin.sdk.identity
    [service] = list(identity.services(type="image"))
    for name, limit in {"image_size_total": 10, "image_stage_total": 10, "image_count_total": 2,
                        "image_count_uploading": 5}.items():
        identity.create_registered_limit(service_id=service.id, region_id="RegionOne", resource_name=name,
                                         default_limit=limit)
    data = Pattern(3 * MIB)
    image = site.demo.api.create_raw(name="counted")["id"]
    expect(site.demo.api.upload(image, data.bytes()), 204)
    rows = [[cell.strip() for cell in line.strip("|").split("|")]
            for line in site.demo.glance("usage").splitlines() if line.startswith("|")]
    assert ["image_size_total", "10", "3"] in rows
    assert ["image_count_total", "2", "1"] in rows
    site.demo.api.create_raw(name="second")
    assert "413" in site.demo.glance_fails("image-create", "--name", "third")


def test_the_cache_by_command_line(start, tmp_path):
    server = start({"image": {"cache": {"directory": str(tmp_path / "cache"), "bytes": 64 * MIB}}})
    site = site_of(server, server.data_dir / "clients")
    data = Pattern(5 * MIB)
    image = site.demo.api.create_raw(name="cached")["id"]
    expect(site.demo.api.upload(image, data.bytes()), 204)
    url = ["--os-image-url", server.url + "/image"]
    site.admin.glance(*url, "cache-queue", image)
    eventually(lambda: f"{image}" in site.admin.glance(*url, "cache-list")
               and "cached" in site.admin.glance(*url, "cache-list"), message="the image is not cached")
    assert site.demo.api.download(image).content == data.bytes()
    [line] = [line for line in site.admin.glance(*url, "cache-list").splitlines() if image in line]
    assert str(5 * MIB) in line
    site.admin.glance(*url, "cache-delete", image)
    assert image not in site.admin.glance(*url, "cache-list")
    assert "Pruned 0" in site.admin.glance(*url, "cache-prune")
    site.admin.glance(*url, "cache-clean")
    site.admin.glance(*url, "cache-clear")


def test_the_audit_log_outlives_kills_and_is_rotated(start):
    # The webhook alone is named, so the file is where it is by default; nobody listens there.
    server = start({"audit": {"webhook": "http://127.0.0.1:9/audit"}})
    site = site_of(server, server.data_dir / "clients")
    log = server.data_dir / "audit.log"
    api = site.demo.api
    for number in range(3):
        api.create_raw(name=f"image-{number}")
    assert "all hold" in ambrotype(server, "audit", "verify", str(log))
    server.kill()
    server.relaunch().wait_until_ready()
    api.create_raw(name="after")
    assert "all hold" in ambrotype(server, "audit", "verify", str(log))
    old = log.with_suffix(".1")
    log.rename(old)
    os.kill(server.pid, signal.SIGHUP)
    eventually(log.exists, message="the log did not go on")
    api.create_raw(name="rotated")
    assert "all hold" in ambrotype(server, "audit", "verify", str(old), str(log))
    text = old.read_text().replace('"POST"', '"PUT"', 1)
    old.write_text(text)
    result = subprocess.run([str(BINARY), "audit", "verify", str(old), str(log), "--data-dir", str(server.data_dir)],
                            capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    assert f"{old}:" in result.stdout
    events = [json.loads(line)["event"] for line in log.read_text().splitlines()]
    assert events == ["opened", "begun", "ended"]


def test_the_webhook_gets_every_line(start):
    received: list[int] = []
    refusals = [503, 500]

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status = refusals.pop() if refusals else 204
            if status == 204:
                received.extend(line["seq"] for line in document["lines"])
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Receiver) as receiver:
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        server = start({"audit": {"webhook": f"http://127.0.0.1:{receiver.server_port}/audit"}})
        site = site_of(server, server.data_dir / "clients")
        for number in range(5):
            site.demo.api.create_raw(name=f"image-{number}")
        lines = (server.data_dir / "audit.log").read_text().splitlines()
        expected = [json.loads(line)["seq"] for line in lines]
        eventually(lambda: received == expected, message=f"received {received}, expected {expected}")
        receiver.shutdown()
