"""A bank of toy characters on disk, from which StdGEN's embedded networks are trained.

Per character, at ``size`` px (default 64); L levels (complete, no hair, body) times 6 views of ``core.ortho.VIEW_NAMES``:
  color.npy    [N, 3, 6, S, S, 3] uint8  sRGB on white
  normal.npy   [N, 3, 6, S, S, 3] uint8  (normal + 1) / 2 on white, one frame for all views
  alpha.npy    [N, 3, 6, S, S] uint8     coverage
  semantic.npy [N, 3, 6, S, S] uint8     class of ``toybox.characters.field.SEMANTICS``, 255 where nothing is seen
  input.npy    [N, P, S, S * 5 / 8, 4] uint8  straight RGBA of P arbitrary poses, framed as canonicalization frames its
               input: centered, the figure's height (or 8 / 5 of its width) is 1 / 1.2 of the picture's
  captions.json, seeds.json, done.json
Characters are toys by seed or subjects of files (``subjects.py``), whose keys then stand in seeds.json.

    python training/character_bank.py FOLDER --count 2500      (continues where it was interrupted)
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pack  # noqa: F401  (makes ``lift123`` importable)
import torch
from lift123.pipelines.core.character_views import CharacterViews
from lift123.pipelines.core.ortho import six_views
from lift123.pipelines.toybox.characters import render_levels, render_semantics
from lift123.pipelines.toybox.objects import heldout_seed, train_seed
from subjects import Subject, as_subject

WIDE = 640 / 1024  # width over height of the pictures that are canonicalized
BACKGROUND = 255  # semantic class of pixels that show nothing
CELLS = 48  # of the meshes: edges of 0.025 scene units, where a pixel at 64 px is 0.0375


def bytes_of(picture: torch.Tensor) -> np.ndarray:
    """[0, 1] floats as uint8."""
    return (picture.clamp(0, 1) * 255 + 0.5).to(torch.uint8).numpy()


def shapes(count: int, size: int, poses: int) -> dict:
    """Array name -> shape."""
    views = (count, 3, 6, size, size)
    return {
        "color": (*views, 3),
        "normal": (*views, 3),
        "alpha": views,
        "semantic": views,
        "input": (count, poses, size, round(size * WIDE), 4),
    }


def entry(subject: Subject, size: int, poses: int) -> tuple[dict, str]:
    """One character's arrays and caption."""
    layers = subject.layers(CELLS)
    views = render_levels(layers, size)
    classes = render_semantics(subject, layers, six_views(size), levels=(0, 1, 2))
    inputs = [subject.picture(k, size, WIDE, CELLS) for k in range(poses)]
    arrays = {
        "color": bytes_of(views.color),
        "normal": bytes_of(views.encoded_normal()),
        "alpha": bytes_of(views.alpha),
        "semantic": classes.where(classes >= 0, BACKGROUND).to(torch.uint8).numpy(),
        "input": bytes_of(torch.stack(inputs)),
    }
    return arrays, subject.caption


def make_bank(folder: Path, characters: Sequence[int | Subject], size: int = 64, poses: int = 1, log=print) -> Path:
    """Writes the bank of toys by seed, or of any subjects, continuing after the last finished one if interrupted."""
    seeds = [c if isinstance(c, int) else c.key for c in characters]
    folder.mkdir(parents=True, exist_ok=True)
    done_file = folder / "done.json"
    state = json.loads(done_file.read_text()) if done_file.exists() else {"done": 0, "captions": []}
    done, captions, start = state["done"], state["captions"], time.time()
    if done and json.loads((folder / "seeds.json").read_text()) != seeds:
        raise ValueError(f"{folder} holds a bank of other seeds: give the same count, or another folder")
    (folder / "seeds.json").write_text(json.dumps(seeds))
    wanted = shapes(len(seeds), size, poses)
    files = {
        k: np.lib.format.open_memmap(folder / f"{k}.npy", "r+" if done else "w+", np.uint8, v)
        for k, v in wanted.items()
    }
    for name, array in files.items():
        if array.shape != wanted[name]:
            raise ValueError(f"{folder / name}.npy is {array.shape}, this bank needs {wanted[name]}")
    for i in range(done, len(seeds)):
        arrays, caption = entry(as_subject(characters[i]), size, poses)
        for name, value in arrays.items():
            files[name][i] = value
        captions.append(caption)
        if (i + 1) % 10 == 0 or i + 1 == len(seeds):
            for array in files.values():
                array.flush()
            temporary = folder / "done.part"  # an interruption never leaves half a file
            temporary.write_text(json.dumps({"done": i + 1, "total": len(seeds), "captions": captions}))
            temporary.replace(done_file)
            log(f"characters {i + 1}/{len(seeds)}, {(time.time() - start) / (i + 1 - done):.2f} s each", flush=True)
    return folder


class CharacterBank:
    """Read access to a finished (or growing) bank; pictures are floats in [0, 1] on ``device``."""

    def __init__(self, folder: Path, device="cpu"):
        state = json.loads((folder / "done.json").read_text())
        self.device, self.count, self.captions = device, state["done"], state["captions"]
        self.seeds = json.loads((folder / "seeds.json").read_text())[: self.count]
        self.arrays = {
            k: np.load(folder / f"{k}.npy", mmap_mode="r") for k in ("color", "normal", "alpha", "semantic", "input")
        }
        self.size, self.poses = self.arrays["color"].shape[3], self.arrays["input"].shape[1]

    def get(self, name: str, *index) -> torch.Tensor:
        """An array's rows as floats in [0, 1] (``semantic``: int64, -1 for the background)."""
        values = torch.from_numpy(np.array(self.arrays[name][index])).to(self.device)
        if name == "semantic":
            values = values.long()
            return torch.where(values == BACKGROUND, -1, values)
        return values.float() / 255

    def inputs(self, objects, poses=0, background: float = 1.0) -> torch.Tensor:
        """[B, S, W, 3] arbitrary-pose pictures on a background."""
        rgba = self.get("input", objects, poses)
        return rgba[..., :3] * rgba[..., 3:] + background * (1 - rgba[..., 3:])

    def canonical(self, objects) -> torch.Tensor:
        """[B, S, W, 3] what canonicalization has to answer: the A-pose from the front, cut to the inputs' width."""
        front, width = self.get("color", objects, 0, 0), self.arrays["input"].shape[3]
        margin = (self.size - width) // 2
        return front[:, :, margin : margin + width]

    def views(self, index: int) -> CharacterViews:
        """All levels and views of one character."""
        alpha = self.get("alpha", index)
        share = alpha[..., None].clamp_min(1 / 255)
        normal = (self.get("normal", index) - (1 - alpha[..., None])) / share * 2 - 1
        normal = torch.nn.functional.normalize(normal, dim=-1) * (alpha[..., None] > 0)
        return CharacterViews(self.get("color", index), normal, alpha)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=2500)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--poses", type=int, default=1)
    parser.add_argument("--heldout", action="store_true", help="characters that are never trained on")
    options = parser.parse_args()
    torch.set_num_threads(1)
    pick = heldout_seed if options.heldout else train_seed
    make_bank(options.folder, [pick(i) for i in range(options.count)], options.size, options.poses)


if __name__ == "__main__":
    main()
