"""A folder of pictures, or a table (CSV or JSON lines), as a list of items.

A table's columns: ``picture`` (a file inside the table's folder), ``prompt``, ``seed``, ``name``; every other column is a
node's input: ``iterations`` sets it in every node that has it, ``NeRF Stage 1.iterations`` in the nodes of that title,
class or id.  An empty cell leaves the workflow's own value.  In JSON lines a list stands for a sweep.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..launcher import graph
from ..launcher.settings import LaunchError
from ..pipelines.io.names import safe_part
from . import graphs

TABLES = {".csv", ".tsv", ".jsonl", ".ndjson"}
LARGEST = 64 * 2**20  # bytes of a table
MOST = 1_000_000  # items
LONGEST = 80  # letters of an item's folder
OWN = ("picture", "prompt", "seed", "name", "list")


@dataclass(frozen=True)
class Item:
    """One piece of work.  name: its folder, unique in the run; shown: as the person wrote it.

    picture, prompt, seed: None leaves the workflow's own.  inputs: (column, value) pairs, cast to the graph's types.
    wires: Batch List's node id -> what its outputs give for this item (``graphs.with_list``).
    """

    name: str
    shown: str
    picture: Path | None = None
    prompt: str | None = None
    seed: int | None = None
    inputs: tuple[tuple[str, object], ...] = ()
    wires: dict | None = None


def read(source: Path, prompt: dict, sweep: Sequence[str] = (), pictures: Path | None = None) -> list[Item]:
    """Items of a folder or table, each once for every combination of ``sweep`` ("NAME=VALUES").

    prompt: the graph, for the types of its inputs.  pictures: where a table's pictures are, by default beside it.
    Raises LaunchError, with the line, for what can't be used.
    """
    if source.is_dir():
        found = [Item(p.stem, p.name, picture=p) for p in graph.picture_files(source)]
    elif source.is_file() and source.suffix.lower() in TABLES:
        found = list(_rows_as_items(source, prompt, pictures or source.parent))
    else:
        raise LaunchError(f"no folder of pictures and no table ({', '.join(sorted(TABLES))}) at {source}")
    found = list(_named(_swept(found, [parse_sweep(text) for text in sweep], prompt)))
    if not found:
        raise LaunchError(f"nothing to do in {source}")
    return found


def _rows_as_items(source: Path, prompt: dict, folder: Path) -> Iterable[Item]:
    for line, row in rows(source):
        try:
            yield from _item(row, line, folder, prompt)
        except LaunchError as problem:
            raise LaunchError(f"{source.name}, line {line}: {problem}") from None


def rows(source: Path) -> Iterable[tuple[int, dict]]:
    """(line number, column -> cell) of a table."""
    if source.stat().st_size > LARGEST:
        raise LaunchError(f"{source.name} has more than {LARGEST >> 20} MB")
    try:
        text = source.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as problem:
        raise LaunchError(f"{source.name} is no UTF-8 text: {problem.reason}") from None
    found = _lines(source, text) if source.suffix.lower() in (".jsonl", ".ndjson") else _cells(source, text)
    for number, entry in enumerate(found):
        if number >= MOST:
            raise LaunchError(f"{source.name} has more than {MOST} rows")
        yield entry


def _lines(source: Path, text: str) -> Iterable[tuple[int, dict]]:
    for line, entry in enumerate(text.splitlines(), 1):
        if not entry.strip():
            continue
        try:
            row = json.loads(entry)
        except (ValueError, RecursionError) as problem:
            raise LaunchError(f"{source.name}, line {line}: no JSON ({problem})") from None
        if not isinstance(row, dict):
            raise LaunchError(f"{source.name}, line {line}: expected an object such as {{\"picture\": \"a.png\"}}")
        yield line, row


def _cells(source: Path, text: str) -> Iterable[tuple[int, dict]]:
    first = text.partition("\n")[0]
    sign = "\t" if source.suffix.lower() == ".tsv" else max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=sign)
    try:
        head = [name.strip() for name in next(reader, [])]
        if not any(head) or len(set(head)) < len(head):
            raise LaunchError(f"{source.name}: the first line must name the columns, each once")
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            if len(row) > len(head):
                raise LaunchError(f"{source.name}, line {reader.line_num}: {len(row)} cells under {len(head)} columns")
            yield reader.line_num, {n: cell for n, cell in zip(head, row, strict=False) if cell.strip()}
    except csv.Error as problem:
        raise LaunchError(f"{source.name}, line {reader.line_num}: {problem}") from None


def _item(row: dict, line: int, folder: Path, prompt: dict) -> Iterable[Item]:
    own = {name.lower(): value for name, value in row.items() if name.lower() in OWN}
    rest = {name: value for name, value in row.items() if name.lower() not in OWN and value is not None}
    lists = {name: value for name, value in rest.items() if isinstance(value, list)}
    picture = contained(folder, own["picture"]) if own.get("picture") else None
    shown = str(own.get("name") or (picture.stem if picture else f"row-{line:05d}"))
    fixed = tuple((name, graphs.cast(prompt, name, value)) for name, value in rest.items() if name not in lists)
    wires = own.get("list")
    if wires is not None and not isinstance(wires, dict):
        raise LaunchError("'list' is what the graph's page writes: an object")
    item = Item(shown, shown, picture, None if own.get("prompt") is None else str(own["prompt"]),
                None if own.get("seed") in (None, "") else whole(own["seed"]), fixed, wires)
    yield from _swept([item], list(lists.items()), prompt)


def whole(value) -> int:
    """A seed: an integer from 0 to 2^64 - 1."""
    try:
        number = int(str(value).strip())
    except ValueError:
        number = -1
    if not 0 <= number < 2**64:
        raise LaunchError(f"seed: expected an integer from 0, got {str(value)[:40]!r}")
    return number


def contained(folder: Path, name: object) -> Path:
    """A table's file name, inside ``folder``; LaunchError for one that leads out of it, by links, too."""
    text = str(name).strip()
    parts = re.split(r"[/\\]", text)
    if (not text or "\0" in text or ".." in parts or Path(text).is_absolute() or re.match(r"[A-Za-z]:", text)
            or text[0] in "/\\~"):
        raise LaunchError(f"picture: {text[:80]!r} leads out of the table's folder; name it relative to that folder")
    path = folder.joinpath(*[part for part in parts if part not in ("", ".")])
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # a name too long, a ring of links
        inside = False
    if not inside:
        raise LaunchError(f"picture: {text[:80]!r} leads out of the table's folder")
    return path


def parse_sweep(text: str) -> tuple[str, list]:
    """"steps=10,20" -> ("steps", ["10", "20"]); "seed=0:4" and "x=0:1:0.25" count, end included."""
    name, sign, values = text.partition("=")
    if not sign or not name.strip() or not values.strip():
        raise LaunchError(f"--sweep {text!r}: write NAME=VALUE,VALUE,... or NAME=FROM:TO:STEP")
    found: list = []
    for word in values.split(","):
        numbers = word.split(":")
        found += _counted(text, numbers) if len(numbers) in (2, 3) and all(_is_number(n) for n in numbers) else [word.strip()]
    return name.strip(), found


def _is_number(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False


def _counted(text: str, numbers: list[str]) -> list[str]:
    begin, end = float(numbers[0]), float(numbers[1])
    step = float(numbers[2]) if len(numbers) == 3 else 1.0
    count = math.floor((end - begin) / step + 1e-9) + 1 if step else 0
    if not 1 <= count <= MOST:
        raise LaunchError(f"--sweep {text!r}: {count} values")
    return [f"{round(begin + k * step, 12):.15g}" for k in range(count)]


def _swept(found: list[Item], axes: Sequence[tuple[str, list]], prompt: dict) -> Iterable[Item]:
    count = math.prod([len(found), *(len(values) for _, values in axes)])
    if count > MOST:
        raise LaunchError(f"{count} items are more than {MOST}")
    ready = [[(name, value, _sweep_value(prompt, name, value)) for value in values] for name, values in axes]
    for item in found:
        for choice in itertools.product(*ready):
            if not choice:
                yield item
                continue
            label = "".join(f"--{name.rpartition('.')[2]}-{value}" for name, value, _ in choice)
            seed = next((value for name, _, value in choice if name == "seed"), item.seed)
            words = next((value for name, _, value in choice if name == "prompt"), item.prompt)
            more = tuple((name, value) for name, _, value in choice if name not in ("seed", "prompt"))
            yield replace(item, name=item.name + label, shown=item.shown + label, seed=seed, prompt=words,
                          inputs=item.inputs + more)


def _sweep_value(prompt: dict, name: str, value):
    if name == "prompt":
        return str(value)
    return whole(value) if name == "seed" else graphs.cast(prompt, name, value)


def _named(found: Iterable[Item]) -> Iterable[Item]:
    """Folder names that every system takes; the second of a name gets a number."""
    used: set[str] = set()
    for item in found:
        stem = safe_part(graph.folder_name(re.sub(r"\s+", " ", item.name)))[:LONGEST].rstrip(". ") or "item"
        name, number = stem, 1
        while name.lower() in used:
            number += 1
            name = f"{stem}-{number}"
        used.add(name.lower())
        yield replace(item, name=name)
