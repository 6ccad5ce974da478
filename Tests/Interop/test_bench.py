"""`ambrotype bench` against a running server: what it prints, what it leaves behind, how it ends."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ambrotype import BINARY, eventually
from image_api import ImageAPI

QUICK = ["--warm-up", "0.1", "--seconds", "0.3", "--repeats", "2", "--connections", "3", "--size", "1"]


def bench(*arguments: str, token: str | None = None, **environment) -> subprocess.CompletedProcess:
    if token:
        environment["OS_TOKEN"] = token
    return subprocess.run([BINARY, "bench", *arguments], capture_output=True, text=True, timeout=120,
                          env=os.environ | environment)


@pytest.fixture
def api(demo) -> ImageAPI:
    return demo.api


def left_behind(api: ImageAPI) -> list[str]:
    return [image["name"] for image in api.list(limit=1000) if (image["name"] or "").startswith("ambrotype-bench-")]


def test_every_operation_is_measured_and_nothing_is_left(api, server):
    operations = ["get", "list", "create-delete", "upload", "download"]
    ran = bench(*operations, *QUICK, "--json", "--url", api.url, "--server-pid", str(server.pid), token=api.token)
    assert ran.returncode == 0, ran.stderr + ran.stdout
    results = json.loads(ran.stdout)["results"]
    assert [result["operation"] for result in results] == operations
    for result in results:
        assert result["errors"] == {}
        assert len(result["repeats"]) == 2
        assert all(each["operations"] > 0 for each in result["repeats"])
        rate = result["operations_per_second"]
        assert 0 < rate["min"] <= rate["median"] <= rate["max"]
        assert 0 < result["p50_ms"]["median"] <= result["p99_ms"]["median"] <= result["max_ms"]["max"]
        per = "gib" if result["operation"] in ("upload", "download") else "pair" if "delete" in result["operation"] else "request"
        assert result[f"driver_cpu_seconds_per_{per}"]["median"] > 0
        assert result[f"server_cpu_seconds_per_{per}"]["median"] > 0
        assert result["server_resident_bytes"]["median"] > 10 << 20
    upload = results[3]
    assert [each["bytes"] for each in upload["repeats"]] == [3 << 20] * 2
    assert left_behind(api) == []


def test_the_table_is_for_people_and_the_cloud_comes_from_a_file(demo, site):
    ran = bench("get", "upload", *QUICK, OS_CLIENT_CONFIG_FILE=str(site.file.path), OS_CLOUD=demo.name)
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    assert lines[0].split()[:3] == ["operation", "connections", "rate"]
    assert re.match(r"get +3 +[\d,.]+/s +", lines[1])
    assert re.match(r"upload +3 +[\d,.]+ MB/s +", lines[2])
    assert left_behind(demo.api) == []


def test_wrong_answers_are_counted_and_the_status_says_so(api):
    nobody = "00000000-0000-4000-8000-000000000000"
    ran = bench("get", "--image", nobody, "--count", "7", "--warm-up", "0", "--repeats", "1", "--json", "--url", api.url,
                token=api.token)
    assert ran.returncode == 1
    assert json.loads(ran.stdout)["results"][0]["errors"] == {"GET an image: status 404": 7}
    ran = bench("list", "--query", "limit=nonsense", "--count", "2", "--warm-up", "0", "--repeats", "1", "--url", api.url,
                token=api.token)
    assert ran.returncode == 1
    assert "error: list: GET a list: status 400 (2 times)" in ran.stdout


def test_an_interruption_leaves_nothing(api):
    process = subprocess.Popen(
        [BINARY, "bench", "create-delete", "--seconds", "60", "--url", api.url, "--connections", "16"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"OS_TOKEN": api.token})
    eventually(lambda: left_behind(api), message="images are made")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "interrupted" in said
    assert left_behind(api) == []


def test_a_wrong_checksum_is_an_error():
    """A service that answers everything right but for what it stored."""
    images: dict[str, str] = {}
    numbers = itertools.count()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, status: int, document: dict | None = None) -> None:
            body = json.dumps(document).encode() if document is not None else b""
            self.send_response(status)
            if document is not None:
                # As some services do it: with spaces in it and in chunks.
                self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            if body:
                self.wfile.write(f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n")

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            image = f"{next(numbers):036d}"
            images[image] = "queued"
            self.answer(201, {"status": "queued", "id": image})

        def do_PUT(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            images[self.path.split("/")[-2]] = "active"
            self.answer(204)

        def do_DELETE(self):
            del images[self.path.split("/")[-1]]
            self.answer(204)

        def do_GET(self):
            if "?" in self.path:
                self.answer(200, {"images": [{"id": image} for image in images]})
            else:
                self.answer(200, {"status": "active", "checksum": "0" * 32, "size": 1 << 20})

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as service:
        threading.Thread(target=service.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{service.server_address[1]}"
        ran = bench("upload", *QUICK, "--warm-up", "0", "--url", url, token="secret")
        good = bench("create-delete", *QUICK, "--url", url, token="secret")
        service.shutdown()
    assert ran.returncode == 1
    assert "checksum or size is not that of what was sent (6 times)" in ran.stdout
    assert good.returncode == 0, good.stdout + good.stderr
    assert images == {}


def test_a_service_that_closes_after_every_answer_is_measured_too():
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"images": []}')

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as service:
        threading.Thread(target=service.serve_forever, daemon=True).start()
        ran = bench("list", "--count", "40", "--warm-up", "0", "--repeats", "1", "--json", "--url",
                    f"http://127.0.0.1:{service.server_address[1]}", token="secret")
        service.shutdown()
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert json.loads(ran.stdout)["results"][0]["repeats"][0]["operations"] == 40


def test_a_mistake_is_said_in_a_line(api):
    for arguments, words in ((["get"], "OS_TOKEN"), (["get", "--url", "nonsense"], "URL"),
                             (["get", "--url", "http://127.0.0.1:1"], "connect")):
        environment = {"OS_TOKEN": "x"} if len(arguments) > 1 else {}
        command = arguments if len(arguments) > 1 else [*arguments, "--url", api.url]
        ran = bench(*command, **environment)
        assert ran.returncode == 1
        assert words in ran.stderr
        assert len(ran.stderr.splitlines()) == 1
    began = time.monotonic()
    assert bench("nonsense").returncode == 64
    assert bench("get", "--connections", "0").returncode == 64
    assert time.monotonic() - began < 20
