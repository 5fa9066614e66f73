"""How good StdGEN's small networks are on characters they were never trained on."""

from pathlib import Path

import pack  # noqa: F401  (makes ``lift123`` importable)
import torch
from lift123.pipelines.core.character_views import LEVEL_NAMES, CharacterViews
from lift123.pipelines.loaders import embedded_characters as small
from lift123.pipelines.stages.characters.canonicalize import CanonicalSettings, canonicalize
from lift123.pipelines.stages.characters.multiview import MultiViewSettings, draw_views
from lift123.pipelines.stages.characters.picture import CharacterPicture
from lift123.pipelines.toybox.characters import render_levels
from lift123.pipelines.toybox.characters.character import heldout_character
from lift123.pipelines.toybox.characters.render import input_picture

SIDE = small.SMALL_SIZE[0]
POSED_SIDE = 256


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    """dB, for pictures in [0, 1]."""
    return float(-10 * torch.log10((a - b).square().mean().clamp_min(1e-10)))


def overlap(a: torch.Tensor, b: torch.Tensor) -> float:
    """Intersection over union of two coverages."""
    a, b = a > 0.5, b > 0.5
    return float((a & b).sum() / (a | b).sum().clamp_min(1))


def compare(made: CharacterViews, truth: CharacterViews) -> dict[str, float]:
    """PSNR of colors, overlap of outlines, mean angle between normals where both show something; per level."""
    found = {}
    for i, name in enumerate(made.levels):
        j = truth.index(name)
        both = (made.alpha[i] > 0.5) & (truth.alpha[j] > 0.5)
        cosine = (made.normal[i] * torch.nn.functional.normalize(truth.normal[j], dim=-1)).sum(-1)[both].clamp(-1, 1)
        found[f"{name}: PSNR"] = psnr(made.color[i], truth.color[j])
        found[f"{name}: overlap"] = overlap(made.alpha[i], truth.alpha[j])
        found[f"{name}: degrees"] = float(cosine.acos().mean().rad2deg())
    return found


def mean(rows: list[dict[str, float]]) -> dict[str, float]:
    """Means of the same entries of several rows."""
    return {key: round(sum(r[key] for r in rows) / len(rows), 3) for key in rows[0]}


def measure(weights: Path, count: int, steps: int | None = None, pictures: list | None = None) -> dict:
    """Means over held-out characters: multi-view from the true A-pose, canonicalizer alone, and one after the other.

    pictures: collects (posed input, canonical, true front, made views, true views) of each character.
    """
    draw = small.load_small_multiview(folder=weights) if (weights / small.MULTIVIEW_FILE).exists() else None
    stand = small.load_small_canonical(folder=weights) if (weights / small.CANONICAL_FILE).exists() else None
    rows, fronts, chained = [], [], []
    for index in range(count):
        character = heldout_character(index)
        truth = render_levels(character.layers, SIDE)
        posed = input_picture(character, 0, POSED_SIDE)
        made, canonical = None, None
        if draw:
            made = draw_views(draw, truth.color[0, 0], MultiViewSettings(steps=steps, preview_every=0))
            rows.append({**compare(made, truth), "white: PSNR": psnr(torch.ones(()), truth.color[0])})
        if stand:
            shown = CharacterPicture(posed[..., :3], posed[..., 3])
            canonical = canonicalize(stand, shown, CanonicalSettings(steps=steps, preview_every=0))
            spare = (SIDE - small.SMALL_SIZE[1]) // 2
            front = truth.color[0, 0][:, spare : spare + small.SMALL_SIZE[1]]
            outlines = [(p < 0.95).any(-1).float() for p in (canonical.picture, front, canonical.shown)]
            fronts.append({"PSNR": psnr(canonical.picture, front), "PSNR of the given picture": psnr(canonical.shown, front),
                           "overlap": overlap(*outlines[:2]), "overlap of the given picture": overlap(outlines[2], outlines[1])})
        if draw and canonical is not None:
            chained.append(compare(draw_views(draw, canonical.picture, MultiViewSettings(steps=steps, preview_every=0)), truth))
        if pictures is not None:
            pictures.append((posed, canonical, truth.color[0, 0], made, truth))
    found = {"held-out characters": count, "levels": list(LEVEL_NAMES)}
    parts = (("multi-view", rows), ("canonical", fronts), ("multi-view of the canonical picture", chained))
    return {**found, **{name: mean(r) for name, r in parts if r}}


def sheet(pictures: list, path: Path, zoom: int = 2) -> None:
    """Writes a PNG: per character what was given, the A-pose made and true, then made over true views of all levels."""
    from PIL import Image

    rows = []
    for posed, canonical, front, made, truth in pictures:
        given = torch.nn.functional.interpolate((posed[..., :3] * posed[..., 3:] + 1 - posed[..., 3:]).movedim(-1, 0)[None],
                                                (SIDE, SIDE), mode="area")[0].movedim(0, -1)
        stood = torch.ones(SIDE, SIDE, 3)
        if canonical is not None:
            spare = (SIDE - canonical.picture.shape[1]) // 2
            stood[:, spare : SIDE - spare] = canonical.picture
        if made is None:
            rows.append(torch.cat([given, stood, front], 1))
            continue
        for level in range(len(made.levels)):
            first = torch.cat([given, stood, front] if level == 0 else [torch.ones(SIDE, SIDE, 3)] * 3, 1)
            both = [torch.cat([first if v is made else torch.ones_like(first), *v.color[level], *v.encoded_normal()[level]], 1)
                    for v in (made, truth)]
            rows.append(torch.cat(both))
    pixels = (torch.cat(rows).clamp(0, 1) * 255 + 0.5).to(torch.uint8).repeat_interleave(zoom, 0).repeat_interleave(zoom, 1)
    Image.fromarray(pixels.numpy()).save(path)
