"""Reads PLY, text or binary: polygons with vertex or face colors, texture coordinates and pictures beside the file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..core.errors import InputError
from ..core.mesh import Mesh
from .assemble import assemble, check_soup
from .gltf_buffers import Beside, nothing_beside
from .limits import ALL_PIXELS, VERTICES, within
from .mesh_notes import Notes
from .pictures import OBJ_FORMATS, read_picture
from .ply_elements import Element, read_elements
from .polygons import triangulate
from .surface_parts import Look, Soup

_UV = (("s", "t"), ("u", "v"), ("texture_u", "texture_v"))
_COLORS = (("red", "green", "blue"), ("r", "g", "b"), ("diffuse_red", "diffuse_green", "diffuse_blue"))
_CORNERS = ("vertex_indices", "vertex_index")


def read_ply(data: bytes, notes: Notes | None = None, beside: Beside = nothing_beside) -> Mesh:
    """PLY bytes -> Mesh in the file's units.

    notes: hears what was changed or left out.  beside: finds the pictures that it names.
    Raises InputError for anything that is no PLY with faces, and for files beyond ``io.limits``.
    """
    notes = notes or Notes()
    elements, pictures = read_elements(data, (*_CORNERS, "texcoord"))
    soup, colors = _soup(elements, notes)
    used, looks, pixels = set(soup.look.unique().tolist()), [], 0
    for k, name in enumerate(pictures[: max(used) + 1]):
        looks.append(_look(name, beside, notes) if k in used else Look())
        pixels += 0 if looks[k].picture is None else looks[k].picture[..., 0].numel()
        within("PLY file", pixels, ALL_PIXELS, "pixels in all pictures", "Make its textures smaller.")
    looks = looks or [Look()]
    soup = check_soup(replace(soup, looks=looks, look=soup.look.clamp(0, len(looks) - 1)), "PLY file")
    shown = soup.uvs is not None and any(look.picture is not None for look in looks)
    if colors is None:
        return assemble(soup, notes)
    if shown:
        notes.say("colors of vertices or faces were dropped: the texture is shown")
        return assemble(soup, notes)
    mesh = assemble(replace(soup, looks=[Look()], look=soup.look * 0), notes)
    if len(colors) == len(mesh.vertices):
        return replace(mesh, vertex_colors=colors)
    return replace(mesh, vertices=mesh.vertices[mesh.faces.reshape(-1)], faces=torch.arange(mesh.faces.numel()).reshape(-1, 3),
                   vertex_colors=colors.repeat_interleave(3, 0))


def _bad(got: str, remedy: str = "Export the model again.") -> InputError:
    return InputError("PLY file", "a PLY with faces", got, remedy)


def _soup(elements: dict[str, Element], notes: Notes) -> tuple[Soup, Tensor | None]:
    """(faces and texture coordinates, colors: one row per vertex or one per face)."""
    vertex, face = elements.get("vertex"), elements.get("face")
    if vertex is None or any(axis not in vertex.columns for axis in "xyz"):
        raise _bad("vertices without x, y and z")
    if "tristrips" in elements and (face is None or not face.count):
        raise _bad("triangle strips", "Export it with plain faces.")
    if face is None or not face.count:
        kind = "Gaussian splats" if "f_dc_0" in vertex.columns else "points"
        raise _bad(f"{vertex.count:,} {kind} without faces", "Make a surface of it first (MeshLab: Screened Poisson), or "
                   "render it from some sides and give the pictures to Given Views Prior.")
    within("PLY file", vertex.count, VERTICES, "vertices")
    lists = next((face.lists[name] for name in _CORNERS if name in face.lists), None)
    if lists is None:
        raise _bad("faces without vertex_indices")
    kept = lists.sizes >= 3
    if not kept.all():
        notes.say("faces of fewer than three corners were dropped")
    if not kept.any():
        raise _bad("faces of fewer than three corners only")
    corners, sizes = _indices(lists.values[np.repeat(kept, lists.sizes)]), lists.sizes[kept]
    points = np.stack([vertex.columns[axis] for axis in "xyz"], -1).astype(np.float64)
    if int(corners.min()) < 0 or int(corners.max()) >= len(points):
        raise _bad(f"a face that refers to vertex {int(corners.max())} of {len(points)}")
    with np.errstate(over="ignore", invalid="ignore"):
        picked = triangulate(points, corners, sizes, "PLY file", notes)
        vertices = torch.from_numpy(points.astype(np.float32))
    number = face.columns.get("texnumber", np.zeros(face.count))
    look = np.repeat(np.nan_to_num(number[kept]).clip(0, 1 << 20).astype(np.int64), sizes - 2)
    soup = Soup(vertices, torch.from_numpy(corners[picked]), torch.from_numpy(look))
    soup = replace(soup, **_coordinates(vertex, face, kept, soup.faces, sizes, picked, notes))
    return soup, _colors(vertex, face, kept, sizes, notes)


def _indices(values: np.ndarray) -> np.ndarray:
    """int64 of the numbers of vertices, which some programs store as floats."""
    if values.dtype.kind == "f" and not ((values == np.floor(values)) & (np.abs(values) < 1e9)).all():
        raise _bad("numbers of vertices that are no whole numbers")
    return values.astype(np.int64)


def _coordinates(vertex: Element, face: Element, kept, faces: Tensor, sizes, picked, notes: Notes) -> dict:
    """Texture coordinates of vertices, or of every corner of every face; v grows upwards in PLY."""
    own = face.lists.get("texcoord")
    if own is not None:
        if bool((own.sizes[kept] == 2 * sizes).all()):
            pairs = own.values[np.repeat(kept, own.sizes)].reshape(-1, 2)
            return {"uvs": _flipped(pairs), "face_uvs": torch.from_numpy(picked)}
        notes.say("texture coordinates were dropped: not every corner has its own")
        return {}
    for u, v in _UV:
        if u in vertex.columns and v in vertex.columns:
            return {"uvs": _flipped(np.stack([vertex.columns[u], vertex.columns[v]], -1)), "face_uvs": faces.clone()}
    return {}


def _flipped(pairs: np.ndarray) -> Tensor:
    with np.errstate(over="ignore", invalid="ignore"):
        pairs = pairs.astype(np.float32)
    return torch.from_numpy(np.stack([pairs[:, 0], 1 - pairs[:, 1]], -1))


def _colors(vertex: Element, face: Element, kept, sizes, notes: Notes) -> Tensor | None:
    """[V, 3] or [F, 3] sRGB; those of vertices where a file has both."""
    for element in (vertex, face):
        for names in _COLORS:
            if not all(name in element.columns for name in names):
                continue
            columns = [element.columns[name] for name in names]
            whole = columns[0].dtype.kind in "iu"
            colors = np.nan_to_num(np.stack(columns, -1).astype(np.float32))
            scale = float(np.iinfo(columns[0].dtype).max) if whole else 255.0 if float(colors.max()) > 1 else 1.0
            if element is face:
                notes.say("colors of faces: every face got corners of its own")
                colors = np.repeat(colors[kept], sizes - 2, 0)
            return torch.from_numpy((colors / np.float32(scale)).clip(0, 1))
    return None


def _look(name: str, beside: Beside, notes: Notes) -> Look:
    raw = beside(name)
    if raw is None:
        notes.say(f"a texture was dropped: {name[:60]!a} is not beside the file")
        return Look()
    return Look(picture=read_picture(raw, f"texture {name[:60]!a}", OBJ_FORMATS, notes))
