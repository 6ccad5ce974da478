"""Lists of 2,500 images: every page, filter and order, from each client."""

from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

import pytest

from clouds import unique
from conftest import IMAGE_URL
from image_api import expect

COUNT = 2500
FORMATS = ("raw", "qcow2", "vmdk")


def fields(index: int) -> dict:
    """Image `index` of the population; every attribute follows from the index."""
    image = {
        "name": f"interop-listed-{index:04d}", "disk_format": FORMATS[index % 3], "container_format": "bare",
        "min_ram": index % 5, "visibility": ("private", "shared")[index % 2],
        "os_distro": ("debian", "fedora", "alpine", "arch")[index % 4], "tags": [f"decade-{index // 10 % 10}"],
    }
    if index % 100 == 0:
        image["tags"].append("hundredth")
    if index % 500 == 0:
        image["os_hidden"] = True
    return image


# Raw ones, so that any bytes are their format.
WITH_DATA = range(3, 61, 3)
VISIBLE = [index for index in range(COUNT) if index % 500]


@pytest.fixture(scope="module")
def lister(site):
    """A user whose project holds the images, and nothing else."""
    cloud = site.user("lister")
    api = cloud.api
    with ThreadPoolExecutor(1 if IMAGE_URL else 12) as pool:  # real Glance loses some of many at once
        made = list(pool.map(lambda index: api.create(**fields(index)), range(COUNT)))
        # A few with data, for filters on size.
        list(pool.map(lambda index: expect(api.upload(made[index]["id"], b"x" * index), 204), WITH_DATA))
    return cloud


def indexes(images) -> list[int]:
    return [int((image["name"] if isinstance(image, dict) else image.name).rsplit("-", 1)[1]) for image in images]


def test_every_client_sees_each_image_once(lister):
    listed = lister.openstack("image", "list", "-c", "Name")
    assert sorted(row["Name"] for row in listed) == sorted(fields(index)["name"] for index in VISIBLE)
    assert sorted(indexes(lister.sdk.image.images())) == VISIBLE
    assert sorted(indexes(lister.glance_client.images.list())) == VISIBLE
    assert sorted(indexes(lister.glance_client.images.list(page_size=333))) == VISIBLE


@pytest.mark.parametrize("limit", [1000, 999, 97, 25])
def test_pages_join_without_gap_or_overlap(lister, limit):
    assert sorted(indexes(lister.api.list(limit=limit))) == VISIBLE


def test_the_limit_is_25_by_default_and_1000_at_most(lister):
    def page(query: str) -> dict:
        return expect(lister.api.request("GET", "/v2/images" + query), 200).json()

    assert len(page("")["images"]) == 25
    assert len(page("?limit=5000")["images"]) == 1000
    assert page("?limit=0")["images"] == []
    assert len(page("?limit=1")["images"]) == 1
    for wrong in ("-1", "abc", "1.5"):
        expect(lister.api.request("GET", f"/v2/images?limit={wrong}"), 400)


def test_links_keep_filters_and_drop_the_marker(lister):
    page = expect(lister.api.request("GET", "/v2/images?tag=hundredth&tag=decade-0&limit=2&sort=name:asc"), 200).json()
    assert page["schema"] == "/v2/schemas/images"
    assert page["next"].startswith("/v2/images?") and "marker=" in page["next"]
    second = expect(lister.api.request("GET", page["next"]), 200).json()
    assert second["first"].startswith("/v2/images?") and "marker=" not in second["first"]
    assert indexes(page["images"] + second["images"]) == [100, 200, 300, 400]
    first = expect(lister.api.request("GET", second["first"]), 200).json()
    assert indexes(first["images"]) == [100, 200]


def test_a_full_last_page_leads_to_an_empty_one(lister):
    page = expect(lister.api.request("GET", f"/v2/images?name=interop-listed-0042&limit=1"), 200).json()
    assert indexes(page["images"]) == [42]
    last = expect(lister.api.request("GET", page["next"]), 200).json()
    assert last["images"] == [] and "next" not in last


FILTERS = [
    ({"disk_format": "qcow2"}, lambda i: i % 3 == 1),
    ({"disk_format": "in:qcow2,vmdk"}, lambda i: i % 3 > 0),
    ({"name": "interop-listed-0007"}, lambda i: i == 7),
    ({"name": 'in:interop-listed-0007,"interop-listed-0008"'}, lambda i: i in (7, 8)),
    ({"os_distro": "alpine"}, lambda i: i % 4 == 2),
    ({"os_distro": "alpine", "disk_format": "raw"}, lambda i: i % 4 == 2 and i % 3 == 0),
    ({"tag": "decade-3"}, lambda i: i // 10 % 10 == 3),
    ({"tag": ["decade-0", "hundredth"]}, lambda i: i % 100 == 0),
    ({"visibility": "private"}, lambda i: i % 2 == 0),
    ({"min_ram": 4}, lambda i: i % 5 == 4),
    ({"min_ram_min": 3}, lambda i: i % 5 >= 3),
    ({"min_ram_min": 2, "min_ram_max": 3}, lambda i: i % 5 in (2, 3)),
    ({"status": "active"}, lambda i: i in WITH_DATA),
    ({"size_min": 10, "size_max": 15}, lambda i: i in (12, 15)),
    ({"status": "active", "size_max": 3}, lambda i: i == 3),
    ({"protected": "true"}, lambda i: False),
    ({"no_such_property": "x"}, lambda i: False),
    ({"created_at": "gt:2000-01-01T00:00:00Z"}, lambda i: True),
    ({"created_at": "lt:2000-01-01T00:00:00Z"}, lambda i: False),
]


@pytest.mark.parametrize("query, matches", FILTERS, ids=[urlencode(query, True) for query, _ in FILTERS])
def test_filters(lister, query, matches):
    found = lister.api.list(limit=1000, **query)
    assert sorted(indexes(found)) == [index for index in VISIBLE if matches(index)]


def test_hidden_images_are_listed_alone(lister):
    assert sorted(indexes(lister.api.list(os_hidden="true", limit=3))) == [0, 500, 1000, 1500, 2000]


ORDERS = [
    ("name:asc", lambda i: i),
    ("name:desc", lambda i: -i),
    ("disk_format:asc,name:desc", lambda i: (FORMATS[i % 3], -i)),
    ("disk_format:desc,name:asc", lambda i: (-sorted(FORMATS).index(FORMATS[i % 3]), i)),
]


@pytest.mark.parametrize("sort, order", ORDERS, ids=[sort for sort, _ in ORDERS])
def test_orders_hold_across_pages(lister, sort, order):
    assert indexes(lister.api.list(sort=sort, limit=777)) == sorted(VISIBLE, key=order)


def test_ties_are_broken_so_that_pages_stay_stable(lister):
    whole = [image["id"] for image in lister.api.list(sort_key="status", limit=1000)]
    assert [image["id"] for image in lister.api.list(sort_key="status", limit=313)] == whole
    newest_first = [image["created_at"] for image in lister.api.list(limit=1000)]
    assert newest_first == sorted(newest_first, reverse=True)


def test_the_command_line_filters_and_pages(lister):
    def found(*options: str) -> list[int]:
        return sorted(int(row["Name"].rsplit("-", 1)[1]) for row in lister.openstack("image", "list", *options))

    assert found("--property", "os_distro=arch", "--tag", "hundredth") == []
    assert found("--tag", "decade-9", "--property", "disk_format=raw", "--private") == [
        index for index in VISIBLE if index // 10 % 10 == 9 and index % 6 == 0]
    assert len(found("--limit", "40")) == 40
    marker = next(image["id"] for image in lister.api.list(name="interop-listed-2400"))
    after = found("--marker", marker, "--limit", "10")
    assert len(after) == 10 and 2400 not in after


def test_markers_that_cannot_be_are_refused(lister, other):
    foreign = other.api.create(name=unique("foreign"))["id"]
    deleted = lister.api.create(name=unique("deleted-0"))["id"]
    expect(lister.api.delete(deleted), 204)
    for marker in (foreign, deleted, "no-such-image"):
        expect(lister.api.request("GET", f"/v2/images?marker={marker}"), 400)


@pytest.mark.parametrize("query", [
    "sort=name:up", "sort=colour", "sort_key=nothing", "sort_dir=sideways", "sort=name&sort_key=name",
    "protected=False", "os_hidden=maybe", "visibility=secret", "member_status=sure", "changes-since=2020-01-01",
    "created_at=about:2020-01-01T00:00:00Z", "created_at=gt:yesterday", "size_min=many", "name=in:%22open",
    "name=%FF",
])
def test_queries_that_make_no_sense_are_refused(lister, query):
    expect(lister.api.request("GET", "/v2/images?" + query), 400)
