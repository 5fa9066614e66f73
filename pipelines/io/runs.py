"""Many runs: which are the same, which are done, what came of them.

A finished run leaves ``<name>_manifest.json`` beside its result, a failed one ``<name>_failed.json``.
"""

from __future__ import annotations

import hashlib
import json
import re
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

DONE, FAILED = "_manifest.json", "_failed.json"
LARGEST = 64 * 2**20  # bytes of a record
MOST = 5000  # files looked at: more is a mistake in the folder's name
NOT_AVERAGED = ("seed", "value")
ALWAYS = ("run", "status", "value", "seconds", "error")
FIRST = ("reference_psnr", "clip_similarity", "novel_psnr", "iou", "chamfer_plain", "f_score", "sides_like_front", "faces")
MOST_COLUMNS = 12
By = Literal["all", "name", "category"]


@dataclass(frozen=True)
class Run:
    """One record.  name: file name without ending; folder: relative, with slashes; at: POSIX seconds.

    values: flat results and metrics by column; error: empty for a finished run; sheet: its contact sheet or None.
    settings: of its stages and nodes, flat: "NeRF stage 1.iterations".
    """

    name: str
    folder: str
    at: float
    key: str
    item: str
    error: str = ""
    values: dict = field(default_factory=dict)
    sheet: Path | None = None
    settings: dict = field(default_factory=dict)

    @property
    def status(self) -> str:
        return "failed" if self.error else "done"


def run_key(graph: dict, node: str, items: dict | None = None) -> str:
    """SHA-256 of everything that leads to ``node`` in a graph of ComfyUI's API format.

    Node ids, titles and positions do not matter, nor what hangs beside the path.  items: list node's id -> JSON value
    of the element this run takes, which stands for that node and all its settings.
    """
    known: dict[str, str] = {}

    def visit(key: str) -> str:
        if key not in known:
            known[key] = ""  # a cycle ends here; ComfyUI refuses them anyway
            known[key] = _digest(described(key))
        return known[key]

    def described(key: str):
        entry = graph[key]
        if items and key in items:
            return [entry["class_type"], items[key]]
        inputs = {name: [visit(str(value[0])), value[1]] if is_link(value, graph) else value
                  for name, value in entry.get("inputs", {}).items()}
        return [entry["class_type"], inputs]

    return visit(node)


def is_link(value, graph: dict) -> bool:
    """Whether an input's value is a wire: [node id, output]."""
    return isinstance(value, list) and len(value) == 2 and str(value[0]) in graph and isinstance(value[1], int)


def upstream(graph: dict, node: str) -> set[str]:
    """Ids of all nodes that lead to ``node``, itself included."""
    found, waiting = set(), [node]
    while waiting:
        key = waiting.pop()
        if key in found or key not in graph:
            continue
        found.add(key)
        waiting += [str(v[0]) for v in graph[key].get("inputs", {}).values() if is_link(v, graph)]
    return found


def read_run(path: Path, root: Path) -> Run | None:
    """A record, or None for a file that is none of ours or damaged."""
    try:
        if path.stat().st_size > LARGEST:
            return None
        data = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(data, dict) or data.get("manifest") != 1:
            return None
        stem = path.name[: -len(DONE if path.name.endswith(DONE) else FAILED)]
        batch = data.get("batch") or {}
        sheet = path.with_name(f"{stem}_sheet.png") if path.name.endswith(DONE) else None
        if sheet is not None and not sheet.is_file():
            sheet = path.with_name(f"{stem}sheet.png")
        return Run(stem.rstrip("_"), path.parent.relative_to(root).as_posix(), path.stat().st_mtime, str(batch.get("key", "")),
                   str(batch.get("item", "")), str(data.get("error", "")), _values(data),
                   sheet if sheet is not None and sheet.is_file() else None, flat_settings(data))
    except (OSError, ValueError, AttributeError, TypeError, RecursionError, OverflowError):  # nested too deep, absurd numbers
        return None


def gather(root: Path, folder: str = "", newest_only: bool = True) -> list[Run]:
    """Records below ``root/folder``, by folder, name and time.

    newest_only: of several records of one element of a list only the latest; a failure that was mended later is gone.
    """
    files = [p for end in (DONE, FAILED) for p in sorted((root / folder).rglob(f"*{end.lstrip('_')}"))[:MOST]]
    runs = [run for path in dict.fromkeys(files) if (run := read_run(path, root)) is not None]
    runs.sort(key=lambda run: (run.folder, run.name, run.at))
    if not newest_only:
        return runs
    latest: dict[tuple, Run] = {}
    for run in sorted(runs, key=lambda run: run.at):
        latest[(run.folder, run.item) if run.item else (run.folder, run.name, run.status)] = run
    return [run for run in runs if any(run is kept for kept in latest.values())]


def table(runs: list[Run], by: By = "all") -> tuple[list[str], list[list]]:
    """(head, rows): name, status, every value that any run has, and the error if there is one; then means and errors.

    by: which runs a mean is over, where there are two or more: "all" of them; those of a "name", differing in their number
    only ("exp_00001", "exp_00002"); those of a "category", which is the folder that a run lies in, and then all of them
    (Consistent123's C10 has ten).
    """
    columns = list(dict.fromkeys(name for run in runs for name in run.values))
    head = ["run", "status", *columns] + (["error"] if any(run.error for run in runs) else [])
    width = len(head)
    rows = [[f"{run.folder}/{run.name}", run.status, *(run.values.get(c) for c in columns), run.error][:width] for run in runs]
    groups: dict[str, list[list]] = {}
    for run, row in zip(runs, rows, strict=True):
        groups.setdefault(_group(run, by), []).append(row)
    if by == "category":
        groups[""] = list(rows)
    for name, members in groups.items():
        spread = [(None, None) if c in NOT_AVERAGED else mean_and_error([row[k] for row in members])
                  for k, c in enumerate(columns, 2)]
        if len(members) > 1 and any(mean is not None for mean, _ in spread):
            rows.append([f"mean{name}", "", *(mean for mean, _ in spread), ""][:width])
            rows.append([f"standard error{name}", "", *(error for _, error in spread), ""][:width])
    return head, rows


def _group(run: Run, by: By) -> str:
    """What stands behind "mean" for the runs that belong together with this one."""
    names = {"all": "", "name": f" {run.folder}/{re.sub(r'_[0-9]+$', '', run.name)}", "category": f" {run.folder}"}
    return names[by]


def digest(head: list[str], rows: list[list]) -> tuple[list[str], list[list]]:
    """The columns of a table that fit on a screen; all of them are in the CSV."""
    kept = [k for k, name in enumerate(head) if name in ALWAYS]
    kept += [head.index(name) for name in FIRST if name in head][: MOST_COLUMNS - len(kept)]
    return [head[k] for k in kept], [[row[k] for k in kept] for row in rows]


def mean_and_error(cells: list) -> tuple[float | None, float | None]:
    """(mean, standard error) of the numbers among ``cells``; the error needs two."""
    numbers = [c for c in cells if isinstance(c, int | float) and not isinstance(c, bool) and abs(c) < 1e300]  # NaN is not
    if not numbers:
        return None, None
    return statistics.fmean(numbers), statistics.stdev(numbers) / len(numbers) ** 0.5 if len(numbers) > 1 else None


def _values(data: dict) -> dict:
    """Seconds, seed, faces and metrics as flat columns."""
    results, seconds = data.get("results") or {}, data.get("timings_seconds") or {}
    item = (data.get("batch") or {}).get("value")
    values = {"value": item} if item not in (None, "") else {}
    if "seed" in data:
        values["seed"] = data["seed"]
    if seconds:
        values["seconds"] = round(sum(seconds.values()), 1)
    values |= {name: results[name] for name in ("faces", "switch_step") if results.get(name) is not None}
    metrics = (results.get("metrics") or {}).get("metrics") or {}
    return values | {k: v for k, v in metrics.items() if isinstance(v, int | float | str) or v is None}


def flat_settings(data: dict) -> dict:
    """Settings of a manifest's stages, by "stage.name", then of its graph's nodes, by "Node.input"; wires are left out."""
    found: dict = {}
    for stage in (data.get("settings") or {}).get("stages") or []:
        for part in ("settings", "prior", "boundary", "losses"):
            _flatten(f"{stage['stage']}." + (f"{part}." if part != "settings" else ""), stage.get(part), found)
        if "seed" in stage:
            found[f"{stage['stage']}.seed"] = stage["seed"]
    graph = data.get("graph") or {}
    for node in graph.values():
        inputs = {name: value for name, value in node.get("inputs", {}).items() if not is_link(value, graph)}
        _flatten(f"{str(node.get('class_type', '')).removeprefix('Lift123_')}.", inputs, found)
    return found


def _flatten(prefix: str, value, into: dict, depth: int = 6) -> None:
    for name, part in (value.items() if isinstance(value, dict) else ()):
        if isinstance(part, dict) and depth:
            _flatten(f"{prefix}{name}.", part, into, depth - 1)
        else:
            into.setdefault(f"{prefix}{name}", part)


def _digest(value) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
