"""What must be so after a crash: for every image, the ways it may be.

An acknowledged change leaves one way. A request that was cut off leaves two: it happened, or it did not.
What is found afterwards has to be one of them, whole, and is then the only one.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from image_api import Pattern

OURS = "torture_"  # properties that are compared; clients add some of their own


@dataclass(frozen=True)
class Data:
    """The bytes of one upload; no two uploads have the same."""

    size: int
    seed: int

    @property
    def pattern(self) -> Pattern:
        return Pattern(self.size, self.seed)

    def digests(self) -> tuple[str, str]:
        """MD5 and SHA-512."""
        return digests_of(self)


@functools.lru_cache(maxsize=4096)
def digests_of(data: Data) -> tuple[str, str]:
    md5, sha512 = hashlib.md5(), hashlib.sha512()
    for block in data.pattern.blocks():
        md5.update(block)
        sha512.update(block)
    return md5.hexdigest(), sha512.hexdigest()


@dataclass(frozen=True)
class Facts:
    """One way an image may be. `data` is None while it waits for some."""

    presence: str  # absent, present, deleted
    name: str = ""
    data: Data | None = None
    is_deactivated: bool = False
    is_protected: bool = False
    properties: frozenset[tuple[str, str]] = frozenset()
    tags: frozenset[str] = frozenset()
    members: frozenset[tuple[str, str]] = frozenset()

    @property
    def is_present(self) -> bool:
        return self.presence == "present"

    @property
    def status(self) -> str:
        if self.data is None:
            return "queued"
        return "deactivated" if self.is_deactivated else "active"


ABSENT = Facts("absent")
DELETED = Facts("deleted")

Step = Callable[[Facts], Facts]


def created(name: str, tags: Iterable[str] = (), properties: Iterable[tuple[str, str]] = ()) -> Step:
    made = Facts("present", name, tags=frozenset(tags), properties=frozenset(properties))
    return lambda _: made


def uploaded(data: Data) -> Step:
    return lambda facts: replace(facts, data=data)


def with_property(name: str, value: str) -> Step:
    def step(facts: Facts) -> Facts:
        others = {pair for pair in facts.properties if pair[0] != name}
        return replace(facts, properties=frozenset(others | {(name, value)}))
    return step


def with_member(project: str, status: str | None) -> Step:
    """`status` None takes the member out."""
    def step(facts: Facts) -> Facts:
        others = {pair for pair in facts.members if pair[0] != project}
        return replace(facts, members=frozenset(others | ({(project, status)} if status else set())))
    return step


def with_tag(tag: str) -> Step:
    return lambda facts: replace(facts, tags=facts.tags | {tag})


def without_tag(tag: str) -> Step:
    return lambda facts: replace(facts, tags=facts.tags - {tag})


def changed(**fields) -> Step:
    return lambda facts: replace(facts, **fields)


def deleted(_: Facts) -> Facts:
    return DELETED


@dataclass
class Image:
    """An image in the hands of one worker. Its id is None when the server chose it and nobody heard."""

    id: str | None
    name: str
    project: str
    ways: list[Facts] = field(default_factory=lambda: [ABSENT])
    story: list[str] = field(default_factory=list)

    @property
    def is_certain(self) -> bool:
        return len(self.ways) == 1

    @property
    def facts(self) -> Facts:
        assert self.is_certain, self
        return self.ways[0]

    def acknowledge(self, what: str, *steps: Step) -> None:
        self.story.append(what)
        for step in steps:
            self._set([step(way) for way in self.ways])

    def doubt(self, what: str, *steps: Step) -> None:
        """Of these steps, in this order, any number may have happened."""
        self.story.append(f"{what} (cut off)")
        ways = reached = self.ways
        for step in steps:
            reached = [step(way) for way in reached]
            ways = ways + reached
        self._set(ways)

    def doubt_each(self, what: str, *steps: Step) -> None:
        """At most one of these steps may have happened."""
        self.story.append(f"{what} (cut off)")
        self._set(self.ways + [step(way) for step in steps for way in self.ways])

    def resolve(self, way: Facts) -> None:
        self.story.append(f"found {way.presence if not way.is_present else way.status}")
        self.ways = [way]

    def _set(self, ways: list[Facts]) -> None:
        self.ways = list(dict.fromkeys(ways))

    def __str__(self) -> str:
        return f"image {self.id or self.name} ({' · '.join(self.story[-6:])})"
