"""Certificates made with the `openssl` command, as an operator makes them (docs/signing.md)."""

from __future__ import annotations

import subprocess
from pathlib import Path

CONFIG = """\
[ca]
default_ca = here
[here]
database = {directory}/index.txt
new_certs_dir = {directory}
rand_serial = yes
default_md = sha256
policy = anything
unique_subject = no
[anything]
commonName = supplied
[req]
distinguished_name = name
[name]
[extensions]
{extensions}
"""
AUTHORITY = "basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign,cRLSign"
SIGNER = "basicConstraints=critical,CA:false\nkeyUsage=critical,digitalSignature"
# As openssl takes the kinds of keys that signed images may have.
KEYS = {
    "RSA-PSS": ["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
    "ECC_SECP384R1": ["ecparam", "-name", "secp384r1", "-genkey", "-noout"],
    "ECC_SECP521R1": ["ecparam", "-name", "secp521r1", "-genkey", "-noout"],
    "ECC_SECT409K1": ["ecparam", "-name", "sect409k1", "-genkey", "-noout"],
    "ECC_SECT409R1": ["ecparam", "-name", "sect409r1", "-genkey", "-noout"],
    "ECC_SECT571K1": ["ecparam", "-name", "sect571k1", "-genkey", "-noout"],
    "ECC_SECT571R1": ["ecparam", "-name", "sect571r1", "-genkey", "-noout"],
}


def openssl(*arguments: object) -> bytes:
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, timeout=120)
    assert done.returncode == 0, f"openssl {' '.join(map(str, arguments))}\n{done.stderr.decode()}"
    return done.stdout


def private_key(file: Path, kind: str = "ECC_SECP384R1") -> Path:
    if kind == "DSA":
        parameters = file.with_suffix(".dsaparam")
        openssl("dsaparam", "-out", parameters, 2048)
        openssl("gendsa", "-out", file, parameters)
    else:
        openssl(*KEYS[kind], "-out", file)
    return file


class Certificate:
    """A key and its certificate, in `NAME.key` and `NAME.pem`. Without an issuer it is signed by itself."""

    def __init__(self, directory: Path, name: str, issuer: "Certificate | None" = None, extensions: str = SIGNER,
                 kind: str = "ECC_SECP384R1", start: str | None = None, end: str | None = None, key: Path | None = None):
        self.name = name
        self.key = key or private_key(directory / f"{name}.key", kind)
        self.file = directory / f"{name}.pem"
        config = directory / f"{name}.cnf"
        work = directory / f"{name}.ca"
        work.mkdir()
        (work / "index.txt").touch()
        config.write_text(CONFIG.format(directory=work, extensions=extensions))
        request = directory / f"{name}.csr"
        openssl("req", "-new", "-config", config, "-key", self.key, "-subj", f"/CN={name}", "-out", request)
        dates = ["-startdate", start] if start else []
        dates += ["-enddate", end] if end else ["-days", "30"]
        signed_by = ["-cert", issuer.file, "-keyfile", issuer.key] if issuer else ["-selfsign", "-keyfile", self.key]
        openssl("ca", "-batch", "-config", config, "-extensions", "extensions", "-notext", "-in", request, "-out",
                self.file, *dates, *signed_by)

    @property
    def pem(self) -> bytes:
        return self.file.read_bytes()

    @property
    def der(self) -> bytes:
        return openssl("x509", "-in", self.file, "-outform", "DER")

    def sign(self, file: Path, hash_name: str = "SHA-512", salt: int | None = -3) -> bytes:
        """An `img_signature` of a file, not yet in base64. For RSA with a salt of that length; -3 is the longest."""
        digest = "-" + hash_name.lower().replace("-", "")
        kind = openssl("pkey", "-in", self.key, "-noout", "-text").decode()
        pss = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", f"rsa_pss_saltlen:{salt}"] if "modulus" in kind else []
        return openssl("dgst", digest, *pss, "-sign", self.key, file)
