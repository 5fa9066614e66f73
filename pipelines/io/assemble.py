"""Faces with many materials become one ``Mesh``: vertex colors, one texture as it is, or an atlas of several."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..core.errors import InputError
from ..core.mesh import Mesh
from .atlas import build_atlas
from .color import linear_to_srgb, srgb_to_linear
from .mesh_notes import Notes
from .surface_parts import Look, Soup

FARTHEST_UV = 1e6  # of texture coordinates: in single precision a texture that repeats so often shows nothing
_MIX = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio: spreads what differs in few bits
_ROWS = 256  # of a texture that are colored at once
OUTSIDE = 1e-4  # how far texture coordinates may leave [0, 1] before their picture counts as repeated


def assemble(soup: Soup, notes: Notes) -> Mesh:
    """One mesh of everything in ``soup``; ``notes`` hears what could not be kept.

    Without pictures the materials become vertex colors; one picture inside [0, 1] is kept as it is; anything else
    is laid out in a new texture.
    """
    soup = _without_even_colors(soup)
    if not _has_pictures(soup):
        return _colored(soup, notes)
    first = soup.looks[int(soup.look[0])]
    if _is_one_picture(soup, first):
        assert first.picture is not None and soup.uvs is not None and soup.face_uvs is not None
        texture, factor = first.picture, torch.tensor(first.color)[None]
        if not bool((factor == 1).all()):
            texture = torch.cat([linear_to_srgb((srgb_to_linear(band) * factor).clamp(0, 1)) for band in texture.split(_ROWS)])
        return Mesh(soup.vertices, soup.faces, None, soup.uvs, soup.face_uvs, texture)
    return build_atlas(soup, notes)


def _without_even_colors(soup: Soup) -> Soup:
    """Vertex colors that are everywhere the same are a factor of the materials."""
    if soup.colors is None or not bool((soup.colors == soup.colors[:1]).all()):
        return soup
    even = soup.colors[0]
    looks = [replace(look, color=tuple((torch.tensor(look.color) * even).tolist())) for look in soup.looks]
    return replace(soup, looks=looks, colors=None)


def _has_pictures(soup: Soup) -> bool:
    used = [soup.looks[i] for i in soup.look.unique().tolist()]
    return any(look.picture is not None for look in used)


def _is_one_picture(soup: Soup, first: Look) -> bool:
    """Whether all faces show one picture in one color, with coordinates inside of it."""
    used = [soup.looks[i] for i in soup.look.unique().tolist()]
    if soup.colors is not None or soup.uvs is None or soup.face_uvs is None or bool((soup.face_uvs < 0).any()):
        return False
    if any(look.picture is not first.picture or look.color != first.color for look in used):
        return False
    shown = soup.uvs[soup.face_uvs]
    return bool(((shown >= -OUTSIDE) & (shown <= 1 + OUTSIDE)).all())


def _colored(soup: Soup, notes: Notes) -> Mesh:
    uvs, face_uvs = soup.uvs, soup.face_uvs
    if face_uvs is not None and bool((face_uvs < 0).any()):
        share = 100 * float((face_uvs < 0).any(1).float().mean())
        notes.say(f"texture coordinates were dropped: {share:.0f} % of the faces have none")
        uvs = face_uvs = None
    factors = torch.tensor([look.color for look in soup.looks])
    if bool((factors == 1).all()) and soup.colors is None:
        return Mesh(soup.vertices, soup.faces, None, uvs, face_uvs)
    soup = _unshared(soup, factors)
    look = torch.zeros(len(soup.vertices), dtype=torch.int64)
    look[soup.faces.reshape(-1)] = soup.look.repeat_interleave(3)
    colors = factors[look] if soup.colors is None else factors[look] * soup.colors
    return Mesh(soup.vertices, soup.faces, linear_to_srgb(colors.clamp(0, 1)), uvs, face_uvs)


def _unshared(soup: Soup, factors: Tensor) -> Soup:
    """No vertex stands between two materials of different colors: it is doubled there."""
    look = torch.zeros(len(soup.vertices), dtype=torch.int64)
    look[soup.faces.reshape(-1)] = soup.look.repeat_interleave(3)
    if bool((factors[look[soup.faces]] == factors[soup.look][:, None]).all()):
        return soup
    keys, index = torch.unique(soup.faces * len(factors) + soup.look[:, None], return_inverse=True)
    old = torch.div(keys, len(factors), rounding_mode="floor")
    colors = None if soup.colors is None else soup.colors[old]
    return replace(soup, vertices=soup.vertices[old], faces=index.reshape(-1, 3), colors=colors)


def weld_vertices(mesh: Mesh) -> Mesh:
    """Vertices with the same position and color become one; their order stays."""
    rows = mesh.vertices if mesh.vertex_colors is None else torch.cat([mesh.vertices, mesh.vertex_colors], dim=-1)
    raw = np.ascontiguousarray(rows.numpy() + 0.0)  # + 0.0 turns -0 into 0, their bytes differ
    first, inverse = _unique_rows(raw)
    order = np.argsort(first, kind="stable")  # keep the file's order
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    kept, new = torch.from_numpy(first[order]), torch.from_numpy(rank[inverse.reshape(-1)])
    colors = None if mesh.vertex_colors is None else mesh.vertex_colors[kept]
    return replace(mesh, vertices=mesh.vertices[kept], faces=new[mesh.faces], vertex_colors=colors)


def _unique_rows(raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(where each different row of [N, K] float32 stands first, [N] which of these each row is), in any order.

    By a number made of each row, which sorts ten times faster than rows do; where two rows share one, by the rows.
    """
    keys = np.zeros(len(raw), np.uint64)
    for column in raw.view(np.uint32).T:
        keys = (keys ^ column) * _MIX
        keys ^= keys >> np.uint64(29)
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    if not (raw[first[inverse]] == raw).all():
        _, first, inverse = np.unique(raw, axis=0, return_index=True, return_inverse=True)
    return first, inverse


def check_soup(soup: Soup, name: str) -> Soup:
    """The soup of a file; InputError for one without faces, with numbers that are none, or with faces that point astray."""
    def wrong(got: str) -> InputError:
        return InputError(name, "a mesh with faces", got, "Export the model again.")

    if not len(soup.faces):
        raise wrong("no faces (a point cloud or lines cannot be used)")
    if not bool(torch.isfinite(soup.vertices).all()):
        raise wrong("positions that are NaN, infinite or beyond single precision")
    low, high = int(soup.faces.min()), int(soup.faces.max())
    if low < 0 or high >= len(soup.vertices):
        raise wrong(f"a face that refers to vertex {low if low < 0 else high} of {len(soup.vertices)}")
    if soup.face_uvs is not None and soup.uvs is not None:
        if int(soup.face_uvs.max()) >= len(soup.uvs):
            raise wrong(f"a face that refers to texture coordinate {int(soup.face_uvs.max())} of {len(soup.uvs)}")
        if not bool((soup.uvs.abs() <= FARTHEST_UV).all()):  # NaN is not, either
            raise wrong(f"texture coordinates that are NaN, infinite or beyond {FARTHEST_UV:g}")
    if soup.colors is not None and not bool(torch.isfinite(soup.colors).all()):
        raise wrong("colors that are NaN or infinite")
    return soup
