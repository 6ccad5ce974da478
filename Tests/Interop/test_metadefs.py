"""Metadata definitions: `glance md-*` and its library, and the definitions in files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from glanceclient import exc

from clouds import table, unique
from conftest import site_of
from test_operator import ambrotype

FILES = Path(__file__).parent / "metadefs"
MACHINE = FILES / "interop-machine.json"


@pytest.fixture
def namespace(admin):
    """A public namespace of the test's own."""
    name = unique("OS::Interop")
    admin.glance("md-namespace-create", name, "--visibility", "public", "--description", "A test's own.")
    yield name
    try:
        admin.glance_client.metadefs_namespace.delete(name)
    except exc.HTTPNotFound:
        pass


def test_namespaces_by_command_line(admin, demo):
    name = unique("OS::Interop")
    made = table(admin.glance("md-namespace-create", name, "--display-name", "Shown", "--visibility", "public",
                              "--protected", "True"))
    assert (made["namespace"], made["display_name"], made["protected"]) == (name, "Shown", "True")
    assert name in demo.glance("md-namespace-list")
    assert "403" in admin.glance_fails("md-namespace-delete", name)
    assert "403" in demo.glance_fails("md-namespace-create", unique("no"))
    assert "409" in admin.glance_fails("md-namespace-create", name)
    changed = table(admin.glance("md-namespace-update", name, "--protected", "False", "--visibility", "private"))
    assert (changed["protected"], changed["visibility"]) == ("False", "private")
    assert "404" in demo.glance_fails("md-namespace-show", name)
    assert name not in demo.glance("md-namespace-list")
    admin.glance("md-namespace-delete", name)
    assert "404" in admin.glance_fails("md-namespace-show", name)


def test_properties_by_command_line(admin, demo, namespace):
    schema = json.dumps({"enum": ["a", "b"], "description": "One of two."})
    made = table(admin.glance("md-property-create", namespace, "--name", "p", "--title", "P", "--type", "string",
                              "--schema", schema))
    assert (made["name"], made["title"], made["type"]) == ("p", "P", "string")
    assert "One of two." in demo.glance("md-property-show", namespace, "p")
    assert "P" in demo.glance("md-property-list", namespace)
    changed = table(admin.glance("md-property-update", namespace, "p", "--title", "Other"))
    assert changed["title"] == "Other"
    admin.glance("md-property-delete", namespace, "p")
    assert "404" in admin.glance_fails("md-property-show", namespace, "p")
    admin.glance("md-namespace-properties-delete", namespace)


def test_objects_by_command_line(admin, demo, namespace):
    schema = json.dumps({"required": ["q"], "properties": {"q": {"title": "Q", "type": "integer", "minimum": 1}}})
    made = table(admin.glance("md-object-create", namespace, "--name", "o", "--schema", schema))
    assert made["name"] == "o" and "q" in made["properties"]
    assert "o" in demo.glance("md-object-list", namespace)
    assert table(demo.glance("md-object-property-show", namespace, "o", "q"))["title"] == "Q"
    assert table(admin.glance("md-object-update", namespace, "o", "--name", "renamed"))["name"] == "renamed"
    assert "404" in demo.glance_fails("md-object-show", namespace, "o")
    admin.glance("md-object-delete", namespace, "renamed")
    admin.glance("md-namespace-objects-delete", namespace)
    assert "renamed" not in demo.glance("md-object-list", namespace)


def test_tags_by_command_line(admin, demo, namespace):
    def tags() -> list[str]:
        return [tag.name for tag in demo.glance_client.metadefs_tag.list(namespace)]

    admin.glance("md-tag-create", namespace, "--name", "single")
    assert "single" in demo.glance("md-tag-show", namespace, "single")
    admin.glance("md-tag-create-multiple", namespace, "--names", "a,b")
    assert sorted(tags()) == ["a", "b"]
    # glance's own --append fails in the client: it sends a header that is no text.
    admin.sdk.image.get_metadef_namespace(namespace).set_tags(admin.sdk.image, ["c"], append=True)
    assert sorted(tags()) == ["a", "b", "c"]
    admin.glance("md-tag-update", namespace, "a", "--name", "d")
    admin.glance("md-tag-delete", namespace, "b")
    assert sorted(tags()) == ["c", "d"]
    admin.glance("md-namespace-tags-delete", namespace)
    assert tags() == []


def test_resource_types_by_command_line(admin, demo, namespace):
    kind = unique("OS::Interop::Type")
    made = table(admin.glance("md-resource-type-associate", namespace, "--name", kind, "--prefix", "hw_"))
    assert (made["name"], made["prefix"]) == (kind, "hw_")
    admin.glance("md-property-create", namespace, "--name", "p", "--title", "P", "--type", "string", "--schema", "{}")
    assert kind in demo.glance("md-resource-type-list")
    assert kind in demo.glance("md-namespace-resource-type-list", namespace)
    assert namespace in demo.glance("md-namespace-list", "--resource-types", kind)
    assert "hw_p" in demo.glance("md-namespace-show", namespace, "--resource-type", kind)
    admin.glance("md-resource-type-deassociate", namespace, kind)
    assert kind not in demo.glance("md-namespace-resource-type-list", namespace)


def test_a_file_is_imported_and_listed_page_by_page(admin, demo, tmp_path):
    names = []
    for index in range(5):
        document = json.loads(MACHINE.read_text()) | {"namespace": unique("OS::Interop"), "protected": False}
        path = tmp_path / f"{index}.json"
        path.write_text(json.dumps(document))
        admin.glance("md-namespace-import", "--file", str(path))
        names.append(document["namespace"])
    listed = [found.namespace for found in demo.glance_client.metadefs_namespace.list(page_size=2)]
    assert [name for name in listed if name in names] == names[::-1]
    assert len(listed) == len(set(listed))
    shown = demo.glance_client.metadefs_namespace.get(names[0], resource_type="OS::Nova::Flavor")
    assert list(shown.properties) == ["hw:interop_mode"]
    for name in names:
        admin.glance_client.metadefs_namespace.delete(name)


def test_openstackclient_knows_namespaces(admin, demo):
    name = unique("OS::Interop")
    made = admin.openstack("image", "metadef", "namespace", "create", name, "--public", "--description", "By name")
    assert (made["namespace"], made["visibility"]) == (name, "public")
    listed = demo.openstack("image", "metadef", "namespace", "list")
    assert any(name in str(row) for row in listed)
    admin.openstack("image", "metadef", "namespace", "set", name, "--private", "--display-name", "Shown",
                    json_output=False)
    shown = admin.openstack("image", "metadef", "namespace", "show", name)
    assert (shown["visibility"], shown["display_name"]) == ("private", "Shown")
    admin.openstack("image", "metadef", "namespace", "delete", name, json_output=False)
    assert all(name not in str(row) for row in admin.openstack("image", "metadef", "namespace", "list"))


def test_the_sdk_pages_and_associates(admin, demo, namespace):
    image = admin.sdk.image
    kind = unique("OS::Interop::Type")
    image.create_metadef_resource_type_association(namespace, name=kind, prefix="p_")
    assert kind in [found.name for found in demo.sdk.image.metadef_resource_type_associations(namespace)]
    image.create_metadef_property(namespace, name="p", title="P", type="string")
    assert [found.name for found in demo.sdk.image.metadef_properties(namespace)] == ["p"]
    assert demo.sdk.image.get_metadef_property("p", namespace).title == "P"
    image.create_metadef_object(namespace, name="o")
    assert demo.sdk.image.get_metadef_object("o", namespace).name == "o"
    image.delete_metadef_object("o", namespace)
    assert list(demo.sdk.image.metadef_objects(namespace)) == []
    assert namespace in [found.namespace for found in demo.sdk.image.metadef_namespaces(limit=1)]


@pytest.mark.own_server
@pytest.mark.own_identity
def test_definitions_are_loaded_and_exported_while_the_server_runs(start, scratch, tmp_path):
    server = start()
    site = site_of(server, server.data_dir / "clients")
    said = ambrotype(server, "metadefs", "load", str(FILES))
    assert "Interop::Machine: added" in said and "1 added" in said
    client = site.demo.glance_client
    shown = client.metadefs_namespace.get("Interop::Machine", resource_type="OS::Glance::Image")
    assert list(shown.properties) == ["hw_interop_mode"]
    assert "OS::Nova::Flavor" in [found.name for found in client.metadefs_resource_type.list()]

    # What is there stays, unless asked otherwise.
    document = json.loads(MACHINE.read_text())
    document["description"] = "Changed."
    document["tags"] = [{"name": "interop-three"}]
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(document))
    assert "left as it is" in ambrotype(server, "metadefs", "load", str(changed))
    assert client.metadefs_namespace.get("Interop::Machine").description == json.loads(
        MACHINE.read_text())["description"]
    ambrotype(server, "metadefs", "load", str(changed), "--merge")
    assert len(list(client.metadefs_tag.list("Interop::Machine"))) == 3
    ambrotype(server, "metadefs", "load", str(changed), "--replace")
    assert [tag.name for tag in client.metadefs_tag.list("Interop::Machine")] == ["interop-three"]
    assert client.metadefs_namespace.get("Interop::Machine").description == "Changed."

    # And what is exported, another server takes.
    exported = tmp_path / "exported"
    assert "Interop-Machine.json" in ambrotype(server, "metadefs", "export", str(exported))
    assert "was not found" in ambrotype(server, "metadefs", "export", "--namespace", "none", str(exported), status=1)
    assert json.loads((exported / "Interop-Machine.json").read_text())["tags"] == [{"name": "interop-three"}]
    other = start()
    ambrotype(other, "metadefs", "load", str(exported))
    again = tmp_path / "again"
    assert other.stop() == 0
    ambrotype(other, "metadefs", "export", "--namespace", "Interop::Machine", str(again))
    assert (again / "Interop-Machine.json").read_text() == (exported / "Interop-Machine.json").read_text()


@pytest.mark.own_server
@pytest.mark.own_identity
def test_a_file_that_is_wrong_keeps_all_others_out(start, tmp_path):
    server = start()
    site = site_of(server, server.data_dir / "clients")
    (tmp_path / "a.json").write_text(json.dumps({"namespace": "Interop::A"}))
    for wrong, why in [
        ("{", "not JSON"), ("[]", "JSON object"), ("{}", "'namespace' is required"),
        ('{"namespace": "x", "unknown": 1}', "unknown"), ('{"namespace": "Interop::A"}', "as well"),
        ('{"namespace": "x", "tags": [{"name": "t"}, {"name": "t"}]}', "already exists"),
    ]:
        (tmp_path / "b.json").write_text(wrong)
        said = ambrotype(server, "metadefs", "load", str(tmp_path), status=1)
        assert why in said and said.count("\n") == 1, said
    assert "not there" in ambrotype(server, "metadefs", "load", str(tmp_path / "none"), status=1)
    assert list(site.admin.glance_client.metadefs_namespace.list()) == []
