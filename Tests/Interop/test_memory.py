"""Memory does not grow with the data: one very large upload, many at once, and clients that read nothing."""

import contextlib
import hashlib
import os
import shutil
import socket
import ssl
import threading
import time
import urllib.parse

import pytest
import requests

from ambrotype import eventually
from conftest import prepared, site_of
from image_api import GIB, MIB, ImageAPI, Pattern, expect
from pki import openssl

pytestmark = [pytest.mark.slow, pytest.mark.own_server, pytest.mark.own_identity, pytest.mark.timeout(600)]

LARGE_BYTES = int(os.environ.get("INTEROP_LARGE_GIB", "2")) * GIB


def need_space(directory, size: int) -> None:
    free = shutil.disk_usage(directory).free
    if free < size + 2 * GIB:
        pytest.skip(f"{free / GIB:.1f} GiB free, {size / GIB + 2:.1f} needed")


def test_a_large_upload_keeps_memory_under_150_mib(start, scratch, measured):
    need_space(scratch, LARGE_BYTES)
    server = start()
    api = site_of(server, server.data_dir / "clients").demo.api
    image = api.create_raw(name="large")["id"]
    data = Pattern(LARGE_BYTES)
    sha512 = hashlib.sha512()

    def hashed():
        for block in data.blocks():
            sha512.update(block)
            yield block

    began = time.monotonic()
    status, body = api.begin_upload(image, data.size).send_all_and_answer(hashed())
    seconds = time.monotonic() - began
    assert status == 204, (status, body)
    peak = server.peak_resident_bytes()
    measured(f"upload of {LARGE_BYTES // GIB} GiB", f"{seconds:.1f} s, peak resident {peak / MIB:.0f} MiB")
    shown = api.show(image)
    assert (shown["size"], shown["os_hash_value"]) == (data.size, sha512.hexdigest())
    assert peak < 150 * MIB, f"peak {peak / MIB:.0f} MiB"

    # Offsets beyond what 32 bits hold, where the data is so large.
    for start_byte in (0, data.size // 2 - 5, data.size - 3 * MIB):
        end = min(start_byte + 2 * MIB, data.size)
        part = expect(api.download(image, Range=f"bytes={start_byte}-{end - 1}"), 206)
        assert part.content == data.bytes(start_byte, end)

    server.forget_peak()
    answer = api.request("GET", f"/v2/images/{image}/file", stream=True)
    received = hashlib.sha512()
    for block in answer.iter_content(4 * MIB):
        received.update(block)
    assert received.hexdigest() == sha512.hexdigest()
    measured(f"download of {LARGE_BYTES // GIB} GiB", f"peak resident {server.peak_resident_bytes() / MIB:.0f} MiB")


def test_64_uploads_at_once_keep_memory_under_300_mib(start, scratch, measured):
    """All of them are half-way before any goes on, so that none waits for another to end."""
    size = 48 * MIB
    need_space(scratch, 64 * size)
    server = start()
    api = site_of(server, server.data_dir / "clients").demo.api
    images = [api.create_raw(name=f"at-once-{index}")["id"] for index in range(64)]
    halfway = threading.Barrier(64)
    failures = []

    def upload(index: int) -> None:
        data = Pattern(size, seed=index)
        try:
            request = api.begin_upload(images[index], size).send(data.blocks(0, size // 2))
            halfway.wait(timeout=120)
            status, body = request.send_all_and_answer(data.blocks(size // 2))
            if status != 204:
                failures.append((index, status, body))
        except Exception as error:  # shown below, with the number of those that failed
            failures.append((index, repr(error)))

    began = time.monotonic()
    threads = [threading.Thread(target=upload, args=(index,)) for index in range(64)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    seconds = time.monotonic() - began
    peak = server.peak_resident_bytes()
    measured(f"64 uploads of {size // MIB} MiB at once", f"{seconds:.1f} s, peak resident {peak / MIB:.0f} MiB")
    assert not failures, f"{len(failures)} of 64 failed, the first: {failures[:3]}"
    for index in (0, 31, 63):
        check(api, images[index], Pattern(size, seed=index))
    assert peak < 300 * MIB, f"peak {peak / MIB:.0f} MiB"


@pytest.mark.parametrize("way", ["in clear", "over TLS", "checked", "checked, over TLS"])
def test_stalled_downloads_hold_no_memory(start, scratch, measured, way):
    """Clients that ask for a large image and then read nothing: the kernel has the bytes, the server has not, or little."""
    size, clients = 64 * MIB, 300
    need_space(scratch, size)
    server = start()
    api = site_of(server, server.data_dir / "clients").demo.api
    image = api.create_raw(name="stalled")["id"]
    data = Pattern(size)
    status, body = api.begin_upload(image, size).send_all_and_answer(data.blocks())
    assert status == 204, (status, body)
    path = f"/image/v2/images/{image}/file"
    server.stop()
    settings, connect = way_of(way, scratch)
    server = prepared(server.data_dir, settings).start()
    address = urllib.parse.urlsplit(server.url)
    connections = []
    try:
        for _ in range(clients):
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
            connection.settimeout(60)
            connection.connect((address.hostname, address.port))
            connections.append(connect(connection))
        before = server.resident_bytes()
        server.forget_peak()
        for connection in connections:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {api.token}\r\n\r\n".encode())
        for connection in connections:
            assert connection.recv(12) == b"HTTP/1.1 200"
        time.sleep(1)
        each = (server.peak_resident_bytes() - before) / clients
        measured(f"{clients} stalled downloads, {way}", f"{each / 1024:.0f} KiB each")
        # Others are served as ever.
        part = requests.get(server.url + path, headers={"X-Auth-Token": api.token, "Range": "bytes=5-9"}, timeout=60,
                            verify=str(scratch / "certificate.pem") if "TLS" in way else True, proxies={"no_proxy": "*"})
        assert expect(part, 206).content == data.bytes(5, 10)
        assert each < (128 if way == "in clear" else 512) * 1024, f"{each / 1024:.0f} KiB each"

        # What is pushed out of memory under a client that is slow is loaded again.
        blob = next(path for path in server.data_dir.rglob("*") if path.is_file() and path.stat().st_size == size)
        with blob.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        assert whole_body(connections[1], size) == data.bytes()

        # The file is cut under one: it must not take what it gets for the whole.
        os.truncate(blob, size // 2 + 100)
        assert received(connections[0]) < size
        # Clients that went away hold nothing.
        for connection in connections:
            connection.close()
        eventually(lambda: not holds(server.pid, blob), message="the file is still open")
    finally:
        for connection in connections:
            connection.close()
        server.kill()


def holds(pid: int, path) -> bool:
    """Whether a process has a file open."""
    for descriptor in os.scandir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            if os.readlink(descriptor) == str(path):
                return True
    return False


def whole_body(connection: socket.socket, size: int) -> bytes:
    """The body of an answer of which the first bytes were taken; the connection stays."""
    got, end = bytearray(), -1
    while end < 0 or len(got) - end < size:
        part = connection.recv(1 << 20)
        assert part, f"the connection ended after {len(got)} bytes"
        got += part
        if end < 0:
            end = got.find(b"\r\n\r\n") + 4 if b"\r\n\r\n" in got else -1
    return bytes(got[end:])


def received(connection: socket.socket) -> int:
    """How much more comes, until the connection ends or breaks."""
    count = 0
    try:
        while part := connection.recv(1 << 20):
            count += len(part)
    except OSError:
        pass
    return count


def way_of(way: str, scratch):
    """The settings of a server whose downloads go that way, and what makes a connection ready for requests."""
    settings, connect = {}, lambda connection: connection
    if "checked" in way:
        settings["image"] = {"verification": {"downloads": "all"}}
    if "TLS" in way:
        certificate, key = scratch / "certificate.pem", scratch / "key.pem"
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", 2,
                "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate)
        settings["tls"] = {"certificate": str(certificate), "key": str(key)}
        trust = ssl.create_default_context(cafile=str(certificate))
        connect = lambda connection: trust.wrap_socket(connection, server_hostname="127.0.0.1")  # noqa: E731
    return settings, connect


def check(api: ImageAPI, image: str, data: Pattern) -> None:
    assert api.show(image)["os_hash_value"] == hashlib.sha512(data.bytes()).hexdigest()
