"""Images in every format, made by the tools people have, through the real server: what is honest is taken and measured,
what reaches for other files, or is not what it says, is refused and leaves nothing."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess

import pytest

from image_api import MIB, expect

pytestmark = pytest.mark.own_server

QEMU_IMG = shutil.which("qemu-img")


def qemu_img(*arguments: object) -> str:
    done = subprocess.run([QEMU_IMG, *map(str, arguments)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"qemu-img {arguments}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module", autouse=True)
def installed():
    assert QEMU_IMG, "qemu-img is missing: scripts/packages-test.txt has its package"


def create(directory, format: str, size: int, *options: object):
    file = directory / f"{format}-{size}"
    qemu_img("create", "-q", "-f", format, *options, file, size)
    return file


def taken(demo, data: bytes, disk_format: str) -> dict:
    image = demo.api.create(name="format", disk_format=disk_format, container_format="bare")["id"]
    expect(demo.api.upload(image, data), 204)
    shown = demo.api.show(image)
    assert demo.api.download(image).content == data
    expect(demo.api.delete(image), 204)
    return shown


def refused(demo, data: bytes, disk_format: str, *words: str) -> str:
    image = demo.api.create(name="format", disk_format=disk_format, container_format="bare")["id"]
    answer = expect(demo.api.upload(image, data), 415)
    for word in words:
        assert word in answer.text, answer.text
    shown = demo.api.show(image)
    assert shown["status"] == "queued"
    assert [shown[key] for key in ("size", "virtual_size", "checksum", "os_hash_value")] == [None] * 4
    assert demo.api.download(image).status_code == 204
    # It may be tried again, with data that fits.
    demo.api.patch(image, {"op": "replace", "path": "/disk_format", "value": "raw"})
    expect(demo.api.upload(image, b"plain"), 204)
    expect(demo.api.delete(image), 204)
    return answer.text


FORMATS = {"qcow2": "qcow2", "vhd": "vpc", "vhdx": "vhdx", "vmdk": "vmdk", "vdi": "vdi"}


@pytest.mark.parametrize("size", [MIB, 64 * MIB, 3000 * MIB])
@pytest.mark.parametrize("disk_format", FORMATS)
def test_a_virtual_size_comes_from_the_header(demo, tmp_path, disk_format, size):
    file = create(tmp_path, FORMATS[disk_format], size)
    wanted = json.loads(qemu_img("info", "--output=json", file))["virtual-size"]
    assert taken(demo, file.read_bytes(), disk_format)["virtual_size"] == wanted


def test_raw_is_as_large_as_it_is(demo):
    assert taken(demo, b"x" * 1000, "raw")["virtual_size"] == 1000


@pytest.mark.parametrize("disk_format", FORMATS)
def test_raw_may_hold_what_is_safe(demo, tmp_path, disk_format):
    data = create(tmp_path, FORMATS[disk_format], 4 * MIB).read_bytes()
    assert taken(demo, data, "raw")["virtual_size"] == len(data)


@pytest.mark.parametrize("disk_format", FORMATS)
def test_what_is_declared_is_what_it_must_be(demo, tmp_path, disk_format):
    refused(demo, b"not at all " * 200, disk_format, disk_format)
    other = "vdi" if disk_format != "vdi" else "qcow2"
    refused(demo, create(tmp_path, FORMATS[other], MIB).read_bytes(), disk_format)


@pytest.mark.parametrize("declared", ["qcow2", "raw"])
def test_a_qcow2_with_a_backing_file_is_refused(demo, tmp_path, declared):
    base = create(tmp_path, "raw", MIB)
    file = tmp_path / "overlay"
    qemu_img("create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", file)
    refused(demo, file.read_bytes(), declared, "backing")


@pytest.mark.parametrize("declared", ["qcow2", "raw"])
def test_a_qcow2_with_a_data_file_is_refused(demo, tmp_path, declared):
    file = create(tmp_path, "qcow2", MIB, "-o", f"data_file={tmp_path / 'outside'},data_file_raw=on")
    refused(demo, file.read_bytes(), declared, "data")


@pytest.mark.parametrize("declared", ["qcow2", "raw"])
def test_a_qcow2_that_names_a_file_of_the_host_is_refused(demo, tmp_path, declared):
    data = bytearray(create(tmp_path, "qcow2", MIB).read_bytes())
    name = b"/etc/passwd"
    data[8:20] = struct.pack(">QI", 1024, len(name))
    data[1024:1024 + len(name)] = name
    refused(demo, bytes(data), declared, "backing")


@pytest.mark.parametrize("subformat", ["monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat"])
def test_a_vmdk_in_several_files_is_refused(demo, tmp_path, subformat):
    file = create(tmp_path, "vmdk", MIB, "-o", f"subformat={subformat}")
    refused(demo, file.read_bytes(), "vmdk")


def test_qed_is_refused(demo, tmp_path):
    refused(demo, create(tmp_path, "qed", MIB).read_bytes(), "raw", "qed")


def test_in_a_container_nobody_looks(demo):
    image = demo.api.create(name="format", disk_format="qcow2", container_format="ovf")["id"]
    expect(demo.api.upload(image, b"anything"), 204)
    expect(demo.api.delete(image), 204)


def test_the_operator_may_do_without_the_match_and_not_without_the_safety(start, tmp_path):
    from conftest import site_of
    server = start({"image": {"verification": {"format_match": False}}})
    demo = site_of(server, server.data_dir / "clients").demo
    assert taken(demo, b"not at all", "qcow2")["virtual_size"] is None
    base = create(tmp_path, "raw", MIB)
    file = tmp_path / "overlay"
    qemu_img("create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", file)
    refused(demo, file.read_bytes(), "vmdk", "backing")
