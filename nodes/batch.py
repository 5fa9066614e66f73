"""One graph over many inputs: Batch List gives them, Results gathers what came of them."""

from __future__ import annotations

import hashlib
import math
import re
from pathlib import Path

import torch
from comfy_api.latest import io, ui
from comfy_execution.graph import ExecutionBlocker

from ..host import runs
from ..host.base import CATEGORY, Node, node_key
from ..host.convert import to_image
from ..host.outputs import check_before_work, claim
from ..host.runner import say
from ..pipelines.core.errors import InputError
from ..pipelines.io import runs as records

PICTURES, TEXTS, NUMBERS = "pictures of a folder", "lines of text", "numbers"
ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
MOST = 1000  # elements
ALL_RUNS, PER_NAME = "all runs", "per name"
WAITS = tuple(f"after_{letter}" for letter in "bcdefg")  # besides "after"
PREFIX = 5  # index of the output that goes into filename_prefix


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
                io.Int.Input("at_most", default=0, min=0, max=MOST, advanced=True,
                             tooltip="New runs at once; 0 = all. With 1 and ComfyUI's batch count, every run is finished "
                                     "before the next begins."),
                io.Boolean.Input("skip_done", default=True,
                                 tooltip="Leave out elements whose results are there, made by the same graph with the same "
                                         "settings and seeds."),
                io.Combo.Input("source", options=[PICTURES, TEXTS, NUMBERS], default=PICTURES,
                               tooltip="What the list is made of."),
                io.String.Input("also", default="", multiline=True, optional=True,
                                tooltip="A second list, numbers as in 'values' or lines of text: every element runs once with "
                                        "each of it, for example every picture with seeds 0:2. Empty = none."),
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
        return True if name is None else check_before_work(f"lift123/{name}/x") if name.strip() else \
            "name: expected a word for the results' folder, got nothing. Write one, for example 'batch'."

    @classmethod
    def fingerprint_inputs(cls, **_):
        """Always looked at again: what is done changes with every run."""
        return float("nan")

    @classmethod
    def run(cls, folder, values, name, at_most, skip_done, source, also=""):
        elements, contents, seconds = crossed(*listed(source, folder, values, name.strip()), also)
        key = node_key(cls)
        runs.hand_out(key or "", elements)
        graph = getattr(cls.hidden, "prompt", None) or {}
        done = [skip_done and is_done(graph, key, element) for element in elements]
        tried = [runs.failure_path(e.prefix).is_file() for e in elements]
        waiting = sorted((n for n in range(len(elements)) if not done[n]), key=lambda n: tried[n])  # new ones first
        chosen = set(waiting[:at_most] if at_most else waiting)
        rows, broken = [], 0
        for n, element in enumerate(elements):
            row = None
            if n in chosen:
                try:
                    row = row_of(n, element, contents[n], source) + seconds[n]
                except Exception as problem:
                    broken += 1
                    runs.record_failure(element, "Batch List", problem, key)
            rows.append(row or [ExecutionBlocker(None)] * (PREFIX + 1 + len(seconds[n])))
        report = (f"{len(elements)} in the list: {len(chosen) - broken} to run, {sum(done)} already done, {broken} broken, "
                  f"{len(waiting) - len(chosen)} left for later")
        if skip_done and not writers(graph, key):
            report += ". Nothing can be known as done: connect 'prefix' to filename_prefix of Bake and Export"
        say(report, key)
        columns = [list(column) for column in zip(*rows, strict=True)]
        return io.NodeOutput(*columns[: PREFIX + 1], report, *columns[PREFIX + 1 :], ui=ui.PreviewText(report))


def row_of(index: int, element: runs.Element, content, source: str) -> list:
    """One element of every list."""
    none = ExecutionBlocker(None)
    if source == PICTURES:
        image, mask = read_picture(content)
        note = content.with_suffix(".txt")
        text = note.read_text(encoding="utf-8").strip() if note.is_file() else re.sub(r"[_\-]+", " ", content.stem)
        return [image, mask, text, float(index), index, element.prefix]
    number = content if source == NUMBERS else float(index)
    text = f"{content:g}" if source == NUMBERS else content
    return [none, none, text, float(number), round(number), element.prefix]


def listed(source: str, folder: str, values: str, name: str) -> tuple[list[runs.Element], list]:
    """(elements, what each holds: a path, a line or a number).  InputError for an empty list."""
    if source == PICTURES:
        contents = pictures(folder)
        names = [p.name for p in contents]
        identities = [hashlib.sha256(p.read_bytes() + side_text(p)).hexdigest() for p in contents]
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
        stem = stem.replace(".", "p")
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
    path = Path(root) / folder.strip()
    if not folder_paths.is_within_directory(root, str(path)) or not path.is_dir():
        raise InputError("folder", "a folder inside ComfyUI's input folder", repr(folder), "Copy the pictures there.")
    return sorted(p for p in path.iterdir() if p.suffix.lower() in ENDINGS and p.is_file())


def side_text(path: Path) -> bytes:
    """The words beside a picture, which belong to the run's identity."""
    note = path.with_suffix(".txt")
    return note.read_bytes() if note.is_file() else b""


def numbers(text: str) -> list[float]:
    """'0, 1.5, 10:20:5' -> [0, 1.5, 10, 15, 20]."""
    found: list[float] = []
    for word in re.split(r"[\s,;]+", text.strip()):
        try:
            parts = [float(p) for p in word.split(":")] if word else []
        except ValueError:
            parts = [0.0] * 9
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
    return found


def read_picture(path: Path):
    """(IMAGE, MASK) as core's Load Image gives them."""
    import numpy as np
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as file:
            picture = ImageOps.exif_transpose(file)
            clear = "A" in picture.getbands() or "transparency" in picture.info
            pixels = np.array(picture.convert("RGBA"), dtype=np.float32) / 255
    except Exception as problem:
        raise InputError(path.name, "a picture", f"a file that cannot be read ({problem})", "Replace or remove it.") from problem
    mask = torch.from_numpy(1 - pixels[..., 3]) if clear else torch.zeros(64, 64)
    return to_image(torch.from_numpy(pixels[..., :3].copy())), mask[None]


def writers(graph: dict, key: str | None) -> list[str]:
    """Nodes that write a manifest under this list's prefix."""
    return [n for n, entry in graph.items() if entry["class_type"] == "Lift123_BakeExport"
            and entry["inputs"].get("filename_prefix") == [key, PREFIX]]


def is_done(graph: dict, key: str | None, element: runs.Element) -> bool:
    """Whether every writer has left a manifest of exactly this run."""
    import folder_paths

    wanted = {runs.key_of(graph, writer, key, element) for writer in writers(graph, key)}
    root = Path(folder_paths.get_output_directory())
    folder = (root / element.prefix).parent
    found = {run.key for path in folder.glob(f"{Path(element.prefix).name}_*{records.DONE}")
             if (run := records.read_run(path, root)) is not None}
    return bool(wanted) and wanted <= found


class Results(Node):
    PER_RUN = False

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_Results", display_name="Results", category=f"{CATEGORY}/output",
            description="Gathers the manifests of finished and failed runs below a folder of ComfyUI's output folder into "
                        "a table, a CSV file and a contact sheet.",
            search_aliases=["table", "csv", "contact sheet", "compare", "benchmark"],
            is_output_node=True, not_idempotent=True,
            inputs=[
                io.String.Input("folder", default="lift123/batch", tooltip="Inside ComfyUI's output folder; sub-folders too."),
                io.String.Input("filename_prefix", default="lift123/results",
                                tooltip="Where the CSV and the sheet go in the output folder; a number is added."),
                io.Boolean.Input("newest_only", default=True,
                                 tooltip="Of several runs of one element only the latest; off lists all."),
                io.AnyType.Input("after", optional=True, raw_link=True,
                                 tooltip="Connect any output of the batch's last node: Results then waits for all runs, the "
                                         "failed ones included. Its value is not used."),
                *(io.AnyType.Input(name, optional=True, raw_link=True, advanced=True,
                                   tooltip="Another node to wait for, as 'after'.") for name in WAITS),
                io.Combo.Input("means", options=[ALL_RUNS, PER_NAME], default=ALL_RUNS, optional=True,
                               tooltip="Means and standard errors of all runs together, or of those with the same name: "
                                       "variants of one graph, queued again with other seeds or objects."),
            ],
            outputs=[
                io.String.Output("table", display_name="table", tooltip="Markdown: one row per run, then means."),
                io.Image.Output("picture", display_name="picture", tooltip="The table as a picture, main columns only."),
                io.Image.Output("sheet", display_name="sheet", tooltip="One labeled picture per finished run."),
                io.String.Output("csv", display_name="csv", tooltip="The table as comma-separated values, for spreadsheets."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, filename_prefix):
        return True if filename_prefix is None else check_before_work(filename_prefix)

    @classmethod
    def fingerprint_inputs(cls, **_):
        """Always looked at again: the folder changes without the graph."""
        return float("nan")

    @classmethod
    def run(cls, folder, filename_prefix, newest_only, means=ALL_RUNS, **after):
        from ..pipelines.io.glb import save_bytes
        from ..pipelines.io.table_picture import comma_separated, markdown
        from .export import save_png

        found = gathered(folder, newest_only)
        head, rows = records.table(found, means == PER_NAME)
        failed = sum(bool(run.error) for run in found)
        title = f"{folder}: {len(found) - failed} done, {failed} failed"
        text, csv = markdown(head, rows), comma_separated(head, rows)
        picture, sheet = to_image(short_table(title, head, rows)), to_image(contact_sheet(found))
        slot = claim(filename_prefix)
        save_bytes(slot.path("csv"), csv.encode())
        save_png(picture, slot.path("png", "table"))
        save_png(sheet, slot.path("png", "sheet"))
        say(title, node_key(cls))
        files = {"csv": slot.result("csv"), "table": slot.result("png", "table"), "sheet": slot.result("png", "sheet")}
        return io.NodeOutput(text, picture, sheet, csv, ui={
            "images": [files["table"], files["sheet"]], "text": (f"{title}\n\n{text}",), "lift123_files": [files]})


def gathered(folder: str, newest_only: bool) -> list[records.Run]:
    """Runs below a folder of the output folder; InputError where there are none."""
    import folder_paths

    root = Path(folder_paths.get_output_directory())
    path = root / folder.strip()
    if not folder_paths.is_within_directory(str(root), str(path)):
        raise InputError("folder", "a folder inside ComfyUI's output folder", repr(folder), "Name it relative to that folder.")
    found = records.gather(root, folder.strip(), newest_only) if path.is_dir() else []
    if not found:
        raise InputError("folder", "runs of Bake and Export", f"none below {folder!r}", "Check its name, or run the batch first.")
    return found


def short_table(title: str, head: list, rows: list[list], most: int = 60):
    """[H, W, 3]: the main columns, long sentences cut, as wide as a screen."""
    from ..pipelines.io.table_picture import table_picture

    kept, rows = records.digest(head, rows)
    rows = [[c if not isinstance(c, str) or len(c) <= most else c[: most - 3] + "..." for c in row] for row in rows]
    missing = len(head) - len(kept)
    return table_picture(title, kept, rows, (f"{missing} more columns are in the CSV",) if missing else ())


def contact_sheet(found: list[records.Run], side: int = 192, most: int = 100):
    """[H, W, 3]: the first view of every finished run's sheet with its name; white where there is none."""
    import numpy as np
    from PIL import Image

    from ..pipelines.io.table_picture import labeled
    from ..pipelines.stages.results.render_views import contact_sheet as arrange

    cells = []
    for name, sheet in [(r.name, r.sheet) for r in found if r.sheet is not None][:most]:
        with Image.open(sheet) as file:
            width = file.width // 6 if file.width >= 6 * 64 else file.width  # Bake and Export's sheets have six columns
            first = file.convert("RGB").crop((0, 0, width, min(width, file.height))).resize((side, side))
        cells.append(labeled(torch.from_numpy(np.array(first)).float() / 255, name))
    return arrange(torch.stack(cells)) if cells else torch.ones(side, side, 3)
