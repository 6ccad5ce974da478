"""Encrypted volumes as images: a LUKS container, its key in the key manager, copies of its image deleted in
every order. As long as one copy is left it can be opened; with the last the key goes."""

from __future__ import annotations

import binascii
import itertools
import shutil

import pytest
from castellan.common import exception

from ambrotype import eventually
from castellan_services import NovaContext, configuration_file, glance_context, manager
from clouds import unique
from image_api import MIB, Pattern, expect
from key_images import delete, settle
from luks import Passphrase, contents, format_volume, opens, tools_are_there

pytestmark = [
    pytest.mark.usefixtures("key_manager"),
    pytest.mark.skipif(not tools_are_there(), reason="needs cryptsetup and qemu-img (scripts/packages-test.txt)"),
]

PLAIN = Pattern(3 * MIB, seed=11).bytes()


@pytest.fixture(scope="module")
def user(site):
    return site.user("luks")


class Cinder:
    """What Cinder does with keys: castellan with the user's context, the passphrase in hexadecimal."""

    def __init__(self, user, file):
        self.keys, self.context = manager(file), NovaContext(user)

    def create_key(self) -> str:
        return self.keys.create_key(self.context, algorithm="aes", length=256)

    def clone_key(self, key: str) -> str:
        return self.keys.store(self.context, self.keys.get(self.context, key))

    def passphrase(self, key: str, directory) -> Passphrase:
        raw = self.keys.get(self.context, key).get_encoded()
        return Passphrase(binascii.hexlify(raw).decode(), directory / unique("passphrase"))

    def has(self, key: str) -> bool:
        try:
            return len(self.keys.get(self.context, key).get_encoded()) > 0
        except exception.ManagedObjectNotFoundError:
            return False


@pytest.fixture(scope="module")
def cinder(user, scratch) -> Cinder:
    return Cinder(user, configuration_file(scratch / "luks.conf", user))


def upload_volume(api, volume, key: str, **properties) -> str:
    """"Upload to image" of an encrypted volume."""
    image = api.create_raw(name=unique("volume"), cinder_encryption_key_id=key,
                           cinder_encryption_key_deletion_policy="on_image_deletion", **properties)["id"]
    expect(api.upload(image, volume.read_bytes()), 204)
    return image


def download_and_create_again(api, image: str, directory) -> str:
    """A copy by hand, with all the properties, as scripts that move images do."""
    data = directory / unique("copy")
    data.write_bytes(expect(api.download(image), 200).content)
    shown = api.show(image)
    copied = {name: value for name, value in shown.items() if name.startswith(("cinder_", "os_", "hw_"))
              and name not in ("os_hash_algo", "os_hash_value", "os_hidden")}
    copy = api.create_raw(name=unique("copy"), **copied)["id"]
    expect(api.upload(copy, data.read_bytes()), 204)
    data.unlink()
    return copy


def assert_opens(user, cinder: Cinder, image: str, key: str, directory) -> None:
    """The image's bytes with the key fetched anew: the container opens, and holds what was put in."""
    path = directory / unique("opened")
    path.write_bytes(expect(user.api.download(image), 200).content)
    passphrase = cinder.passphrase(key, directory)
    assert opens(path, passphrase)
    assert contents(path, passphrase) == PLAIN
    path.unlink()


def test_only_its_own_key_opens_a_volume(cinder, user, tmp_path):
    """The check of the checks."""
    key, other = cinder.create_key(), cinder.create_key()
    volume = format_volume(tmp_path / "volume", PLAIN, cinder.passphrase(key, tmp_path))
    assert opens(volume, cinder.passphrase(key, tmp_path))
    assert not opens(volume, cinder.passphrase(other, tmp_path))
    assert contents(volume, cinder.passphrase(cinder.clone_key(key), tmp_path)) == PLAIN


def test_the_key_goes_with_its_only_image(cinder, user, tmp_path):
    """Also with Glance, whose castellan has the user's own token."""
    key = cinder.create_key()
    volume = format_volume(tmp_path / "volume", PLAIN, cinder.passphrase(key, tmp_path))
    image = upload_volume(user.api, volume, key)
    assert_opens(user, cinder, image, key, tmp_path)
    expect(user.api.delete(image), 204)
    eventually(lambda: not cinder.has(key), 15, "the key outlived its image")


@pytest.mark.own_server  # Glance deletes the key with the first copy: Launchpad 1852106
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_copies_deleted_in_every_order(cinder, user, tmp_path, order):
    key = cinder.create_key()
    volume = format_volume(tmp_path / "volume", PLAIN, cinder.passphrase(key, tmp_path))
    first = upload_volume(user.api, volume, key)
    second = download_and_create_again(user.api, first, tmp_path)
    copies = [first, second, download_and_create_again(user.api, second, tmp_path)]
    left = list(copies)
    for index in order:
        for image in left:
            assert_opens(user, cinder, image, key, tmp_path)
        delete(user.api, copies[index])
        left.remove(copies[index])
        settle(user)
    assert left == []
    eventually(lambda: not cinder.has(key), 15, "the key outlived its last image")


def test_a_volume_from_an_image_keeps_its_own_key(cinder, user, tmp_path):
    """Cinder clones the key for each volume and each image: deleting one touches no other."""
    keys = [cinder.create_key()]
    volume = format_volume(tmp_path / "volume", PLAIN, cinder.passphrase(keys[0], tmp_path))
    keys.append(cinder.clone_key(keys[0]))
    image = upload_volume(user.api, volume, keys[1])
    restored = tmp_path / "restored"
    restored.write_bytes(user.api.download(image).content)
    keys.append(cinder.clone_key(keys[1]))
    expect(user.api.delete(image), 204)
    eventually(lambda: not cinder.has(keys[1]), 15)
    assert contents(volume, cinder.passphrase(keys[0], tmp_path)) == PLAIN
    assert contents(restored, cinder.passphrase(keys[2], tmp_path)) == PLAIN


def test_glances_view_of_the_keys_is_the_same(cinder, user, scratch, tmp_path):
    """A key that Cinder made is read by a service with another context."""
    key = cinder.create_key()
    volume = format_volume(tmp_path / "volume", PLAIN, cinder.passphrase(key, tmp_path))
    glance = manager(configuration_file(tmp_path / "glance.conf", user))
    raw = glance.get(glance_context(user), key).get_encoded()
    assert opens(volume, Passphrase(binascii.hexlify(raw).decode(), tmp_path / "from-glance"))


@pytest.mark.own_server
def test_a_snapshot_without_bytes_holds_the_key_as_well(cinder, user, tmp_path):
    """What createImage of a volume-backed server makes: a record of properties and no data."""
    key = cinder.create_key()
    volume = format_volume(tmp_path / "volume", PLAIN, cinder.passphrase(key, tmp_path))
    image = upload_volume(user.api, volume, key)
    snapshot = user.api.create(name=unique("snapshot"), cinder_encryption_key_id=key,
                               cinder_encryption_key_deletion_policy="on_image_deletion")["id"]
    delete(user.api, image)
    settle(user)
    copy = tmp_path / "copy"
    shutil.copyfile(volume, copy)
    assert contents(copy, cinder.passphrase(key, tmp_path)) == PLAIN
    expect(user.api.delete(snapshot), 204)
    eventually(lambda: not cinder.has(key), 15)
