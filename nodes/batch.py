"""One graph over many inputs: Batch List gives them."""

from __future__ import annotations

import hashlib
import math
import re
from functools import lru_cache
from pathlib import Path

import torch
from comfy_api.latest import io, ui
from comfy_execution.graph import ExecutionBlocker

from ..host import attempts, runs, turns
from ..host.base import CATEGORY, Node, always_new, node_key
from ..host.convert import to_image
from ..host.outputs import check_before_work, check_prefix, inside
from ..host.runner import say
from ..pipelines.core.errors import InputError
from ..pipelines.io import runs as records
from ..pipelines.io.names import safe_part, safe_path
from ..pipelines.io.pictures import check_size, decoded
from ..pipelines.io.text_numbers import number

PICTURES, TEXTS, NUMBERS = "pictures of a folder", "lines of text", "numbers"
ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
MOST = 1000  # elements
LARGEST = 1e15  # a number of a list: an integer up to here is exact
PREFIX = 5  # index of the output that goes into filename_prefix
ONE_RUN_EACH, ALL_IN_ONE = "one run each", "all in one run"
WRITERS = ("Lift123_BakeExport", "Lift123_ExportCharacter")  # leave a manifest


class BatchList(Node):
    PER_RUN = False

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_BatchList", display_name="Batch List", category=f"{CATEGORY}/output",
            description="Runs the graph behind it once for every picture of a folder, line of text or number. Runs that "
                        "are already done are skipped; one that fails does not stop the others.",
            search_aliases=["batch", "sweep", "folder", "loop", "for each", "grid"],
            inputs=[
                io.String.Input("folder", default="", tooltip="Pictures: a folder inside ComfyUI's input folder; empty = the "
                                                              "input folder itself."),
                io.String.Input("values", default="", multiline=True,
                                tooltip="Text: one per line. Numbers: separated by commas, spaces or lines; "
                                        "'from:to:step' counts, end included."),
                io.String.Input("name", default="batch", tooltip="Results go to lift123/<name>/ in the output folder."),
                io.Int.Input("at_most", default=0, min=0, max=MOST, advanced=True, tooltip="New runs after one click; 0 = all."),
                io.Boolean.Input("skip_done", default=True,
                                 tooltip="Leave out elements whose results are there, made by the same graph with the same "
                                         "settings and seeds."),
                io.Combo.Input("source", options=[PICTURES, TEXTS, NUMBERS], default=PICTURES,
                               tooltip="What the list is made of."),
                io.String.Input("also", default="", multiline=True, optional=True,
                                tooltip="A second list, numbers as in 'values' or lines of text: every element runs once with "
                                        "each of it, for example every picture with seeds 0:2. Empty = none."),
                io.Combo.Input("pace", options=[ONE_RUN_EACH, ALL_IN_ONE], default=ONE_RUN_EACH, optional=True,
                               tooltip="One run each: an element's results are written before the next one begins; the "
                                       "graph is queued again by itself until the list is through. All in one run: "
                                       "ComfyUI takes all elements through one node before it goes on to the next."),
            ],
            outputs=[
                io.Image.Output("image", display_name="image", is_output_list=True, tooltip="Every picture, as Load Image."),
                io.Mask.Output("mask", display_name="mask", is_output_list=True,
                               tooltip="Transparency as Load Image gives it: 1 = background."),
                io.String.Output("text", display_name="text", is_output_list=True,
                                 tooltip="The line; for a picture the .txt file beside it, else its name in words."),
                io.Float.Output("number", display_name="number", is_output_list=True,
                                tooltip="The number; otherwise the place in the list, from 0."),
                io.Int.Output("integer", display_name="integer", is_output_list=True, tooltip="The number, rounded."),
                io.String.Output("prefix", display_name="prefix", is_output_list=True,
                                 tooltip="For filename_prefix of Bake and Export: names the run's files, and is how done "
                                         "runs are known."),
                io.String.Output("report", display_name="report", tooltip="What runs, what is skipped, what is broken."),
                io.Float.Output("also_number", display_name="also number", is_output_list=True,
                                tooltip="The second list's number, or the place in it, from 0."),
                io.Int.Output("also_integer", display_name="also integer", is_output_list=True,
                              tooltip="The same, rounded; for seeds."),
                io.String.Output("also_text", display_name="also text", is_output_list=True,
                                 tooltip="The second list's line or number as text."),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
        )

    @classmethod
    def validate_inputs(cls, name):
        try:
            return True if name is None else check_before_work(f"lift123/{folder_of(name)}/x")
        except InputError as problem:
            return str(problem)

    @classmethod
    def fingerprint_inputs(cls, **_):
        """Always looked at again: what is done changes with every run."""
        return always_new()

    @classmethod
    def run(cls, folder, values, name, at_most, skip_done, source, also="", pace=ONE_RUN_EACH):
        elements, contents, seconds = crossed(*listed(source, folder, values, folder_of(name)), also)
        graph = getattr(cls.hidden, "prompt", None) or {}
        plan = Plan(node_key(cls) or "", graph, elements, skip_done)

        def read(n: int) -> list:
            return row_of(n, elements[n], contents[n], source) + seconds[n]

        width = PREFIX + 1 + len(seconds[0])
        if pace == ONE_RUN_EACH and lists_in(graph) < 2:
            rows, report = one_row(plan, read, at_most, width)
        else:
            rows, report = all_rows(plan, read, at_most, width)
        if skip_done and not writers(graph, plan.key):
            report += ". Nothing can be known as done: connect 'prefix' to filename_prefix of Bake and Export"
        say(report, plan.key or None)
        columns = [list(column) for column in zip(*rows, strict=True)]
        return io.NodeOutput(*columns[: PREFIX + 1], report, *columns[PREFIX + 1 :], ui=ui.PreviewText(report))


def folder_of(name: str) -> str:
    """The results' folder below lift123/, for a name as typed or by wire; InputError for one that leads out of it."""
    made = safe_path(name)
    if not made or ".." in re.split(r"[/\\]", name):
        raise InputError("name", "a word for the results' folder", repr(name[:60]), "Write one, for example 'batch'.")
    check_prefix(f"lift123/{made}/x", "name")
    return made


class Plan:
    """Which elements are done, set aside, or waiting: new ones first, then what failed, last what a server ended in.

    done, aside: [n] bool; waiting: indices; key: the list node's id.
    """

    def __init__(self, key: str, graph: dict, elements: list[runs.Element], skip_done: bool):
        self.key, self.graph, self.elements = key, graph, elements
        there = manifests_beside(elements[0]) if skip_done else []
        self.done = [skip_done and is_done(graph, key, element, there) for element in elements]
        self.run_keys = [run_key(graph, key, element) for element in elements]
        self.aside = [skip_done and not done and runs.set_aside(element, made)
                      for element, made, done in zip(elements, self.run_keys, self.done, strict=True)]
        for element, done in zip(elements, self.done, strict=True):
            if done:
                attempts.clear(element.prefix)
        waits = [n for n in range(len(elements)) if not self.done[n] and not self.aside[n]]
        self.waiting = sorted(waits, key=self._doubt)

    def _doubt(self, n: int) -> tuple[int, bool]:
        prefix = self.elements[n].prefix
        return attempts.ended(prefix, self.run_keys[n]), runs.failure_path(prefix).is_file()

    def failed(self) -> int:
        """Elements whose last run failed, those set aside included."""
        open_still = [e for e, done in zip(self.elements, self.done, strict=True) if not done]
        return sum(runs.failure_path(element.prefix).is_file() for element in open_still)


def all_rows(plan: Plan, read, at_most: int, width: int) -> tuple[list[list], str]:
    """(a row for every element, blocked where it does not run; report)."""
    elements = plan.elements
    runs.hand_out(plan.key, elements)
    chosen = set(plan.waiting[:at_most] if at_most else plan.waiting)
    rows = [(row_or_none(plan, read, n) if n in chosen else None) for n in range(len(elements))]
    running = sum(row is not None for row in rows)
    report = (f"{len(elements)} in the list: {running} to run, {sum(plan.done)} already done, "
              f"{len(chosen) - running} broken, {len(plan.waiting) - len(chosen)} left for later")
    return [row or [ExecutionBlocker(None)] * width for row in rows], report


def one_row(plan: Plan, read, at_most: int, width: int) -> tuple[list[list], str]:
    """([the row of the next element that can be read], report); what follows is seen to by ``host.turns``."""
    tried, prompt = turns.tried(), turns.prompt_id() or ""
    row, chosen = None, None
    for n in plan.waiting:
        element = plan.elements[n]
        if element.prefix in tried or attempts.busy(element.prefix):  # busy: another ComfyUI on the same folder has it
            continue
        if chosen or (at_most and len(tried) >= at_most):
            break
        tried.add(element.prefix)
        if attempts.ended(element.prefix, plan.run_keys[n]) >= attempts.MOST:
            put_aside(plan, n)
        elif attempts.begin(element.prefix, plan.run_keys[n], prompt):
            row = row_or_none(plan, read, n)
            chosen = element if row is not None else None
    runs.hand_out(plan.key, [chosen] if chosen else [])
    left = [plan.elements[n].prefix for n in plan.waiting if plan.elements[n].prefix not in tried]
    more = bool(left) and chosen is not None and not (at_most and len(tried) >= at_most)
    settled = {e.prefix for e, done, aside in zip(plan.elements, plan.done, plan.aside, strict=True) if done or aside}
    position = len(settled | tried)
    turns.watch(turns.Turn(plan.key, chosen, tried, [e.prefix for e in plan.elements], position, more))
    rest = f"{sum(plan.done)} done, {plan.failed()} failed, {len(left)} left"
    said = f"model {position} of {len(plan.elements)}: {chosen.name}. {rest}" if chosen else ""
    return [row or [ExecutionBlocker(None)] * width], said or f"{len(plan.elements)} in the list: {rest}. Nothing more to run now"


def row_of(index: int, element: runs.Element, content, source: str) -> list:
    """One element of every list."""
    seen = read_picture(content) if source == PICTURES else [ExecutionBlocker(None)] * 2
    return [*seen, *words_of(index, element, content, source)]


def words_of(index: int, element: runs.Element, content, source: str) -> list:
    """[text, number, integer, prefix] of an element."""
    value, text = (content, f"{content:g}") if source == NUMBERS else (float(index), content)
    if source == PICTURES:
        note = content.with_suffix(".txt")
        words = re.sub(r"[_\-]+", " ", content.stem).encode("utf-8", "replace").decode()  # letters of names can be broken
        text = note.read_text(encoding="utf-8-sig", errors="replace").strip() if note.is_file() else words
    return [text, float(value), round(value), element.prefix]


def listed(source: str, folder: str, values: str, name: str) -> tuple[list[runs.Element], list]:
    """(elements, what each holds: a path, a line or a number).  InputError for an empty list."""
    if source == PICTURES:
        contents = pictures(folder)
        names = [p.name for p in contents]
        identities = [content_of(p) for p in contents]
    else:
        contents = numbers(values) if source == NUMBERS else [v.strip() for v in values.splitlines() if v.strip()]
        names = [v if isinstance(v, str) else f"{v:g}" for v in contents]
        identities = contents
    if not contents or len(contents) > MOST:
        raise InputError("values" if source != PICTURES else "folder", f"1 to {MOST} {source}", f"{len(contents)}",
                         "Check the folder or the list.")
    elements, used = [], {}
    for shown, identity in zip(names, identities, strict=True):
        stem = re.sub(r"[^A-Za-z0-9.\-]+", "_", Path(shown).stem if source == PICTURES else shown).strip("_.")[:60] or "run"
        stem = safe_part(stem.replace(".", "p"))
        used[stem] = used.get(stem, 0) + 1
        unique = stem if used[stem] == 1 else f"{stem}-{used[stem]}"
        label = shown if used[stem] == 1 else f"{shown} ({used[stem]})"
        elements.append(runs.Element(label, f"lift123/{name}/{unique}", shown, [identity, unique]))
    return elements, contents


def crossed(elements: list[runs.Element], contents: list, also: str) -> tuple[list[runs.Element], list, list[list]]:
    """Every element with everything in a second list: (elements, contents, [number, integer, text] of each)."""
    if not also.strip():
        return elements, contents, [[0.0, 0, ""] for _ in elements]
    try:
        seconds = [(v, f"{v:g}") for v in numbers(also)]
    except InputError:
        seconds = [(float(k), line.strip()) for k, line in enumerate(w for w in also.splitlines() if w.strip())]
    if len(elements) * len(seconds) > MOST:
        raise InputError("also", f"at most {MOST} runs", f"{len(elements)} x {len(seconds)}", "Shorten one of the lists.")
    stems = [re.sub(r"[^A-Za-z0-9\-]+", "_", text.replace(".", "p")).strip("_")[:30] or "run" for _, text in seconds]
    stems = [stem if stems.count(stem) == 1 else f"{stem}-{k + 1}" for k, stem in enumerate(stems)]
    pairs = [(e, c, s, stem) for e, c in zip(elements, contents, strict=True) for s, stem in zip(seconds, stems, strict=True)]
    made = [runs.Element(f"{e.name}, {text}", f"{e.prefix}--{stem}", f"{e.value}, {text}", [e.identity, text])
            for e, _, (_, text), stem in pairs]
    return made, [c for _, c, _, _ in pairs], [[float(v), round(v), text] for _, _, (v, text), _ in pairs]


def pictures(folder: str) -> list[Path]:
    """The pictures of a folder inside ComfyUI's input folder, by name."""
    import folder_paths

    root = folder_paths.get_input_directory()
    path = inside(root, folder.strip())
    if path is None or not path.is_dir():
        raise InputError("folder", "a folder inside ComfyUI's input folder", repr(folder[:60]), "Copy the pictures there.")
    return sorted(p for p in path.iterdir() if p.suffix.lower() in ENDINGS and p.is_file())


def content_of(path: Path) -> str:
    """SHA-256 of a picture and the words beside it, read again only where the file has changed; "" where that fails."""
    try:
        stat = path.stat()
        return _content(path, stat.st_size, stat.st_mtime_ns, side_text(path))
    except OSError:  # told when its turn comes; the others go on
        return ""


@lru_cache(maxsize=2 * MOST)
def _content(path: Path, size: int, changed: int, words: bytes) -> str:
    return hashlib.sha256(path.read_bytes() + words).hexdigest()


def side_text(path: Path) -> bytes:
    """The words beside a picture, which belong to the run's identity."""
    note = path.with_suffix(".txt")
    return note.read_bytes() if note.is_file() else b""


def numbers(text: str) -> list[float]:
    """'0, 1.5, 10:20:5' -> [0, 1.5, 10, 15, 20]."""
    found: list[float] = []
    for word in re.split(r"[\s,;]+", text.strip()):
        try:
            parts = [number(p) for p in word.split(":")] if word else []
        except ValueError:
            parts = [0.0] * 9
        parts = parts if all(abs(p) <= LARGEST for p in parts) else [0.0] * 9  # NaN is no number, either
        if len(parts) in (2, 3):
            step = parts[2] if len(parts) == 3 else 1.0
            count = math.floor((parts[1] - parts[0]) / step + 1e-9) + 1 if step else 0
            if not 1 <= count <= MOST:
                raise InputError("values", f"1 to {MOST} steps", repr(word), "Write from:to:step, for example 0:1:0.25.")
            found += [round(parts[0] + k * step, 12) for k in range(count)]
        elif len(parts) > 1:
            raise InputError("values", "numbers", repr(word), "Write for example '0.1, 0.5, 1' or '0:1:0.25'.")
        else:
            found += parts
        if len(found) > MOST:
            raise InputError("values", f"at most {MOST} numbers", f"{len(found)} and more", "Write fewer, or wider steps.")
    return found


def read_picture(path: Path):
    """(IMAGE, MASK) as core's Load Image gives them."""
    import numpy as np
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as file:
            check_size(path.name, *file.size)
            picture = ImageOps.exif_transpose(file)
            clear = "A" in picture.getbands() or "transparency" in picture.info
            pixels = np.array(picture.convert("RGBA"), dtype=np.float32) / 255 if clear else decoded(picture)
    except InputError:
        raise
    except Exception as problem:
        why = str(problem).replace(repr(str(path)), path.name).replace(str(path), path.name)  # records hold no paths
        raise InputError(path.name, "a picture", f"a file that cannot be read ({why})", "Replace or remove it.") from problem
    mask = torch.from_numpy(1 - pixels[..., 3]) if clear else torch.zeros(64, 64)
    return to_image(torch.from_numpy(pixels[..., :3].copy())), mask[None]


def row_or_none(plan: Plan, read, n: int) -> list | None:
    """An element's row; None for one that cannot be read, which is recorded."""
    try:
        return read(n)
    except Exception as problem:
        runs.record_failure(plan.elements[n], "Batch List", problem, plan.key or None)
        return None


def put_aside(plan: Plan, n: int) -> None:
    """Leaves a record of an element in which servers have ended, so that the others come to their turn."""
    element = plan.elements[n]
    problem = InputError(element.name, "a run that comes to its end", f"{attempts.MOST} servers that ended in it",
                         "It is set aside. To try it again, change the picture or a setting, "
                         f"or delete output/{element.prefix}{records.FAILED}.")
    runs.record_failure(element, "Batch List", problem, plan.key or None, plan.run_keys[n])
    attempts.clear(element.prefix)


def lists_in(graph: dict) -> int:
    """Batch Lists of a graph; several go side by side, which takes one run for all."""
    return sum(entry["class_type"] == runs.LIST for entry in graph.values())


def run_key(graph: dict, key: str, element: runs.Element) -> str:
    """What makes an element's run this run, over all of the graph's ends that hang on the list."""
    ends = writers(graph, key)
    if not ends:
        linked = {str(v[0]) for entry in graph.values() for v in entry["inputs"].values() if records.is_link(v, graph)}
        ends = [n for n in graph if n not in linked and key in records.upstream(graph, n)]
    keys = sorted(runs.key_of(graph, n, key, element) for n in ends)
    return hashlib.sha256("".join(keys).encode()).hexdigest()


def writers(graph: dict, key: str | None) -> list[str]:
    """Nodes that write a manifest under this list's prefix."""
    return [n for n, entry in graph.items() if entry["class_type"] in WRITERS
            and entry["inputs"].get("filename_prefix") == [key, PREFIX]]


def is_done(graph: dict, key: str | None, element: runs.Element, records_there: list[Path]) -> bool:
    """Whether every writer has left a manifest of exactly this run; records_there: manifests in the same folder."""
    wanted = {runs.key_of(graph, writer, key, element) for writer in writers(graph, key)}
    mine = f"{Path(element.prefix).name}_"
    return bool(wanted) and wanted <= {recorded_key(path) for path in records_there if path.name.startswith(mine)}


def manifests_beside(element: runs.Element) -> list[Path]:
    """All manifests in the folder of an element's results."""
    import folder_paths

    folder = (Path(folder_paths.get_output_directory()) / element.prefix).parent
    return sorted(folder.glob(f"*{records.DONE}"))


def recorded_key(path: Path) -> str:
    """The key of the run that a manifest tells of; read again only where the file has changed."""
    try:
        stat = path.stat()
    except OSError:
        return ""
    return _recorded_key(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=4 * MOST)
def _recorded_key(path: Path, size: int, changed: int) -> str:
    run = records.read_run(path, path.parent)
    return run.key if run is not None else ""
