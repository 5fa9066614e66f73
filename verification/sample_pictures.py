"""Draws the sample pictures that ship in ``workflows/sample``: objects and characters that no embedded network has seen.

    python verification/sample_pictures.py FOLDER

The bear (lift123_sample.png) and the character in A-pose (lift123_character.png) are older and stay as they are.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

sys.path.append(str(Path(__file__).resolve().parent.parent / "training"))
import pack  # noqa: F401  (imports the pack as ``lift123``)
from lift123.pipelines.toybox.characters import input_picture, make_character
from lift123.pipelines.toybox.objects import heldout_seed, make_object
from lift123.pipelines.toybox.render import reference_camera, render_toy

SIDE = 512
# Beyond the objects on which anything is chosen or measured: benchmarks use the first hundred held-out ones.
OBJECTS = {"lift123_owl.png": 364, "lift123_teapot.png": 293, "lift123_robot.png": 220, "lift123_turtle.png": 355}
POSED = {"lift123_posed_character.png": (10_000_028, 3)}  # seed, pose


def save(rgba: Tensor, file: Path) -> None:
    """[H, W, 4] straight RGBA as PNG."""
    Image.fromarray((rgba.clamp(0, 1) * 255).round().to(torch.uint8).numpy()).save(file, optimize=True)


def main(folder: Path) -> None:
    for name, index in OBJECTS.items():
        toy = make_object(heldout_seed(index), 2)
        seen = render_toy(toy, reference_camera(SIDE), supersample=3)
        save(torch.cat([seen.rgb[0], seen.alpha[0, ..., None]], -1), folder / name)
        print(f"{name}: {toy.caption}")
    for name, (seed, pose) in POSED.items():
        character = make_character(seed)
        save(input_picture(character, pose, SIDE), folder / name)
        print(f"{name}: {character.caption}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
