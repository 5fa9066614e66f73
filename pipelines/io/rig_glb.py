"""Skinned glTF: a character's layers on one skeleton, with animations; on it stands VRM (``io/vrm.py``)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ..core.errors import InputError
from ..core.rig import BONES, Motion, Rig, RiggedLayers, apply, compose, inverse, quaternions, still
from .glb import Buffer, add_mesh, check_mesh, write_document

Rest = Literal["a-pose", "t-pose"]
ROOT = "character"
_STILL = 1e-6  # a rotation whose matrix differs less from none is none


def write_rigged(
    path: str | os.PathLike | None,
    rigged: RiggedLayers,
    motions: Sequence[Motion] = (),
    rest: Rest = "a-pose",
    extras: dict | None = None,
    unlit: bool = False,
) -> bytes:
    """A GLB in which every layer is a mesh with the same skin; returns its bytes.

    rigged:  in meters, on the floor, facing +Z.
    motions: become animations of their names.
    rest:    how the bones stand before anything moves them.  The vertices are those of the A-pose in either case: the
             skin's inverse bind matrices bring them along.
    Raises InputError for a character without a skeleton, and as ``write_glb``.
    """
    gltf, buffer = rigged_document(rigged, motions, rest, extras, unlit)
    return write_document(path, closed(gltf, buffer))


def closed(gltf: dict, buffer: Buffer) -> tuple[dict, bytes]:
    """(JSON with its buffers described, binary chunk)."""
    sizes = {"accessors": buffer.accessors, "bufferViews": buffer.views, "buffers": [{"byteLength": len(buffer.data)}]}
    return gltf | sizes, bytes(buffer.data)


def rigged_document(
    rigged: RiggedLayers, motions: Sequence[Motion], rest: Rest, extras: dict | None, unlit: bool
) -> tuple[dict, Buffer]:
    """(JSON, buffer) of :func:`write_rigged`.  Nodes: the bones in the skeleton's order, the root, one per layer."""
    rig = rigged.rig
    if rig is None:
        raise InputError("rigged layers", "a skeleton", f"none: {rigged.refused}", "Mend what was said, or write a static GLB.")
    buffer, count = Buffer(), len(rig.names)
    start = rig.t_pose() if rest == "t-pose" else still(count)
    nodes = _bone_nodes(rig, start)
    nodes.append({"name": ROOT, "children": [i for i, parent in enumerate(rig.parents) if parent < 0]})
    gltf: dict = {"asset": {"version": "2.0", "generator": "Lift123"}, "scene": 0, "meshes": [], "materials": [], "nodes": nodes,
                  "skins": [{"joints": list(range(count)), "skeleton": count, "name": ROOT,
                             "inverseBindMatrices": _inverse_binds(rig, start, buffer)}]}
    for number, name in enumerate(rigged.layers):
        mesh, skin = rigged.layers[name].detach().to("cpu"), rigged.skins[name]
        check_mesh(mesh)
        add_mesh(gltf, buffer, mesh, name, unlit, (skin.joints.numpy(), skin.weights.numpy()))
        nodes.append({"name": name, "mesh": number, "skin": 0})
    gltf["scenes"] = [{"nodes": [count, *range(count + 1, len(nodes))]}]
    if motions:
        gltf["animations"] = [_animation(rig, motion, start, buffer) for motion in motions]
    if unlit:
        gltf["extensionsUsed"] = ["KHR_materials_unlit"]
    if extras:
        gltf["asset"]["extras"] = extras
    return gltf, buffer


def rest_joints(rig: Rig, start: Tensor) -> Tensor:
    """[J, 3] where bones turn when they stand as ``start`` [J, 3, 4] brings them from the A-pose."""
    return torch.stack([apply(motion, joint[None])[0] for motion, joint in zip(start, rig.joints)])


def _bone_nodes(rig: Rig, start: Tensor) -> list[dict]:
    places, nodes = rest_joints(rig, start), []
    for i, (name, parent) in enumerate(zip(rig.names, rig.parents)):
        offset = places[i] - (places[parent] if parent >= 0 else 0)
        node: dict = {"name": name, "translation": [round(float(v), 7) for v in offset]}
        children = rig.children(i)
        nodes.append(node | ({"children": children} if children else {}))
    return nodes


def _inverse_binds(rig: Rig, start: Tensor, buffer: Buffer) -> int:
    """Accessor of [J] matrices that bring A-pose vertices into each bone's own frame."""
    moved = start.clone()
    moved[:, :, 3] -= rest_joints(rig, start)
    full = torch.cat([moved, torch.tensor([0.0, 0.0, 0.0, 1.0]).to(moved).expand(len(moved), 1, 4)], 1)
    columns = full.transpose(1, 2).reshape(-1, 16).numpy() + 0.0  # column by column; no negative zeros
    return buffer.accessor(columns, "MAT4", None)


def _animation(rig: Rig, motion: Motion, start: Tensor, buffer: Buffer) -> dict:
    t_pose, back = rig.t_pose(), inverse(start)
    worlds = torch.stack([compose(motion.frame(rig, k, t_pose), back) for k in range(len(motion))])
    places = rest_joints(rig, start)
    clock = buffer.accessor(motion.times.numpy(), "SCALAR", None, bounds=True)
    samplers, channels = [], []

    def channel(node: int, path: str, values: np.ndarray, kind: str) -> None:
        samplers.append({"input": clock, "output": buffer.accessor(values, kind, None), "interpolation": "LINEAR"})
        channels.append({"sampler": len(samplers) - 1, "target": {"node": node, "path": path}})

    for i, (name, parent) in enumerate(zip(rig.names, rig.parents)):
        if name not in BONES:
            continue
        turns = worlds[:, i, :, :3] if parent < 0 else worlds[:, parent, :, :3].transpose(1, 2) @ worlds[:, i, :, :3]
        if float((turns - torch.eye(3).to(turns)).abs().max()) > _STILL:
            channel(i, "rotation", quaternions(turns).numpy(), "VEC4")
        if parent < 0:
            moved = torch.stack([apply(world[i], places[i][None])[0] for world in worlds])
            channel(i, "translation", moved.numpy(), "VEC3")
    return {"name": motion.name, "samplers": samplers, "channels": channels}
