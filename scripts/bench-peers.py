#!/usr/bin/env python3
"""Measure this server, the real Glance and nginx in one session, in turns (`make bench-peers`; docs/measurements.md).

    bench-peers.py [--rounds N] [--seconds S] [--size MIB] [--counts 1000,20000] [--only PART,…] [--out DIR]
                   [--peers glance,nginx] [--scratch DIR] [--data-dir DIR]

All are driven by `ambrotype bench`, one after the other in every round, the first of them changing places; what is
printed is the median of the rounds with their range, and this server's ratio to each. Glance is the one of a peer lab
that is up (PEER_LAB is the directory of its scripts), with its database's processor time counted to it; nginx (two
workers, sendfile) serves what an image service would answer as files: what the machine could do if nothing had to be
looked up. The rounds of a part are only comparable with each other. MB is 10^6 bytes, GiB 2^30.

Parts: get, list, create-delete, upload, download. Lists are measured at each size of the catalogue, over 8 connections
for their rate and over 1 for their latency (which scripts/plot-lists.py draws). DIR gets peers.json and peers.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import secrets
import signal
import socket
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

from ambrotype import BINARY, Server, die_with_parent, eventually  # noqa: E402
from clouds import CloudsFile, Site  # noqa: E402
from image_api import MIB, ImageAPI  # noqa: E402

import yaml  # noqa: E402

PARTS = ("get", "list", "create-delete", "upload", "download")
IMAGE = {"disk_format": "raw", "container_format": "bare", "os_distro": "bench", "architecture": "x86_64",
         "hw_disk_bus": "virtio", "tags": ["bench"]}

NGINX = """
worker_processes 2;
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000000;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  default_type application/json;
  server {{
    listen 127.0.0.1:{port};
    # What bench asks to find what it left behind.
    location = /v2/images {{
      if ($arg_name) {{ return 200 '{{"images": []}}'; }}
      alias {directory}/list.json;
    }}
    location ~ ^/v2/images/[^/]+/file$ {{ alias {directory}/data; }}
    location ~ ^/v2/images/[^/]+$ {{ alias {directory}/image.json; }}
  }}
}}
"""


@dataclass
class Side:
    """One of those that are compared."""

    name: str
    url: str
    token: str
    pids: list[int]
    parts: tuple[str, ...] = PARTS
    # For those that cannot make one.
    image: str | None = None
    # For those that end connections without saying so, as uWSGI does.
    closes: bool = False
    fill = staticmethod(lambda count: None)
    api: ImageAPI | None = None

    def bench(self, operation: str, connections: int, *arguments: str) -> dict:
        command = [BINARY, "bench", operation, "--json", "--repeats", "1", "--connections", str(connections), "--url",
                   self.url, *arguments]
        for pid in self.pids:
            command += ["--server-pid", str(pid)]
        if self.closes:
            command.append("--close")
        if self.image and operation in ("get", "download"):
            command += ["--image", self.image]
        ran = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OS_TOKEN": self.token})
        assert ran.returncode == 0, f"{self.name}: {ran.stdout}{ran.stderr}"
        return json.loads(ran.stdout)["results"][0]


@dataclass
class Row:
    """What was measured of all sides in the rounds of a part."""

    what: str
    part: str
    connections: int
    images: int | None
    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, side: str, result: dict) -> None:
        per = {"upload": "gib", "download": "gib", "create-delete": "pair"}.get(self.part, "request")
        found = {"rate": result.get("megabytes_per_second", result["operations_per_second"])["median"],
                 "p50_ms": result["p50_ms"]["median"], "p99_ms": result["p99_ms"]["median"],
                 "driver_cpu": result[f"driver_cpu_seconds_per_{per}"]["median"]}
        if f"server_cpu_seconds_per_{per}" in result:
            found["server_cpu"] = result[f"server_cpu_seconds_per_{per}"]["median"]
            found["server_bytes"] = result["server_resident_bytes"]["median"]
        for name, value in found.items():
            self.values.setdefault(side, {}).setdefault(name, []).append(value)

    def median(self, side: str, name: str) -> float | None:
        values = self.values.get(side, {}).get(name)
        return statistics.median(values) if values else None


def ours(stack: ExitStack, scratch: Path, data: Path | None) -> Side:
    is_full = data is not None
    data = data or scratch / "data"
    data.mkdir(exist_ok=True)
    server = stack.enter_context(Server(data, log=scratch / "server.log"))
    clouds = yaml.safe_load((data / "clouds.yaml").read_text())["clouds"]
    site = Site(CloudsFile(scratch / "clouds.yaml", clouds), server.url + "/image", "ambrotype-admin", "ambrotype")
    side = Side("Ambrotype", site.image_url, site.demo.sdk.auth_token, [server.pid], api=site.demo.api)
    there = 0

    def fill(count: int) -> None:
        nonlocal there
        if is_full:
            return
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda index: side.api.create(name=f"listed-{index}", **IMAGE), range(there, count)))
        there = max(there, count)

    side.fill = fill
    return side


def lab_value(lab: Path, *expressions: str) -> list[str]:
    """What the lab's settings say, in a shell of its own."""
    script = f'. "{lab}/lib.sh" && ' + " && ".join(f'echo "{each}"' for each in expressions)
    return subprocess.run(["bash", "-c", script], check=True, capture_output=True, text=True).stdout.splitlines()


def glance(lab: Path) -> Side:
    """The lab's Glance, restarted the way it is deployed for service: no cache middleware, few words in the log."""
    host, keystone, port, password, run, venv, database, sock, python = lab_value(
        lab, "$HOST", "$P_KEYSTONE", "$P_GLANCE", "$LAB_PASSWORD", "$RUN", "$VENV", "$LAB_DB", "$DB_SOCK", "$LAB_PYTHON")
    environment = os.environ | {"LAB_GLANCE_FLAVOR": "keystone", "LAB_LOG_LEVEL": "WARNING"}
    subprocess.run([lab / "ctl.sh", "restart", "glance"], check=True, env=environment, stdout=sys.stderr)
    client = os.environ | {
        "OS_AUTH_URL": f"http://{host}:{keystone}/v3", "OS_IDENTITY_API_VERSION": "3", "OS_USERNAME": "demo",
        "OS_PASSWORD": password, "OS_PROJECT_NAME": "demo", "OS_USER_DOMAIN_ID": "default",
        "OS_PROJECT_DOMAIN_ID": "default"}

    def issue(column: str) -> str:
        return subprocess.run([f"{venv}/client/bin/openstack", "token", "issue", "-f", "value", "-c", column], check=True,
                              capture_output=True, text=True, env=client).stdout.strip()

    pids = [int(Path(run, "glance.pid").read_text())]
    if database == "mariadb":
        pids.append(int(Path(run, "mariadb.pid").read_text()))
    side = Side("Glance", f"http://{host}:{port}", issue("id"), pids, closes=True)
    side.api = ImageAPI(side.url, side.token)
    owner = issue("project_id")
    there = 0

    def sql(text: str) -> str:
        return subprocess.run(["mariadb", "--no-defaults", "-N", "-S", sock, "-u", "root", "glance"], input=text, check=True,
                              capture_output=True, text=True).stdout

    def fill(count: int) -> None:
        nonlocal there
        if database != "mariadb":
            for index in range(there, count):
                side.api.create(name=f"listed-{index}", **IMAGE)
        elif count > there:
            sql(subprocess.run([python, lab / "populate_sql.py", owner, str(there), str(count)], check=True,
                               capture_output=True, text=True).stdout)
            sql("ANALYZE TABLE images, image_properties, image_tags;")
        there = max(there, count)

    if database == "mariadb":
        for table in ("image_properties", "image_tags"):
            sql(f"DELETE t FROM {table} t JOIN images i ON i.id=t.image_id WHERE i.owner='{owner}' AND i.name LIKE 'listed-%';")
        sql(f"DELETE FROM images WHERE owner='{owner}' AND name LIKE 'listed-%';")
    side.fill = fill
    return side


def nginx(stack: ExitStack, scratch: Path, model: Side, size: int) -> Side:
    """Answers with files: a document and a list of `model`'s, and data of the size."""
    directory = scratch / "nginx"
    directory.mkdir()
    made = [model.api.create(name=f"model-{index}", **IMAGE) for index in range(25)]
    (directory / "image.json").write_bytes(model.api.request("GET", f"/v2/images/{made[0]['id']}").content)
    (directory / "list.json").write_bytes(model.api.request("GET", "/v2/images?limit=25").content)
    for image in made:
        model.api.delete(image["id"])
    with open(directory / "data", "wb") as file:
        for _ in range(size // MIB):
            file.write(secrets.token_bytes(MIB))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = directory / "nginx.conf"
    config.write_text(NGINX.format(directory=directory, port=port)
                      + (f"user {os.environ.get('USER', 'root')};\n" if os.geteuid() == 0 else ""))
    # Debian's nginx stands where users do not look.
    master = subprocess.Popen(["nginx", "-c", config, "-e", directory / "error.log"], preexec_fn=die_with_parent,
                              env=os.environ | {"PATH": os.environ["PATH"] + ":/usr/sbin"})

    def stop() -> None:
        master.send_signal(signal.SIGTERM)
        master.wait(30)

    stack.callback(stop)
    eventually(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0, message="nginx listens")
    return Side("nginx", f"http://127.0.0.1:{port}", "none", [master.pid], ("get", "list", "download"),
                image="00000000-0000-4000-8000-000000000000")


class Session:
    def __init__(self, sides: list[Side], rounds: int, seconds: float):
        self.sides = sides
        self.rounds = rounds
        self.seconds = seconds
        self.rows: list[Row] = []

    def measure(self, what: str, part: str, connections: int, *arguments: str, images: int | None = None) -> None:
        row = Row(what, part, connections, images)
        taking_part = [side for side in self.sides if part in side.parts]
        for number in range(self.rounds):
            for side in taking_part if number % 2 == 0 else taking_part[::-1]:
                row.add(side.name, side.bench(part, connections, *arguments))
        self.rows.append(row)
        print(f"{what}: " + "; ".join(f"{side.name} {row.median(side.name, 'rate'):,.1f}" for side in taking_part),
              file=sys.stderr, flush=True)

    def requests(self, what: str, part: str, connections: int, *arguments: str, images: int | None = None) -> None:
        self.measure(what, part, connections, "--seconds", str(self.seconds), "--warm-up", str(min(1.0, self.seconds)),
                     *arguments, images=images)

    def transfers(self, part: str, connections: int, size_mib: int) -> None:
        name = f"{part} {connections} × {size_mib} MiB" if connections > 1 else f"{part} {size_mib} MiB"
        self.measure(name, part, connections, "--count", str(connections), "--size", str(size_mib), "--warm-up", "0.1")

    # What is written

    def markdown(self, heading: str) -> str:
        names = [side.name for side in self.sides]
        first = names[0]
        lines = [heading, "", "| | " + " | ".join(names) + " | " + " | ".join(f"to {name}" for name in names[1:]) + " |",
                 "|---" * (2 * len(names)) + "|"]
        for row in self.rows:
            cells = [row.what] + [self.cell(row, name) for name in names]
            for name in names[1:]:
                cells.append(self.ratio(row, first, name))
            lines.append("| " + " | ".join(cells) + " |")
        return "\n".join(lines) + "\n"

    @staticmethod
    def cell(row: Row, name: str) -> str:
        rates = row.values.get(name, {}).get("rate")
        if not rates:
            return ""
        is_transfer = row.part in ("upload", "download")
        unit, places = (" MB/s", 0) if is_transfer else ("/s", 0 if min(rates) >= 100 else 1)
        text = f"{statistics.median(rates):,.{places}f}{unit} ({min(rates):,.{places}f}-{max(rates):,.{places}f})"
        if not is_transfer:
            text += f"; p50 {row.median(name, 'p50_ms'):.2f}, p99 {row.median(name, 'p99_ms'):.2f} ms"
        cpu = row.median(name, "server_cpu")
        if cpu is not None:
            text += f"; {cpu:.2f} s/GiB" if is_transfer else f"; {1e3 * cpu:.3f} ms CPU"
        return text

    @staticmethod
    def ratio(row: Row, first: str, other: str) -> str:
        """Of the rates, and of the processor time."""
        ours, theirs = row.median(first, "rate"), row.median(other, "rate")
        if not ours or not theirs:
            return ""
        text = f"{ours / theirs:.2f}"
        cpu, other_cpu = row.median(first, "server_cpu"), row.median(other, "server_cpu")
        return text + (f"; CPU {cpu / other_cpu:.2f}" if cpu and other_cpu else "")

    def document(self, about: dict) -> dict:
        return about | {"rows": [vars(row) for row in self.rows]}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=float, default=5)
    options.add_argument("--size", type=int, default=1024, help="MiB of a large image")
    options.add_argument("--counts", default="1000,20000", help="sizes of the catalogue")
    options.add_argument("--data-dir", type=Path, help="of this server, as seed-catalogue.py left it; give --counts")
    options.add_argument("--only", default=",".join(PARTS))
    options.add_argument("--peers", default="glance,nginx")
    options.add_argument("--out", type=Path, default=REPOSITORY / ".run/peers")
    options.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()))
    arguments = options.parse_args()
    parts, peers = set(arguments.only.split(",")), set(arguments.peers.split(","))
    assert parts <= set(PARTS), f"parts are {', '.join(PARTS)}"
    assert peers <= {"glance", "nginx", ""}, "peers are glance and nginx"
    lab = Path(os.environ.get("PEER_LAB", REPOSITORY.parent / "shared/lab"))
    if "glance" in peers and not (lab / "lib.sh").exists():
        sys.exit(f"no peer lab at '{lab}': set PEER_LAB, or leave Glance out with --peers nginx")

    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=arguments.scratch, prefix="ambrotype-peers-")))
        sides = [ours(stack, scratch, arguments.data_dir)]
        if "glance" in peers:
            sides.append(glance(lab))
        if "nginx" in peers:
            sides.append(nginx(stack, scratch, sides[0], arguments.size * MIB))
        session = Session(sides, arguments.rounds, arguments.seconds)
        if "upload" in parts:
            session.transfers("upload", 1, arguments.size)
            session.transfers("upload", 4, max(1, arguments.size // 4))
        if "download" in parts:
            session.transfers("download", 1, arguments.size)
            session.transfers("download", 4, arguments.size)
        if "get" in parts:
            for connections in (8, 64):
                session.requests(f"GET one image, {connections} connections", "get", connections)
        if "create-delete" in parts:
            for connections in (8, 64):
                session.requests(f"create and delete, {connections} connections", "create-delete", connections)
        if "list" in parts:
            for count in [int(text) for text in arguments.counts.split(",")]:
                for side in sides:
                    side.fill(count)
                for connections in (8, 1):
                    what = f"list 25 of {count:,}, {connections} connection{'s' if connections > 1 else ''}"
                    # One thread of the driver: with two on two processors it is the driver that keeps answers waiting.
                    session.requests(what, "list", connections, "--query", "limit=25", "--threads", "1", images=count)
        commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=REPOSITORY, capture_output=True, text=True)
        processor = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                          if line.startswith("model name")), platform.machine())
        about = {"date": time.strftime("%Y-%m-%d"), "commit": commit.stdout.strip(), "processor": processor,
                 "processors": os.cpu_count(), "load": os.getloadavg()[0], "rounds": arguments.rounds,
                 "seconds": arguments.seconds}
        heading = (f"{about['date']}, {about['commit']}; {about['processors']} × {processor}; {arguments.rounds} rounds; "
                   f"load {about['load']:.1f} at the end.")
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "peers.json").write_text(json.dumps(session.document(about), indent=1) + "\n")
        text = session.markdown(heading)
        (arguments.out / "peers.md").write_text(text)
        print(text)


if __name__ == "__main__":
    main()
