#!/usr/bin/env python3
"""What slow clients cost the honest ones (docs/performance.md, "Slow clients").

    measure-slow-clients.py [--clients N] [--seconds S] [--rounds N] [--kinds idle,head,body] [--json FILE]

A server with an empty data directory answers `ambrotype bench get` over 8 connections, without and with so many slow
clients, in turns: `idle` ones that send nothing, `head` ones that send a head byte by byte, a byte every few seconds,
and `body` ones that do the same with the body of an image they create. Those that the server ends connect again, as
attackers do. Printed are the honest clients' rate and latencies, their ratios, and the server's memory.

The slow clients are processes of their own (one for each 5,000), which use a little of the same machine. Descriptors
bound how many there can be: the server takes half of its hard limit as connections (`ulimit -Hn`).
"""

from __future__ import annotations

import argparse
import errno
import json
import multiprocessing
import os
import resource
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "Tests/Interop"))

from ambrotype import BINARY, Server, eventually  # noqa: E402
from clouds import CloudsFile, Site  # noqa: E402

import yaml  # noqa: E402

KINDS = ("idle", "head", "body")
PER_PROCESS = 5_000
# Addresses of the loopback to connect from: each has ports of its own.
SOURCES = 20
PAUSE_SECONDS = 4.0


def raise_limit() -> int:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def slow_clients(kind: str, count: int, port: int, token: str, first: int, ready, reconnected, stop) -> None:
    """Keeps `count` slow connections until told to stop."""
    raise_limit()
    start = {
        "idle": b"",
        "head": b"GET /healthcheck HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        "body": (f"POST /image/v2/images HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {token}\r\n"
                 "Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n").encode(),
    }[kind]
    poll = select.epoll()
    sockets: dict[int, socket.socket] = {}

    def open_one(index: int) -> None:
        connection = socket.socket()
        # Ports are taken when it connects, so that each address has all of them.
        connection.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
        connection.bind((f"127.0.0.{2 + (first + index) % SOURCES}", 0))
        connection.setblocking(False)
        try:
            connection.connect(("127.0.0.1", port))
        except BlockingIOError:
            pass
        sockets[connection.fileno()] = connection
        poll.register(connection, select.EPOLLOUT)

    def replace(number: int) -> None:
        poll.unregister(number)
        sockets.pop(number).close()
        reconnected.value += 1
        open_one(number)

    for index in range(count):
        open_one(index)
        if index % 200 == 199:
            settle(poll, sockets, start, replace)
            # Faster than they are accepted they would only fill the kernel's queue: what does not fit there is dropped
            # behind the back of a client that sends nothing.
            time.sleep(0.02)
    ready.release()
    turn = 0
    while not stop.is_set():
        began = time.monotonic()
        settle(poll, sockets, start, replace)
        # A byte of a part of them each time, so that they come evenly.
        if kind != "idle":
            for number in list(sockets)[turn % 20::20]:
                try:
                    sockets[number].send(b" ")
                except (BlockingIOError, ConnectionError, OSError) as error:
                    if error.errno not in (errno.EAGAIN, errno.ENOTCONN):
                        replace(number)
        turn += 1
        time.sleep(max(0.0, PAUSE_SECONDS / 20 - (time.monotonic() - began)))
    for connection in sockets.values():
        connection.close()


def settle(poll, sockets, start: bytes, replace) -> None:
    """Sends the beginning on connections that are there, and replaces those that were ended."""
    for number, events in poll.poll(0, 20_000):
        if number not in sockets:
            continue
        if events & (select.EPOLLERR | select.EPOLLHUP | select.EPOLLRDHUP) or events & select.EPOLLIN:
            replace(number)
        elif events & select.EPOLLOUT:
            poll.modify(number, select.EPOLLIN | select.EPOLLRDHUP)
            if start:
                try:
                    sockets[number].send(start)
                except (BlockingIOError, ConnectionError):
                    pass


@contextmanager
def attacked(kind: str, count: int, port: int, token: str):
    """Slow clients meanwhile; yields how many had to connect again."""
    stop = multiprocessing.Event()
    reconnected = [multiprocessing.Value("q", 0) for _ in range(0, count, PER_PROCESS)]
    ready = multiprocessing.Semaphore(0)
    processes = []
    for index, first in enumerate(range(0, count, PER_PROCESS)):
        processes.append(multiprocessing.Process(
            target=slow_clients,
            args=(kind, min(PER_PROCESS, count - first), port, token, first, ready, reconnected[index], stop), daemon=True))
        processes[-1].start()
    for _ in processes:
        assert ready.acquire(timeout=120), "the slow clients do not get ready"
    try:
        yield lambda: sum(each.value for each in reconnected)
    finally:
        stop.set()
        for process in processes:
            process.join(30)


def honest(url: str, token: str, seconds: float) -> dict:
    """What the honest clients get."""
    ran = subprocess.run([BINARY, "bench", "get", "--connections", "8", "--seconds", str(seconds), "--warm-up", "0.5",
                          "--repeats", "1", "--json", "--url", url], capture_output=True, text=True,
                         env=os.environ | {"OS_TOKEN": token})
    assert ran.returncode == 0, ran.stdout + ran.stderr
    result = json.loads(ran.stdout)["results"][0]
    return {"per_second": result["operations_per_second"]["median"], "p50_ms": result["p50_ms"]["median"],
            "p99_ms": result["p99_ms"]["median"], "max_ms": result["max_ms"]["median"]}


def connections_of(server: Server) -> int:
    """Sockets that the server has open."""
    directory = Path(f"/proc/{server.pid}/fd")
    count = 0
    for entry in os.listdir(directory):
        try:
            count += os.readlink(directory / entry).startswith("socket:")
        except OSError:
            pass
    return count


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--clients", type=int, default=10_000)
    options.add_argument("--seconds", type=float, default=5)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--kinds", default=",".join(KINDS))
    options.add_argument("--json", type=Path)
    arguments = options.parse_args()
    hard = raise_limit()
    print(f"descriptors a process: {hard}; slow clients: {arguments.clients}", file=sys.stderr)
    found = []
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ambrotype-slow-")))
        data = scratch / "data"
        data.mkdir()
        server = stack.enter_context(Server(data, log=scratch / "server.log", environment={"AMBROTYPE_LOG_LEVEL": "warning"}))
        clouds = yaml.safe_load((data / "clouds.yaml").read_text())["clouds"]
        site = Site(CloudsFile(scratch / "clouds.yaml", clouds), server.url + "/image", "ambrotype-admin", "ambrotype")
        url, token = site.image_url, site.demo.sdk.auth_token
        port = int(server.url.rsplit(":", 1)[1])
        print("| slow clients | connections | memory each | honest: per second | p50 ms | p99 ms | slowest ms | p99, ratio | "
              "connected again |\n|---|---|---|---|---|---|---|---|---|")
        for kind in arguments.kinds.split(","):
            for number in range(arguments.rounds):
                without = honest(url, token, arguments.seconds)
                before, idle = server.resident_bytes(), connections_of(server)
                with attacked(kind, arguments.clients, port, token) as reconnected:
                    eventually(lambda: connections_of(server) - idle >= min(arguments.clients, hard // 2 - 100) * 0.95,
                               seconds=60, message="the slow clients are connected")
                    there, after = connections_of(server) - idle, server.resident_bytes()
                    under = honest(url, token, arguments.seconds)
                    again = reconnected()
                row = {"kind": kind, "clients": arguments.clients, "connections": there,
                       "bytes_each": (after - before) / max(1, there), "without": without, "with": under,
                       "p99_ratio": under["p99_ms"] / without["p99_ms"], "reconnected": again}
                found.append(row)
                print(f"| {kind} | {there:,} | {row['bytes_each'] / 1024:.1f} KiB | {without['per_second']:,.0f} → "
                      f"{under['per_second']:,.0f} | {without['p50_ms']:.2f} → {under['p50_ms']:.2f} | "
                      f"{without['p99_ms']:.2f} → {under['p99_ms']:.2f} | {without['max_ms']:.1f} → {under['max_ms']:.1f} | "
                      f"{row['p99_ratio']:.2f} | {again:,} |", flush=True)
                eventually(lambda: connections_of(server) <= idle + 16, seconds=60, message="the connections are gone")
        for kind in arguments.kinds.split(","):
            ratios = [row["p99_ratio"] for row in found if row["kind"] == kind]
            print(f"\n{kind}: p99 with them over p99 without: {statistics.median(ratios):.2f} "
                  f"({min(ratios):.2f}-{max(ratios):.2f})")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
