"""The functional behaviours of the specification ("Upstream functional behaviours to reproduce"), by number: the
life of an image, its tags, lists, data and shares, and who may do what."""

import io
import json
import uuid

import pytest
import yaml

from clouds import unique
from conftest import site_of
from image_api import Pattern, expect

V20 = "application/openstack-images-v2.0-json-patch"
V21 = "application/openstack-images-v2.1-json-patch"


def patch(api, image: str, operations: list, dialect: str = V21):
    return api.request("PATCH", f"/v2/images/{image}", data=json.dumps(operations), headers={"Content-Type": dialect})


@pytest.fixture
def api(demo):
    return demo.api


@pytest.fixture
def queued(api):
    """An image without data."""
    image = api.create_raw(name=unique("behaviour"))["id"]
    yield image
    patch(api, image, [{"op": "replace", "path": "/protected", "value": False}])
    api.delete(image)


@pytest.fixture
def active(api, queued):
    expect(api.upload(queued, b"0123456789abcdef"), 204)
    return queued


# Lifecycle


def test_behaviour01_a_new_image_has_one_time_and_a_location_that_resolves(api):
    answer = expect(api.request("POST", "/v2/images", json={"name": unique("new")}), 201)
    image = answer.json()
    assert image["created_at"] == image["updated_at"]
    assert answer.headers["Location"].startswith("http")
    assert expect(api.request("GET", answer.headers["Location"]), 200).json() == image
    api.delete(image["id"])


def test_behaviour02_odd_filters_are_bad_requests(api):
    for query in ("protected=False", "changes-since=2026-01-01", "name=%FF", "%FF=name"):
        expect(api.request("GET", f"/v2/images?{query}"), 400)


def test_behaviour03_a_file_location_is_a_bad_request(api, queued):
    for url in ("file:///etc/passwd", "filesystem:///etc/passwd", "FILE:///etc/passwd"):
        answer = patch(api, queued, [{"op": "add", "path": "/locations/-", "value": {"url": url, "metadata": {}}}])
        # Forbidden where locations are not shown, which is the default; a bad request where they are.
        expect(answer, 400, 403)
    assert api.show(queued)["status"] == "queued"


def test_behaviour04_each_patch_dialect_works_and_rejects_the_other(api, queued):
    expect(patch(api, queued, [{"op": "replace", "path": "/name", "value": "new"}], V21), 200)
    expect(patch(api, queued, [{"replace": "/name", "value": "old"}], V20), 200)
    assert api.show(queued)["name"] == "old"
    expect(patch(api, queued, [{"op": "replace", "path": "/name", "value": "x"}], V20), 400)
    expect(patch(api, queued, [{"replace": "/name", "value": "x"}], V21), 400)
    expect(patch(api, queued, [], "application/json"), 415)
    assert api.show(queued)["name"] == "old"


def test_behaviour05_the_file_is_empty_before_data_and_gone_after_deletion(api, queued):
    before = expect(api.download(queued), 204)
    assert before.content == b""
    expect(api.delete(queued), 204)
    expect(api.download(queued), 404)


def test_behaviour06_a_second_upload_conflicts_and_changes_nothing(api, active):
    before = api.show(active)
    expect(api.upload(active, b"something else"), 409)
    assert api.download(active).content == b"0123456789abcdef"
    assert api.show(active) == before


def test_behaviour07_formats_are_fixed_once_active(api, active):
    for name in ("disk_format", "container_format"):
        same = api.show(active)[name]
        for value in (same, "ami"):
            expect(patch(api, active, [{"op": "replace", "path": f"/{name}", "value": value}]), 403)


def test_behaviour08_deactivation_is_idempotent_hides_data_and_not_the_image(api, active):
    for _ in range(2):
        expect(api.request("POST", f"/v2/images/{active}/actions/deactivate"), 204)
    assert active in {image["id"] for image in api.list(limit=1000)}
    expect(api.download(active), 403)
    for _ in range(2):
        expect(api.request("POST", f"/v2/images/{active}/actions/reactivate"), 204)
    expect(api.download(active), 200)


def test_behaviour09_others_may_not_deactivate(admin, other):
    public = admin.api.create_raw(name=unique("public"), visibility="public")["id"]
    private = admin.api.create_raw(name=unique("private"), visibility="private")["id"]
    for action in ("deactivate", "reactivate"):
        expect(other.api.request("POST", f"/v2/images/{public}/actions/{action}"), 403)
        expect(other.api.request("POST", f"/v2/images/{private}/actions/{action}"), 404)
    admin.api.delete(public)
    admin.api.delete(private)


def test_behaviour10_a_protected_image_stays_until_it_is_no_more(api, active):
    expect(patch(api, active, [{"op": "replace", "path": "/protected", "value": True}]), 200)
    expect(api.delete(active), 403)
    assert api.download(active).content == b"0123456789abcdef"
    expect(patch(api, active, [{"op": "replace", "path": "/protected", "value": False}]), 200)
    expect(api.delete(active), 204)


@pytest.mark.parametrize("body", ['"text"', "1", "1.5", "true", "null", "[]", '["a"]', "", "{", "nul"])
def test_behaviour11_only_objects_make_images(api, body):
    expect(api.request("POST", "/v2/images", data=body, headers={"Content-Type": "application/json"}), 400)


@pytest.mark.parametrize("name", ["id", "file", "location", "schema", "self"])
def test_behaviour12_what_the_server_sets_is_not_patched(api, queued, name):
    for operation in ({"op": "add", "value": "x"}, {"op": "replace", "value": "x"}, {"op": "remove"}):
        expect(patch(api, queued, [operation | {"path": f"/{name}"}]), 403)


def test_behaviour13_a_body_where_none_belongs_is_refused_before_anything_is_looked_up(api):
    missing = str(uuid.uuid4())
    calls = [
        ("GET", "/v2/images"), ("GET", f"/v2/images/{missing}"), ("DELETE", f"/v2/images/{missing}"),
        ("PUT", f"/v2/images/{missing}/tags/x"), ("DELETE", f"/v2/images/{missing}/tags/x"),
        ("POST", f"/v2/images/{missing}/actions/deactivate"), ("POST", f"/v2/images/{missing}/actions/reactivate"),
        ("GET", f"/v2/images/{missing}/members"), ("GET", f"/v2/images/{missing}/members/x"),
        ("DELETE", f"/v2/images/{missing}/members/x"), ("GET", "/v2/schemas/image"),
    ]
    for method, path in calls:
        answer = api.request(method, path, data=b"{}")
        assert answer.status_code == 400, f"{method} {path}: {answer.status_code}"


# Hidden images, tags, lists


def test_behaviour14_hidden_images_are_listed_only_when_asked_for(api):
    hidden = api.create_raw(name=unique("hidden"), os_hidden=True)["id"]
    shown = api.create_raw(name=unique("shown"))["id"]
    usual = {image["id"] for image in api.list(limit=1000)}
    assert hidden not in usual and shown in usual
    asked = {image["id"]: image["os_hidden"] for image in api.list(limit=1000, os_hidden="true")}
    assert hidden in asked and shown not in asked and all(asked.values())
    api.delete(hidden)
    api.delete(shown)


def test_behaviour15_tags_collapse_and_are_bounded(api):
    image = api.create(name=unique("tags"), tags=["a", "a", "b"])
    assert sorted(image["tags"]) == ["a", "b"]
    path = f"/v2/images/{image['id']}/tags"
    for _ in range(2):
        expect(api.request("PUT", f"{path}/a"), 204)
    expect(api.request("PUT", f"{path}/{'t' * 300}"), 400)
    expect(patch(api, image["id"], [{"op": "replace", "path": "/tags", "value": ["t" * 300]}]), 400)
    many = [f"t{n}" for n in range(128)]
    expect(patch(api, image["id"], [{"op": "replace", "path": "/tags", "value": many}]), 200)
    expect(api.request("PUT", f"{path}/one-more"), 413)
    expect(patch(api, image["id"], [{"op": "replace", "path": "/tags", "value": many + ["one-more"]}]), 413)
    assert sorted(api.show(image["id"])["tags"]) == sorted(many)
    expect(api.request("DELETE", f"{path}/one-more"), 404)
    api.delete(image["id"])


def test_behaviour16_first_keeps_the_filters_and_drops_the_marker(api, queued):
    page = expect(api.request("GET", f"/v2/images?limit=1&name=x%20y&marker={queued}"), 200).json()
    assert page["first"].startswith("/v2/images?")
    assert "marker" not in page["first"] and "limit=1" in page["first"]
    assert "name=x%20y" in page["first"] or "name=x+y" in page["first"]
    for wrong in ("created_at=foo:2026-01-01T00:00:00Z", "created_at=gt:yesterday", "updated_at=lt:", "updated_at=2026"):
        expect(api.request("GET", f"/v2/images?{wrong}"), 400)


def test_behaviour17_a_full_last_page_leads_to_an_empty_one(api):
    tag = unique("page")
    made = [api.create(tags=[tag])["id"] for _ in range(2)]
    first = expect(api.request("GET", f"/v2/images?tag={tag}&limit=2"), 200).json()
    assert len(first["images"]) == 2
    last = expect(api.request("GET", first["next"]), 200).json()
    assert last["images"] == [] and "next" not in last
    for image in made:
        api.delete(image)


def test_behaviour18_a_deleted_image_is_no_marker(api):
    image = api.create()["id"]
    expect(api.request("GET", f"/v2/images?marker={image}"), 200)
    expect(api.delete(image), 204)
    expect(api.request("GET", f"/v2/images?marker={image}"), 400)


def test_behaviour19_an_administrator_is_spared_the_communitys_images_of_others(admin, demo):
    mine = {v: demo.api.create_raw(name=unique(v), visibility=v)["id"] for v in ("private", "shared", "community")}
    usual = {image["id"] for image in admin.api.list(limit=1000)}
    assert mine["private"] in usual and mine["shared"] in usual and mine["community"] not in usual
    assert mine["community"] in {image["id"] for image in admin.api.list(limit=1000, visibility="community")}
    assert set(mine.values()) <= {image["id"] for image in admin.api.list(limit=1000, visibility="all")}
    for image in mine.values():
        demo.api.delete(image)


@pytest.mark.own_identity
def test_behaviour19_nobody_sees_nothing_without_a_token(site):
    import requests
    expect(requests.get(site.image_url + "/v2/images", timeout=30), 401)


# Data


def test_behaviour20_ranges_are_inclusive(api, queued):
    data = Pattern(5000).bytes()
    expect(api.upload(queued, data), 204)
    part = expect(api.download(queued, Range="bytes=3-10"), 206)
    assert part.content == data[3:11] and part.headers["Content-Range"] == "bytes 3-10/5000"
    expect(api.download(queued, Range="bytes=10-5"), 416)
    legacy = expect(api.download(queued, **{"Content-Range": "bytes 3-10/5000"}), 206)
    assert legacy.content == data[3:11]
    expect(api.download(queued, **{"Content-Range": "bytes 5000-5010/5000"}), 416)


def test_behaviour21_the_virtual_size_comes_from_the_header(api, qcow2):
    image = api.create(disk_format="qcow2", container_format="bare", name=unique("qcow2"))["id"]
    expect(api.upload(image, qcow2.read_bytes()), 204)
    shown = api.show(image)
    header = qcow2.read_bytes()[:32]
    assert shown["virtual_size"] == int.from_bytes(header[24:32], "big") != shown["size"]
    api.delete(image)


# Sharing


@pytest.fixture
def shared(demo, other):
    """An image of demo's that other was given."""
    image = demo.api.create_raw(name=unique("shared"))["id"]
    given = expect(demo.api.request("POST", f"/v2/images/{image}/members", json={"member": other.project_id}), 200)
    yield image, given.json()
    demo.api.delete(image)


def test_behaviour24_a_new_member_is_pending(shared, other):
    image, member = shared
    assert member["status"] == "pending"
    assert image not in {found["id"] for found in other.api.list(limit=1000)}
    own = other.api.create(name=unique("own"))["id"]
    pending = {found["id"] for found in other.api.list(limit=1000, member_status="pending")}
    assert {image, own} <= pending
    expect(other.api.request("PUT", f"/v2/images/{image}/members/{other.project_id}", json={"status": "accepted"}), 200)
    assert image in {found["id"] for found in other.api.list(limit=1000)}
    other.api.delete(own)


def test_behaviour25_each_does_only_its_own_part_of_sharing(shared, demo, other):
    image, _ = shared
    path = f"/v2/images/{image}/members/{other.project_id}"
    expect(demo.api.request("PUT", path, json={"status": "accepted"}), 403)
    expect(other.api.request("DELETE", path), 403)


@pytest.mark.parametrize("visibility", ["public", "private", "community"])
def test_behaviour26_only_shared_images_have_members(admin, other, visibility):
    image = admin.api.create_raw(name=unique(visibility), visibility=visibility)["id"]
    members = f"/v2/images/{image}/members"
    expect(admin.api.request("GET", members), 403)
    expect(admin.api.request("POST", members, json={"member": other.project_id}), 403)
    expect(admin.api.request("DELETE", f"{members}/{other.project_id}"), 403)
    expect(admin.api.request("GET", f"{members}/{other.project_id}"), 404)
    admin.api.delete(image)


def test_behaviour27_a_member_reads_and_does_not_write(shared, demo, other):
    image, _ = shared
    expect(other.api.request("GET", f"/v2/images/{image}"), 200)
    octets = {"Content-Type": "application/octet-stream"}
    expect(other.api.request("PUT", f"/v2/images/{image}/file", data=b"x", headers=octets), 403)
    expect(other.api.request("PUT", f"/v2/images/{image}/stage", data=b"x", headers=octets), 403)
    assert demo.api.show(image)["status"] == "queued"


@pytest.mark.own_server
@pytest.mark.own_identity
def test_behaviour28_the_eleventh_member_of_ten_is_too_many(start, tmp_path):
    cloud = site_of(start({"image": {"quota": {"members": 10}}}), tmp_path / "clients").demo
    image = cloud.api.create()["id"]
    members = f"/v2/images/{image}/members"
    for _ in range(10):
        expect(cloud.api.request("POST", members, json={"member": uuid.uuid4().hex}), 200)
    expect(cloud.api.request("POST", members, json={"member": uuid.uuid4().hex}), 413)
    assert len(cloud.api.request("GET", members).json()["members"]) == 10


# Policy


@pytest.fixture
def with_policy(start, tmp_path):
    """A server with a policy file, as its administrator, its user demo and another project's user."""

    def begin(rules: dict):
        file = tmp_path / "policy.yaml"
        file.write_text(yaml.safe_dump(rules))
        site = site_of(start({"image": {"policy_file": str(file)}}), tmp_path / "clients")
        return site

    return begin


@pytest.mark.own_server
@pytest.mark.own_identity
def test_behaviour29_a_refused_write_says_no_more_than_the_caller_may_know(admin, demo, other, with_policy):
    seen = admin.api.create_raw(name=unique("seen"), visibility="public")["id"]
    unseen = admin.api.create_raw(name=unique("unseen"), visibility="private")["id"]
    for image, status in ((seen, 403), (unseen, 404)):
        expect(other.api.delete(image), status)
        expect(patch(other.api, image, [{"op": "replace", "path": "/name", "value": "x"}]), status)
    admin.api.delete(seen)
    admin.api.delete(unseen)
    # What acts decides: who may delete need not be able to look.
    site = with_policy({"get_image": "role:admin"})
    image = site.demo.api.create_raw()["id"]
    expect(site.demo.api.request("GET", f"/v2/images/{image}"), 404)
    expect(site.demo.api.delete(image), 204)


@pytest.mark.own_server
@pytest.mark.own_identity
def test_behaviour30_who_may_list_and_not_look_gets_an_empty_list(with_policy):
    site = with_policy({"get_image": "role:admin"})
    site.demo.api.create_raw()
    assert expect(site.demo.api.request("GET", "/v2/images"), 200).json()["images"] == []


def test_behaviour31_images_are_not_made_for_others(demo, other):
    answer = expect(demo.api.request("POST", "/v2/images", json={"owner": other.project_id}), 403)
    assert other.project_id in answer.text
