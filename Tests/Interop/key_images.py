"""Images that name keys: what the scenarios of shared keys are made of (key-manager 6)."""

from __future__ import annotations

from ambrotype import eventually
from clouds import Cloud, unique
from image_api import ImageAPI, expect
from key_manager_api import KeyManagerAPI

# Each property that names a key, and the one that says what becomes of the key.
POLICIES = {
    "cinder_encryption_key_id": "cinder_encryption_key_deletion_policy",
    "os_encrypt_key_id": "os_encrypt_key_deletion_policy",
}
CINDER = "cinder_encryption_key_id"
CERTIFICATE = "img_signature_certificate_uuid"
PROPERTIES = (*POLICIES, "hw_ephemeral_encryption_secret_uuid", CERTIFICATE)
DELETES = "on_image_deletion"
SECONDS = 30  # within which a key has gone after its last image


def naming(key: str, via: str = CINDER, policy: str | None = DELETES) -> dict[str, str]:
    """The properties of an image that names the key."""
    properties = {via: key}
    if policy is not None and via in POLICIES:
        properties[POLICIES[via]] = policy
    return properties


def image_with(api: ImageAPI, key: str, via: str = CINDER, policy: str | None = DELETES, data: bytes | None = b"luks",
               **fields) -> str:
    """A new image that names the key; without data it stays `queued`."""
    return made(api, naming(key, via, policy), data, name=unique("keyed"), **fields)


def made(api: ImageAPI, properties: dict[str, str], data: bytes | None, **fields) -> str:
    """A new image. What has a part of a signature takes no data, so a certificate is named when the data is there."""
    late = {CERTIFICATE: properties[CERTIFICATE]} if data is not None and CERTIFICATE in properties else {}
    early = {name: value for name, value in properties.items() if name not in late}
    image = api.create_raw(**early, **fields)["id"]
    if data is not None:
        expect(api.upload(image, data), 204)
    for name, value in late.items():
        expect(api.patch(image, {"op": "add", "path": f"/{name}", "value": value}), 200)
    return image


def copy_of(api: ImageAPI, image: str, **fields) -> str:
    """Another image with the same properties and bytes."""
    shown = api.show(image)
    properties = {name: shown[name] for name in (*PROPERTIES, *POLICIES.values()) if name in shown}
    data = api.download(image).content if shown["status"] == "active" else None
    return made(api, properties, data, name=unique("copy"), **fields)


def delete(api: ImageAPI, *images: str) -> None:
    for image in images:
        expect(api.delete(image), 204)
        expect(api.request("GET", f"/v2/images/{image}"), 404)


def settle(cloud: Cloud) -> None:
    """Waits until what earlier deletions of images meant for their keys is done: makes an image with a key of
    its own, deletes it, and waits for that key to go."""
    key = cloud.keys.create_key(name=unique("canary"))
    delete(cloud.api, image_with(cloud.api, key, data=b"canary"))
    gone(cloud.keys, key)


def gone(keys: KeyManagerAPI, key: str, seconds: float = SECONDS) -> None:
    """Waits until the key is deleted, for everyone."""
    eventually(lambda: keys.status(key) == 404, seconds, f"key {key} is still there")
    expect(keys.request("GET", f"/v1/secrets/{key}/payload", headers={"Accept": "application/octet-stream"}), 404)
