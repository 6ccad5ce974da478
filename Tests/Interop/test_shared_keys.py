"""Keys that several things need: Launchpad 1852106 as it was reported, and what is left of it in today's
services (U5 to U12 of key-manager 6; U1 to U4 and U9 happen inside of Cinder, and only recovery covers them).

The rules: a key that an image names cannot be deleted; who says so all the same (`force`) only hides it; the
last image to go takes the key along, if its policy says so, after its bytes; nobody gains or loses a key by
what a stranger writes into an image.

With INTEROP_KEY_MANAGER_URL the same is asked of our image service with a real Keystone and a real Barbican
(`make test-barbican`). What Barbican itself cannot do is marked `own_keys`: refuse at every microversion, keep
what is deleted.
"""

from __future__ import annotations

import datetime
import itertools
import threading
import uuid
from dataclasses import dataclass

import pytest

from ambrotype import Server, eventually
from clouds import Cloud, Site, table, unique
from conftest import KEY_MANAGER_URL, KEYSTONE_URL, keystone_settings, keystone_site, site_of
from image_api import MIB, Pattern, expect
from key_images import (
    CINDER, DELETES, POLICIES, PROPERTIES, copy_of, delete, gone, image_with, made, naming, settle)
from key_manager_api import HAS_CONSUMERS, KeyManagerAPI
from test_operator import ambrotype

pytestmark = [pytest.mark.usefixtures("key_manager"), pytest.mark.own_server]

# Barbican refuses from 1.2 on; ours whatever the client asks for (rule K1).
VERSIONS = ["1.2"] if KEY_MANAGER_URL else [None, "1.0", "1.1", "1.2"]


@pytest.fixture(scope="module")
def user(site) -> Cloud:
    return site.user("owner")


@pytest.fixture(scope="module")
def people(site, user) -> dict[str, Cloud]:
    """Who could ask for a deletion of the user's key; all but the reader may delete it when nothing needs it."""
    return {
        "owner": user,
        "colleague": site.user("colleague", project=user.project_id),
        "manager of the project": site.user("manager", role="admin", project=user.project_id),
        "administrator": site.admin,
    }


@pytest.fixture(scope="module")
def stranger(site) -> Cloud:
    return site.user("stranger")


def new_key(cloud: Cloud, **fields) -> str:
    return cloud.keys.create_key(name=unique("key"), **fields)


def refused(keys: KeyManagerAPI, key: str, version: str | None = "1.2", force: str | None = None) -> None:
    answer = expect(keys.delete(key, version, force), 400)
    assert HAS_CONSUMERS in answer.text
    assert answer.json()["title"] == "Bad Request"


def needed(cloud: Cloud, key: str, *images: str) -> None:
    """Waits until a key manager of its own knows that the images need the key; ours sees it at once."""
    if KEY_MANAGER_URL:
        eventually(lambda: {("image", "image", image) for image in images} <= set(cloud.keys.consumers(key)), 15,
                   "the images are not registered")


def free(cloud: Cloud, key: str, version: str | None = "1.2") -> None:
    """Nothing needs the key any more: it can be deleted, at once where the key manager is ours."""
    eventually(lambda: cloud.keys.delete(key, version).status_code == 204, 15 if KEY_MANAGER_URL else 0)


def usable(cloud: Cloud, key: str, payload: bytes) -> None:
    assert cloud.keys.payload(key) == payload
    assert cloud.keys.show(key)["status"] == "ACTIVE"


# Launchpad 1852106, as reported: a server that was booted from an encrypted volume is snapshotted; the
# snapshot's image has the key and the policy of the first one.


@pytest.mark.parametrize("via", POLICIES)
def test_1852106_deleting_the_snapshot_leaves_the_key_to_the_image(user, via):
    key = new_key(user)
    payload = user.keys.payload(key)
    first = image_with(user.api, key, via, data=Pattern(MIB).bytes())
    snapshot = copy_of(user.api, first)
    delete(user.api, snapshot)
    settle(user)
    usable(user, key, payload)
    assert user.api.show(first)[via] == key
    delete(user.api, first)
    gone(user.keys, key)


def test_1852106_deleting_the_image_leaves_the_key_to_the_snapshot(user):
    """The other way round, and the snapshot is a record without bytes, as Nova makes of a volume."""
    key = new_key(user)
    payload = user.keys.payload(key)
    first = image_with(user.api, key)
    snapshot = image_with(user.api, key, data=None)
    delete(user.api, first)
    settle(user)
    usable(user, key, payload)
    delete(user.api, snapshot)
    gone(user.keys, key)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_the_last_of_several_takes_the_key_in_whatever_order(user, order):
    key = new_key(user)
    payload = user.keys.payload(key)
    images = [image_with(user.api, key, data=data) for data in (b"one", None, b"three")]
    for index in order[:-1]:
        delete(user.api, images[index])
        settle(user)
        usable(user, key, payload)
    delete(user.api, images[order[-1]])
    gone(user.keys, key)


def test_all_deleted_at_once(user):
    """Each sees the others go, or is the last: the key goes, whoever was first."""
    for _ in range(5):
        key = new_key(user)
        images = [image_with(user.api, key) for _ in range(6)]
        start, statuses = threading.Barrier(len(images)), []

        def delete_one(image: str) -> None:
            start.wait()
            statuses.append(user.api.delete(image).status_code)

        threads = [threading.Thread(target=delete_one, args=(image,)) for image in images]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert statuses == len(images) * [204]
        gone(user.keys, key)


def test_one_stays_while_all_others_are_deleted_at_once(user):
    key = new_key(user)
    payload = user.keys.payload(key)
    kept, *others = [image_with(user.api, key) for _ in range(6)]
    threads = [threading.Thread(target=user.api.delete, args=(image,)) for image in others]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    settle(user)
    usable(user, key, payload)
    delete(user.api, kept)
    gone(user.keys, key)


# What the policy says, and when it counts.


@pytest.mark.parametrize("policy", ["do_not_delete", None, "", "nonsense", "ON_IMAGE_DELETION", " on_image_deletion"])
@pytest.mark.parametrize("via", POLICIES)
def test_without_the_policy_the_key_stays(user, via, policy):
    key = new_key(user)
    payload = user.keys.payload(key)
    if via == CINDER and policy not in ("do_not_delete", None):
        # The common properties' schema knows two words for this one; where it is not installed any is taken.
        answer = user.api.request("POST", "/v2/images", json={"name": unique("keyed"), **naming(key, via, policy)})
        if answer.status_code == 400:
            expect(user.keys.delete(key), 204)
            return
        delete(user.api, expect(answer, 201).json()["id"])
    delete(user.api, image_with(user.api, key, via, policy))
    settle(user)
    usable(user, key, payload)
    expect(user.keys.delete(key), 204)


def test_the_other_propertys_policy_does_not_count(user):
    """Each property that names a key has a policy of its own."""
    key = new_key(user)
    image = user.api.create_raw(name=unique("mixed"), os_encrypt_key_id=key, **naming(str(uuid.uuid4())))["id"]
    delete(user.api, image)
    settle(user)
    assert user.keys.status(key) == 200
    expect(user.keys.delete(key), 204)


@pytest.mark.parametrize("secret_type, goes", [
    ("symmetric", True), ("passphrase", True), ("opaque", False), ("certificate", False), ("private", False),
    ("public", False),
])
def test_only_what_encrypts_is_deleted_with_an_image(user, secret_type, goes):
    """A TLS certificate that somebody names there is not (rule K5)."""
    secret = user.keys.store(b"what it is", secret_type=secret_type, name=unique("typed"))
    delete(user.api, image_with(user.api, secret))
    if goes:
        gone(user.keys, secret)
    else:
        settle(user)
        usable(user, secret, b"what it is")
        expect(user.keys.delete(secret), 204)


@pytest.mark.parametrize("key_id", [
    "nonsense", "", "0", "../../v1/secrets", "http://127.0.0.1:1/v1/secrets/x", "x" * 255, "%00",
    str(uuid.uuid4()), str(uuid.uuid1()), "00000000-0000-0000-0000-000000000000",
])
@pytest.mark.parametrize("via", POLICIES)
def test_an_image_is_deleted_whatever_it_names_as_its_key(user, via, key_id):
    """Glance answers 500 for what is no UUID, with the data gone and the image still there."""
    image = image_with(user.api, key_id, via, data=Pattern(MIB).bytes())
    delete(user.api, image)
    expect(user.api.delete(image), 404)


# U5: the properties travel. Unencrypted volumes made from image I-1 carry its key in volume_image_metadata, and
# their clones, snapshots and backups do; uploaded, they are images that name I-1's key.


def test_U5_images_of_unencrypted_volumes_made_from_an_encrypted_image(user):
    key = new_key(user)
    payload = user.keys.payload(key)
    first = image_with(user.api, key, data=Pattern(2 * MIB, seed=1).bytes())
    uploads = [image_with(user.api, key, data=Pattern(MIB, seed=seed).bytes()) for seed in (2, 3)]
    for image in uploads:
        delete(user.api, image)
        settle(user)
        usable(user, key, payload)
    delete(user.api, first)
    gone(user.keys, key)


# U6: written there by hand or by a tool.


def test_U6_patched_in(user):
    key = new_key(user)
    payload = user.keys.payload(key)
    first = image_with(user.api, key)
    second = user.api.create_raw(name=unique("patched"))["id"]
    expect(user.api.upload(second, b"not encrypted"), 204)
    additions = [{"op": "add", "path": "/" + name, "value": value} for name, value in naming(key).items()]
    expect(user.api.patch(second, *additions), 200)
    delete(user.api, second)
    settle(user)
    usable(user, key, payload)
    delete(user.api, first)
    gone(user.keys, key)


def test_U6_patched_in_and_out_again(user):
    """The edge goes with the property, in the same moment."""
    key, other = new_key(user), new_key(user)
    image = image_with(user.api, key)
    needed(user, key, image)
    refused(user.keys, key)
    expect(user.api.patch(image, {"op": "replace", "path": "/" + CINDER, "value": other}), 200)
    needed(user, other, image)
    refused(user.keys, other)
    free(user, key)
    expect(user.api.patch(image, {"op": "remove", "path": "/" + CINDER}), 200)
    delete(user.api, image)
    settle(user)
    assert user.keys.status(other) == 200, "an image that does not name the key any more took it along"
    expect(user.keys.delete(other), 204)


def test_U6_the_policy_is_the_last_one(user):
    for last, goes in (("do_not_delete", False), (DELETES, True)):
        key = new_key(user)
        image = image_with(user.api, key, policy=DELETES if not goes else "do_not_delete")
        expect(user.api.patch(image, {"op": "replace", "path": "/" + POLICIES[CINDER], "value": last}), 200)
        delete(user.api, image)
        settle(user)
        assert (user.keys.status(key) == 404) == goes


def test_U6_named_twice_by_one_image(user):
    key = new_key(user)
    properties = naming(key) | naming(key, "os_encrypt_key_id", "do_not_delete")
    image = user.api.create_raw(name=unique("twice"), **properties)["id"]
    needed(user, key, image)
    expect(user.api.patch(image, {"op": "remove", "path": "/os_encrypt_key_id"}), 200)
    if not KEY_MANAGER_URL:
        refused(user.keys, key)
    delete(user.api, image)
    gone(user.keys, key)


def test_U6_written_in_capitals(user):
    """Clients that parse the id take it for the same key."""
    key = new_key(user)
    image = image_with(user.api, key.upper())
    needed(user, key, image)
    refused(user.keys, key)
    delete(user.api, image)
    gone(user.keys, key)


def test_U6_by_the_clients(user, tmp_path):
    """Save, create again with all properties: `openstack`; `glance image-update --property`."""
    key = new_key(user)
    payload = user.keys.payload(key)
    first = image_with(user.api, key, data=Pattern(MIB).bytes())
    file = tmp_path / "saved"
    user.openstack("image", "save", "--file", str(file), first, json_output=False)
    options = [option for name, value in naming(key).items() for option in ("--property", f"{name}={value}")]
    second = user.openstack("image", "create", "--disk-format", "raw", "--container-format", "bare", "--file",
                            str(file), *options, unique("again"))["id"]
    third = table(user.glance("image-create", "--name", unique("third")))["id"]
    user.glance("image-update", third, *options)
    needed(user, key, second, third)
    assert HAS_CONSUMERS in user.openstack_fails("secret", "delete", user.keys.reference(key))
    for image in (second, third):
        user.openstack("image", "delete", image, json_output=False)
        settle(user)
        usable(user, key, payload)
    user.glance("image-delete", first)
    gone(user.keys, key)


# U7: a deputy is confused. Anyone can write anyone's key id into an image; whoever deletes that image, perhaps
# an administrator, who may delete every project's secrets, does not thereby delete the key.


@pytest.mark.parametrize("who", ["stranger", "administrator"])
def test_U7_a_strangers_image_never_deletes_my_key(site, user, stranger, who):
    key = new_key(user)
    payload = user.keys.payload(key)
    image = image_with(stranger.api, key)
    delete((stranger if who == "stranger" else site.admin).api, image)
    settle(stranger)
    settle(site.admin)
    usable(user, key, payload)
    expect(user.keys.delete(key), 204)


def test_U7_an_administrators_secret_named_by_a_user(site, user):
    """The administrator deletes a user's image, which names a secret of the administrator's own."""
    secret = new_key(site.admin)
    payload = site.admin.keys.payload(secret)
    delete(site.admin.api, image_with(user.api, secret))
    settle(user)
    settle(site.admin)
    usable(site.admin, secret, payload)
    expect(site.admin.keys.delete(secret), 204)


@pytest.mark.parametrize("who", ["administrator", "manager of the project", "colleague"])
def test_U7_whoever_deletes_the_image_the_owners_key_goes(user, people, who):
    """It goes because the image went, on the owner's behalf."""
    key = new_key(user)
    delete(people[who].api, image_with(user.api, key))
    gone(user.keys, key)


@pytest.mark.parametrize("via", PROPERTIES)
def test_U7_a_strangers_image_does_not_keep_my_key(user, stranger, via):
    key = new_key(user)
    image = image_with(stranger.api, key, via)
    settle(stranger)
    expect(user.keys.delete(key), 204)
    delete(stranger.api, image)


@pytest.mark.own_keys  # a Barbican does not let our service user speak for a user on an access list
@pytest.mark.parametrize("via", PROPERTIES)
def test_U7_whom_I_let_read_my_key_may_count_on_it(user, stranger, via):
    """An image of a project with read access keeps the key, and never deletes it."""
    key = new_key(user)
    payload = user.keys.payload(key)
    user.keys.share(key, stranger.user_id)
    image = image_with(stranger.api, key, via)
    needed(user, key, image)
    refused(user.keys, key)
    assert stranger.keys.payload(key) == payload
    delete(stranger.api, image)
    settle(stranger)
    usable(user, key, payload)
    free(user, key)


def test_U7_an_image_shared_with_me_is_not_mine(user, stranger):
    """Membership gives nobody a hold on the key, and takes none away."""
    key = new_key(user)
    image = image_with(user.api, key, visibility="shared")
    expect(user.api.request("POST", f"/v2/images/{image}/members", json={"member": stranger.project_id}), 200)
    expect(stranger.api.request("PUT", f"/v2/images/{image}/members/{stranger.project_id}",
                                json={"status": "accepted"}), 200)
    expect(stranger.api.delete(image), 403)
    needed(user, key, image)
    refused(user.keys, key)
    delete(user.api, image)
    gone(user.keys, key)


# U8: the data is only to be deleted later, or cannot be deleted now. The key waits for it.


@dataclass
class Place:
    """A server of the test's own."""

    server: Server
    site: Site

    @property
    def demo(self) -> Cloud:
        return self.site.demo

    def blobs(self) -> list:
        return list((self.server.data_dir / "stores/local/blobs").rglob("*-*"))

    def run(self, *arguments: str, status: int = 0) -> str:
        return ambrotype(self.server, *arguments, status=status)


@pytest.fixture
def place(start):
    def started(settings: dict | None = None) -> Place:
        settings = dict(settings or {})
        if KEYSTONE_URL:
            server = start(settings | keystone_settings())
            return Place(server, keystone_site(server.url + "/image", server.data_dir / "clients"))
        server = start(settings or None)
        return Place(server, site_of(server, server.data_dir / "clients"))

    return started


def test_U8_the_recycle_bin_keeps_the_key(place):
    place = place({"image": {"recycle_bin_seconds": 3600}})
    demo = place.demo
    key = new_key(demo)
    payload, data = demo.keys.payload(key), Pattern(MIB).bytes()
    image = image_with(demo.api, key, data=data)
    needed(demo, key, image)
    delete(demo.api, image)
    for version in VERSIONS:
        refused(demo.keys, key, version)
    usable(demo, key, payload)

    place.run("images", "undelete", image)
    shown = demo.api.show(image)
    assert shown[CINDER] == key and shown[POLICIES[CINDER]] == DELETES
    assert demo.api.download(image).content == data
    refused(demo.keys, key)

    delete(demo.api, image)
    place.run("images", "discard", image, "--yes")
    gone(demo.keys, key)
    assert place.blobs() == []


def test_U8_the_key_goes_when_the_recycle_bin_is_emptied(place):
    place = place({"image": {"recycle_bin_seconds": 2}})
    demo = place.demo
    key = new_key(demo)
    image = image_with(demo.api, key, data=Pattern(MIB).bytes())
    needed(demo, key, image)
    delete(demo.api, image)
    refused(demo.keys, key)
    gone(demo.keys, key)
    assert place.blobs() == []


def test_U8_the_key_waits_for_bytes_that_cannot_be_erased(place):
    place = place()
    demo, store = place.demo, place.server.data_dir / "stores/local"
    key = new_key(demo)
    payload = demo.keys.payload(key)
    image = image_with(demo.api, key, data=Pattern(MIB).bytes())
    needed(demo, key, image)
    away = store.rename(place.server.data_dir / "away")
    delete(demo.api, image)
    other = new_key(demo)
    delete(demo.api, image_with(demo.api, other, data=None))  # has no bytes to wait for
    gone(demo.keys, other)
    usable(demo, key, payload)
    for version in VERSIONS:
        refused(demo.keys, key, version)
    away.rename(store)
    gone(demo.keys, key, 60)
    assert place.blobs() == []


def test_U8_never_the_key_before_the_bytes(place):
    """Looked at in the moment in which the key is gone."""
    place = place()
    demo = place.demo
    for _ in range(5):
        key = new_key(demo)
        image = image_with(demo.api, key, data=Pattern(8 * MIB).bytes())
        assert len(place.blobs()) == 1
        delete(demo.api, image)
        gone(demo.keys, key)
        assert place.blobs() == []


@pytest.mark.parametrize("when", ["at once", "after a moment"])
def test_U8_a_crash_during_the_deletion(place, when):
    """The server is killed after it answered: the key that is shared stays, the other one goes."""
    place = place()
    demo = place.demo
    for _ in range(4):
        shared, alone = new_key(demo), new_key(demo)
        payload = demo.keys.payload(shared)
        kept = image_with(demo.api, shared)
        doomed = [image_with(demo.api, shared), image_with(demo.api, alone, data=Pattern(4 * MIB).bytes())]
        for image in doomed:
            expect(demo.api.delete(image), 204)
        if when == "after a moment":
            demo.api.list(limit=1)
        place.server.kill()
        place.server.restart()
        gone(demo.keys, alone)
        settle(demo)
        usable(demo, shared, payload)
        delete(demo.api, kept)
        gone(demo.keys, shared)


# U10: somebody else needs the key: another Cinder with the same key manager, another image service.


@pytest.mark.parametrize("consumer", [("volume", "volume"), ("image", "image"), ("compute", "instance")], ids="/".join)
def test_U10_who_is_registered_keeps_the_key_when_the_image_goes(user, consumer):
    key, resource = new_key(user), str(uuid.uuid4())
    payload = user.keys.payload(key)
    image = image_with(user.api, key)
    needed(user, key, image)
    user.keys.register(key, *consumer, resource)
    delete(user.api, image)
    settle(user)
    usable(user, key, payload)
    assert user.keys.consumers(key) == [(*consumer, resource)]
    refused(user.keys, key)
    body = {"service": consumer[0], "resource_type": consumer[1], "resource_id": resource}
    expect(user.keys.request("DELETE", f"/v1/secrets/{key}/consumers", json=body), 200)
    expect(user.keys.delete(key), 204)


def test_U10_removing_a_consumer_does_not_free_a_key_that_an_image_names(user):
    """Not even the consumer that is the image: the image says what it needs, not who writes the list."""
    key = new_key(user)
    image = image_with(user.api, key)
    needed(user, key, image)
    body = {"service": "image", "resource_type": "image", "resource_id": image}
    if KEY_MANAGER_URL is None:
        user.keys.request("DELETE", f"/v1/secrets/{key}/consumers", json=body)
        user.keys.request("POST", f"/v1/secrets/{key}/consumers", json=body)
        user.keys.request("DELETE", f"/v1/secrets/{key}/consumers", json=body)
    for version in VERSIONS:
        refused(user.keys, key, version)
    delete(user.api, image)
    gone(user.keys, key)


@pytest.mark.skipif(not KEY_MANAGER_URL, reason="each of our servers keeps keys of its own; this needs a Barbican")
def test_U10_two_image_services_with_one_barbican(place, user):
    """An image exported from one and imported into the other: neither takes the other's key."""
    first, second = place(), place()
    demo = first.demo
    key = new_key(demo)
    payload = demo.keys.payload(key)
    here, there = image_with(demo.api, key), image_with(second.demo.api, key)
    needed(demo, key, here, there)
    delete(second.demo.api, there)
    settle(second.demo)
    usable(demo, key, payload)
    delete(demo.api, here)
    gone(demo.keys, key)


# U11: the key manager itself.


@pytest.mark.parametrize("via", PROPERTIES)
@pytest.mark.parametrize("version", VERSIONS, ids=str)
def test_U11_nobody_deletes_a_key_that_an_image_names(user, people, via, version):
    key = new_key(user)
    payload = user.keys.payload(key)
    image = image_with(user.api, key, via)
    needed(user, key, image)
    for cloud in people.values():
        refused(cloud.keys, key, version)
        if version == "1.2":
            refused(cloud.keys, key, version, "false")
            expect(cloud.keys.delete(key, version, "perhaps"), 400)
        else:  # there is no force yet
            refused(cloud.keys, key, version, "true")
    usable(user, key, payload)
    expect(user.api.patch(image, {"op": "remove", "path": "/" + via}), 200)
    free(user, key, version)
    delete(user.api, image)


def test_U11_who_may_not_delete_a_secret_hears_that_first(site, user, stranger):
    key = new_key(user)
    user.keys.share(key, stranger.user_id)
    needed(user, key, image_with(user.api, key))
    reader = site.user("reader", role="reader", project=user.project_id)
    for cloud in (stranger, reader):
        for force in (None, "true"):
            expect(cloud.keys.delete(key, force=force), 403)
    assert user.keys.status(key) == 200


def test_U11_a_deletion_by_project_is_refused_for_each_that_is_needed(user):
    """What a script does that empties a project."""
    keys = [new_key(user) for _ in range(4)]
    needed(user, keys[0], image_with(user.api, keys[0]))
    needed(user, keys[2], image_with(user.api, keys[2], data=None))
    assert [user.keys.delete(key).status_code for key in keys] == [400, 204, 400, 204]


@pytest.fixture
def keeper(place) -> Place:
    """A server that keeps deleted keys for a second, unless something needs them."""
    return place({"keys": {"retention_seconds": 1}})


def test_U11_force_hides_a_key_and_keeps_it(site, user):
    """Gone for everyone at once, at a real Barbican for good."""
    key = new_key(user)
    image = image_with(user.api, key)
    needed(user, key, image)
    expect(user.keys.delete(key, force="true"), 204)
    for path in ("", "/payload", "/metadata", "/acl", "/consumers"):
        answer = user.keys.request("GET", f"/v1/secrets/{key}{path}", headers={"Accept": "*/*"})
        expect(answer, 404)
    assert key not in str(user.keys.list())
    for force in (None, "true"):
        expect(user.keys.delete(key, force=force), 404)
    assert user.api.show(image)[CINDER] == key
    delete(user.api, image)


@pytest.mark.own_keys
@pytest.mark.own_identity
def test_U11_what_force_hid_comes_back_while_an_image_names_it(keeper):
    demo = keeper.demo
    key, unneeded = new_key(demo), new_key(demo)
    payload = demo.keys.payload(key)
    image = image_with(demo.api, key)
    expect(demo.keys.delete(key, force="true"), 204)
    expect(demo.keys.delete(unneeded), 204)
    # The time for which deleted keys are kept is over: what nothing needs is erased.
    eventually(lambda: unneeded not in keeper.run("keys", "deleted"), 30)
    assert key in keeper.run("keys", "deleted")
    assert demo.keys.status(key) == 404
    keeper.run("keys", "undelete", key)
    usable(demo, key, payload)
    refused(demo.keys, key)
    keeper.run("keys", "undelete", unneeded, status=1)
    delete(demo.api, image)
    gone(demo.keys, key)


@pytest.mark.own_keys
@pytest.mark.own_identity
def test_U11_a_key_that_was_forced_away_is_erased_after_its_image(keeper):
    demo = keeper.demo
    key = new_key(demo)
    image = image_with(demo.api, key)
    expect(demo.keys.delete(key, force="true"), 204)
    delete(demo.api, image)
    eventually(lambda: key not in keeper.run("keys", "deleted"), 30)
    keeper.run("keys", "undelete", key, status=1)


@pytest.mark.own_keys
@pytest.mark.own_identity
def test_U11_an_expired_key_comes_back_while_an_image_names_it(keeper):
    """Nobody sees it any more; nothing is lost."""
    demo = keeper.demo
    soon = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=4)).isoformat()
    key, payload = demo.keys.store(b"\x00expires\xff", secret_type="symmetric", expiration=soon), b"\x00expires\xff"
    image = image_with(demo.api, key)
    gone(demo.keys, key)
    expect(demo.keys.delete(key, force="true"), 404)
    eventually(lambda: key in keeper.run("keys", "deleted"), 30, "what expired is not to be had back")
    # Long past the second for which what nothing needs is kept.
    other = new_key(demo)
    expect(demo.keys.delete(other), 204)
    eventually(lambda: other not in keeper.run("keys", "deleted"), 30)
    keeper.run("keys", "undelete", key)
    usable(demo, key, payload)
    delete(demo.api, image)
    gone(demo.keys, key)


@pytest.mark.own_keys
@pytest.mark.own_identity
def test_U11_a_deleted_projects_key_comes_back_while_an_image_names_it(keeper):
    site = keeper.site
    cloud = site.user("leaving")
    key, unneeded = new_key(cloud), new_key(cloud)
    image = image_with(cloud.api, key)
    site.admin.sdk.identity.delete_project(cloud.project_id)
    eventually(lambda: site.admin.keys.status(key) == 404, 30, "the key outlived its project")
    eventually(lambda: unneeded not in keeper.run("keys", "deleted"), 30)
    assert key in keeper.run("keys", "deleted")
    keeper.run("keys", "undelete", key)
    assert site.admin.keys.show(key)["status"] == "ACTIVE"
    refused(site.admin.keys, key)
    delete(site.admin.api, image)


@pytest.mark.own_keys
@pytest.mark.own_identity
def test_U1_to_U4_and_U9_what_is_deleted_by_mistake_comes_back(place):
    """Nothing here knows what happens inside of Cinder; but for a time every key can be had back (rule K2)."""
    place = place({"keys": {"retention_seconds": 3600}})
    demo = place.demo
    key = new_key(demo, mode="xts")
    before, payload = demo.keys.show(key), demo.keys.payload(key)
    expect(demo.keys.delete(key), 204)
    expect(demo.keys.request("GET", f"/v1/secrets/{key}"), 404)
    assert key in place.run("keys", "deleted")
    assert place.server.stop() == 0
    place.server.restart()
    place.run("keys", "undelete", key)
    usable(demo, key, payload)
    after = demo.keys.show(key)
    assert after | {"updated": ""} == before | {"updated": ""}
    place.run("keys", "undelete", key, status=1)


@pytest.mark.own_keys
@pytest.mark.own_identity
def test_a_key_that_went_with_its_image_comes_back_too(place):
    place = place({"keys": {"retention_seconds": 3600}})
    demo = place.demo
    key = new_key(demo)
    payload = demo.keys.payload(key)
    delete(demo.api, image_with(demo.api, key))
    gone(demo.keys, key)
    place.run("keys", "undelete", key)
    usable(demo, key, payload)


# U12: properties that nobody thought of when Nova's list was made.


@pytest.mark.parametrize("via", [via for via in PROPERTIES if via not in POLICIES])
def test_U12_without_a_policy_property_the_key_always_stays(user, via):
    """Local disks and signatures have no policy: whatever else the image says, their secret stays."""
    key = new_key(user)
    payload = user.keys.payload(key)
    properties = {via: key} | {policy: DELETES for policy in POLICIES.values()}
    image = made(user.api, properties, b"local disk", name=unique("latent"))
    needed(user, key, image)
    refused(user.keys, key)
    delete(user.api, image)
    settle(user)
    usable(user, key, payload)
    free(user, key)


PAIRS = list(itertools.permutations(PROPERTIES, 2))


@pytest.mark.parametrize("kept, goes", PAIRS, ids=[f"{kept}-{goes}" for kept, goes in PAIRS])
def test_U12_a_key_named_by_one_property_outlives_the_image_that_names_it_by_another(user, kept, goes):
    key = new_key(user)
    payload = user.keys.payload(key)
    holder, leaver = image_with(user.api, key, kept, data=None), image_with(user.api, key, goes, data=None)
    delete(user.api, leaver)
    settle(user)
    usable(user, key, payload)
    needed(user, key, holder)
    refused(user.keys, key)
    delete(user.api, holder)
    if kept in POLICIES:
        gone(user.keys, key)
    else:
        settle(user)
        usable(user, key, payload)
        free(user, key)


def test_U12_a_signing_certificate_is_kept_by_every_image_it_signed(user):
    certificate = user.keys.store(b"-----BEGIN CERTIFICATE-----", secret_type="certificate", name=unique("signs"))
    images = [image_with(user.api, certificate, "img_signature_certificate_uuid", data=None) for _ in range(3)]
    needed(user, certificate, *images)
    for image in images:
        refused(user.keys, certificate)
        delete(user.api, image)
    settle(user)
    free(user, certificate)
