"""StdGEN's quickstart on held-out toy characters: from one picture to refined, painted layers, against the truth.

    python benchmarks/bench_stdgen.py [--characters 5] [--first 10] [--starts picture,a-pose,views] [--out FOLDER] [--work FOLDER]

Embedded networks.  Starts: "picture" is the quickstart, given a figure in some pose, which is canonicalized, drawn from six
sides, reconstructed, refined and painted; "a-pose" is given the true A-pose from the front instead, and "views" the true six
views of three levels at the networks' size, so that a stage's own error can be told from what it was handed on.

Scene units: the character's longest side is 2.  IoU: volumetric, 96^3, over the box that both share.  Distance: from 20,000
points of either surface to the nearest place of the other, mean of both directions; Chamfer (squared) is the papers', over
2,000 points of each.  "Coarse" is what S-LRM gives, "refined" the end.  Six-view PSNR: colors on white at 128 pixels;
"drawn" views are the multi-view network's, scaled up, "rendered" ones show the painted result, "textured" ones the same after
Texture Layers as in ``stdgen_rigged`` (512 texels a side), which lays the A-pose picture over the front: 512 rows of the true
one from "a-pose", the canonicalizer's 64 from "picture", none from "views".  Face region: pixels of the front view at 512 in
which the truth shows the head's skin.  Every result is kept in ``--work``, so an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from bench_refine_layers import inside, surface_distance
from bench_tools import ROOT, machine, table
from lift123.pipelines import stdgen
from lift123.pipelines.core.character_views import CharacterViews
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.core.layers import LAYER_NAMES, LayeredMesh
from lift123.pipelines.core.ortho import six_views
from lift123.pipelines.io.color import encode_png
from lift123.pipelines.loaders import embedded_characters as small
from lift123.pipelines.metrics.geometry import chamfer, volumetric_iou
from lift123.pipelines.metrics.image import psnr
from lift123.pipelines.render.surface import render_surface
from lift123.pipelines.stages.characters.canonicalize import canonicalize
from lift123.pipelines.stages.characters.export import character_picture, exploded
from lift123.pipelines.stages.characters.front_picture import read_front
from lift123.pipelines.stages.characters.lift_layers import lift_layers
from lift123.pipelines.stages.characters.multiview import draw_views
from lift123.pipelines.stages.characters.picture import CharacterPicture
from lift123.pipelines.stages.characters.refined_layers import RefinedLayers, load_layers, save_layers
from lift123.pipelines.stages.characters.texture_layers import TextureConfig, texture_layers
from lift123.pipelines.toybox.characters import heldout_character, input_picture, render_levels, render_semantics
from lift123.pipelines.toybox.characters.field import SEMANTICS
from lift123.verification.means import summary

STARTS = ("picture", "a-pose", "views")
PICTURE_SIZE, VIEW_SIZE, RESOLUTION = 256, 128, 96
PRESET = stdgen.QUICKSTART
FACE_SIZE, TEXTURES = 512, TextureConfig(size=512, faces=6000)
DIGITS = {"iou": 3, "distance": 4, "chamfer": 5}
NOTE = Path(__file__).resolve().parent / "notes" / "stdgen.md"


def scaled(views: CharacterViews, size: int) -> torch.Tensor:
    """[6, size, size, 3] colors of the first level."""
    flat = views.color[0].movedim(-1, 1)
    return torch.nn.functional.interpolate(flat, (size, size), mode="bilinear", align_corners=False).movedim(1, -1)


def rendered(layers: LayeredMesh) -> torch.Tensor:
    """[6, VIEW_SIZE, VIEW_SIZE, 3] of the vertex colors, unlit, as the toybox renders the truth."""
    return render_surface(layers.merged(), six_views(VIEW_SIZE), supersample=2, grad=False).composite(1.0).clamp(0, 1)


def compare(made: LayeredMesh, truth: LayeredMesh) -> dict[str, dict]:
    """layer -> IoU and distances; a layer that only one of both has counts as IoU 0, without distances."""
    found = {}
    for name in LAYER_NAMES:
        if name in made and name in truth:
            found[name] = {
                "iou": volumetric_iou(made[name], truth[name], RESOLUTION, normalize=False),
                "distance": surface_distance(truth[name], made[name]),
                "chamfer": chamfer(made[name], truth[name], normalize=False).squared,
                "inside": inside(made, name)[1],
            }
        elif name in made or name in truth:
            found[name] = {"iou": 0.0}
    return found


def handed_on(start: str, character, truth_views: CharacterViews, networks) -> tuple[CharacterViews, torch.Tensor]:
    """(six views of three levels, the A-pose picture they were drawn from)."""
    if start == "views":
        return truth_views, truth_views.color[0, 0]
    front = truth_views.color[0, 0]
    if start == "picture":
        rgba = input_picture(character, 0, PICTURE_SIZE)
        shown = CharacterPicture(rgba[..., :3], rgba[..., 3])
        front = canonicalize(networks.canonical, shown, PRESET.canonical).picture
    return draw_views(networks.multiview, front, PRESET.views), front


def run_one(index: int, start: str, networks, args) -> dict:
    """Figures of one character; pictures and meshes are kept beside them."""
    place = args.work / f"{start}-{index}"
    kept = place.with_suffix(".json")
    if kept.is_file() and not args.fresh:
        return json.loads(kept.read_text(encoding="utf-8"))
    character = heldout_character(index)
    truth, began, cpu = character.layers, time.perf_counter(), time.process_time()
    small_truth, large_truth = (render_levels(truth, size) for size in (small.SMALL_SIZE[0], VIEW_SIZE))
    views, front = handed_on(start, character, small_truth, networks)
    figures = {"caption": character.caption, "drawn": float(psnr(scaled(views, VIEW_SIZE), large_truth.color[0]).mean())}
    coarse = lift_layers(views, networks.slrm, PRESET.lift)
    try:
        refined = stdgen.finish(coarse, views, PRESET)
        painted, figures["notes"] = refined.layers, refined.notes
    except InputError as problem:  # a character that cannot be refined counts as its coarse layers
        painted, figures["failed"] = coarse, str(problem)
    figures |= {"coarse": compare(coarse, truth), "refined": compare(painted, truth),
                "rendered": float(psnr(rendered(painted), large_truth.color[0]).mean()),
                "seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu}
    args.work.mkdir(parents=True, exist_ok=True)
    save_layers(Path(f"{place}-coarse.safetensors"), RefinedLayers(coarse))
    save_layers(Path(f"{place}.safetensors"), RefinedLayers(painted))
    place.with_suffix(".png").write_bytes(encode_png(torch.cat([front_of(front), *views.color[0][[0, 2, 3]]], 1).clamp(0, 1)))
    kept.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    return figures


def faces_of(index: int, start: str, networks, args) -> dict:
    """Figures of the textured result and of face regions; one character, whose painted layers are kept."""
    place = args.work / f"{start}-{index}"
    kept = Path(f"{place}-textured.json")
    if kept.is_file() and not args.fresh:
        return json.loads(kept.read_text(encoding="utf-8"))
    character, painted = heldout_character(index), load_layers(place.with_suffix(".safetensors")).layers
    truth, began = character.layers, time.process_time()
    views, front = handed_on(start, character, render_levels(truth, small.SMALL_SIZE[0]), networks)
    large = render_levels(truth, FACE_SIZE, (0,))
    given, said = None, "no picture"
    if start != "views":
        given, said = read_front((large.color[0, 0] if start == "a-pose" else front)[None], painted)
    textured = texture_layers(painted, views, given, TEXTURES).layers
    camera = six_views(FACE_SIZE)[0]
    face = render_semantics(character.field(), truth, camera, (0,))[0, 0] == SEMANTICS.index("face")
    joined = textured.joined()

    def near(picture: torch.Tensor) -> float:
        return float(psnr(picture[None], large.color[0, :1], face[None].float())[0])

    looks = {"face_rendered": painted.merged(), "face_textured": joined}
    shown = {k: render_surface(m, camera, supersample=2, grad=False).composite(1.0).clamp(0, 1)[0] for k, m in looks.items()}
    six = render_surface(joined, six_views(VIEW_SIZE), supersample=2, grad=False).composite(1.0).clamp(0, 1)
    place.with_name(f"{place.name}-face.png").write_bytes(encode_png(torch.cat([large.color[0, 0], *shown.values()], 1)))
    figures = {k: near(v) for k, v in shown.items()} | {
        "face_drawn": near(scaled(views, FACE_SIZE)[0]), "picture": said, "texture_cpu": time.process_time() - began,
        "textured": float(psnr(six, render_levels(truth, VIEW_SIZE, (0,)).color[0]).mean())}
    kept.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    return figures


def front_of(picture: torch.Tensor) -> torch.Tensor:
    """An A-pose picture on a square of its height."""
    height, width = picture.shape[:2]
    square = torch.ones(height, height, 3)
    square[:, (height - width) // 2 : (height - width) // 2 + width] = picture
    return square


def strip(index: int, start: str, args, size: int = 192) -> torch.Tensor:
    """[size, W, 3]: truth, coarse, refined from the front; truth and refined from behind and apart; a posed picture first."""
    character, place = heldout_character(index), args.work / f"{start}-{index}"
    coarse = load_layers(Path(f"{place}-coarse.safetensors")).layers
    truth, made, given = character.layers, load_layers(place.with_suffix(".safetensors")).layers, []
    if start == "picture":
        rgba = input_picture(character, 0, size)
        given = [front_of(rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:])]
    pictures = [*given, *(character_picture(m, size, 0) for m in (truth, coarse, made)),
                *(character_picture(m, size, 3) for m in (truth, made)),
                *(character_picture(exploded(m), size, 0) for m in (truth, made))]
    return torch.cat([p[:, size // 8 : -size // 8] if p.shape[1] == size else p for p in pictures], 1)


def rows_of(figures: dict[int, dict]) -> list[list]:
    """One row per character and layer."""
    rows = []
    for index, found in figures.items():
        for name in LAYER_NAMES:
            coarse, refined = found["coarse"].get(name), found["refined"].get(name)
            if coarse or refined:
                rows.append([index, found["caption"], name, *cells(coarse), *cells(refined)])
    return rows


def cells(layer: dict | None) -> list:
    """IoU, distance, squared Chamfer."""
    layer = layer or {}
    return [f"{layer[key]:.{digits}f}" if key in layer else None for key, digits in DIGITS.items()]


def means(figures: dict[int, dict]) -> list[str]:
    """Lines of means with standard errors over characters."""
    lines = []
    for name in LAYER_NAMES:
        both = {i: (f["coarse"][name], f["refined"][name]) for i, f in figures.items()
                if "distance" in f["coarse"].get(name, {}) and "distance" in f["refined"].get(name, {})}
        if not both:
            continue
        parts = []
        for key in ("iou", "distance"):
            digits = DIGITS[key]
            a, b = (summary({(i, 0): pair[j][key] for i, pair in both.items()}) for j in (0, 1))
            parts.append(f"{key} {a.mean:.{digits}f} -> {b.mean:.{digits}f} (standard errors {a.over_objects:.{digits}f}, "
                         f"{b.over_objects:.{digits}f})")
        worse = sum(pair[1]["distance"] > pair[0]["distance"] for pair in both.values())
        lines.append(f"- {name}, coarse -> refined: {', '.join(parts)}; farther than before on {worse} of {len(both)}")
    faces = "face region, front view, of the"
    whole = "six-view PSNR of the"
    for key, words in (("drawn", f"{whole} views handed to S-LRM"), ("rendered", f"{whole} renders of the result"),
                       ("textured", f"{whole} textured result"), ("face_drawn", f"{faces} views handed to S-LRM"),
                       ("face_rendered", f"{faces} renders of the result"), ("face_textured", f"{faces} textured result")):
        mean = summary({(i, 0): f[key] for i, f in figures.items()})
        lines.append(f"- {words}: {mean.mean:.2f} dB (standard error {mean.over_objects:.2f})")
    lines.append(f"- CPU s per character: {sum(f['cpu'] for f in figures.values()) / len(figures):.0f}")
    return lines + [f"- character {i}: {f['failed']}" for i, f in figures.items() if "failed" in f]


def report(found: dict[str, dict[int, dict]], args) -> str:
    """The page."""
    text = __doc__.split("\n\n", 2)[2].strip()
    parts = [f"# StdGEN's quickstart on held-out toy characters\n\n{machine()}\n\n{text}\n"]
    told = [f"{when} {what}" for when in ("coarse", "refined") for what in ("IoU", "distance", "Chamfer")]
    head = ["character", "caption", "layer", *told]
    for start, figures in found.items():
        parts += [f"## From the {start}\n", "\n".join(means(figures)) + "\n", table(head, rows_of(figures))]
        parts.append(f"![truth, coarse, refined; from behind truth, refined; apart truth, refined](stdgen-{start}.png)\n")
    return "\n".join([*parts, NOTE.read_text(encoding="utf-8") if NOTE.is_file() else ""])


def main(argv: list[str] | None = None) -> None:
    """Runs what is missing and writes the page and its pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--characters", type=int, default=5)
    parser.add_argument("--first", type=int, default=10, help="settings were chosen on characters before the tenth")
    parser.add_argument("--starts", default=",".join(STARTS))
    parser.add_argument("--weights", type=Path, default=small.FOLDER)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--work", type=Path, default=ROOT / ".lift123" / "bench_stdgen")
    parser.add_argument("--fresh", action="store_true")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    networks, found = small.load_embedded_characters(folder=args.weights), {}
    args.out.mkdir(parents=True, exist_ok=True)
    chosen = range(args.first, args.first + args.characters)
    for start in args.starts.split(","):
        found[start] = {i: run_one(i, start, networks, args) | faces_of(i, start, networks, args) for i in chosen}
        rows = [strip(index, start, args) for index in chosen]
        width = max(row.shape[1] for row in rows)
        padded = [torch.nn.functional.pad(row, (0, 0, 0, width - row.shape[1]), value=1.0) for row in rows]
        (args.out / f"stdgen-{start}.png").write_bytes(encode_png(torch.cat(padded)))
    (args.out / "stdgen.md").write_text(report(found, args), encoding="utf-8")


if __name__ == "__main__":
    main()
