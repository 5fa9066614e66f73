"""Two small runs in an output folder, as Bake and Export leaves them."""

import json
import os
from pathlib import Path

import torch


def write_two_runs(folder: Path, save_animation) -> None:
    """cup_00001_ and cup_00002_ in a new ``folder``: they differ in their iterations; the first has four pictures in its
    turntable, the second two.  save_animation: of ``nodes.export``, which needs ComfyUI."""
    folder.mkdir()
    for number, (iterations, frames) in enumerate([(10, 4), (40, 2)], 1):
        stem = folder / f"cup_0000{number}_"
        curve = {"every": 1, "steps": [1, 2], "losses": {"rgb": [0.5, 0.1 / number]}, "scores": {}}
        path = stem.with_name(f"{stem.name}manifest.json")
        path.write_text(json.dumps({
            "manifest": 1, "seed": 3, "settings": {"stages": [{"stage": "NeRF", "settings": {"iterations": iterations}}]},
            "curves": {"NeRF": curve}}))
        os.utime(path, (1e9 + number, 1e9 + number))
        save_animation(torch.rand(frames, 32, 32, 3), stem.with_name(f"{stem.name}turntable.webp"))
