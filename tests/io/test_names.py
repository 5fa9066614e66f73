"""Names that every system takes, and cells that every spreadsheet leaves alone."""

import csv
import io
import random

import pytest
from lift123.launcher.graph import folder_name
from lift123.pipelines.io.names import safe_part, safe_path
from lift123.pipelines.io.table_picture import comma_separated

WINDOWS_REFUSES = set('<>:"|?*/\\') | {chr(n) for n in range(32)}
DEVICES = {"con", "prn", "aux", "nul", *(f"{name}{n}" for name in ("com", "lpt") for n in range(10))}


@pytest.mark.parametrize("name, safe", [
    ("cup", "cup"), ("a cup-1.5 v_2", "a cup-1.5 v_2"), ("CON", "CON_"), ("nul.tar.gz", "nul_.tar.gz"), ("Com1 .x", "Com1_.x"),
    ("lpt\u00b2", "lpt\u00b2_"), ("console", "console"), ("com10", "com10"), ("a:b?c", "a_b_c"), ("x. . ", "x"), ("..", ""),
    ("tab\there", "tab_here"), (".hidden", ".hidden"), ("con.", "con_"), (" con", "con_")])
def test_one_name(name, safe):
    assert safe_part(name) == safe


def test_paths_keep_their_parts():
    assert safe_path("lift123/b/cup") == "lift123/b/cup" and safe_path("a\\AUX//.. /x.") == "a/AUX_/x"


def some_texts() -> list:
    """Devices in disguises, and signs in any order."""
    draw = random.Random(3)
    signs = sorted(WINDOWS_REFUSES) + list(" ..aZ0_-\u00e9\u4e2d") + sorted(DEVICES)
    return [f" {d} .x. " for d in sorted(DEVICES)] + ["".join(draw.choices(signs, k=draw.randrange(9))) for _ in range(3000)]


def test_any_text_becomes_a_name_and_stays_it():
    for text in some_texts():
        check(text)


def check(text: str) -> None:
    for made in (*safe_path(text).split("/"), folder_name(text)):
        assert not set(made) & WINDOWS_REFUSES and made == made.rstrip(". ")
        assert made.split(".")[0].rstrip().lower() not in DEVICES
    assert safe_path(safe_path(text)) == safe_path(text) and folder_name(folder_name(text)) == folder_name(text)


@pytest.mark.parametrize("cell", [
    " =1+1", "\u00a0=1", "\ufeff=1", "\u200b@SUM(A1)", "  -x", "\x0b+x", "\uff1d1+1", "\uff0bx", "\uff0dx", "\uff20A", "\u2212x",
    " \uff1dcmd", "\ufe63x", "\x00=1"])
def test_formulas_behind_blanks_and_in_wide_letters(cell):
    assert comma_separated([], [[cell]]).strip("\n").strip('"').startswith("'")


def test_cells_inside_of_cells_and_broken_letters():
    row = comma_separated([], [["a;=1", "a\t @x", "a;b", "\ud800x", " ", "", "a = 1", "1 - 2"]]).splitlines()[1]
    assert row == "a;'=1,a\t '@x,a;b,?x, ,,a = 1,1 - 2"


def test_cells_are_data():
    cells = ["=1+1", "+x", "-x", "@SUM(A1)", "\t=1", "\r=1", "-0.5", "+1e-3", "-", "1-2", -0.5, None, True, "--1"]
    assert comma_separated(["=head"], [[c] for c in cells[:4]]).splitlines() == ["'=head", "'=1+1", "'+x", "'-x", "'@SUM(A1)"]
    row = next(csv.reader(io.StringIO(comma_separated([], [cells]).partition("\n")[2], newline="")))
    assert row[4:] == ["'\t=1", "'\n=1", "-0.5", "+1e-3", "'-", "1-2", "-0.5", "", "True", "'--1"]
