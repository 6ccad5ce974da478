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
PROPERTIES = (*POLICIES, "hw_ephemeral_encryption_secret_uuid", "img_signature_certificate_uuid")
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
    image = api.create_raw(name=unique("keyed"), **naming(key, via, policy), **fields)["id"]
    if data is not None:
        expect(api.upload(image, data), 204)
    return image


def copy_of(api: ImageAPI, image: str, **fields) -> str:
    """Another image with the same properties and bytes."""
    shown = api.show(image)
    properties = {name: shown[name] for name in (*PROPERTIES, *POLICIES.values()) if name in shown}
    copy = api.create_raw(name=unique("copy"), **properties, **fields)["id"]
    if shown["status"] == "active":
        expect(api.upload(copy, api.download(image).content), 204)
    return copy


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
