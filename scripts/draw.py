#!/usr/bin/env python3
"""Draws the pictures of docs/: the life of a blob, the way of an upload, what becomes of a key.

    scripts/draw.py        writes docs/blob-life.svg, docs/upload.svg and docs/key-life.svg
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


def key_life():
    d = Drawing(900, 330, "What becomes of a key")
    d.text(450, 24, "the edge between an image and its key", size=12)
    d.box(30, 45, 130, 70, ["held", "nobody can", "delete the key"], GREEN)
    d.box(290, 45, 130, 70, ["releasing", "image deleted,", "bytes still there"])
    d.box(550, 25, 140, 60, ["destroying", "nobody can name it"], RED)
    d.box(550, 110, 140, 50, ["leaving", "the key stays"])
    d.box(790, 60, 90, 60, ["no edge"], PAPER)
    d.arrow("M160 80 H290", "image deleted", (225, 72))
    d.arrow("M420 70 C470 70 490 55 550 55", "last one out,", (478, 40))
    d.text(478, 55, "on_image_deletion", size=11)
    d.arrow("M420 95 C470 95 490 135 550 135", "others need it,", (478, 140))
    d.text(478, 155, "or another policy", size=11)
    d.arrow("M690 55 C740 55 760 75 790 80")
    d.arrow("M690 135 C740 135 760 110 790 102")
    d.text(355, 135, "waits for its last byte", size=12)
    d.text(355, 150, "to be erased", size=12)
    d.text(450, 205, "the key itself", size=12)
    d.box(30, 230, 130, 60, ["there", "for its project"], GREEN)
    d.box(390, 230, 160, 60, ["deleted", "wrapped as it was, 404"], RED)
    d.box(760, 230, 120, 60, ["erased", "no wrapping left"], PAPER)
    d.arrow("M160 248 H390", "deleted, expired, with its last image", (275, 241))
    d.arrow("M390 275 H160", "ambrotype keys undelete", (275, 292))
    d.arrow("M550 260 H760", "time is over and no edge", (655, 252))
    d.arrow("M620 85 C620 160 560 170 500 230")
    d.save("key-life.svg")


if __name__ == "__main__":
    blob_life()
    upload()
    key_life()
