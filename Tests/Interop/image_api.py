"""The Image API by hand, for what the clients do not let one say: ranges, broken connections,
uploads in parts, thousands of requests. Failures show the request and the whole answer."""

from __future__ import annotations

import hashlib
import http.client
import json
import threading
import urllib.parse
from collections.abc import Iterable, Iterator

import requests

MIB = 1 << 20
GIB = 1 << 30


class Pattern:
    """`size` bytes, the same at every reading, each mebibyte different, made as they are read."""

    def __init__(self, size: int, seed: int = 0):
        self.size = size
        self._base = hashlib.shake_256(b"ambrotype %d" % seed).digest(MIB - 8)

    def _block(self, index: int) -> bytes:
        return index.to_bytes(8, "big") + self._base

    def blocks(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        end = self.size if end is None else end
        position = start
        while position < end:
            index, offset = divmod(position, MIB)
            piece = self._block(index)[offset:offset + end - position]
            position += len(piece)
            yield piece

    def bytes(self, start: int = 0, end: int | None = None) -> bytes:
        return b"".join(self.blocks(start, end))


def describe(response: requests.Response) -> str:
    """A response, and the request it answers, for a failure message. No token is shown."""
    request = response.request
    body = request.body if isinstance(request.body, (str, bytes)) else None
    lines = [f"{request.method} {request.url}"]
    if body:
        lines.append(f"  sent: {body[:500]!r}")
    lines.append(f"  answer: {response.status_code} {response.reason}")
    lines += [f"    {key}: {value}" for key, value in response.headers.items()]
    lines.append(f"    {response.content[:1000]!r}")
    return "\n".join(lines)


def expect(response: requests.Response, *statuses: int) -> requests.Response:
    assert response.status_code in statuses, f"expected {statuses}\n{describe(response)}"
    return response


class ImageAPI:
    """Image v2 at `url` (without `/v2`) with one token. Threads may share it."""

    def __init__(self, url: str, token: str):
        self.url = url.rstrip("/")
        self.token = token
        self._local = threading.local()

    def request(self, method: str, path: str, **options) -> requests.Response:
        """`path` is relative to the service, as the links in its answers are."""
        session = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
            session.trust_env = False  # no proxy for the loopback
        headers = {"X-Auth-Token": self.token, **options.pop("headers", {})}
        url = path if path.startswith("http") else self.url + path
        return session.request(method, url, headers=headers, timeout=(10, 120), **options)

    def create(self, **fields) -> dict:
        return expect(self.request("POST", "/v2/images", json=fields), 201).json()

    def create_raw(self, **fields) -> dict:
        return self.create(disk_format="raw", container_format="bare", **fields)

    def show(self, image: str) -> dict:
        return expect(self.request("GET", f"/v2/images/{image}"), 200).json()

    def list(self, **query) -> list[dict]:
        """Every page of a listing; `query` may hold lists for repeated keys."""
        path = "/v2/images?" + urllib.parse.urlencode(query, doseq=True)
        found = []
        while path:
            page = expect(self.request("GET", path), 200).json()
            found += page["images"]
            path = page.get("next")
        return found

    def patch(self, image: str, *operations: dict) -> requests.Response:
        return self.request(
            "PATCH", f"/v2/images/{image}", data=json.dumps(operations),
            headers={"Content-Type": "application/openstack-images-v2.1-json-patch"})

    def upload(self, image: str, data: bytes) -> requests.Response:
        return self.request("PUT", f"/v2/images/{image}/file", data=data,
                            headers={"Content-Type": "application/octet-stream"})

    def download(self, image: str, **headers) -> requests.Response:
        return self.request("GET", f"/v2/images/{image}/file", headers=headers)

    def delete(self, image: str) -> requests.Response:
        return self.request("DELETE", f"/v2/images/{image}")

    def begin_upload(self, image: str, length: int | None) -> "Upload":
        return Upload(self, image, length)


class Upload:
    """An upload in the hands of a test, which may be slow, stop, or go away.

    With a `length` it is announced, otherwise the body is chunked.
    """

    def __init__(self, api: ImageAPI, image: str, length: int | None):
        parts = urllib.parse.urlsplit(api.url)
        self.chunked = length is None
        self.sent = 0
        self.connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=120)
        self.connection.putrequest("PUT", f"{parts.path}/v2/images/{image}/file")
        self.connection.putheader("X-Auth-Token", api.token)
        self.connection.putheader("Content-Type", "application/octet-stream")
        if self.chunked:
            self.connection.putheader("Transfer-Encoding", "chunked")
        else:
            self.connection.putheader("Content-Length", str(length))
        self.connection.endheaders()

    def send(self, pieces: bytes | Iterable[bytes]) -> "Upload":
        for piece in [pieces] if isinstance(pieces, bytes) else pieces:
            if self.chunked:
                self.connection.send(b"%x\r\n" % len(piece) + piece + b"\r\n")
            else:
                self.connection.send(piece)
            self.sent += len(piece)
        return self

    def answer(self) -> tuple[int, bytes]:
        """Ends the body; the status and body of the answer."""
        try:
            if self.chunked:
                self.connection.send(b"0\r\n\r\n")
        except OSError:
            pass  # answered and closed before the end; the answer is still to be read
        response = self.connection.getresponse()
        try:
            return response.status, response.read()
        finally:
            self.connection.close()

    def send_all_and_answer(self, pieces: bytes | Iterable[bytes]) -> tuple[int, bytes]:
        """Sends what the server takes; it may answer, and close, before it has all."""
        try:
            self.send(pieces)
        except (BrokenPipeError, ConnectionResetError):
            pass
        return self.answer()

    def abort(self) -> None:
        """Goes away without a word."""
        self.connection.close()
