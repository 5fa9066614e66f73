"""Materials of OBJ files: the diffuse color and its picture, how the picture is moved, and what is left out."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from .color import srgb_to_linear
from .gltf_buffers import Beside
from .gltf_entry import shown
from .limits import ALL_PIXELS, within
from .mesh_notes import Notes
from .pictures import BLACKEST, OBJ_FORMATS, read_picture
from .surface_parts import Look, Wrap
from .text_lines import joined

# Options of a picture and how many words follow each; of -o, -s and -t up to three numbers.
_OPTIONS = {"-blendu": 1, "-blendv": 1, "-bm": 1, "-boost": 1, "-cc": 1, "-clamp": 1, "-imfchan": 1, "-mm": 2, "-o": 3,
            "-s": 3, "-t": 3, "-texres": 1, "-type": 1}
_NUMBERS = ("-o", "-s", "-t")
_DROPPED = {"map_bump": "bump map", "bump": "bump map", "norm": "normal map", "map_ks": "gloss map",
            "map_pr": "roughness map", "map_pm": "metal map", "map_d": "transparency", "disp": "displacement map"}


@dataclass
class Map:
    """A picture's name and how it lies."""

    name: str = ""
    offset: tuple[float, float] = (0.0, 0.0)
    scale: tuple[float, float] = (1.0, 1.0)
    clamp: bool = False


@dataclass
class Material:
    """Color (sRGB), picture and how the picture lies; what it glows in counts where nothing else is to be seen."""

    color: tuple[float, ...] = (1.0, 1.0, 1.0)
    picture: Tensor | None = None
    lies: Map = field(default_factory=Map)
    glow: tuple[float, ...] = ()
    maps: dict[str, Map] = field(default_factory=dict)

    @property
    def moves(self) -> bool:
        """Whether the picture is not where the texture coordinates say."""
        return self.lies.offset != (0.0, 0.0) or self.lies.scale != (1.0, 1.0)

    def moved(self, uvs: Tensor) -> Tensor:
        """Texture coordinates (v downwards) as the picture's options, whose v grows upwards, move them."""
        up = torch.stack([uvs[:, 0], 1 - uvs[:, 1]], -1)
        up = up * torch.tensor(self.lies.scale) + torch.tensor(self.lies.offset)
        return torch.stack([up[:, 0], 1 - up[:, 1]], -1)

    def look(self) -> Look:
        """As ``assemble`` wants it; a picture on black is a picture on white, as most programs show it."""
        color = tuple(srgb_to_linear(torch.tensor(self.color).clamp(0, 1)).tolist())
        if self.picture is not None and not any(color):
            color = (1.0, 1.0, 1.0)
        wrap: Wrap = "clamp" if self.lies.clamp else "repeat"
        return Look(color, self.picture, (wrap, wrap))


def read_materials(text: str, beside: Beside, notes: Notes) -> dict[str, Material]:
    """name -> material of an MTL file's text; lines that make no sense are skipped, as they change no shape.

    Words count in large and small letters, as programs write both.
    """
    found: dict[str, Material] = {}
    current = Material()
    for line in joined(text).splitlines():
        word, _, rest = line.strip().replace("\t", " ").partition(" ")
        word = word.lower()
        if word == "newmtl":
            current = found[rest.strip()] = Material()
        elif word == "kd":
            values = _numbers(rest.split()[:3])  # one number is gray
            current.color = values if len(values) == 3 else values[:1] * 3 or current.color
        elif word == "ke":
            current.glow = _numbers(rest.split()[:3])
        elif word in ("map_kd", "map_ka", "map_ke"):
            current.maps[word] = _map(rest.split(" "))
        elif word in _DROPPED:
            notes.say(f"{_DROPPED[word]} of materials was dropped")
        elif word in ("d", "tr"):
            value = _numbers(rest.split()[:1])
            if value and value[0] != (1.0 if word == "d" else 0.0):
                notes.say("transparency of materials was dropped")
    pictures = _Pictures(beside, notes)
    for material in found.values():
        _choose(material, pictures, notes)
    return found


def _choose(material: Material, pictures: _Pictures, notes: Notes) -> None:
    """Gives a material its picture: the diffuse one, else the ambient one; what it glows in where all else is black."""
    maps = material.maps
    base = maps.get("map_kd") or maps.get("map_ka")
    if base is not None:
        if "map_kd" not in maps:
            notes.say("a material without a diffuse picture: its ambient one is taken")
        material.lies, material.picture = base, pictures.of(base.name)
    shine = maps.get("map_ke")
    glows = len(material.glow) == 3 and any(material.glow)
    if shine is None and not glows:
        return
    black = not any(material.color) if material.picture is None else float(material.picture.max()) <= BLACKEST
    if not black:
        notes.say("emission of materials was dropped")
        return
    notes.say("a material without a color of its own: its emission is taken as its color")
    material.color = material.glow if glows else (1.0, 1.0, 1.0)
    material.lies, material.picture = (Map(), None) if shine is None else (shine, pictures.of(shine.name))


class _Pictures:
    """The pictures of a material file by name, each read once."""

    def __init__(self, beside: Beside, notes: Notes):
        self.beside, self.notes, self.pixels = beside, notes, 0
        self.found: dict[str, Tensor | None] = {}

    def of(self, name: str) -> Tensor | None:
        """The picture, None with a line in the notes where it is not there."""
        if name not in self.found:
            self.found[name] = self._read(name)
        return self.found[name]

    def _read(self, name: str) -> Tensor | None:
        raw = self.beside(name)
        if raw is None and " #" in name:  # a comment, if it is no part of the name
            raw = self.beside(name.partition(" #")[0])
        if raw is None:
            self.notes.say(f"a texture was dropped: {shown(name)[1:-1]} is not beside the file")
            return None
        picture = read_picture(raw, f"texture {shown(name)}", OBJ_FORMATS, self.notes)
        self.pixels = within("OBJ file", self.pixels + picture[..., 0].numel(), ALL_PIXELS, "pixels in all pictures")
        return picture


def _map(words: list[str]) -> Map:
    """A picture's name, which may hold spaces, behind the options before it."""
    words, found = [w for w in words if w], Map()
    while words and words[0] in _OPTIONS:
        option, most = words[0], _OPTIONS[words[0]]
        count = most if option not in _NUMBERS else next((k for k in range(most) if not _numbers(words[1 + k : 2 + k])), most)
        values = words[1 : 1 + count]
        del words[: 1 + count]
        numbers = _numbers(values)
        if option == "-clamp":
            found.clamp = values == ["on"]
        elif option in ("-o", "-s") and numbers:
            still = 0.0 if option == "-o" else 1.0
            pair = (numbers[0], numbers[1] if len(numbers) > 1 else still)
            found.offset, found.scale = (pair, found.scale) if option == "-o" else (found.offset, pair)
    found.name = " ".join(words)
    return found


def _numbers(words: list[str]) -> tuple[float, ...]:
    """The words as finite numbers, () where one is none."""
    try:
        values = tuple(float(word) for word in words)
    except ValueError:
        return ()
    return values if all(abs(v) < 1e9 for v in values) else ()
