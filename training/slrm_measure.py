"""How good an embedded S-LRM is on toy characters it was never trained on: numbers, pictures, card.

    python training/slrm_measure.py --weights FOLDER [--characters 5] [--out FOLDER] [--card]

Per layer, against the character's own meshes in scene units: volumetric IoU at 96^3 and the mean distance between
surfaces (2000 points each, both ways); missing and invented layers are counted.  The views are the true ones.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pack  # noqa: F401  (makes ``lift123`` importable)
import torch
from lift123.pipelines.core.layers import LAYER_NAMES, LayeredMesh
from lift123.pipelines.core.ortho import six_views
from lift123.pipelines.loaders.embedded_slrm import load_small_slrm
from lift123.pipelines.metrics.geometry import chamfer, volumetric_iou
from lift123.pipelines.render.surface import render_surface
from lift123.pipelines.stages.characters.lift_layers import LiftConfig, lift_layers
from lift123.pipelines.toybox.characters import render_levels
from lift123.pipelines.toybox.characters.character import heldout_character

RESOLUTION = 96
VIEW_SIZE = 256  # of the pictures that the network is given


def compare(made: LayeredMesh, truth: LayeredMesh) -> dict[str, float]:
    """Figures of one character: "<layer> IoU", "<layer> distance"; IoU 0 for a layer that only one of both has."""
    found = {}
    for name in LAYER_NAMES:
        if name in made and name in truth:
            found[f"{name} IoU"] = volumetric_iou(made[name], truth[name], RESOLUTION, normalize=False)
            found[f"{name} distance"] = chamfer(made[name], truth[name], normalize=False).plain
        elif name in made or name in truth:
            found[f"{name} IoU"] = 0.0
    return found


def picture(layers: LayeredMesh, size: int) -> torch.Tensor:
    """[size, n * size, 3]: the whole from the front, the side and the back, then each layer from the front."""
    shown = [(layers.merged(), (0, 2, 3))]
    shown += [(layers[n], (0,)) if n in layers else (None, (0,)) for n in LAYER_NAMES]
    tiles = []
    for mesh, views in shown:
        if mesh is None:
            tiles.append(torch.ones(1, size, size, 3))
        else:
            tiles.append(render_surface(mesh, six_views(size)[list(views)], supersample=2, grad=False).composite(1.0))
    return torch.cat(list(torch.cat(tiles)), 1).clamp(0, 1)


def measure(network, count: int, config: LiftConfig = LiftConfig(), size: int = 160):
    """(mean figures, [2 count size, ...] picture: truth above result for each character)."""
    rows, figures = [], []
    for index in range(count):
        truth = heldout_character(index).layers
        made = lift_layers(render_levels(truth, VIEW_SIZE, (0,)), network, config)
        figures.append(compare(made, truth))
        rows += [picture(truth, size), picture(made, size)]
    names = sorted({k for f in figures for k in f})
    return {n: float(np.mean([f[n] for f in figures if n in f])) for n in names}, torch.cat(rows)


def write_card(folder: Path, figures: dict, state: dict, count: int) -> None:
    """``stdgen_slrm.md`` beside the weights; ``state``: steps and characters of the training."""
    size = (folder / "stdgen_slrm.safetensors").stat().st_size / 1e6
    rows = "\n".join(f"| {name} | {value:.3f} |" for name, value in figures.items())
    (folder / "stdgen_slrm.md").write_text(
        "# Small S-LRM\n\nThe network class of StdGEN's semantic large reconstruction model (camera-modulated vision "
        "transformer, image-to-triplane transformer, decoders) at a small size: 64 px views in patches of 8, planes of 24 x 24 "
        "with 32 channels.\n\n"
        f"File: stdgen_slrm.safetensors ({size:.1f} MB, fp16). License: Apache-2.0, like the code.\n\n"
        f"**Data.** {state['characters']} procedural toy characters (seeds from 0): six orthographic views in A-pose, and "
        "what is where at 5120 points each: distance to the whole, to body, clothing and hair, colors of the surfaces.\n\n"
        f"**Training.** {state['steps']} steps of {state['batch']} characters on one shared CPU core, supervised at points "
        "instead of by rendering; `training/stdgen_slrm.py`. Two rounds: from true views in the characters' own colors, then "
        "(--anew --rate 5e-4) with colors exchanged and half of the batches from views that the small canonicalizer and "
        "multi-view network drew. The displacement and cube-weight decoders are zero, so its surfaces are plain dual marching "
        "cubes.\n\n"
        f"**Measured** on {count} characters never trained on (seeds from 10,000,000), true views, scene units (a figure is 2 "
        f"high) by `training/slrm_measure.py`.\n\n| figure | value |\n|---|---|\n{rows}\n\n"
        "**Limits.** Toy characters only. Details below a pixel of the 64 px views (fingers, straps, strands) are lost, and "
        "colors are soft.\n",
        encoding="utf-8",
    )


def main() -> None:
    from PIL import Image

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("."))
    parser.add_argument("--characters", type=int, default=5)
    parser.add_argument("--dilate", action="store_true", help="with the released code's dilation of the thin layers")
    parser.add_argument("--card", action="store_true", help="write stdgen_slrm.md beside the weights")
    parser.add_argument("--steps", type=int, default=0, help="for the card")
    parser.add_argument("--trained-on", type=int, default=0, help="for the card")
    args = parser.parse_args()
    torch.set_num_threads(1)
    config = LiftConfig(dilate=True if args.dilate else None)
    figures, shown = measure(load_small_slrm(folder=args.weights), args.characters, config)
    args.out.mkdir(parents=True, exist_ok=True)
    Image.fromarray((shown.numpy() * 255 + 0.5).astype(np.uint8)).save(args.out / "slrm_heldout.png")
    print(json.dumps(figures, indent=1))
    if args.card:
        write_card(
            args.weights, figures, {"steps": args.steps, "characters": args.trained_on, "batch": 2}, args.characters
        )


if __name__ == "__main__":
    main()
