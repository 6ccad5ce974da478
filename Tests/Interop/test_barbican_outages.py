"""Our image service with a Barbican that is away, or answers and is not heard: images are deleted all the
same, keys follow when it is back, and none that is needed goes (key-manager 4, "Our client"; K5 to K8)."""

from __future__ import annotations

import threading

import pytest

from ambrotype import eventually
from clouds import unique
from conftest import IMAGE_URL, KEY_MANAGER_URL, keystone_settings, keystone_site
from flaky_proxy import FlakyProxy
from image_api import MIB, Pattern
from key_images import CINDER, copy_of, delete, gone, image_with, settle

pytestmark = [
    pytest.mark.own_server,
    pytest.mark.skipif(not KEY_MANAGER_URL or bool(IMAGE_URL), reason="needs a real Barbican and our image service"),
]

MOODS = ["down", "sick"]


@pytest.fixture
def barbican():
    proxy = FlakyProxy(KEY_MANAGER_URL)
    yield proxy
    proxy.close()


@pytest.fixture
def demo(start, barbican):
    """A user of a server that reaches Barbican through the proxy; the user's own way there is the direct one."""
    settings = keystone_settings() | {"keys": {"mode": "barbican", "barbican_url": barbican.url}}
    server = start(settings)
    return keystone_site(server.url + "/image", server.data_dir / "clients").demo


def new_key(demo) -> str:
    return demo.keys.create_key(name=unique("key"))


def registered(demo, key: str, *images: str) -> None:
    eventually(lambda: sorted(image for _, _, image in demo.keys.consumers(key)) == sorted(images), 60,
               "not those images are registered")


@pytest.mark.parametrize("mood", MOODS)
def test_images_are_deleted_while_barbican_is_away_and_their_keys_follow(demo, barbican, mood):
    key = new_key(demo)
    image = image_with(demo.api, key, data=Pattern(MIB).bytes())
    registered(demo, key, image)
    barbican.mood, asked = mood, len(barbican.seen)
    delete(demo.api, image)
    eventually(lambda: len(barbican.seen) > asked, 30, "it did not even try")
    assert len(demo.keys.payload(key)) == 32
    barbican.mood = "well"
    gone(demo.keys, key, 120)


@pytest.mark.parametrize("mood", MOODS)
def test_images_are_made_while_barbican_is_away_and_registered_later(demo, barbican, mood):
    key = new_key(demo)
    barbican.mood = mood
    image = image_with(demo.api, key)
    assert demo.api.show(image)["status"] == "active"
    barbican.mood = "well"
    registered(demo, key, image)
    delete(demo.api, image)
    gone(demo.keys, key, 120)


@pytest.mark.parametrize("mood", [*MOODS, "forgetful"])
def test_a_shared_key_survives_the_outage(demo, barbican, mood):
    """Copies come and go while Barbican is away: what is left at the end counts."""
    key = new_key(demo)
    payload = demo.keys.payload(key)
    first = image_with(demo.api, key, data=b"luks")
    registered(demo, key, first)
    barbican.mood = mood
    second = copy_of(demo.api, first)
    delete(demo.api, first)
    third = copy_of(demo.api, second)
    delete(demo.api, second)
    barbican.mood = "well"
    registered(demo, key, third)
    settle(demo)
    assert demo.keys.payload(key) == payload
    delete(demo.api, third)
    gone(demo.keys, key, 120)


def test_a_deletion_whose_answer_was_lost_is_no_failure(demo, barbican):
    """It is asked for again, and 404 is what was wanted."""
    key, other = new_key(demo), new_key(demo)
    image = image_with(demo.api, key)
    registered(demo, key, image)
    barbican.mood = "forgetful"
    delete(demo.api, image)
    gone(demo.keys, key, 60)
    barbican.mood = "well"
    delete(demo.api, image_with(demo.api, other))
    gone(demo.keys, other, 120)


def test_it_never_forces(demo, barbican):
    """Whatever a client registered meanwhile keeps the key; our service does not even ask to overrule it."""
    key = new_key(demo)
    image = image_with(demo.api, key)
    registered(demo, key, image)
    demo.keys.register(key, "volume", "volume", "made-meanwhile")
    delete(demo.api, image)
    settle(demo)
    assert [service for service, _, _ in demo.keys.consumers(key)] == ["volume"]
    assert barbican.count("DELETE", "force") == 0


def test_a_refusal_is_not_tried_again_and_again(demo, barbican, site):
    """A key of a stranger: no consumer is registered, nothing is deleted, and Barbican is left in peace."""
    stranger = site.user("stranger")
    key = stranger.keys.create_key(name=unique("theirs"))
    delete(demo.api, image_with(demo.api, key))
    settle(demo)
    asked = barbican.count("DELETE", key)
    settle(demo)
    assert barbican.count("DELETE", key) == asked <= 2
    assert len(stranger.keys.payload(key)) == 32


def test_the_key_is_let_go_of_when_the_property_is_removed(demo):
    key = new_key(demo)
    image = image_with(demo.api, key)
    registered(demo, key, image)
    assert demo.api.patch(image, {"op": "remove", "path": "/" + CINDER}).status_code == 200
    registered(demo, key)
    delete(demo.api, image)
    settle(demo)
    assert demo.keys.delete(key).status_code == 204


def test_many_images_of_one_key_are_made_and_deleted_at_once(demo):
    """More consumers than one page of Barbican's holds, and at the end none."""
    key = new_key(demo)
    images, threads = [], []
    for _ in range(12):
        threads.append(threading.Thread(target=lambda: images.append(image_with(demo.api, key, data=None))))
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    registered(demo, key, *images)
    threads = [threading.Thread(target=demo.api.delete, args=(image,)) for image in images]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    gone(demo.keys, key, 120)
