"""Compare Runs: two finished runs side by side, their curves in one plot, what they differ in as a table."""

from __future__ import annotations

from pathlib import Path

from comfy_api.latest import io

from ..host.base import CATEGORY, Node, always_new, node_key
from ..host.convert import to_image
from ..host.outputs import check_before_work, claim, inside
from ..host.runner import say
from ..pipelines.core.errors import InputError
from .export import save_animation, save_png


class CompareRuns(Node):
    PER_RUN = False

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_CompareRuns", display_name="Compare Runs", category=f"{CATEGORY}/output",
            description="Two finished runs: their turntables turning together, the curves of their losses in one plot, and a "
                        "table of what they differ in.",
            search_aliases=["compare", "diff", "a/b", "side by side", "loss", "plot"],
            is_output_node=True, not_idempotent=True,
            inputs=[
                io.String.Input("run_a", default="", tooltip="A file of the first run in the output folder, for example "
                                                             "'lift123/object_00001_'; empty = the last run but one."),
                io.String.Input("run_b", default="", tooltip="The second run; empty = the last one."),
                io.String.Input("folder", default="lift123", tooltip="Where the last runs are looked for, in the output folder."),
                io.String.Input("filename_prefix", default="lift123/compare",
                                tooltip="Where the pictures go in the output folder; a number is added."),
                io.AnyType.Input("after", optional=True, raw_link=True,
                                 tooltip="Connect any output of a node to wait for, for example Bake and Export. Its value is "
                                         "not used."),
            ],
            outputs=[
                io.Image.Output("a", display_name="a", tooltip="The first run's turntable, for Image Compare."),
                io.Image.Output("b", display_name="b", tooltip="The second run's."),
                io.Image.Output("both", display_name="both", tooltip="Both, side by side."),
                io.Image.Output("curves", display_name="curves", tooltip="Losses and scores of both runs, one panel each."),
                io.Image.Output("picture", display_name="picture", tooltip="The table as a picture."),
                io.String.Output("differences", display_name="differences", tooltip="Markdown: what the runs differ in."),
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
    def run(cls, run_a, run_b, folder, filename_prefix, after=None):
        from ..pipelines.io import compare
        from ..pipelines.io.plot import plot_picture
        from ..pipelines.io.table_picture import markdown, table_picture

        one, two = chosen(run_a, run_b, folder)
        first, second = compare.turntable(one), compare.turntable(two)
        both = to_image(compare.side_by_side(first, second, (f"A  {one.name}", f"B  {two.name}")))
        head, rows = compare.differences(one, two)
        title = f"A {one.name} | B {two.name}: {len(rows)} differences"
        picture = to_image(table_picture(title, head, [[cell[:60] for cell in row] for row in rows]))
        panels = compare.curve_panels(one, two)
        words = table_picture("These runs kept no curves.", [], [])
        curves = to_image(plot_picture(panels, 3, 400, 260) if panels else words)
        slot = claim(filename_prefix)
        save_animation(both, slot.path("webp", "turntables"))
        save_png(curves, slot.path("png", "curves"))
        save_png(picture, slot.path("png", "differences"))
        say(title, node_key(cls))
        files = {"turntables": slot.result("webp", "turntables"), "curves": slot.result("png", "curves"),
                 "differences": slot.result("png", "differences")}
        return io.NodeOutput(to_image(first), to_image(second), both, curves, picture, markdown(head, rows), ui={
            "images": list(files.values()), "animated": (True,), "lift123_files": [files]})


def chosen(run_a: str, run_b: str, folder: str):
    """Two runs by name; empty names are the last ones below a folder of the output folder.  InputError."""
    import folder_paths

    from ..pipelines.io import compare

    root = Path(folder_paths.get_output_directory())
    for name, given in (("run_a", run_a), ("run_b", run_b), ("folder", folder)):
        if given.strip() and inside(str(root), given.strip()) is None:
            raise InputError(name, "a name inside ComfyUI's output folder", repr(given[:60]), "Name it relative to that folder.")
    last = compare.newest(root, folder.strip(), 2)
    if len(last) < 2 and not (run_a.strip() and run_b.strip()):
        raise InputError("folder", "two finished runs", f"{len(last)} below {folder[:60]!r}", "Run the graph twice first.")
    one = compare.find(root, run_a) if run_a.strip() else compare.read(root, last[-2])
    two = compare.find(root, run_b) if run_b.strip() else compare.read(root, last[-1])
    return one, two
