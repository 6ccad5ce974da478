"""The functional behaviours of the specification, by number: definitions, property protections, health."""

import re
import uuid

import pytest
import requests
import yaml

from ambrotype import REPOSITORY
from clouds import unique
from conftest import site_of
from image_api import expect

NAMESPACES = "/v2/metadefs/namespaces"


@pytest.fixture
def namespace(admin):
    name = unique("namespace")
    expect(admin.api.request("POST", NAMESPACES, json={"namespace": name, "visibility": "public"}), 201)
    yield name
    admin.api.request("PUT", f"{NAMESPACES}/{name}", json={"namespace": name, "protected": False})
    admin.api.request("DELETE", f"{NAMESPACES}/{name}")


def test_behaviour49_namespaces(admin, demo, namespace):
    path = f"{NAMESPACES}/{namespace}"
    expect(admin.api.request("POST", NAMESPACES, json={"namespace": namespace}), 409)
    assert expect(demo.api.request("GET", path), 200).json()["namespace"] == namespace
    expect(demo.api.request("POST", NAMESPACES, json={"namespace": unique("mine")}), 403)
    expect(demo.api.request("DELETE", path), 403)
    private = unique("private")
    expect(admin.api.request("POST", NAMESPACES, json={"namespace": private, "visibility": "private"}), 201)
    expect(demo.api.request("GET", f"{NAMESPACES}/{private}"), 404)
    listed = {n["namespace"] for n in demo.api.request("GET", f"{NAMESPACES}?limit=1000").json()["namespaces"]}
    assert namespace in listed and private not in listed
    expect(admin.api.request("PUT", path, json={"namespace": namespace, "protected": True}), 200)
    expect(admin.api.request("DELETE", path), 403)
    expect(admin.api.request("PUT", path, json={"namespace": namespace}), 200)
    # What is not said is the default: private again.
    expect(demo.api.request("GET", path), 404)
    expect(admin.api.request("DELETE", f"{NAMESPACES}/{private}"), 204)
    expect(admin.api.request("GET", f"{NAMESPACES}/{private}"), 404)


@pytest.mark.parametrize("kind, body", [
    ("objects", {"name": "one"}),
    ("properties", {"name": "one", "title": "One", "type": "string"}),
])
def test_behaviour50_objects_and_properties(admin, namespace, kind, body):
    path = f"{NAMESPACES}/{namespace}/{kind}"
    expect(admin.api.request("POST", path, json=body), 201)
    expect(admin.api.request("POST", path, json=body), 409)
    expect(admin.api.request("PUT", f"{path}/one", json=body | {"name": "two"}), 200)
    expect(admin.api.request("GET", f"{path}/one"), 404)
    expect(admin.api.request("GET", f"{path}/two"), 200)
    expect(admin.api.request("DELETE", f"{path}/two"), 204)
    expect(admin.api.request("GET", f"{path}/two"), 404)
    for name in ("a", "b"):
        expect(admin.api.request("POST", path, json=body | {"name": name}), 201)
    expect(admin.api.request("DELETE", path), 204)
    left = expect(admin.api.request("GET", path), 200).json()[kind]
    assert len(left) == 0


def test_behaviour50_tags(admin, namespace):
    path = f"{NAMESPACES}/{namespace}/tags"
    expect(admin.api.request("POST", path, json={"tags": [{"name": "a"}, {"name": "b"}]}), 201)
    expect(admin.api.request("POST", f"{path}/c"), 201)
    expect(admin.api.request("POST", f"{path}/c"), 409)
    expect(admin.api.request("PUT", f"{path}/c", json={"name": "d"}), 200)
    expect(admin.api.request("GET", f"{path}/c"), 404)
    assert [tag["name"] for tag in admin.api.request("GET", f"{path}?sort_dir=asc").json()["tags"]] == ["a", "b", "d"]
    expect(admin.api.request("DELETE", f"{path}/d"), 204)
    expect(admin.api.request("DELETE", f"{path}/d"), 404)
    expect(admin.api.request("DELETE", path), 204)
    assert admin.api.request("GET", path).json()["tags"] == []


def test_behaviour50_resource_types(admin, namespace):
    path = f"{NAMESPACES}/{namespace}/resource_types"
    kind = unique("type")
    expect(admin.api.request("POST", path, json={"name": kind, "prefix": "p_"}), 201)
    expect(admin.api.request("POST", path, json={"name": kind}), 409)
    found = admin.api.request("GET", path).json()["resource_type_associations"]
    assert [(entry["name"], entry["prefix"]) for entry in found] == [(kind, "p_")]
    expect(admin.api.request("DELETE", f"{path}/{kind}"), 204)
    expect(admin.api.request("DELETE", f"{path}/{kind}"), 404)


@pytest.mark.own_server
@pytest.mark.own_identity
def test_behaviour51_properties_are_protected_by_the_first_expression_that_matches(start, tmp_path):
    policy = tmp_path / "policy.yaml"
    policy.write_text(yaml.safe_dump({
        "spl_rule": "role:ADMIN",
        "property_protections": [
            {"pattern": "^x_none_.*", "create": "!", "read": "!", "update": "!", "delete": "!"},
            {"pattern": "^x_.*", "create": ["AdMiN"], "read": ["admin", "Member"],
             "update": "role:Admin", "delete": "role:admin"},
            {"pattern": "^spl_.*", "create": "rule:spl_rule", "read": "rule:spl_rule", "update": "rule:spl_rule",
             "delete": "rule:spl_rule"},
            {"pattern": "^free_.*", "create": "@", "read": "@", "update": "@", "delete": "@"},
        ],
    }))
    site = site_of(start({"image": {"policy_file": str(policy)}}), tmp_path / "clients")
    admin, demo = site.admin.api, site.demo.api
    for name in ("x_a", "x_none_a", "spl_a", "unmatched"):
        expect(demo.request("POST", "/v2/images", json={name: "1"}), 403)
    image = expect(admin.request("POST", "/v2/images", json={
        "owner": site.demo.project_id, "x_a": "1", "spl_a": "1", "free_a": "1"}), 201).json()["id"]
    shown = demo.show(image)
    assert shown["x_a"] == "1" and shown["free_a"] == "1" and "spl_a" not in shown
    assert admin.show(image)["spl_a"] == "1"
    for name in ("x_a", "spl_a"):
        refused = demo.patch(image, {"op": "replace", "path": f"/{name}", "value": "2"})
        expect(refused, 403, 409)  # what is hidden is not there
        expect(demo.patch(image, {"op": "remove", "path": f"/{name}"}), 403, 409)
    expect(demo.patch(image, {"op": "replace", "path": "/free_a", "value": "2"}), 200)
    # What a caller cannot read outlives what it writes.
    kept = admin.show(image)
    assert kept["spl_a"] == "1" and kept["x_a"] == "1" and kept["free_a"] == "2"


@pytest.mark.own_server
@pytest.mark.own_identity
def test_behaviour52_health_both_ways(start):
    server = start()
    assert requests.get(server.url + "/healthcheck", timeout=30).text == "OK"
    switch = server.data_dir / "disable"
    switch.touch()
    disabled = requests.get(server.url + "/healthcheck", timeout=30)
    assert (disabled.status_code, disabled.text) == (503, "DISABLED BY FILE")
    switch.unlink()
    assert requests.get(server.url + "/healthcheck", timeout=30).status_code == 200


@pytest.mark.own_server
def test_behaviour52_packed_answers_unpack_to_the_plain_ones(demo):
    name = unique("packed")
    images = [demo.api.create(name=name, long="ä" * 2000 + str(index)) for index in range(30)]
    try:
        for path in (f"/v2/images/{images[0]['id']}", f"/v2/images?name={name}", f"/v2/images?name={name}&limit=1000",
                     "/v2/schemas/image"):
            # One connection: an answer that says another length than it has would spoil the next.
            for _ in range(2):
                plain = expect(demo.api.request("GET", path, headers={"Accept-Encoding": "identity"}), 200)
                packed = expect(demo.api.request("GET", path, headers={"Accept-Encoding": "gzip"}), 200)
                assert "Content-Encoding" not in plain.headers and packed.headers["Content-Encoding"] == "gzip"
                assert packed.content == plain.content
                assert int(packed.headers["Content-Length"]) < len(plain.content)
    finally:
        for image in images:
            demo.api.delete(image["id"])


def test_every_behaviour_has_a_test():
    named = set()
    for directory in ("APITests", "UnitTests", "Interop"):
        for file in (REPOSITORY / "Tests" / directory).glob("*.*"):
            named |= {int(number) for number in re.findall(r"behaviour(\d\d)_", file.read_text(errors="replace"))}
    assert named == set(range(1, 53))
