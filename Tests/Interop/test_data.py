"""Image data by hand: ranges, sizes announced and kept, what an upload may not do."""

import hashlib
import threading

import pytest

from ambrotype import eventually
from clouds import unique
from image_api import MIB, ImageAPI, Pattern, expect

DATA = Pattern(5 * MIB + 123, seed=5)


@pytest.fixture(scope="module")
def image(demo) -> str:
    made = demo.api.create_raw(name=unique("ranges"))["id"]
    expect(demo.api.upload(made, DATA.bytes()), 204)
    return made


def queued(api: ImageAPI) -> str:
    return api.create_raw(name=unique("queued"))["id"]


@pytest.mark.parametrize("asked, start, end", [
    ("bytes=0-0", 0, 1),
    ("bytes=3-10", 3, 11),
    (f"bytes=0-{MIB - 1}", 0, MIB),
    (f"bytes={MIB - 1}-{MIB}", MIB - 1, MIB + 1),
    (f"bytes={4 * MIB - 5}-", 4 * MIB - 5, DATA.size),
    ("bytes=-1", DATA.size - 1, DATA.size),
    (f"bytes=-{2 * MIB}", DATA.size - 2 * MIB, DATA.size),
    (f"bytes=-{10 * DATA.size}", 0, DATA.size),
    (f"bytes={DATA.size - 1}-{10 * DATA.size}", DATA.size - 1, DATA.size),
])
def test_a_range_is_that_part_and_says_so(demo, image, asked, start, end):
    answer = expect(demo.api.download(image, Range=asked), 206)
    assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/{DATA.size}"
    assert int(answer.headers["Content-Length"]) == end - start
    assert answer.content == DATA.bytes(start, end)


@pytest.mark.parametrize("asked", [
    f"bytes={DATA.size}-", f"bytes={DATA.size + 5}-{DATA.size + 9}", "bytes=10-5", "bytes=five-six", "bytes=", "lines=1-2",
])
def test_ranges_that_cannot_be_are_416(demo, image, asked):
    expect(demo.api.download(image, Range=asked), 416)


def test_several_ranges_at_once_are_refused(demo, image):
    expect(demo.api.download(image, Range="bytes=0-1,4-5"), 400)


def test_a_whole_download_carries_what_clients_verify(demo, image):
    answer = expect(demo.api.download(image), 200)
    assert answer.content == DATA.bytes()
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert int(answer.headers["Content-Length"]) == DATA.size
    assert answer.headers["Content-MD5"] == hashlib.md5(DATA.bytes()).hexdigest()


def test_an_interrupted_download_is_resumed(demo, image):
    """What wget and virt-builder do: take the rest from where the connection broke."""
    part = b""
    while len(part) < DATA.size:
        answer = demo.api.request("GET", f"/v2/images/{image}/file", stream=True,
                                  headers={"Range": f"bytes={len(part)}-"})
        part += answer.raw.read(2 * MIB)
        answer.close()
    assert part == DATA.bytes()


def test_before_data_there_is_none(demo):
    answer = expect(demo.api.download(queued(demo.api)), 204)
    assert answer.content == b""


def test_data_is_uploaded_once(demo, image):
    expect(demo.api.upload(image, b"other data"), 409)
    assert demo.api.download(image).content == DATA.bytes()


@pytest.mark.parametrize("announced", [DATA.size - 1, DATA.size + 1, "lots"])
def test_a_size_that_is_not_kept_is_refused_and_the_image_is_free_again(demo, announced):
    api, image = demo.api, queued(demo.api)
    headers = {"Content-Type": "application/octet-stream", "X-Openstack-Image-Size": str(announced)}
    expect(api.request("PUT", f"/v2/images/{image}/file", data=DATA.bytes(), headers=headers), 400)
    shown = api.show(image)
    assert (shown["status"], shown["size"], shown["checksum"], shown["os_hash_value"]) == ("queued", None, None, None)
    expect(api.upload(image, DATA.bytes()), 204)
    assert api.download(image).content == DATA.bytes()


def test_other_media_types_are_refused(demo):
    image = queued(demo.api)
    answer = demo.api.request("PUT", f"/v2/images/{image}/file", data=b"{}", headers={"Content-Type": "application/json"})
    expect(answer, 415)
    assert demo.api.show(image)["status"] == "queued"


def test_data_needs_its_formats_first(demo):
    image = demo.api.create(name=unique("formless"))["id"]
    expect(demo.api.upload(image, b"data"), 400)
    changed = demo.api.patch(image, {"op": "replace", "path": "/disk_format", "value": "raw"},
                             {"op": "replace", "path": "/container_format", "value": "bare"})
    expect(changed, 200)
    expect(demo.api.upload(image, b"data"), 204)


@pytest.mark.own_server
def test_two_uploads_to_one_image_have_one_winner(demo):
    api, image = demo.api, queued(demo.api)
    start = threading.Barrier(2)
    answers = []

    def upload(seed: int) -> None:
        data = Pattern(8 * MIB, seed=seed)
        start.wait()
        answers.append((api.begin_upload(image, data.size).send_all_and_answer(data.blocks())[0], seed))

    threads = [threading.Thread(target=upload, args=(seed,)) for seed in (6, 7)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    won = [seed for status, seed in answers if status == 204]
    assert len(won) == 1, answers
    assert {status for status, _ in answers} <= {204, 409, 410}, answers
    assert api.download(image).content == Pattern(8 * MIB, seed=won[0]).bytes()


@pytest.mark.own_server
def test_an_image_deleted_during_its_upload_is_gone(demo):
    api, image = demo.api, queued(demo.api)
    upload = api.begin_upload(image, 16 * MIB).send(Pattern(16 * MIB).blocks(0, 8 * MIB))
    eventually(lambda: api.show(image)["status"] == "saving")
    expect(api.delete(image), 204)
    status, body = upload.send_all_and_answer(Pattern(16 * MIB).blocks(8 * MIB))
    assert status in (404, 410), (status, body)
    expect(api.request("GET", f"/v2/images/{image}"), 404)
