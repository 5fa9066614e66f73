"""The pictures that S-LRM's three stages learn from: the paper's protocol, one file per character (StdGEN Sec. 4.1, S-C.15).

Per character and peel level (complete, no hair, body): eight views 45 degrees apart at elevation 0, from above, from below,
five close-ups of the face, and random ones; colors, coverage, depth, normals and classes.  The six views that a network is
shown are among the first eight.  Orthographic, a window of 1.2, in A-pose.

FOLDER/000000.npz ...: rgba [L, C, S, S, 4] uint8 straight, depth [L, C, S, S] float16 scene units times coverage, normal
[L, C, S, S, 3] int8 of 127 times coverage, classes [L, C, S, S] uint8 (255 = nothing); c2w [C, 4, 4], half_height [C].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pack  # noqa: F401  (makes ``lift123`` importable)
import torch
from lift123.pipelines.core.ortho import WINDOW, OrthoCameras
from lift123.pipelines.toybox.characters import render_semantics
from lift123.pipelines.toybox.render import render_toy
from slrm_losses import Truth
from subjects import Subject
from torch import Tensor

AROUND = 8  # azimuths 45 degrees apart
SHOWN = (0, 1, 2, 4, 6, 7)  # of them, in the order of ``core.ortho.VIEW_NAMES``
POLE = math.radians(89.9)  # from above and below; a camera's up is not defined at the pole itself
CLOSE_HALF = 0.35  # scene units, half of what a close-up shows
CLOSE_AZIMUTHS = tuple(math.radians(a) for a in (0, -40, 40, -80, 80))
RANDOM_ELEVATIONS = (math.radians(-30), math.radians(60))
CELLS, BACKGROUND = 48, 255


@dataclass(frozen=True)
class Protocol:
    """size: pixels per side.  closeups: at most five.  randoms: random views, others for every character."""

    size: int = 64
    closeups: int = 5
    randoms: int = 20

    def cameras(self, top: float, seed: int) -> OrthoCameras:
        """The views of a figure whose highest point is ``top``, scene units."""
        around = [2 * math.pi * k / AROUND for k in range(AROUND)]
        rng = np.random.Generator(np.random.PCG64([seed, 7]))
        low, high = RANDOM_ELEVATIONS
        azimuths = [*around, 0.0, 0.0, *CLOSE_AZIMUTHS[: self.closeups], *rng.uniform(-math.pi, math.pi, self.randoms)]
        elevations = [0.0] * AROUND + [POLE, -POLE] + [0.0] * self.closeups + rng.uniform(low, high, self.randoms).tolist()
        halves = [WINDOW] * (AROUND + 2) + [CLOSE_HALF] * self.closeups + [WINDOW] * self.randoms
        made = OrthoCameras.orbit(torch.tensor(azimuths), torch.tensor(elevations), torch.tensor(halves), self.size, self.size)
        close = slice(AROUND + 2, AROUND + 2 + self.closeups)
        made.c2w[close, 1, 3] += top + 0.2 * CLOSE_HALF - CLOSE_HALF
        return made


def make_pictures(folder: Path, subjects: Sequence[Subject], protocol: Protocol, log=print) -> Path:
    """Draws what is not there yet; every file is whole or absent."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, subject in enumerate(subjects):
        path = folder / f"{index:06d}.npz"
        if path.exists() and _told(path) == _identity(subject, protocol):
            continue
        arrays = draw(subject, protocol, index)
        part = path.with_suffix(".part")
        with open(part, "wb") as file:
            np.savez_compressed(file, **arrays)
        part.replace(path)
        log(f"pictures {index + 1}/{len(subjects)}", flush=True)
    for extra in list(folder.glob("*.npz"))[len(subjects):]:  # of an earlier, longer list
        if int(extra.stem) >= len(subjects):
            extra.unlink()
    return folder


def _identity(subject: Subject, protocol: Protocol) -> str:
    return f"{subject.key} {protocol}"


def _told(path: Path) -> str:
    with np.load(path) as file:
        return str(file["identity"])


@torch.no_grad()
def draw(subject: Subject, protocol: Protocol, index: int) -> dict[str, Any]:
    """One character's arrays."""
    layers = subject.layers(CELLS)
    cameras = protocol.cameras(float(layers.merged().vertices[:, 1].max()), index)
    drawn, rows = {}, []
    for level in range(3):
        shown = layers.level(level)
        if shown.names not in drawn:
            seen = render_toy(shown.merged(), cameras)
            classes = render_semantics(subject, shown, cameras)[0]
            assert seen.depth is not None and seen.normal is not None, "toys' pictures have both"
            drawn[shown.names] = {
                "rgba": _bytes(torch.cat([seen.rgb, seen.alpha[..., None]], -1)),
                "depth": (seen.depth * seen.alpha).half().numpy(),
                "normal": (seen.normal * seen.alpha[..., None] * 127).round().to(torch.int8).numpy(),
                "classes": classes.where(classes >= 0, BACKGROUND).to(torch.uint8).numpy(),
            }
        rows.append(drawn[shown.names])
    return {**{name: np.stack([row[name] for row in rows]) for name in rows[0]}, "c2w": cameras.c2w.numpy(),
            "half_height": cameras.half_height.numpy(), "identity": _identity(subject, protocol)}


def _bytes(values: Tensor) -> np.ndarray:
    return (values.clamp(0, 1) * 255 + 0.5).to(torch.uint8).numpy()


class PictureBank:
    """The characters of a folder."""

    def __init__(self, folder: Path):
        self.files = sorted(Path(folder).glob("*.npz"))
        self.kept: dict[int, dict] = {}

    @property
    def count(self) -> int:
        """Characters."""
        return len(self.files)

    def _arrays(self, index: int) -> dict:
        if index not in self.kept:
            if len(self.kept) >= 64:
                self.kept.clear()
            with np.load(self.files[index]) as file:
                self.kept[index] = {name: file[name] for name in file.files if name != "identity"}
        return self.kept[index]

    def shown(self, index: int) -> Tensor:
        """[6, S, S, 3] the complete character's six views on white, as a network is shown them."""
        rgba = torch.from_numpy(self._arrays(index)["rgba"][0, list(SHOWN)]).float() / 255
        return rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]

    def views(self, index: int) -> int:
        """How many views a character has."""
        return len(self._arrays(index)["half_height"])

    def truth(self, index: int, level: int, views: Sequence[int], size: int) -> tuple[OrthoCameras, Truth]:
        """What ``views`` of a level show, at ``size`` pixels."""
        arrays, picked = self._arrays(index), list(views)
        rgba = torch.from_numpy(arrays["rgba"][level, picked]).float() / 255
        alpha = rgba[..., 3:]
        depth = torch.from_numpy(arrays["depth"][level, picked]).float()[..., None]
        normal = torch.from_numpy(arrays["normal"][level, picked]).float() / 127
        whole = torch.cat([rgba[..., :3] * alpha + 1 - alpha, alpha, depth, normal], -1)
        classes = torch.from_numpy(arrays["classes"][level, picked]).long()
        classes = torch.where(classes == BACKGROUND, -1, classes)
        if whole.shape[1] != size:
            whole = torch.nn.functional.interpolate(whole.movedim(-1, 1), (size, size), mode="area").movedim(1, -1)
            classes = torch.nn.functional.interpolate(classes[:, None].float(), (size, size), mode="nearest-exact")[:, 0].long()
        rgb, alpha, depth, normal = whole.split([3, 1, 1, 3], -1)
        normal = torch.nn.functional.normalize(normal, dim=-1, eps=1e-6) * (alpha > 0)
        c2w, half_height = (torch.from_numpy(arrays[name][picked]) for name in ("c2w", "half_height"))
        return OrthoCameras(c2w, half_height, size, size), Truth(rgb, alpha[..., 0], classes, depth[..., 0], normal)
