"""Who the tests are: entries of a clouds.yaml, and each client signed in as one of them."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import openstack
import openstack.connection
import yaml
from barbicanclient import client as barbican_client
from glanceclient import Client as GlanceClient

from image_api import ImageAPI
from key_manager_api import KeyManagerAPI

BIN = Path(sys.executable).parent


def unique(what: str) -> str:
    """A name no other test uses, marked as ours for those who share a cloud with us."""
    return f"interop-{what}-{uuid.uuid4().hex[:8]}"


class CommandFailed(AssertionError):
    def __init__(self, command: list[str], result: subprocess.CompletedProcess):
        self.status = result.returncode
        self.stderr = result.stderr
        super().__init__(f"$ {' '.join(command)}\nended with status {result.returncode}\n"
                         f"{result.stdout[-2000:]}\n{result.stderr[-4000:]}")


class CloudsFile:
    """A clouds.yaml of the tests' own, which grows as they make users."""

    def __init__(self, path: Path, clouds: dict[str, dict]):
        self.path = path
        self.clouds = clouds
        self._write()

    def add(self, name: str, entry: dict) -> None:
        self.clouds[name] = entry
        self._write()

    def _write(self) -> None:
        self.path.touch(mode=0o600)
        self.path.write_text(yaml.safe_dump({"clouds": self.clouds}))


@dataclass
class Cloud:
    """One entry of the file, and the clients that use it."""

    name: str
    file: CloudsFile
    image_url: str
    key_manager_url: str | None = None
    _sdk: openstack.connection.Connection | None = field(default=None, repr=False)

    @property
    def entry(self) -> dict:
        return self.file.clouds[self.name]

    @property
    def sdk(self) -> openstack.connection.Connection:
        if self._sdk is None:
            self._sdk = self.connect()
        return self._sdk

    @property
    def has_signed_in(self) -> bool:
        return self._sdk is not None

    def connect(self) -> openstack.connection.Connection:
        """A connection of openstacksdk with a token of its own."""
        loader = openstack.config.OpenStackConfig(
            config_files=[str(self.file.path)], secure_files=[], vendor_files=[], load_envvars=False)
        return openstack.connection.Connection(config=loader.get_one(self.name))

    @property
    def project_id(self) -> str:
        return self.sdk.current_project_id

    @property
    def api(self) -> ImageAPI:
        """Requests by hand, with the token of the SDK's connection."""
        return ImageAPI(self.image_url, self.sdk.auth_token)

    @property
    def user_id(self) -> str:
        return self.sdk.current_user_id

    @property
    def keys(self) -> KeyManagerAPI:
        """The same for the key manager."""
        return KeyManagerAPI(self.key_manager_url, self.sdk.auth_token)

    @property
    def glance_client(self) -> GlanceClient:
        """The library python-glanceclient."""
        return GlanceClient("2", endpoint=self.image_url, session=self.sdk.session)

    def barbican_client(self, microversion: str | None = None):
        """The library python-barbicanclient, its endpoint from the catalogue."""
        return barbican_client.Client(session=self.sdk.session, region_name=self.entry["region_name"],
                                      microversion=microversion)

    # The command line clients, each call a process.

    def openstack(self, *arguments: str, json_output: bool = True):
        """`openstack ARGUMENTS -f json`, parsed; with `json_output=False` its output as it is."""
        command = [str(BIN / "openstack"), *arguments]
        if json_output:
            command += ["-f", "json"]
        environment = {"OS_CLIENT_CONFIG_FILE": str(self.file.path), "OS_CLOUD": self.name}
        output = self._run(command, environment)
        return json.loads(output) if json_output else output

    def openstack_fails(self, *arguments: str) -> str:
        """The same for a command that must fail; what it said on standard error."""
        try:
            output = self.openstack(*arguments, json_output=False)
        except CommandFailed as failure:
            return failure.stderr
        raise AssertionError(f"openstack {' '.join(arguments)} should have failed; it said: {output}")

    def glance(self, *arguments: str) -> str:
        """`glance ARGUMENTS`, which knows environment variables but no clouds.yaml."""
        environment = {"OS_" + key.upper(): str(value) for key, value in self.entry["auth"].items()}
        environment["OS_IMAGE_URL"] = self.image_url
        return self._run([str(BIN / "glance"), *arguments], environment)

    def glance_fails(self, *arguments: str) -> str:
        try:
            output = self.glance(*arguments)
        except CommandFailed as failure:
            return failure.stderr
        raise AssertionError(f"glance {' '.join(arguments)} should have failed; it said: {output}")

    def _run(self, command: list[str], environment: dict[str, str]) -> str:
        # Nothing of the caller's: no other cloud's variables, no ~/.config/openstack, no proxy.
        base = {key: os.environ[key] for key in ("PATH", "TMPDIR", "LANG") if key in os.environ}
        base |= {"HOME": str(self.file.path.parent), "no_proxy": "127.0.0.1", "PYTHONWARNINGS": "ignore"}
        # `openstack image create` uploads its standard input unless that is a terminal, so give it one.
        terminal, stdin = pty.openpty()
        try:
            result = subprocess.run(command, env=base | environment, text=True, stdin=stdin,
                                    stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=280)
        finally:
            os.close(terminal)
            os.close(stdin)
        if result.returncode:
            raise CommandFailed(command, result)
        return result.stdout


def table(output: str) -> dict[str, str]:
    """The rows of the two-column table that `glance` prints."""
    rows = {}
    for line in output.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and len(cells) == 2:
            rows[cells[0]] = cells[1]
    return rows


def delete_what_is_ours(keys: KeyManagerAPI) -> None:
    """The secrets and containers of one project that tests left. Who may not list them has none."""
    for kind in ("container", "secret"):
        for _ in range(100):  # pages
            page = keys.request("GET", f"/v1/{kind}s?limit=100&name=interop-%25")
            found = page.json()[kind + "s"] if page.status_code == 200 else []
            for made in found:
                keys.request("DELETE", made[kind + "_ref"] + "?force=true")
            if not found:
                break


class Site:
    """A cloud under test: its administrator, its user `demo`, and users made for one test.

    What is made is removed by `clean_up`, because the cloud need not be ours alone.
    """

    def __init__(self, file: CloudsFile, image_url: str, admin: str, demo: str, key_manager_url: str | None = None):
        self.file = file
        self.image_url = image_url
        self.key_manager_url = key_manager_url
        self.clouds: list[Cloud] = []
        self.admin = self._known(admin)
        self.demo = self._known(demo)
        self._undo: list = []

    def _known(self, name: str) -> Cloud:
        cloud = Cloud(name, self.file, self.image_url, self.key_manager_url)
        self.clouds.append(cloud)
        return cloud

    def cloud(self, name: str, entry: dict) -> Cloud:
        self.file.add(name, entry)
        return self._known(name)

    def user(self, what: str, role: str = "member", project: str | None = None) -> Cloud:
        """A new user with `role` in a project of its own, or in the one given by id."""
        identity = self.admin.sdk.identity
        name, password = unique(what), uuid.uuid4().hex
        if project is None:
            made = identity.create_project(name=name, domain_id="default")
            self._undo.append(lambda: identity.delete_project(made, ignore_missing=True))
            project = made.id
        user = identity.create_user(name=name, password=password, domain_id="default")
        self._undo.append(lambda: identity.delete_user(user, ignore_missing=True))
        wanted = next(r for r in identity.roles() if r.name == role)
        identity.assign_project_role_to_user(project, user, wanted)
        auth = {"auth_url": self.admin.entry["auth"]["auth_url"], "username": name,
                "password": password, "project_id": project, "user_domain_id": "default"}
        return self.cloud(name, self.admin.entry | {"auth": auth})

    def clean_up(self) -> None:
        for query in ({}, {"visibility": "community"}, {"os_hidden": "true"}):
            for image in self.admin.api.list(limit=1000, **query):
                if (image["name"] or "").startswith("interop-"):
                    if image["protected"]:
                        self.admin.api.patch(
                            image["id"], {"op": "replace", "path": "/protected", "value": False})
                    self.admin.api.delete(image["id"])
        if self.key_manager_url:
            for cloud in self.clouds:
                if cloud.has_signed_in:
                    delete_what_is_ours(cloud.keys)
        for undo in reversed(self._undo):
            undo()
        shutil.rmtree(self.file.path.parent, ignore_errors=True)
