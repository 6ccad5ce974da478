"""What a user names as the source of an image leads nowhere it must not, through a real server: no import and no task
connects to the loopback or the machine's own addresses, however they are spelled, embedded, named or hidden, nor when a
server that may be asked redirects there.

The forbidden servers are there, and count who connects. With their networks open the same forms reach them.
"""

from __future__ import annotations

import concurrent.futures
import ipaddress
import itertools
import json
import queue
import socket
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ambrotype import Server, eventually
from conftest import site_of
from image_api import ImageAPI, expect
from import_peers import (Listener, answer_with, ask, assert_failed, assert_healthy, assert_nothing_is_left,
                          assert_untouched, ended, outcome, tasks, web_download)

pytestmark = [pytest.mark.own_server, pytest.mark.own_identity]

LOOPBACKS = ["127.0.0.1", "127.1.2.3", "127.255.255.254", "::1"]
# The one address that may be asked, where the redirector is.
OPEN = "127.0.0.2"
REDIRECTS = [301, 302, 303, 307, 308]
FILTERED = "The URI does not pass filtering: "
IMPORTS_AT_ONCE = 16


@dataclass(frozen=True)
class Form:
    """One way to ask for what must not be fetched."""

    family: str
    url: str
    # Whether it is a URL in order, so that only the address is wrong: with every network open it leads to a canary.
    leads: bool = False


# The servers that nobody may reach

def own_addresses() -> list[str]:
    """The machine's, beyond the loopback, as far as they are no part of the public Internet: that may be reached."""
    found = json.loads(subprocess.run(["ip", "-j", "address"], capture_output=True, text=True).stdout or "[]")
    addresses = [ipaddress.ip_address(entry["local"]) for link in found for entry in link.get("addr_info", [])]
    return [str(address) for address in addresses
            if not (address.is_loopback or address.is_global or address.version == 6 and address.is_link_local)]


class Canaries:
    """A listener on each forbidden address, all on one port, which the operator's list lets pass; and one on the open
    address, on a port that it does not."""

    def __init__(self, addresses: Iterable[str]):
        first = Listener(answer_with(b"canary"), OPEN)  # its port is hardly taken elsewhere
        self.port = first.port
        first.close()
        self.listeners = [Listener(answer_with(b"canary"), address, self.port) for address in addresses]
        self.closed_port = Listener(answer_with(b"canary"), OPEN)
        self.listeners.append(self.closed_port)

    @property
    def connections(self) -> dict[str, int]:
        """How many connected where."""
        return {listener.authority: len(listener.peers) for listener in self.listeners if listener.peers}

    def close(self) -> None:
        for listener in self.listeners:
            listener.close()


@pytest.fixture
def canaries():
    canaries = Canaries([*LOOPBACKS, *own_addresses()])
    yield canaries
    canaries.close()


@pytest.fixture
def redirector():
    """A server that may be asked: `/CODE/NUMBER` redirects to what `places` has at that number, `/hops/N/CODE/NUMBER`
    does so after N redirects to itself, and there is nothing else."""
    places: list[str] = []

    def answer(request) -> None:
        parts = request.path.strip("/").split("/")
        if len(parts) == 4 and parts[0] == "hops":
            hops = int(parts[1]) - 1
            code, place = "302", f"/hops/{hops}/{parts[2]}/{parts[3]}" if hops else f"/{parts[2]}/{parts[3]}"
        elif len(parts) == 2 and parts[0].isdigit():
            code, place = parts[0], places[int(parts[1])]
        else:
            code, place = "404", ""
        # By hand: whatever is in the place is to go out.
        location = f"Location: {place}\r\n" if place else ""
        request.wfile.write(f"HTTP/1.1 {code} X\r\n{location}Content-Length: 0\r\nConnection: close\r\n\r\n".encode())

    listener = Listener(answer, OPEN)
    listener.places = places
    yield listener
    listener.close()


# Names that lead to them

class Names:
    """An /etc/hosts that one server alone sees, in a mount namespace of its own: nothing changes for the machine."""

    MOUNT = 'mount --bind "$1" /etc/hosts && mount --bind "$2" /etc/nsswitch.conf && shift 2 && ' \
            'exec setpriv --pdeathsig KILL "$@"'

    def __init__(self, directory: Path):
        self.hosts, self.switch = directory / "hosts", directory / "nsswitch.conf"
        self.switch.write_text("hosts: files\n")
        self.set({})
        self.prefix = next((prefix for options in ("-m", "-Urm") if self._works(prefix := self._command(options))), [])

    def _command(self, options: str) -> list[str]:
        return ["unshare", options, "sh", "-c", self.MOUNT, "sh", str(self.hosts), str(self.switch)]

    @staticmethod
    def _works(prefix: list[str]) -> bool:
        try:
            return subprocess.run([*prefix, "true"], capture_output=True).returncode == 0
        except FileNotFoundError:
            return False

    def set(self, names: dict[str, list[str]]) -> None:
        """In place: the mount is of the file."""
        lines = [f"{address} {name}\n" for name, addresses in names.items() for address in addresses]
        self.hosts.write_text("".join(lines))


@pytest.fixture
def names(tmp_path) -> Names:
    return Names(tmp_path)


def leading_names() -> dict[str, list[str]]:
    """Names in order, and where they lead."""
    host = socket.gethostname()
    to_loopback = [
        "localhost", "LOCALHOST", "LocalHost", "sub.localhost", "a.b.c.localhost", "localhost.localdomain",
        "localhost4", "ip6-localhost", "loopback", "loopback.example", "l", "1.e", "127.0.0.1.nip.example",
        "127-0-0-1.example", "7f000001.example", "0x7f000001.example", "2130706433.example", "www.127.0.0.1.example",
        "xn--localhost-9za.example", "a--b.example", "x" * 63 + ".example", ".".join(["x" * 60] * 4), "metadata",
        "metadata.google.internal", "kubernetes.default.svc",
    ]
    names = {name: ["127.0.0.1"] for name in to_loopback}
    for name in (host, host + ".local"):
        if all(part.strip("-") == part and part.replace("-", "").isalnum() for part in name.split(".")):
            names[name] = ["127.0.0.1"]
    return names | {
        "far.example": ["127.1.2.3"], "end.example": ["127.255.255.254"], "ip6-loopback": ["::1"],
        "six.example": ["::1"], "both.example": ["127.0.0.1", "::1"], "mapped.example": ["::ffff:127.0.0.1"],
        "zero.example": ["0.0.0.0"], "zero6.example": ["::"],
    } | {f"own{number}.example": [address] for number, address in enumerate(own_addresses())}


def mixed_names() -> dict[str, list[str]]:
    """Names with an address that may be reached and one that may not."""
    return {
        "first.example": ["127.0.0.1", OPEN], "last.example": [OPEN, "127.0.0.1"], "mixed6.example": ["::1", OPEN],
        "many.example": [OPEN, "127.1.2.3", "::1", "127.0.0.1", "0.0.0.0"],
        "openmapped.example": [OPEN, f"::ffff:{OPEN}"],
    }


def broken_names() -> dict[str, list[str]]:
    """Names that a resolver takes and a URL must not have. They lead to the loopback, for whoever looks them up."""
    names = ["under_score.example", "-dash.example", "dash-.example", "localhost.", "loopback.example.", "a..example",
             ".localhost", "2130706433", "0x7f000001", "127.1", "127.0.0.1.", "127.0.0.1.1", "1.2.3.4.5", "0x7f.1",
             "x" * 64 + ".example", "example.0x1", "example.7", "*.localhost", "localhost,example", "local host"]
    return {name: ["127.0.0.1"] for name in names}


# The forms

def hexadecimal(number: int) -> str:
    return hex(number)


def octal(number: int) -> str:
    return f"0{number:o}"


def aton_spellings(address: str) -> set[str]:
    """What `inet_aton`, and so every resolver, reads as this IPv4 address; without the canonical spelling."""
    value = int(ipaddress.IPv4Address(address))
    one_way = [lambda n: f"0X{n:X}", lambda n: f"0x0000{n:x}", lambda n: f"000{n:o}", lambda n: f"0{n:012o}"]
    spelled = set()
    for count in range(1, 5):
        parts = [value >> 24 - 8 * index & 0xff for index in range(count - 1)]
        parts.append(value & (1 << 32 - 8 * (count - 1)) - 1)
        ways = itertools.product((str, hexadecimal, octal), repeat=count)
        for way in itertools.chain(ways, ([each] * count for each in one_way)):
            spelled.add(".".join(write(part) for write, part in zip(way, parts)))
    for text in spelled:
        assert socket.inet_aton(text) == value.to_bytes(4, "big"), text
    return spelled - {address}


def percent(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode())


def in_digits(text: str, zero: str, one: str | None = None) -> str:
    """With other digits: those from `zero` on, or from `one` on where nought stands elsewhere."""
    first = ord(one) - 1 if one else ord(zero)
    return "".join(character if not character.isdigit() else zero if character == "0" else chr(first + int(character))
                   for character in text)


def disguises(address: str) -> Iterator[tuple[str, str]]:
    """An IPv4 address as some parser or other may still read it."""
    a, b, c, d = address.split(".")
    yield from [
        ("dot at the end", address + "."), ("two dots at the end", address + ".."), ("dot in front", "." + address),
        ("in brackets", f"[{address}]"), ("sign", "+" + address), ("comma at the end", address + ","),
        ("commas", ",".join([a, b, c, d])), ("part beyond a byte", f"{int(a) + 256}.{b}.{c}.{d}"),
        ("beyond 32 bits", str(int(ipaddress.IPv4Address(address)) + (1 << 32))),
        ("integer, dot at the end", f"{int(ipaddress.IPv4Address(address))}."), ("five parts", address + ".0"),
        ("empty part", f"{a}..{b}.{c}.{d}"), ("leading zeros", f"{a}.{b}.{c}.{d:0>3}"),
        ("exponent", f"{a}.{b}.{c}.{d}e0"),
        ("percent-encoded", percent(address)), ("percent-encoded dots", "%2e".join([a, b, c, d])),
        ("twice percent-encoded dots", "%252e".join([a, b, c, d])), ("one encoded digit", f"%3{a[0]}{address[1:]}"),
        ("broken percent-encoding", address + "%"), ("percent-encoded zero byte", address + "%00"),
        ("percent-encoded space", address + "%20"), ("percent-encoded line end", address + "%0d%0a"),
        ("percent-encoded hash", address + "%23"), ("percent-encoded slash", address + "%2f"),
        ("zero byte and a name", address + "\0.mirror.example"), ("space and a name", address + " mirror.example"),
    ]
    for family, zero, one in [
        ("fullwidth digits", "\uff10", None), ("circled digits", "\u24ea", "\u2460"),
        ("parenthesized digits", "0", "\u2474"), ("digits with full stops", "0", "\u2488"),
        ("negative circled digits", "\u24ff", "\u2776"), ("superscripts", "\u2070", None),
        ("subscripts", "\u2080", None), ("bold digits", "\U0001d7ce", None),
        ("double-struck digits", "\U0001d7d8", None),
        ("arabic digits", "\u0660", None), ("devanagari digits", "\u0966", None),
    ]:
        yield family, in_digits(address, zero, one)
        yield family + ", percent-encoded", percent(in_digits(address, zero, one))
    for family, stop in [("ideographic stops", "\u3002"), ("fullwidth stops", "\uff0e"), ("halfwidth stops", "\uff61"),
                         ("one dot leaders", "\u2024")]:
        yield family, stop.join([a, b, c, d])
    for family, hidden in [("soft hyphen", "\u00ad"), ("zero width space", "\u200b"), ("joiner", "\u200d"),
                           ("byte order mark", "\ufeff"), ("right-to-left override", "\u202e")]:
        yield family, address + hidden
        yield family + " inside", f"{a}.{b}{hidden}.{c}.{d}"


def disguised_names() -> Iterator[tuple[str, str]]:
    name = "localhost"
    yield from [
        ("circled letters", "".join(chr(0x24d0 + ord(letter) - ord("a")) for letter in name)),
        ("circled capitals", "".join(chr(0x24b6 + ord(letter) - ord("a")) for letter in name)),
        ("fullwidth letters", "".join(chr(0xff41 + ord(letter) - ord("a")) for letter in name)),
        ("bold letters", "".join(chr(0x1d41a + ord(letter) - ord("a")) for letter in name)),
        ("long s", "localho\u017ft"), ("script l", "\u2113ocalhost"), ("cyrillic o", "l\u043ecalhost"),
        ("percent-encoded", percent(name)), ("one encoded letter", "loc%61lhost"), ("encoded dot", "localhost%2e"),
        ("encoded zero byte", "localhost%00"), ("soft hyphen", "local\u00adhost"),
        ("ideographic stop", "sub\u3002localhost"),
        ("zero byte", "localhost\0"), ("in brackets", "[localhost]"), ("brackets around a part", "[::1].localhost"),
    ]


def one_spellings() -> set[str]:
    """Of ::1, each with one gap somewhere, long and short groups."""
    spelled = {":".join([zero] * 7 + [one]) for zero, one in itertools.product(("0", "0000"), ("1", "0001"))}
    for before in range(7):
        for behind in range(7 - before):
            for zero, one in [("0", "1"), ("0000", "0001"), ("00", "01")]:
                spelled.add(":".join([zero] * before) + "::" + ":".join([zero] * behind + [one]))
    spelled |= {"::0.0.0.1", "0:0:0:0:0:0:0.0.0.1", "::0:0.0.0.1", "0::0.0.0.1"}
    for text in spelled:
        assert ipaddress.ip_address(text) == ipaddress.ip_address("::1"), text
    return spelled


def embeddings(address: str) -> Iterator[tuple[str, str, bool]]:
    """IPv6 addresses that carry this one; the kernel connects those that are mapped."""
    value = int(ipaddress.IPv4Address(address))
    high, low = f"{value >> 16:x}", f"{value & 0xffff:x}"
    inverted = f"{value >> 16 ^ 0xffff:x}:{value & 0xffff ^ 0xffff:x}"
    for text in [
        f"::ffff:{address}", f"::FFFF:{address}", f"::ffff:{high}:{low}", f"::FfFf:{high.upper()}:{low.upper()}",
        f"0:0:0:0:0:ffff:{high}:{low}", f"0:0:0:0:0:ffff:{address}", f"0:0::0:ffff:{high}:{low}",
        f"0000:0000:0000:0000:0000:ffff:{high:0>4}:{low:0>4}", f"0::ffff:{address}", f"::0:ffff:{address}",
        f"0:0:0:0::ffff:{address}",
    ]:
        assert ipaddress.IPv6Address(text).ipv4_mapped == ipaddress.IPv4Address(address)
        yield "mapped", text, True
    for family, text in [
        ("compatible", f"::{address}"), ("compatible", f"::{high}:{low}"), ("compatible", f"0:0:0:0:0:0:{high}:{low}"),
        ("translated", f"::ffff:0:{address}"), ("translated", f"::ffff:0:{high}:{low}"),
        ("NAT64", f"64:ff9b::{address}"), ("NAT64", f"64:ff9b::{high}:{low}"), ("NAT64", f"64:FF9B::{address}"),
        ("NAT64", f"0064:ff9b:0:0:0:0:{high:0>4}:{low:0>4}"), ("NAT64, local", f"64:ff9b:1::{address}"),
        ("NAT64, local", f"64:ff9b:1:{high}:0:{low}::"), ("6to4", f"2002:{high}:{low}::"),
        ("6to4", f"2002:{high}:{low}::1"), ("6to4", f"2002:{high}:{low}:1:0:0:0:1"),
        ("Teredo", f"2001:0:4136:e378:8000:63bf:{inverted}"), ("Teredo", f"2001::{high}:{low}:0:0:0"),
        ("ISATAP", f"fe80::5efe:{address}"), ("ISATAP", f"fe80::200:5efe:{high}:{low}"),
        ("ISATAP", f"2a00:1450:4001:81b:0:5efe:{high}:{low}"), ("ISATAP", f"2a00:1450:4001:81b:200:5efe:{address}"),
        ("mapped, octal", f"::ffff:0{address}"), ("mapped, integer", f"::ffff:{value}"),
        ("mapped, hex", f"::ffff:0x{value:x}"), ("mapped, zone", f"::ffff:{address}%25lo"),
    ]:
        yield family, text, False


def broken_v6(text: str) -> Iterator[tuple[str, str]]:
    yield from [
        ("zone", f"[{text}%25lo]"), ("zone not encoded", f"[{text}%lo]"), ("zone by number", f"[{text}%251]"),
        ("empty zone", f"[{text}%25]"), ("zone of another link", f"[{text}%25eth0]"), ("no brackets", text),
        ("encoded brackets", f"%5b{text}%5d"), ("encoded colons", f"[{text.replace(':', '%3a')}]"),
        ("dot at the end", f"[{text}]."), ("text behind", f"[{text}]x"), ("name behind", f"[{text}].mirror.example"),
        ("left open", f"[{text}"), ("not opened", f"{text}]"), ("brackets twice", f"[[{text}]]"),
        ("space", f"[ {text}]"), ("future version", f"[v6.{text}]"), ("length", f"[{text}/128]"),
        ("curly brackets", f"{{{text}}}"), ("fullwidth colons", f"[{text.replace(':', chr(0xff1a))}]"),
        ("empty", "[]"),
    ]


def hidings(at: str, mirror: str) -> Iterator[tuple[str, str]]:
    """The forbidden `at` beside a host that may be asked, for parsers that disagree on which is meant."""
    yield from [
        ("user", f"http://user@{at}/"), ("user and password", f"http://user:password@{at}/"),
        ("empty user", f"http://@{at}/"), ("empty user and password", f"http://:@{at}/"),
        ("open host as user", f"http://{mirror}@{at}/"), ("open host as password", f"http://x:{mirror}@{at}/"),
        ("two users", f"http://{mirror}@{mirror}@{at}/"), ("forbidden host as user", f"http://{at}@{mirror}/"),
        ("encoded at", f"http://{mirror}%40{at}/"), ("fullwidth at", f"http://{mirror}\uff20{at}/"),
        ("hash and at", f"http://{at}#@{mirror}/"), ("query and at", f"http://{at}?@{mirror}/"),
        ("slash and at", f"http://{at}/@{mirror}/"), ("semicolon and at", f"http://{at};@{mirror}/"),
        ("encoded hash and at", f"http://{at}%23@{mirror}/"), ("open host, hash and at", f"http://{mirror}#@{at}/"),
        ("open host, query and at", f"http://{mirror}?@{at}/"),
        ("open host, backslash and at", f"http://{mirror}\\@{at}/"), ("backslash and at", f"http://{at}\\@{mirror}/"),
        ("backslash and text", f"http://{at}\\.mirror.example/"), ("backslashes", f"http:\\\\{at}\\image"),
        ("slash and backslash", f"http:/\\{at}/"), ("backslash and slash", f"http:\\/{at}/"),
        ("no scheme, backslashes", f"\\\\{at}/"), ("no scheme", f"//{at}/"), ("no scheme, three slashes", f"///{at}/"),
        ("one slash", f"http:/{at}/"), ("no slash", f"http:{at}/"), ("three slashes", f"http:///{at}/"),
        ("four slashes", f"http:////{at}/"), ("fullwidth slashes", f"http:\uff0f\uff0f{at}/"),
        ("fullwidth slash behind", f"http://{at}\uff0fmirror.example/"), ("space", f"http://{mirror} {at}/"),
        ("space behind", f"http://{at} @{mirror}/"), ("semicolon", f"http://{mirror};{at}/"),
        ("comma", f"http://{mirror},{at}/"), ("line end, then a host", f"http://{mirror}\r\nHost: {at}/"),
        ("line end, then a request", f"http://{mirror}/ HTTP/1.1\r\n\r\nGET http://{at}/"),
        ("line end, then a location", f"http://{mirror}/\r\nLocation: http://{at}/"),
        ("encoded line end", f"http://{mirror}%0d%0aHost:%20{at}/"), ("line end in the path", f"http://{at}/\r\nX: y"),
        ("line feed in the path", f"http://{at}/\nX: y"), ("tab in the path", f"http://{at}/\tx"),
        ("space in front", f" http://{at}/"), ("space at the end", f"http://{at}/ "), ("quotes", f'"http://{at}/"'),
        ("angle brackets", f"<http://{at}/>"), ("url: in front", f"url:http://{at}/"),
        ("view-source", f"view-source:http://{at}/"), ("two hashes", f"http://{at}/##"),
        ("user in front of a zero byte", f"http://{mirror}\0@{at}/"), ("no host", f"http://:{at.rsplit(':', 1)[1]}/"),
    ]


SCHEMES = """ftp ftps file gopher dict ldap ldaps ldapi tftp sftp scp smb telnet imap imaps pop3 smtp rtsp rtmp mqtt jar
netdoc javascript ws wss httpx httpss shttp h2c http2 unix http+unix https+unix unix+http cinder rbd swift swift+http
swift+https swift+config s3 s3+http s3+https filesystem vsphere nfs nbd sheepdog iscsi ssh git git+http svn php phar
expect glob zlib ogg view-source feed blob about urn FILE FTP Gopher DICT SWIFT+CONFIG""".split()


def schemes(at: str, path: str) -> Iterator[tuple[str, str]]:
    for scheme in SCHEMES:
        yield "scheme", f"{scheme}://{at}/image"
    for url in [
        "file:///etc/passwd", "file:/etc/passwd", "file://localhost/etc/passwd", "FILE:///etc/passwd", "/etc/passwd",
        "file:////etc/passwd", f"file://{path}", f"file://{at}/etc/passwd", f"unix:{path}", f"unix://{path}",
        f"http+unix://{path.replace('/', '%2F')}/image", f"http://unix:{path}:/image",
        f"http://{path.replace('/', '%2F')}/",
        f"http:{path}", "data:,image", "data:text/plain;base64,aW1hZ2U=", f"data://{at}/,image",
        f"jar:http://{at}/x.jar!/image", f"jar:file:///etc/passwd!/", f"gopher://{at}/_GET%20/%20HTTP/1.1%0d%0a%0d%0a",
        f"dict://{at}/d:image", f"tftp://{at}/image;mode=octet", "swift+config://ref1/container/object",
        f"swift://user:key@{at}/v1/container/object", f"swift+http://tenant%3Auser:key@{at}/container/object",
        f"netdoc:///etc/passwd", f"php://filter/resource=http://{at}/", f"expect://id", f"ldap://{at}/%0astats%0aquit",
        "cinder://00000000-0000-4000-8000-000000000000", "http://", "http:", "://", ":", "", "http", f"{at}/image", at,
        f"http//{at}/", f"htt\u0440://{at}/", f"http\u200b://{at}/", f"h%74tp://{at}/", f"ht tp://{at}/",
        f"http ://{at}/",
        f"http: //{at}/", f"http:// {at}/", f"1http://{at}/", f"-http://{at}/", f"http://http://{at}/",
        f"http:http://{at}/", f"{{http}}://{at}/",
    ]:
        yield "scheme", url


def controls(at: str) -> Iterator[tuple[str, str]]:
    host, port = at.split(":")
    for code in [*range(0x20), 0x7f, 0x85, 0xa0, 0x2028, 0x3000]:
        character = chr(code)
        for place, url in [
            ("in front", f"{character}http://{at}/"), ("in the scheme", f"ht{character}tp://{at}/"),
            ("behind the slashes", f"http://{character}{at}/"), ("in the host", f"http://127.{character}0.0.1:{port}/"),
            ("behind the host", f"http://{host}{character}:{port}/"),
            ("in the port", f"http://{host}:{port[0]}{character}{port[1:]}/"),
        ]:
            yield f"control {code:#x} {place}", url


def ports(host: str, port: int, closed_port: int) -> Iterator[tuple[str, str]]:
    """Of the open address, a port that is not in the list; and the forbidden one, its port in other spellings."""
    closed = str(closed_port)
    for text in [closed, "0" + closed, f"%{ord(closed[0]):x}{closed[1:]}", "+" + closed, closed + " ", " " + closed,
                 str(closed_port + 65536), hex(closed_port), octal(closed_port), in_digits(closed, "\uff10"),
                 closed + ".0", closed + "e0", f"{port}:{closed}", f"{closed}:{port}", f"{port},{closed}",
                 f"{port}%2f:{closed}", "-" + closed, closed + "\0", "0", "65536", "99999999999999999999"]:
        yield "port", f"http://{OPEN}:{text}/"
    yield "port", f"https://{OPEN}:{closed}/"
    yield "port", f"HTTP://{OPEN}:{closed}/"
    for text in [f"0{port}", f"00000{port}", f"+{port}", str(port + 65536), hex(port), in_digits(str(port), "\uff10"),
                 f"{port}:80", f"80:{port}", f"{port}.", "", "-1", "x"]:
        yield "port", f"http://{host}:{text}/"


def forms(canaries: Canaries, mirror: str, names: Names, path: str) -> list[Form]:
    """More than a thousand, no two the same."""
    port = canaries.port
    own = own_addresses()
    own_v4 = [address for address in own if ":" not in address][:1]
    own_v6 = [address for address in own if ":" in address][:1]
    v4 = [address for address in LOOPBACKS if ":" not in address] + own_v4

    found: list[Form] = []

    def host(family: str, text: str, leads: bool = False, scheme: str = "http") -> None:
        found.append(Form(family, f"{scheme}://{text}:{port}/image", leads))

    for address in v4:
        for scheme in ("http", "HTTP", "hTTp"):
            host("address", address, leads=True, scheme=scheme)
        for scheme in ("https", "HTTPS"):
            host("address", address, scheme=scheme)
        for text in sorted(aton_spellings(address)):
            host("inet_aton", text)
        for family, text in disguises(address):
            host(family, text)
        for family, text, leads in embeddings(address):
            host(family, f"[{text}]", leads)
    host("unspecified", "0.0.0.0", leads=True)
    for text in sorted(aton_spellings("0.0.0.0")):
        host("inet_aton", text)
    for text in ["::", "0::", "::0", "0:0:0:0:0:0:0:0", "::0.0.0.0", "0000:0000:0000:0000:0000:0000:0000:0000"]:
        host("unspecified", f"[{text}]", leads=True)
    for text in sorted(one_spellings()):
        host("v6", f"[{text}]", leads=True)
    for address in own_v6:
        for text in {address, address.upper(), ipaddress.ip_address(address).exploded}:
            host("v6", f"[{text}]", leads=True)
    for address in ["::1", *own_v6]:
        for family, text in broken_v6(address):
            host(f"v6, {family}", text)
    for family, text in disguised_names():
        host(family, text)
    # The machine's own resolver knows one of the names alone, and would ask others for the rest.
    for name in leading_names() if names.prefix else ["localhost"]:
        host("name", name, leads=True)
        host("name, dot at the end", name + ".")
    for name in mixed_names() if names.prefix else []:
        host("name of several addresses", name)
    for name in broken_names():
        host("broken name", name)
    for at in [f"127.0.0.1:{port}", f"[::1]:{port}", f"localhost:{port}", *[f"{a}:{port}" for a in own_v4]]:
        found += [Form(family, url) for family, url in hidings(at, mirror)]
    at = f"127.0.0.1:{port}"
    found += [Form(*form) for form in schemes(at, path)]
    found += [Form(*form) for form in controls(at)]
    found += [Form(*form) for form in ports("127.0.0.1", port, canaries.closed_port.port)]
    found = list({form.url: form for form in found}.values())
    return found


# A server, and imports in numbers

@dataclass
class Site:
    server: Server
    demo: ImageAPI
    admin: ImageAPI
    forms: list[Form]


@pytest.fixture
def site(start, tmp_path, canaries, redirector, names) -> Callable[..., Site]:
    """Starts a server that may reach the redirector's address, and on it all ports but one."""
    path = str(tmp_path / "socket")
    unix = socket.socket(socket.AF_UNIX)
    unix.bind(path)
    unix.listen()
    unix.setblocking(False)

    def make(networks: str = f"{OPEN}/32", more_ports: tuple[int, ...] = ()) -> Site:
        names.set(leading_names() | mixed_names() | broken_names())
        ports = " ".join(map(str, (canaries.port, redirector.port, *more_ports)))
        fetched = {"allowed_ports": ports, "allowed_networks": networks, "connect_seconds": 3}
        server = start({"image": {"import": fetched}}, prefix=names.prefix)
        clouds = site_of(server, tmp_path / "clouds")
        return Site(server, clouds.demo.api, clouds.admin.api, forms(canaries, redirector.authority, names, path))

    yield make
    with unix, pytest.raises(BlockingIOError):
        unix.accept()


def for_each(items: list, work: Callable[[ImageAPI, str, object], str | None], api: ImageAPI) -> list[str]:
    """Does `work` for all items, some at a time, each with an image that no other has meanwhile; what went wrong."""
    images: queue.SimpleQueue[str] = queue.SimpleQueue()
    for _ in range(IMPORTS_AT_ONCE):
        images.put(api.create_raw()["id"])

    def one(item) -> str | None:
        image = images.get()
        try:
            return work(api, image, item)
        except AssertionError as error:
            return f"{item}: {error}"
        finally:
            images.put(image)

    with concurrent.futures.ThreadPoolExecutor(IMPORTS_AT_ONCE) as pool:
        return [problem for problem in pool.map(one, items) if problem]


def assert_no_problems(problems: list[str]) -> None:
    assert not problems, f"{len(problems)}:\n" + "\n".join(problems[:20])


def assert_all_untouched(api: ImageAPI) -> list[dict]:
    images = api.list(limit=1000)
    for shown in images:
        assert_untouched(api, shown)
    return images


def why(form: Form) -> str:
    """What an answer to it says: no text of a request has a zero byte, whatever it is for."""
    return "U+0000" if "\0" in form.url else FILTERED


def message_of_failure(api: ImageAPI, image: str) -> str:
    """Of the last import, at whose end the image waits for data again."""
    result = outcome(api, image)
    assert result.image["status"] == "queued", result
    assert tasks(api, image)[-1]["status"] == "failure"
    return result.message


# Tests

def test_no_import_reaches_a_forbidden_server(site, canaries, redirector, names, measured):
    here = site()
    later: list[str] = []

    def refused(api: ImageAPI, image: str, form: Form) -> str | None:
        answer = api.request("POST", f"/v2/images/{image}/import", json=web_download(form.url))
        if answer.status_code == 400:
            return None if why(form) in answer.text else f"{form}: {answer.text}"
        expect(answer, 202)
        later.append(form.url)
        message = message_of_failure(api, image)
        # These are the open host's, with what looks like a host in query or fragment.
        is_open = form.family in ("open host, hash and at", "open host, query and at")
        return None if message.startswith("The server answered 404" if is_open else FILTERED) else f"{form}: {message}"

    problems = for_each(here.forms, refused, here.demo)
    measured("forbidden sources of imports", f"{len(here.forms)} forms, {len(later)} refused after a look at the name, "
             f"{sum(canaries.connections.values())} connections")
    assert canaries.connections == {}
    assert_no_problems(problems)
    assert len(here.forms) > 1000 and len({form.url for form in here.forms}) == len(here.forms)
    if names.prefix:
        assert len(later) >= len(leading_names()) + len(mixed_names())
    assert len(assert_all_untouched(here.demo)) == IMPORTS_AT_ONCE
    assert_nothing_is_left(here.server)


def test_no_task_reaches_a_forbidden_server(site, canaries, measured):
    here = site()
    made: list[str] = []

    def refused(api: ImageAPI, _: str, form: Form) -> str | None:
        what = {"import_from": form.url, "import_from_format": "raw",
                "image_properties": {"disk_format": "raw", "container_format": "bare"}}
        answer = api.request("POST", "/v2/tasks", json={"type": "import", "input": what})
        if answer.status_code == 400:
            return None if why(form) in answer.text else f"{form}: {answer.text}"
        task = expect(answer, 201).json()["id"]
        made.append(task)

        def failed() -> dict | None:
            shown = expect(api.request("GET", f"/v2/tasks/{task}"), 200).json()
            return shown if shown["status"] in ("success", "failure") else None

        shown = eventually(failed, 60, f"the task for {form} ends")
        return None if shown["status"] == "failure" else f"{form}: {shown}"

    problems = for_each(here.forms, refused, here.admin)
    measured("forbidden sources of tasks", f"{len(here.forms)} forms, {len(made)} tasks, "
             f"{sum(canaries.connections.values())} connections")
    assert canaries.connections == {}
    assert_no_problems(problems)
    assert len(here.forms) > 1000
    # Each task has made an image, which waits for data.
    assert len(assert_all_untouched(here.admin)) == IMPORTS_AT_ONCE + len(made)
    assert_nothing_is_left(here.server)


def test_no_redirect_leads_to_a_forbidden_server(site, canaries, redirector, measured):
    here = site()
    redirector.places += [form.url for form in here.forms]
    numbered = list(enumerate(here.forms))
    # Each form once; some that are wrong in nothing but the address by every status, and after redirects that are fine.
    ways = [(form, f"/{REDIRECTS[number % 5]}/{number}") for number, form in numbered]
    for number, form in [each for each in numbered if each[1].leads][::8]:
        ways += [(form, f"/{code}/{number}") for code in REDIRECTS]
        ways += [(form, f"/hops/{hops}/302/{number}") for hops in (1, 3)]
    ways = list({way: form for form, way in ways}.items())

    def refused(api: ImageAPI, image: str, way: tuple[str, Form]) -> str | None:
        ask(api, image, redirector.url + way[0])
        shown = eventually(lambda: ended(api, image), 60, f"the import of {way} ends")
        return None if shown["status"] == "queued" else f"{way}: {shown}"

    problems = for_each(ways, refused, here.demo)
    measured("redirects to forbidden servers", f"{len(ways)} ways to {len(here.forms)} forms, "
             f"{len(redirector.peers)} requests to the redirector, {sum(canaries.connections.values())} connections")
    assert canaries.connections == {}
    assert_no_problems(problems)
    assert len(ways) > 1000 and len(redirector.peers) >= len(ways)
    done = [task for shown in assert_all_untouched(here.demo) for task in tasks(here.demo, shown["id"])]
    assert len(done) == len(ways) and {task["status"] for task in done} == {"failure"}
    leading = {redirector.url + way for way, form in ways if form.leads}
    assert [task for task in done if task["input"]["import_req"]["method"]["uri"] in leading
            and not task["message"].startswith(FILTERED)] == []
    assert_nothing_is_left(here.server)


def test_a_name_led_elsewhere_between_two_requests_is_judged_again(site, canaries, redirector, names):
    """It leads to the redirector, and to a canary as soon as that was asked."""
    if not names.prefix:
        pytest.skip("needs a mount namespace")
    here = site()
    image = here.demo.create_raw()["id"]
    asked = []

    def redirect(request) -> None:
        asked.append(request.path)
        names.set({"rebind.example": ["127.0.0.1"]})
        request.wfile.write(f"HTTP/1.1 302 X\r\nLocation: http://rebind.example:{canaries.port}/\r\n\r\n".encode())

    rebinder = Listener(redirect, OPEN, canaries.port)
    try:
        for turn in range(5):
            names.set({"rebind.example": [OPEN]})
            ask(here.demo, image, f"http://rebind.example:{canaries.port}/")
            assert_failed(here.demo, image, FILTERED)
            assert len(asked) == turn + 1
    finally:
        rebinder.close()
    assert canaries.connections == {}
    assert_nothing_is_left(here.server)


def test_a_refusal_does_not_tell_where_a_name_leads(site, names):
    """Whether a name leads inside, or nowhere at all, is said in the same words."""
    if not names.prefix:
        pytest.skip("needs a mount namespace")
    here = site()
    messages = set()
    for name in ["loopback.example", "six.example", "both.example", "first.example", "no.such.name.example"]:
        image = here.demo.create_raw()["id"]
        ask(here.demo, image, f"http://{name}/")
        messages.add(assert_failed(here.demo, image).replace(name, "NAME"))
    assert messages == {FILTERED + "'NAME' is no host that may be reached."}


def test_with_its_network_open_the_same_server_is_reached(site, canaries, redirector, measured):
    """The forms are real: what kept those from their servers is the policy alone."""
    here = site("0.0.0.0/0 ::/0", (canaries.closed_port.port,))
    leading = [form for form in here.forms if form.leads]
    redirector.places += [form.url for form in leading]
    uris = [form.url for form in leading] + [f"{redirector.url}/{REDIRECTS[number % 5]}/{number}" for number in
                                             range(len(leading))] + [canaries.closed_port.url]

    def reached(api: ImageAPI, _: str, uri: str) -> str | None:
        image = api.create_raw()["id"]
        ask(api, image, uri)
        result = outcome(api, image)
        return None if result.image["status"] == "active" and result.image["size"] == 6 else f"{uri}: {result}"

    assert_no_problems(for_each(uris, reached, here.demo))
    measured("the same with all networks open",
             f"{len(uris)} imports, {sum(canaries.connections.values())} connections")
    assert len(leading) > 100
    assert sum(canaries.connections.values()) == len(uris)
    assert set(canaries.connections) == {listener.authority for listener in canaries.listeners}
    assert_healthy(here.server)


def test_an_open_address_opens_no_other(site, canaries):
    here = site(f"{OPEN}/32 {LOOPBACKS[1]}/32")
    for listener in canaries.listeners:
        if listener is canaries.closed_port:
            continue
        image = here.demo.create_raw()["id"]
        answer = here.demo.request("POST", f"/v2/images/{image}/import", json=web_download(listener.url))
        if listener.host == LOOPBACKS[1]:
            expect(answer, 202)
            assert outcome(here.demo, image).image["status"] == "active"
        else:
            assert FILTERED in expect(answer, 400).text
    assert canaries.connections == {f"{LOOPBACKS[1]}:{canaries.port}": 1}
    assert_healthy(here.server)
