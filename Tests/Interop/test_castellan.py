"""castellan, through which Cinder, Nova, Glance and cursive reach a key manager."""

import datetime
import threading
import uuid

import pytest
from castellan.common import exception
from castellan.common.objects.opaque_data import OpaqueData
from castellan.common.objects.passphrase import Passphrase
from castellan.common.objects.private_key import PrivateKey
from castellan.common.objects.public_key import PublicKey
from castellan.common.objects.symmetric_key import SymmetricKey
from castellan.common.objects.x_509 import X509
from cryptography.hazmat.primitives import serialization

from ambrotype import eventually
from castellan_services import (
    NovaContext, configuration_file, glance_context, manager, password_credentials)
from clouds import unique
from key_manager_api import HAS_CONSUMERS
from signing import certificate, pem_of, private_key

pytestmark = pytest.mark.usefixtures("key_manager")

IMAGE = {"service": "image", "resource_type": "image", "resource_id": "0f0f0f0f-1111-4222-8333-444444444444"}
EVERY_BYTE = bytes(range(256))


class Service:
    """One service's castellan, acting for one user."""

    def __init__(self, keys, context):
        self.keys, self.context = keys, context

    def __getattr__(self, name):
        call = getattr(self.keys, name)
        return lambda *arguments, **options: call(self.context, *arguments, **options)


@pytest.fixture(scope="module")
def user(site):
    """Alone in a project, so that what is listed and what is left over is this module's."""
    return site.user("castellan")


@pytest.fixture(scope="module")
def configured(site, scratch):
    """A key manager for each way that a service is configured."""
    directory = scratch / "castellan"
    directory.mkdir(mode=0o700)
    plain = configuration_file(directory / "plain.conf", site.demo)
    with_service = configuration_file(directory / "service.conf", site.demo, site.user("nova", role="service"))
    return {"glance": manager(plain), "nova": manager(plain), "nova with a service token": manager(with_service),
            "octavia": manager(plain)}


def act(configured, name: str, cloud) -> Service:
    context = {"glance": glance_context, "octavia": password_credentials}.get(name, NovaContext)
    return Service(configured[name], context(cloud))


@pytest.fixture
def glance(configured, user) -> Service:
    return act(configured, "glance", user)


@pytest.fixture
def cinder(configured, user) -> Service:
    return act(configured, "nova", user)


@pytest.fixture(params=["glance", "nova", "nova with a service token", "octavia"])
def service(request, configured, user) -> Service:
    return act(configured, request.param, user)


def test_a_volumes_key_from_creation_to_deletion(service):
    name = unique("volume")
    key_id = service.create_key(algorithm="aes", length=256, name=name)
    assert str(uuid.UUID(key_id)) == key_id
    key = service.get(key_id)
    assert isinstance(key, SymmetricKey)
    assert (key.id, key.name, key.algorithm, key.bit_length, key.format) == (key_id, name, "aes", 256, "RAW")
    assert len(key.get_encoded()) == 32
    assert abs(key.created - datetime.datetime.now().timestamp()) < 60
    assert key.consumers == []
    assert service.get(key_id).get_encoded() == key.get_encoded()
    service.delete(key_id)
    with pytest.raises(exception.ManagedObjectNotFoundError):
        service.get(key_id)
    with pytest.raises(exception.ManagedObjectNotFoundError):
        service.delete(key_id)


@pytest.mark.parametrize("bits", [128, 192, 256, pytest.param(512, marks=pytest.mark.own_keys)])
def test_keys_of_every_length(cinder, bits):
    """512 is what an encrypted volume type of 512 bits asks for, without a mode; Barbican's plugin cannot."""
    key = cinder.get(cinder.create_key(algorithm="AES", length=bits, name=unique("length")))
    assert (len(key.get_encoded()), key.bit_length) == (bits // 8, bits)
    cinder.delete(key.id)


def test_a_nameless_key(cinder):
    """What Cinder asks for. The client then reads the secret again for every attribute."""
    key = cinder.get(cinder.create_key(algorithm="aes", length=256))
    assert (key.name, key.bit_length, len(key.get_encoded())) == (None, 256, 32)
    cinder.delete(key.id)


def test_no_order_and_no_container_is_left(cinder, user):
    client = user.barbican_client()
    before = client.orders.total(), client.containers.total()
    key = cinder.create_key(algorithm="aes", length=256, name=unique("order"))
    private, public = cinder.create_key_pair(algorithm="RSA", length=2048, name=unique("order"))
    assert (client.orders.total(), client.containers.total()) == before
    for each in (key, private, public):
        assert user.keys.status(each) == 200, "it went with its order"
        cinder.delete(each)


def test_a_key_pair(cinder):
    name = unique("pair")
    private_id, public_id = cinder.create_key_pair(algorithm="RSA", length=2048, name=name)
    private, public = cinder.get(private_id), cinder.get(public_id)
    assert isinstance(private, PrivateKey) and isinstance(public, PublicKey)
    for key in (private, public):
        assert (key.name, key.algorithm.lower(), key.bit_length) == (name, "rsa", 2048)
    loaded = serialization.load_der_private_key(private.get_encoded(), password=None)
    assert loaded.key_size == 2048
    assert loaded.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo) == public.get_encoded()
    for each in (private_id, public_id):
        cinder.delete(each)


RSA = private_key("RSA")


@pytest.mark.parametrize("what", [
    SymmetricKey("AES", 2048, EVERY_BYTE, name=unique("symmetric")),
    Passphrase(b"correct horse battery staple", name=unique("passphrase")),
    Passphrase(EVERY_BYTE, name=unique("passphrase")),
    OpaqueData(b"\x00\xff\n\r\x00", name=unique("opaque")),
    OpaqueData(b"x" * 15_000, name=unique("largest")),
    X509(certificate(RSA).public_bytes(serialization.Encoding.DER), name=unique("certificate")),
    PrivateKey("RSA", 2048, RSA.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8,
                                              serialization.NoEncryption()), name=unique("private")),
    PublicKey("RSA", 2048, RSA.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo), name=unique("public")),
], ids=lambda what: what.name)
def test_what_is_stored_comes_back_byte_for_byte(glance, user, what):
    stored = glance.store(what)
    found = glance.get(stored)
    assert type(found) is type(what)
    assert (found.get_encoded(), found.name, found.id) == (what.get_encoded(), what.name, stored)
    if isinstance(what, SymmetricKey):
        assert (found.algorithm, found.bit_length) == (what.algorithm, what.bit_length)
    shown = user.keys.show(stored)
    assert shown["content_types"] == {"default": "application/octet-stream"}
    without = glance.get(stored, metadata_only=True)
    assert without.is_metadata_only() and without.name == what.name
    glance.delete(stored)


def test_a_passphrase_that_a_user_typed(glance, user):
    """Stored as text, which `openstack secret store` does."""
    secret = user.keys.store("päßword", secret_type="passphrase", name=unique("typed"))
    assert glance.get(secret).get_encoded() == "päßword"
    glance.delete(secret)


def test_a_certificate_that_a_user_stored(glance, user):
    """As the guide to signed images says: PEM, as bytes."""
    signing = certificate(RSA)
    secret = user.keys.store(pem_of(signing), secret_type="certificate", name=unique("stored"))
    found = glance.get(secret)
    assert isinstance(found, X509)
    assert found.get_encoded() == signing.public_bytes(serialization.Encoding.DER)
    glance.delete(secret)


def test_lists_by_type_one_page_of_ten(configured, site):
    """castellan asks for the first page and no more."""
    cloud = site.user("lists")
    glance = act(configured, "glance", cloud)
    assert glance.list() == []
    for number in range(11):
        glance.store(Passphrase(b"%d" % number, name=unique("many")))
    key = glance.create_key(algorithm="aes", length=128, name=unique("one"))
    assert len(glance.list(object_type=Passphrase)) == 10
    assert {type(found) for found in glance.list(object_type=Passphrase)} == {Passphrase}
    [found] = glance.list(object_type=SymmetricKey)
    assert found.id == key and len(found.get_encoded()) == 16
    assert len(glance.list(metadata_only=True)) == 10
    assert glance.list(object_type=X509) == []


def test_what_is_not_there_is_not_found(service):
    nobody = str(uuid.uuid4())
    with pytest.raises(exception.ManagedObjectNotFoundError):
        service.get(nobody)
    with pytest.raises(exception.ManagedObjectNotFoundError):
        service.delete(nobody)
    with pytest.raises(exception.ManagedObjectNotFoundError):
        service.add_consumer(nobody, IMAGE)
    with pytest.raises(exception.ManagedObjectNotFoundError):
        service.remove_consumer(nobody, IMAGE)


def test_a_secret_with_consumers_is_not_deleted(service):
    key = service.create_key(algorithm="aes", length=256, name=unique("consumed"))
    service.add_consumer(key, IMAGE)
    service.add_consumer(key, IMAGE)  # no second one
    volume = IMAGE | {"service": "volume", "resource_type": "volume"}
    service.add_consumer(key, volume)
    assert sorted(service.get(key).consumers, key=lambda c: c["service"]) == [IMAGE, volume]

    for _ in range(2):
        with pytest.raises(exception.KeyManagerError, match=HAS_CONSUMERS) as refused:
            service.delete(key)
        assert not isinstance(refused.value, exception.ManagedObjectNotFoundError)
    assert len(service.get(key).get_encoded()) == 32

    service.remove_consumer(key, IMAGE)
    with pytest.raises(exception.ManagedObjectNotFoundError):
        service.remove_consumer(key, IMAGE)
    with pytest.raises(exception.KeyManagerError, match=HAS_CONSUMERS):
        service.delete(key)
    service.remove_consumer(key, volume)
    assert service.get(key).consumers == []
    service.delete(key)


def test_force_deletes_in_spite_of_consumers(service):
    key = service.create_key(algorithm="aes", length=256, name=unique("forced"))
    service.add_consumer(key, IMAGE)
    service.delete(key, force=True)
    with pytest.raises(exception.ManagedObjectNotFoundError):
        service.get(key)


def test_other_projects_are_refused(configured, user, site, cinder):
    """KeyManagerError, not "not found"; Nova looks for the word."""
    stranger = act(configured, "nova", site.user("stranger"))
    key = cinder.create_key(algorithm="aes", length=256, name=unique("ours"))
    for call in (stranger.get, stranger.delete, lambda k: stranger.add_consumer(k, IMAGE),
                 lambda k: stranger.remove_consumer(k, IMAGE)):
        with pytest.raises(exception.KeyManagerError, match="Forbidden") as refused:
            call(key)
        assert not isinstance(refused.value, exception.ManagedObjectNotFoundError)
    assert key not in [found.id for found in stranger.list()]

    user.keys.share(key, stranger.context.user_id)
    assert stranger.get(key).get_encoded() == cinder.get(key).get_encoded()
    with pytest.raises(exception.KeyManagerError, match="Forbidden"):
        stranger.delete(key)
    cinder.delete(key)


def test_a_reader_sees_no_key(configured, user, site, cinder):
    reader = act(configured, "nova", site.user("reader", role="reader", project=user.project_id))
    key = cinder.create_key(algorithm="aes", length=256, name=unique("unread"))
    for call in (lambda: reader.get(key), lambda: reader.delete(key), reader.list,
                 lambda: reader.create_key(algorithm="aes", length=256)):
        with pytest.raises(exception.KeyManagerError, match="Forbidden"):
            call()
    cinder.delete(key)


@pytest.mark.own_keys
def test_a_bad_token_is_a_key_manager_error(cinder):
    """Of keystonemiddleware's answer the client makes a KeyError: it has no `title` where one is looked for."""
    class Forged(NovaContext):
        def __init__(self, real):
            self.__dict__ = dict(real.__dict__)

        @property
        def auth_token(self):
            return "forged"

    with pytest.raises(exception.KeyManagerError):
        cinder.keys.get(Forged(cinder.context), str(uuid.uuid4()))


def test_what_expires_is_not_found(glance):
    soon = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=3)).isoformat()
    stored = glance.store(OpaqueData(b"soon gone", name=unique("expiring")), expiration=soon)
    assert glance.get(stored).get_encoded() == b"soon gone"

    def is_gone() -> bool:
        try:
            glance.get(stored)
        except exception.ManagedObjectNotFoundError:
            return True
        return False

    eventually(is_gone, 15)
    with pytest.raises(exception.ManagedObjectNotFoundError):
        glance.delete(stored)


@pytest.mark.parametrize("expiration", ["yesterday", "2001-01-01T00:00:00"])
def test_a_bad_expiration_is_refused(glance, expiration):
    with pytest.raises(exception.KeyManagerError, match="Bad Request.*expiration"):
        glance.store(OpaqueData(b"x"), expiration=expiration)


def test_no_key_is_made_that_has_expired(glance):
    with pytest.raises(exception.KeyManagerError, match="Bad Request.*expiration"):
        glance.create_key(algorithm="aes", length=256, expiration="2001-01-01T00:00:00")


@pytest.mark.parametrize("algorithm, bits", [("aes", 100), ("aes", 0), ("aes", 8), ("nonsense", 256)])
def test_what_no_key_can_be_made_of_is_refused(cinder, algorithm, bits):
    """At once, or by an order that ends in ERROR: the caller sees the same."""
    with pytest.raises(exception.KeyManagerError):
        cinder.create_key(algorithm=algorithm, length=bits, name=unique("never"))


def test_too_large_is_refused(glance):
    with pytest.raises(exception.KeyManagerError, match="Request Entity Too Large"):
        glance.store(OpaqueData(b"x" * 15_004, name=unique("large")))


def test_the_endpoint_may_be_configured(user, scratch, key_manager, cinder):
    """`barbican_endpoint`, as where the catalogue's is not reachable from the service."""
    file = configuration_file(scratch / "castellan" / "endpoint.conf", user)
    file.write_text(file.read_text() + f"\nbarbican_endpoint = {key_manager}/\n")
    keys = manager(file)
    key = keys.create_key(glance_context(user), algorithm="aes", length=256, name=unique("endpoint"))
    assert cinder.get(key).bit_length == 256
    keys.delete(glance_context(user), key)


def test_castellans_copy_is_a_new_key_of_the_same_bytes(cinder):
    """How Cinder clones a key: get, then store."""
    first = cinder.create_key(algorithm="aes", length=256, name=unique("original"))
    second = cinder.store(cinder.get(first))
    assert second != first
    cinder.delete(first)
    assert len(cinder.get(second).get_encoded()) == 32
    cinder.delete(second)


def test_many_at_once(configured, site):
    """Creating, reading and deleting in parallel: every key is another one, and none is left."""
    cloud = site.user("parallel")
    threads, each = 8, 6
    made, failures = [], []

    def work(number: int) -> None:
        service = act(configured, ("glance", "nova")[number % 2], cloud)
        try:
            for _ in range(each):
                key = service.create_key(algorithm="aes", length=256, name=unique("parallel"))
                value = service.get(key).get_encoded()
                service.add_consumer(key, IMAGE)
                service.remove_consumer(key, IMAGE)
                service.delete(key)
                made.append((key, value))
        except Exception as failure:
            failures.append(failure)

    cloud.sdk.auth_token  # once, not in each thread
    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    [worker.start() for worker in workers]
    [worker.join() for worker in workers]
    assert failures == []
    assert len({key for key, _ in made}) == len({value for _, value in made}) == threads * each
    assert cloud.barbican_client().secrets.total() == 0
    assert cloud.barbican_client().orders.total() == 0


@pytest.mark.own_keys  # Barbican says of several that they deleted it
def test_of_many_deletions_of_one_key_one_succeeds(configured, user, cinder):
    key = cinder.create_key(algorithm="aes", length=256, name=unique("contended"))
    start, outcomes = threading.Barrier(6), []

    def delete() -> None:
        service = act(configured, "nova", user)
        start.wait()
        try:
            service.delete(key)
            outcomes.append("deleted")
        except exception.ManagedObjectNotFoundError:
            outcomes.append("not found")
        except Exception as failure:
            outcomes.append(repr(failure))

    workers = [threading.Thread(target=delete) for _ in range(6)]
    [worker.start() for worker in workers]
    [worker.join() for worker in workers]
    assert sorted(outcomes) == ["deleted"] + 5 * ["not found"]
