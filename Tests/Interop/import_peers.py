"""What an import meets, and how it ends: web servers in the hands of a test, listeners that nobody may reach, imports
in numbers, and what a server has on its disk meanwhile and afterwards."""

from __future__ import annotations

import http.server
import os
import socket
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import requests

from ambrotype import BINARY, Server, eventually
from image_api import ImageAPI, expect


class Listener(http.server.ThreadingHTTPServer):
    """A web server on one address. `answer` is given each request's handler; `peers` has who connected, also without a
    request."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, answer: Callable[[http.server.BaseHTTPRequestHandler], None], host: str = "127.0.0.1",
                 port: int = 0):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                try:
                    answer(self)
                except OSError:
                    pass  # the other side went away

            def log_message(self, *_) -> None:
                pass

        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.peers: list[tuple] = []
        super().__init__((host, port), Handler)
        self.host, self.port = host, self.server_address[1]
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def get_request(self):
        connection, peer = super().get_request()
        self.peers.append(peer)
        return connection, peer

    def handle_error(self, *_) -> None:
        pass  # whoever connects need not speak HTTP

    @property
    def authority(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.authority}"

    def close(self) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()


def answer_with(data: bytes) -> Callable[[http.server.BaseHTTPRequestHandler], None]:
    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)

    return answer


# Imports

def web_download(uri: str) -> dict:
    return {"method": {"name": "web-download", "uri": uri}}


def ask(api: ImageAPI, image: str, uri: str) -> None:
    expect(api.request("POST", f"/v2/images/{image}/import", json=web_download(uri)), 202)


def ended(api: ImageAPI, image: str) -> dict | None:
    """The image, if no import of it is under way."""
    shown = api.show(image)
    return None if "os_glance_import_task" in shown else shown


def tasks(api: ImageAPI, image: str) -> list[dict]:
    return expect(api.request("GET", f"/v2/images/{image}/tasks"), 200).json()["tasks"]


@dataclass
class Outcome:
    image: dict
    message: str  # of the last task


def outcome(api: ImageAPI, image: str, seconds: float = 60) -> Outcome:
    """Waits for an import's end."""
    shown = eventually(lambda: ended(api, image), seconds, f"the import of {image} ends")
    return Outcome(shown, tasks(api, image)[-1]["message"])


def assert_failed(api: ImageAPI, image: str, *words: str, seconds: float = 60) -> str:
    """Waits for an import's end, which is a failure that left the image as it was; what the task said."""
    result = outcome(api, image, seconds)
    last = tasks(api, image)[-1]
    assert last["status"] == "failure", last
    assert_untouched(api, result.image)
    for word in words:
        assert word in result.message, result
    return result.message


def assert_untouched(api: ImageAPI, shown: dict) -> None:
    """It waits for data, and there is nothing to download."""
    assert shown["status"] == "queued", shown
    assert [shown[key] for key in ("size", "virtual_size", "checksum", "os_hash_value")] == [None] * 4, shown
    answer = api.download(shown["id"])
    assert (answer.status_code, answer.content) == (204, b"")


# What is left

def files_of(server: Server) -> list[Path]:
    """Image data in its stores, whole or not, and files of conversions that have a name."""
    found = [path for directory in ("stores", "scratch") for path in (server.data_dir / directory).rglob("*")]
    return [path for path in found if path.is_file() and path.name != ".ambrotype-store"]


def used_bytes(server: Server) -> int:
    """What the data directory takes on the disk: also files that are unlinked, as long as the server has them open."""
    total = sum(_blocks(path) for path in server.data_dir.rglob("*"))
    for link in Path(f"/proc/{server.pid}/fd").iterdir():
        try:
            target = os.readlink(link)
        except OSError:
            continue
        if target.startswith(str(server.data_dir)) and target.endswith("(deleted)"):
            total += _blocks(link)
    return total


def _blocks(path: Path) -> int:
    try:
        return path.stat().st_blocks * 512
    except OSError:
        return 0  # gone meanwhile


def children_of(pid: int) -> list[int]:
    return [int(child) for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()]


def assert_healthy(server: Server) -> None:
    """It answers, and never failed to."""
    assert requests.get(server.url + "/healthcheck", timeout=10).status_code == 200
    metrics = requests.get(server.url + "/metrics", timeout=10).text.splitlines()
    counts = [line for line in metrics if line.startswith("ambrotype_requests_total{")]
    assert counts and [line for line in counts if 'status="5' in line] == []


def assert_nothing_is_left(server: Server) -> None:
    """Once erasures are done: no bytes, no program at work; and the database agrees after the end."""
    eventually(lambda: not files_of(server), message="the data of failed imports goes")
    assert children_of(server.pid) == []
    assert_healthy(server)
    assert server.stop() == 0
    check = subprocess.run([BINARY, "fsck", "--read-data", "--data-dir", server.data_dir, "--config", server.config],
                           capture_output=True, text=True, timeout=120)
    assert check.returncode == 0, check.stdout + check.stderr
