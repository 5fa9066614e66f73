"""Materials of OBJ files: the diffuse color and its picture, how the picture is moved, and what is left out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .color import srgb_to_linear
from .gltf_buffers import Beside
from .gltf_entry import shown
from .limits import ALL_PIXELS, within
from .mesh_notes import Notes
from .pictures import OBJ_FORMATS, read_picture
from .surface_parts import Look, Wrap

# Options of a picture and how many words follow each; of -o, -s and -t up to three numbers.
_OPTIONS = {"-blendu": 1, "-blendv": 1, "-bm": 1, "-boost": 1, "-cc": 1, "-clamp": 1, "-imfchan": 1, "-mm": 2, "-o": 3,
            "-s": 3, "-t": 3, "-texres": 1, "-type": 1}
_NUMBERS = ("-o", "-s", "-t")
_DROPPED = {"map_Bump": "bump map", "map_bump": "bump map", "bump": "bump map", "norm": "normal map", "map_Ks": "gloss map",
            "map_Pr": "roughness map", "map_Pm": "metal map", "map_d": "transparency", "disp": "displacement map",
            "map_Ke": "emission"}


@dataclass
class Material:
    """Color (sRGB), picture and the picture's offset and scale."""

    color: tuple[float, ...] = (1.0, 1.0, 1.0)
    picture: Tensor | None = None
    offset: tuple[float, float] = (0.0, 0.0)
    scale: tuple[float, float] = (1.0, 1.0)
    clamp: bool = False

    @property
    def moves(self) -> bool:
        """Whether the picture is not where the texture coordinates say."""
        return self.offset != (0.0, 0.0) or self.scale != (1.0, 1.0)

    def moved(self, uvs: Tensor) -> Tensor:
        """Texture coordinates (v downwards) as the picture's options, whose v grows upwards, move them."""
        up = torch.stack([uvs[:, 0], 1 - uvs[:, 1]], -1) * torch.tensor(self.scale) + torch.tensor(self.offset)
        return torch.stack([up[:, 0], 1 - up[:, 1]], -1)

    def look(self) -> Look:
        """As ``assemble`` wants it; a picture on black is a picture on white, as most programs show it."""
        color = tuple(srgb_to_linear(torch.tensor(self.color).clamp(0, 1)).tolist())
        if self.picture is not None and not any(color):
            color = (1.0, 1.0, 1.0)
        wrap: Wrap = "clamp" if self.clamp else "repeat"
        return Look(color, self.picture, (wrap, wrap))


def read_materials(text: str, beside: Beside, notes: Notes) -> dict[str, Material]:
    """name -> material of an MTL file's text; lines that make no sense are skipped, as they change no shape."""
    found: dict[str, Material] = {}
    current, pictures, total = Material(), {}, 0
    for line in text.splitlines():
        word, _, rest = line.strip().replace("\t", " ").partition(" ")
        if word == "newmtl":
            current = found[rest.strip()] = Material()
        elif word == "Kd":
            values = _numbers(rest.split()[:3])  # one number is gray
            current.color = values if len(values) == 3 else values[:1] * 3 or current.color
        elif word == "map_Kd":
            name = _read_options(current, rest.split(" "))
            if name not in pictures:
                pictures[name] = _picture(name, beside, notes)
                if pictures[name] is not None:
                    total = within("OBJ file", total + pictures[name][..., 0].numel(), ALL_PIXELS, "pixels in all pictures")
            current.picture = pictures[name]
        elif word in _DROPPED:
            notes.say(f"{_DROPPED[word]} of materials was dropped")
        elif word in ("d", "Tr"):
            value = _numbers(rest.split()[:1])
            if value and value[0] != (1.0 if word == "d" else 0.0):
                notes.say("transparency of materials was dropped")
    return found


def _picture(name: str, beside: Beside, notes: Notes) -> Tensor | None:
    raw = beside(name)
    if raw is None:
        notes.say(f"a texture was dropped: {shown(name)[1:-1]} is not beside the file")
        return None
    return read_picture(raw, f"texture {shown(name)}", OBJ_FORMATS)


def _read_options(material: Material, words: list[str]) -> str:
    """Takes the options before a picture's name, which may hold spaces, and returns the name."""
    words = [w for w in words if w]
    while words and words[0] in _OPTIONS:
        option, most = words[0], _OPTIONS[words[0]]
        count = most if option not in _NUMBERS else next((k for k in range(most) if not _numbers(words[1 + k : 2 + k])), most)
        values = words[1 : 1 + count]
        del words[: 1 + count]
        numbers = _numbers(values)
        if option == "-clamp":
            material.clamp = values == ["on"]
        elif option in ("-o", "-s") and numbers:
            still = 0.0 if option == "-o" else 1.0
            pair = (numbers[0], numbers[1] if len(numbers) > 1 else still)
            material.offset, material.scale = (pair, material.scale) if option == "-o" else (material.offset, pair)
    return " ".join(words)


def _numbers(words: list[str]) -> tuple[float, ...]:
    """The words as finite numbers, () where one is none."""
    try:
        values = tuple(float(word) for word in words)
    except ValueError:
        return ()
    return values if all(abs(v) < 1e9 for v in values) else ()
