"""Who sees which image: every visibility, asked by every kind of caller."""

import pytest

from clouds import unique
from image_api import expect

VISIBILITIES = ("public", "community", "shared", "private")


@pytest.fixture(scope="module")
def people(site):
    """The owner's colleague and reader; a member with whom nothing, something, or more is shared."""
    owner = site.user("owner")
    return {
        "admin": site.admin,
        "owner": owner,
        "colleague": site.user("colleague", project=owner.project_id),
        "reader": site.user("reader", role="reader", project=owner.project_id),
        "stranger": site.user("stranger"),
        "offered": site.user("offered"),
        "accepted": site.user("accepted"),
        "rejected": site.user("rejected"),
    }


@pytest.fixture(scope="module")
def images(people):
    """One active image of each visibility; the shared one is offered to three projects."""
    admin, owner = people["admin"].api, people["owner"].api
    made = {}
    for visibility in VISIBILITIES:
        api = admin if visibility == "public" else owner
        image = api.create_raw(name=unique(visibility), visibility=visibility, owner=people["owner"].project_id)["id"]
        expect(owner.upload(image, b"data"), 204)
        made[visibility] = image
    for status in ("offered", "accepted", "rejected"):
        cloud = people[status]
        members = f"/v2/images/{made['shared']}/members"
        expect(owner.request("POST", members, json={"member": cloud.project_id}), 200)
        if status != "offered":
            expect(cloud.api.request("PUT", f"{members}/{cloud.project_id}", json={"status": status}), 200)
    yield made
    for image in made.values():  # a public image would turn up in every other test's lists
        admin.delete(image)


OWNERS = {"owner", "colleague", "reader"}
EVERYONE = OWNERS | {"admin", "stranger", "offered", "accepted", "rejected"}
CAN_GET = {
    "public": EVERYONE, "community": EVERYONE, "private": OWNERS | {"admin"},
    "shared": OWNERS | {"admin", "offered", "accepted", "rejected"},
}
IN_DEFAULT_LIST = {
    "public": EVERYONE, "community": OWNERS, "private": OWNERS | {"admin"},
    "shared": OWNERS | {"admin", "accepted"},
}
WHO = sorted(EVERYONE)


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("visibility", VISIBILITIES)
def test_get_and_default_list(people, images, who, visibility):
    api, image = people[who].api, images[visibility]
    answer = api.request("GET", f"/v2/images/{image}")
    expect(answer, 200 if who in CAN_GET[visibility] else 404)
    listed = image in {found["id"] for found in api.list(limit=1000)}
    assert listed == (who in IN_DEFAULT_LIST[visibility])


@pytest.mark.parametrize("who", WHO)
def test_lists_of_one_visibility(people, images, who):
    def listed(**query) -> set[str]:
        found = {image["id"] for image in people[who].api.list(limit=1000, **query)}
        return {visibility for visibility, image in images.items() if image in found}

    assert listed(visibility="public") == {"public"}
    assert listed(visibility="community") == {"community"}
    assert listed(visibility="private") == ({"private"} if who in IN_DEFAULT_LIST["private"] else set())
    assert listed(visibility="shared") == ({"shared"} if who in IN_DEFAULT_LIST["shared"] else set())
    assert listed(visibility="all") >= {"public", "community"}


def test_member_status_selects_offers(people, images):
    def listed(who: str, status: str) -> bool:
        found = people[who].api.list(limit=1000, visibility="shared", member_status=status)
        return images["shared"] in {image["id"] for image in found}

    for who, status in (("offered", "pending"), ("accepted", "accepted"), ("rejected", "rejected")):
        for asked in ("pending", "accepted", "rejected", "all"):
            assert listed(who, asked) == (asked in (status, "all")), (who, asked)


@pytest.mark.parametrize("who, status", [
    ("owner", 200), ("colleague", 200), ("admin", 200), ("stranger", 200), ("offered", 200), ("reader", 403),
])
def test_public_data_is_read_by_members_of_any_project(people, images, who, status):
    expect(people[who].api.download(images["public"]), status)


@pytest.mark.parametrize("who", sorted(EVERYONE - {"owner", "colleague", "admin"}))
@pytest.mark.parametrize("visibility", VISIBILITIES)
def test_nobody_else_writes(people, images, who, visibility):
    """403 for an image the caller may know of, 404 for any other (image-api 3)."""
    api, image = people[who].api, images[visibility]
    refused = 403 if who in CAN_GET[visibility] else 404
    expect(api.patch(image, {"op": "replace", "path": "/name", "value": "stolen"}), refused)
    expect(api.delete(image), refused)
    expect(api.request("PUT", f"/v2/images/{image}/tags/mine"), refused)
    expect(api.request("POST", f"/v2/images/{image}/actions/deactivate"), refused)


def test_a_colleague_does_what_the_owner_may(people, images):
    api = people["colleague"].api
    expect(api.patch(images["private"], {"op": "add", "path": "/seen", "value": "yes"}), 200)
    expect(api.request("PUT", f"/v2/images/{images['private']}/tags/seen"), 204)


def test_only_the_administrator_publishes(people, images):
    change = {"op": "replace", "path": "/visibility", "value": "public"}
    expect(people["owner"].api.patch(images["private"], change), 403)
    expect(people["owner"].api.request("POST", "/v2/images", json={"visibility": "public"}), 403)


def test_without_a_token_nothing_is_said(people, images):
    anonymous = people["stranger"].api
    anonymous.token = ""
    for path in ("/v2/images", f"/v2/images/{images['public']}", f"/v2/images/{images['public']}/file"):
        expect(anonymous.request("GET", path), 401)
