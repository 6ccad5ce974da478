#!/usr/bin/env python3
"""Run one of tempest's suites against a server of our own (`make tempest`, `make tempest-keys`).

The server is started with an empty data directory and its embedded identity, in which tempest
makes and removes the users and projects it wants; the services are found in its catalogue. A test
named in the suite's list under docs/ that does not pass fails the run; tests that pass and are not
named there are reported.

    tempest.py [--suite image|keys|keys-rbac] [--regex REGEX] [--accept] [--clouds FILE]

--accept adds the new ones to the list. It never removes any: a test that once passed may not
drop out, short of an edit by hand that a reviewer sees. --clouds names the clouds.yaml of a cloud
that runs already (entry ambrotype-admin), for instance the real services: what we call passing
should pass there.
"""

from __future__ import annotations

import argparse
import configparser
import contextlib
import functools
import http.server
import json
import re
import shutil
import socket
import subprocess
import sys
import threading
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import subunit
import testtools
import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "Tests/Interop"))

from ambrotype import BINARY, Server  # noqa: E402

WORK = REPOSITORY / ".run/tempest"
# The type of the second endpoint in the catalogue.
REMOTE = "image_remote"
BIN = Path(sys.executable).parent


@dataclass
class Suite:
    regex: str
    passing: Path


SUITES = {
    "image": Suite(r"^tempest\.api\.image", REPOSITORY / "docs/tempest-passing.txt"),
    "keys": Suite(r"^barbican_tempest_plugin\.tests\.api", REPOSITORY / "docs/tempest-keys-passing.txt"),
    "keys-rbac": Suite(r"^barbican_tempest_plugin\.tests\.rbac", REPOSITORY / "docs/tempest-keys-rbac-passing.txt"),
}


class WebHandler(http.server.SimpleHTTPRequestHandler):
    """Files for web-download and locations. Answers ranges, which the library's own handler does not."""

    def do_GET(self) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        path = Path(self.translate_path(self.path))
        if wanted is None or not path.is_file():
            super().do_GET()
            return
        data = path.read_bytes()
        first, last = int(wanted[1]), min(int(wanted[2] or len(data)), len(data) - 1)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        self.send_header("Content-Length", str(last + 1 - first))
        self.end_headers()
        self.wfile.write(data[first:last + 1])

    def log_message(self, *_) -> None:
        pass


@contextlib.contextmanager
def web_server():
    """The port of a web server on the loopback with what tempest fetches images from."""
    files = WORK / "web"
    files.mkdir()
    (files / "image.bin").write_bytes(b"ambrotype" * 40_000)
    shutil.which("qemu-img") or sys.exit("tempest.py: needs qemu-img; install qemu-utils")
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", files / "image.qcow2", "16M"], check=True)
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(WebHandler, directory=str(files)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()


def server_settings(ports: tuple[int, ...], node: str = "local") -> dict:
    """Everything that tempest has tests of: several stores, imports from the loopback, locations, a cache."""
    return {"image": {
        "stores": [f"fast:{WORK}/stores/fast;weight=100", f"cheap:{WORK}/stores/cheap;weight=200", "web:http"],
        "import": {"glance_direct": True, "web_download": True, "copy_image": True, "glance_download": True,
                   "allowed_ports": " ".join(map(str, (80, 443, *ports))), "allowed_networks": "127.0.0.0/8"},
        # Its lists are of images whose bytes are of no format.
        "verification": {"show_locations": True, "format_match": False},
        "cache": {"directory": f"{WORK}/cache-{node}"},
    }}


def write_configuration(path: Path, clouds_file: Path, web_port: int) -> None:
    clouds = yaml.safe_load(clouds_file.read_text())["clouds"]
    admin = clouds["ambrotype-admin"]["auth"]
    region = clouds["ambrotype-admin"].get("region_name", "RegionOne")
    config = configparser.RawConfigParser()
    config.read_dict({
        "DEFAULT": {"log_dir": str(WORK), "log_file": "tempest.log", "use_stderr": "false"},
        "oslo_concurrency": {"lock_path": str(WORK / "lock")},
        "auth": {
            "use_dynamic_credentials": "true", "tempest_roles": "member", "create_isolated_networks": "false",
            "admin_username": admin["username"], "admin_password": admin["password"],
            "admin_project_name": admin["project_name"], "admin_domain_name": "Default"},
        "identity": {
            "auth_version": "v3", "uri_v3": admin["auth_url"].removesuffix("/v3") + "/v3", "region": region,
            "v3_endpoint_type": "public"},
        "identity-feature-enabled": {"api_v3": "true"},
        "service_available": {
            "glance": "true", "barbican": "true", "cinder": "false", "nova": "false", "neutron": "false",
            "swift": "false", "horizon": "false"},
        "enforce_scope": {"glance": "true", "keystone": "true", "barbican": "true"},
        "key_manager": {"region": region, "min_microversion": "1.0", "max_microversion": "1.2"},
        "image": {"region": region, "hashing_algorithm": "sha512", "image_caching_enabled": "true",
                  "alternate_image_endpoint": REMOTE,
                  "build_timeout": "60", "http_image": f"http://127.0.0.1:{web_port}/image.bin",
                  "http_qcow2_image": f"http://127.0.0.1:{web_port}/image.qcow2"},
        "image-feature-enabled": {
            "import_image": "true", "os_glance_reserved": "true", "manage_locations": "true",
            "image_conversion": "false", "image_format_enforcement": "false", "do_secure_hash": "true",
            "http_store_enabled": "true", "store_weight_enabled": "true"},
        "validation": {"run_validation": "false"},
    })
    with open(path, "w") as file:
        config.write(file)
    path.chmod(0o600)


def add_remote(clouds_file: Path, url: str) -> None:
    """A second entry in the catalogue, for the tests that go to another node of the service."""
    cloud = yaml.safe_load(clouds_file.read_text())["clouds"]["ambrotype-admin"]
    auth = cloud["auth"]
    domain = {"name": "Default"}

    def post(path: str, body: dict, **headers: str) -> tuple[dict, dict]:
        request = urllib.request.Request(auth["auth_url"].removesuffix("/v3") + "/v3" + path, json.dumps(body).encode(),
                                         {"Content-Type": "application/json", **headers})
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
            return json.load(answer), answer.headers

    document, headers = post("/auth/tokens", {"auth": {
        "identity": {"methods": ["password"], "password": {"user": {
            "name": auth["username"], "domain": domain, "password": auth["password"]}}},
        "scope": {"project": {"name": auth["project_name"], "domain": domain}}}})
    token = {"X-Auth-Token": headers["X-Subject-Token"]}
    image = next(entry for entry in document["token"]["catalog"] if entry["type"] == "image")["endpoints"][0]
    service, _ = post("/services", {"service": {"type": REMOTE, "name": "glance-remote"}}, **token)
    post("/endpoints", {"endpoint": {"service_id": service["service"]["id"], "interface": "public",
                                     "region_id": image["region_id"], "url": url + "/image"}}, **token)


def node_server(data: Path, node: str, ports: tuple[int, int]) -> Server:
    """One of two servers with one catalogue and a cache each. The first listens on the second of the ports."""
    config = WORK / f"{node}.yaml"
    config.write_text(yaml.safe_dump(server_settings(ports, node)))
    is_first = node == "local"
    return Server(data, config=config, log=WORK / f"{node}.log", node=None if is_first else node,
                  listen=f"127.0.0.1:{ports[1] if is_first else 0}")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def run(regex: str, clouds_file: Path, web_port: int) -> dict[str, tuple[str, str]]:
    """Each test's verdict (pass, skip or fail) and, unless it passed, why."""
    workspace = WORK / "workspace"
    subprocess.run([BIN / "tempest", "init", "--workspace-path", WORK / "workspaces.yaml", "--name", "ambrotype",
                    workspace], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    configuration = workspace / "etc/tempest.conf"
    write_configuration(configuration, clouds_file, web_port)
    environment = {"PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin", "HOME": str(WORK), "no_proxy": "127.0.0.1",
                   "PYTHONWARNINGS": "ignore"}
    subprocess.run([BIN / "tempest", "run", "--config-file", configuration, "--regex", regex, "--concurrency", "2"],
                   cwd=workspace, env=environment)
    stream = subprocess.run([BIN / "stestr", "last", "--subunit"], cwd=workspace, env=environment,
                            stdout=subprocess.PIPE).stdout
    return verdicts(stream)


def verdicts(stream: bytes) -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}

    def note(test: dict) -> None:
        name = test["id"].split("[")[0]  # after it come tempest's own id and tags
        details = {key: content.as_text() for key, content in test["details"].items()
                   if content.content_type.type == "text"}
        if test["status"] in ("success", "xfail"):
            found.setdefault(name, ("pass", ""))
        elif test["status"] == "skip":
            found[name] = ("skip", details.get("reason", "").strip())
        else:
            why = next((text for key, text in details.items() if key.startswith("traceback")), "")
            found[name] = ("fail", "\n".join(why.strip().splitlines()[-6:]))

    result = testtools.StreamToDict(note)
    result.startTestRun()
    WORK.joinpath("last.subunit").write_bytes(stream)
    with open(WORK / "last.subunit", "rb") as file:
        subunit.ByteStreamToStreamResult(file, non_subunit_name="output").run(result)
    result.stopTestRun()
    return found


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--suite", choices=SUITES, default="image")
    options.add_argument("--regex", help="which tests of the suite (all)")
    options.add_argument("--accept", action="store_true")
    options.add_argument("--clouds", type=Path, metavar="FILE")
    arguments = options.parse_args()
    suite = SUITES[arguments.suite]
    target = "make tempest" + ("" if arguments.suite == "image" else "-" + arguments.suite)

    shutil.rmtree(WORK, ignore_errors=True)
    data = WORK / "data"
    data.mkdir(parents=True)
    with contextlib.ExitStack() as stack:
        clouds_file = arguments.clouds
        web_port = stack.enter_context(web_server())
        if clouds_file is None:
            # Known beforehand: glance-download fetches from the server itself.
            ports = web_port, free_port()
            server, remote = (stack.enter_context(node_server(data, node, ports)) for node in ("local", "remote"))
            clouds_file = server.data_dir / "clouds.yaml"
            # Its tests of metadata definitions take the first resource type there is.
            subprocess.run([BINARY, "metadefs", "load", REPOSITORY / "Tests/Interop/metadefs", "--data-dir", data],
                           check=True, stdout=subprocess.DEVNULL)
            add_remote(clouds_file, remote.url)
        found = run(arguments.regex or suite.regex, clouds_file, web_port)

    listed = {line for line in suite.passing.read_text().splitlines() if line and not line.startswith("#")}
    passed = {name for name, (verdict, _) in found.items() if verdict == "pass"}
    whole = arguments.regex is None
    lost = sorted(name for name in listed - passed if whole or name in found)
    new = sorted(passed - listed)
    others = sorted(name for name, (verdict, _) in found.items() if verdict == "fail" and name not in listed)

    counts = {verdict: sum(1 for v, _ in found.values() if v == verdict) for verdict in ("pass", "fail", "skip")}
    print(f"\ntempest: {counts['pass']} passed, {counts['fail']} failed, {counts['skip']} skipped; "
          f"{len(listed)} are listed in {suite.passing.relative_to(REPOSITORY)}")
    if others:
        print("\nfail, and are not listed (no reason to fail this run):")
        print("\n".join("  " + name for name in others))
    if new:
        print("\npass, and are not listed yet" + (" (added):" if arguments.accept else
              f"; add them with .venv/tempest/bin/python scripts/tempest.py --suite {arguments.suite} --accept:"))
        print("\n".join("  " + name for name in new))
        if arguments.accept:
            heading = [line for line in suite.passing.read_text().splitlines() if line.startswith("#")]
            suite.passing.write_text("\n".join(heading + sorted(listed | passed)) + "\n")
    for name in lost:
        verdict, why = found.get(name, ("was not run", ""))
        print(f"\nlisted, but did not pass: {name}: {verdict}\n{why}")
    if lost:
        print(f"\n{target}: FAILED, {len(lost)} that once passed did not; logs in {WORK.relative_to(REPOSITORY)}")
        return 1
    if not passed:
        print(f"\n{target}: FAILED, nothing ran")
        return 1
    print(f"\n{target}: passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
