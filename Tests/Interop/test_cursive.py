"""cursive, with which Glance and Nova check signed images: certificates come from the key manager."""

import base64
import uuid

import pytest
from castellan.common.objects.x_509 import X509
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cursive import certificate_utils, signature_utils
from cursive.exception import SignatureVerificationError
from oslo_config import cfg

from ambrotype import REPOSITORY
from castellan_services import NovaContext, configuration_file, glance_context, manager
from clouds import unique
from image_api import MIB, Pattern, expect
from key_manager_api import id_of
from signing import HASHES, KINDS, certificate, pem_of, private_key, sign

pytestmark = pytest.mark.usefixtures("key_manager")

DATA = Pattern(MIB + 17, seed=9).bytes()


@pytest.fixture(scope="module", autouse=True)
def configured(site, scratch):
    """cursive takes the configuration of the process, as Glance and Nova have one each."""
    file = configuration_file(scratch / "cursive.conf", site.demo)
    cfg.CONF(["--config-file", str(file)], project="interop")
    yield file
    cfg.CONF.reset()


@pytest.fixture(scope="module")
def signer(site):
    return site.user("signer")


@pytest.fixture(params=["glance", "nova"])
def context(request, signer):
    return {"glance": glance_context, "nova": NovaContext}[request.param](signer)


@pytest.fixture(scope="module")
def signed(signer):
    """A key of each kind and the id of its certificate, stored as bytes in PEM."""
    made = {}
    for kind in KINDS:
        key = private_key(kind)
        pem = pem_of(certificate(key))
        made[kind] = key, signer.keys.store(pem, secret_type="certificate", name=unique("signing"))
    return made


def verify(context, certificate_id: str, kind: str, hash_name: str, signature: str, data: bytes) -> None:
    verifier = signature_utils.get_verifier(
        context, img_signature_certificate_uuid=certificate_id, img_signature_hash_method=hash_name,
        img_signature=signature, img_signature_key_type=kind)
    for start in range(0, len(data), 65_536):  # as Glance does, piece by piece
        verifier.update(data[start:start + 65_536])
    verifier.verify()


@pytest.mark.parametrize("kind", KINDS)
def test_a_signature_of_each_kind_is_verified(context, signed, kind):
    key, stored = signed[kind]
    signature = sign(key, kind, "SHA-256", DATA)
    verify(context, stored, kind, "SHA-256", signature, DATA)
    with pytest.raises(InvalidSignature):
        verify(context, stored, kind, "SHA-256", signature, DATA[:-1] + b"?")


@pytest.mark.parametrize("hash_name", sorted(HASHES))
def test_every_hash(signer, signed, hash_name):
    key, stored = signed["RSA-PSS"]
    verify(NovaContext(signer), stored, "RSA-PSS", hash_name, sign(key, "RSA-PSS", hash_name, DATA), DATA)


def test_the_certificate_is_the_one_stored(context, signer):
    made = certificate(private_key("RSA"))
    stored = signer.keys.store(pem_of(made), secret_type="certificate", name=unique("exact"))
    assert signature_utils.get_certificate(context, stored) == made


def test_stored_as_the_guide_to_signed_images_says(signer, context, tmp_path):
    """`--payload "$(base64 certificate)"`: base64 with a newline after every 76 characters."""
    key = private_key("RSA")
    made = certificate(key)
    wrapped = base64.encodebytes(pem_of(made)).decode().rstrip("\n")
    assert "\n" in wrapped
    stored = signer.openstack(
        "secret", "store", "--name", unique("guide"), "--algorithm", "RSA", "--secret-type", "certificate",
        "--payload-content-type", "application/octet-stream", "--payload-content-encoding", "base64",
        "--payload", wrapped)
    secret = id_of(stored["Secret href"])
    assert signature_utils.get_certificate(context, secret) == made
    verify(context, secret, "RSA-PSS", "SHA-512", sign(key, "RSA-PSS", "SHA-512", DATA), DATA)


def test_stored_by_castellan(signer, context, configured):
    made = certificate(private_key("RSA"))
    der = made.public_bytes(serialization.Encoding.DER)
    stored = manager(configured).store(NovaContext(signer), X509(der, name=unique("castellan")))
    assert signature_utils.get_certificate(context, stored) == made


def test_a_chain_is_verified_against_trusted_certificates(signer, context):
    """Nova's check of `trusted_image_certificates`: each link is a secret of its own."""
    root_key, signing_key = private_key("RSA"), private_key("RSA")
    root = certificate(root_key, "root", is_authority=True)
    leaf = certificate(signing_key, "leaf", issuer=(root, root_key))
    other = certificate(private_key("RSA"), "other", is_authority=True)
    ids = [signer.keys.store(pem_of(each), secret_type="certificate", name=unique("chain"))
           for each in (leaf, root, other)]
    certificate_utils.verify_certificate(context, ids[0], [ids[2], ids[1]])
    with pytest.raises(SignatureVerificationError):
        certificate_utils.verify_certificate(context, ids[0], [ids[2]])


def test_certificates_that_cannot_be_had(context, site, signed):
    with pytest.raises(SignatureVerificationError, match="Certificate not found"):
        signature_utils.get_certificate(context, str(uuid.uuid4()))
    stranger = NovaContext(site.user("unsigned"))
    with pytest.raises(SignatureVerificationError, match="Unable to retrieve"):
        signature_utils.get_certificate(stranger, signed["RSA-PSS"][1])


def test_a_certificate_shared_with_another_project(signer, site):
    made = certificate(private_key("RSA"))
    stored = signer.keys.store(pem_of(made), secret_type="certificate", name=unique("shared"))
    other = site.user("verifier")
    signer.keys.share(stored, other.user_id)
    assert signature_utils.get_certificate(NovaContext(other), stored) == made


def test_an_image_of_the_service_is_verified_by_its_own_properties(signer, context, signed):
    """Nova's whole way: the properties from the image, the certificate from the key manager, then the bytes."""
    key, stored = signed["RSA-PSS"]
    properties = {
        "img_signature": sign(key, "RSA-PSS", "SHA-256", DATA), "img_signature_hash_method": "SHA-256",
        "img_signature_key_type": "RSA-PSS", "img_signature_certificate_uuid": stored}
    image = signer.api.create_raw(name=unique("signed"), **properties)["id"]
    expect(signer.api.upload(image, DATA), 204)
    shown = signer.api.show(image)
    assert signature_utils.should_create_verifier(shown)
    verifier = signature_utils.get_verifier(context, *(shown[name] for name in (
        "img_signature_certificate_uuid", "img_signature_hash_method", "img_signature", "img_signature_key_type")))
    verifier.update(signer.api.download(image).content)
    verifier.verify()
    expect(signer.api.delete(image), 204)


def vectors(name: str) -> list[dict[str, str]]:
    """The records of a file of Tests/Vectors/signatures: `NAME = value` lines, with empty lines in between."""
    text = (REPOSITORY / "Tests/Vectors/signatures" / name).read_text()
    blocks = ["\n".join(line for line in block.splitlines() if not line.startswith("#")) for block in text.split("\n\n")]
    return [dict(line.split(" = ", 1) for line in block.splitlines()) for block in blocks if block.strip()]


def test_cursive_agrees_on_every_vector(signer):
    """On those of the kinds that it can verify: its library of cryptography has no SECT curves any more."""
    stored = {}
    agreed = 0
    for record in vectors("signatures.txt"):
        kind, certificate_name = record["TYPE"], record["CERTIFICATE"]
        if "SECT" in kind:
            continue
        if certificate_name not in stored:
            [der] = [one["CERTIFICATE"] for one in vectors("certificates.txt") if one["NAME"] == certificate_name]
            # castellan takes PEM and nothing else from a Barbican.
            pem = pem_of(x509.load_der_x509_certificate(base64.b64decode(der)))
            stored[certificate_name] = signer.keys.store(pem, secret_type="certificate", name=unique("vector"))
        arguments = NovaContext(signer), stored[certificate_name], kind, record["HASH"], record["SIGNATURE"]
        data = bytes.fromhex(record["DATA"])
        verify(*arguments, data)
        with pytest.raises(InvalidSignature):
            verify(*arguments, data[:-1] + bytes([data[-1] ^ 1]))
        agreed += 1
    assert agreed >= 40
