"""Hostile content by way of an import: data that unpacks to far more than it is, disks that reach for other files or
make no sense, servers that never stop, never begin, dawdle or break off. Each ends within bounds of time, memory and
disk, as a failure with a reason; the image waits for data as before, and nothing is left.
"""

from __future__ import annotations

import gzip
import lzma
import os
import shutil
import struct
import subprocess
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ambrotype import Server, eventually
from conftest import site_of
from image_api import GIB, MIB, ImageAPI, expect
from import_peers import Listener, answer_with, ask, assert_failed, assert_nothing_is_left, ended, outcome, used_bytes

pytestmark = [pytest.mark.own_server, pytest.mark.own_identity]

# What an import may add to the server's peak resident size.
MEMORY = 100 * MIB
# What the database and its log may grow by while images come and go.
RECORDS = 16 * MIB
SECRETS = ["ambrotype.db", "master-keys", "record-key", "token-keys.pem", "clouds.yaml"]


class Site:
    """A server that fetches from the loopback, and a web server there with whatever a test puts in it."""

    def __init__(self, start: Callable[..., Server], directory: Path, image: dict, **fetched: object):
        self.files: dict[str, Callable] = {}
        self.source = Listener(lambda request: self.files[request.path](request))
        allowed = {"allowed_ports": str(self.source.port), "allowed_networks": "127.0.0.1/32"}
        settings = {key: str(value) for key, value in (allowed | fetched).items()}
        self.server = start({"image": image | {"import": settings | image.get("import", {})}})
        self.api: ImageAPI = site_of(self.server, directory).demo.api
        self.taken(b"whatever is done once only is done", "raw")
        self.server.forget_peak()
        self.start_bytes, self.start_peak = used_bytes(self.server), self.server.peak_resident_bytes()
        self.peak_bytes = 0

    def serve(self, path: str, answer: Callable) -> str:
        """The URL at which a request is answered so."""
        self.files[path] = answer
        return self.source.url + path

    def begin(self, answer: bytes | Callable, disk_format: str = "raw") -> str:
        """Asks for the import of what is served; the image."""
        image = self.api.create(disk_format=disk_format, container_format="bare")["id"]
        if isinstance(answer, bytes):
            answer = answer_with(answer)
        ask(self.api, image, self.serve(f"/{image}", answer))
        return image

    def taken(self, data: bytes, disk_format: str) -> dict:
        image = self.begin(data, disk_format)
        shown = outcome(self.api, image).image
        assert shown["status"] == "active", shown
        expect(self.api.delete(image), 204)
        return shown

    def failed(self, image: str, *words: str, seconds: float = 60) -> str:
        """Waits for its failure, and watches the disk meanwhile."""

        def is_over() -> bool:
            self.peak_bytes = max(self.peak_bytes, used_bytes(self.server) - self.start_bytes)
            return ended(self.api, image) is not None

        eventually(is_over, seconds, f"the import of {image} ends")
        return assert_failed(self.api, image, *words)

    @property
    def memory(self) -> int:
        """By how much the peak grew."""
        return self.server.peak_resident_bytes() - self.start_peak

    def assert_back_to_start(self) -> None:
        """Memory never went up, the disk is as it was, nothing is left."""
        assert self.memory < MEMORY, f"{self.memory / MIB:.0f} MiB"
        eventually(lambda: used_bytes(self.server) - self.start_bytes < RECORDS, message="the space is back")
        assert_nothing_is_left(self.server)


@pytest.fixture
def site(start, tmp_path):
    made = []

    def make(image: dict | None = None, **fetched: object) -> Site:
        made.append(Site(start, tmp_path / "clouds", image or {}, **fetched))
        return made[-1]

    yield make
    for site in made:
        site.source.close()


# Bombs

def zeros_deflated(size: int) -> bytes:
    """One stream of deflate that comes to `size` zeros, made of one part again and again."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    part = packer.compress(bytes(16 * MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    return part * (size // (16 * MIB)) + b"\x03\x00"


def zip_of(deflated: bytes, size: int, name: bytes = b"disk") -> bytes:
    """An archive with one file. No one comes so far as to check its CRC."""
    sizes = struct.pack("<HHHHHIII", 20, 0, 8, 0, 33, 0, len(deflated), size)
    local = b"PK\x03\x04" + sizes + struct.pack("<HH", len(name), 0) + name
    entry = b"PK\x01\x02" + struct.pack("<H", 20) + sizes + struct.pack("<HHHHHII", len(name), 0, 0, 0, 0, 0, 0) + name
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(entry), len(local) + len(deflated), 0)
    return local + deflated + entry + end


def zeros_zstd(size: int) -> bytes:
    """One frame that comes to `size` zeros: blocks of a byte that is repeated 128 Ki times."""
    count = size >> 17
    blocks = [(1 << 17 << 3 | 1 << 1 | last).to_bytes(3, "little") + b"\0" for last in (0, 1)]
    return b"\x28\xb5\x2f\xfd\0\x38" + blocks[0] * (count - 1) + blocks[1]


def packed(size: int, *command: str) -> bytes:
    """What a program packs that many zeros to, as a stream: it does not know beforehand how many there are."""
    return subprocess.run(command, input=bytes(size), check=True, capture_output=True, timeout=60).stdout


def bomb(kind: str) -> tuple[bytes, int]:
    """What goes in, and what would come out."""
    size = 4 * GIB
    match kind:
        case "gzip":
            return b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + zeros_deflated(size) + struct.pack("<II", 0, 0), size
        case "gzip of many members":
            return gzip.compress(bytes(64 * MIB)) * 160, 160 * 64 * MIB
        case "zip":
            size -= 16 * MIB  # as much as 32 bits say
            return zip_of(zeros_deflated(size), size), size
        case "zip that says it is small":
            return zip_of(zeros_deflated(size), 1000), size
        case "xz of many streams":
            return lzma.compress(bytes(64 * MIB)) * 160, 160 * 64 * MIB
        case "zstd":
            return zeros_zstd(2 * size), 2 * size
        case "zstd of many frames":
            return packed(64 * MIB, "zstd", "-q", "-c") * 160, 160 * 64 * MIB
    raise AssertionError(kind)


BOMBS = ["gzip", "gzip of many members", "zip", "xz of many streams", "zstd", "zstd of many frames"]


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_stops_soon_after_the_first_gibibyte(site, scratch, measured, kind):
    if shutil.disk_usage(scratch).free < 6 * GIB:
        pytest.skip("6 GiB of room needed")
    here = site({"import": {"plugins": "image_decompression"}})
    data, size = bomb(kind)
    began = time.monotonic()
    image = here.begin(data)
    here.failed(image, "times its size", seconds=90)
    measured(f"bomb, {kind}", f"{len(data) / MIB:.2f} MiB of {size / GIB:.1f} GiB, {time.monotonic() - began:.1f} s, "
             f"peak resident +{here.memory / MIB:.0f} MiB, disk +{here.peak_bytes / MIB:.0f} MiB")
    assert here.peak_bytes < 3 * GIB
    here.assert_back_to_start()


def test_bombs_stop_at_the_largest_size_that_an_image_may_have(site, measured):
    """All at once, however much of the disk there is."""
    cap = 64 * MIB
    here = site({"quota": {"image_bytes": cap}, "import": {"plugins": "image_decompression"}})
    small = {"gzip": gzip.compress(bytes(4 * cap)), "xz": lzma.compress(bytes(4 * cap), preset=0),
             "zstd": zeros_zstd(4 * cap), "zip": zip_of(zeros_deflated(4 * cap), 4 * cap)}
    images = {kind: here.begin(data) for kind, data in small.items()}
    for image in images.values():
        here.failed(image, str(cap))
    measured("four bombs over the size cap", f"peak resident +{here.memory / MIB:.0f} MiB, "
             f"disk +{here.peak_bytes / MIB:.0f} MiB")
    assert here.peak_bytes < len(images) * (cap + 16 * MIB) + RECORDS
    here.assert_back_to_start()


def test_bombs_are_held_to_the_quota_of_their_owner(site):
    quota = 64 * MIB
    here = site({"quota": {"bytes": quota}, "import": {"plugins": "image_decompression"}})
    here.failed(here.begin(gzip.compress(bytes(4 * quota))), "quota")
    assert here.peak_bytes < quota + 32 * MIB
    here.assert_back_to_start()


def test_what_lies_about_itself_is_refused_before_memory_is_taken_for_it(site):
    """Windows and dictionaries of gigabytes, a size that is not what comes out, archives in archives."""
    here = site({"import": {"plugins": "image_decompression"}})
    many = zip_of(zeros_deflated(16 * MIB), 16 * MIB)
    hostile = {
        "window": packed(16 * MIB, "zstd", "-q", "-c", "-1", "--long=31"),
        "dictionary": xz_header(dictionary=40),
        "size": bomb("zip that says it is small")[0],
        "two files": many[:-22].replace(b"PK\x01\x02", many + b"PK\x01\x02", 1) + many[-22:],
        "cut short": gzip.compress(os.urandom(MIB))[:-100],
        "damaged": lzma.compress(os.urandom(MIB))[:MIB // 2] + bytes(MIB // 2),
        "trailing": packed(16 * MIB, "zstd", "-q", "-c") + b"and more",
    }
    images = [here.begin(data) for data in hostile.values()]
    for image in images:
        here.failed(image, "cannot be unpacked")
    assert here.peak_bytes < 64 * MIB + RECORDS
    here.assert_back_to_start()


def xz_header(dictionary: int) -> bytes:
    """A stream whose one block asks for a dictionary, by the number that stands for its size: 40 is 4 GiB."""
    flags = b"\0\x01"
    block = b"\x02\0\x21\x01" + bytes([dictionary]) + b"\0\0\0"
    return b"\xfd7zXZ\0" + flags + struct.pack("<I", zlib.crc32(flags)) + block + struct.pack("<I", zlib.crc32(block)) \
        + bytes(4096)


def test_what_is_packed_twice_is_unpacked_once(site):
    """So that a small file cannot become a large one, and that one larger yet."""
    here = site({"import": {"plugins": "image_decompression"}})
    inside = gzip.compress(bytes(64 * MIB))
    image = here.begin(gzip.compress(inside))
    assert outcome(here.api, image).image["size"] == len(inside)
    assert here.api.download(image).content == inside
    expect(here.api.delete(image), 204)
    here.assert_back_to_start()


# Disks

def qemu_img(*arguments: object) -> None:
    subprocess.run([shutil.which("qemu-img"), *map(str, arguments)], check=True, capture_output=True, timeout=60)


def qcow2(directory: Path, size: str = "1M", *options: str, content: bytes = b"") -> bytearray:
    file = directory / "made.qcow2"
    if content:
        (directory / "content").write_bytes(content)
        qemu_img("convert", "-f", "raw", "-O", "qcow2", *options, directory / "content", file)
    else:
        qemu_img("create", "-q", "-u", "-f", "qcow2", *options, file, size)
    return bytearray(file.read_bytes())


def changed(data: bytes, *changes: tuple[int, str, int]) -> bytes:
    """With other numbers (offset, format of struct, value) in it."""
    data = bytearray(data)
    for offset, kind, value in changes:
        struct.pack_into(">" + kind, data, offset, value)
    return bytes(data)


def number(data: bytes, offset: int) -> int:
    return struct.unpack_from(">Q", data, offset)[0]


def with_data_file(directory: Path, name: str) -> bytes:
    """A qcow2 whose content is in another file."""
    place = "x" * len(name)
    options = f"data_file={place},data_file_raw=on"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-o", options, "made", "64K"], check=True, cwd=directory)
    return (directory / "made").read_bytes().replace(place.encode(), name.encode())


def reaching(directory: Path, server: Server) -> Iterator[tuple[str, str, bytes]]:
    """Disks that name other files: what they are, the format they are said to have, their bytes."""
    files = ["/etc/passwd", *(str(server.data_dir / secret) for secret in SECRETS)]
    for file in files:
        name = Path(file).name
        yield f"backing {name}", "qcow2", qcow2(directory, "64K", "-F", "raw", "-b", file)
        yield f"backing {name}, probed", "qcow2", strip_backing_format(qcow2(directory, "64K", "-F", "raw", "-b", file))
        yield f"data file {name}", "qcow2", with_data_file(directory, file)
        yield f"flat {name}", "vmdk", vmdk_text(f'RW 128 FLAT "{file}" 0').encode()
        yield f"embedded {name}", "vmdk", vmdk(directory, f'RW 128 FLAT "{file}" 0')
    for name in ["json:{\"driver\":\"file\",\"filename\":\"/etc/passwd\"}", "file:///etc/passwd", "/proc/self/fd/3",
                 "/proc/self/environ", f"nbd://{server.url.removeprefix('http://')}/x", f"{server.url}/healthcheck",
                 "/dev/stdin", "made.qcow2"]:
        yield f"backing {name}", "qcow2", qcow2(directory, "64K", "-F", "raw", "-b", name)
    for said in ["raw", "vmdk", "vdi", "vhd", "vhdx"]:
        data = qcow2(directory, "64K", "-F", "raw", "-b", "/etc/passwd")
        yield f"qcow2 with a backing file said to be {said}", said, data
    yield "sparse extent elsewhere", "vmdk", vmdk(directory, 'RW 128 SPARSE "/etc/passwd"')
    yield "parent", "vmdk", vmdk(directory, None, 'parentFileNameHint="/etc/passwd"')
    yield "descriptor alone", "vmdk", vmdk_text('RW 128 VMFS "/etc/passwd"').encode()


def strip_backing_format(data: bytes) -> bytes:
    """Without the header extension that says what the backing file is."""
    place = bytes(data).find(struct.pack(">I", 0xE2792ACA))
    return bytes(data) if place < 0 else changed(data, (place, "I", 0x12345678))


def vmdk_text(extent: str) -> str:
    return ('# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType="monolithicFlat"\n\n'
            f'# Extent description\n{extent}\n\n# The Disk Data Base\nddb.virtualHWVersion = "4"\n')


def vmdk(directory: Path, extent: str | None, more: str = "") -> bytes:
    """A sparse VMDK whose descriptor says something else than it did."""
    qemu_img("create", "-q", "-f", "vmdk", directory / "made.vmdk", "64K")
    data = bytearray((directory / "made.vmdk").read_bytes())
    text = bytes(data[512:512 + 20 * 512]).rstrip(b"\0").decode()
    line = next(line for line in text.splitlines() if line.startswith("RW "))
    text = text.replace(line, (extent or line) + ("\n" + more if more else ""))
    data[512:512 + 20 * 512] = text.encode().ljust(20 * 512, b"\0")
    return bytes(data)


def senseless(directory: Path) -> Iterator[tuple[str, str, bytes]]:
    """Disks that are broken, absurd, or none."""
    good = bytes(qcow2(directory, content=os.urandom(256 << 10) + bytes(MIB)))
    l1, refcounts = number(good, 40), number(good, 48)
    for size in (100, 512, 65536):
        yield f"cut at {size}", "qcow2", good[:size]
    yield "an exabyte", "qcow2", qcow2(directory, str(1 << 60), "-o", "cluster_size=2M,preallocation=off")
    yield "an exabyte by its header", "qcow2", changed(good, (24, "Q", 1 << 60))
    yield "all that 64 bits say", "qcow2", changed(good, (24, "Q", (1 << 64) - 1))
    yield "L1 beyond the end", "qcow2", changed(good, (40, "Q", 1 << 50))
    yield "L1 in the header", "qcow2", changed(good, (40, "Q", 0))
    yield "L1 of 2^32 entries", "qcow2", changed(good, (36, "I", 0xffffffff))
    yield "L1 of none", "qcow2", changed(good, (36, "I", 0))
    yield "L2 not aligned", "qcow2", changed(good, (l1, "Q", 1 << 63 | number(good, l1) & (1 << 56) - 1 | 0x200))
    l2 = number(good, l1) & (1 << 56) - 512
    yield "data not aligned", "qcow2", changed(good, (l2, "Q", 1 << 63 | 0x10200))
    yield "compressed garbage", "qcow2", changed(good, (l2, "Q", 1 << 62 | 0x50000))
    yield "refcounts beyond the end", "qcow2", changed(good, (48, "Q", 1 << 50))
    yield "refcounts not aligned", "qcow2", changed(good, (48, "Q", refcounts + 8))
    yield "refcounts of 2^32 clusters", "qcow2", changed(good, (56, "I", 0xffffffff))
    yield "refcounts over L1", "qcow2", changed(good, (48, "Q", l1))
    yield "refcount order", "qcow2", changed(good, (96, "I", 63))
    yield "clusters of 2 GiB", "qcow2", changed(good, (20, "I", 31))
    yield "clusters of a byte", "qcow2", changed(good, (20, "I", 0))
    yield "unknown features", "qcow2", changed(good, (72, "Q", 1 << 40))
    yield "encrypted", "qcow2", changed(good, (32, "I", 2))
    yield "snapshots everywhere", "qcow2", changed(good, (60, "I", 0xffffffff), (64, "Q", 0x10000))
    yield "version 9", "qcow2", changed(good, (4, "I", 9))
    for said in ["qcow2", "vmdk", "vdi", "vhd", "vhdx"]:
        yield f"random bytes said to be {said}", said, os.urandom(MIB)
        yield f"nothing said to be {said}", said, b""
        yield f"zeros said to be {said}", said, bytes(MIB)
    for mark, said in [(b"QFI\xfb", "qcow2"), (b"KDMV", "vmdk"), (b"vhdxfile", "vhdx"), (b"conectix", "vhd")]:
        yield f"random bytes behind the mark of {said}", said, mark + os.urandom(MIB)
        yield f"random bytes behind the mark of {said}, said to be raw", "raw", mark + os.urandom(MIB)


@pytest.fixture
def converting(site):
    assert shutil.which("qemu-img"), "qemu-img is missing: scripts/packages-test.txt has its package"
    return lambda target, **more: site({"import": {"plugins": "image_conversion", "convert_to": target}} | more)


# To another format than most have, so that they are converted, and to their own, so that none passes unseen.
@pytest.mark.parametrize("target", ["raw", "qcow2"])
def test_disks_that_reach_for_other_files_are_refused(converting, tmp_path, measured, target):
    here = converting(target)
    secrets = [Path("/etc/passwd").read_bytes()[:20], (here.server.data_dir / "master-keys").read_bytes()[:20]]
    images = {name: here.begin(bytes(data), said) for name, said, data in reaching(tmp_path, here.server)}
    said = {}
    for name, image in images.items():
        try:
            said[name] = here.failed(image)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from None
        for secret in secrets:
            assert secret.decode() not in said[name]
        assert str(here.server.data_dir) not in said[name]
    measured(f"disks that reach for other files, to {target}", f"{len(images)} refused, "
             f"peak resident +{here.memory / MIB:.0f} MiB, disk +{here.peak_bytes / MIB:.0f} MiB")
    assert len(images) > 40
    here.assert_back_to_start()


def test_disks_that_make_no_sense_are_refused(converting, tmp_path, measured):
    here = converting("raw")
    images = {name: here.begin(bytes(data), said) for name, said, data in senseless(tmp_path)}
    taken = {}
    began = time.monotonic()
    for name, image in images.items():
        try:
            here.failed(image)
        except AssertionError as error:
            taken[name] = f"{error}"[:1000]
    measured("disks that make no sense", f"{len(images)} refused in {time.monotonic() - began:.1f} s, "
             f"peak resident +{here.memory / MIB:.0f} MiB, disk +{here.peak_bytes / MIB:.0f} MiB")
    assert taken == {}
    assert here.peak_bytes < 256 * MIB
    here.assert_back_to_start()


def test_a_disk_whose_tables_lead_beyond_its_end_is_refused(converting, tmp_path):
    """What is not there must not become zeros."""
    here = converting("raw")
    good = bytes(qcow2(tmp_path, content=os.urandom(256 << 10) + bytes(MIB)))
    l1 = number(good, 40)
    l2 = number(good, l1) & (1 << 56) - 512
    short = {"cut in front of its data": good[:l1 + (64 << 10)], "cut in its data": good[:-(192 << 10)],
             "a table beyond the end": changed(good, (l1, "Q", 1 << 63 | 1 << 40)),
             "data beyond the end": changed(good, (l2, "Q", 1 << 63 | 1 << 40))}
    images = {name: here.begin(data, "qcow2") for name, data in short.items()}
    ends = {name: outcome(here.api, image).image["status"] for name, image in images.items()}
    assert ends == {name: "queued" for name in short}
    here.assert_back_to_start()


def test_a_disk_far_larger_than_its_file_is_held_to_the_cap(converting, tmp_path):
    """Nearly nothing comes in, and a disk of terabytes would come out."""
    cap = 256 * MIB
    here = converting("raw", quota={"image_bytes": cap})
    for size in ("257M", "1T", "1P"):
        image = here.begin(bytes(qcow2(tmp_path, size, "-o", "cluster_size=2M")), "qcow2")
        here.failed(image, "images of up to", str(cap))
    assert here.peak_bytes < 64 * MIB + RECORDS
    assert here.taken(bytes(qcow2(tmp_path, "256M")), "qcow2")["size"] == cap
    here.assert_back_to_start()


# Servers

class Dawdling:
    """Answers of servers that mean harm, or are broken. All end when the test does."""

    def __init__(self):
        self.over = threading.Event()
        self.sent: dict[str, int] = {}
        self.asked: dict[str, int] = {}

    def __call__(self, name: str, parts: Callable[[], Iterator[bytes]], pause: float = 0) -> Callable:
        """Sends the head by hand, and what follows as it comes, until it has to stop."""
        self.sent[name] = self.asked[name] = 0

        def answer(request) -> None:
            self.asked[name] += 1
            for part in parts():
                if self.over.is_set():
                    return
                request.wfile.write(part)
                self.sent[name] += len(part)
                if pause and self.over.wait(pause):
                    return

        return answer


HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
CHUNK = b"10000\r\n" + bytes(0x10000) + b"\r\n"


def forever(head: bytes, part: bytes) -> Callable[[], Iterator[bytes]]:
    def parts() -> Iterator[bytes]:
        yield head
        while True:
            yield part

    return parts


@pytest.fixture
def dawdling():
    dawdling = Dawdling()
    yield dawdling
    dawdling.over.set()


def test_a_server_that_never_stops_is_left_at_the_limit(site, dawdling, measured):
    limit = 8 * MIB
    here = site(max_size_bytes=limit, total_seconds=60, stall_seconds=5)
    endless = {
        "chunks": forever(CHUNKED, CHUNK),
        "no length": forever(HEAD + b"\r\n", bytes(65536)),
        "a length of an exabyte": forever(HEAD + b"Content-Length: %d\r\n\r\n" % (1 << 60), bytes(65536)),
        "a length of one more": forever(HEAD + b"Content-Length: %d\r\n\r\n" % (limit + 1), bytes(65536)),
    }
    useless = {
        "a head": forever(b"HTTP/1.1 200 OK\r\n", b"X: " + b"x" * 1000 + b"\r\n"),
        "a field": forever(b"HTTP/1.1 200 OK\r\nX: ", b"x" * 1000),
        "heads of no answer": forever(b"", b"HTTP/1.1 102 Processing\r\n\r\n" * 100),
        "an extension of a chunk": forever(CHUNKED + b"1;", b"x" * 1000),
        "trailers": forever(CHUNKED + b"0\r\n", b"X: x\r\n" * 1000),
        "a length of nonsense": forever(HEAD + b"Content-Length: -1\r\n\r\n", bytes(65536)),
    }
    began = time.monotonic()
    images = {name: here.begin(dawdling(name, parts)) for name, parts in (endless | useless).items()}
    for name, image in images.items():
        here.failed(image, *(["larger than"] if name in endless else []), seconds=45)
        assert dawdling.asked[name] == 1, f"{name}: asked {dawdling.asked[name]} times"
        # What it may send beyond the limit is what the kernels keep on both ends.
        assert dawdling.sent[name] < 8 * limit, f"{name}: {dawdling.sent[name] / MIB:.0f} MiB sent"
    measured("servers that never stop", f"{len(images)}, {time.monotonic() - began:.1f} s, peak resident "
             f"+{here.memory / MIB:.0f} MiB, disk +{here.peak_bytes / MIB:.0f} MiB, "
             f"{sum(dawdling.sent.values()) / MIB:.0f} MiB sent in all")
    assert here.peak_bytes < len(endless) * (limit + MIB) + RECORDS
    here.assert_back_to_start()


def test_chunks_of_a_byte_take_no_more_memory_than_others(site, dawdling, measured):
    here = site(max_size_bytes=8 * MIB, stall_seconds=5)
    began = time.monotonic()
    here.failed(here.begin(dawdling("bytes", forever(CHUNKED, b"1\r\nx\r\n" * 4096))), "no proper HTTP", seconds=90)
    measured("8 MiB in chunks of a byte",
             f"{time.monotonic() - began:.1f} s, peak resident +{here.memory / MIB:.0f} MiB")
    assert here.memory < 48 * MIB, f"{here.memory / MIB:.0f} MiB"
    here.assert_back_to_start()


def test_servers_that_dawdle_or_break_off_are_given_up_after_a_few_attempts(site, dawdling, measured):
    """Side by side: each attempt waits for its time limit, and the next one some seconds."""
    here = site(stall_seconds=1, total_seconds=3, connect_seconds=2)
    half = HEAD + b"Content-Length: 1000000\r\n\r\n" + bytes(500_000)
    trickling = forever(HEAD + b"Content-Length: 1000000\r\n\r\n", b"x")
    sources = {
        # name: what the task says, what is sent, seconds between the parts
        "says nothing": ("sends nothing", forever(b"", b""), 1),
        "stops in the head": ("sends nothing", forever(HEAD, b""), 1),
        "stops in the content": ("sends nothing", forever(half, b""), 1),
        "head a byte at a time": ("sends nothing", forever(HEAD, b"X"), 0.2),
        "extension a byte at a time": ("sends nothing", forever(CHUNKED + b"1;", b"x"), 0.2),
        "content a byte at a time": ("too long altogether", trickling, 0.2),
        "chunks of a byte, slowly": ("too long altogether", forever(CHUNKED, b"1\r\nx\r\n"), 0.2),
        "breaks off in the content": ("before all of the content came", lambda: iter([half]), 0),
        "breaks off in a chunk": ("before all of the content came", lambda: iter([CHUNKED, CHUNK, CHUNK[:1000]]), 0),
        "breaks off without the last chunk": ("before all of the content came", lambda: iter([CHUNKED, CHUNK]), 0),
        "breaks off in the head": ("cannot be reached", lambda: iter([b"HTTP/1.1 200 "]), 0),
        "is overloaded": ("answered 503", lambda: iter([b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n"]), 0),
    }
    began = time.monotonic()
    images = {name: here.begin(dawdling(name, parts, pause)) for name, (_, parts, pause) in sources.items()}
    for name, image in images.items():
        here.failed(image, sources[name][0], seconds=60)
    measured("servers that dawdle or break off", f"{len(images)} given up after {time.monotonic() - began:.1f} s, "
             f"peak resident +{here.memory / MIB:.0f} MiB, disk +{here.peak_bytes / MIB:.0f} MiB")
    assert dawdling.asked == {name: 4 for name in sources}
    assert here.peak_bytes < len(images) * MIB + RECORDS
    here.assert_back_to_start()


def test_an_import_in_the_hands_of_a_dawdling_server_ends_with_its_image(site, dawdling):
    """Whoever asked for it need not wait for a time limit."""
    here = site(stall_seconds=600)
    image = here.begin(dawdling("stops", forever(HEAD + b"Content-Length: 1000000\r\n\r\n" + bytes(500_000), b""), 1))
    eventually(lambda: dawdling.sent["stops"] > 500_000)
    expect(here.api.delete(image), 204)
    here.assert_back_to_start()


def test_redirects_without_end_are_left_after_a_few(site):
    here = site(max_redirects=3)
    asked = []

    def further(request) -> None:
        asked.append(request.path)
        place = f"{here.source.url}/{len(asked)}"
        here.files[f"/{len(asked)}"] = further
        request.wfile.write(b"HTTP/1.1 302 X\r\nLocation: %s\r\nContent-Length: 1000000000\r\n\r\n" % place.encode())

    here.failed(here.begin(further), "redirects more than 3 times")
    assert len(asked) == 4
    here.assert_back_to_start()
