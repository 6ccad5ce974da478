"""The embedded identity service through `openstack`: tokens, catalogue, projects, users, roles."""

import pytest
import requests

from clouds import CommandFailed, unique

pytestmark = pytest.mark.own_identity


def application_credential(cloud, *options: str) -> dict:
    """A new one as `openstack` shows it; how it writes the keys depends on its version."""
    made = cloud.openstack("application", "credential", "create", *options)
    return {key.lower().replace(" ", "_"): value for key, value in made.items()}


def auth_entry(admin, **auth) -> dict:
    base = {"auth_url": admin.entry["auth"]["auth_url"], "user_domain_id": "default"}
    return admin.entry | {"auth": base | auth}


def test_tokens_are_issued_and_revoked(demo, site):
    issued = demo.openstack("token", "issue")
    assert issued["project_id"] == demo.project_id
    # The token alone signs in, until it is revoked.
    entry = {"auth_type": "v3token", "auth": {
        "auth_url": demo.entry["auth"]["auth_url"], "token": issued["id"], "project_id": issued["project_id"]}}
    by_token = site.cloud(unique("by-token"), demo.entry | entry)
    by_token.openstack("image", "list")
    demo.openstack("token", "revoke", issued["id"], json_output=False)
    said = by_token.openstack_fails("image", "list")
    assert "401" in said or "404" in said  # Keystone itself says 404 of the token to sign in with
    refused = requests.get(site.image_url + "/v2/images", headers={"X-Auth-Token": issued["id"]}, timeout=30)
    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"].startswith("Keystone uri=")


def test_the_catalogue_names_what_answers(demo, site):
    catalog = {row["Type"]: row for row in demo.openstack("catalog", "list")}
    assert {"identity", "image"} <= catalog.keys()
    for kind in ("identity", "image"):
        public = [endpoint for endpoint in catalog[kind]["Endpoints"] if endpoint["interface"] == "public"]
        assert len(public) == 1
        assert requests.get(public[0]["url"], timeout=30).status_code in (200, 300)
    shown = demo.openstack("catalog", "show", "image")
    assert site.image_url in str(shown["endpoints"])


def test_wrong_credentials_are_refused(admin, site):
    wrong = site.cloud(unique("wrong"), auth_entry(admin, username="demo", password="wrong", project_name="demo",
                                                   project_domain_id="default"))
    unknown = site.cloud(unique("unknown"), auth_entry(admin, username="nobody", password="wrong",
                                                       project_name="demo", project_domain_id="default"))
    messages = [cloud.openstack_fails("token", "issue").split("(Request-ID")[0] for cloud in (wrong, unknown)]
    assert "401" in messages[0]
    assert messages[0] == messages[1], "the answer tells which users there are"


def test_projects(admin):
    name = unique("project")
    made = admin.openstack("project", "create", "--description", "made here", name)
    assert (made["name"], made["enabled"], made["domain_id"]) == (name, True, "default")
    assert name in [row["Name"] for row in admin.openstack("project", "list")]
    admin.openstack("project", "set", "--description", "changed", "--disable", name, json_output=False)
    shown = admin.openstack("project", "show", name)
    assert (shown["description"], shown["enabled"]) == ("changed", False)
    with pytest.raises(CommandFailed, match="409|[Dd]uplicate|Conflict"):
        admin.openstack("project", "create", name)
    admin.openstack("project", "delete", name, json_output=False)
    assert "no project found" in admin.openstack_fails("project", "show", name).lower()


def test_users_roles_and_passwords(admin, site):
    project, user = unique("project"), unique("user")
    project_id = admin.openstack("project", "create", project)["id"]
    made = admin.openstack("user", "create", "--password", "first secret", "--email", "u@example.org", user)
    assert (made["name"], made["enabled"]) == (user, True)
    assert "password" not in made

    def sign_in(password: str):
        return site.cloud(unique("sign-in"), auth_entry(admin, username=user, password=password, project_id=project_id))

    # Without a role there is no way into the project.
    assert "401" in sign_in("first secret").openstack_fails("token", "issue")
    admin.openstack("role", "add", "--project", project, "--user", user, "member", json_output=False)
    cloud = sign_in("first secret")
    cloud.openstack("image", "create", unique("mine"))
    roles = admin.openstack("role", "assignment", "list", "--user", user, "--names")
    assert [(row["Role"], row["Project"]) for row in roles] == [("member", f"{project}@Default")]

    admin.openstack("user", "set", "--password", "second secret", user, json_output=False)
    assert "401" in sign_in("first secret").openstack_fails("token", "issue")
    cloud = sign_in("second secret")
    cloud.openstack("user", "password", "set", "--original-password", "second secret", "--password",
                    "third secret", json_output=False)
    cloud = sign_in("third secret")
    token = cloud.openstack("token", "issue")["id"]

    admin.openstack("role", "remove", "--project", project, "--user", user, "member", json_output=False)
    assert "401" in cloud.openstack_fails("image", "list")
    admin.openstack("role", "add", "--project", project, "--user", user, "member", json_output=False)
    admin.openstack("user", "set", "--disable", user, json_output=False)
    assert "401" in cloud.openstack_fails("image", "list")
    answer = requests.get(site.image_url + "/v2/images", headers={"X-Auth-Token": token}, timeout=30)
    assert answer.status_code == 401, "a disabled user's token still works"

    admin.openstack("user", "delete", user, json_output=False)
    assert user not in [row["Name"] for row in admin.openstack("user", "list")]
    admin.openstack("project", "delete", project, json_output=False)


def test_what_is_there_from_the_start(admin):
    assert {"admin", "manager", "member", "reader", "service"} <= {
        row["Name"] for row in admin.openstack("role", "list")}
    assert {"admin", "demo", "service"} <= {row["Name"] for row in admin.openstack("project", "list")}
    assert {"image", "identity"} <= {row["Type"] for row in admin.openstack("service", "list")}
    assert admin.openstack("domain", "show", "default")["name"] == "Default"
    assert admin.openstack("region", "list")
    endpoints = admin.openstack("endpoint", "list", "--service", "image", "--interface", "public")
    assert len(endpoints) == 1


def test_ordinary_users_do_not_administer(demo):
    for command in (("user", "list"), ("role", "list"), ("project", "create", unique("no")),
                    ("user", "create", "--password", "x", unique("no"))):
        assert "403" in demo.openstack_fails(*command), command
    # Refused the list of all, the client shows the user's own.
    assert [row["Name"] for row in demo.openstack("project", "list")] == ["demo"]


def test_repeated_wrong_passwords_lock_the_user_out(admin, site):
    cloud = site.user("locked")
    auth = cloud.entry["auth"]
    wrong = site.cloud(unique("guess"), cloud.entry | {"auth": auth | {"password": "a guess"}})
    cloud.openstack("token", "issue")
    for _ in range(5):
        assert "401" in wrong.openstack_fails("token", "issue")
    assert "401" in cloud.openstack_fails("token", "issue"), "the right password still works after five wrong ones"


def test_application_credentials_act_for_their_user_until_deleted(demo, site):
    name = unique("robot")
    made = application_credential(demo, "--role", "member", "--description", "robot", name)
    assert name in [row["Name"] for row in demo.openstack("application", "credential", "list")]

    entry = {"auth_type": "v3applicationcredential", "auth": {
        "auth_url": demo.entry["auth"]["auth_url"], "application_credential_id": made["id"],
        "application_credential_secret": made["secret"]}}
    robot = site.cloud(unique("robot"), demo.entry | entry)
    image = robot.openstack("image", "create", unique("by-robot"))
    assert image["owner"] == demo.project_id
    robot.openstack("image", "delete", image["id"], json_output=False)
    # Restricted unless asked otherwise: it makes no further credentials.
    assert "403" in robot.openstack_fails("application", "credential", "create", unique("child"))

    by_name = site.cloud(unique("robot"), demo.entry | entry | {"auth": {
        "auth_url": demo.entry["auth"]["auth_url"], "application_credential_name": name, "username": "demo",
        "user_domain_id": "default", "application_credential_secret": made["secret"]}})
    by_name.openstack("image", "list")
    wrong = site.cloud(unique("robot"), demo.entry | entry | {"auth": entry["auth"] | {
        "application_credential_secret": "guess"}})
    assert "401" in wrong.openstack_fails("image", "list")

    demo.openstack("application", "credential", "delete", name, json_output=False)
    assert "401" in robot.openstack_fails("image", "list")


def test_an_application_credential_without_options_has_its_users_roles(demo, site):
    made = application_credential(demo, unique("plain"))
    entry = {"auth_type": "v3applicationcredential", "auth": {
        "auth_url": demo.entry["auth"]["auth_url"], "application_credential_id": made["id"],
        "application_credential_secret": made["secret"]}}
    plain = site.cloud(unique("plain"), demo.entry | entry)
    assert plain.openstack("image", "create", unique("by-plain"))["owner"] == demo.project_id


def test_an_application_credential_keeps_to_its_access_rules(demo, site):
    rules = '[{"service": "image", "method": "GET", "path": "/v2/images"}]'
    made = application_credential(demo, "--role", "member", "--access-rules", rules, unique("narrow"))
    entry = {"auth_type": "v3applicationcredential", "auth": {
        "auth_url": demo.entry["auth"]["auth_url"], "application_credential_id": made["id"],
        "application_credential_secret": made["secret"]}}
    narrow = site.cloud(unique("narrow"), demo.entry | entry)
    narrow.openstack("image", "list")
    assert "401" in narrow.openstack_fails("image", "create", unique("no"))
