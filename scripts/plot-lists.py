#!/usr/bin/env python3
"""Draws the latency of lists against the size of the catalogue, of what bench-peers.py measured.

    plot-lists.py [.run/peers/peers.json … docs/lists.svg]

A point is the median over the rounds of the median latency over one connection; both axes are logarithmic.
"""

from __future__ import annotations

import html
import json
import math
import statistics
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
INK, PAPER, GRID = "#1f2933", "#ffffff", "#d9dee4"
COLOURS = {"Ambrotype": "#1d4ed8", "Glance": "#b91c1c", "nginx": "#6b7280"}
LEFT, TOP, WIDTH, HEIGHT = 80, 50, 540, 300


def points(document: dict) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for row in document["rows"]:
        if row["part"] != "list" or row["connections"] != 1:
            continue
        for side, values in row["values"].items():
            found.setdefault(side, []).append((row["images"], statistics.median(values["p50_ms"])))
    return {side: sorted(pairs) for side, pairs in found.items()}


def decades(values: list[float]) -> tuple[int, int]:
    """Exponents of ten around them."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def number(exponent: int) -> str:
    value = 10.0 ** exponent
    return f"{value:,.0f}" if exponent >= 0 else f"{value:g}"


def draw(document: dict) -> str:
    series = points(document)
    if not series:
        sys.exit("there are no lists over one connection in it")
    x_low, x_high = decades([images for pairs in series.values() for images, _ in pairs])
    y_low, y_high = decades([value for pairs in series.values() for _, value in pairs])

    def place(images: float, value: float) -> tuple[float, float]:
        return (LEFT + WIDTH * (math.log10(images) - x_low) / (x_high - x_low),
                TOP + HEIGHT - HEIGHT * (math.log10(value) - y_low) / (y_high - y_low))

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 130} {TOP + HEIGHT + 70}" '
             f'font-family="sans-serif" font-size="13" fill="{INK}">',
             "<title>Latency of a list of 25 against the number of images</title>",
             f'<rect width="100%" height="100%" fill="{PAPER}"/>']

    def text(x: float, y: float, words: str, anchor: str = "middle", colour: str = INK, extra: str = "") -> None:
        parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}"{extra}>{html.escape(words)}</text>')

    def line(x1: float, y1: float, x2: float, y2: float, colour: str) -> None:
        parts.append(f'<path d="M{x1:.1f} {y1:.1f} {x2:.1f} {y2:.1f}" stroke="{colour}" fill="none"/>')

    for exponent in range(x_low, x_high + 1):
        x, _ = place(10.0 ** exponent, 10.0 ** y_low)
        line(x, TOP, x, TOP + HEIGHT, GRID)
        text(x, TOP + HEIGHT + 20, number(exponent))
    for exponent in range(y_low, y_high + 1):
        _, y = place(10.0 ** x_low, 10.0 ** exponent)
        line(LEFT, y, LEFT + WIDTH, y, GRID)
        text(LEFT - 8, y + 4, number(exponent), "end")
    text(LEFT + WIDTH / 2, TOP - 20, "A list of 25 images, one connection: median latency", extra=' font-weight="bold"')
    text(LEFT + WIDTH / 2, TOP + HEIGHT + 45, "images in the catalogue")
    text(20, TOP + HEIGHT / 2, "ms", extra="")
    for side, pairs in series.items():
        colour = COLOURS.get(side, INK)
        at = [place(images, value) for images, value in pairs]
        parts.append(f'<path d="M{" ".join(f"{x:.1f} {y:.1f}" for x, y in at)}" stroke="{colour}" stroke-width="2" fill="none"/>')
        for (x, y), (_, value) in zip(at, pairs):
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>')
            text(x, y - 8, f"{value:.2f}" if value < 10 else f"{value:.0f}", colour=colour, extra=' font-size="11"')
        text(at[-1][0] + 10, at[-1][1] + 4, side, "start", colour)
    about = f"{document['date']}, {document['commit']}; {document['processors']} × {document['processor']}"
    text(LEFT, TOP + HEIGHT + 64, about, "start", extra=' font-size="10"')
    return "\n".join(parts + ["</svg>"]) + "\n"


def main() -> None:
    """Several documents are one: sizes of the catalogue that were measured by themselves."""
    *sources, target = map(Path, sys.argv[1:] or [REPOSITORY / ".run/peers/peers.json", REPOSITORY / "docs/lists.svg"])
    documents = [json.loads(source.read_text()) for source in sources]
    target.write_text(draw(documents[0] | {"rows": [row for document in documents for row in document["rows"]]}))
    print(target)


if __name__ == "__main__":
    main()
