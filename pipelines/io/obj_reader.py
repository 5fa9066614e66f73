"""Reads Wavefront OBJ with its MTL: polygons, materials, pictures beside the file, vertex colors."""

from __future__ import annotations

import itertools
import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from ..core.errors import InputError
from ..core.mesh import Mesh
from .assemble import assemble, check_soup
from .beside import files_beside
from .glb_reader import read_file
from .gltf_buffers import Beside, nothing_beside
from .gltf_entry import shown
from .limits import FACES, LINES, TEXT_BYTES, VERTICES, within
from .mesh_notes import Notes
from .mtl_reader import Material, read_materials
from .obj_tables import Polygons, Table, columns
from .polygons import triangulate
from .surface_parts import Look, Soup
from .text_lines import decode_text, joined
from .text_numbers import number

_COMMENT = re.compile(r"(?<!\.)#.*")  # Windows writes 1.#IND for what is no number
_RUN = 32  # lines from which reading them all at once is worth it
LIBRARIES = 16  # material files that are read
_FREE_FORM = {"curv", "curv2", "surf", "cstype", "parm", "bevel", "vp"}


def read_obj(source: bytes | str | os.PathLike, notes: Notes | None = None, beside: Beside | None = None) -> Mesh:
    """OBJ bytes or path -> Mesh in the file's units; vertices keep their order.

    Vertex colors (``v x y z r g b``, up to 1 or up to 255), texture coordinates, materials by color or picture.
    notes:  hears what was changed or left out.
    beside: finds the files that it names; for a path by default its folder.
    Raises InputError, naming the line, for anything that is no OBJ with faces, and for files beyond ``io.limits``.
    """
    if isinstance(source, bytes | bytearray):
        data, beside = bytes(source), beside or nothing_beside
    else:
        data, beside = read_file(Path(source), "OBJ file"), beside or files_beside(Path(source).parent)
    within("OBJ file", len(data), TEXT_BYTES, "bytes of text")
    return _Reader(notes or Notes(), beside).mesh(decode_text(data))


def _bad(got: str) -> InputError:
    return InputError("OBJ file", "a Wavefront OBJ with faces", got, "Export the model again.")


@dataclass
class _Reader:
    notes: Notes
    beside: Beside
    points: Table = field(default_factory=Table)
    uvs: Table = field(default_factory=Table)
    faces: Polygons = field(default_factory=Polygons)
    names: dict[str, int] = field(default_factory=lambda: {"": 0})
    libraries: list[str] = field(default_factory=list)
    current: int = 0

    def mesh(self, text: str) -> Mesh:
        """The mesh of a whole file's text."""
        within("OBJ file", text.count("\n"), LINES, "lines")
        within("OBJ file", text.count("\nv "), VERTICES, "vertices")
        within("OBJ file", text.count("\nf "), FACES, "faces")
        if "\n#MRGB" in text:
            self.notes.say("vertex colors in comments (ZBrush) were dropped")
        seen = 0
        for word, group in itertools.groupby(joined(text).splitlines(), key=lambda line: line[:2]):
            lines = list(group)
            if not self._read_run(word, lines):
                for place, line in enumerate(lines, seen + 1):
                    first, _, rest = line.strip().replace("\t", " ").partition(" ")
                    try:
                        self._read(first, rest)
                    except (ValueError, IndexError):
                        raise _bad(f"line {place}: {shown(line.strip())}") from None
            seen += len(lines)
            within("OBJ file", len(self.points), VERTICES, "vertices")
            within("OBJ file", len(self.uvs), 3 * VERTICES, "texture coordinates")
            within("OBJ file", len(self.faces), FACES, "faces")
        if not len(self.faces):
            raise _bad("no faces")
        return self._assembled()

    def _read_run(self, word: str, lines: list[str]) -> bool:
        """Reads lines that begin alike all at once, if they are regular; False: one by one, please."""
        if word in ("vn", "# "):
            return True
        if len(lines) < _RUN or word not in ("v ", "vt", "f "):
            return False
        if word == "f ":
            within("OBJ file", len(self.faces) + len(lines), FACES, "faces")
            return self.faces.add_run(lines, len(self.points), len(self.uvs), self.current)
        within("OBJ file", len(self.points) + len(lines), VERTICES * (1 if word == "v " else 3), "lines of one kind")
        found = columns(lines, word.rstrip() + " ")
        if found is None or found.shape[1] < (3 if word == "v " else 1):
            return False
        if word == "v ":
            self.points.add(found[:, :6])
        else:
            up = 1 - found[:, 1] if found.shape[1] > 1 else np.ones(len(found))
            self.uvs.add(np.stack([found[:, 0], up], -1))
        return True

    def _read(self, word: str, rest: str) -> None:
        if word == "v":
            point = [number(x) for x in _COMMENT.sub("", rest).split()]
            if len(point) < 3:
                raise ValueError
            self.points.append(point[:6])
        elif word == "vt":
            values = [number(x) for x in _COMMENT.sub("", rest).split()]
            self.uvs.append([values[0], 1 - values[1] if len(values) > 1 else 1.0])
        elif word == "f" or word == "fo":
            items = _COMMENT.sub("", rest).split()
            if len(items) < 3:
                self.notes.say("faces of fewer than three corners were dropped")
            else:
                self.faces.append(items, len(self.points), len(self.uvs), self.current)
        elif word == "usemtl":
            self.current = self.names.setdefault(rest.strip(), len(self.names))
        elif word == "mtllib":
            self.libraries.append(rest.strip())
        elif word in ("l", "p"):
            self.notes.say("points and lines were dropped")
        elif word in _FREE_FORM:
            self.notes.say("free-form curves and surfaces were dropped")

    def _assembled(self) -> Mesh:
        table = self.points.whole(6)[:, :3]
        corners, uv_corners, sizes, used = self.faces.whole()
        high, low = int(corners.max()), int(corners.min())
        if low < 0 or high >= len(table):
            raise _bad(f"a face that refers to vertex {(low if low < 0 else high) + 1} of {len(table)}")
        with np.errstate(over="ignore", invalid="ignore"):
            picked = triangulate(table, corners, sizes, "OBJ file", self.notes)
            vertices = torch.from_numpy(table.astype(np.float32))
        look = torch.from_numpy(np.repeat(used, sizes - 2))
        soup = Soup(vertices, torch.from_numpy(corners[picked]), look)
        if len(self.uvs) and int(uv_corners.max()) >= 0:
            face_uvs = torch.from_numpy(uv_corners[picked])
            face_uvs[(face_uvs < 0).any(1)] = -1
            if bool((face_uvs >= 0).any()):
                soup = replace(soup, uvs=torch.from_numpy(self.uvs.whole(2)).float(), face_uvs=face_uvs)
        check_soup(soup, "OBJ file")
        return self._painted(soup)

    def _painted(self, soup: Soup) -> Mesh:
        """With materials; vertex colors only where no picture is shown."""
        materials = self._materials()
        looks = [materials[name].look() if name in materials else Look() for name in self.names]
        colors = self._vertex_colors()
        pictures = any(looks[i].picture is not None for i in soup.look.unique().tolist())
        if colors is not None and pictures:
            self.notes.say("vertex colors were dropped: the texture is shown")
        elif colors is not None:
            if any(looks[i].color != (1.0, 1.0, 1.0) for i in soup.look.unique().tolist()):
                self.notes.say("colors of materials were dropped: the vertex colors are shown")
            return replace(assemble(replace(soup, looks=[Look()], look=soup.look * 0), self.notes), vertex_colors=colors)
        uvs = soup.uvs
        moved = {i: m for i, (name, m) in enumerate((n, materials.get(n)) for n in self.names) if m and m.moves}
        if moved and uvs is not None and soup.face_uvs is not None:
            soup = check_soup(_moved(soup, moved), "OBJ file")
        return assemble(replace(soup, looks=looks), self.notes)

    def _vertex_colors(self) -> torch.Tensor | None:
        """[V, 3] sRGB, or None; 0..255 where a value is above one."""
        if self.points.narrowest < 6:
            if self.points.widest >= 6:
                self.notes.say("vertex colors were dropped: some vertices have none")
            return None
        colors = torch.from_numpy(self.points.whole(6)[:, 3:]).float()
        if not bool(torch.isfinite(colors).all()):
            raise _bad("vertex colors that are NaN or infinite")
        if float(colors.max()) > 1:
            colors = colors / 255
            self.notes.say("vertex colors from 0 to 255 were scaled")
        return colors.clamp(0, 1)

    def _materials(self) -> dict[str, Material]:
        found: dict[str, Material] = {}
        libraries = list(dict.fromkeys(self.libraries))
        if len(libraries) > LIBRARIES:
            self.notes.say(f"{len(libraries) - LIBRARIES} material libraries were not read")
        for line in libraries[:LIBRARIES]:
            for name in [line] if self.beside(line) is not None else line.split():
                raw = self.beside(name)
                if raw is None:
                    self.notes.say(f"materials were dropped: {shown(name)[1:-1]} is not beside the file")
                else:
                    found |= read_materials(decode_text(raw), self.beside, self.notes)
        lost = [name for name in self.names if name and name not in found]
        if lost and self.libraries:
            self.notes.say(f"{len(lost)} materials are not in the file's library, for example {shown(lost[0])}")
        return found


def _moved(soup: Soup, materials: dict[int, Material]) -> Soup:
    """Texture coordinates as the materials' offsets and scales move them: one copy of them per material."""
    assert soup.uvs is not None and soup.face_uvs is not None
    tables, face_uvs = [soup.uvs], soup.face_uvs.clone()
    for index, material in materials.items():
        faces = (soup.look == index)[:, None] & (face_uvs >= 0)
        face_uvs = torch.where(faces, face_uvs + sum(len(t) for t in tables), face_uvs)
        tables.append(material.moved(soup.uvs))
    return replace(soup, uvs=torch.cat(tables), face_uvs=face_uvs)

