"""What S-LRM is taught from: six pictures of a toy character, and what is where at points in and around it.

Per character, as memory-mapped numpy arrays:
  views.npy  [N, 6, 64, 64, 3] uint8   level-0 colors on white, the standard views
  points.npy [N, P, 3] float16         scene units; three parts: on surfaces, near them, anywhere in the box
  sdf.npy    [N, P, 4] float16         distance to the whole (one solid), and to body, clothing and hair (9 = absent)
  color.npy  [N, P, 3] uint8           colors of the surface that a point was drawn on; black for the third part
  face.npy   [N, P] bool               the nearest body part is one of the head's
Points of the first part lie on the layers' own surfaces (hidden ones, too), with a deviation of 0.004; those of the
second with 0.04.
"""

import json
from pathlib import Path

import numpy as np
import pack  # noqa: F401  (makes ``lift123`` importable)
import torch
from lift123.pipelines.core.layers import LayeredMesh
from lift123.pipelines.networks.stdgen.slrm_config import SMALL_SLRM
from lift123.pipelines.networks.stdgen.slrm_frames import slrm_to_scene
from lift123.pipelines.toybox.characters import ToyCharacter, render_levels
from subjects import Subject, as_subject

SIZE = 64
PARTS = (2048, 2048, 1024)  # points on surfaces, near them, anywhere
DEVIATIONS = (0.004, 0.04)
CELLS = 32  # of the meshes that are drawn and sampled: edges of a pixel
FILES = {"views": np.uint8, "points": np.float16, "sdf": np.float16, "color": np.uint8, "face": np.bool_}


def shapes(count: int) -> dict:
    """Array shapes of a bank of ``count`` characters."""
    points = sum(PARTS)
    return {"views": (count, 6, SIZE, SIZE, 3), "points": (count, points, 3), "sdf": (count, points, 4),
            "color": (count, points, 3), "face": (count, points)}


def entry(character: ToyCharacter | Subject, generator: torch.Generator, cells: int = CELLS) -> dict:
    """One character's arrays."""
    subject = as_subject(character)
    layers = subject.layers(cells)
    views = render_levels(layers, SIZE, (0,)).color[0]
    points, color = sample_points(layers, generator)
    return {
        "views": bytes_of(views), "points": points.half().numpy(), "color": bytes_of(color),
        "sdf": subject.distances(points).half().numpy(), "face": subject.is_face(points).numpy(),
    }


def sample_points(layers: LayeredMesh, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """(points [P, 3], colors [P, 3]) of one character; each layer gets the same share of surface points."""
    points, colors = [], []
    for count, deviation in zip(PARTS, DEVIATIONS):
        for index, name in enumerate(layers):
            share = count // len(layers) + (index < count % len(layers))
            mesh = layers[name]
            assert mesh.vertex_colors is not None, "toys have them"
            area = mesh.face_normals().norm(dim=-1)
            face = torch.multinomial(area, share, replacement=True, generator=generator)
            weights = torch.empty(share, 3).exponential_(generator=generator)
            weights = weights / weights.sum(-1, keepdim=True)
            corners = mesh.faces[face]
            place = (mesh.vertices[corners] * weights[..., None]).sum(1)
            points.append(place + deviation * torch.randn(share, 3, generator=generator))
            colors.append((mesh.vertex_colors[corners] * weights[..., None]).sum(1))
    low, high = (slrm_to_scene(torch.tensor(c)) for c in (SMALL_SLRM.grid.low, SMALL_SLRM.grid.high))
    points.append(low + (high - low) * torch.rand(PARTS[-1], 3, generator=generator))
    colors.append(torch.zeros(PARTS[-1], 3))
    return torch.cat(points), torch.cat(colors)


def bytes_of(values: torch.Tensor) -> np.ndarray:
    """[0, 1] -> 0..255."""
    return (values.clamp(0, 1) * 255 + 0.5).to(torch.uint8).numpy()


def make_points(folder: Path, character_of, count: int, log=print) -> Path:
    """Fills the bank with ``character_of(0 .. count - 1)``; continues after the last finished one."""
    folder.mkdir(parents=True, exist_ok=True)
    done_file = folder / "done.json"
    done = json.loads(done_file.read_text())["done"] if done_file.exists() else 0
    size = shapes(count)
    arrays = {
        name: np.lib.format.open_memmap(folder / f"{name}.npy", "r+" if done else "w+", kind, size[name])
        for name, kind in FILES.items()
    }
    for i in range(done, count):
        for name, value in entry(character_of(i), torch.Generator().manual_seed(i)).items():
            arrays[name][i] = value
        if (i + 1) % 20 == 0 or i + 1 == count:
            for array in arrays.values():
                array.flush()
            done_file.write_text(json.dumps({"done": i + 1, "total": count}))
            log(f"{folder.name} {i + 1}/{count}", flush=True)
    return folder


class PointBank:
    """The arrays of a bank, as far as it is filled."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in FILES}
        drawn = folder / "drawn.npy"
        self.drawn = np.load(drawn, mmap_mode="r") if drawn.is_file() else None

    @property
    def count(self) -> int:
        """Characters finished so far (a bank may still be growing); all of them have drawn views, if any has."""
        done = json.loads((self.folder / "done.json").read_text())["done"]
        return done if self.drawn is None else min(done, len(self.drawn))

    def views(self, picks, drawn: bool = False) -> torch.Tensor:
        """[B, 6, 64, 64, 3] in [0, 1]: true views, or those that small networks drew (drawn.npy, the same shape)."""
        source = self.drawn if drawn else self.arrays["views"]
        assert source is not None, "this bank has drawn views"
        return torch.from_numpy(np.array(source[picks])).float() / 255

    def points(self, picks, columns) -> dict:
        """points [B, P, 3], sdf [B, P, 4], color [B, P, 3], face [B, P] of the chosen columns."""
        rows = np.asarray(picks)[:, None]
        found = {
            name: torch.from_numpy(self.arrays[name][rows, columns]) for name in ("points", "sdf", "color", "face")
        }
        return {
            **found,
            "points": found["points"].float(),
            "sdf": found["sdf"].float(),
            "color": found["color"].float() / 255,
        }


def mirrored(views: torch.Tensor, found: dict) -> tuple[torch.Tensor, dict]:
    """The same characters seen in a mirror (x -> -x): right views become left ones."""
    order = [0, 5, 4, 3, 2, 1]
    return views[:, order].flip(3), {**found, "points": found["points"] * found["points"].new_tensor([-1, 1, 1])}
