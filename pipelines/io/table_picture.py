"""Tables as text for people and machines, and as pictures."""

from __future__ import annotations

import csv
import io
import re
import unicodedata

import numpy as np
import torch
from torch import Tensor

TEXT = 18  # pixels
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
FORMULA = ("=", "+", "-", "@", "\u2212")  # with which spreadsheets begin to calculate
INNER = re.compile(r"((?:;|(?<!^)\t)\s*)(?=[=@])")
_INK, _QUIET, _STRIPE = (24, 24, 28), (110, 110, 120), (242, 243, 246)


def number(value) -> str:
    """A value as people read it: four digits, all of a large one's before the point; yes or no, '-' for nothing."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.4g}"


def markdown(head: list, rows: list[list]) -> str:
    """A markdown table."""
    lines = [head, ["---"] * len(head), *([number(c).replace("|", "/").replace("\n", " ") for c in row] for row in rows)]
    return "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)


def comma_separated(head: list, rows: list[list]) -> str:
    """CSV as spreadsheets read it; cells that a spreadsheet would take for a formula get an apostrophe in front."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([_harmless(c) for c in head])
    for row in rows:
        writer.writerow([_harmless(c) for c in row])
    return out.getvalue()


def _harmless(cell):
    """A cell that stays what it is: text that a spreadsheet would calculate gets an apostrophe, numbers do not."""
    if not isinstance(cell, str):
        return "" if cell is None else cell
    cell = cell.encode("utf-8", "replace").decode()  # halves of letters, as broken file names have them
    cell = re.sub("\r\n?", "\n", cell)  # a lone "\r" is not quoted by the writer, and ends the row for readers
    cell = INNER.sub(r"\1'", cell)  # where a semicolon or tab ends a cell
    seen = unicodedata.normalize("NFKC", cell)  # spreadsheets take the wide forms, too
    begin = next((k for k, letter in enumerate(seen) if unicodedata.category(letter)[0] not in "ZC"), len(seen))
    formula = seen[begin : begin + 1] in FORMULA or cell.startswith(("\t", "\n"))
    return "'" + cell if formula and not NUMBER.fullmatch(cell) else cell


def table_picture(title: str, head: list, rows: list[list], footer: tuple[str, ...] = ()) -> Tensor:
    """[H, W, 3] in [0, 1]: the table in dark letters on white, as large as it needs."""
    from PIL import Image, ImageDraw

    font, line = _font(TEXT), TEXT + 12
    cells = [[str(c) for c in head], *([number(c) for c in row] for row in rows)]
    widths = [max(_width(font, row[k]) for row in cells) + 24 for k in range(len(head))]
    wide = max(sum(widths), _width(font, title), *(_width(font, f) for f in footer), 200) + 32
    picture = Image.new("RGB", (int(wide), line * (len(cells) + len(footer) + 1) + 36), "white")
    draw = ImageDraw.Draw(picture)
    draw.text((16, 12), title, fill=_INK, font=font)
    for n, row in enumerate(cells):
        top = 18 + line * (n + 1)
        if n % 2:
            draw.rectangle((8, top - 4, wide - 8, top + line - 5), fill=_STRIPE)
        for k, cell in enumerate(row):
            draw.text((16 + sum(widths[:k]), top), cell, fill=_QUIET if n == 0 else _INK, font=font)
    for n, text in enumerate(footer):
        draw.text((16, 22 + line * (len(cells) + 1 + n)), text, fill=_QUIET, font=font)
    return torch.from_numpy(np.array(picture)).float() / 255


def labeled(picture: Tensor, text: str) -> Tensor:
    """[H + 28, W, 3]: a picture with a line of text below, cut to its width."""
    from PIL import Image, ImageDraw

    height, width = picture.shape[:2]
    strip, font = Image.new("RGB", (width, TEXT + 10), "white"), _font(TEXT - 4)
    while text and _width(font, text) > width - 8:
        text = text[:-1]
    ImageDraw.Draw(strip).text((4, 4), text, fill=_INK, font=font)
    return torch.cat([picture, torch.from_numpy(np.array(strip)).float() / 255])


def _font(size: int):
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _width(font, text: str) -> float:
    return font.getlength(text)
