"""The colors of a glTF file: of each material one base color, one picture and how texture coordinates reach it."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from .gltf_buffers import Buffers, resource
from .gltf_entry import Entry, bad
from .limits import ALL_PIXELS, within
from .mesh_notes import Notes
from .pictures import BLACKEST, read_picture
from .surface_parts import Look, Wrap

_WRAPS: dict[int, Wrap] = {10497: "repeat", 33071: "clamp", 33648: "mirror"}
_PICTURE_EXTENSIONS = ("EXT_texture_webp", "EXT_texture_avif")
_UNREADABLE = ("KHR_texture_basisu", "MSFT_texture_dds")
_WHITE, _BLACK = (1.0, 1.0, 1.0, 1.0), (0.0, 0.0, 0.0)

# Required extensions that this reader follows, and those that change neither shape nor base color.
FOLLOWED = {"KHR_mesh_quantization", "KHR_texture_transform", "EXT_mesh_gpu_instancing", *_PICTURE_EXTENSIONS,
            "KHR_materials_pbrSpecularGlossiness", "KHR_materials_unlit", "KHR_node_visibility"}
HARMLESS = {"KHR_lights_punctual", "KHR_materials_variants", "KHR_xmp_json_ld", "KHR_xmp", "KHR_animation_pointer",
            "EXT_lights_image_based", "EXT_lights_ies", "KHR_node_hoverability", "KHR_node_selectability",
            "KHR_audio_emitter", "KHR_physics_rigid_bodies", "KHR_implicit_shapes", "MSFT_packing_occlusionRoughnessMetallic",
            "MSFT_packing_normalRoughnessMetallic"}
HARMLESS |= {f"KHR_materials_{name}" for name in (
    "anisotropy", "clearcoat", "diffuse_transmission", "dispersion", "emissive_strength", "ior", "iridescence", "sheen",
    "specular", "transmission", "volume")}


def check_required(root: Entry) -> None:
    """InputError that names every required extension which is not understood."""
    unknown = [name for name in root.words("extensionsRequired") if name not in FOLLOWED | HARMLESS]
    if unknown:
        raise bad(f"one that needs {', '.join(unknown[:5])}, which this reader does not know",
                  "Export it without this extension (for example by opening and saving it in Blender).")


class Materials:
    """The materials of a file by index, None for primitives without one."""

    def __init__(self, root: Entry, buffers: Buffers, notes: Notes):
        self.root, self.buffers, self.notes = root, buffers, notes
        self._looks: dict[int | None, tuple[Look, int, np.ndarray | None]] = {}
        self._pictures: dict[int, Tensor] = {}
        self._pixels = 0

    def look(self, index: int | None) -> tuple[Look, int, np.ndarray | None]:
        """(look, number of its texture coordinates, their 2 x 3 transform or None)."""
        if index not in self._looks:
            made = (Look(), 0, None) if index is None else self._read(self.root.item("materials", index))
            self._looks[index] = made
        return self._looks[index]

    def _read(self, material: Entry) -> tuple[Look, int, np.ndarray | None]:
        factor, reference = self._source(material)
        self._say_dropped(material)
        if reference is None:
            return Look(tuple(factor[:3])), 0, None
        transform = reference.extension("KHR_texture_transform")
        coordinates = reference.whole("texCoord", 0, most=64)
        affine = None
        if transform is not None:
            coordinates = transform.whole("texCoord", coordinates, most=64)
            affine = _affine(transform)
        picture, wraps = self._texture(reference.whole("index"))
        return Look(tuple(factor[:3]), picture, wraps), coordinates, affine

    def _source(self, material: Entry) -> tuple[list[float], Entry | None]:
        """(factor [4] linear, texture reference or None) of what stands for the base color: the first not black."""
        gloss = material.extension("KHR_materials_pbrSpecularGlossiness")
        pbr = material.inner("pbrMetallicRoughness")
        base = pbr.inner("baseColorTexture") if "baseColorTexture" in pbr else None
        choices = [(pbr.numbers("baseColorFactor", 4, _WHITE), base)] if gloss is None else self._glossy(gloss)
        glow = material.numbers("emissiveFactor", 3, _BLACK)
        if not any(glow):
            return self._lightest(choices)
        shine = material.inner("emissiveTexture") if "emissiveTexture" in material else None
        emission = ([min(value, 1.0) for value in glow] + [1.0], shine)
        bare = gloss is None and not {"baseColorFactor", "baseColorTexture"} & set(pbr.data)
        found = emission if bare and shine is not None else self._lightest([*choices, emission])
        self.notes.say("a material without a base color: its emission is taken as its color" if found is emission
                       else "emission of materials was dropped")
        return found

    def _lightest(self, choices: list[tuple[list[float], Entry | None]]) -> tuple[list[float], Entry | None]:
        """The first of several colors that is not black all over; the first of all where every one is."""
        for choice in choices:
            factor, reference = choice
            if any(factor[:3]):
                picture = None if reference is None else self._texture(reference.whole("index"))[0]
                if picture is None or float(picture.max()) > BLACKEST:
                    return choice
        return choices[0]

    def _glossy(self, gloss: Entry) -> list[tuple[list[float], Entry | None]]:
        """Diffuse color and texture; then the specular color, for where nothing is diffuse (metals)."""
        diffuse = gloss.inner("diffuseTexture") if "diffuseTexture" in gloss else None
        shine = gloss.inner("specularGlossinessTexture") if "specularGlossinessTexture" in gloss else None
        self.notes.say("specular-glossiness material: its diffuse color is taken, gloss was dropped")
        return [(gloss.numbers("diffuseFactor", 4, _WHITE), diffuse),
                (gloss.numbers("specularFactor", 3, (1.0, 1.0, 1.0)) + [1.0], shine)]

    def _say_dropped(self, material: Entry) -> None:
        pbr = material.inner("pbrMetallicRoughness")
        maps = {"normal map": "normalTexture" in material, "occlusion map": "occlusionTexture" in material,
                "metal and roughness map": "metallicRoughnessTexture" in pbr}
        for name, there in maps.items():
            if there:
                self.notes.say(f"{name} of materials was dropped")
        if material.word("alphaMode", "OPAQUE") != "OPAQUE":
            self.notes.say("transparency of materials was dropped")

    def _texture(self, index: int) -> tuple[Tensor | None, tuple[Wrap, Wrap]]:
        entry = self.root.item("textures", index)
        sampler = self.root.item("samplers", entry.whole("sampler")) if "sampler" in entry else Entry({}, "no sampler")
        wraps = (_WRAPS.get(sampler.whole("wrapS", 10497), "repeat"), _WRAPS.get(sampler.whole("wrapT", 10497), "repeat"))
        given = entry.extension(*_PICTURE_EXTENSIONS)
        source = entry if given is None or "source" not in given else given
        if "source" in source:
            return self._picture(source.whole("source")), wraps
        unread = next((name for name in _UNREADABLE if name in entry.inner("extensions")), None)
        self.notes.say(f"a texture was dropped: its picture needs {unread}" if unread else "a texture without a picture")
        return None, wraps

    def _picture(self, index: int) -> Tensor:
        if index not in self._pictures:
            image = self.root.item("images", index)
            if "bufferView" in image:
                raw = self.buffers.view(image.whole("bufferView"))
            else:
                raw = resource(image.word("uri"), self.buffers.beside)
            picture = read_picture(raw, f"GLB file, {image.where}")
            self._pixels = within("GLB file", self._pixels + picture.shape[0] * picture.shape[1], ALL_PIXELS,
                                  "pixels in all pictures", "Make its textures smaller.")
            self._pictures[index] = picture
        return self._pictures[index]


def _affine(transform: Entry) -> np.ndarray:
    """[2, 3] float64: texture coordinates (u, v, 1) -> where they point (KHR_texture_transform).

    The rotation is counter-clockwise as seen in the picture, whose v grows downwards.
    """
    (x, y), (across, down) = transform.numbers("offset", 2, (0.0, 0.0)), transform.numbers("scale", 2, (1.0, 1.0))
    c, s = math.cos(transform.number("rotation")), math.sin(transform.number("rotation"))
    return np.array([[c * across, s * down, x], [-s * across, c * down, y]])


def transformed(uvs: np.ndarray, affine: np.ndarray | None) -> Tensor:
    """[T, 2] float32 texture coordinates, moved by ``affine`` where there is one."""
    if affine is not None:
        uvs = uvs.astype(np.float64) @ affine[:, :2].T + affine[:, 2]
    return torch.from_numpy(uvs.astype(np.float32))
