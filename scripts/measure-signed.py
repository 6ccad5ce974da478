#!/usr/bin/env python3
"""What signatures and checks cost: signed and unsigned uploads, checked and unchecked downloads, in turns.

    measure-signed.py [--rounds N] [--size MIB] [--scratch DIR]

Each round has one transfer of each kind, in an order that moves on, on one server; the ratios are of the same round, so
what else the machine does falls on both. Run with the interpreter of .venv/interop.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from measure import GIB, IMAGE, MIB, Measured, Server, Site, expect, random_file  # noqa: E402
from clouds import CloudsFile  # noqa: E402
from cryptography.hazmat.primitives import serialization  # noqa: E402
from signing import certificate, private_key, sign  # noqa: E402

import yaml  # noqa: E402

KIND = "RSA-PSS"


def start(stack: ExitStack, directory: Path, settings: dict) -> tuple[Server, Site]:
    directory.mkdir()
    config = directory.with_suffix(".yaml")
    config.write_text(yaml.safe_dump(settings))
    server = stack.enter_context(Server(directory, config=config, log=directory.with_suffix(".log")))
    clouds = yaml.safe_load((directory / "clouds.yaml").read_text())["clouds"]
    file = CloudsFile(directory.with_suffix(".clouds"), clouds)
    return server, Site(file, server.url + "/image", "ambrotype-admin", "ambrotype", server.url + "/key-manager")


def turns(measured: Measured, kinds: dict, rounds: int, size: int) -> None:
    """`kinds`: by name, a function that does one transfer and gives its seconds. The first is what the rest is held to."""
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    cpu: dict[str, list[float]] = {name: [] for name in kinds}
    names = list(kinds)
    for number in range(rounds):
        for name in names[number % len(names):] + names[:number % len(names)]:
            before = measured.cpu()
            seconds[name].append(kinds[name]())
            cpu[name].append(measured.cpu() - before)
    for name in names:
        ratios = sorted(own / base for own, base in zip(seconds[name], seconds[names[0]]))
        print(f"| {name} | {size / statistics.median(seconds[name]) / 1e6:,.0f} MB/s | "
              f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f}) | "
              f"{statistics.median(cpu[name]) * GIB / size:.2f} s/GiB |")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--size", type=int, default=512, help="MiB")
    options.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()))
    arguments = options.parse_args()
    size = arguments.size * MIB
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=arguments.scratch)))
        memory = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm")))
        file = random_file(memory / "data", size)
        data = file.read_bytes()
        server, site = start(stack, scratch / "server", {})
        measured = Measured(site.demo.api, [server.pid], scratch, arguments.rounds, 0)
        key = private_key(KIND)
        stored = site.demo.keys.store(
            certificate(key).public_bytes(serialization.Encoding.DER), secret_type="certificate")

        def image(hash_name: str | None) -> str:
            fields = IMAGE if hash_name is None else IMAGE | {
                "img_signature": signatures[hash_name], "img_signature_hash_method": hash_name,
                "img_signature_key_type": KIND, "img_signature_certificate_uuid": stored}
            return measured.api.create(**fields)["id"]

        def put(image: str) -> float:
            return measured.curl([["-T", str(file), "-H", "Content-Type: application/octet-stream", "-H", "Expect:",
                                   "-o", "/dev/null", f"{measured.api.url}/v2/images/{image}/file"]])

        def upload(hash_name: str | None):
            def run() -> float:
                made = image(hash_name)
                seconds = put(made)
                expect(measured.api.delete(made), 204)
                time.sleep(0.5)  # the bytes are erased meanwhile
                return seconds
            return run

        signatures = {name: sign(key, KIND, name, data) for name in ("SHA-512", "SHA-256")}
        print(f"{arguments.rounds} rounds of {arguments.size} MiB; seconds as a ratio to the first line's\n\n"
              "| | | seconds, ratio | server CPU |\n|---|---|---|---|")
        turns(measured, {
            "upload, not signed": upload(None), "upload, signed (SHA-512)": upload("SHA-512"),
            "upload, signed (SHA-256)": upload("SHA-256")}, arguments.rounds, size)
        plain, signed = image(None), image("SHA-512")
        put(plain), put(signed)

        def download(image: str):
            return lambda: measured.curl([["-o", "/dev/null", f"{measured.api.url}/v2/images/{image}/file"]])

        turns(measured, {"download, not checked": download(plain), "download, checked": download(signed)},
              arguments.rounds, size)


if __name__ == "__main__":
    main()
