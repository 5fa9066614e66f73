"""One good value for every input of every node, small; and values that cannot be right, made from the schemas."""

import io as std_io
import math
from functools import lru_cache
from types import SimpleNamespace

import torch

from helpers import tiny_stages
from helpers.comfy_modules import prepare

prepare()
from comfy_api.latest import Types
from lift123.host import specs
from lift123.host.convert import to_comfy_mesh
from lift123.host.extra_specs import Losses
from lift123.host.inputs import CARRIED
from lift123.nodes import all_nodes
from lift123.nodes.magic123 import StageOptions
from lift123.pipelines.core.character_views import CharacterViews
from lift123.pipelines.core.layers import LayeredMesh
from lift123.pipelines.core.rig import Rig, RiggedLayers
from lift123.pipelines.core.schedules import Constant
from lift123.pipelines.distill.plug import How
from lift123.pipelines.priors.sds import SdsSettings
from lift123.pipelines.rigging.motions import walk
from lift123.pipelines.stages.characters.refined_layers import RefinedLayers
from lift123.pipelines.stages.loop.scene import Scene, pack_reference
from lift123.pipelines.stages.objects.boundary import ClipBoundary

NODES = {node.define_schema().node_id: node for node in all_nodes()}
SMALL = {  # where the default would take long
    "size": 64, "texture_size": 64, "face_budget": 100, "frames": 4, "turntable_size": 64, "supersample": 1, "views": 2,
    "steps": 2, "rungs": 1, "patience": 1, "grid": 8, "cells": 16, "prompt": "a box", "knots": "0: 1", "azimuths": "",
    "samples": 1, "values": "1, 2", "source": "numbers",
}
TEXTS = {"metrics": "{}", "file": "absent.safetensors"}
CAMERA = {"position": {"x": 0.0, "y": 0.0, "z": 3.2}, "target": {"x": 0.0, "y": 0.0, "z": 0.0}, "fov": 20.0, "zoom": 1.0,
          "cameraType": "perspective"}


def box():
    """A MESH of eight vertices with colors."""
    return to_comfy_mesh(tiny_stages.box())


def disc(batch=1, side=64):
    """IMAGE: a gray square on white."""
    image = torch.ones(batch, side, side, 3)
    image[:, side // 4 : -side // 4, side // 4 : -side // 4] = 0.3
    return image


def inside(batch=1, side=64):
    """MASK of :func:`disc`."""
    return (disc(batch, side)[..., 0] < 0.5).float()


@lru_cache
def scene():
    """A scene with nothing but its reference: enough for every check that comes before work."""
    tensors, meta = pack_reference(tiny_stages.reference())
    return Scene("nerf", tensors, {"step": 1, "total": 2, "seed": 0, "reference": meta, "config": {}})


@lru_cache
def views():
    """Character views of nothing, three levels."""
    alpha = torch.zeros(3, 6, 32, 32)
    return CharacterViews(torch.ones(*alpha.shape, 3), torch.zeros(*alpha.shape, 3), alpha)


def layers():
    """A box as the body."""
    return RefinedLayers(LayeredMesh({"body": tiny_stages.box()}))


def skeleton():
    """A bone of no length."""
    return Rig(("hips",), (-1,), torch.zeros(1, 3, dtype=torch.float64), torch.zeros(1, 3, dtype=torch.float64))


def prior(kind="view"):
    return specs.PriorSpec(specs.Network(kind), SdsSettings())


def wire(kind: str, name: str):
    """A good value for an input of a wire's type."""
    made = {
        "IMAGE": disc, "MASK": inside, "MESH": box, "LOAD3D_CAMERA": lambda: CAMERA, "LIFT123_REFERENCE": tiny_stages.reference,
        "LIFT123_SCENE": scene, "LIFT123_PRIOR": lambda: prior("text" if "2d" in name else "view"),
        "LIFT123_DISTILLATION": lambda: specs.DistillSpec(How()), "LIFT123_LOSSES": lambda: Losses(()),
        "LIFT123_SCHEDULE": Constant, "LIFT123_BOUNDARY": lambda: specs.BoundarySpec(specs.Network("clip"), ClipBoundary()),
        "LIFT123_OPTIONS": lambda: StageOptions(()), "LIFT123_CHARACTER_VIEWS": views, "LIFT123_LAYERS": layers,
        "LIFT123_RIG": skeleton, "LIFT123_MOTION": walk, "LIFT123_RIGGED": lambda: RiggedLayers(layers().layers, None),
        "FILE_3D_GLB": lambda: Types.File3D(std_io.BytesIO(b""), "glb"), "*": lambda: 1,
    }
    kind = kind.split(",")[0]
    if kind in ("MODEL", "CLIP", "VAE", "CLIP_VISION"):
        return SimpleNamespace(**dict.fromkeys(CARRIED[kind][1]))
    if kind in made:
        return made[kind]()
    return specs.Network(kind.removeprefix("LIFT123_").removesuffix("_NETWORK").lower()) if kind.startswith("LIFT123_") else None


def good(node, **given) -> dict:
    """Keyword arguments of a node: small good values for all required inputs, and ``given``."""
    made = {}
    for entry in node.define_schema().inputs:
        kind = entry.get_io_type()
        if entry.id in given or (entry.optional and kind not in ("INT", "FLOAT", "BOOLEAN", "COMBO", "STRING")):
            continue
        if kind in ("INT", "FLOAT", "BOOLEAN", "COMBO"):
            made[entry.id] = SMALL.get(entry.id, entry.default) if kind == "INT" or entry.id == "source" else entry.default
        elif kind == "STRING":
            made[entry.id] = SMALL.get(entry.id, TEXTS.get(entry.id, getattr(entry, "default", None) or ""))
        else:
            made[entry.id] = wire(kind, entry.id)
    return {**made, **given}


def bad_values(entry) -> dict:
    """name -> a value that no input of this kind can mean; an optional one may mean nothing."""
    return {what: value for what, value in _bad_values(entry).items() if value is not None or not entry.optional}


def _bad_values(entry) -> dict:
    kind = entry.get_io_type()
    if kind in ("INT", "FLOAT"):
        past = {} if getattr(entry, "control_after_generate", None) else {"above": entry.max + max(1, abs(entry.max))}
        odd = {"a fraction": entry.min + 0.5, "2^64": 2**64} if kind == "INT" else {}
        return {"NaN": math.nan, "inf": math.inf, "-inf": -math.inf, "below": entry.min - 1, "a word": "7", "nothing": None,
                **past, **odd}
    if kind == "BOOLEAN":
        return {"a word": "yes", "nothing": None, "a number": 2}
    if kind == "COMBO":
        return {"a number": 3, "nothing": None, "a list": []}
    if kind == "STRING":
        return {"a number": 3, "NUL": "a\0b", "half a character": "\ud800", "a novel": "w " * 600_000}
    if kind == "IMAGE":
        return {"a word": "picture", "empty": torch.zeros(0, 8, 8, 3), "flat": torch.zeros(8),
                "5 channels": torch.zeros(1, 8, 8, 5), "NaN": torch.full((1, 32, 32, 3), math.nan),
                "complex": torch.zeros(1, 8, 8, 3, dtype=torch.complex64)}
    if kind == "MASK":
        return {"a word": "mask", "empty": torch.zeros(1, 0, 8), "flat": torch.zeros(8), "inf": torch.full((1, 8, 8), math.inf)}
    return {"a word": "wire", "a number": 3.5, "a tensor": torch.zeros(1, 3), "an empty list": []} if kind != "*" else {}


def bad_meshes() -> dict:
    """name -> a MESH that no surface is: each a change of :func:`box`."""
    mesh = box()
    v, f = mesh.vertices, mesh.faces
    far, spot, hole = v * 1e30, v * 0 + 0.5, v.clone()
    hole[0, 0, 0] = math.nan
    colors, corners = torch.rand(1, v.shape[1], 4), torch.rand(1, v.shape[1], 2)
    return {
        "quads": Types.MESH(v, torch.tensor([[[0, 1, 3, 2]]])), "points in the plane": Types.MESH(v[..., :2], f),
        "of size 1e30": Types.MESH(far, f), "one point": Types.MESH(spot, f), "NaN": Types.MESH(hole, f),
        "one vertex": Types.MESH(v[:, :1], f * 0), "no faces": Types.MESH(v, f[:, :0]), "no vertices": Types.MESH(v[:, :0], f),
        "an index too far": Types.MESH(v, f + 5), "a negative index": Types.MESH(v, f - 1),
        "colors of another count": Types.MESH(v, f, vertex_colors=colors[:, :3, :3]),
        "UVs of another count": Types.MESH(v, f, uvs=torch.rand(1, 99, 2)), "UVs of three numbers": Types.MESH(v, f, uvs=v),
        "NaN UVs": Types.MESH(v, f, uvs=corners * math.nan),
        "a flat texture": Types.MESH(v, f, uvs=corners, texture=torch.rand(1, 8)),
        "two meshes": Types.MESH(v.repeat(2, 1, 1), f.repeat(2, 1, 1)),
    }


BAD_CAMERAS = {
    "fov 0": {**CAMERA, "fov": 0}, "fov 400": {**CAMERA, "fov": 400}, "fov NaN": {**CAMERA, "fov": math.nan},
    "fov a word": {**CAMERA, "fov": "wide"}, "zoom inf": {**CAMERA, "zoom": math.inf}, "zoom -1": {**CAMERA, "zoom": -1},
    "no position": {"target": {}}, "position None": {**CAMERA, "position": None},
    "position a list": {**CAMERA, "position": [0, 0, 3]},
    "position NaN": {**CAMERA, "position": {"x": math.nan, "y": 0, "z": 1}}, "position far": {**CAMERA, "position": {"z": 1e9}},
    "at its target": {**CAMERA, "position": {}}, "straight above": {**CAMERA, "position": {"y": 3.0}},
    "quaternion 0": {**CAMERA, "quaternion": {"x": 0, "y": 0, "z": 0, "w": 0}},
    "quaternion NaN": {**CAMERA, "quaternion": {"x": math.nan}}, "quaternion a list": {**CAMERA, "quaternion": [0, 0, 0, 1]},
    "orthographic": {**CAMERA, "cameraType": "orthographic"}, "empty": {},
}
