"""Quotas while many ask at once: never a byte, nor an image, over."""

from __future__ import annotations

import os
import random
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import pytest

from ambrotype import Server, eventually
from conftest import site_of
from image_api import MIB, ImageAPI, Pattern, expect
from kill_check import Catalogue, stored, wait_until_finished
from test_interrupted_uploads import assert_free_again, assert_uploads, store_of

pytestmark = [pytest.mark.own_server, pytest.mark.own_identity]

RACERS = 64


@pytest.fixture
def source() -> random.Random:
    seed = int(os.environ.get("INTEROP_SEED", random.SystemRandom().getrandbits(32)))
    print(f"INTEROP_SEED={seed}")
    return random.Random(seed)


@contextmanager
def watched(server: Server, query: str):
    """A list that gets every value that the query, asked all the time, gives."""
    path, seen, end = server.data_dir / "ambrotype.db", [], threading.Event()

    def watch() -> None:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as database:
            while not end.is_set():
                seen.append(database.execute(query).fetchone()[0])
                end.wait(0.0005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        end.set()
        watcher.join()


CHARGED = "SELECT COALESCE(SUM(charged_bytes), 0) FROM blobs"


def race(calls: list) -> list:
    """What they return, begun at one moment."""
    barrier = threading.Barrier(len(calls))

    def begin(call):
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [begun.result() for begun in [pool.submit(begin, call) for call in calls]]


def upload(api: ImageAPI, image: str, data: Pattern, is_chunked: bool) -> int | None:
    """The status; None when the answer was lost because the connection was closed with bytes under way,
    as a refused upload's may be."""
    try:
        begun = api.begin_upload(image, None if is_chunked else data.size)
        return begun.send_all_and_answer(data.blocks())[0]
    except ConnectionError:
        return None


@pytest.mark.parametrize("bodies", ["announced", "chunked", "mixed"])
@pytest.mark.parametrize("quota, largest", [(1_000_003, 64_000), (40 * MIB, 4 * MIB), (200 * MIB, 6 * MIB)],
                         ids=["1MB", "40MiB", "200MiB"])
def test_uploads_that_race_for_the_last_bytes(start, source, measured, quota, largest, bodies):
    server = start({"image": {"quota": {"bytes": quota}}})
    api = site_of(server, server.data_dir.with_suffix(".clients")).demo.api
    sizes = [source.randint(1, largest) for _ in range(RACERS)]
    chunked = [bodies == "chunked" or bodies == "mixed" and source.random() < 0.5 for _ in range(RACERS)]
    images = [api.create_raw(name=f"racer-{index}")["id"] for index in range(RACERS)]
    data = [Pattern(size, seed=index) for index, size in enumerate(sizes)]
    with watched(server, CHARGED) as charged:
        statuses = race([lambda row=row: upload(api, *row) for row in zip(images, data, chunked)])
        assert set(statuses) <= {204, 413, None}, statuses
    assert max(charged) <= quota, f"{max(charged)} bytes were charged of {quota}"

    catalogue = Catalogue(server.data_dir)
    assert wait_until_finished(catalogue, 20) == []
    won = [index for index in range(RACERS) if statuses[index] == 204]
    used = sum(sizes[index] for index in won)
    assert won and used <= quota
    assert catalogue.rows(CHARGED) == [(used,)]
    assert sum(stored(store_of(server)).values()) == used
    shown = {image["id"]: image["status"] for image in api.list(limit=1000)}
    assert [index for index, image in enumerate(images) if shown[image] == "active"] == won
    refused = [index for index in range(RACERS) if index not in won]
    assert all(shown[images[index]] == "queued" for index in refused)
    measured(f"{RACERS} {bodies} uploads at once, quota {quota}", f"{len(won)} taken, {used} bytes; "
             f"at most {max(charged)} charged in {len(charged)} samples")

    # The room that is left is there to the last byte, and not one more.
    last = api.create_raw(name="last")["id"]
    over = api.create_raw(name="over")["id"]
    assert upload(api, over, Pattern(quota - used + 1), False) in (413, None)
    assert_free_again(api, over)
    if quota > used:
        assert_uploads(api, last, Pattern(quota - used, seed=5))
    assert upload(api, over, Pattern(1), True) == 413
    # A deletion makes room for those that were refused, at once.
    for index in won:
        expect(api.delete(images[index]), 204)
    room = used
    for index in refused[:5]:
        if sizes[index] <= room:
            assert_uploads(api, images[index], data[index])
            room -= sizes[index]
    assert wait_until_finished(catalogue, 20) == []
    assert catalogue.rows(CHARGED) == [(quota - room,)]


def test_uploads_deletions_and_broken_connections_race(start, source, measured):
    """All that takes and gives back room, for a while; afterwards every byte is accounted for."""
    quota = 24 * MIB
    server = start({"image": {"quota": {"bytes": quota}}})
    site = site_of(server, server.data_dir.with_suffix(".clients"))
    api, catalogue = site.demo.api, Catalogue(server.data_dir)

    def churn(seed: int) -> tuple[int, dict[str, int]]:
        draw, kept, taken = random.Random(seed), {}, 0
        for round in range(12):
            image, size = api.create_raw(name=f"churn-{seed}-{round}")["id"], draw.randint(1, 3 * MIB)
            if draw.random() < 0.2:
                api.begin_upload(image, None).send(Pattern(size).blocks(0, size // 2)).abort()
                expect(api.delete(image), 204)
                continue
            status = upload(api, image, Pattern(size, seed), draw.random() < 0.5)
            assert status in (204, 413, None), status
            if status == 204:
                taken += 1
                kept[image] = size
            if kept and draw.random() < 0.8:
                gone = draw.choice(sorted(kept))
                expect(api.delete(gone), 204)
                del kept[gone]
        return taken, kept

    with watched(server, CHARGED) as charged:
        results = race([lambda seed=source.getrandbits(32): churn(seed) for _ in range(16)])
    assert max(charged) <= quota
    assert sum(taken for taken, _ in results) > 0
    sizes = {image: size for _, kept in results for image, size in kept.items()}
    assert wait_until_finished(catalogue, 20) == []
    assert catalogue.rows(CHARGED) == [(sum(sizes.values()),)]
    assert sum(stored(store_of(server)).values()) == sum(sizes.values())
    active = {image["id"]: image["size"] for image in api.list(limit=1000, status="active")}
    assert active == sizes
    measured("uploads, deletions and broken connections at once",
             f"{sum(taken for taken, _ in results)} taken; at most {max(charged)} of {quota} bytes charged "
             f"in {len(charged)} samples")


@pytest.mark.parametrize("quota", [1, 10, 50])
def test_creations_that_race_for_the_last_images(start, quota):
    server = start({"image": {"quota": {"count": quota}}})
    api = site_of(server, server.data_dir.with_suffix(".clients")).demo.api
    with watched(server, "SELECT COUNT(*) FROM images WHERE deleted_at IS NULL") as counted:
        answers = race([lambda: api.request("POST", "/v2/images", json={"name": "racer"}) for _ in range(RACERS)])
    made = [expect(answer, 201, 413).json()["id"] for answer in answers if answer.status_code == 201]
    assert len(made) == quota and max(counted) <= quota
    assert len(api.list(limit=1000)) == quota
    expect(api.delete(made[0]), 204)
    api.create(name="in its place")
    expect(api.request("POST", "/v2/images", json={"name": "one more"}), 413)


def test_uploads_that_race_for_the_places_of_uploads(start):
    quota = 4
    server = start({"image": {"quota": {"uploading": quota}}})
    api = site_of(server, server.data_dir.with_suffix(".clients")).demo.api
    images = [api.create_raw(name=f"racer-{index}")["id"] for index in range(24)]
    data = Pattern(MIB)
    with watched(server, "SELECT COUNT(*) FROM images WHERE status = 'saving'") as counted:
        statuses = race([lambda image=image: upload(api, image, data, False) for image in images])
    assert max(counted) <= quota
    assert set(statuses) <= {204, 413, None} and 204 in statuses
    for image, status in zip(images, statuses):
        if status != 204:
            eventually(lambda: api.show(image)["status"] == "queued")
            assert_uploads(api, image, data)
