"""Stage and import, with the clients that people use."""

import hashlib
import time

from clouds import table, unique


def wait_for(cloud, image: str, status: str = "active") -> dict:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        shown = cloud.api.show(image)
        if shown["status"] == status and "os_glance_import_task" not in shown:
            return shown
        time.sleep(0.1)
    raise AssertionError(f"image {image} is {shown['status']}, not {status}: {shown}")


def test_glance_stages_and_imports(demo, qcow2):
    made = table(demo.glance("image-create", "--name", unique("staged"), "--disk-format", "qcow2",
                             "--container-format", "bare"))
    image = made["id"]
    demo.glance("image-stage", "--file", str(qcow2), image)
    assert table(demo.glance("image-show", image))["status"] == "uploading"
    demo.glance("image-import", image, "--import-method", "glance-direct")
    shown = wait_for(demo, image)
    assert shown["checksum"] == hashlib.md5(qcow2.read_bytes()).hexdigest()
    assert (shown["os_glance_importing_to_stores"], shown["os_glance_failed_import"]) == ("", "")


def test_glance_creates_by_import(demo, qcow2):
    assert "web-download" in demo.glance("import-info")  # the first is broken over two lines
    made = table(demo.glance("image-create-via-import", "--import-method", "glance-direct", "--name", unique("import"),
                             "--disk-format", "qcow2", "--container-format", "bare", "--file", str(qcow2)))
    assert wait_for(demo, made["id"])["size"] == qcow2.stat().st_size


def test_openstack_stages_and_imports(demo, qcow2):
    name = unique("staged")
    made = demo.openstack("image", "create", "--disk-format", "qcow2", "--container-format", "bare", name)
    demo.openstack("image", "stage", "--file", str(qcow2), name, json_output=False)
    # By default it asks that some stores may fail, which Glance refuses where there is one, and says nothing about it.
    demo.openstack("image", "import", "--method", "glance-direct", "--disallow-failure", name, json_output=False)
    assert wait_for(demo, made["id"])["checksum"] == hashlib.md5(qcow2.read_bytes()).hexdigest()


def test_a_file_that_is_not_what_it_says_returns_to_queued(demo, tmp_path):
    other = tmp_path / "other"
    other.write_bytes(b"no qcow2 at all" * 1000)
    made = table(demo.glance("image-create", "--name", unique("wrong"), "--disk-format", "qcow2",
                             "--container-format", "bare"))
    demo.glance("image-stage", "--file", str(other), made["id"])
    demo.glance("image-import", made["id"], "--import-method", "glance-direct")
    shown = wait_for(demo, made["id"], "queued")
    assert (shown["size"], shown["checksum"]) == (None, None)
