"""LUKS containers, the bytes of encrypted volumes: formatted, filled and opened with Debian's own tools, in
plain files, without the device mapper (block-storage 9)."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

MIB = 1 << 20
HEADER_BYTES = 2 * MIB  # of LUKS1, as cryptsetup writes it
TOOLS = ("cryptsetup", "qemu-img")


def tools_are_there() -> bool:
    return all(shutil.which(tool, path=SEARCH) for tool in TOOLS)


SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def run(*command, **options) -> subprocess.CompletedProcess:
    return subprocess.run([str(part) for part in command], env={"PATH": SEARCH}, capture_output=True, text=True,
                          timeout=120, **options)


def must(*command) -> None:
    result = run(*command)
    assert result.returncode == 0, f"{command} ended with {result.returncode}\n{result.stdout}{result.stderr}"


class Passphrase:
    """A passphrase in a file of its own, never in arguments that others can read."""

    def __init__(self, text: str, path: Path):
        self.path = path
        path.touch(mode=0o600)
        path.write_text(text)


def secret_object(passphrase: Passphrase) -> list[str]:
    return ["--object", f"secret,id=key,file={passphrase.path}"]


def format_volume(path: Path, plain: bytes, passphrase: Passphrase) -> Path:
    """An encrypted volume that holds `plain`, as Cinder's volume type luks makes it (aes-xts-plain64)."""
    assert len(plain) % 512 == 0
    with open(path, "wb") as file:
        file.truncate(HEADER_BYTES + len(plain))
    # So few iterations because the passphrase is no word that could be guessed.
    must("cryptsetup", "luksFormat", "-q", "--type", "luks1", "--cipher", "aes-xts-plain64", "--key-size", 512,
         "--hash", "sha256", "--pbkdf-force-iterations", 1000, "--key-file", passphrase.path, path)
    source = path.with_suffix(".plain")
    source.write_bytes(plain)
    try:
        must("qemu-img", "convert", "-n", *secret_object(passphrase), "-f", "raw", source, "--target-image-opts",
             f"driver=luks,file.filename={path},key-secret=key")
    finally:
        source.unlink()
    return path


def opens(path: Path, passphrase: Passphrase) -> bool:
    """`cryptsetup open --test-passphrase`: whether the passphrase is one of this container's."""
    result = run("cryptsetup", "open", "--test-passphrase", "--type", "luks", "--key-file", passphrase.path, path)
    assert result.returncode in (0, 2), f"{result.returncode}: {result.stderr}"  # 2: no key with this passphrase
    return result.returncode == 0


def contents(path: Path, passphrase: Passphrase) -> bytes:
    """What is encrypted in there."""
    plain = path.with_suffix(".opened")
    try:
        must("qemu-img", "convert", *secret_object(passphrase), "--image-opts",
             f"driver=luks,file.filename={path},key-secret=key", "-O", "raw", plain)
        return plain.read_bytes()
    finally:
        plain.unlink(missing_ok=True)
