"""Several stores, as python-glanceclient and openstackclient see them."""

import json

import pytest

from clouds import unique
from conftest import site_of
from image_api import MIB, Pattern, expect

pytestmark = [pytest.mark.own_server, pytest.mark.own_identity, pytest.mark.timeout(280)]


@pytest.fixture
def site(start, scratch):
    """A server with two directories as stores, the second one the heavier."""
    base = scratch / unique("stores")
    server = start({"image": {"stores": [f"fast:{base}/fast", f"big:{base}/big;weight=5;description=Big disks"]}})
    return site_of(server, server.data_dir / "clients")


def test_clients_learn_of_the_stores_and_choose(site, tmp_path):
    demo, admin = site.demo, site.admin
    listed = demo.glance("stores-info")
    assert "fast" in listed and "Big disks" in listed
    assert "chunk_size" in admin.glance("stores-info", "--detail")
    assert "403" in demo.glance_fails("stores-info", "--detail")

    path = tmp_path / "disk"
    path.write_bytes(Pattern(3 * MIB).bytes())
    name = unique("stores")
    demo.glance("image-create", "--name", name, "--disk-format", "raw", "--container-format", "bare",
                "--file", str(path), "--store", "big")
    [image] = demo.api.list(name=name)
    assert image["stores"] == "big"
    copy = tmp_path / "copy"
    for prefer in ["big", "fast"]:
        answer = demo.api.request("GET", f"/v2/images/{image['id']}/file?prefer={prefer}")
        assert expect(answer, 200).content == path.read_bytes()
    demo.openstack("image", "save", "--file", str(copy), image["id"], json_output=False)
    assert copy.read_bytes() == path.read_bytes()

    assert "403" in demo.glance_fails("stores-delete", "--store", "big", image["id"])
    assert "403" in admin.glance_fails("stores-delete", "--store", "big", image["id"]), "it is the last"
    assert "not found" in admin.glance_fails("stores-delete", "--store", "fast", image["id"])
    assert "409" in admin.glance_fails("stores-delete", "--store", "nowhere", image["id"])


def test_without_a_store_for_them_no_locations_are_taken(site):
    image = site.demo.api.create_raw(name=unique("location"))["id"]
    assert "403" in site.demo.glance_fails("location-add", "--url", "http://images.example/disk", image)
    assert json.loads(site.demo.api.request("GET", f"/v2/images/{image}").text)["status"] == "queued"
