"""Signed images whose certificates are in a key manager outside, with tokens of an Identity outside: a second server of ours
stands for both, as it speaks their APIs."""

from __future__ import annotations

import base64

import pytest
import yaml

from conftest import site_of
from image_api import ImageAPI, Pattern, expect
from signing import certificate, pem_of, private_key, sign

pytestmark = [pytest.mark.own_server, pytest.mark.own_identity]
DATA = Pattern(300_000, seed=8).bytes()


def test_a_certificate_is_read_there_as_whoever_uploads(start):
    outside = start(name="outside")
    clouds = yaml.safe_load((outside.data_dir / "clouds.yaml").read_text())["clouds"]
    server = start({
        "identity": {"mode": "keystone"},
        "keystone": {"auth_url": outside.url + "/identity/v3", "username": "admin", "project": "admin",
                     "password": clouds["ambrotype-admin"]["auth"]["password"]},
        "keys": {"mode": "barbican", "barbican_url": outside.url + "/key-manager"},
    }, name="inside")
    site = site_of(outside, outside.data_dir.with_suffix(".clients"))
    demo, stranger = site.demo, site.user("stranger")
    key = private_key("RSA")
    pem = pem_of(certificate(key))
    as_bytes = demo.keys.store(pem, secret_type="certificate")
    as_text = demo.keys.store(pem.decode(), secret_type="certificate")

    def image(cloud, stored: str) -> tuple[ImageAPI, str]:
        api = ImageAPI(server.url + "/image", cloud.sdk.auth_token)
        return api, api.create_raw(**{
            "img_signature": sign(key, "RSA-PSS", "SHA-256", DATA), "img_signature_hash_method": "SHA-256",
            "img_signature_key_type": "RSA-PSS", "img_signature_certificate_uuid": stored})["id"]

    for stored in (as_bytes, as_text):
        api, made = image(demo, stored)
        assert "Signature verification" in expect(api.upload(made, DATA[:-1] + b"?"), 400).text
        expect(api.upload(made, DATA), 204)
        record = expect(api.request("GET", f"/ambrotype/v1/images/{made}/provenance"), 200).json()
        assert record["signer"]["certificate_id"] == stored
        assert base64.b64decode(api.show(made)["img_signature"])
    api, made = image(stranger, as_bytes)
    assert "that you may read" in expect(api.upload(made, DATA), 400).text
    outside.stop()
    api, made = image(demo, as_bytes)
    expect(api.upload(made, DATA), 503)
    assert api.show(made)["status"] == "queued"
