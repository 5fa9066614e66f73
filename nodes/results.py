"""What came of many runs: Results gathers their records into a table, a CSV file, a contact sheet and a plot."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from comfy_api.latest import io
from comfy_execution.graph import ExecutionBlocker

from ..host import turns
from ..host.base import CATEGORY, Node, always_new, node_key
from ..host.convert import to_image
from ..host.outputs import check_before_work, claim, inside
from ..host.runner import say
from ..pipelines.core.errors import InputError
from ..pipelines.io import runs as records

log = logging.getLogger(__name__)
ALL_RUNS, PER_NAME, PER_CATEGORY = "all runs", "per name", "per category"
BY: dict[str, records.By] = {ALL_RUNS: "all", PER_NAME: "name", PER_CATEGORY: "category"}
WAITS = tuple(f"after_{letter}" for letter in "bcdefg")  # besides "after"


class Results(Node):
    PER_RUN = False

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_Results", display_name="Results", category=f"{CATEGORY}/output",
            description="Gathers the manifests of finished and failed runs below a folder of ComfyUI's output folder into "
                        "a table, a CSV file and a contact sheet.",
            search_aliases=["table", "csv", "contact sheet", "compare", "benchmark", "plot", "loss", "curve", "sweep", "chart"],
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
                io.Combo.Input("means", options=list(BY), default=ALL_RUNS, optional=True,
                               tooltip="Means and standard errors of all runs together, or of those with the same name: "
                                       "variants of one graph, queued again with other seeds or objects; or of those in the "
                                       "same sub-folder, each a category, and of all (batches named c10/fruits, c10/food)."),
                io.String.Input("plot_over", default="", optional=True,
                                tooltip="The parameter along the plot, for example 'NeRF stage 1.iterations'; empty = what the "
                                        "runs differ in. Runs with the same value are averaged."),
                io.String.Input("plot_metrics", default="", optional=True,
                                tooltip="Columns that are plotted, separated by commas; empty = the main ones."),
            ],
            outputs=[
                io.String.Output("table", display_name="table", tooltip="Markdown: one row per run, then means."),
                io.Image.Output("picture", display_name="picture", tooltip="The table as a picture, main columns only."),
                io.Image.Output("sheet", display_name="sheet", tooltip="One labeled picture per finished run."),
                io.String.Output("csv", display_name="csv", tooltip="The table as comma-separated values, for spreadsheets."),
                io.Image.Output("plot", display_name="plot",
                                tooltip="Metrics over the swept parameter, with standard errors where a value was run "
                                        "several times."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, filename_prefix):
        return True if filename_prefix is None else check_before_work(filename_prefix)

    @classmethod
    def fingerprint_inputs(cls, **_):
        """Always looked at again: the folder changes without the graph."""
        return always_new()

    @classmethod
    def run(cls, folder, filename_prefix, newest_only, means=ALL_RUNS, plot_over="", plot_metrics="", **after):
        from ..pipelines.io.glb import save_bytes
        from ..pipelines.io.table_picture import comma_separated, markdown
        from .export import save_png

        if turns.follows():  # a table for every one of ninety runs helps nobody
            waiting = ExecutionBlocker(None)
            return io.NodeOutput(*[waiting] * 5, ui={"text": ("The table is made when the batch has come to its end.",)})
        found = gathered(folder, newest_only)
        head, rows = records.table(found, BY[means])
        failed = sum(bool(run.error) for run in found)
        title = f"{folder}: {len(found) - failed} done, {failed} failed"
        text, csv = markdown(head, rows), comma_separated(head, rows)
        picture, sheet = to_image(short_table(title, head, rows)), to_image(contact_sheet(found))
        plot = to_image(sweep_plot(found, plot_over, plot_metrics))
        slot = claim(filename_prefix)
        save_bytes(slot.path("csv"), csv.encode())
        save_png(picture, slot.path("png", "table"))
        save_png(sheet, slot.path("png", "sheet"))
        save_png(plot, slot.path("png", "plot"))
        say(title, node_key(cls))
        files = {"csv": slot.result("csv"), "table": slot.result("png", "table"), "sheet": slot.result("png", "sheet"),
                 "plot": slot.result("png", "plot")}
        return io.NodeOutput(text, picture, sheet, csv, plot, ui={
            "images": [files["plot"], files["table"], files["sheet"]], "text": (f"{title}\n\n{text}",), "lift123_files": [files]})


def gathered(folder: str, newest_only: bool) -> list[records.Run]:
    """Runs below a folder of the output folder; InputError where there are none."""
    import folder_paths

    root = Path(folder_paths.get_output_directory())
    path = inside(str(root), folder.strip())
    if path is None:
        raise InputError("folder", "a folder inside ComfyUI's output folder", repr(folder[:60]),
                         "Name it relative to that folder.")
    found = records.gather(root, folder.strip(), newest_only) if path.is_dir() else []
    if not found:
        raise InputError("folder", "runs of Bake and Export", f"none below {folder[:60]!r}",
                         "Check its name, or run the batch first.")
    return found


def short_table(title: str, head: list, rows: list[list], most: int = 60):
    """[H, W, 3]: the main columns, long sentences cut, as wide as a screen."""
    from ..pipelines.io.table_picture import table_picture

    kept, rows = records.digest(head, rows)
    rows = [[c if not isinstance(c, str) or len(c) <= most else c[: most - 3] + "..." for c in row] for row in rows]
    missing = len(head) - len(kept)
    return table_picture(title, kept, rows, (f"{missing} more columns are in the CSV",) if missing else ())


def sweep_plot(found: list[records.Run], over: str, metrics: str):
    """[H, W, 3]: metrics over what the runs differ in; words where there is nothing to plot.

    InputError for a parameter or a metric that no run has.
    """
    from ..pipelines.io.plot import plot_picture
    from ..pipelines.io.sweep import measured, panels, swept, value_of
    from ..pipelines.io.table_picture import table_picture

    known, wanted = measured(found), [name.strip() for name in metrics.split(",") if name.strip()]
    for name in wanted:
        if name not in known:
            raise InputError("plot_metrics", f"some of: {', '.join(known)}"[:400], repr(name), "Copy a name from the table.")
    differing, over = swept(found), over.strip()
    if over and all(value_of(run, over) is None for run in found):
        choices = ", ".join(differing) or "nothing differs"
        raise InputError("plot_over", f"one of: {choices}"[:400], repr(over), "Or leave it empty.")
    if not known or not (over or differing):
        return table_picture("Nothing to plot: these runs differ in no setting.", [], [])
    return plot_picture(panels(found, over or differing[0], wanted or known[:4]))


def contact_sheet(found: list[records.Run], side: int = 192, most: int = 100):
    """[H, W, 3]: the first view of every finished run's sheet with its name; white where there is none."""
    import numpy as np
    from PIL import Image

    from ..pipelines.io.table_picture import labeled
    from ..pipelines.stages.results.render_views import contact_sheet as arrange

    cells = []
    for name, sheet in [(r.name, r.sheet) for r in found if r.sheet is not None][:most]:
        try:
            with Image.open(sheet) as file:
                width = file.width // 6 if file.width >= 6 * 64 else file.width  # Bake and Export's sheets have six columns
                first = file.convert("RGB").crop((0, 0, width, min(width, file.height))).resize((side, side))
        except Exception as problem:  # Pillow's own types for every kind of damage; one sheet must not hide the others
            log.warning("Lift123: the sheet of %s cannot be read: %s", name, problem)
            first = Image.new("RGB", (side, side), (160, 160, 160))
        cells.append(labeled(torch.from_numpy(np.array(first)).float() / 255, name))
    return arrange(torch.stack(cells)) if cells else torch.ones(side, side, 3)
