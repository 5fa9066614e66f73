"""Draws the thumbnails of the graphs from what the graphs themselves show, one 512 pixel square each.

    python verification/thumbnails.py --url http://127.0.0.1:8188 [NAME ...] [--keep FOLDER]

Runs each graph in a running ComfyUI with the pack, research graphs at *draft* quality, and keeps every picture that a node
shows below FOLDER; a graph that is there already is only drawn again.  Graphs for a GPU are drawn from their quickstart and say
so.  ``photo_remover``, ``photo_normals``, ``stdgen_edit`` have truth of toys where a network would be that does not ship.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

from PIL import Image, ImageDraw

sys.path.append(str(Path(__file__).resolve().parent.parent / "training"))
import pack  # noqa: F401  (imports the pack as ``lift123``)
from lift123.launcher import jobs, shipped
from lift123.launcher.server import Client

SIDE, BAND, STRIP = 512, 18, 24  # pixels: of a thumbnail, of a caption, of the words below
DRAFT = {"NerfStage1": {"quality": "draft"}, "DMTetRefine": {"quality": "draft"}}
SMALL = "by the quickstart, with the small networks"


@dataclass(frozen=True)
class Thumb:
    """cells: (caption, node, picture of that node, frame of it or -1 for the whole).  columns: of the grid.

    source:  graph that is run instead of this one.  changes: of its nodes' inputs, by class.
    words:   below the grid.
    """

    columns: int
    cells: Sequence[tuple[str, str, int, int]]
    source: str = ""
    changes: dict = field(default_factory=dict)
    words: str = ""


def turn(node: str, *frames: int, caption: str = "") -> list[tuple[str, str, int, int]]:
    """Frames of a turntable's sheet."""
    return [(caption, node, 0, frame) for frame in frames]


def run(client: Client, name: str, thumb: Thumb, folder: Path) -> None:
    """Runs a graph and keeps ``folder/NODE_NUMBER_....png`` of every picture that it shows, and its prompt."""
    prompt, _ = shipped.load(thumb.source or name)
    for node in prompt.values():
        node["inputs"].update(thumb.changes.get(node["class_type"].removeprefix("Lift123_"), {}))
    entry = jobs.run(client, prompt, timeout=7200)
    folder.mkdir(parents=True, exist_ok=True)
    for key, output in entry["outputs"].items():
        for number, file in enumerate(output.get("images", [])):
            data = client.raw("/view?" + urlencode({k: file[k] for k in ("filename", "subfolder", "type")}))
            (folder / f"{key.replace(':', '-')}_{number:02d}_{file['filename']}").write_bytes(data)
    (folder / "prompt.json").write_text(json.dumps(prompt), encoding="utf-8")


def kept(folder: Path, node: str, number: int) -> Image.Image:
    """A picture that :func:`run` kept, on white.  FileNotFoundError where there is none."""
    found = sorted((int(m[1]), file) for file in folder.glob(f"{node.replace(':', '-')}_*.png")
                   if (m := re.match(r"[^_]+_(?:\D+_)?(\d+)_", file.name)))
    if number >= len(found):
        raise FileNotFoundError(f"{folder}: node {node} has shown {len(found)} pictures, wanted {number}")
    rgba = Image.open(found[number][1]).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def cut(sheet: Image.Image, frame: int, side: int) -> Image.Image:
    """One square of a contact sheet, counted along its rows."""
    columns = max(sheet.width // side, 1)
    left, top = side * (frame % columns), side * (frame // columns)
    return sheet.crop((left, top, left + side, top + side))


def fitted(picture: Image.Image, width: int, height: int) -> Image.Image:
    """Scaled into a white rectangle, its proportions kept."""
    scale = min(width / picture.width, height / picture.height)
    size = (max(round(picture.width * scale), 1), max(round(picture.height * scale), 1))
    placed = Image.new("RGB", (width, height), "white")
    placed.paste(picture.resize(size, Image.Resampling.LANCZOS), ((width - size[0]) // 2, (height - size[1]) // 2))
    return placed


def drawn(cells: Sequence[tuple[str, Image.Image]], columns: int, words: str = "") -> Image.Image:
    """[SIDE, SIDE] grid of captioned pictures, with ``words`` in a gray strip below."""
    page = Image.new("RGB", (SIDE, SIDE), "white")
    pen, rows = ImageDraw.Draw(page), -(-len(cells) // columns)
    width, height = SIDE // columns, (SIDE - (STRIP if words else 0)) // rows
    for place, (caption, picture) in enumerate(cells):
        left, top, band = width * (place % columns), height * (place // columns), BAND if caption else 0
        page.paste(fitted(picture, width, height - band), (left, top))
        if caption:
            pen.text((left + width // 2, top + height - BAND // 2), caption, fill=(70, 70, 70), anchor="mm", font_size=13)
    if words:
        pen.rectangle((0, SIDE - STRIP, SIDE, SIDE), fill=(225, 225, 225))
        pen.text((SIDE // 2, SIDE - STRIP // 2), words, fill=(50, 50, 50), anchor="mm", font_size=15)
    return page
