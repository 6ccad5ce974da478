#!/usr/bin/env python3
"""Makes the certificates with which the tests' servers do, and do not, prove who they are.

    scripts/egress-certificates.py        writes Tests/Vectors/egress/certificates.txt

Needs cryptography (pip). Keys are made anew, so each run writes other bytes: the file that is checked in is the
vectors, and this tells how it came to be.
"""
import base64
import datetime
import ipaddress
from pathlib import Path

import cryptography
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

FILE = Path(__file__).resolve().parent.parent / "Tests" / "Vectors" / "egress" / "certificates.txt"
UTC = datetime.timezone.utc
START, END = datetime.datetime(2020, 1, 1, tzinfo=UTC), datetime.datetime(2050, 1, 1, tzinfo=UTC)
MIDDLE = datetime.datetime(2025, 1, 1, tzinfo=UTC)
KEY = ec.generate_private_key(ec.SECP256R1())
ROOT_KEY = ec.generate_private_key(ec.SECP256R1())
ROOT = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Root of the tests")])


def certificate(common_name, names=(), addresses=(), start=START, end=END, own_issuer=False, root=False):
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    key, issuer_key = (ROOT_KEY if root else KEY), (KEY if own_issuer else ROOT_KEY)
    builder = (x509.CertificateBuilder().subject_name(subject).issuer_name(subject if own_issuer else ROOT)
               .public_key(key.public_key()).serial_number(x509.random_serial_number())
               .not_valid_before(start).not_valid_after(end)
               .add_extension(x509.BasicConstraints(ca=root, path_length=None), critical=True))
    entries = [*map(x509.DNSName, names), *(x509.IPAddress(ipaddress.ip_address(a)) for a in addresses)]
    if entries:
        builder = builder.add_extension(x509.SubjectAlternativeName(entries), critical=False)
    return builder.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def main():
    peers = ["127.0.0.1", "93.184.216.34"]
    certificates = {
        "root": certificate("Root of the tests", root=True),
        "mirror": certificate("mirror", ["other.example", "Mirror.Example"]),
        "wildcard": certificate("wildcard", ["*.mirror.example"]),
        "wide": certificate("wide", ["*.example"]),
        "other": certificate("other", ["other.example", "mirror.example.evil.example"]),
        "address": certificate("address", addresses=peers),
        "other-and-address": certificate("other", ["other.example"], peers),
        "common-name": certificate("mirror.example"),
        "expired": certificate("expired", ["mirror.example"], end=MIDDLE),
        "future": certificate("future", ["mirror.example"], start=datetime.datetime(2049, 1, 1, tzinfo=UTC)),
        "self-signed": certificate("mirror.example", ["mirror.example"], own_issuer=True),
    }
    key = KEY.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8,
                            serialization.NoEncryption())
    lines = ["# Certificates of the tests' servers, as DER in base64. All but the root are for the one key.",
             f"# Made by scripts/egress-certificates.py with cryptography {cryptography.__version__}.",
             "", "NAME = key", f"KEY = {base64.b64encode(key).decode()}"]
    for name, der in certificates.items():
        lines += ["", f"NAME = {name}", f"CERTIFICATE = {base64.b64encode(der).decode()}"]
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text("\n".join(lines) + "\n")


main()
