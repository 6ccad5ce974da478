"""Counts before seconds: allocations, copied bytes and system calls of an operation are held to thresholds in
`Tests/Counts/thresholds.json`. What became less is only told: lower its threshold with the change that did it,

    INTEROP_COUNTS=write .venv/interop/bin/python -m pytest Tests/Interop/test_counts.py
"""

from __future__ import annotations

import json
import os

import pytest

from conftest import site_of
from counts import HELD, THRESHOLDS, Counts, Driver, as_thresholds, exceeded, lowered, measure

pytestmark = pytest.mark.own_server

TOLERANCES = {"tolerance": 0.15, "tolerance_of_transfers": 0.3}


@pytest.fixture(scope="module")
def found(scratch):
    """The counts of a server with the settings it has by itself, but for a log that costs the same everywhere."""
    from ambrotype import Server

    directory = scratch / "counted"
    directory.mkdir()
    counts = Counts(scratch)
    data = directory / "data"
    data.mkdir()
    with Server(data, environment=counts.environment) as server:
        site = site_of(server, directory / "clients")
        return measure(counts, Driver(site.image_url, site.demo.sdk.auth_token))


@pytest.mark.own_identity
def test_nothing_costs_more_than_its_threshold(found, measured):
    if os.environ.get("INTEROP_COUNTS") == "write":
        THRESHOLDS.write_text(json.dumps(as_thresholds(found, json.loads(THRESHOLDS.read_text())), indent=2) + "\n")
    thresholds = json.loads(THRESHOLDS.read_text())
    for operation, numbers in found.items():
        measured(f"counts of {operation}", ", ".join(f"{value:,.1f} {kind}" for kind, value in numbers.items()))
    for less in lowered(found, thresholds):
        measured("could be lower", less)
    assert exceeded(found, thresholds) == []


@pytest.mark.own_identity
def test_more_than_the_tolerance_is_found(found):
    """With thresholds a quarter below what was counted, all of it is too much; one number alone is found as well."""
    less = {operation: {kind: numbers[kind] * 0.75 for kind in HELD} for operation, numbers in found.items()}
    problems = exceeded(found, TOLERANCES | {"operations": less})
    assert len(problems) == len(HELD) * len(found)
    same = {operation: {kind: numbers[kind] for kind in HELD} for operation, numbers in found.items()}
    assert exceeded(found, TOLERANCES | {"operations": same}) == []
    same["get"]["system_calls"] *= 0.8
    assert len(exceeded(found, TOLERANCES | {"operations": same})) == 1
    del same["get"]["system_calls"]
    assert len(exceeded(found, TOLERANCES | {"operations": same})) == 1
