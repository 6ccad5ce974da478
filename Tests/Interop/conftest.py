"""What the tests run against.

By default the release binary, started with an empty data directory and its embedded identity.
Environment variables change that:

INTEROP_KEYSTONE_URL, INTEROP_KEYSTONE_PASSWORD
    A real Keystone (`…/v3`) with users admin and demo in projects of the same names, and the
    service user glance in project service, all with that password; the server is started with
    `identity.mode: keystone`.
INTEROP_IMAGE_URL
    With the two above: an image service that already runs there, for instance a real Glance,
    in place of ours. A check of the tests themselves: what they expect is what it does.
INTEROP_KEY_MANAGER_URL
    With a real Keystone: the Barbican of its catalogue. Ours is started with `keys.mode: barbican`.
    Without it a real Keystone has no key manager for us, and the tests of keys are skipped.
INTEROP_LARGE_GIB
    Size of the large upload whose memory is measured; 2 unless set.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import yaml

from ambrotype import REPOSITORY, Server
from clouds import CloudsFile, Site
from image_api import GIB, MIB

KEYSTONE_URL = os.environ.get("INTEROP_KEYSTONE_URL")
IMAGE_URL = os.environ.get("INTEROP_IMAGE_URL")
KEY_MANAGER_URL = os.environ.get("INTEROP_KEY_MANAGER_URL")

servers: list[Server] = []
measurements: list[tuple[str, str]] = []


def pytest_collection_modifyitems(items) -> None:
    for item in items:
        if KEYSTONE_URL and item.get_closest_marker("own_identity"):
            item.add_marker(pytest.mark.skip(reason="a real Keystone is used"))
        if IMAGE_URL and item.get_closest_marker("own_server"):
            item.add_marker(pytest.mark.skip(reason="the image service is not ours"))
        if KEY_MANAGER_URL and item.get_closest_marker("own_keys"):
            item.add_marker(pytest.mark.skip(reason="the key manager is not ours"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Shows the end of the server's log beside a failure."""
    report = yield
    if report.failed:
        for server in servers:
            report.sections.append((f"log of the server on {server.data_dir.name}", server.tail()))
    return report


def pytest_terminal_summary(terminalreporter) -> None:
    if measurements:
        terminalreporter.section("measured")
        for what, value in measurements:
            terminalreporter.line(f"{what}: {value}")


@pytest.fixture
def measured():
    """Keeps a number for the end of the run: `measured(what, value)`."""
    return lambda what, value: measurements.append((what, value))


@pytest.fixture(scope="session")
def scratch():
    """A directory for this run's data, gigabytes of it, removed afterwards."""
    path = Path(tempfile.mkdtemp(prefix="ambrotype-interop-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def start(scratch, request):
    """Starts further servers, each with an empty data directory; ended with the test."""
    mine = []

    def start_server(settings: dict | None = None, name: str | None = None, **options) -> Server:
        data_dir = Path(tempfile.mkdtemp(prefix=(name or request.node.name)[:30] + "-", dir=scratch))
        server = prepared(data_dir, settings, **options)
        mine.append(server)
        return server.start()

    yield start_server
    for server in mine:
        server.kill()
        servers.remove(server)
        shutil.rmtree(server.data_dir, ignore_errors=True)


def prepared(data_dir: Path, settings: dict | None = None, **options) -> Server:
    """A server that is not started yet, its settings in a file beside its data."""
    config = None
    if settings:
        config = data_dir.with_suffix(".yaml")
        config.touch(mode=0o600)
        config.write_text(yaml.safe_dump(settings))
    server = Server(data_dir, config=config, **options)
    servers.append(server)
    return server


def site_of(server: Server, directory: Path) -> Site:
    """The clouds of a server with embedded identity, from the file it wrote itself."""
    clouds = yaml.safe_load((server.data_dir / "clouds.yaml").read_text())["clouds"]
    directory.mkdir(mode=0o700)
    file = CloudsFile(directory / "clouds.yaml", clouds)
    return Site(file, server.url + "/image", admin="ambrotype-admin", demo="ambrotype",
                key_manager_url=server.url + "/key-manager")


def keystone_settings() -> dict:
    settings = {
        "identity": {"mode": "keystone"},
        "keystone": {"auth_url": KEYSTONE_URL, "username": "glance", "project": "service",
                     "password": os.environ["INTEROP_KEYSTONE_PASSWORD"]},
    }
    if KEY_MANAGER_URL:
        settings["keys"] = {"mode": "barbican", "barbican_url": KEY_MANAGER_URL}
    return settings


def keystone_site(image_url: str, directory: Path) -> Site:
    def entry(user: str) -> dict:
        return {
            "auth": {"auth_url": KEYSTONE_URL, "username": user, "project_name": user,
                     "password": os.environ["INTEROP_KEYSTONE_PASSWORD"],
                     "user_domain_id": "default", "project_domain_id": "default"},
            "image_endpoint_override": image_url,
            "region_name": "RegionOne",  # a lab has others, for other services under test
        }

    directory.mkdir(mode=0o700)
    file = CloudsFile(directory / "clouds.yaml", {"admin": entry("admin"), "demo": entry("demo")})
    return Site(file, image_url, admin="admin", demo="demo", key_manager_url=KEY_MANAGER_URL)


@pytest.fixture(scope="session")
def server(scratch):
    """The server that most tests share."""
    data_dir = scratch / "shared"
    data_dir.mkdir()
    server = prepared(data_dir, keystone_settings() if KEYSTONE_URL else None)
    with server:
        yield server
    servers.remove(server)


@pytest.fixture(scope="session")
def site(scratch, request):
    """The cloud that most tests share."""
    directory = scratch / "clients"
    if IMAGE_URL:
        site = keystone_site(IMAGE_URL, directory)
    else:
        server = request.getfixturevalue("server")
        site = keystone_site(server.url + "/image", directory) if KEYSTONE_URL else site_of(server, directory)
    yield site
    site.clean_up()


@pytest.fixture(scope="session")
def admin(site):
    return site.admin


@pytest.fixture(scope="session")
def demo(site):
    """The user of the cloud `ambrotype`: role member, project demo."""
    return site.demo


@pytest.fixture(scope="session")
def other(site):
    """A member of another project."""
    return site.user("other")


@pytest.fixture(scope="session")
def key_manager(site) -> str:
    """Asked for by tests of keys: the key manager's URL."""
    if site.key_manager_url is None:
        pytest.skip("a real Keystone is used, and INTEROP_KEY_MANAGER_URL names no key manager")
    return site.key_manager_url


@pytest.fixture(scope="session")
def qcow2(scratch) -> Path:
    """A real disk image: Debian's files in ext4 in qcow2."""
    path = scratch / "debian.qcow2"
    subprocess.run([REPOSITORY / "scripts/make-qcow2.sh", path], check=True)
    return path


@pytest.fixture(scope="session")
def random_gib(scratch) -> Path:
    """One gibibyte of random bytes, the same in every run of one seed."""
    seed = int(os.environ.get("INTEROP_SEED", random.SystemRandom().getrandbits(32)))
    print(f"INTEROP_SEED={seed}", file=sys.stderr)
    source = random.Random(seed)
    path = scratch / "random.bin"
    with open(path, "wb") as file:
        for _ in range(GIB // (16 * MIB)):
            file.write(source.randbytes(16 * MIB))
    return path
