"""More slow clients than the server takes connections: the honest ones get in all the same."""

from __future__ import annotations

import http.client
import socket
import threading
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest

from ambrotype import eventually

pytestmark = pytest.mark.own_server

# The server takes half of what is left of its descriptors as connections (docs/operating.md).
DESCRIPTORS = 264
CONNECTIONS = 100


@pytest.fixture
def crowded(start):
    """A server with room for few, and an idle timeout far beyond what the test waits."""
    return start({"idle_timeout_seconds": 60}, prefix=["prlimit", f"--nofile={DESCRIPTORS}"])


def attack(stack: ExitStack, port: int, begin: bytes, trickle: bytes) -> list[socket.socket]:
    """Keeps twice as many connections as there is room for, opened again whenever the server ends one."""
    done = threading.Event()
    ended = []

    def keep_one() -> None:
        while not done.is_set():
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                    connection.sendall(begin)
                    while not done.is_set():
                        try:
                            if not connection.recv(1000):
                                break
                        except TimeoutError:
                            connection.sendall(trickle)
                    ended.append(connection)
            except OSError:
                pass

    threads = [threading.Thread(target=keep_one, daemon=True) for _ in range(2 * CONNECTIONS)]
    for thread in threads:
        thread.start()

    def stop() -> None:
        done.set()
        for thread in threads:
            thread.join()

    stack.callback(stop)
    return ended


def health(port: int) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=45)
    connection.request("GET", "/healthcheck")
    return connection.getresponse().read()


@pytest.mark.parametrize("begin, trickle", [(b"", b""), (b"GET /healthcheck HTTP/1.1\r\nX: ", b"x")],
                         ids=["idle", "trickling"])
def test_who_waits_for_nothing_gives_way_when_it_gets_crowded(crowded, begin, trickle):
    port = urlsplit(crowded.url).port
    with ExitStack() as stack:
        ended = attack(stack, port, begin, trickle)
        # With the idle timeout alone, or the time for a head, this would take a minute.
        eventually(lambda: len(ended) > CONNECTIONS, seconds=45, message="slow clients are sent away")
        assert health(port) == b"OK"
    assert health(port) == b"OK"
