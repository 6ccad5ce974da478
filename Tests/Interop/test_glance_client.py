"""python-glanceclient: the command `glance`, and the library Nova and Cinder use."""

import hashlib
import io

import pytest

from clouds import table, unique
from image_api import MIB, Pattern


def test_the_command_line_round_trip(demo, qcow2, tmp_path):
    name = unique("glance")
    made = table(demo.glance(
        "image-create", "--name", name, "--disk-format", "qcow2", "--container-format", "bare",
        "--file", str(qcow2), "--property", "os_distro=debian", "--tag", "first", "--min-disk", "1"))
    assert made["status"] == "active"
    assert made["checksum"] == hashlib.md5(qcow2.read_bytes()).hexdigest()
    assert (made["os_distro"], made["min_disk"]) == ("debian", "1")
    image = made["id"]

    assert image in demo.glance("image-list", "--property-filter", f"name={name}")
    copy = tmp_path / "copy.qcow2"
    demo.glance("image-download", "--file", str(copy), image)
    assert copy.read_bytes() == qcow2.read_bytes()

    updated = table(demo.glance("image-update", image, "--property", "os_version=12", "--min-ram", "256"))
    assert (updated["os_version"], updated["min_ram"]) == ("12", "256")
    updated = table(demo.glance("image-update", image, "--remove-property", "os_version",
                                "--property", "os_distro=other"))
    assert "os_version" not in updated and updated["os_distro"] == "other"

    demo.glance("image-tag-update", image, "second")
    assert "second" in table(demo.glance("image-show", image))["tags"]
    demo.glance("image-tag-delete", image, "second")
    assert "second" not in table(demo.glance("image-show", image))["tags"]
    assert "404" in demo.glance_fails("image-tag-delete", image, "second")

    demo.glance("image-deactivate", image)
    assert table(demo.glance("image-show", image))["status"] == "deactivated"
    assert "403" in demo.glance_fails("image-download", "--file", str(tmp_path / "no"), image)
    demo.glance("image-reactivate", image)

    demo.glance("image-delete", image)
    assert "404" in demo.glance_fails("image-show", image)


def test_typed_properties_of_the_schema_are_changed_and_removed(demo):
    """The client reads the schema to choose between `add` and `replace` (image-api 11)."""
    kernel = "11111111-2222-3333-4444-555555555555"
    made = table(demo.glance("image-create", "--name", unique("typed"), "--property", "os_distro=debian"))
    image = made["id"]
    changed = table(demo.glance("image-update", image, "--property", f"kernel_id={kernel}",
                                "--property", "os_distro=fedora", "--property", "architecture=x86_64"))
    assert (changed["kernel_id"], changed["os_distro"], changed["architecture"]) == (kernel, "fedora", "x86_64")
    left = table(demo.glance("image-update", image, "--remove-property", "kernel_id"))
    assert left.get("kernel_id", "None") == "None"


def test_members_by_command_line(demo, other):
    image = demo.api.create(name=unique("members"))["id"]
    project = other.project_id
    demo.glance("member-create", image, project)
    assert "pending" in demo.glance("member-list", "--image-id", image)
    assert "403" in demo.glance_fails("member-update", image, project, "accepted")
    other.glance("member-update", image, project, "accepted")
    assert "accepted" in demo.glance("member-get", image, project)
    assert image in other.glance("image-list", "--visibility", "shared", "--member-status", "accepted")
    demo.glance("member-delete", image, project)
    assert project not in demo.glance("member-list", "--image-id", image)
    assert "404" in other.glance_fails("image-show", image)


def test_explain_reads_the_schemas(demo):
    assert "container_format" in demo.glance("explain", "image")
    assert "member_id" in demo.glance("explain", "member")


def test_the_library_uploads_and_verifies(demo, tmp_path):
    images = demo.glance_client.images
    data = Pattern(9 * MIB + 17, seed=2)
    path = tmp_path / "data"
    path.write_bytes(data.bytes())
    image = images.create(name=unique("library"), disk_format="raw", container_format="bare")
    with open(path, "rb") as file:
        images.upload(image.id, file)  # chunked: the library announces no length
    shown = images.get(image.id)
    assert (shown.status, shown.size) == ("active", data.size)
    assert shown.os_hash_value == hashlib.sha512(data.bytes()).hexdigest()
    # Checks the digest while it iterates, and raises when it is not the image's.
    assert b"".join(images.data(image.id)) == data.bytes()
    images.delete(image.id)


def test_the_library_reads_no_data_before_there_is_any(demo):
    images = demo.glance_client.images
    image = images.create(name=unique("empty"), disk_format="raw", container_format="bare")
    assert images.data(image.id).wrapped is None or b"".join(images.data(image.id)) == b""


@pytest.mark.parametrize("size", [0, 1, MIB - 1, 4 * MIB, 4 * MIB + 1])
def test_sizes_at_the_edges(demo, size):
    images = demo.glance_client.images
    data = Pattern(size, seed=3).bytes()
    image = images.create(name=unique("edge"), disk_format="raw", container_format="bare")
    images.upload(image.id, io.BytesIO(data))
    assert images.get(image.id).size == size
    downloaded = demo.api.download(image.id)
    assert downloaded.content == data
    assert downloaded.headers["Content-Type"] == "application/octet-stream"
    assert downloaded.headers["Content-MD5"] == hashlib.md5(data).hexdigest()
