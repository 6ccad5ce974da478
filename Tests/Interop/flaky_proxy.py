"""A proxy in front of a real service, which a test makes unreachable, silent, or wrong."""

from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "content-encoding", "date", "server"}


class FlakyProxy:
    """Forwards to `target`, in the way that `mood` says:

    well       everything is forwarded
    down       connections are closed without an answer
    sick       every request is answered with 503
    forgetful  requests are forwarded, and their answers lost
    """

    def __init__(self, target: str):
        self.target = target.rstrip("/")
        self.mood = "well"
        self.seen: list[tuple[str, str]] = []
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                proxy.seen.append((self.command, self.path))
                mood = proxy.mood
                self.close_connection = mood != "well"
                if mood == "down":
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                if mood == "sick":
                    self.reply(503, {"Content-Type": "text/plain"}, b"not now")
                    return
                headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
                found = requests.request(self.command, proxy.target + self.path, data=body, headers=headers,
                                         timeout=60, allow_redirects=False, proxies={"http": ""})
                if mood == "forgetful":
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                self.reply(found.status_code, found.headers, found.content)

            def reply(self, status: int, headers, body: bytes) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    if name.lower() not in HOP_BY_HOP:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = answer

            def log_message(self, *_) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def count(self, method: str, part: str) -> int:
        return sum(1 for seen, path in list(self.seen) if seen == method and part in path)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
