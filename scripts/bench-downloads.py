#!/usr/bin/env python3
"""Download the same file from this server and from nginx, in turns (docs/performance.md, "Data path").

    bench-downloads.py [--rounds N] [--size MIB] [--only plain,tls,cold,slow,upload] [--scratch DIR]

A server with an empty data directory gets one image of random bytes; nginx (sendfile on, its other settings as they
come, two workers) serves the very file the blob is. The clients are curl, 1 and 4 at once, each writing to /dev/null;
over TLS all speak TLS 1.3 with the same cipher. A round is one download from each of the two, the first of them
changing places. Rates are the median of the rounds with their range; CPU is that of the server's processes, in
nanoseconds by the kernel. Everything shares the machine, so the ratios count.

`cold` drops the file from memory before each download, and meanwhile asks for something small over and over on
connections that share the event loops with it: the slowest answer tells whether a loop waited for the disk.
`slow` opens many downloads, reads nothing, and looks at the server's memory. `upload` compares uploads, durable at
the answer, with what the processors allow: all CPU seconds of server and clients, shared by all processors.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "Tests/Interop"))

from ambrotype import Server, die_with_parent, eventually  # noqa: E402

MIB, GIB = 1 << 20, 1 << 30
CIPHER = "TLS_AES_128_GCM_SHA256"

NGINX = """
worker_processes 2;
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  server {{
    listen 127.0.0.1:{port}{ssl};
    location = /file {{ alias {file}; }}
    location = /small {{ return 200 "OK"; }}
  }}
}}
"""
SSL = """ ssl;
    ssl_certificate {directory}/certificate.pem;
    ssl_certificate_key {directory}/key.pem;
    ssl_protocols TLSv1.3;
    ssl_conf_command Ciphersuites {cipher}"""


def processor_seconds(pids: list[int]) -> float:
    """Of running processes, to the nanosecond (clock_getcpuclockid(3))."""
    return sum(time.clock_gettime((~pid << 3) | 2) for pid in pids)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Ours:
    """A server of this repository with one image of random bytes."""

    name = "Ambrotype"

    def __init__(self, stack: ExitStack, scratch: Path, size: int, certificate: Path | None):
        data = scratch / "data"
        data.mkdir()
        config = None
        if certificate:
            config = scratch / "ambrotype.yaml"
            config.write_text(f"tls:\n  certificate: {certificate}/certificate.pem\n  key: {certificate}/key.pem\n")
        self.server = stack.enter_context(Server(data, config=config, log=scratch / "server.log"))
        self.certificate = certificate
        self.header = scratch / "header"
        self.header.touch(mode=0o600)
        self.token = self._token(data)
        self.header.write_text(f"X-Auth-Token: {self.token}\n")
        self.url = self.new_image()
        with subprocess.Popen(["head", "-c", str(size), "/dev/urandom"], stdout=subprocess.PIPE) as source:
            subprocess.run(["curl", "-sS", "--fail", "--noproxy", "*", *self.trust(), "-H", f"@{self.header}", "-H",
                            "Content-Type: application/octet-stream", "-H", f"X-Openstack-Image-Size: {size}", "-T", "-",
                            self.url], stdin=source.stdout, check=True)
        self.file = max((path for path in (data / "store").rglob("*") if path.is_file()) if (data / "store").is_dir()
                        else (path for path in data.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
        assert self.file.stat().st_size == size, self.file

    def new_image(self) -> str:
        """The URL of a new image's data."""
        base = self.server.url + "/image/v2/images"
        created = self._post(base, {"disk_format": "raw", "container_format": "bare"}, {"X-Auth-Token": self.token})
        return f"{base}/{json.loads(created.read())['id']}/file"

    def remove(self, url: str) -> None:
        self._open(urllib.request.Request(url.removesuffix("/file"), method="DELETE",
                                          headers={"X-Auth-Token": self.token})).read()

    def _open(self, request: urllib.request.Request):
        import ssl
        context = ssl.create_default_context(cafile=str(self.certificate / "certificate.pem")) if self.certificate else None
        return urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(
            context=context)).open(request)

    def _post(self, url: str, body: dict, headers: dict):
        return self._open(urllib.request.Request(
            url, json.dumps(body).encode(), {"Content-Type": "application/json", **headers}))

    def _token(self, data: Path) -> str:
        text = (data / "clouds.yaml").read_text()
        cloud = text[text.index("ambrotype:"):]
        password = json.loads(re.search(r"password: (.+)", cloud)[1])
        domain = {"id": "default"}
        answer = self._post(self.server.url + "/identity/v3/auth/tokens", {"auth": {
            "identity": {"methods": ["password"], "password": {"user": {
                "name": "demo", "domain": domain, "password": password}}},
            "scope": {"project": {"name": "demo", "domain": domain}}}}, {})
        return answer.headers["X-Subject-Token"]

    def trust(self) -> list[str]:
        return ["--cacert", str(self.certificate / "certificate.pem")] if self.certificate else []

    def curl(self) -> list[str]:
        return [*self.trust(), "-H", f"@{self.header}", self.url]

    @property
    def pids(self) -> list[int]:
        return [self.server.pid]

    @property
    def small(self) -> tuple[int, str]:
        return int(self.server.url.rsplit(":", 1)[1]), "/healthcheck"


class Nginx:
    """nginx, serving one file."""

    name = "nginx"

    def __init__(self, stack: ExitStack, directory: Path, file: Path, certificate: Path | None):
        self.port = free_port()
        self.certificate = certificate
        ssl = SSL.format(directory=certificate, cipher=CIPHER) if certificate else ""
        config = directory / "nginx.conf"
        config.write_text(NGINX.format(directory=directory, file=file, port=self.port, ssl=ssl)
                          + (f"user {os.environ.get('USER', 'root')};\n" if os.geteuid() == 0 else ""))
        self.master = subprocess.Popen(["nginx", "-c", config, "-e", directory / "error.log"],
                                       preexec_fn=die_with_parent)
        stack.callback(self.stop)
        eventually(lambda: socket.socket().connect_ex(("127.0.0.1", self.port)) == 0, message="nginx listens")

    def stop(self) -> None:
        self.master.send_signal(signal.SIGTERM)
        self.master.wait(30)

    def curl(self) -> list[str]:
        if self.certificate:
            return ["--cacert", str(self.certificate / "certificate.pem"), f"https://127.0.0.1:{self.port}/file"]
        return [f"http://127.0.0.1:{self.port}/file"]

    @property
    def pids(self) -> list[int]:
        children = Path(f"/proc/{self.master.pid}/task/{self.master.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    @property
    def small(self) -> tuple[int, str]:
        return self.port, "/small"


def download(side, clients: int, size: int) -> tuple[float, float]:
    """Seconds until the last client has all, and the server's CPU seconds."""
    command = ["curl", "-sS", "--fail", "--noproxy", "*", "--tls13-ciphers", CIPHER, "-o", "/dev/null", "-w",
               "%{size_download}\n", *side.curl()]
    before, began = processor_seconds(side.pids), time.monotonic()
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(clients)]
    said = [process.communicate()[0] for process in running]
    seconds = time.monotonic() - began
    assert not any(process.returncode for process in running), f"{side.name}: curl failed"
    assert all(int(text) == size for text in said), f"{side.name}: {said}"
    return seconds, processor_seconds(side.pids) - before


def compare(what: str, sides: list, clients: int, size: int, rounds: int) -> None:
    for side in sides:
        download(side, clients, size)
    rates, cpu = {side.name: [] for side in sides}, {side.name: [] for side in sides}
    for round_number in range(rounds):
        for side in sides if round_number % 2 == 0 else sides[::-1]:
            seconds, used = download(side, clients, size)
            rates[side.name].append(clients * size / seconds / 1e6)
            cpu[side.name].append(used * GIB / (clients * size))
    columns = [f"{statistics.median(rates[side.name]):,.0f} ({min(rates[side.name]):,.0f}-{max(rates[side.name]):,.0f}); "
               f"{statistics.median(cpu[side.name]):.3f} ({min(cpu[side.name]):.3f}-{max(cpu[side.name]):.3f})"
               for side in sides]
    ours, theirs = (side.name for side in sides)
    ratio = statistics.median(rates[ours]) / statistics.median(rates[theirs])
    cpu_ratio = statistics.median(cpu[ours]) / statistics.median(cpu[theirs])
    print(f"| {what}, {clients} client{'s' if clients > 1 else ''} | {columns[0]} | {columns[1]} | "
          f"{ratio:.2f}; {cpu_ratio:.2f} |", flush=True)


def drop_from_memory(file: Path) -> None:
    with open(file, "rb") as opened:
        os.fdatasync(opened.fileno())
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def cold(side, file: Path, size: int, rounds: int, connections: int = 4) -> None:
    """Downloads of a file that is not in memory; latencies of small answers meanwhile."""
    rates, latencies = [], []
    for _ in range(rounds):
        drop_from_memory(file)
        done = threading.Event()
        taken: list[float] = []

        def ask() -> None:
            port, path = side.small
            connection = http.client.HTTPConnection("127.0.0.1", port)
            while not done.is_set():
                began = time.monotonic()
                connection.request("GET", path)
                connection.getresponse().read()
                taken.append(time.monotonic() - began)
                time.sleep(0.002)
            connection.close()

        threads = [threading.Thread(target=ask) for _ in range(connections)]
        [thread.start() for thread in threads]
        seconds, _ = download(side, 1, size)
        done.set()
        [thread.join() for thread in threads]
        rates.append(size / seconds / 1e6)
        latencies += taken
    latencies.sort()
    print(f"| cold file, {side.name} | {statistics.median(rates):,.0f} ({min(rates):,.0f}-{max(rates):,.0f}) MB/s | "
          f"small answers meanwhile: p50 {1e3 * latencies[len(latencies) // 2]:.1f} ms, "
          f"p99 {1e3 * latencies[len(latencies) * 99 // 100]:.1f} ms, slowest {1e3 * latencies[-1]:.1f} ms |", flush=True)


def slow(ours: Ours, clients: int) -> None:
    """Downloads whose clients do not read."""
    host, port = "127.0.0.1", int(ours.server.url.rsplit(":", 1)[1])
    path = ours.url.split(f":{port}", 1)[1]
    before = ours.server.resident_bytes()
    open_sockets = []
    for _ in range(clients):
        connection = socket.create_connection((host, port))
        if ours.certificate:
            import ssl
            connection = ssl.create_default_context(
                cafile=str(ours.certificate / "certificate.pem")).wrap_socket(connection, server_hostname=host)
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {ours.token}\r\n\r\n".encode())
        open_sockets.append(connection)
    time.sleep(3)
    after = ours.server.resident_bytes()
    print(f"| {clients} stalled downloads{' over TLS' if ours.certificate else ''} | resident {before / MIB:.0f} MiB before, "
          f"{after / MIB:.0f} MiB with them: {(after - before) / clients / 1024:.0f} KiB each |", flush=True)
    for connection in open_sockets:
        connection.close()


def uploads(ours: Ours, count: int, size: int, rounds: int, directory: Path) -> None:
    """Uploads at once; each `size` bytes."""
    data = directory / "data"
    with open(data, "wb") as file:
        for _ in range(size // MIB):
            file.write(os.urandom(MIB))
    rates, limits, shares, server_cpu = [], [], [], []
    for _ in range(rounds):
        urls = [ours.new_image() for _ in range(count)]
        os.sync()
        before, clients_before = processor_seconds(ours.pids), resource.getrusage(resource.RUSAGE_CHILDREN)
        began = time.monotonic()
        running = [subprocess.Popen(["curl", "-sS", "--fail", "--noproxy", "*", "-H", f"@{ours.header}", "-H", "Expect:", "-H",
                                     "Content-Type: application/octet-stream", "-T", data, url]) for url in urls]
        codes = [process.wait() for process in running]
        seconds = time.monotonic() - began
        assert not any(codes), codes
        server = processor_seconds(ours.pids) - before
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        clients = after.ru_utime + after.ru_stime - clients_before.ru_utime - clients_before.ru_stime
        rates.append(count * size / seconds / 1e6)
        server_cpu.append(server * GIB / (count * size))
        limits.append(count * size / ((server + clients) / os.cpu_count()) / 1e6)
        shares.append(rates[-1] / limits[-1])
        for url in urls:
            ours.remove(url)
    print(f"| upload {count} x {size // MIB} MiB | {statistics.median(rates):,.0f} ({min(rates):,.0f}-{max(rates):,.0f}) MB/s; "
          f"{statistics.median(server_cpu):.2f} ({min(server_cpu):.2f}-{max(server_cpu):.2f}) s/GiB | "
          f"limit {statistics.median(limits):,.0f} MB/s | {statistics.median(shares):.2f} ({min(shares):.2f}-{max(shares):.2f}) |",
          flush=True)


def make_certificate(directory: Path) -> Path:
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
                    "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout",
                    directory / "key.pem", "-out", directory / "certificate.pem"], check=True, capture_output=True)
    return directory


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--size", type=int, default=1024, help="MiB")
    options.add_argument("--only", default="plain,tls,cold,slow,upload")
    options.add_argument("--stalled", type=int, default=200, help="clients of `slow`")
    options.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()))
    arguments = options.parse_args()
    parts, size = set(arguments.only.split(",")), arguments.size * MIB
    print("| | Ambrotype: MB/s; CPU s/GiB | nginx: MB/s; CPU s/GiB | ratios |\n|---|---|---|---|")
    for secure in (False, True):
        if not parts & ({"tls", "slow"} if secure else {"plain", "cold", "slow", "upload"}):
            continue
        with ExitStack() as stack:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=arguments.scratch, prefix="ambrotype-bench-")))
            certificate = make_certificate(scratch) if secure else None
            ours = Ours(stack, scratch, size, certificate)
            nginx = Nginx(stack, scratch, ours.file, certificate)
            if ("tls" if secure else "plain") in parts:
                for clients in (1, 4):
                    compare("TLS" if secure else "plain", [ours, nginx], clients, size, arguments.rounds)
            if "cold" in parts and not secure:
                for side in (ours, nginx):
                    cold(side, ours.file, size, arguments.rounds)
            if "upload" in parts and not secure:
                memory = Path("/dev/shm")
                with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else scratch) as directory:
                    for count in (1, 4):
                        uploads(ours, count, size // count, arguments.rounds, Path(directory))
                    ours.server.forget_peak()
                    uploads(ours, 4, size, 1, Path(directory))
                print(f"| peak resident memory of the last | {ours.server.peak_resident_bytes() / MIB:.0f} MiB | | |")
            if "slow" in parts:
                slow(ours, arguments.stalled)


if __name__ == "__main__":
    main()
