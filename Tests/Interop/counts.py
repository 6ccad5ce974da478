"""What the server does for an operation, counted by `counts.c`, and the thresholds it is held to."""

from __future__ import annotations

import hashlib
import http.client
import json
import shutil
import struct
import subprocess
import time
from pathlib import Path
from urllib.parse import urlsplit

from ambrotype import REPOSITORY
from image_api import MIB

THRESHOLDS = REPOSITORY / "Tests/Counts/thresholds.json"
KINDS = ("allocations", "allocated_bytes", "copies", "copied_bytes", "system_calls")
# What is held to thresholds. How many bytes an allocation asks for, and which copies are calls, is the compiler's
# and the libraries' own matter.
HELD = ("allocations", "copied_bytes", "system_calls")


class Counts:
    """The counters of a server that runs with `environment`."""

    def __init__(self, directory: Path):
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        assert compiler, "a C compiler is needed"
        self.library = directory / "counts.so"
        source = Path(__file__).with_name("counts.c")
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-fno-builtin", "-Wall", "-Werror", "-o", self.library,
                        source, "-ldl"], check=True)
        self.file = directory / "counts"
        self.file.write_bytes(bytes(8 * len(KINDS)))

    @property
    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self.library), "COUNTS_FILE": str(self.file)}

    def read(self) -> dict[str, int]:
        return dict(zip(KINDS, struct.unpack(f"{len(KINDS)}Q", self.file.read_bytes())))

    def settled(self) -> dict[str, int]:
        """Once the last operation's work behind its answer is done, such as its line in the log."""
        last = self.read()
        for _ in range(100):
            time.sleep(0.05)
            now = self.read()
            if now["allocations"] - last["allocations"] < 20:
                return now
            last = now
        return last

    def of(self, operation, times: int, unit: int = 1) -> dict[str, float]:
        """Those of one `operation`, of which `times` are done; divided by `unit`."""
        before = self.settled()
        for _ in range(times):
            operation()
        after = self.settled()
        return {kind: (after[kind] - before[kind]) / times / unit for kind in KINDS}


class Driver:
    """One connection to the server, whose requests are always the same bytes."""

    def __init__(self, url: str, token: str):
        parts = urlsplit(url)
        self.prefix = parts.path
        self.connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
        self.headers = {"X-Auth-Token": token}

    def call(self, method: str, path: str, status: int, body: bytes | None = None, **headers: str) -> bytes:
        self.connection.request(method, self.prefix + path, body, self.headers | headers)
        response = self.connection.getresponse()
        content = response.read()
        assert response.status == status, (method, path, response.status, content[:300])
        return content

    def create(self, **fields) -> str:
        document = {"disk_format": "raw", "container_format": "bare", "os_distro": "debian", "tags": ["counted"]} | fields
        made = self.call("POST", "/v2/images", 201, json.dumps(document).encode(), **{"Content-Type": "application/json"})
        return json.loads(made)["id"]

    def upload(self, data: bytes) -> str:
        image = self.create()
        self.call("PUT", f"/v2/images/{image}/file", 204, data, **{"Content-Type": "application/octet-stream"})
        return image


def measure(counts: Counts, driver: Driver) -> dict[str, dict[str, float]]:
    """The counts of each operation; of transfers per MiB."""
    images = [driver.create(name=f"counted-{index}") for index in range(30)]
    data = hashlib.shake_256(b"counted").digest(16 * MIB)
    found = {}

    def get() -> None:
        driver.call("GET", f"/v2/images/{images[7]}", 200)

    def list_25() -> None:
        driver.call("GET", "/v2/images?limit=25", 200)

    def create_delete() -> None:
        driver.call("DELETE", f"/v2/images/{driver.create(name='counted')}", 204)

    uploaded = [driver.create() for _ in range(6)]
    waiting = iter(uploaded)

    def upload() -> None:
        driver.call("PUT", f"/v2/images/{next(waiting)}/file", 204, data, **{"Content-Type": "application/octet-stream"})

    def download() -> None:
        assert len(driver.call("GET", f"/v2/images/{uploaded[0]}/file", 200)) == len(data)

    for name, operation, times, unit in (
            ("get", get, 300, 1), ("list of 25", list_25, 100, 1), ("create and delete", create_delete, 100, 1),
            ("upload, per MiB", upload, 4, 16), ("download, per MiB", download, 8, 16)):
        for _ in range(2 if unit > 1 else 50):
            operation()
        found[name] = counts.of(operation, times, unit)
    for image in images + uploaded:
        driver.call("DELETE", f"/v2/images/{image}", 204)
    return found


def exceeded(found: dict[str, dict[str, float]], thresholds: dict) -> list[str]:
    """What is more than its threshold and the tolerance allow, or has none."""
    problems = []
    for operation, numbers in found.items():
        allowed = thresholds["operations"].get(operation, {})
        for kind in HELD:
            tolerance = tolerance_of(operation, thresholds)
            if kind not in allowed:
                problems.append(f"{operation}: there is no threshold for {kind}; counted: {numbers[kind]:.1f}")
            elif numbers[kind] > allowed[kind] * (1 + tolerance):
                problems.append(f"{operation}: {numbers[kind]:.1f} {kind}, more than {allowed[kind]} and {tolerance:.0%}")
    return problems


def tolerance_of(operation: str, thresholds: dict) -> float:
    """How much comes in one read depends on how busy the machine is, so transfers have more."""
    return thresholds["tolerance_of_transfers" if "per MiB" in operation else "tolerance"]


def lowered(found: dict[str, dict[str, float]], thresholds: dict) -> list[str]:
    """Thresholds that could be lower by more than the tolerance."""
    return [f"{operation}: {found[operation][kind]:.1f} {kind}, its threshold is {limit}"
            for operation, allowed in thresholds["operations"].items() for kind, limit in allowed.items()
            if found[operation][kind] < limit * (1 - tolerance_of(operation, thresholds))]


def as_thresholds(found: dict[str, dict[str, float]], old: dict) -> dict:
    return {**{name: value for name, value in old.items() if name != "operations"},
            "operations": {operation: {kind: round(numbers[kind], 1 if numbers[kind] < 100 else None) for kind in HELD}
                           for operation, numbers in found.items()}}
