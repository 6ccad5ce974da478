"""Certificates and signatures as users of signed images make them (cursive's names for the kinds)."""

from __future__ import annotations

import base64
import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, padding, rsa
from cryptography.x509.oid import NameOID

KINDS = ("RSA-PSS", "DSA", "ECC_SECP384R1", "ECC_SECP521R1")
HASHES = {"SHA-224": hashes.SHA224(), "SHA-256": hashes.SHA256(), "SHA-384": hashes.SHA384(),
          "SHA-512": hashes.SHA512()}


def private_key(kind: str):
    """A key of one of the `KINDS`, or of RSA."""
    if kind.startswith("RSA"):
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    if kind == "DSA":
        return dsa.generate_private_key(2048)
    return ec.generate_private_key(getattr(ec, kind.removeprefix("ECC_"))())


def certificate(key, name: str = "interop", issuer: tuple | None = None, days: int = 30, is_authority: bool = False):
    """Of that key; signed by the certificate and key of the issuer, or by itself."""
    issuing, issuing_key = issuer or (None, key)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    start = now - datetime.timedelta(days=40)
    builder = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(issuing.subject if issuing else subject)
        .public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(start).not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True))
    if is_authority:
        builder = builder.add_extension(x509.KeyUsage(
            digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
            key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False),
            critical=True)
    return builder.sign(issuing_key, hashes.SHA256())


def pem_of(made: x509.Certificate) -> bytes:
    return made.public_bytes(serialization.Encoding.PEM)


def sign(key, kind: str, hash_name: str, data: bytes) -> str:
    """An `img_signature`."""
    method = HASHES[hash_name]
    if kind == "RSA-PSS":
        pss = padding.PSS(mgf=padding.MGF1(method), salt_length=padding.PSS.MAX_LENGTH)
        signature = key.sign(data, pss, method)
    elif kind == "DSA":
        signature = key.sign(data, method)
    else:
        signature = key.sign(data, ec.ECDSA(method))
    return base64.b64encode(signature).decode()
