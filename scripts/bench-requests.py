#!/usr/bin/env python3
"""Measure small requests at catalogues of several sizes (docs/performance-requests.md).

    bench-requests.py [--counts 1000,20000,1000000] [--seconds S] [--only get,list,page,create,start] [--scratch DIR]

Every catalogue is made by seed-catalogue.py in a data directory of its own and kept in the scratch directory, if that
is given, for the next run. The clients are wrk's. Server CPU is that of the server's process by /proc/PID/stat, in
microseconds a request: it holds on a busy machine, where rates do not.
"""

from __future__ import annotations

import argparse
import http.client
import json
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "scripts"), str(REPOSITORY / "Tests/Interop")]

import measure  # noqa: E402
from ambrotype import Server  # noqa: E402
from clouds import CloudsFile, Site  # noqa: E402
from image_api import expect  # noqa: E402

PARTS = ("start", "get", "list", "page", "create")
LISTS = [("own and public, 25", "limit=25"), ("public, 25", "limit=25&visibility=public"),
         ("by name, 25", "limit=25&sort=name:asc"), ("status=queued, 25", "limit=25&status=queued"),
         ("name=, 25", "limit=25&name=image%2011"), ("tag=common, 25", "limit=25&tag=common"),
         ("tag=rare, 25", "limit=25&tag=rare"), ("os_distro=debian, 25", "limit=25&os_distro=debian"),
         ("protected=true, 25", "limit=25&protected=true"), ("size_min=1, 25", "limit=25&size_min=1")]


class Bench(measure.Measured):
    def row(self, what: str, result: dict, cpu: float, per: str = "requests") -> None:
        assert not result["errors"], f"{what}: {result['errors']} wrong answers"
        count = result[per]
        self.add(what, f"{count / result['seconds']:,.0f}/s, p50 {result['p50']:.2f} ms, p99 {result['p99']:.2f} ms",
                 f"{1e6 * cpu / count:,.0f} µs")

    def load(self, what: str, path: str, connections: int) -> None:
        measure.CONNECTIONS = connections
        threads = min(2, connections)
        self.wrk(path, threads, seconds=1)
        self.row(f"{what}, {connections} connections", *self.wrk(path, threads))

    def pairs(self, connections: int) -> None:
        measure.CONNECTIONS = connections
        script = measure.LUA_CREATE_DELETE % {"body": json.dumps(measure.IMAGE)}
        self.wrk("/v2/images", connections, script, seconds=1)
        self.row(f"create and delete, {connections} clients", *self.wrk("/v2/images", connections, script), per="pairs")

    def resident(self, what: str) -> None:
        text = Path(f"/proc/{self.pids[0]}/status").read_text()
        self.add(f"resident memory, {what}", f"{int(text.split('VmRSS:')[1].split()[0]) / 1024:,.0f} MiB", "")


def seeded(scratch: Path, count: int) -> Path:
    """A data directory with so many images."""
    data = scratch / f"data-{count}"
    if not (data / "seeded").exists():
        data.mkdir()
        with Server(data, log=scratch / "server.log"):
            pass
        subprocess.run([REPOSITORY / "scripts/seed-catalogue.py", "--data-dir", data, "--count", str(count)], check=True)
        (data / "seeded").touch()
    return data


def first_answer(url: str) -> None:
    host, port = url.removeprefix("http://").split("/")[0].split(":")
    connection = http.client.HTTPConnection(host, int(port))
    connection.request("GET", "/healthcheck")
    assert connection.getresponse().status == 200


def measure_one(scratch: Path, count: int, seconds: int, parts: set[str]) -> list[tuple[str, str, str]]:
    data = seeded(scratch, count)
    began = time.monotonic()
    with Server(data, log=scratch / "server.log") as server:
        first_answer(server.url)
        started = time.monotonic() - began
        clouds = yaml.safe_load((data / "clouds.yaml").read_text())["clouds"]
        file = CloudsFile(scratch / "clouds.yaml", clouds)
        api = Site(file, server.url + "/image", "ambrotype-admin", "ambrotype").demo.api
        bench = Bench(api, [server.pid], scratch, 1, seconds)
        if "start" in parts:
            bench.add("start to the first answer", f"{1e3 * started:,.0f} ms", "")
            bench.resident("idle")
        if "get" in parts:
            image = expect(api.request("GET", "/v2/images?limit=1&status=active"), 200).json()["images"][0]["id"]
            for connections in (8, 64):
                bench.load("GET one image", f"/v2/images/{image}", connections)
        if "list" in parts:
            for what, query in LISTS:
                bench.load(what, f"/v2/images?{query}", 8)
        if "page" in parts:
            bench.load("a page of 1,000", "/v2/images?limit=1000", 1)
        if "create" in parts:
            for connections in (8, 64):
                bench.pairs(connections)
        bench.resident("at the end")
        return bench.rows


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--counts", default="1000,20000,1000000")
    options.add_argument("--seconds", type=int, default=5)
    options.add_argument("--only", default=",".join(PARTS))
    options.add_argument("--scratch", type=Path)
    arguments = options.parse_args()
    with ExitStack() as stack:
        scratch = arguments.scratch or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        scratch.mkdir(exist_ok=True)
        for count in map(int, arguments.counts.split(",")):
            rows = measure_one(scratch, count, arguments.seconds, set(arguments.only.split(",")))
            print(f"\n{count:,} images\n\n| | | server CPU |\n|---|---|---|")
            for row in rows:
                print(f"| {' | '.join(row)} |")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
