"""An operator's day with `openstack image …` of python-openstackclient."""

import filecmp
import hashlib
import json

import pytest

from clouds import unique
from image_api import expect

pytestmark = pytest.mark.timeout(280)


@pytest.fixture
def image(demo):
    """A small active image of demo, made by the command line client; its name."""
    name = unique("cli")
    made = demo.openstack("image", "create", "--disk-format", "raw", "--container-format", "bare", name)
    demo.api.upload(made["id"], b"forty-two bytes of a very small disk image").raise_for_status()
    return name


def names(listing: list[dict]) -> set[str]:
    return {row["Name"] for row in listing}


def digests(path) -> tuple[str, str]:
    md5, sha512 = hashlib.md5(), hashlib.sha512()
    with open(path, "rb") as file:
        while block := file.read(1 << 22):
            md5.update(block)
            sha512.update(block)
    return md5.hexdigest(), sha512.hexdigest()


def round_trip(cloud, path, disk_format: str, copy) -> dict:
    """Create with the data of `path`, show, save, compare, delete; the image as shown."""
    name = unique(path.stem)
    cloud.openstack("image", "create", "--disk-format", disk_format, "--container-format", "bare",
                    "--file", str(path), name)
    shown = cloud.openstack("image", "show", name)
    md5, sha512 = digests(path)
    assert shown["status"] == "active"
    assert shown["size"] == path.stat().st_size
    assert shown["checksum"] == md5
    assert shown["properties"]["os_hash_algo"] == "sha512"
    assert shown["properties"]["os_hash_value"] == sha512
    try:
        cloud.openstack("image", "save", "--file", str(copy), name, json_output=False)
        assert filecmp.cmp(path, copy, shallow=False), "the copy differs from what was uploaded"
    finally:
        copy.unlink(missing_ok=True)
    cloud.openstack("image", "delete", name, json_output=False)
    assert "No Image found" in cloud.openstack_fails("image", "show", name)
    return shown


def test_a_real_qcow2_comes_back_byte_for_byte(demo, qcow2, tmp_path):
    shown = round_trip(demo, qcow2, "qcow2", tmp_path / "copy.qcow2")
    assert (shown["disk_format"], shown["container_format"]) == ("qcow2", "bare")


def test_a_gibibyte_of_random_bytes_comes_back_byte_for_byte(demo, random_gib, scratch):
    round_trip(demo, random_gib, "raw", scratch / "copy.bin")


def test_create_takes_every_attribute(demo):
    name = unique("attributes")
    made = demo.openstack(
        "image", "create", "--disk-format", "qcow2", "--container-format", "bare", "--min-disk", "3",
        "--min-ram", "512", "--property", "os_distro=debian", "--property", "hw_disk_bus=virtio",
        "--tag", "one", "--tag", "two", "--community", "--protected", name)
    assert (made["min_disk"], made["min_ram"]) == (3, 512)
    assert (made["visibility"], made["protected"], made["status"]) == ("community", True, "queued")
    assert made["owner"] == demo.project_id
    assert sorted(made["tags"]) == ["one", "two"]
    shown = demo.openstack("image", "show", made["id"])
    assert shown["properties"]["os_distro"] == "debian"
    assert shown["properties"]["hw_disk_bus"] == "virtio"
    demo.openstack("image", "set", "--unprotected", name, json_output=False)


def test_set_and_unset(demo, image):
    demo.openstack("image", "set", "--property", "os_version=12", "--property", "colour=blue",
                   "--tag", "stable", "--tag", "gold", "--min-ram", "64", image, json_output=False)
    shown = demo.openstack("image", "show", image)
    assert shown["properties"]["os_version"] == "12"
    assert (sorted(shown["tags"]), shown["min_ram"]) == (["gold", "stable"], 64)

    renamed = unique("renamed")
    demo.openstack("image", "set", "--name", renamed, "--property", "colour=red", image, json_output=False)
    demo.openstack("image", "unset", "--property", "os_version", "--tag", "gold", renamed, json_output=False)
    shown = demo.openstack("image", "show", renamed)
    assert shown["properties"]["colour"] == "red"
    assert "os_version" not in shown["properties"]
    assert shown["tags"] == ["stable"]


def test_hidden_images_leave_the_ordinary_list(demo, image):
    demo.openstack("image", "set", "--hidden", image, json_output=False)
    assert image not in names(demo.openstack("image", "list"))
    assert image in names(demo.openstack("image", "list", "--hidden"))
    demo.openstack("image", "set", "--unhidden", image, json_output=False)
    assert image in names(demo.openstack("image", "list"))


def test_protected_images_are_not_deleted(demo, image):
    demo.openstack("image", "set", "--protected", image, json_output=False)
    assert "403" in demo.openstack_fails("image", "delete", image)
    demo.openstack("image", "set", "--unprotected", image, json_output=False)
    demo.openstack("image", "delete", image, json_output=False)
    assert image not in names(demo.openstack("image", "list"))


def test_deactivated_images_are_not_handed_out(demo, image, tmp_path):
    demo.openstack("image", "set", "--deactivate", image, json_output=False)
    assert demo.openstack("image", "show", image)["status"] == "deactivated"
    # The client takes the page of the 403 for data and complains of its checksum.
    assert "Unable to download image" in demo.openstack_fails("image", "save", "--file", str(tmp_path / "no"), image)
    expect(demo.api.download(demo.sdk.image.find_image(image).id), 403)
    demo.openstack("image", "set", "--activate", image, json_output=False)
    demo.openstack("image", "save", "--file", str(tmp_path / "yes"), image, json_output=False)
    assert (tmp_path / "yes").read_bytes() == b"forty-two bytes of a very small disk image"


def test_sharing_is_offered_accepted_rejected_and_ended(demo, other, image):
    identifier = demo.openstack("image", "show", image)["id"]
    assert "No Image found" in other.openstack_fails("image", "show", identifier)

    offered = demo.openstack("image", "add", "project", image, other.project_id)
    assert (offered["member_id"], offered["status"]) == (other.project_id, "pending")
    assert image not in names(other.openstack("image", "list", "--shared"))
    assert image in names(other.openstack("image", "list", "--shared", "--member-status", "pending"))

    other.openstack("image", "set", "--accept", identifier, json_output=False)
    assert image in names(other.openstack("image", "list", "--shared"))
    members = demo.openstack("image", "member", "list", image)
    assert [(row["Member ID"], row["Status"]) for row in members] == [(other.project_id, "accepted")]

    other.openstack("image", "set", "--reject", identifier, json_output=False)
    assert image not in names(other.openstack("image", "list", "--shared"))
    # Rejecting takes it off the list; what was shared can still be named (image-api 3.5).
    assert other.openstack("image", "show", identifier)["name"] == image

    demo.openstack("image", "remove", "project", image, other.project_id, json_output=False)
    assert "No Image found" in other.openstack_fails("image", "show", identifier)


def test_list_filters(demo):
    marked = unique("tag")
    wanted = demo.openstack("image", "create", "--tag", marked, "--property", f"shelf={marked}",
                            "--disk-format", "iso", "--container-format", "bare", "--private", unique("wanted"))
    demo.openstack("image", "create", "--tag", marked, unique("unwanted"))

    def found(*options: str) -> list[str]:
        return [row["ID"] for row in demo.openstack("image", "list", *options)]

    assert len(found("--tag", marked)) == 2
    for options in (("--property", f"shelf={marked}"), ("--name", wanted["name"]),
                    ("--tag", marked, "--private"), ("--tag", marked, "--property", "disk_format=iso")):
        assert found(*options) == [wanted["id"]], options
    assert found("--tag", marked, "--status", "active") == []
    assert found("--tag", marked, "--sort", "name:desc")[0] == wanted["id"]
    assert found("--tag", marked, "--sort", "name:asc")[1] == wanted["id"]
    long = demo.openstack("image", "list", "--long", "--name", wanted["name"])[0]
    assert (long["Disk Format"], long["Tags"], long["Visibility"]) == ("iso", [marked], "private")


def test_an_ambiguous_name_is_refused(demo):
    name = unique("twin")
    for _ in range(2):
        demo.openstack("image", "create", name)
    assert "More than one" in demo.openstack_fails("image", "show", name)


def test_wrong_formats_are_refused_by_name(demo):
    said = demo.openstack_fails("image", "create", "--property", "os_glance_secret=1", unique("reserved"))
    assert "403" in said
    # The client knows the formats itself; the service must too.
    answer = demo.api.request("POST", "/v2/images", data=json.dumps({"disk_format": "floppy"}))
    assert answer.status_code == 400 and "disk_format" in answer.text
