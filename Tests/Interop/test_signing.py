"""Signed images, with the tools an operator has: docs/signing.md step by step, and every way it can fail."""

from __future__ import annotations

import base64
import html
import os
import uuid

import pytest

from conftest import site_of
from image_api import MIB, Pattern, expect
from pki import AUTHORITY, SIGNER, Certificate

pytestmark = [pytest.mark.own_server, pytest.mark.own_identity]

PAST, FUTURE = "20200101000000Z", "20990101000000Z"
DATA = Pattern(3 * MIB + 11, seed=5).bytes()


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    """Everybody who ever signed anything, and the file of those the operator trusts."""
    directory = tmp_path_factory.mktemp("pki")

    def made(name, *arguments, **options):
        return Certificate(directory, name, *arguments, **options)

    root = made("Root CA", extensions=AUTHORITY)
    intermediate = made("Intermediate CA", root, AUTHORITY)
    short = made("Short CA", extensions=AUTHORITY.replace("CA:true", "CA:true,pathlen:0"))
    below = made("Below Short CA", short, AUTHORITY)
    plain = made("No CA", root, SIGNER)
    unsigned = made("No keyCertSign", root, "basicConstraints=critical,CA:true\nkeyUsage=critical,cRLSign")
    stranger = made("Stranger CA", extensions=AUTHORITY)
    old = made("Old CA", root, AUTHORITY, start=PAST, end="20210101000000Z")
    people = {
        "good": made("signer", intermediate),
        "rsa": made("rsa signer", intermediate, kind="RSA-PSS"),
        "dsa": made("dsa signer", intermediate, kind="DSA"),
        "expired": made("expired", intermediate, start=PAST, end="20210101000000Z"),
        "early": made("early", intermediate, start=FUTURE, end="21000101000000Z"),
        "wrong-ca": made("wrong", stranger),
        "no-ca": made("of no CA", plain),
        "path-length": made("too far down", below),
        "key-usage": made("of no keyCertSign", unsigned),
        "old-issuer": made("of an old CA", old),
    }
    trusted = directory / "trusted.pem"
    trusted.write_bytes(b"".join(c.pem for c in [root, intermediate, short, below, plain, unsigned, old]))
    return people, trusted, directory


@pytest.fixture(scope="module")
def cloud(pki, scratch):
    """A server that takes trusted signers only."""
    from conftest import prepared, servers
    data_dir = scratch / f"signing-{uuid.uuid4().hex[:8]}"
    data_dir.mkdir()
    server = prepared(data_dir, {"image": {"verification": {
        "chains": "require", "trusted_certificates": str(pki[1])}}})
    with server:
        yield server, site_of(server, data_dir.with_suffix(".clients"))
    servers.remove(server)


@pytest.fixture(scope="module")
def demo(cloud):
    return cloud[1].demo


def properties(demo, person: Certificate, kind: str, data_file, hash_name: str = "SHA-512", **options) -> dict:
    certificate = demo.keys.store(person.der, secret_type="certificate", name=person.name)
    return {
        "img_signature": base64.b64encode(person.sign(data_file, hash_name, **options)).decode(),
        "img_signature_hash_method": hash_name, "img_signature_key_type": kind,
        "img_signature_certificate_uuid": certificate,
    }


@pytest.fixture(scope="module")
def data_file(pki):
    file = pki[2] / "image.raw"
    file.write_bytes(DATA)
    return file


def nothing_is_left(demo, cloud, image: str) -> None:
    server, site = cloud
    shown = demo.api.show(image)
    assert shown["status"] == "queued" and shown["size"] is None and shown["checksum"] is None
    assert demo.api.download(image).status_code == 204
    usage = site.admin.api.request("GET", f"/ambrotype/v1/usage?project={demo.project_id}").json()["usage"]
    assert all(one["reserved_bytes"] == 0 for one in usage if "reserved_bytes" in one), usage


@pytest.mark.parametrize("who, kind", [("good", "ECC_SECP384R1"), ("rsa", "RSA-PSS"), ("dsa", "DSA")])
def test_a_trusted_signature_is_taken_and_recorded(cloud, demo, pki, data_file, who, kind):
    image = demo.api.create_raw(name="signed", **properties(demo, pki[0][who], kind, data_file))["id"]
    expect(demo.api.upload(image, DATA), 204)
    record = expect(demo.api.request("GET", f"/ambrotype/v1/images/{image}/provenance"), 200).json()
    shown = demo.api.show(image)
    assert record["digest"] == {"algorithm": "sha512", "value": shown["os_hash_value"]}
    assert record["seal"] == "intact" and record["flagged"] is None
    assert record["signer"]["subject"] == f"CN={pki[0][who].name}"
    assert record["signer"]["chain"]["result"] == "trusted"
    assert record["signer"]["chain"]["certificates"][-1] == "CN=Root CA"
    assert demo.api.download(image).content == DATA


@pytest.mark.parametrize("salt", [20, 64, -3])
def test_any_salt_length_is_taken(demo, pki, data_file, salt):
    given = properties(demo, pki[0]["rsa"], "RSA-PSS", data_file, "SHA-256", salt=salt)
    image = demo.api.create_raw(**given)["id"]
    expect(demo.api.upload(image, DATA), 204)


@pytest.mark.parametrize("who, message", [
    ("expired", 'the signing certificate "CN=expired" expired on'),
    ("early", 'the signing certificate "CN=early" is not valid before'),
    ("wrong-ca", 'no trusted certificate is "CN=Stranger CA"'),
    ("no-ca", '"CN=No CA" is not a certificate authority'),
    ("path-length", '"CN=Short CA" allows a path of 0'),
    ("key-usage", 'the key usage of "CN=No keyCertSign"'),
    ("old-issuer", 'the authority "CN=Old CA" expired on'),
])
def test_a_signer_that_is_not_trusted_is_refused_by_name(cloud, demo, pki, data_file, who, message):
    image = demo.api.create_raw(**properties(demo, pki[0][who], "ECC_SECP384R1", data_file))["id"]
    answer = expect(demo.api.upload(image, DATA), 400)
    text = html.unescape(answer.text)
    assert "certificate validation failed" in text and message in text, text
    nothing_is_left(demo, cloud, image)


def test_other_bytes_than_those_signed_leave_nothing_and_the_right_ones_may_follow(cloud, demo, pki, data_file):
    image = demo.api.create_raw(**properties(demo, pki[0]["good"], "ECC_SECP384R1", data_file))["id"]
    for position in (0, len(DATA) // 2, len(DATA) - 1):
        changed = bytearray(DATA)
        changed[position] ^= 1
        answer = expect(demo.api.upload(image, bytes(changed)), 400)
        assert "Signature verification for the image failed" in answer.text
        nothing_is_left(demo, cloud, image)
    expect(demo.api.upload(image, DATA), 204)


@pytest.mark.parametrize("name", [
    "img_signature", "img_signature_hash_method", "img_signature_key_type", "img_signature_certificate_uuid"])
def test_a_missing_property_is_named(cloud, demo, pki, data_file, name):
    given = properties(demo, pki[0]["good"], "ECC_SECP384R1", data_file)
    del given[name]
    image = demo.api.create_raw(**given)["id"]
    answer = expect(demo.api.upload(image, DATA), 400)
    assert f"but not {name};" in answer.text
    nothing_is_left(demo, cloud, image)


@pytest.mark.parametrize("change", [
    {"img_signature": "?"}, {"img_signature": ""}, {"img_signature": "QUFB"},
    {"img_signature_hash_method": "MD5"}, {"img_signature_hash_method": "sha-256"},
    {"img_signature_key_type": "ECC_SECP256R1"}, {"img_signature_key_type": "RSA-PSS"},
    {"img_signature_certificate_uuid": str(uuid.uuid4())}, {"img_signature_certificate_uuid": "../../etc/passwd"},
])
def test_a_property_that_is_wrong_is_refused(cloud, demo, pki, data_file, change):
    given = properties(demo, pki[0]["good"], "ECC_SECP384R1", data_file) | change
    image = demo.api.create_raw(**given)["id"]
    expect(demo.api.upload(image, DATA), 400)
    nothing_is_left(demo, cloud, image)


@pytest.mark.parametrize("payload", [b"", b"no certificate", b"\x30\x82\xff\xff" + b"A" * 100, os.urandom(3000)])
def test_what_is_stored_as_certificate_must_be_one(cloud, demo, pki, data_file, payload):
    given = properties(demo, pki[0]["good"], "ECC_SECP384R1", data_file)
    given["img_signature_certificate_uuid"] = demo.keys.store(payload or b"-", secret_type="opaque")
    image = demo.api.create_raw(**given)["id"]
    answer = expect(demo.api.upload(image, DATA), 400)
    assert "certificate" in answer.text
    nothing_is_left(demo, cloud, image)


def test_nobody_signs_with_a_certificate_that_they_may_not_read(cloud, pki, data_file):
    site = cloud[1]
    stranger = site.user("stranger")
    given = properties(site.demo, pki[0]["good"], "ECC_SECP384R1", data_file)
    image = stranger.api.create_raw(**given)["id"]
    answer = expect(stranger.api.upload(image, DATA), 400)
    assert "that you may read" in answer.text


def stored_file(server, image_size: int):
    return [file for file in (server.data_dir / "stores/local").rglob("*")
            if file.is_file() and file.stat().st_size == image_size]


def test_bytes_that_changed_in_the_store_never_arrive_whole(cloud, pki, demo):
    server, site = cloud
    data = Pattern(5 * MIB + 13, seed=77).bytes()
    file = pki[2] / "changed.raw"
    file.write_bytes(data)
    image = demo.api.create_raw(**properties(demo, pki[0]["good"], "ECC_SECP384R1", file))["id"]
    expect(demo.api.upload(image, data), 204)
    [stored] = stored_file(server, len(data))
    stored.chmod(0o600)
    with open(stored, "r+b") as blob:
        blob.seek(1_000_000)
        blob.write(bytes([data[1_000_000] ^ 1]))
    with pytest.raises(Exception) as broken:
        demo.api.download(image)
    assert "IncompleteRead" in repr(broken.value) or "ChunkedEncodingError" in repr(broken.value) or \
        "Connection" in repr(broken.value)
    record = demo.api.request("GET", f"/ambrotype/v1/images/{image}/provenance").json()
    assert record["flagged"]["count"] == 1
    flagged = site.admin.api.request("GET", "/ambrotype/v1/flagged-images").json()["flagged_images"]
    assert image in [one["image_id"] for one in flagged]
    expect(demo.api.request("GET", "/ambrotype/v1/flagged-images"), 403)
    with open(stored, "r+b") as blob:
        blob.seek(1_000_000)
        blob.write(data[1_000_000:1_000_001])
    assert demo.api.download(image).content == data
    expect(site.admin.api.request("DELETE", f"/ambrotype/v1/flagged-images/{image}"), 204)
    assert demo.api.request("GET", f"/ambrotype/v1/images/{image}/provenance").json()["flagged"] is None


def test_a_thousand_bad_signatures_leave_nothing(cloud, demo, pki, data_file, measured):
    server, site = cloud
    person = site.user("attacker")
    image = person.api.create_raw(**properties(person, pki[0]["good"], "ECC_SECP384R1", data_file))["id"]
    wrong = DATA[:200_000]

    def resident() -> int:
        status = open(f"/proc/{server.process.pid}/status").read()
        return int(status.split("VmRSS:")[1].split()[0]) // 1024

    def attack(count: int) -> None:
        for _ in range(count):
            expect(person.api.upload(image, wrong), 400)

    files_before = len(list((server.data_dir / "stores/local").rglob("*")))
    attack(200)  # warms every cache and pool
    before = resident()
    attack(1000)
    after = resident()
    measured("1,000 uploads with bad signatures", f"resident {before} MiB before, {after} MiB after")
    assert after - before <= 16
    shown = person.api.show(image)
    assert shown["status"] == "queued" and shown["size"] is None
    waiting = site.admin.api.request("GET", "/ambrotype/v1/deletions").json()["total"]
    for _ in range(100):
        if waiting["count"] == 0:
            break
        waiting = site.admin.api.request("GET", "/ambrotype/v1/deletions").json()["total"]
    assert waiting["count"] == 0
    usage = site.admin.api.request("GET", f"/ambrotype/v1/usage?project={person.project_id}").json()["usage"]
    assert all(value == 0 for one in usage for key, value in one.items() if key.endswith("_bytes")), usage
    assert len(list((server.data_dir / "stores/local").rglob("*"))) <= files_before + 1
