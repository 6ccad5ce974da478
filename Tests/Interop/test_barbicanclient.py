"""python-barbicanclient, the library; the command line that is built on it is in test_openstack_secrets.py."""

import datetime
import uuid

import pytest
import requests
from barbicanclient import exceptions
from barbicanclient.base import ImmutableException
from barbicanclient.v1.containers import CertificateContainer, RSAContainer
from barbicanclient.v1.orders import AsymmetricOrder, KeyOrder
from cryptography.hazmat.primitives import serialization

from clouds import unique
from key_manager_api import HAS_CONSUMERS, id_of

pytestmark = pytest.mark.usefixtures("key_manager")

RESOURCE = str(uuid.uuid4())
VOLUME = ("volume", "volume", RESOURCE)


@pytest.fixture(scope="module")
def user(site):
    """Alone in a project: what is counted and listed is this module's."""
    return site.user("barbican")


@pytest.fixture(scope="module")
def client(user):
    return user.barbican_client()


@pytest.fixture(scope="module")
def stranger(site):
    return site.user("stranger").barbican_client()


@pytest.fixture
def secret(client):
    """A stored secret; its reference."""
    made = client.secrets.create(name=unique("secret"), payload="the payload", algorithm="aes", bit_length=256,
                                 mode="cbc", secret_type="symmetric")
    yield made.store()
    try:
        client.secrets.delete(made.secret_ref, force=True)
    except exceptions.HTTPClientError as error:
        assert error.status_code == 404


def fails(status: int, call, *arguments, **options) -> str:
    """The call is refused with that status; what the client then says."""
    with pytest.raises(exceptions.HTTPClientError) as refused:
        call(*arguments, **options)
    assert refused.value.status_code == status, refused.value
    return str(refused.value)


# Versions


def test_the_newest_version_both_know_is_negotiated(client, user):
    assert client.client.microversion == "1.2"
    for version in ("1.0", "1.1", "1.2"):
        older = user.barbican_client(version)
        assert older.client.microversion == version
        assert older.secrets.list(limit=1) is not None
    with pytest.raises((ValueError, exceptions.UnsupportedVersion)):
        user.barbican_client("1.3")


def test_consumers_need_version_1_1(user, secret):
    with pytest.raises(NotImplementedError):
        user.barbican_client("1.0").secrets.register_consumer(secret, *VOLUME)


# Secrets


@pytest.mark.parametrize("payload, content_type", [
    ("text with ünïcödé and\nnew lines", "text/plain"),
    (bytes(range(256)), "application/octet-stream"),
    (b"plain bytes", "application/octet-stream"),
    ("x" * 20_000, "text/plain"),
    (b"\x00" * 15_000, "application/octet-stream"),
], ids=["text", "every byte", "bytes", "largest text", "largest bytes"])
def test_payloads_come_back_as_they_were(client, payload, content_type):
    made = client.secrets.create(name=unique("payload"), payload=payload)
    reference = made.store()
    found = client.secrets.get(reference)
    assert found.content_types == {"default": content_type}
    assert found.payload == payload
    found.delete()


def test_every_attribute_is_kept(client):
    name = unique("attributes")
    expiration = datetime.datetime(2040, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
    made = client.secrets.create(name=name, payload=b"sixteen bytes...", algorithm="AES", bit_length=128, mode="CTR",
                                 secret_type="symmetric", expiration=expiration.isoformat())
    reference = made.store()
    with pytest.raises(ImmutableException):
        made.name = "other"
    found = client.secrets.get(reference)
    assert (found.name, found.algorithm, found.bit_length, found.mode, found.secret_type, found.status) == (
        name, "AES", 128, "CTR", "symmetric", "ACTIVE")
    assert found.expiration == expiration
    assert abs(found.created - datetime.datetime.now(datetime.timezone.utc)) < datetime.timedelta(minutes=1)
    assert found.updated >= found.created
    assert found.consumers == []
    found.delete()
    with pytest.raises(LookupError):
        found.delete()


def test_by_reference_or_by_id(client, secret):
    for known_as in (secret, secret + "/", id_of(secret)):
        assert client.secrets.get(known_as).payload == "the payload"


def test_two_steps(client):
    made = client.secrets.create(name=unique("two-steps"))
    reference = made.store()
    empty = client.secrets.get(reference)
    assert empty.content_types is None
    assert empty.payload is None
    client.secrets.update(reference, b"\x00\xff\x00")
    found = client.secrets.get(reference)
    assert (found.content_types, found.payload) == ({"default": "application/octet-stream"}, b"\x00\xff\x00")
    assert "already has data" in fails(409, client.secrets.update, reference, "again")
    assert client.secrets.get(reference).payload == b"\x00\xff\x00"

    text = client.secrets.create(name=unique("two-steps"))
    text.store()
    text.payload = "ünïcödé"
    text.update()
    assert client.secrets.get(text.secret_ref).payload == "ünïcödé"
    for each in (reference, text.secret_ref):
        client.secrets.delete(each)


def test_what_the_client_itself_refuses(client, secret):
    with pytest.raises(exceptions.PayloadException):
        client.secrets.create(payload="").store()
    with pytest.raises(exceptions.PayloadException):
        client.secrets.create(payload=5).store()
    with pytest.raises(exceptions.PayloadException):
        client.secrets.update(secret, None)
    with pytest.raises(ValueError, match="incorrectly specified"):
        client.secrets.get("no id")
    with pytest.raises(LookupError):
        client.secrets.create(payload="x").delete()


@pytest.mark.parametrize("fields, says", [
    ({"payload": " "}, "payload"),
    ({"name": "x" * 256}, "name"),
    ({"bit_length": 0}, "bit_length"),
    ({"bit_length": -8}, "bit_length"),
    ({"bit_length": 32_768}, "bit_length"),
    ({"bit_length": "256"}, "bit_length"),
    ({"algorithm": 5}, "algorithm"),
    ({"mode": 5}, "mode"),
    ({"secret_type": "nonsense"}, "secret_type"),
    ({"payload": "x", "payload_content_type": "text/html"}, "payload_content_type"),
    ({"payload": "eA==", "payload_content_type": "application/octet-stream"}, "payload_content_encoding"),
    ({"payload": "eA", "payload_content_type": "application/octet-stream", "payload_content_encoding": "base64"},
     "payload"),
    ({"payload": "eA==", "payload_content_type": "application/octet-stream", "payload_content_encoding": "gzip"},
     "payload_content_encoding"),
    ({"payload": "x", "payload_content_type": "text/plain", "payload_content_encoding": "base64"},
     "payload_content_encoding"),
    ({"expiration": "2001-01-01T00:00:00"}, "expiration"),
], ids=lambda value: "-".join(value) if isinstance(value, dict) else "")
def test_what_cannot_be_stored(client, fields, says):
    before = client.secrets.total()
    said = fails(400, lambda: client.secrets.create(**fields).store())
    assert said.startswith("Bad Request: ") and says in said
    assert client.secrets.total() == before


def test_too_large(client):
    assert "Request Entity Too Large" in fails(413, client.secrets.create(payload="x" * 20_001).store)
    empty = client.secrets.create(name=unique("empty")).store()
    assert "Request Entity Too Large" in fails(413, client.secrets.update, empty, "x" * 20_001)
    assert client.secrets.get(empty).payload is None
    client.secrets.delete(empty)


def test_what_is_not_there(client):
    nobody = str(uuid.uuid4())
    for call in (lambda: client.secrets.get(nobody).name, lambda: client.secrets.delete(nobody),
                 lambda: client.secrets.update(nobody, "x"), lambda: client.secrets.list_consumers(nobody),
                 lambda: client.secrets.register_consumer(nobody, *VOLUME),
                 lambda: client.secrets.remove_consumer(nobody, *VOLUME),
                 lambda: client.secrets.get_secret_metadata(nobody),
                 lambda: client.containers.get(nobody), lambda: client.containers.delete(nobody),
                 lambda: client.orders.get(nobody), lambda: client.orders.delete(nobody)):
        assert fails(404, call).startswith("Not Found")


def test_another_projects_secret(client, stranger, secret):
    for call in (lambda: stranger.secrets.get(secret).name, lambda: stranger.secrets.delete(secret),
                 lambda: stranger.secrets.update(secret, "x"), lambda: stranger.secrets.list_consumers(secret),
                 lambda: stranger.secrets.register_consumer(secret, *VOLUME),
                 lambda: stranger.secrets.get_secret_metadata(secret), lambda: stranger.acls.get(secret).read):
        assert fails(403, call).startswith("Forbidden: ")
    assert client.secrets.get(secret).payload == "the payload"


@pytest.mark.own_keys  # keystonemiddleware's 401 has no title: the client raises KeyError
def test_a_token_that_is_none(user, key_manager):
    class Forged:
        def __init__(self, real):
            self.real = real

        def __getattr__(self, name):
            return getattr(self.real, name)

        def request(self, url, method, **options):
            return self.real.request(url, method, **options | {
                "headers": dict(options.get("headers", {})) | {"X-Auth-Token": "forged"}, "authenticated": False})

    client = user.barbican_client()
    client.client.session = Forged(client.client.session)
    with pytest.raises(exceptions.HTTPAuthError, match="Unauthorized"):
        client.secrets.list()
    answer = requests.get(key_manager + "/v1/secrets", timeout=30)
    assert answer.status_code == 401 and answer.headers["WWW-Authenticate"].startswith("Keystone uri=")


# Lists


@pytest.fixture(scope="module")
def shelf(site):
    """Twelve secrets of different kinds in a project of their own."""
    client = site.user("shelf").barbican_client()
    for number in range(12):
        client.secrets.create(
            name=f"interop-shelf-{number:02}", payload=f"payload {number}", algorithm=("aes", "rsa", "des")[number % 3],
            bit_length=128 * (1 + number % 2), mode=("cbc", "xts")[number % 2],
            secret_type=("symmetric", "passphrase", "opaque")[number % 3],
            expiration=f"2041-01-{number + 1:02}T00:00:00").store()
    return client


def names(found) -> list[int]:
    return [int(secret.name[-2:]) for secret in found]


def test_pages(shelf):
    assert shelf.secrets.total() == 12
    assert len(shelf.secrets.list()) == 10
    assert sorted(names(shelf.secrets.list(limit=100))) == list(range(12))
    assert sorted(names(shelf.secrets.list()) + names(shelf.secrets.list(offset=10))) == list(range(12))
    assert shelf.secrets.list(offset=12) == []
    assert shelf.secrets.list(limit=5)[0].payload.startswith("payload ")


@pytest.mark.parametrize("query, wanted", [
    ({"name": "interop-shelf-03"}, [3]),
    ({"name": "interop-shelf"}, []),
    ({"name": "%-03"}, [3]),
    ({"algorithm": "aes"}, [0, 3, 6, 9]),
    ({"mode": "xts"}, [1, 3, 5, 7, 9, 11]),
    ({"bits": 256}, [1, 3, 5, 7, 9, 11]),
    ({"secret_type": "passphrase"}, [1, 4, 7, 10]),
    ({"secret_type": "certificate"}, []),
    ({"algorithm": "aes", "mode": "xts"}, [3, 9]),
    ({"expiration": "lt:2041-01-03T00:00:00"}, [0, 1]),
    ({"expiration": "lte:2041-01-03"}, [0, 1, 2]),
    ({"expiration": "gt:2041-01-11"}, [11]),
    ({"expiration": "gte:2041-01-03,lt:2041-01-05"}, [2, 3]),
    ({"expiration": "2041-01-07T00:00:00"}, [6]),
    ({"created": "gt:2020-01-01T00:00:00"}, list(range(12))),
    ({"created": "lt:2020-01-01T00:00:00"}, []),
    ({"updated": "gt:2020-01-01T00:00:00"}, list(range(12))),
])
def test_filters(shelf, query, wanted):
    assert sorted(names(shelf.secrets.list(limit=100, **query))) == wanted


@pytest.mark.parametrize("sort, wanted", [
    ("name", list(range(12))),
    ("name:desc", list(range(11, -1, -1))),
    ("expiration:desc", list(range(11, -1, -1))),
    ("mode:asc,name:desc", [10, 8, 6, 4, 2, 0, 11, 9, 7, 5, 3, 1]),
    ("secret_type:desc,name:asc", [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]),
])
def test_sorting(shelf, sort, wanted):
    assert names(shelf.secrets.list(limit=100, sort=sort)) == wanted
    assert names(shelf.secrets.list(limit=5, offset=3, sort=sort)) == wanted[3:8]


@pytest.mark.parametrize("query", [
    {"sort": "nonsense"}, {"sort": "name:up"}, {"created": "nonsense"}, {"expiration": "ne:2041-01-01"},
])
def test_bad_filters(shelf, query):
    assert "Bad Request" in fails(400, shelf.secrets.list, **query)


# Metadata


def test_metadata(client, secret):
    assert client.secrets.get_secret_metadata(secret) == {"metadata": {}}
    said = client.secrets.set_secret_metadata(secret, {"Geo": "here", "a-b_c": "ü"})
    assert id_of(said["metadata_ref"].removesuffix("/metadata")) == id_of(secret)
    assert client.secrets.get_secret_metadata(secret) == {"metadata": {"geo": "here", "a-b_c": "ü"}}
    assert client.secrets.get_secret_metadata(secret, "geo") == {"key": "geo", "value": "here"}
    client.secrets.set_secret_metadata(secret, {"other": "there"})
    assert client.secrets.get_secret_metadata(secret) == {"metadata": {"other": "there"}}
    fails(404, client.secrets.get_secret_metadata, secret, "geo")
    fails(400, client.secrets.set_secret_metadata, secret, {"with a space": "x"})
    fails(400, client.secrets.set_secret_metadata, secret, {"number": 5})
    assert client.secrets.get_secret_metadata(secret) == {"metadata": {"other": "there"}}


# Access lists


def test_an_access_list(client, user, site, secret):
    friend = site.user("friend")
    reading = friend.barbican_client()
    acl = client.acls.get(secret)
    assert (acl.read.project_access, acl.read.users or []) == (True, [])
    fails(403, lambda: reading.secrets.get(secret).payload)

    acl.read.users = [friend.user_id]
    assert acl.submit() == secret + "/acl"
    acl = client.acls.get(secret)
    assert (acl.read.users, acl.read.project_access) == ([friend.user_id], True)
    assert acl.read.created and acl.read.updated
    assert reading.secrets.get(secret).payload == "the payload"
    fails(403, reading.secrets.delete, secret)
    fails(403, reading.acls.create(secret, users=["me"]).submit)

    acl.read.users.remove(friend.user_id)
    acl.submit()
    fails(403, lambda: reading.secrets.get(secret).payload)
    client.acls.get(secret).read.remove()
    acl = client.acls.get(secret)
    assert (acl.read.project_access, acl.read.users or []) == (True, [])


def test_a_private_secret(site, user):
    """Only for its creator, the project's administrators, and whom the list names."""
    colleague = site.user("colleague", project=user.project_id)
    manager = site.user("manager", role="admin", project=user.project_id)
    made = user.barbican_client().secrets.create(name=unique("private"), payload="private")
    made.store()
    client = colleague.barbican_client()
    assert client.secrets.get(made.secret_ref).payload == "private"
    user.barbican_client().acls.create(made.secret_ref, project_access=False).submit()
    for call in (lambda: client.secrets.get(made.secret_ref).payload, lambda: client.secrets.delete(made.secret_ref),
                 lambda: client.acls.get(made.secret_ref).read):
        assert "Forbidden" in fails(403, call)
    for allowed in (user, manager):
        assert allowed.barbican_client().secrets.get(made.secret_ref).payload == "private"
    manager.barbican_client().acls.create(made.secret_ref, users=[colleague.user_id], project_access=False).submit()
    assert client.secrets.get(made.secret_ref).payload == "private"
    fails(403, client.secrets.delete, made.secret_ref)
    manager.barbican_client().secrets.delete(made.secret_ref)


def test_a_containers_access_list(client, site, secret):
    friend = site.user("friend")
    made = client.containers.create(name=unique("listed"), secrets={"one": client.secrets.get(secret)})
    container = made.store()
    fails(403, friend.barbican_client().containers.get, container)
    client.acls.create(container, users=[friend.user_id]).submit()
    assert friend.barbican_client().containers.get(container).name == made.name
    client.acls.get(container).remove()
    fails(403, friend.barbican_client().containers.get, container)
    client.containers.delete(container)


# Consumers


def test_consumers_are_registered_once_and_listed(client, secret):
    assert client.secrets.list_consumers(secret) == []
    registered = client.secrets.register_consumer(secret, *VOLUME)
    client.secrets.register_consumer(secret, *VOLUME)
    client.secrets.register_consumer(secret, "image", "image", RESOURCE)
    assert registered.secret_ref == secret
    found = client.secrets.list_consumers(secret)
    assert sorted((c.service, c.resource_type, c.resource_id) for c in found) == [("image", "image", RESOURCE), VOLUME]
    assert {c.status for c in found} == {"ACTIVE"} and all(c.created for c in found)
    assert sorted(c["service"] for c in client.secrets.get(secret).consumers) == ["image", "volume"]
    client.secrets.remove_consumer(secret, *VOLUME)
    assert "Consumer not found" in fails(404, client.secrets.remove_consumer, secret, *VOLUME)
    assert [c["service"] for c in client.secrets.get(secret).consumers] == ["image"]


def test_consumers_are_paged(client, secret):
    for number in range(12):
        client.secrets.register_consumer(secret, "service", "type", f"{number:02}")
    first, second = client.secrets.list_consumers(secret), client.secrets.list_consumers(secret, offset=10)
    assert (len(first), len(second)) == (10, 2)
    assert sorted(int(c.resource_id) for c in first + second) == list(range(12))
    assert len(client.secrets.list_consumers(secret, limit=3, offset=2)) == 3
    assert len(client.secrets.get(secret).consumers) == 12


@pytest.mark.parametrize("consumer", [("", "t", "r"), ("s", "", "r"), ("s", "t", ""), ("s" * 256, "t", "r"),
                                      (5, "t", "r")])
def test_bad_consumers(client, secret, consumer):
    assert "Bad Request" in fails(400, client.secrets.register_consumer, secret, *consumer)
    assert client.secrets.list_consumers(secret) == []


def test_a_secret_with_consumers_stays(client, user, secret):
    client.secrets.register_consumer(secret, *VOLUME)
    for version in ("1.1", "1.2"):  # at 1.1 the client looks for consumers itself
        with pytest.raises(exceptions.SecretHasConsumers, match=HAS_CONSUMERS):
            user.barbican_client(version).secrets.delete(secret)
    assert client.secrets.get(secret).payload == "the payload"
    client.secrets.delete(secret, force=True)
    fails(404, lambda: client.secrets.get(secret).name)


@pytest.mark.own_keys
def test_a_secret_with_consumers_stays_whatever_the_version(client, user, secret):
    """A client of 1.0 sees no consumers and asks for the deletion; Barbican grants it, we do not (rule K1)."""
    client.secrets.register_consumer(secret, *VOLUME)
    assert HAS_CONSUMERS in fails(400, user.barbican_client("1.0").secrets.delete, secret)
    assert client.secrets.get(secret).payload == "the payload"


# Containers


def pair(client, *kinds: str) -> list:
    made = [client.secrets.create(name=unique(kind), payload=kind) for kind in kinds]
    for each in made:
        each.store()
    return made


def test_a_generic_container(client):
    secrets = dict(zip(("one", "two"), pair(client, "first", "second")))
    made = client.containers.create(name=unique("generic"), secrets=secrets)
    reference = made.store()
    found = client.containers.get(reference)
    assert (found.name, found.status, found.consumers) == (made.name, "ACTIVE", [])
    assert found.secret_refs == {name: secret.secret_ref for name, secret in secrets.items()}
    assert {name: secret.payload for name, secret in found.secrets.items()} == {"one": "first", "two": "second"}
    assert found.created and found.updated

    # A secret that goes takes itself out.
    client.secrets.delete(secrets["two"].secret_ref)
    assert list(client.containers.get(reference).secret_refs) == ["one"]
    client.containers.delete(reference)
    fails(404, client.containers.get, reference)
    assert client.secrets.get(secrets["one"].secret_ref).payload == "first"
    client.secrets.delete(secrets["one"].secret_ref)


def test_an_rsa_container(client):
    public, private, passphrase = pair(client, "public", "private", "passphrase")
    reference = client.containers.create_rsa(name=unique("rsa"), public_key=public, private_key=private,
                                             private_key_passphrase=passphrase).store()
    found = client.containers.get(reference)
    assert isinstance(found, RSAContainer)
    assert [found.public_key.payload, found.private_key.payload, found.private_key_passphrase.payload] == [
        "public", "private", "passphrase"]
    client.containers.delete(reference)


def test_a_certificate_container(client):
    kinds = ("certificate", "intermediates", "private key", "passphrase")
    secrets = pair(client, *kinds)
    reference = client.containers.create_certificate(
        name=unique("certificate"), certificate=secrets[0], intermediates=secrets[1], private_key=secrets[2],
        private_key_passphrase=secrets[3]).store()
    found = client.containers.get(reference)
    assert isinstance(found, CertificateContainer)
    assert (found.certificate.payload, found.intermediates.payload, found.private_key.payload,
            found.private_key_passphrase.payload) == kinds
    client.containers.delete(reference)


def test_containers_that_cannot_be(client, stranger, secret, user):
    one = client.secrets.get(secret)
    assert "public_key" in fails(400, client.containers.create_rsa(private_key=one).store)
    assert "certificate" in fails(400, client.containers.create_certificate(private_key=one).store)
    assert "Duplicate secret" in fails(400, client.containers.create(secrets={"a": one, "b": one}).store)
    assert "too long" in fails(400, client.containers.create(name="x" * 256).store)
    fails(404, stranger.containers.create(secrets={"a": one}).store)
    gone = client.secrets.create(name=unique("gone"), payload="x")
    gone.store()
    client.secrets.delete(gone.secret_ref)
    fails(404, client.containers.create(secrets={"a": gone}).store)


def test_lists_of_containers(site):
    client = site.user("containers").barbican_client()
    assert client.containers.total() == 0 and client.containers.list() == []
    for number in range(11):
        client.containers.create(name=f"interop-list-{number:02}").store()
    client.containers.create_rsa(name=unique("rsa")).store()
    assert client.containers.total() == 12
    assert (len(client.containers.list()), len(client.containers.list(offset=10))) == (10, 2)
    assert [c.name for c in client.containers.list(name="interop-list-03")] == ["interop-list-03"]
    assert len(client.containers.list(type="rsa")) == 1
    assert len(client.containers.list(type="generic", limit=100)) == 11
    for container in client.containers.list(limit=100):
        client.containers.delete(container.container_ref)
    assert client.containers.total() == 0


def test_consumers_of_a_container(client, stranger):
    reference = client.containers.create(name=unique("consumed")).store()
    balancer = {"name": "balancer", "URL": "https://balancer.example/1"}
    registered = client.containers.register_consumer(reference, balancer["name"], balancer["URL"])
    assert registered.container_ref == reference
    client.containers.register_consumer(reference, balancer["name"], balancer["URL"])
    assert client.containers.get(reference).consumers == [balancer]
    fails(403, stranger.containers.register_consumer, reference, "x", "y")
    fails(400, client.containers.register_consumer, reference, "", "y")
    fails(404, client.containers.remove_consumer, reference, "balancer", "https://other.example")
    client.containers.remove_consumer(reference, balancer["name"], balancer["URL"])
    assert client.containers.get(reference).consumers == []
    client.containers.register_consumer(reference, balancer["name"], balancer["URL"])
    client.containers.delete(reference)  # its consumers do not keep a container


# Orders


def test_an_order_for_a_key(client):
    name = unique("ordered")
    order = client.orders.create_key(name=name, algorithm="aes", bit_length=256, mode="cbc",
                                     payload_content_type="application/octet-stream")
    reference = order.submit()
    with pytest.raises(ImmutableException):
        order.name = "other"
    found = client.orders.get(reference)
    assert isinstance(found, KeyOrder)
    assert (found.status, found.name, found.algorithm, found.bit_length, found.mode) == (
        "ACTIVE", name, "aes", 256, "cbc")
    assert found.error_reason is None and found.created and found.updated
    secret = client.secrets.get(found.secret_ref)
    assert (secret.name, secret.secret_type, secret.algorithm, secret.bit_length, secret.mode) == (
        name, "symmetric", "aes", 256, "cbc")
    assert len(secret.payload) == 32
    client.orders.delete(reference)
    fails(404, client.orders.get, reference)
    assert len(client.secrets.get(found.secret_ref).payload) == 32, "the key went with its order"
    client.secrets.delete(found.secret_ref)


@pytest.mark.parametrize("bits, mode", [(64, None), (128, "cbc"), (192, "ctr"), (256, "xts"), (512, "xts")])
def test_ordered_keys_have_their_length(client, bits, mode):
    order = client.orders.create_key(name=unique("length"), algorithm="AES", bit_length=bits, mode=mode)
    found = client.orders.get(order.submit())
    assert found.status == "ACTIVE"
    assert len(client.secrets.get(found.secret_ref).payload) == bits // 8
    client.orders.delete(found.order_ref)
    client.secrets.delete(found.secret_ref)


def test_ordered_keys_expire(client):
    order = client.orders.create_key(name=unique("expires"), algorithm="aes", bit_length=128,
                                     expiration="2042-01-02T03:04:05")
    found = client.orders.get(order.submit())
    assert found.expiration.isoformat().startswith("2042-01-02T03:04:05")
    assert client.secrets.get(found.secret_ref).expiration.isoformat().startswith("2042-01-02T03:04:05")
    client.orders.delete(found.order_ref)
    client.secrets.delete(found.secret_ref)


def test_an_order_for_a_key_pair(client):
    name = unique("pair")
    order = client.orders.create_asymmetric(name=name, algorithm="rsa", bit_length=2048)
    found = client.orders.get(order.submit())
    assert isinstance(found, AsymmetricOrder) and found.status == "ACTIVE"
    container = client.containers.get(found.container_ref)
    assert isinstance(container, RSAContainer) and container.name == name
    assert set(container.secret_refs) == {"public_key", "private_key"}
    private = serialization.load_pem_private_key(container.private_key.payload, password=None)
    public = serialization.load_pem_public_key(container.public_key.payload)
    assert private.public_key() == public and private.key_size == 2048
    assert (container.private_key.secret_type, container.public_key.secret_type) == ("private", "public")
    assert container.private_key.content_types == {"default": "application/octet-stream"}
    client.orders.delete(found.order_ref)
    client.containers.delete(found.container_ref)


@pytest.mark.parametrize("meta, says", [
    ({"bit_length": 256}, "algorithm"),
    ({"algorithm": "aes"}, "bit_length"),
    ({"algorithm": "aes", "bit_length": 0}, "bit_length"),
    ({"algorithm": "aes", "bit_length": "256"}, "bit_length"),
    ({"algorithm": "aes", "bit_length": 255}, "not supported"),
    ({"algorithm": "aes", "bit_length": 256, "name": "x" * 256}, "name"),
    ({"algorithm": "aes", "bit_length": 256, "expiration": "2001-01-01T00:00:00"}, "expiration"),
    ({"algorithm": "aes", "bit_length": 256, "payload_content_type": "text/html"}, "payload_content_type"),
], ids=lambda value: "-".join(value) if isinstance(value, dict) else "")
def test_orders_that_cannot_be(client, meta, says):
    before = client.orders.total()
    assert says in fails(400, client.orders.create_key(**meta).submit)
    assert client.orders.total() == before


def test_an_order_that_fails_says_why(client):
    order = client.orders.create_key(name=unique("fails"), algorithm="nonsense", bit_length=256)
    found = client.orders.get(order.submit())
    assert found.status == "ERROR"
    assert found.error_reason and str(found.error_status_code) == "400"
    assert found.secret_ref is None
    client.orders.delete(found.order_ref)


def test_lists_of_orders(site):
    client = site.user("orders").barbican_client()
    assert client.orders.total() == 0 and client.orders.list() == []
    made = [client.orders.create_key(name=unique("many"), algorithm="aes", bit_length=128).submit() for _ in range(11)]
    made.append(client.orders.create_asymmetric(algorithm="rsa", bit_length=2048, name=unique("many")).submit())
    assert client.orders.total() == 12
    found = client.orders.list() + client.orders.list(offset=10)
    assert {order.order_ref for order in found} == set(made) and len(found) == 12
    for order in found:
        client.orders.delete(order.order_ref)
    assert client.orders.list() == []


def test_another_projects_order_is_not_there(client, stranger):
    order = client.orders.create_key(name=unique("ours"), algorithm="aes", bit_length=128).submit()
    fails(404, stranger.orders.get, order)
    fails(404, stranger.orders.delete, order)
    client.orders.delete(order)


# Quotas, which the client does not know


def test_quotas(site, admin):
    cloud = site.user("quota")
    keys, path = cloud.keys, f"/v1/project-quotas/{cloud.project_id}"
    shown = keys.request("GET", "/v1/quotas").json()["quotas"]
    assert {shown[what] for what in ("secrets", "orders", "containers", "consumers")} == {-1}
    assert keys.request("PUT", path, json={"project_quotas": {"secrets": 5}}).status_code == 403
    assert admin.keys.request("GET", path).status_code == 404
    quotas = {"secrets": 1, "orders": 0, "containers": 0, "consumers": 0}
    assert admin.keys.request("PUT", path, json={"project_quotas": quotas}).status_code == 204
    kept = admin.keys.request("GET", path).json()["project_quotas"]
    assert kept | quotas == kept
    shown = keys.request("GET", "/v1/quotas").json()["quotas"]
    assert shown | quotas == shown

    client = cloud.barbican_client()
    secret = client.secrets.create(name=unique("only"), payload="x").store()
    for call in (client.secrets.create(name=unique("second"), payload="x").store, client.containers.create().store,
                 client.orders.create_key(algorithm="aes", bit_length=128).submit,
                 lambda: client.secrets.register_consumer(secret, *VOLUME)):
        said = fails(403, call)
        assert said.startswith("Forbidden: ") and "quota has been reached" in said
    client.secrets.delete(secret)
    client.secrets.delete(client.secrets.create(name=unique("again"), payload="x").store())
    assert admin.keys.request("DELETE", path).status_code == 204
    assert admin.keys.request("DELETE", path).status_code == 404
    client.containers.delete(client.containers.create(name=unique("now")).store())
