"""An operator's day with `openstack secret …` and `openstack acl …` of python-barbicanclient."""

import uuid

import pytest

from clouds import unique
from key_manager_api import HAS_CONSUMERS, id_of

pytestmark = [pytest.mark.usefixtures("key_manager"), pytest.mark.timeout(280)]


@pytest.fixture(scope="module")
def user(site):
    return site.user("keeper")


def store(user, *options: str) -> str:
    """`openstack secret store OPTIONS`; the new secret's reference."""
    return user.openstack("secret", "store", *options)["Secret href"]


def test_text_is_stored_shown_and_deleted(user, key_manager):
    name = unique("text")
    made = user.openstack("secret", "store", "--name", name, "--payload", "päyload", "--payload-content-type",
                          "text/plain", "--secret-type", "passphrase", "--expiration", "2040-01-02T03:04:05")
    reference = made["Secret href"]
    assert reference.startswith(key_manager + "/v1/secrets/")
    assert (made["Name"], made["Status"], made["Created"]) == (name, None, None)  # it shows what it knows

    shown = user.openstack("secret", "get", reference)
    assert (shown["Name"], shown["Status"], shown["Secret type"], shown["Content types"]) == (
        name, "ACTIVE", "passphrase", {"default": "text/plain"})
    assert shown["Expiration"].startswith("2040-01-02T03:04:05")
    # The client's own defaults, whatever is stored.
    assert (shown["Algorithm"], shown["Bit length"], shown["Mode"]) == ("aes", 256, "cbc")
    assert user.openstack("secret", "get", "--payload", reference) == {"Payload": "päyload"}

    assert name in [row["Name"] for row in user.openstack("secret", "list", "--name", name)]
    user.openstack("secret", "delete", reference, json_output=False)
    assert "Not Found" in user.openstack_fails("secret", "get", reference)
    assert "Not Found" in user.openstack_fails("secret", "delete", reference)
    assert user.openstack("secret", "list", "--name", name) == []


def test_a_file_is_stored_and_saved_byte_for_byte(user, tmp_path):
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.write_bytes(bytes(range(256)) * 4)
    reference = store(user, "--name", unique("file"), "--file", str(source))
    shown = user.openstack("secret", "get", reference)
    assert shown["Content types"] == {"default": "application/octet-stream"}
    user.openstack("secret", "get", "--file", str(copy), "--payload_content_type", "application/octet-stream",
                   reference, json_output=False)
    assert copy.read_bytes() == source.read_bytes()
    # Without being told it asks for text, which this is not.
    assert "Not Acceptable" in user.openstack_fails("secret", "get", "--payload", reference)


def test_bytes_in_base64(user):
    reference = store(user, "--name", unique("base64"), "--payload", "AP8A/w==", "--payload-content-type",
                      "application/octet-stream", "--payload-content-encoding", "base64", "--algorithm", "aes",
                      "--bit-length", "32", "--mode", "ctr", "--secret-type", "symmetric")
    assert user.keys.payload(id_of(reference)) == b"\x00\xff\x00\xff"


def test_the_payload_comes_later(user):
    reference = store(user, "--name", unique("later"))
    assert user.openstack("secret", "get", reference)["Content types"] is None
    user.openstack("secret", "update", reference, "now it is here", json_output=False)
    assert user.openstack("secret", "get", "--payload", reference) == {"Payload": "now it is here"}
    assert "409" in (said := user.openstack_fails("secret", "update", reference, "again")) or "Conflict" in said


def test_list_filters(site):
    user = site.user("filters")
    for number, (kind, algorithm, bits) in enumerate((("symmetric", "aes", 256), ("symmetric", "aes", 128),
                                                      ("private", "rsa", 2048))):
        user.keys.store(b"x", name=f"interop-filter-{number}", secret_type=kind, algorithm=algorithm,
                        bit_length=bits, mode="cbc")

    def listed(*options: str) -> list[str]:
        return sorted(row["Name"][-1] for row in user.openstack("secret", "list", *options))

    assert listed() == ["0", "1", "2"]
    assert listed("--secret-type", "symmetric", "--bit-length", "128") == ["1"]
    assert listed("--algorithm", "rsa", "--mode", "cbc") == ["2"]
    assert listed("--name", "interop-filter-0") == ["0"]
    assert len(listed("--limit", "2")) == 2 and len(listed("--limit", "2", "--offset", "2")) == 1


def test_consumers(user):
    reference, resource = store(user, "--name", unique("consumed"), "--payload", "x"), str(uuid.uuid4())
    who = ("--service-type-name", "image", "--resource-type", "image", "--resource-id", resource)
    user.openstack("secret", "consumer", "create", *who, reference, json_output=False)
    [row] = user.openstack("secret", "consumer", "list", reference)
    assert (row["Service"], row["Resource type"], row["Resource id"]) == ("image", "image", resource)
    assert HAS_CONSUMERS in user.openstack_fails("secret", "delete", reference)
    user.openstack("secret", "consumer", "delete", *who, reference, json_output=False)
    assert "Not Found" in user.openstack_fails("secret", "consumer", "delete", *who, reference)
    user.openstack("secret", "consumer", "create", *who, reference, json_output=False)
    user.openstack("secret", "delete", "--force", reference, json_output=False)
    assert "Not Found" in user.openstack_fails("secret", "get", reference)


def test_access_lists(user, site):
    friend = site.user("friend")
    reference = store(user, "--name", unique("shared"), "--payload", "for two", "--payload-content-type", "text/plain")
    assert "Forbidden" in friend.openstack_fails("secret", "get", "--payload", reference)
    [row] = user.openstack("acl", "submit", "--user", friend.user_id, reference)
    assert (row["Operation Type"], row["Users"], row["Project Access"]) == ("read", [friend.user_id], True)
    assert friend.openstack("secret", "get", "--payload", reference) == {"Payload": "for two"}
    assert "Forbidden" in friend.openstack_fails("secret", "delete", reference)
    [row] = user.openstack("acl", "user", "add", "--user", "another", "--no-project-access", reference)
    assert (sorted(row["Users"]), row["Project Access"]) == (sorted(["another", friend.user_id]), False)
    [row] = user.openstack("acl", "user", "remove", "--user", friend.user_id, reference)
    assert row["Users"] == ["another"]
    assert "Forbidden" in friend.openstack_fails("secret", "get", "--payload", reference)
    user.openstack("acl", "delete", reference, json_output=False)
    [row] = user.openstack("acl", "get", reference)
    assert (row["Users"] or [], row["Project Access"]) == ([], True)


def test_containers(user):
    secrets = {name: store(user, "--name", unique(name), "--payload", "x") for name in (
        "public_key", "private_key", "certificate")}
    for kind, names in (("generic", ("certificate", "public_key")), ("rsa", ("public_key", "private_key")),
                        ("certificate", ("certificate", "private_key"))):
        options = [option for name in names for option in ("--secret", f"{name}={secrets[name]}")]
        name = unique(kind)
        made = user.openstack("secret", "container", "create", "--name", name, "--type", kind, *options)
        reference = made["Container href"]
        # As a table: of some kinds the client shows times that it cannot write as JSON.
        shown = user.openstack("secret", "container", "get", "--max-width", "0", reference, json_output=False)
        assert name in shown and "ACTIVE" in shown
        assert all(id_of(secrets[each]) in shown.replace("\n", "") for each in names)
        [row] = user.openstack("secret", "container", "list", "--name", name)
        assert (row["Container href"], row["Type"]) == (reference, kind)
        user.openstack("secret", "container", "delete", reference, json_output=False)
        assert "Not Found" in user.openstack_fails("secret", "container", "get", reference)


def test_orders(user):
    made = user.openstack("secret", "order", "create", "--name", unique("order"), "--bit-length", "192", "key")
    reference = made["Order href"]
    shown = user.openstack("secret", "order", "get", reference)
    assert (shown["Status"], shown["Type"]) == ("ACTIVE", "Key")
    assert reference in [row["Order href"] for row in user.openstack("secret", "order", "list", "--limit", "100")]
    assert len(user.keys.payload(id_of(shown["Secret href"]))) == 24
    user.openstack("secret", "order", "delete", reference, json_output=False)
    assert "Not Found" in user.openstack_fails("secret", "order", "get", reference)

    pair = user.openstack("secret", "order", "create", "--name", unique("pair"), "--algorithm", "rsa",
                          "--bit-length", "2048", "asymmetric")["Order href"]
    shown = user.openstack("secret", "order", "get", pair)
    assert (shown["Status"], shown["Type"]) == ("ACTIVE", "Asymmetric")
    assert "Public Key" in user.openstack("secret", "container", "get", shown["Container href"], json_output=False)


def test_what_is_refused_is_said(user):
    for options, says in (
        (("--payload", "x" * 20_001, "--payload-content-type", "text/plain"), "Request Entity Too Large"),
        (("--payload", "x", "--payload-content-type", "text/html"), "payload_content_type"),
        (("--payload", "x", "--payload-content-type", "application/octet-stream"), "payload_content_encoding"),
        (("--secret-type", "nonsense"), "secret_type"),
        (("--expiration", "2001-01-01"), "expiration"),
        (("--bit-length", "0"), "bit_length"),
    ):
        assert says in user.openstack_fails("secret", "store", *options), options


def test_a_reader_may_nothing(user, site):
    reader = site.user("reader", role="reader", project=user.project_id)
    reference = user.keys.reference(user.keys.store("x", name=unique("unread")))
    for command in (("list",), ("get", reference), ("delete", reference), ("store", "--payload", "x"),
                    ("order", "list"), ("container", "list")):
        assert "Forbidden" in reader.openstack_fails("secret", *command), command
