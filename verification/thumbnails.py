"""Draws the thumbnails of the graphs from what the graphs themselves show, one 512 pixel square each.

    python verification/thumbnails.py --url http://127.0.0.1:8188 [NAME ...] [--keep FOLDER]

Runs each graph in a running ComfyUI with the pack, research graphs at *draft* quality, and keeps every picture that a node
shows below FOLDER; a graph that is there already is only drawn again.  Graphs for a GPU are drawn from their quickstart and say
so.  ``photo_remover``, ``photo_normals``, ``stdgen_edit`` have truth of toys where a network would be that does not ship.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import torch
from PIL import Image, ImageDraw
from torch import Tensor

sys.path.append(str(Path(__file__).resolve().parent.parent / "training"))
import pack  # noqa: F401  (imports the pack as ``lift123``)
from lift123.launcher import jobs, shipped
from lift123.launcher.server import Client
from lift123.pipelines.core.cameras import HOME
from lift123.pipelines.stages.inputs.cut_out import cut_out
from lift123.pipelines.toybox.objects import make_object
from lift123.pipelines.toybox.render import render_toy

SIDE, BAND, STRIP = 512, 26, 32  # pixels: of a thumbnail, of a caption, of the words below
DRAFT = {"NerfStage1": {"quality": "draft"}, "DMTetRefine": {"quality": "draft"}}
FEW = {"NerfStage1": {"iterations": 60}, "DMTetRefine": {"iterations": 24}, "DynamicStage2": {"mesh_iterations": 24},
       "Evaluate": {"size": 64}, "TextualInversion": {"steps": 60}}  # rows that are compared
SMALL = "by the quickstart, with the small networks"


@dataclass(frozen=True)
class Cell:
    """A picture that a node shows (its id, the number of the picture), or a part of it; box: fractions of its sides."""

    caption: str
    node: str
    number: int = 0
    box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class Thumb:
    """A grid of cells, ``columns`` wide.

    source:  graph that is run instead of this one.  changes: of its nodes' inputs, by class.
    words:   below the grid.
    """

    columns: int
    cells: Sequence[Cell]
    source: str = ""
    changes: dict = field(default_factory=dict)
    words: str = ""


def turn(node: str, *frames: int, captions: Sequence[str] = (), columns: int = 6, rows: int = 4) -> list[Cell]:
    """Frames of a turntable's sheet."""
    names = [*captions, *[""] * len(frames)]
    return [Cell(names[k], node, 0, (f % columns / columns, f // columns / rows, (f % columns + 1) / columns,
                                     (f // columns + 1) / rows)) for k, f in enumerate(frames)]


def views(node: str, *numbers: int, captions: Sequence[str] = ()) -> list[Cell]:
    """Some of the pictures that a node shows."""
    names = [*captions, *[""] * len(numbers)]
    return [Cell(names[k], node, number) for k, number in enumerate(numbers)]


def run(client: Client, name: str, thumb: Thumb, folder: Path) -> None:
    """Runs a graph and keeps ``folder/NODE_NUMBER_....png`` of every picture that it shows."""
    prompt, _ = shipped.load(thumb.source or name)
    for node in prompt.values():
        node["inputs"].update(thumb.changes.get(node["class_type"].removeprefix("Lift123_"), {}))
    entry = jobs.run(client, prompt, timeout=7200)
    folder.mkdir(parents=True, exist_ok=True)
    for key, node in prompt.items():
        if node["class_type"] == "LoadImage":  # shows nothing by itself
            picture = shipped.ROOT / "workflows" / "sample" / node["inputs"]["image"]
            (folder / f"{key}_00_{picture.name}").write_bytes(picture.read_bytes())
    for key, output in entry["outputs"].items():
        still = [file for file in output.get("images", []) if not file["filename"].endswith(".webp")]  # turntables move
        for number, file in enumerate(still):
            data = client.raw("/view?" + urlencode({k: file[k] for k in ("filename", "subfolder", "type")}))
            (folder / f"{key.replace(':', '-')}_{number:02d}_{file['filename']}").write_bytes(data)


def kept(folder: Path, cell: Cell) -> Image.Image:
    """A cell's picture, which :func:`run` kept, on white.  FileNotFoundError where there is none."""
    found = sorted(folder.glob(f"{cell.node.replace(':', '-')}_{cell.number:02d}_*.*"))
    if not found:
        raise FileNotFoundError(f"{folder}: node {cell.node} has not shown a picture {cell.number}")
    rgba = Image.open(found[0]).convert("RGBA")
    sides = rgba.size * 2
    part = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    left, top, right, bottom = (round(share * side) for share, side in zip(cell.box, sides))
    return part.crop((left, top, right, bottom))


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
            pen.text((left + width // 2, top + height - BAND // 2), caption, fill=(70, 70, 70), anchor="mm", font_size=20)
    if words:
        pen.rectangle((0, SIDE - STRIP, SIDE, SIDE), fill=(225, 225, 225))
        pen.text((SIDE // 2, SIDE - STRIP // 2), words, fill=(50, 50, 50), anchor="mm", font_size=21)
    return page


FRONT, BACK, APART, OPEN = ((a / 1725, 0.0, b / 1725, 1.0) for a, b in ((0, 384), (384, 768), (768, 1341), (1341, 1725)))
AROUND = (3, 9, 12, 15)  # of 24 frames: half left, half behind on the left, behind, behind on the right
OWL = {"LoadImage": {"image": "lift123_owl.png"}, "ReferenceView": {"prompt": "a red owl dotted with grey"}}
POT = {"LoadImage": {"image": "lift123_teapot.png"}, "ReferenceView": {"prompt": "a sky teapot dotted with red"}}
SEEN = Cell("picture", "2")
SIX = (0, 3, 7, 12, 17, 21)


def quick(bake: str, changes: dict) -> Thumb:
    """Picture, and three sides of what was made of it."""
    return Thumb(2, [SEEN, *turn(bake, 3, 9, 12, captions=("object", "", "behind"))], changes=changes)


def full(source: str, bake: str, changes: dict) -> Thumb:
    """Six sides, by the quickstart."""
    return Thumb(3, turn(bake, *SIX), source=source, changes=changes, words=SMALL)


def rows_of(*bakes: tuple[str, str], columns: int = 3, frame: int = 2) -> list[Cell]:
    """One view of every variant: (caption, node of Bake and Export with six frames)."""
    return [turn(node, frame, captions=(caption,), columns=6, rows=1)[0] for caption, node in bakes]


THUMBS: dict[str, Thumb] = {
    "consistent123_quickstart": quick("14", {}),
    "magic123_quickstart": quick("13", OWL),
    "hifi123_quickstart": quick("15", POT),
    "consistent123": full("consistent123_quickstart", "14", {}),
    "magic123": full("magic123_quickstart", "13", OWL),
    "hifi123": full("hifi123_quickstart", "15", POT),
    "three_photos": Thumb(3, [*(Cell(caption, node) for caption, node in (("photo 1", "3"), ("photo 2", "4"), ("photo 3", "5"))),
                              *views("14", 1, 3, 4, captions=("object", "", "behind"))], changes=DRAFT),
    "text_to_3d": Thumb(2, views("11", 0, 1, 3, 4), changes=DRAFT, words="from words alone"),
    "text_to_3d_mesh": Thumb(3, turn("11", *SIX), changes=DRAFT, words="a mesh from words alone"),
    "edit_words": Thumb(2, [*views("15", 0, 1, captions=("before", "")), *views("17", 0, 1, captions=("after", ""))],
                        changes={"NerfStage1": {"quality": "draft"}}),
    "hifi123_texture_mesh": Thumb(2, [SEEN, *turn("10", 2, 4, 12, captions=("painted mesh", "", "behind"))], changes=DRAFT),
    "refine_mesh_texture": Thumb(3, [SEEN, Cell("mesh", "5", 0, (1 / 3, 0.0, 2 / 3, 1.0)), *turn("13", 2, 6, 12, 18, captions=(
        "new texture", "", "behind", ""))], changes=DRAFT),
    "stdgen_quickstart": Thumb(2, [Cell("picture", "2"), Cell("front", "11", 0, FRONT), Cell("behind", "11", 0, BACK),
                                   Cell("layers", "11", 0, APART)]),
    "stdgen_rigged": Thumb(1, [Cell("", "17", 0, (0.0, 0.0, 0.3, 0.5)), Cell("", "17", 0, (0.0, 0.5, 0.5, 1.0))]),
    "stdgen": Thumb(1, [Cell("body, clothing, hair", "11", 0, APART), Cell("", "11", 0, (0.0, 0.0, 768 / 1725, 1.0))],
                    source="stdgen_quickstart", words=SMALL),
    "prior_2d_only": Thumb(2, [SEEN, *turn("11", 3, 9, 12, captions=("2D prior", "", "behind"))], changes=DRAFT),
    "prior_3d_only": Thumb(2, [SEEN, *turn("11", 3, 9, 12, captions=("3D prior", "", "behind"))], changes=DRAFT),
    "prior_both": Thumb(3, turn("13", 0, *AROUND, 21, captions=("2D and 3D prior",)), changes=DRAFT),
    "zero123_baseline": Thumb(3, [*views("10", 1, 2, 3, captions=("sampled", "each by itself", "")),
                                  *views("13", 1, 2, 3, captions=("NeRF", "same prior", ""))], changes=DRAFT),
    "neurallift_style": Thumb(2, turn("14", 0, *AROUND[:3], captions=("words, CLIP, depth order",)), changes=DRAFT),
    "realfusion_style": Thumb(2, [SEEN, *views("9", 0, captions=("the learned word",)), *turn("13", 3, 12, captions=(
        "object", "behind"))], changes=DRAFT),
    "distillation_suite": Thumb(3, [SEEN, *rows_of(*zip(("SDS", "SJC", "CSD", "NFSD", "ISM", "SDI", "VSD"), (
        "12", "18", "24", "30", "36", "42", "48")))], changes=FEW),
    "six_views_fit": Thumb(3, [*views("12", 0, 1, 3, captions=("given | enhanced", "", "")), *views("14", 2, 7, 12, captions=(
        "fitted", "", "behind"))], changes=DRAFT),
    "hifi123_novel_views": Thumb(3, [*views("8", 1, 2, 3, captions=("sampled", "", "")), *views("9", 1, 2, 3, captions=(
        "enhanced", "", ""))]),
    "hifi123_rgnv_enhance": Thumb(2, [SEEN, *views("11", 0, 1, 3, captions=("render | enhanced", "", ""))]),
    "hifi123_inversion": Thumb(2, views("8", 0, 1, 2, 3, captions=("picture", "autoencoder", "with depth", "without"))),
    "ablation_two_stages": Thumb(2, [SEEN, *rows_of(("default", "16"), ("3D prior only", "21"), ("both at once", "26"))],
                                 changes=FEW),
    "ablation_schedules": Thumb(2, [Cell("Table 3", "27"), *rows_of(("exponential", "15"), ("linear", "20"), ("log", "25"))],
                                changes=FEW),
    "ablation_loss_weights": Thumb(3, [SEEN, *rows_of(("default", "15"), ("weights a", "21"), ("weights b", "27"), (
        "weights c", "33"), ("weights d", "39"))], changes=FEW),
    "ablation_boundary": Thumb(3, [SEEN, *rows_of(("default", "15"), ("boundary a", "22"), ("boundary b", "29"), (
        "boundary c", "36"), ("boundary d", "43"))], changes=FEW),
    "ablation_strategies": Thumb(2, rows_of(("default", "17"), ("a: fixed switch", "23"), ("b: 2D at once", "28"), (
        "c: one slow ramp", "33")), changes=FEW),
    "ablation_concept": Thumb(3, [SEEN, *rows_of(("description", "17"), ("", "17")), Cell("learned word", "24"), *rows_of((
        "concept", "22"), ("", "22"))], changes=FEW),
    "ablation_weight_curves": Thumb(1, [Cell("", "14"), Cell("", "21"), Cell("", "28")], changes=FEW),
    "ablation_prior_trade_off": Thumb(3, rows_of(("3D only", "19"), ("0.1", "25"), ("0.5", "31"), ("1", "14"), ("2", "37"), (
        "2D only", "48")), changes=FEW),
    "ablation_coarse_fine": Thumb(3, rows_of(("both, NeRF", "13"), ("3D, NeRF", "21"), ("2D, NeRF", "29"), ("both, mesh", "17"), (
        "3D, mesh", "25"), ("2D, mesh", "33")), changes=FEW),
    "ablation_hifi123": Thumb(2, [Cell(caption, node, 2) for caption, node in (
        ("all", "8"), ("noise, no inversion", "10"), ("no depth", "12"), ("no attention", "14"))]),
    "ablation_hifi123_texture": Thumb(2, rows_of(("coarse", "15"), ("SDS", "19"), ("image loss", "23"), ("RGSD", "27")),
                                      changes=FEW),
    "ablation_hifi123_angles": Thumb(4, [*views("6", 0, 3, 6, 8, captions=("true", "", "", "")), *views(
        "11", 0, 3, 6, 8, captions=("sampled",)), *views("14", 0, 3, 6, 8, captions=("after RGNV",))]),
    "ablation_stdgen_pieces": Thumb(2, [Cell("one piece", "10", 0, FRONT), Cell("", "10", 0, OPEN), Cell(
        "layers", "17", 0, FRONT), Cell("", "17", 0, OPEN)]),
}


PHOTOS = {"photo_quickstart": (7, 33), "photo_remover": (21, 40), "photo_normals": (12,)}  # short name -> seeds of the toys


def photographed(seed: int) -> dict[str, Image.Image]:
    """A toy before a wall, with a soft shadow and grain; what Cut Out makes of it; its true cut-out, depth and normals."""
    view, generator = render_toy(make_object(seed), HOME.orbit(0.3, 0.15, 256), supersample=2), torch.Generator().manual_seed(0)
    alpha, height = view.alpha[0, ..., None], torch.linspace(0, 1, 256)[:, None, None]
    wall = torch.tensor([0.62, 0.66, 0.7]) * (1 - height) + torch.tensor([0.55, 0.47, 0.4]) * height
    shadow = torch.roll(alpha[..., 0], (8, 14), (0, 1))[None, None]
    shadow = torch.nn.functional.avg_pool2d(shadow, 25, 1, 12)[0, 0, :, :, None]
    wall = (wall + 0.02 * torch.randn(256, 256, 3, generator=generator)) * (1 - 0.3 * shadow)
    photo = (view.rgb[0] * alpha + wall * (1 - alpha)).clamp(0, 1)
    rgb, mask, _ = cut_out(photo)
    assert view.depth is not None and view.normal is not None, "toys are rendered with both"
    depth = view.depth[0]
    near = (depth.max() - depth) / (depth.max() - depth[depth > 0].min())
    normal = (view.normal[0] @ view.cameras.c2w[0, :3, :3]) * 0.5 + 0.5
    shown = {"photo": photo, "cut out": rgb * mask[..., None] + 1 - mask[..., None],
             "true depth": (near[..., None] * alpha).expand(-1, -1, 3),
             "true cut-out": view.rgb[0] * alpha + 1 - alpha,
             "true normals": torch.where(alpha > 0.5, normal, torch.ones(1))}
    return {name: to_image(picture) for name, picture in shown.items()}


def to_image(picture: Tensor) -> Image.Image:
    """[H, W, 3] in [0, 1]."""
    return Image.fromarray((picture.clamp(0, 1) * 255).round().to(torch.uint8).numpy())


def of_photograph(name: str) -> Image.Image:
    """The thumbnail of a graph that begins with a photograph: what its first nodes see and give."""
    names, words = {
        "photo_quickstart": (("photo", "cut out"), "cut out by its colors"),
        "photo_remover": (("photo", "true cut-out"), "truth in the remover's place"),
        "photo_normals": (("photo", "true cut-out", "true depth", "true normals"), "truth in the networks' place")}[name]
    cells = [(caption, pictures[caption]) for pictures in map(photographed, PHOTOS[name]) for caption in names]
    return drawn(cells, 2, words)


def of_graph(name: str, keep: Path, client: Client) -> Image.Image:
    """The thumbnail of a graph, which is run where ``keep`` has nothing of it."""
    thumb, folder = THUMBS[name], keep / (THUMBS[name].source or name)
    if not folder.is_dir():
        run(client, name, thumb, folder)
    return drawn([(cell.caption, kept(folder, cell)) for cell in thumb.cells], thumb.columns, thumb.words)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", default=[*PHOTOS, *THUMBS], help="short names; all of those that are drawn here")
    parser.add_argument("--url", default="http://127.0.0.1:8188", help="of a running ComfyUI with the pack")
    parser.add_argument("--keep", type=Path, default=Path("thumbnails"), help="where what the graphs show is kept")
    args = parser.parse_args()
    for name in args.names:
        file = shipped.graph_file(name).with_suffix(".jpg")
        made = of_photograph(name) if name in PHOTOS else of_graph(name, args.keep, Client(urlsplit(args.url).port or 80))
        made.save(file, quality=85, optimize=True)
        print(f"{file.name}: {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
