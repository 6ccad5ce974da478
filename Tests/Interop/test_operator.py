"""The operator's view, over HTTP and on the command line, while the server runs and while it does not."""

import json
import subprocess

import pytest

from ambrotype import BINARY, eventually
from conftest import site_of
from image_api import MIB, Pattern, expect

pytestmark = [pytest.mark.own_server, pytest.mark.own_identity]

ROOT = "/ambrotype/v1"


def ambrotype(server, *arguments, status=0) -> str:
    """`ambrotype ARGUMENTS` on the server's data; what it said, on standard error if it was to fail."""
    command = [str(BINARY), *arguments, "--data-dir", str(server.data_dir)]
    if server.config:
        command += ["--config", str(server.config)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == status, f"{command} ended with {result.returncode}\n{result.stdout}{result.stderr}"
    return result.stderr if status else result.stdout


def read(api, path: str) -> dict:
    return expect(api.request("GET", ROOT + path), 200).json()


def rows(output: str) -> list[list[str]]:
    """The cells of a printed table, without its titles; cells are two spaces apart."""
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in output.splitlines()[1:]]


def test_a_deleted_image_comes_back_while_the_server_runs(start):
    server = start({"image": {"recycle_bin_seconds": 3600}})
    site = site_of(server, server.data_dir / "clients")
    api, admin = site.demo.api, site.admin.api
    assert "empty" in ambrotype(server, "images", "deleted")
    data = Pattern(9 * MIB)
    image = api.create_raw(name="a\x1b[31m name", tags=["x", "y"], os_distro="debian")["id"]
    expect(api.upload(image, data.bytes()), 204)
    before = api.show(image)
    expect(api.delete(image), 204)
    expect(admin.request("GET", f"/v2/images/{image}"), 404)

    shown = ambrotype(server, "images", "deleted")
    assert "\x1b" not in shown, "a name must not reach the terminal as it is"
    [cells] = [cells for cells in rows(shown) if cells[0] == image]
    assert cells[1:3] == ["9.0 MiB", "active"]
    listed = json.loads(ambrotype(server, "images", "deleted", "--json"))
    assert listed["total"] == {"count": 1, "size_bytes": 9 * MIB}
    assert listed["deleted_images"] == read(admin, "/deleted-images")["deleted_images"]
    [usage] = read(admin, f"/usage?project={site.demo.project_id}")["usage"]
    assert (usage["images"], usage["charged_bytes"], usage["recycled_bytes"]) == (0, 0, 9 * MIB)

    ambrotype(server, "images", "undelete", image)
    after = api.show(image)
    assert after | {"updated_at": ""} == before | {"updated_at": ""}
    assert api.download(image).content == data.bytes()
    assert "is not in the recycle bin" in ambrotype(server, "images", "undelete", image, status=1)

    expect(api.delete(image), 204)
    assert "--yes" in ambrotype(server, "images", "discard", image, status=1)
    ambrotype(server, "images", "discard", image, "--yes")
    eventually(lambda: not list((server.data_dir / "stores/local/blobs").rglob("*-*")), message="its bytes are there")
    assert "is not in the recycle bin" in ambrotype(server, "images", "undelete", image, status=1)


def test_undeleting_asks_for_room_in_the_quota(start):
    server = start({"image": {"recycle_bin_seconds": 3600, "quota": {"count": 1}}})
    site = site_of(server, server.data_dir / "clients")
    first = site.demo.api.create_raw(name="first")["id"]
    expect(site.demo.api.delete(first), 204)
    site.demo.api.create_raw(name="second")
    assert "--over-quota" in ambrotype(server, "images", "undelete", first, status=1)
    ambrotype(server, "images", "undelete", first, "--over-quota")
    assert site.demo.api.show(first)["status"] == "queued"


def test_a_deletion_with_its_store_away_waits_visibly_and_heals(start):
    server = start()
    site = site_of(server, server.data_dir / "clients")
    api, admin = site.demo.api, site.admin.api
    image = api.create_raw(name="stuck")["id"]
    expect(api.upload(image, Pattern(MIB).bytes()), 204)
    store = server.data_dir / "stores/local"
    away = store.rename(server.data_dir / "away")
    expect(api.delete(image), 204)

    def waiting():
        found = [one for one in read(admin, "/deletions")["deletions"] if one["image"] == image]
        return found and found[0]["job"]["attempts"] >= 3 and found[0]

    deletion = eventually(waiting, message="the deletion is not shown with its failures")
    assert deletion["size_bytes"] == MIB and "unavailable" in deletion["job"]["last_error"]
    [room] = read(admin, "/stores")["stores"]
    assert room["free_bytes"] is None and "unavailable" in room["error"]
    assert room["blobs"]["doomed"] == {"count": 1, "size_bytes": MIB}
    name = deletion["job"]["name"]
    table = ambrotype(server, "jobs", "list")
    assert name in table and "waiting" in table and "unavailable" in table
    assert "No job is parked" in ambrotype(server, "jobs", "list", "--state", "parked")
    [job] = json.loads(ambrotype(server, "jobs", "list", "--json"))["jobs"]
    assert job["name"] == name and job["project"] == site.demo.project_id

    away.rename(store)
    ambrotype(server, "jobs", "retry", name)
    eventually(lambda: read(admin, "/deletions")["total"]["count"] == 0, seconds=8, message="it is not erased")
    assert not list((store / "blobs").rglob("*-*"))
    assert "There is no job" in ambrotype(server, "jobs", "retry", name, status=1)
    assert "nothing waits" in ambrotype(server, "jobs", "list")
    assert "No job is parked" in ambrotype(server, "jobs", "retry", "--parked")


def test_usage_follows_what_projects_have(start):
    server = start({"image": {"quota": {"bytes": 64 * MIB}}})
    site = site_of(server, server.data_dir / "clients")
    api, admin = site.demo.api, site.admin.api
    whole = api.create_raw(name="whole")["id"]
    expect(api.upload(whole, Pattern(3 * MIB).bytes()), 204)
    coming = api.create_raw(name="coming")["id"]
    upload = api.begin_upload(coming, 5 * MIB).send(Pattern(5 * MIB).blocks(0, MIB))
    eventually(lambda: api.show(coming)["status"] == "saving")
    answer = read(admin, "/usage")
    assert answer["quotas"]["charged_bytes"] == 64 * MIB
    [usage] = answer["usage"]
    assert usage["project"] == site.demo.project_id and usage["images"] == 2
    assert (usage["live_bytes"], usage["reserved_bytes"]) == (3 * MIB, 5 * MIB)
    [lease] = read(admin, "/leases")["blobs"]
    assert lease["image"] == coming and lease["reserved_bytes"] == 5 * MIB
    upload.abort()
    eventually(lambda: read(admin, "/usage")["usage"][0]["reserved_bytes"] == 0)
    expect(site.demo.api.request("GET", ROOT + "/usage"), 403)


def test_commands_work_while_the_server_does_not_run_and_make_nothing(start, scratch):
    server = start({"image": {"recycle_bin_seconds": 3600}})
    site = site_of(server, server.data_dir / "clients")
    image = site.demo.api.create_raw(name="kept")["id"]
    expect(site.demo.api.delete(image), 204)
    assert server.stop() == 0
    assert image in ambrotype(server, "images", "deleted")
    ambrotype(server, "images", "undelete", image)
    server.restart()
    assert site.demo.api.show(image)["name"] == "kept"

    empty = scratch / "no-server-was-here"
    empty.mkdir()
    for command in (["jobs", "list"], ["images", "deleted"], ["images", "undelete", image]):
        result = subprocess.run([BINARY, *command, "--data-dir", empty], capture_output=True, text=True, timeout=60)
        assert result.returncode == 1 and "there is no database" in result.stderr
        assert len(result.stderr.splitlines()) == 1
    assert list(empty.iterdir()) == []
    (empty / "ambrotype.db").touch()
    result = subprocess.run([BINARY, "jobs", "list", "--data-dir", empty], capture_output=True, text=True, timeout=60)
    assert result.returncode == 1 and "start the server once" in result.stderr
    assert len(result.stderr.splitlines()) == 1
