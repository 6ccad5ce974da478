"""Imports of a server that is killed in the middle: they go on, or are undone, and nothing is left behind."""

import hashlib
import http.server
import subprocess
import threading

import pytest

from ambrotype import BINARY, eventually
from conftest import site_of
from image_api import MIB, Pattern, expect

pytestmark = [pytest.mark.own_server, pytest.mark.own_identity]

SOURCE = Pattern(8 * MIB, seed=11)


@pytest.fixture
def slow_source():
    """A web server that stops in the middle of each answer until it is told to go on."""
    gate, asked = threading.Event(), []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(SOURCE.size))
            self.end_headers()
            try:
                for index, block in enumerate(SOURCE.blocks()):
                    if index == 4:
                        gate.wait(60)
                    self.wfile.write(block)
            except OSError:
                pass

        def log_message(self, *_) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port, gate, asked
    gate.set()
    server.shutdown()


def ended(api, image: str) -> dict | None:
    shown = api.show(image)
    return None if "os_glance_import_task" in shown else shown


def assert_clean(server) -> None:
    assert server.stop() == 0
    result = subprocess.run([BINARY, "fsck", "--read-data", "--data-dir", server.data_dir,
                             *(["--config", server.config] if server.config else [])], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_download_that_a_kill_cut_off_is_made_again(start, tmp_path, slow_source):
    port, gate, asked = slow_source
    server = start({"image": {"lease_seconds": 5,
                              "import": {"allowed_ports": str(port), "allowed_networks": "127.0.0.0/8"}}})
    api = site_of(server, tmp_path / "clients").demo.api
    image = api.create_raw()["id"]
    body = {"method": {"name": "web-download", "uri": f"http://127.0.0.1:{port}/image"}}
    expect(api.request("POST", f"/v2/images/{image}/import", json=body), 202)
    eventually(lambda: len(asked) == 1)
    server.kill()
    gate.set()
    server.restart()
    shown = eventually(lambda: ended(api, image), message="the import ends")
    assert (shown["status"], shown["size"]) == ("active", SOURCE.size)
    assert len(asked) == 2
    assert hashlib.sha512(api.download(image).content).hexdigest() == shown["os_hash_value"]
    assert_clean(server)


def test_kills_while_staged_data_is_imported_change_nothing(start, tmp_path):
    settings = {"image": {"lease_seconds": 5, "stores": [f"one:{tmp_path}/one", f"two:{tmp_path}/two"]}}
    server = start(settings)
    api = site_of(server, tmp_path / "clients").demo.api
    images = []
    for _ in range(6):
        image = api.create_raw()["id"]
        expect(api.request("PUT", f"/v2/images/{image}/stage", data=SOURCE.bytes(),
                           headers={"Content-Type": "application/octet-stream"}), 204)
        images.append(image)
    for image in images:
        body = {"method": {"name": "glance-direct"}, "all_stores": True}
        expect(api.request("POST", f"/v2/images/{image}/import", json=body), 202)
        server.kill()  # at once: the import is asked for, and hardly begun
        server.restart()
    for image in images:
        shown = eventually(lambda image=image: ended(api, image), message="the import ends")
        assert (shown["status"], shown["stores"]) == ("active", "one,two")
        for store in ("one", "two"):
            data = expect(api.request("GET", f"/v2/images/{image}/file?prefer={store}"), 200).content
            assert hashlib.sha512(data).hexdigest() == shown["os_hash_value"]
    assert_clean(server)


def test_of_two_imports_at_once_one_is_taken(start, tmp_path):
    server = start()
    api = site_of(server, tmp_path / "clients").demo.api
    image = api.create_raw()["id"]
    expect(api.request("PUT", f"/v2/images/{image}/stage", data=b"staged",
                       headers={"Content-Type": "application/octet-stream"}), 204)
    answers = []

    def ask() -> None:
        body = {"method": {"name": "glance-direct"}}
        answers.append(api.request("POST", f"/v2/images/{image}/import", json=body).status_code)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [202] + [409] * 7
    assert eventually(lambda: ended(api, image))["status"] == "active"
    assert len(api.request("GET", f"/v2/images/{image}/tasks").json()["tasks"]) == 1
    assert_clean(server)
