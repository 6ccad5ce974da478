#!/usr/bin/env python3
"""Draws the pictures of docs/: the life of a blob and the way of an upload.

    scripts/draw.py        writes docs/blob-life.svg and docs/upload.svg
"""
import html
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"
INK, PAPER, BLUE, RED, GREEN = "#1f2933", "#ffffff", "#dbeafe", "#fee2e2", "#dcfce7"


class Drawing:
    def __init__(self, width, height, title):
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'font-family="sans-serif" font-size="14" fill="{INK}">',
            f"<title>{html.escape(title)}</title>",
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" '
            f'markerHeight="8" orient="auto"><path d="M0 0 8 4 0 8z" fill="{INK}"/></marker></defs>',
            f'<rect width="{width}" height="{height}" fill="{PAPER}"/>',
        ]

    def text(self, x, y, text, anchor="middle", size=14, weight="normal"):
        self.parts.append(
            f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="{size}" '
            f'font-weight="{weight}">{html.escape(text)}</text>'
        )

    def box(self, x, y, width, height, lines, fill=BLUE):
        self.parts.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="8" fill="{fill}" stroke="{INK}"/>'
        )
        top = y + height / 2 - (len(lines) - 1) * 9 + 5
        for index, line in enumerate(lines):
            self.text(x + width / 2, top + index * 18, line, weight="bold" if index == 0 else "normal",
                      size=14 if index == 0 else 12)

    def arrow(self, path, label="", at=None):
        self.parts.append(f'<path d="{path}" fill="none" stroke="{INK}" stroke-width="1.5" marker-end="url(#tip)"/>')
        if label:
            for index, line in enumerate(label.split("\n")):
                self.text(at[0], at[1] + index * 15, line, size=12)

    def save(self, name):
        (DOCS / name).write_text("\n".join(self.parts + ["</svg>"]) + "\n")


def blob_life():
    d = Drawing(760, 290, "The life of a blob")
    d.box(40, 40, 160, 70, ["writing", "lease, epoch,", "quota reserved"])
    d.box(300, 40, 160, 70, ["live", "durable, immutable,", "size charged"], GREEN)
    d.box(580, 40, 140, 70, ["recycled", "kept for a time,", "charged nothing"])
    d.box(300, 180, 160, 70, ["doomed", "charged nothing,", "with its job"], RED)
    d.box(580, 185, 140, 60, ["no row", "no bytes"], PAPER)
    d.arrow("M460 65 H580", "deleted", (520, 58))
    d.arrow("M580 90 H460", "undeleted", (520, 105))
    d.arrow("M630 110 V150 H440 V180", "bin emptied", (585, 143))
    d.arrow("M200 75 H300", "commit", (250, 67))
    d.arrow("M350 110 V180", "image\ndeleted", (322, 140))
    d.arrow("M120 110 V215 H300", "upload failed, image deleted,\nlease not renewed", (205, 232))
    d.arrow("M460 215 H580", "bytes erased,\nwriter let go", (520, 232))
    d.text(120, 25, "row before bytes", size=12)
    d.text(650, 265, "row after bytes", size=12)
    d.save("blob-life.svg")


def upload():
    d = Drawing(860, 300, "The way of an upload")
    d.box(20, 115, 110, 60, ["client", "PUT …/file"], PAPER)
    d.box(190, 115, 130, 60, ["chunks", "128 KiB to 4 MiB,", "one budget for all"])
    for y, name, note in [(25, "MD5", "checksum"), (115, "SHA-512", "os_hash_value"), (205, "store", "incoming/ID")]:
        d.box(390, y, 130, 60, [name, note])
        d.arrow(f"M320 145 C355 145 355 {y + 30} 390 {y + 30}")
    d.arrow("M130 145 H190")
    d.box(590, 205, 110, 60, ["commit", "sync, rename,", "sync directory"], GREEN)
    d.arrow("M520 235 H590")
    d.box(730, 115, 110, 60, ["active", "one transaction"], GREEN)
    d.arrow("M520 55 C640 55 785 60 785 115")
    d.arrow("M520 145 H730")
    d.arrow("M700 235 C760 235 785 220 785 175")
    d.text(170, 215, "before the first byte: one transaction", size=12)
    d.text(170, 230, "queued → saving, row, lease, quota", size=12)
    d.text(430, 292, "anything fails: one transaction back to queued, and the bytes are doomed", size=12)
    d.save("upload.svg")


if __name__ == "__main__":
    blob_life()
    upload()
