"""The Key Manager API by hand: every microversion, every caller, what the clients do not let one say."""

from __future__ import annotations

import base64
import binascii
import threading
import urllib.parse

import requests

from image_api import expect

LATEST = "1.2"
HAS_CONSUMERS = "Secret cannot be deleted as it has consumers."


def id_of(reference: str) -> str:
    """The id at the end of a `secret_ref` and its like."""
    return reference.rstrip("/").rpartition("/")[2]


class KeyManagerAPI:
    """Key Manager v1 at `url` (without `/v1`) with one token. Threads may share it.

    Secrets are named by their ids. `version` is the microversion that a request asks for; None sends no header.
    """

    def __init__(self, url: str, token: str):
        self.url = url.rstrip("/")
        self.token = token
        self._local = threading.local()

    def request(self, method: str, path: str, version: str | None = LATEST, **options) -> requests.Response:
        """`path` is relative to the service, or a whole reference."""
        session = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
            session.trust_env = False  # no proxy for the loopback
        headers = {"X-Auth-Token": self.token}
        if version:
            headers["OpenStack-API-Version"] = f"key-manager {version}"
        headers |= options.pop("headers", {})
        url = path if path.startswith("http") else self.url + path
        return session.request(method, url, headers=headers, timeout=(10, 60), **options)

    def store(self, payload: bytes | str | None = None, **fields) -> str:
        """A new secret; its id. Bytes and text are sent as the clients send them."""
        if isinstance(payload, bytes):
            fields |= {"payload": base64.b64encode(payload).decode(), "payload_content_encoding": "base64",
                       "payload_content_type": "application/octet-stream"}
        elif payload is not None:
            fields |= {"payload": payload, "payload_content_type": "text/plain"}
        return id_of(expect(self.request("POST", "/v1/secrets", json=fields), 201).json()["secret_ref"])

    def reference(self, secret: str) -> str:
        return f"{self.url}/v1/secrets/{secret}"

    def show(self, secret: str, version: str | None = LATEST) -> dict:
        return expect(self.request("GET", f"/v1/secrets/{secret}", version), 200).json()

    def status(self, secret: str) -> int:
        """200 while the secret is there and this caller may know of it."""
        return self.request("GET", f"/v1/secrets/{secret}").status_code

    def payload(self, secret: str) -> bytes:
        answer = self.request("GET", f"/v1/secrets/{secret}/payload", headers={"Accept": "application/octet-stream"})
        return expect(answer, 200).content

    def list(self, **query) -> list[dict]:
        """Every page of a listing."""
        path = "/v1/secrets?" + urllib.parse.urlencode({"limit": 100} | query)
        found = []
        while path:
            page = expect(self.request("GET", path), 200).json()
            found += page["secrets"]
            path = page.get("next")
        return found

    def delete(self, secret: str, version: str | None = LATEST, force: str | None = None) -> requests.Response:
        query = f"?force={force}" if force is not None else ""
        return self.request("DELETE", f"/v1/secrets/{secret}{query}", version)

    def share(self, secret: str, *users: str) -> None:
        """Lets users of other projects read the secret."""
        expect(self.request("PUT", f"/v1/secrets/{secret}/acl", json={"read": {"users": list(users)}}), 200)

    def consumers(self, secret: str) -> list[tuple[str, str, str]]:
        """Who is registered, as the key manager says it: service, type and id of each resource."""
        path, found = f"/v1/secrets/{secret}/consumers?limit=100", []
        while path:
            page = expect(self.request("GET", path), 200).json()
            found += [(row["service"], row["resource_type"], row["resource_id"]) for row in page["consumers"]]
            path = page.get("next")
        return sorted(found)

    def register(self, secret: str, service: str, resource_type: str, resource_id: str) -> None:
        body = {"service": service, "resource_type": resource_type, "resource_id": resource_id}
        expect(self.request("POST", f"/v1/secrets/{secret}/consumers", json=body), 200)

    def create_key(self, bits: int = 256, **meta) -> str:
        """A new key, made by the key manager; its id."""
        order = {"type": "key", "meta": {"algorithm": "aes", "bit_length": bits, **meta}}
        reference = expect(self.request("POST", "/v1/orders", json=order), 202).json()["order_ref"]
        made = expect(self.request("GET", reference), 200).json()
        assert made["status"] == "ACTIVE", made
        expect(self.request("DELETE", reference), 204)
        return id_of(made["secret_ref"])

    def passphrase(self, secret: str) -> str:
        """What Cinder and Nova give to LUKS: the key's bytes in hexadecimal."""
        return binascii.hexlify(self.payload(secret)).decode()
