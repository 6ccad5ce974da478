#!/usr/bin/env python3
"""Measure an image service, and print the table of docs/measurements.md (`make measure`).

Without options a server of our own is started with an empty data directory. With --base-url
any Image v2 service is measured, for comparison; its token is read from a file, because
arguments are visible to every user of the machine.

    measure.py [--rounds N] [--seconds S] [--only PART,…] [--counts 1000,20000] [--scratch DIR]
    measure.py --base-url URL --token-file FILE [--pids PID,…]

The clients are C programs, so that they are not what is measured: curl moves the data, wrk
sends the small requests over 8 connections. Client and server share the machine. MB is 10^6
bytes. Transfers are the median of the rounds; rates are of one run of S seconds after a warm-up.
Server CPU is that of its processes and their children, from /proc/PID/stat.

Random data lies in memory (/dev/shm) where there is room, so that reading it costs little.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "Tests/Interop"))

from ambrotype import Server, processor_seconds  # noqa: E402
from clouds import CloudsFile, Site  # noqa: E402
from image_api import GIB, MIB, ImageAPI, expect  # noqa: E402

import yaml  # noqa: E402

PARTS = ("upload", "download", "get", "create", "list")
CONNECTIONS = 8
IMAGE = {"name": "measured", "disk_format": "raw", "container_format": "bare", "os_distro": "debian",
         "architecture": "x86_64", "hw_disk_bus": "virtio", "tags": ["measured"]}

# wrk counts; this prints its counts for a program. The token comes from a file, not the arguments.
LUA_COMMON = """
local file = io.open("%(token)s"); wrk.headers["X-Auth-Token"] = file:read("*l"); file:close()
local threads = {}
function setup(thread) table.insert(threads, thread) end
function done(summary, latency, requests)
  local pairs_done, wrong = 0, 0
  for _, thread in ipairs(threads) do
    pairs_done = pairs_done + (thread:get("pairs_done") or 0)
    wrong = wrong + (thread:get("wrong") or 0)
  end
  local errors = summary.errors
  print(string.format('RESULT {"requests": %%d, "seconds": %%f, "p50": %%f, "p99": %%f, "errors": %%d, "pairs": %%d}',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.status + errors.connect + errors.read + errors.write + errors.timeout + wrong, pairs_done))
end
"""

# One connection to a thread, so the answer to a POST is there before the next request is made.
LUA_CREATE_DELETE = """
local image = nil
pairs_done, wrong = 0, 0
local base = wrk.path
local headers = {["X-Auth-Token"] = wrk.headers["X-Auth-Token"], ["Content-Type"] = "application/json"}
function request()
  if image then return wrk.format("DELETE", base .. "/" .. image) end
  return wrk.format("POST", base, headers, '%(body)s')
end
function response(status, _, body)
  if image then
    image = nil
    if status == 204 then pairs_done = pairs_done + 1 else wrong = wrong + 1 end
  elseif status == 201 then
    image = string.match(body, '"id"%%s*:%%s*"([%%x-]+)"')
  else
    wrong = wrong + 1
  end
end
"""


@dataclass
class Measured:
    """A service, and where its numbers go."""

    api: ImageAPI
    pids: list[int]
    scratch: Path
    rounds: int
    seconds: int
    rows: list[tuple[str, str, str]] = field(default_factory=list)

    def __post_init__(self):
        self.token_file = self.scratch / "token"
        self.token_file.touch(mode=0o600)
        self.token_file.write_text(self.api.token)
        self.header_file = self.scratch / "header"
        self.header_file.touch(mode=0o600)
        self.header_file.write_text(f"X-Auth-Token: {self.api.token}\n")

    def add(self, what: str, result: str, cpu: str) -> None:
        self.rows.append((what, result, cpu if self.pids else ""))
        print(f"{what}: {result}; {cpu}", file=sys.stderr)

    def cpu(self) -> float:
        return sum(processor_seconds(pid) for pid in family(self.pids))

    def image(self, **fields) -> str:
        return self.api.create(**(IMAGE | fields))["id"]

    # Transfers

    def curl(self, commands: list[list[str]]) -> float:
        """Runs them at once; the seconds until the last ended."""
        began = time.monotonic()
        running = [subprocess.Popen(["curl", "-sS", "--fail", "--noproxy", "*", "-H", f"@{self.header_file}", *command])
                   for command in commands]
        codes = [process.wait() for process in running]
        seconds = time.monotonic() - began
        assert not any(codes), f"curl ended with {codes}"
        return seconds

    def transfers(self, what: str, total_bytes: int, prepare, clean_up) -> None:
        seconds, cpus = [], []
        for _ in range(self.rounds):
            os.sync()
            commands = prepare()
            before = self.cpu()
            seconds.append(self.curl(commands))
            cpus.append(self.cpu() - before)
            clean_up()
        rates = sorted(total_bytes / each / 1e6 for each in seconds)
        self.add(what, f"{statistics.median(rates):,.0f} MB/s ({rates[0]:,.0f}-{rates[-1]:,.0f})",
                 f"{statistics.median(cpus) * GIB / total_bytes:.2f} s/GiB")

    def uploads(self, data: Path, count: int) -> None:
        made: list[str] = []

        def prepare() -> list[list[str]]:
            made[:] = [self.image() for _ in range(count)]
            return [["-T", str(data), "-H", "Content-Type: application/octet-stream", "-H", "Expect:", "-o", "/dev/null",
                     f"{self.api.url}/v2/images/{image}/file"] for image in made]

        def clean_up() -> None:
            for image in made:
                expect(self.api.delete(image), 204)

        size = data.stat().st_size
        self.transfers(f"upload {count} × {size // MIB} MiB at once" if count > 1 else f"upload {size // MIB} MiB",
                       count * size, prepare, clean_up)

    def downloads(self, data: Path) -> None:
        image, size = self.image(), data.stat().st_size
        url = f"{self.api.url}/v2/images/{image}/file"
        self.curl([["-T", str(data), "-H", "Content-Type: application/octet-stream", "-H", "Expect:", url]])
        for count in (1, 4):
            self.transfers(f"download {size // MIB} MiB, {count} client{'s' if count > 1 else ''}", count * size,
                           lambda: [["-o", "/dev/null", url]] * count, lambda: None)
        expect(self.api.delete(image), 204)

    # Small requests

    def wrk(self, path: str, threads: int, script: str = "", seconds: int | None = None) -> tuple[dict, float]:
        """wrk's counts, and the server's CPU seconds meanwhile."""
        lua = self.scratch / "script.lua"
        lua.write_text(LUA_COMMON % {"token": self.token_file} + script)
        before = self.cpu()
        output = subprocess.run(
            ["wrk", f"-t{threads}", f"-c{CONNECTIONS}", f"-d{seconds or self.seconds}s", "--timeout", "30s", "-s", lua,
             self.api.url + path], check=True, capture_output=True, text=True).stdout
        cpu = self.cpu() - before
        result = next(line for line in output.splitlines() if line.startswith("RESULT "))
        return json.loads(result.removeprefix("RESULT ")), cpu

    def requests(self, what: str, path: str) -> None:
        self.wrk(path, threads=2, seconds=2)
        result, cpu = self.wrk(path, threads=2)
        assert not result["errors"], f"{what}: {result['errors']} wrong answers"
        self.add(what, f"{result['requests'] / result['seconds']:,.0f}/s, p50 {result['p50']:.2f} ms, "
                 f"p99 {result['p99']:.2f} ms", f"{1e3 * cpu / result['requests']:.3f} ms a request")

    def creates(self) -> None:
        script = LUA_CREATE_DELETE % {"body": json.dumps(IMAGE)}
        self.wrk("/v2/images", CONNECTIONS, script, seconds=2)
        result, cpu = self.wrk("/v2/images", CONNECTIONS, script)
        assert not result["errors"], f"create and delete: {result['errors']} wrong answers"
        self.add(f"create and delete, {CONNECTIONS} clients",
                 f"{result['pairs'] / result['seconds']:,.0f} pairs/s, a request p50 {result['p50']:.2f} ms, "
                 f"p99 {result['p99']:.2f} ms", f"{1e3 * cpu / result['requests']:.3f} ms a request")

    def lists(self, counts: list[int]) -> None:
        there = len(self.api.list(limit=1000))
        for count in counts:
            with ThreadPoolExecutor(CONNECTIONS) as pool:
                list(pool.map(lambda index: self.image(name=f"measured-{index}"), range(there, count)))
            there = max(there, count)
            self.requests(f"list 25 of {there:,}", "/v2/images?limit=25")
            if count == counts[-1]:
                self.requests(f"list 25 of {there:,}, by name", "/v2/images?limit=25&sort=name:asc")

    def memory(self) -> None:
        status = [Path(f"/proc/{pid}/status").read_text() for pid in family(self.pids)]
        peak = sum(int(text.split("VmHWM:")[1].split()[0]) for text in status) / 1024
        self.add("peak resident memory of the above", f"{peak:,.0f} MiB", "")


def family(pids: list[int]) -> list[int]:
    """Processes and all their descendants (a service may be a master and its workers)."""
    found = list(pids)
    for pid in found:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def random_file(path: Path, size: int) -> Path:
    with open(path, "wb") as file:
        for _ in range(size // (16 * MIB)):
            file.write(os.urandom(16 * MIB))
    return path


def table(measured: Measured, label: str) -> str:
    processor = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                      if line.startswith("model name")), platform.machine())
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=REPOSITORY, capture_output=True, text=True)
    lines = [f"{label}, {time.strftime('%Y-%m-%d')}, {commit.stdout.strip()}; {os.cpu_count()} × {processor}; "
             f"load {os.getloadavg()[0]:.1f} at the end.", "", "| | | server CPU |", "|---|---|---|"]
    lines += [f"| {what} | {result} | {cpu} |" for what, result, cpu in measured.rows]
    return "\n".join(lines)


def own_service(stack: ExitStack, scratch: Path) -> tuple[ImageAPI, list[int]]:
    data = scratch / "data"
    data.mkdir()
    server = stack.enter_context(Server(data, log=scratch / "server.log"))
    clouds = yaml.safe_load((data / "clouds.yaml").read_text())["clouds"]
    file = CloudsFile(scratch / "clouds.yaml", clouds)
    return Site(file, server.url + "/image", "ambrotype-admin", "ambrotype").demo.api, [server.pid]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--base-url")
    options.add_argument("--token-file", type=Path)
    options.add_argument("--pids", default="", help="the processes of the service at --base-url")
    options.add_argument("--label", default="")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=int, default=10)
    options.add_argument("--only", default=",".join(PARTS))
    options.add_argument("--counts", default="1000,20000")
    options.add_argument("--size", type=int, default=1024, help="MiB of a large image")
    options.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()), help="where the data directory goes")
    arguments = options.parse_args()
    parts = set(arguments.only.split(","))
    assert parts <= set(PARTS), f"parts are {', '.join(PARTS)}"

    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=arguments.scratch, prefix="ambrotype-measure-")))
        if arguments.base_url:
            api = ImageAPI(arguments.base_url, arguments.token_file.read_text().strip())
            pids = [int(pid) for pid in arguments.pids.split(",") if pid]
        else:
            api, pids = own_service(stack, scratch)
        measured = Measured(api, pids, scratch, arguments.rounds, arguments.seconds)

        size = arguments.size * MIB
        memory = Path("/dev/shm")
        in_memory = memory.is_dir() and shutil.disk_usage(memory).free > 2 * size
        files = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=memory if in_memory else scratch)))
        if parts & {"upload", "download"}:
            large = random_file(files / "large", size)
            if "upload" in parts:
                measured.uploads(large, 1)
                measured.uploads(random_file(files / "quarter", size // 4), 4)
            if "download" in parts:
                measured.downloads(large)
            large.unlink()
        if "get" in parts:
            image = measured.image()
            measured.requests(f"GET one image, {CONNECTIONS} connections", f"/v2/images/{image}")
            expect(api.delete(image), 204)
        if "create" in parts:
            measured.creates()
        if "list" in parts:
            measured.lists([int(count) for count in arguments.counts.split(",")])
        if pids:
            measured.memory()
        print(table(measured, arguments.label or ("Ambrotype" if pids and not arguments.base_url else api.url)))


if __name__ == "__main__":
    main()
