"""`ambrotype sign` and `ambrotype verify`: of files alone, and with a server."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding

from ambrotype import BINARY
from clouds import unique
from conftest import site_of
from image_api import MIB, Pattern
from signing import HASHES, KINDS, certificate, pem_of, private_key, sign

pytestmark = [pytest.mark.own_server, pytest.mark.own_identity]
DATA = Pattern(MIB + 5, seed=21).bytes()
UPLOAD = ("--upload", "--os-cloud", "ambrotype")


def run(*arguments, status: int = 0) -> str:
    """What the command said, on standard error if it was to fail."""
    command = [str(BINARY), *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == status, f"{command} ended with {result.returncode}\n{result.stdout}{result.stderr}"
    return result.stderr if status else result.stdout


class Signer:
    """Files of a signer: a key, its certificate, and a root that issued it; and an image."""

    def __init__(self, folder, kind: str = "RSA-PSS"):
        self.folder, self.kind = folder, kind
        self.key, root_key = private_key(kind), private_key("RSA")
        root = certificate(root_key, "Root", is_authority=True)
        self.certificate = certificate(self.key, "Signer", issuer=(root, root_key))
        self.root_path = self._write("root.pem", pem_of(root))
        self.certificate_path = self._write("signer.pem", pem_of(self.certificate))
        self.key_path = self._write("signer.key", self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        self.image_path = self._write("image.raw", DATA)
        self.options = ("--trust", self.root_path, "--cert", self.certificate_path)

    def _write(self, name: str, content: bytes):
        path = self.folder / name
        path.write_bytes(content)
        path.chmod(0o600)
        return path

    def sign(self, *arguments, status: int = 0) -> str:
        return run("sign", self.image_path, "--key", self.key_path, "--cert", self.certificate_path, *arguments,
                   status=status)

    def properties(self, **changes) -> str:
        path = self._write("properties.json", json.dumps(json.loads(self.sign("--json")) | changes).encode())
        return str(path)


@pytest.fixture
def signer(tmp_path):
    return Signer(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hash_name", sorted(HASHES))
def test_signatures_are_what_other_verifiers_expect(tmp_path, kind, hash_name):
    made = Signer(tmp_path, kind)
    properties = json.loads(made.sign("--hash", hash_name, "--json"))
    assert properties["img_signature_hash_method"] == hash_name and properties["img_signature_key_type"] == kind
    verify_as_cursive(made, properties)


def verify_as_cursive(made: Signer, properties: dict) -> None:
    """With the longest salt and no other."""
    method = HASHES[properties["img_signature_hash_method"]]
    signature = base64.b64decode(properties["img_signature"])
    public = made.certificate.public_key()
    if made.kind == "RSA-PSS":
        longest = padding.calculate_max_pss_salt_length(public, method)
        public.verify(signature, DATA, padding.PSS(padding.MGF1(method), longest), method)
    elif made.kind == "DSA":
        public.verify(signature, DATA, method)
    else:
        public.verify(signature, DATA, ec.ECDSA(method))


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_verified_by_what_others_signed(tmp_path, kind):
    made = Signer(tmp_path, kind)
    options = (*made.options, "--hash", "SHA-384", "--key-type", kind, "--json")
    signature = sign(made.key, kind, "SHA-384", DATA)
    verdict = json.loads(run("verify", made.image_path, *options, "--signature", signature))
    assert verdict["signature"] == "valid" and verdict["signer"]["subject"] == "CN=Signer"
    assert verdict["chain"] == {"result": "trusted", "certificates": ["CN=Signer", "CN=Root"], "reason": None}
    made.image_path.write_bytes(DATA[:-1] + b"?")
    assert "not the bytes that were signed" in run(
        "verify", made.image_path, *options, "--signature", signature, status=1)


def test_refusals_say_why(signer):
    properties = signer.properties()
    run("verify", signer.image_path, *signer.options, "--properties", properties)
    stranger = signer.folder / "stranger.pem"
    stranger.write_bytes(pem_of(certificate(private_key("RSA"), "Stranger", is_authority=True)))
    said = run("verify", signer.image_path, "--trust", stranger, "--cert", signer.certificate_path, "--properties",
               properties, status=1)
    assert 'no trusted certificate is "CN=Root", the issuer of "CN=Signer"' in said
    wrong = signer.properties(img_signature_hash_method="SHA-1")
    assert "there are SHA-224" in run("verify", signer.image_path, *signer.options, "--properties", wrong, status=1)
    signer.key_path.chmod(0o644)
    assert "chmod 600" in signer.sign(status=1)
    signer.key_path.chmod(0o600)
    shutil.copy(signer.root_path, signer.certificate_path)
    assert "is of another key" in signer.sign(status=1)


def test_an_image_goes_into_a_cloud_and_is_verified_from_there(start, signer, monkeypatch):
    server = start()
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(server.data_dir / "clouds.yaml"))
    made = json.loads(signer.sign(
        *UPLOAD, "--name", unique("signed"), "--property", "os_distro=debian", "--json"))["image"]
    assert made["status"] == "active" and made["os_distro"] == "debian" and made["size"] == len(DATA)
    verify_as_cursive(signer, made)
    out = run("verify", made["id"], "--trust", signer.root_path, "--os-cloud", "ambrotype")
    assert "signature  valid" in out and "chain      trusted" in out
    demo = site_of(server, server.data_dir / "clients").demo
    plain = demo.api.create_raw(name=unique("plain"))["id"]
    said = run("verify", plain, "--trust", signer.root_path, "--os-cloud", "ambrotype", status=1)
    assert "is not signed" in said


def test_an_upload_that_fails_leaves_nothing(start, signer, monkeypatch):
    server = start()
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(server.data_dir / "clouds.yaml"))
    assert "disk_format" in signer.sign(*UPLOAD, "--disk-format", "nonsense", status=1)
    demo = site_of(server, server.data_dir / "clients").demo
    assert list(demo.sdk.image.images()) == []
    secrets = demo.sdk.session.get("/v1/secrets", endpoint_filter={"service_type": "key-manager"})
    assert secrets.json()["total"] == 0
