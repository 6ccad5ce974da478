"""openstacksdk, which the `openstack` command, Ansible and Horizon build on."""

import hashlib

import openstack.exceptions
import pytest

from clouds import unique
from image_api import MIB, Pattern


@pytest.fixture
def image(demo):
    made = demo.sdk.image.create_image(
        unique("sdk"), data=Pattern(3 * MIB).bytes(), disk_format="raw", container_format="bare",
        allow_duplicates=True)
    return demo.sdk.image.get_image(made.id)


def test_create_from_a_file_and_download_it(demo, qcow2, tmp_path):
    image = demo.sdk.create_image(unique("file"), filename=str(qcow2), disk_format="qcow2",
                                  container_format="bare", wait=True, timeout=120)
    assert image.status == "active"
    assert image.size == qcow2.stat().st_size
    copy = tmp_path / "copy"
    with open(copy, "wb") as file:
        for block in demo.sdk.image.download_image(image.id, stream=True).iter_content(MIB):
            file.write(block)
    assert copy.read_bytes() == qcow2.read_bytes()
    assert demo.sdk.delete_image(image.id, wait=True)
    assert demo.sdk.image.find_image(image.id) is None


def test_the_same_file_again_is_found_not_uploaded(demo, qcow2):
    """The SDK keeps the file's digests in properties with dots in their names."""
    name = unique("again")
    first = demo.sdk.create_image(name, filename=str(qcow2), validate_checksum=True,
                                  disk_format="qcow2", container_format="bare")
    again = demo.sdk.create_image(name, filename=str(qcow2), validate_checksum=True,
                                  disk_format="qcow2", container_format="bare")
    assert first.id == again.id
    assert first.properties["owner_specified.openstack.md5"] == hashlib.md5(qcow2.read_bytes()).hexdigest()


def test_attributes_and_times(demo, image):
    assert (image.status, image.visibility, image.owner_id) == ("active", "shared", demo.project_id)
    assert (image.hash_algo, image.hash_value) == ("sha512", hashlib.sha512(Pattern(3 * MIB).bytes()).hexdigest())
    assert image.checksum == hashlib.md5(Pattern(3 * MIB).bytes()).hexdigest()
    assert len(image.created_at) == len("2026-01-01T00:00:00Z") and image.created_at.endswith("Z")
    assert (image.is_hidden, image.is_protected, image.min_disk, image.min_ram) == (False, False, 0, 0)


def test_update_tags_and_actions(demo, image):
    service = demo.sdk.image
    updated = service.update_image(image, name=unique("renamed"), min_disk=2, os_version="12")
    assert (updated.min_disk, updated.os_version) == (2, "12")
    service.add_tag(image, "a tag with spaces")
    assert service.get_image(image).tags == ["a tag with spaces"]
    service.remove_tag(image, "a tag with spaces")
    assert service.get_image(image).tags == []
    service.deactivate_image(image)
    service.deactivate_image(image)
    assert service.get_image(image).status == "deactivated"
    service.reactivate_image(image)
    assert service.get_image(image).status == "active"


def test_members(demo, other, image):
    service, project = demo.sdk.image, other.project_id
    service.add_member(image, member_id=project)
    assert [member.status for member in service.members(image)] == ["pending"]
    # Named by id, a shared image is there from the start; in lists, once accepted.
    assert other.sdk.image.get_image(image.id).id == image.id
    other.sdk.image.update_member(project, image.id, status="accepted")
    assert image.id in [found.id for found in other.sdk.image.images(visibility="shared")]
    assert service.get_member(project, image).status == "accepted"
    with pytest.raises(openstack.exceptions.ForbiddenException):
        other.sdk.image.delete_image(image.id)
    service.remove_member(project, image)
    with pytest.raises(openstack.exceptions.NotFoundException):
        other.sdk.image.get_image(image.id)


def test_schemas_and_discovery(demo):
    service = demo.sdk.image
    assert "container_format" in service.get_image_schema().properties
    assert service.get_images_schema().name == "images"
    assert "member_id" in service.get_member_schema().properties
    assert service.get_members_schema().name == "members"
    assert isinstance(service.get_import_info().import_methods, dict)


def test_what_is_gone_stays_gone(demo, image):
    demo.sdk.image.delete_image(image)
    with pytest.raises(openstack.exceptions.NotFoundException):
        demo.sdk.image.get_image(image.id)
    assert demo.api.download(image.id).status_code == 404
    # Ids are never reused (image-api 6).
    assert demo.api.request("POST", "/v2/images", json={"id": image.id}).status_code == 409
