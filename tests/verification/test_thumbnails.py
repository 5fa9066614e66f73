"""Thumbnails: which pictures of which graph they show, and how they are put together."""

import hashlib
import json

import numpy as np
import pytest
from lift123.launcher.shipped import TITLES, graph_file, twin_file
from lift123.verification import thumbnails as made
from PIL import Image

BY_TRUTH = {"stdgen_toy", "stdgen_edit"}  # no network takes part: drawn from those graphs' own sheets


def test_every_graph_has_a_square_of_its_own():
    files = {name: graph_file(name).with_suffix(".jpg") for name in TITLES}
    for name, file in files.items():
        with Image.open(file) as picture:
            assert picture.size == (made.SIDE, made.SIDE) and picture.mode == "RGB", name
    assert len({hashlib.sha256(file.read_bytes()).digest() for file in files.values()}) == len(files)
    assert {*made.THUMBS, *made.PHOTOS, *BY_TRUTH} == set(TITLES)


@pytest.mark.parametrize("name", made.THUMBS)
def test_cells_are_of_nodes_that_the_graph_has(name):
    thumb = made.THUMBS[name]
    prompt = json.loads(twin_file(thumb.source or name).read_text(encoding="utf-8"))
    assert thumb.cells and all(cell.node in prompt for cell in thumb.cells)
    classes = {node["class_type"].removeprefix("Lift123_") for node in prompt.values()}
    assert set(thumb.changes) <= classes | set(made.FEW)
    assert bool(thumb.source) == ("(GPU)" in TITLES[name]) and (thumb.words == made.SMALL) == bool(thumb.source)


def test_frames_of_a_sheet_are_counted_along_its_rows(tmp_path):
    sheet = np.zeros((40, 60, 3), np.uint8)
    for frame in range(24):
        sheet[10 * (frame // 6):10 * (frame // 6) + 10, 10 * (frame % 6):10 * (frame % 6) + 10] = frame
    Image.fromarray(sheet).save(tmp_path / "18-2_00_sheet.png")
    for cell, frame in zip(made.turn("18:2", 0, 7, 23, captions=("first",)), (0, 7, 23)):
        assert (np.asarray(made.kept(tmp_path, cell)) == frame).all() and cell.caption == ("first" if frame == 0 else "")
    with pytest.raises(FileNotFoundError, match="picture 1"):
        made.kept(tmp_path, made.Cell("", "18:2", 1))


def test_the_sheet_is_the_first_picture_of_a_node_that_also_turns(tmp_path, monkeypatch):
    """Bake and Export names its turntable before its sheet."""
    named = [{"filename": name, "subfolder": "", "type": "output"} for name in ("a_turntable.webp", "a_sheet.png", "b.png")]
    monkeypatch.setattr(made.jobs, "run", lambda *_, **__: {"outputs": {"18:2": {"images": named}}})
    client = type("Client", (), {"raw": lambda self, path: path.encode()})()
    made.run(client, "consistent123_quickstart", made.Thumb(1, []), tmp_path / "kept")
    found = sorted(file.name for file in (tmp_path / "kept").glob("18-2_*"))
    assert found == ["18-2_00_a_sheet.png", "18-2_01_b.png"]


def test_cells_fill_a_grid_and_words_stand_below():
    colors = ("red", "green", "blue")
    page = np.asarray(made.drawn([("", Image.new("RGB", (30, 30), color)) for color in colors], 2, "words"))
    middle = (made.SIDE - made.STRIP) // 4
    for (row, column), color in zip(((0, 0), (0, 1), (1, 0)), ((255, 0, 0), (0, 128, 0), (0, 0, 255))):
        assert tuple(page[middle + 2 * middle * row, 128 + 256 * column]) == color
    assert (page[3 * middle, 384] == 255).all() and (page[-2, 4] == 225).all()
