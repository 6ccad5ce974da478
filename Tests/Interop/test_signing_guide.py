"""docs/signing.md, run as it stands: every command of it that a reader would type, against a server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ambrotype import BINARY, REPOSITORY

pytestmark = [pytest.mark.own_server, pytest.mark.own_identity]


@pytest.fixture
def shell(start, tmp_path):
    """Runs commands in a directory that has an image, beside a server that trusts whom the guide says."""
    work = tmp_path / "work"
    work.mkdir()
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", work / "debian.qcow2", "64M"], check=True)
    (work / "passphrase.txt").write_text("correct horse\n")
    (work / "passphrase.txt").chmod(0o600)
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "ambrotype").symlink_to(BINARY)

    def run(commands: str, **changes: str) -> str:
        for name, value in changes.items():
            commands = re.sub(rf"\b{name.replace('_', '-')}\b", value, commands)
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", commands], cwd=work, env=run.environment, text=True,
                              capture_output=True, timeout=300)
        assert done.returncode == 0, f"{commands}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    run.environment = os.environ | {"PATH": f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}"}
    blocks = re.findall(r"```sh\n(.*?)```", (REPOSITORY / "docs/signing.md").read_text(), re.S)
    run(next(block for block in blocks if "root.key" in block))
    server = start({"image": {"verification": {
        "chains": "require", "require_signed": True, "trusted_certificates": str(work / "trusted.pem")}}})
    run.environment |= {"OS_CLIENT_CONFIG_FILE": str(server.data_dir / "clouds.yaml"), "OS_CLOUD": "ambrotype"}
    run.blocks = blocks
    return run


def test_the_guide_to_signed_images_works_as_it_stands(shell):
    def block(words: str) -> str:
        found = [each for each in shell.blocks if words in each]
        assert len(found) == 1, f"{len(found)} blocks with {words}"
        return found[0]

    said = shell(block("--upload"))
    assert "trusted" in said and "active" in said, said

    store, create = block("openstack secret store").split("openstack image create")
    stored = shell(store.split("#")[0] + " -f value -c 'Secret href'").strip().rsplit("/", 1)[-1]
    image = shell("openstack image create -f value -c id" + create.rstrip(), ID=stored).strip()
    assert shell(f"openstack image show {image} -f value -c status").strip() == "active"

    shell("ambrotype sign debian.qcow2 --key signer.key --passphrase-file passphrase.txt --cert signer.pem --json "
          "> image.json")
    checked = shell(block("asks no service"), IMAGE_ID=image)
    assert checked.count("valid") >= 2 and checked.count("trusted") >= 2, checked

    signed = shell(block("rsa_padding_mode:pss").splitlines()[0] + "\n" + block("rsa_padding_mode:pss").splitlines()[1])
    assert re.fullmatch(r"[A-Za-z0-9+/=]{512}", signed.strip()), signed
