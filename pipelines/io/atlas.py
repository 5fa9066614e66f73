"""Several materials in one texture.

A picture is copied as far as the faces reach into it, repetitions written out, pixel for pixel; a plain color becomes
a small square; vertex colors, alone or times a picture, become a cell per face.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..core.mesh import Mesh
from .color import linear_to_srgb, srgb_to_linear
from .limits import MATERIALS, PICTURE_SIDE, PIXELS, within
from .mesh_notes import Notes
from .surface_parts import Look, Soup

PAD = 2  # pixels around a copied picture, so that bilinear samples at its border see it alone
SOLID = 4  # pixels along a plain color's square
REPEATED_PIXELS = 4096 * 4096  # of all copies together where pictures repeat; beyond, they shrink
REPEATS = 4  # repetitions along one axis that are written out for one face; beyond, the face gets a cell
CELL = (4, 64)  # least and most pixels along a face's cell
CELL_PIXELS = PIXELS // 4
FILL = 0.8  # share of the largest texture that tiles may take before they are shrunk: shelves leave gaps
_CHUNK = 1 << 21  # pixels of cells that are drawn at once


@dataclass
class _Tile:
    """A rectangle of the atlas.

    size: (height, width) pixels.  faces: [N] ids; spots: [N, 3, 2] (x, y) of their corners, in pixels.
    """

    size: tuple[int, int]
    faces: Tensor
    spots: np.ndarray
    look: Look
    shrinks = False

    def draw(self) -> Tensor:
        """[H, W, 3] sRGB."""
        return linear_to_srgb(torch.tensor(self.look.color).clamp(0, 1)).expand(*self.size, 3)


@dataclass
class _Copy(_Tile):
    """Part of a picture; ``rows`` and ``columns`` of it in the order in which the tile shows them."""

    rows: np.ndarray
    columns: np.ndarray
    shrinks = True

    def draw(self) -> Tensor:
        assert self.look.picture is not None
        image = self.look.picture[torch.from_numpy(self.rows)][:, torch.from_numpy(self.columns)]
        factor = torch.tensor(self.look.color)
        if not bool((factor == 1).all()):
            image = linear_to_srgb((srgb_to_linear(image) * factor).clamp(0, 1))
        return image


@dataclass
class _Cells(_Tile):
    """A cell of ``side`` pixels per face, ``across`` of them in a row.

    colors: [N, 3, 3] linear, of the corners.  uvs: [N, 3, 2], or None where no picture is shown.
    """

    side: int
    across: int
    colors: Tensor
    uvs: np.ndarray | None

    def draw(self) -> Tensor:
        grid = torch.linspace(0, 1, self.side - 1).tolist() + [1 + 1 / max(self.side - 2, 1)]
        c, b = torch.meshgrid(torch.tensor(grid), torch.tensor(grid), indexing="ij")
        weights = torch.stack([1 - b - c, b, c], -1).reshape(-1, 3)  # beyond the face the colors go on: no dark seams
        count = -(-len(self.colors) // self.across) * self.across
        cells = torch.zeros(count, self.side * self.side, 3)
        step = max(_CHUNK // self.side**2, 1)
        for begin in range(0, len(self.colors), step):
            part = slice(begin, begin + step)
            linear = torch.einsum("pk,nkc->npc", weights, self.colors[part])
            if self.uvs is not None and self.look.picture is not None:
                spots = np.einsum("pk,nkc->npc", weights.numpy(), self.uvs[part])
                linear = linear * srgb_to_linear(_sampled(self.look, spots))
            cells[begin : begin + len(linear)] = linear_to_srgb(linear.clamp(0, 1))
        rows = cells.reshape(-1, self.across, self.side, self.side, 3).permute(0, 2, 1, 3, 4)
        return rows.reshape(*self.size, 3)


def build_atlas(soup: Soup, notes: Notes) -> Mesh:
    """The soup as one mesh with one texture; ``notes`` hears what that cost."""
    tiles = list(_tiles(soup, notes))
    scale = _scale(tiles)
    if scale < 1:  # nothing is drawn yet: a picture that repeats may be far larger than the atlas
        notes.say(f"textures were shrunk to {100 * scale:.0f} % of their sides to fit into one")
        tiles = list(_tiles(replace(soup, looks=_shrunk(soup.looks, scale)), Notes()))
    corners, (height, width) = _shelves([tile.size for tile in tiles])
    texture, spots = torch.zeros(height, width, 3), np.zeros((len(soup.faces), 3, 2))
    for tile, (y, x) in zip(tiles, corners, strict=True):
        texture[y : y + tile.size[0], x : x + tile.size[1]] = tile.draw()
        spots[tile.faces.numpy()] = (tile.spots + (x, y)) / (width, height)
    uvs, index = np.unique(spots.reshape(-1, 2).astype(np.float32), axis=0, return_inverse=True)
    pictures = len({id(tile.look.picture) for tile in tiles if tile.look.picture is not None})
    notes.say(f"{pictures} texture{'s' * (pictures != 1)} and {len(soup.looks)} material{'s' * (len(soup.looks) != 1)} "
              f"were laid out in one texture of {width} x {height} pixels")
    return Mesh(soup.vertices, soup.faces, None, torch.from_numpy(uvs), torch.from_numpy(index.reshape(-1, 3)), texture)


def _tiles(soup: Soup, notes: Notes) -> Iterator[_Tile]:
    """The atlas' rectangles; every face is in exactly one."""
    numbers, counts = soup.look.unique(return_counts=True)
    within("mesh", len(numbers), MATERIALS, "materials, some of them with textures")
    groups = soup.look.argsort(stable=True).split(counts.tolist())
    for number, faces in zip(numbers.tolist(), groups, strict=True):
        look = soup.looks[number]
        placed = torch.zeros(len(faces), dtype=torch.bool)
        if look.picture is not None:
            if soup.uvs is not None and soup.face_uvs is not None:
                placed = (soup.face_uvs[faces] >= 0).all(1)
            if not bool(placed.all()):
                lost = int((~placed).sum())
                notes.say(f"{lost} faces have a texture but no texture coordinates: they show its mean color")
        if bool(placed.any()):
            yield from _shown(soup, look, faces[placed], notes)
        if not bool(placed.all()):
            yield from _plain(soup, _mean(look), faces[~placed], notes)


def _shown(soup: Soup, look: Look, faces: Tensor, notes: Notes) -> Iterator[_Tile]:
    """Faces of one picture that have texture coordinates."""
    assert soup.uvs is not None and soup.face_uvs is not None and look.picture is not None
    uvs = _nearest_repetition(soup.uvs[soup.face_uvs[faces]].double().numpy(), look)
    if _varies(soup, faces):
        notes.say("vertex colors times texture: written into a new texture, a cell per face")
        yield from _cells(soup, look, faces, uvs, notes)
        return
    wide = (np.abs(uvs - 0.5) > REPEATS).any((1, 2))
    if wide.any():
        notes.say(f"{int(wide.sum())} faces repeat their texture more than {REPEATS} times: each got a cell of its own")
        yield from _cells(soup, look, faces[torch.from_numpy(wide)], uvs[wide], notes)
    if not wide.all():
        yield _copied(look, faces[torch.from_numpy(~wide)], uvs[~wide])


def _copied(look: Look, faces: Tensor, uvs: np.ndarray) -> _Copy:
    assert look.picture is not None
    height, width = look.picture.shape[:2]
    spots = uvs * (width, height)
    inside = bool((uvs >= -1e-4).all() and (uvs <= 1 + 1e-4).all())
    low, high = np.floor(spots.min((0, 1))).astype(int) - PAD, np.ceil(spots.max((0, 1))).astype(int) + PAD
    columns, rows = (
        wrapped(np.arange(low[k], high[k]), (width, height)[k], "clamp" if inside else look.wraps[k]) for k in (0, 1)
    )
    return _Copy((len(rows), len(columns)), faces, spots - low, look, rows, columns)


def _plain(soup: Soup, look: Look, faces: Tensor, notes: Notes) -> Iterator[_Tile]:
    """Faces without a picture."""
    if _varies(soup, faces):
        yield from _cells(soup, look, faces, None, notes)
        return
    if soup.colors is not None:
        tint = torch.tensor(look.color) * soup.colors[soup.faces[faces[0], 0]]
        look = Look(tuple(tint.tolist()))
    yield _Tile((SOLID, SOLID), faces, np.full((len(faces), 3, 2), SOLID / 2), look)


def _cells(soup: Soup, look: Look, faces: Tensor, uvs: np.ndarray | None, notes: Notes) -> Iterator[_Tile]:
    """A cell per face, as large as the picture asks and the atlas allows."""
    needed = float(CELL[0])
    if uvs is not None and look.picture is not None:
        span = np.ptp(uvs, axis=1) * look.picture.shape[1::-1]
        needed = float(np.quantile(span.max(1), 0.95)) + 2
    side = int(min(max(needed, CELL[0]), CELL[1], math.sqrt(CELL_PIXELS / len(faces))))
    if side < 3:
        notes.say(f"colors within {len(faces)} faces were dropped: too many for one texture")
        yield _Tile((SOLID, SOLID), faces, np.full((len(faces), 3, 2), SOLID / 2), _mean(look))
        return
    across = math.ceil(math.sqrt(len(faces)))
    down = -(-len(faces) // across)
    factor = torch.tensor(look.color)
    colors = factor.expand(len(faces), 3, 3) if soup.colors is None else soup.colors[soup.faces[faces]] * factor
    corner = np.arange(len(faces))
    corner = np.stack([corner % across, corner // across], -1) * side
    unit = np.array([[0.5, 0.5], [side - 1.5, 0.5], [0.5, side - 1.5]])
    yield _Cells((down * side, across * side), faces, corner[:, None] + unit, look, side, across, colors, uvs)


def _varies(soup: Soup, faces: Tensor) -> bool:
    if soup.colors is None:
        return False
    colors = soup.colors[soup.faces[faces]].reshape(-1, 3)
    return not bool((colors == colors[:1]).all())


def _mean(look: Look) -> Look:
    """The look as a plain color."""
    if look.picture is None:
        return look
    mean = srgb_to_linear(look.picture).mean((0, 1)) * torch.tensor(look.color)
    return Look(tuple(mean.tolist()))


def _nearest_repetition(uvs: np.ndarray, look: Look) -> np.ndarray:
    """[N, 3, 2]: each face moved by whole repetitions to where the picture begins."""
    for axis, wrap in enumerate(look.wraps):
        period = {"repeat": 1, "mirror": 2, "clamp": 0}[wrap]
        values = uvs[..., axis]
        if period and (values.min() < -1e-4 or values.max() > 1 + 1e-4):
            values -= np.floor(values.min(1, keepdims=True) / period + 1e-6) * period
    return uvs


def wrapped(index: np.ndarray, size: int, wrap: str) -> np.ndarray:
    """Pixel numbers, some outside of a picture -> those that are shown there."""
    if wrap == "clamp":
        return index.clip(0, size - 1)
    if wrap == "repeat":
        return index % size
    turned = index % (2 * size)
    return np.where(turned < size, turned, 2 * size - 1 - turned)


def _sampled(look: Look, uvs: np.ndarray) -> Tensor:
    """[..., 3] bilinear samples of the look's picture, wrapped."""
    assert look.picture is not None
    height, width = look.picture.shape[:2]
    spots = uvs * (width, height) - 0.5
    low = np.floor(spots).astype(np.int64)
    part = torch.from_numpy((spots - low).astype(np.float32))
    columns = [torch.from_numpy(wrapped(low[..., 0] + k, width, look.wraps[0])) for k in (0, 1)]
    rows = [torch.from_numpy(wrapped(low[..., 1] + k, height, look.wraps[1])) for k in (0, 1)]
    fx, fy = part[..., :1], part[..., 1:]
    lines = [look.picture[r, columns[0]] * (1 - fx) + look.picture[r, columns[1]] * fx for r in rows]
    return lines[0] * (1 - fy) + lines[1] * fy


def _shrunk(looks: list[Look], scale: float) -> list[Look]:
    """The looks with smaller pictures, each shrunk once."""
    known: dict[int, Tensor] = {}
    for look in looks:
        picture = look.picture
        if picture is not None and id(picture) not in known:
            size = (max(round(picture.shape[0] * scale), 1), max(round(picture.shape[1] * scale), 1))
            planes = torch.nn.functional.interpolate(picture.permute(2, 0, 1)[None], size, mode="area")
            known[id(picture)] = planes[0].permute(1, 2, 0).contiguous()
    return [look if look.picture is None else replace(look, picture=known[id(look.picture)]) for look in looks]


def _scale(tiles: list[_Tile]) -> float:
    """By how much pictures shrink so that all tiles fit, and so that repetitions do not make much more of them."""
    fixed = sum(t.size[0] * t.size[1] for t in tiles if not t.shrinks)
    free = sum(t.size[0] * t.size[1] for t in tiles if t.shrinks)
    side = max((max(t.size) for t in tiles if t.shrinks), default=1)
    pictures = {id(t.look.picture): t.look.picture.shape for t in tiles if t.shrinks and t.look.picture is not None}
    own = sum((height + 2 * PAD) * (width + 2 * PAD) for height, width, _ in pictures.values())
    room = max(min(FILL * PIXELS - fixed, max(REPEATED_PIXELS, own)), 1)
    return min(1.0, math.sqrt(room / max(free, 1)), PICTURE_SIDE / 2 / side)


def _shelves(sizes: list[tuple[int, int]]) -> tuple[list[tuple[int, int]], tuple[int, int]]:
    """((y, x) of every rectangle, (height, width) of the whole): rows of falling height, filled from the left."""
    area = sum(h * w for h, w in sizes)
    width = max(max(w for _, w in sizes), math.ceil(math.sqrt(area)))
    spots, y, x, shelf = [(0, 0)] * len(sizes), 0, 0, 0
    for index in sorted(range(len(sizes)), key=lambda i: (-sizes[i][0], i)):
        h, w = sizes[index]
        if x + w > width:
            y, x, shelf = y + shelf, 0, 0
        spots[index], x, shelf = (y, x), x + w, max(shelf, h)
    return spots, (y + shelf, width)
