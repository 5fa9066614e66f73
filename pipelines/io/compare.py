"""Two runs side by side: their turntables, the curves of their stages, and what they differ in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..core.errors import InputError
from . import plain_json
from .plot import Line, Panel
from .runs import DONE, LARGEST, flat_settings
from .table_picture import labeled, number

MOST_PANELS = 12
WIDTH, MOST_FRAMES = 256, 120  # pixels of one turntable, pictures in it


@dataclass(frozen=True)
class Told:
    """A finished run.  name: of its files, relative to the output folder; manifest: what its manifest says."""

    name: str
    path: Path
    manifest: dict

    @property
    def curves(self) -> dict:
        """Of its stages, by name (``core.curve``)."""
        found = self.manifest.get("curves")
        return found if isinstance(found, dict) else {}


def find(root: Path, given: str) -> Told:
    """The run that a person means: the path of any of its files below ``root``, or what their names begin with.

    InputError where there is no such run, or its manifest is damaged.
    """
    name = given.strip().replace("\\", "/").removeprefix("output/")
    for path in (root / name, root / f"{name}manifest.json", root / f"{name}{DONE}"):
        if path.name.endswith("manifest.json") and path.is_file():
            return read(root, path)
    beside = (root / name).parent
    for path in sorted(beside.glob("*manifest.json")) if beside.is_dir() else ():
        if Path(name).name.startswith(path.name.removesuffix("manifest.json")):
            return read(root, path)
    raise InputError("run", "a run of Bake and Export in the output folder", repr(given[:80]),
                     "Right-click the node that wrote it: Send to Compare.")


def newest(root: Path, folder: str, count: int) -> list[Path]:
    """The last ``count`` manifests below a folder, the oldest of them first."""
    files = sorted((root / folder).rglob("*manifest.json"), key=lambda path: path.stat().st_mtime)
    return files[-count:]


def read(root: Path, path: Path) -> Told:
    """A manifest; InputError for what is none."""
    try:
        data = plain_json.parse(path.read_text(encoding="utf-8")) if path.stat().st_size <= LARGEST else None
    except (OSError, ValueError, RecursionError):
        data = None
    if not isinstance(data, dict) or data.get("manifest") != 1:
        raise InputError("run", "a manifest of this pack", path.name, "Choose another run.")
    return Told(path.relative_to(root).as_posix().removesuffix("manifest.json").rstrip("_"), path, data)


def differences(a: Told, b: Told) -> tuple[list[str], list[list]]:
    """(head, rows) of what two runs differ in: settings, then seconds, results and metrics; what one lacks is "-"."""
    sides = [_facts(run.manifest) for run in (a, b)]
    names = dict.fromkeys([*sides[0], *sides[1]])
    rows = [[name, *(number(side.get(name)) for side in sides)] for name in names
            if number(sides[0].get(name)) != number(sides[1].get(name))]
    return ["what", "A", "B"], rows


def _facts(manifest: dict) -> dict:
    found = {name: value for name, value in flat_settings(manifest).items() if not name.endswith("filename_prefix")}
    found["seed"] = manifest.get("seed")
    found |= {f"seconds of {stage}": value for stage, value in (manifest.get("timings_seconds") or {}).items()}
    results = manifest.get("results") or {}
    found |= {name: value for name, value in results.items() if isinstance(value, int | float | str)}
    found |= {f"layer {name}: faces": layer.get("faces") for name, layer in (results.get("layers") or {}).items()}
    return found | {name: value for name, value in ((results.get("metrics") or {}).get("metrics") or {}).items()}


def curve_panels(a: Told, b: Told) -> list[Panel]:
    """One panel per loss or score of each stage, with both runs' lines; those that both have come first."""
    names: dict[tuple[str, str, str], int] = {}
    for run in (a, b):
        for stage, curve in run.curves.items():
            for kind in ("losses", "scores"):
                for name in curve.get(kind, {}):
                    names[stage, kind, name] = names.get((stage, kind, name), 0) + 1
    panels = []
    for stage, kind, name in sorted(names, key=lambda key: -names[key])[:MOST_PANELS]:
        lines = tuple(Line(side, _points(run.curves.get(stage, {}), kind, name), dots=kind == "scores")
                      for side, run in (("A", a), ("B", b)))
        panels.append(Panel(f"{stage}: {name}", "iteration", lines, log=kind == "losses"))
    return panels


def _points(curve: dict, kind: str, name: str) -> tuple[tuple[float, float, None], ...]:
    found = curve.get(kind, {}).get(name, [])
    pairs = zip(curve.get("steps", []), found) if kind == "losses" else found
    return tuple((float(step), float(value), None) for step, value in pairs if value is not None)


def turntable(run: Told, width: int = WIDTH) -> Tensor:
    """[F, H, width, 3] in [0, 1]: its turntable, else its sheet; one gray picture where there is neither."""
    from PIL import Image, ImageSequence

    stem = str(run.path)[: -len("manifest.json")]
    for path in (Path(f"{stem}turntable.webp"), Path(f"{stem}sheet.png")):
        try:
            with Image.open(path) as file:
                size = width, max(1, round(file.height * width / file.width))
                frames = [np.array(frame.convert("RGB").resize(size)) for frame in ImageSequence.Iterator(file)][:MOST_FRAMES]
            return torch.from_numpy(np.stack(frames)).float() / 255
        except Exception:  # Pillow's own types for every kind of damage; the other run is still worth seeing
            continue
    return torch.full((1, width, width, 3), 0.6)


def side_by_side(first: Tensor, second: Tensor, names: tuple[str, str]) -> Tensor:
    """[F, H, W, 3]: two turntables next to each other, turning together, with a name below each.

    The shorter one is shown at the same angles: frame k of F is its frame k * own / F.
    """
    count, height = max(len(first), len(second)), max(first.shape[1], second.shape[1])
    sides = []
    for frames, name in zip((first, second), names, strict=True):
        padded = torch.ones(len(frames), height, *frames.shape[2:])
        padded[:, : frames.shape[1]] = frames
        cells = [labeled(frame, name) for frame in padded]
        sides.append(torch.stack([cells[k * len(cells) // count] for k in range(count)]))
    return torch.cat(sides, dim=2)
