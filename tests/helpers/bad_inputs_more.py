"""More inputs thought of by hand: meshes, files, lists, characters, scenes (see ``bad_inputs``); all ``CASES``."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from lift123.host import specs
from lift123.pipelines.core.character_views import LEVEL_NAMES, CharacterViews
from lift123.pipelines.core.layers import LayeredMesh
from lift123.pipelines.core.mesh import Mesh
from lift123.pipelines.priors.sds import SdsSettings
from lift123.pipelines.stages.characters.refined_layers import RefinedLayers
from lift123.pipelines.stages.inputs.reference import ReferenceView
from lift123.pipelines.stages.loop.scene import Scene

from helpers import good_inputs, tiny_stages
from helpers.bad_inputs_words import CASES, add, file
from helpers.gltf_tiny import textured_box

__all__ = ["CASES"]

# Meshes ---------------------------------------------------------------------------------------------------------------


def changed(**fields):
    """The good box with some fields replaced by functions of it."""
    mesh = good_inputs.box()
    for name, change in fields.items():
        setattr(mesh, name, change(mesh) if callable(change) else change)
    return mesh


def scaled(*by: float):
    return lambda: changed(vertices=lambda m: m.vertices * torch.tensor(by))


MESHES = [
    ("flat in one axis", scaled(1, 1, 0), False),
    ("a line", scaled(1, 0, 0), True),
    ("a point", scaled(0, 0, 0), True),
    ("1e-20 large", scaled(1e-20, 1e-20, 1e-20), True),
    ("1e12 large", scaled(1e12, 1e12, 1e12), True),
    ("a kilometer long", scaled(1000, 1, 1), False),
    ("inside out", lambda: changed(faces=lambda m: m.faces.flip(2)), False),
    ("one triangle", lambda: changed(faces=lambda m: m.faces[:, :1]), False),
    ("one triangle of one corner", lambda: changed(faces=lambda m: m.faces[:, :1] * 0), True),
    ("every face a hundred times", lambda: changed(faces=lambda m: m.faces.repeat(1, 100, 1)), False),
    ("indices from 1", lambda: changed(faces=lambda m: m.faces + 1), True),
    ("halves of indices", lambda: changed(faces=lambda m: m.faces + 0.5), True),
    ("float indices", lambda: changed(faces=lambda m: m.faces.float()), False),
    ("corners first", lambda: changed(vertices=lambda m: m.vertices.movedim(1, 2)), True),
    ("no batch", lambda: changed(vertices=lambda m: m.vertices[0], faces=lambda m: m.faces[0]), True),
    ("an empty batch", lambda: changed(vertices=lambda m: m.vertices[:0], faces=lambda m: m.faces[:0]), True),
    (
        "infinite corner",
        lambda: changed(vertices=lambda m: m.vertices.index_fill(1, torch.tensor([3]), math.inf)),
        True,
    ),
    ("integer corners", lambda: changed(vertices=lambda m: (m.vertices * 100).long()), False),
    ("complex corners", lambda: changed(vertices=lambda m: m.vertices + 0j), True),
    ("colors 0..255", lambda: changed(vertex_colors=lambda m: m.vertices.abs() * 400), True),
    ("colors of bytes", lambda: changed(vertex_colors=lambda m: (m.vertices.abs() * 200).to(torch.uint8)), False),
    ("colors for other corners", lambda: changed(vertex_colors=torch.rand(1, 3, 3)), True),
    ("colors of NaN", lambda: changed(vertex_colors=lambda m: m.vertices * math.nan), True),
    (
        "a texture 0..255",
        lambda: changed(uvs=lambda m: m.vertices[..., :2], texture=torch.full((1, 8, 8, 3), 200.0)),
        True,
    ),
    ("a texture of nothing", lambda: changed(uvs=lambda m: m.vertices[..., :2], texture=torch.zeros(1, 0, 8, 3)), True),
    ("a texture without coordinates", lambda: changed(uvs=None, texture=torch.zeros(1, 8, 8, 3)), False),
    (
        "coordinates of 1e30",
        lambda: changed(uvs=lambda m: m.vertices[..., :2] * 1e30, texture=torch.zeros(1, 8, 8, 3)),
        True,
    ),
    ("lists for tensors", lambda: changed(vertices=lambda m: m.vertices.tolist()), True),
    ("arrays for tensors", lambda: changed(faces=lambda m: m.faces.numpy()), True),
    ("more corners than there are", lambda: changed(vertex_counts=torch.tensor([99])), False),
    ("a negative number of faces", lambda: changed(face_counts=torch.tensor([-1])), True),
]
for what, make, must in MESHES:
    add("MeshToFile3D", what, lambda make=make: {"mesh": make()}, must)
for what, make, must in MESHES[:9]:
    add("RenderViews", what, lambda make=make: {"source": make()}, must)
    add("JoinLayers", f"hair that is {what}", lambda make=make: {"hair": make()}, must)


def tiny(**changes) -> bytes:
    made = textured_box()
    made.gltf |= changes
    return made.packed()


OBJ = b"v 0 0 0\nv 1 0 0\nv 0 1 0\n"
FILES = [
    ("an empty file", b"", "glb", True),
    ("a picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 99, "glb", True),
    ("a page", b"<html>", "glb", True),
    ("a GLB called OBJ", tiny(), "obj", True),
    ("an OBJ called GLB", OBJ + b"f 1 2 3", "glb", True),
    ("a blend file", b"BLENDER-v300", "blend", True),
    ("an FBX", b"Kaydara FBX Binary  \0", "fbx", True),
    ("no kind", tiny(), "", False),
    ("kind in capitals", tiny(), "GLB", False),
    ("points only", OBJ, "obj", True),
    ("a face of two", OBJ + b"f 1 2", "obj", True),
    ("a face of one corner", OBJ + b"f 1 1 1", "obj", True),
    ("a comma for a point", b"v 0,5 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3", "obj", True),
    ("NaN", b"v nan 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3", "obj", True),
    ("a node of size 0", tiny(nodes=[{"mesh": 0, "scale": [0, 0, 0]}]), "glb", True),
    ("no node", tiny(nodes=[], scenes=[{"nodes": []}]), "glb", True),
    ("a turned quaternion of 0", tiny(nodes=[{"mesh": 0, "rotation": [0, 0, 0, 0]}]), "glb", False),
    ("a matrix of 0", tiny(nodes=[{"mesh": 0, "matrix": [0] * 16}]), "glb", True),
    ("an STL of words", b"solid\nendsolid", "stl", True),
    ("a PLY of splats", b"ply\nformat ascii 1.0\nelement vertex 0\nproperty float x\nend_header\n", "ply", True),
    ("UTF-16", ("\ufeff" + (OBJ + b"f 1 2 3").decode()).encode("utf-16-le"), "obj", False),
    ("a line ends in a backslash", OBJ + b"f 1 2 \\\n3\\", "obj", False),
]
for what, data, kind, must in FILES:
    add("File3DToMesh", what, lambda data=data, kind=kind: {"file": file(data, kind)}, must)

# Sets that do not fit together ----------------------------------------------------------------------------------------

disc, inside = good_inputs.disc, good_inputs.inside
for what, given in {
    "masks of another number": lambda: {"views": disc(3), "mask": inside(2), "mask_marks": "object"},
    "depths of another number": lambda: {"views": disc(3), "depth": disc(2)},
    "azimuths of another number": lambda: {"views": disc(3), "azimuths": "0, 90"},
    "more azimuths than views": lambda: {"views": disc(1), "azimuths": "0, 90, 180"},
    "depth of bytes and another size": lambda: {"views": disc(1), "depth": torch.zeros(1, 9, 9, 3, dtype=torch.uint8)},
    "views of one pixel": lambda: {"views": torch.zeros(1, 1, 1, 3)},
    "masks of nothing": lambda: {"views": disc(1), "mask": inside() * 0, "mask_marks": "object"},
    "more rungs than steps": lambda: {"steps": 2, "rungs": 99},
}.items():
    add("RgnvEnhance", what, given)
add("RgnvEnhance", "views that are not square", lambda: {"views": torch.ones(1, 32, 64, 3)}, False)
for what, given in {
    "one picture of each": lambda: {"pictures": disc(1), "truth": disc(1)},
    "sets of 3 and 4": lambda: {"pictures": disc(3), "truth": disc(4)},
    "sizes of 32 and 64": lambda: {"pictures": disc(2, 32), "truth": disc(2)},
    "one channel and three": lambda: {"pictures": disc(2)[..., :1], "truth": disc(2)},
    "0..255": lambda: {"pictures": disc(2) * 255, "truth": disc(2) * 255},
    "two pixels": lambda: {"pictures": torch.zeros(2, 1, 1, 3), "truth": torch.zeros(2, 1, 1, 3)},
}.items():
    add("CompareSets", what, given)
for what, (colors, normals) in {
    "5 views": (5, 5),
    "7 views": (7, 7),
    "24 views": (24, 24),
    "6 and 12": (6, 12),
    "one view": (1, 1),
}.items():
    add(
        "ImagesToViews",
        what,
        lambda c=colors, n=normals: {"colors": torch.ones(c, 16, 16, 3), "normals": torch.ones(n, 16, 16, 3)},
    )
for what, colors in {"strips": torch.ones(6, 8, 64, 3), "one pixel each": torch.ones(6, 1, 1, 3)}.items():
    add("ImagesToViews", what, lambda colors=colors: {"colors": colors, "normals": colors})


def empty_views(levels: int, count: int = 6, side: int = 32):
    alpha = torch.zeros(levels, count, side, side)
    return CharacterViews(torch.ones(*alpha.shape, 3), torch.zeros(*alpha.shape, 3), alpha, LEVEL_NAMES[:levels])


def layers(**meshes):
    return RefinedLayers(LayeredMesh(meshes or {"body": tiny_stages.box()}))


BOX = tiny_stages.box()
NAN_BOX = Mesh(BOX.vertices * math.nan, BOX.faces)
for what, given in {
    "views of nothing": lambda: {"views": empty_views(3)},
    "views of one level": lambda: {"views": empty_views(1)},
    "a body of NaN": lambda: {"layers": layers(body=NAN_BOX)},
    "hair only": lambda: {"layers": layers(hair=BOX), "views": empty_views(3)},
    "segments of nothing": lambda: {"hair_segments": torch.zeros(0, 32, 32)},
}.items():
    add("RefineLayers", what, given)
add("LiftLayers", "views of nothing", lambda: {"views": empty_views(3)})
add("ProjectColors", "views of nothing", lambda: {"views": empty_views(1)})
add("ProjectColors", "a body of NaN", lambda: {"layers": layers(body=NAN_BOX)})
add("ViewsToImages", "a level that is not there", lambda: {"views": empty_views(1), "level": "body"})
for node in ("ExportCharacter", "PreviewLayers", "SaveLayers", "SplitLayers"):
    add(node, "a body of NaN", lambda: {"layers": layers(body=NAN_BOX)})
add("ExportCharacter", "a character of a millimeter", lambda: {"height": 0.001}, False)
add("ReplaceLayers", "hair of a bald one", lambda: {"new": layers(body=BOX), "replace": "hair"}, False)
add("ReplaceLayers", "the only layer, by none", lambda: {"new": layers(hair=BOX), "replace": "body"}, False)
add("JoinLayers", "nothing", dict)
add(
    "JoinLayers",
    "the same mesh three times",
    lambda: dict.fromkeys(("body", "clothing", "hair"), good_inputs.box()),
    False,
)

# Scenes and priors ----------------------------------------------------------------------------------------------------


def scene(kind="nerf", **meta):
    good = good_inputs.scene()
    return Scene(kind, dict(good.tensors), {**good.meta, **meta})


add("DMTetRefine", "a NeRF without a field", lambda: {"scene": scene(field=None)})
add("DMTetRefine", "a scene without steps", lambda: {"scene": Scene("nerf", {}, {})})
add("BakeExport", "an unfinished NeRF", lambda: {"scene": scene()})
add("BakeExport", "a mesh scene of nothing", lambda: {"scene": scene("mesh")})
add("RenderViews", "a scene of nothing", lambda: {"source": scene()})
add("RenderViews", "a mesh scene of nothing", lambda: {"source": scene("mesh")})
add("Evaluate", "a scene of nothing", lambda: {"source": scene()})
add("Evaluate", "a mesh of NaN", lambda: {"source": changed(vertices=lambda m: m.vertices * math.nan)})
add(
    "Evaluate",
    "truth that is a point",
    lambda: {"source": good_inputs.box(), "truth": changed(vertices=lambda m: m.vertices * 0)},
)
add("SaveScene", "a scene of nothing", lambda: {"scene": Scene("nerf", {}, {})})
add("NerfStage1", "a mesh scene to go on with", lambda: {"scene": scene("mesh"), "prior": good_inputs.prior()})
add(
    "NerfStage1",
    "a dynamic prior",
    lambda: {"prior": specs.DynamicSpec(good_inputs.prior(), good_inputs.prior("text"))},
    False,
)
add(
    "NerfStage1",
    "a text prior without a prompt",
    lambda: {"prior": good_inputs.prior("text"), "reference": ReferenceView(tiny_stages.reference().views, "")},
)
VIEWS = tiny_stages.reference().views
add(
    "NerfStage1",
    "an empty reference",
    lambda: {"prior": good_inputs.prior(), "reference": ReferenceView(replace(VIEWS, alpha=VIEWS.alpha * 0), "x")},
)
add("NerfStage1", "a depth weight without depth", lambda: {"prior": good_inputs.prior(), "depth_weight": 1.0}, False)
add("DynamicStage2", "a mesh scene", lambda: {"scene": scene("mesh")})
add("DynamicStage2", "the same prior twice", lambda: {"prior_3d": good_inputs.prior(), "prior_2d": good_inputs.prior()})
add("TradeOffPrior", "no prior at all", dict)
add("TradeOffPrior", "a balance of all", lambda: {"lambda_2d_3d": 1.0, "prior_3d": good_inputs.prior()}, False)
add("CombinePriors", "weights of 0", lambda: {"weight_a": 0.0}, False)
add(
    "CombinePriors",
    "itself inside",
    lambda: {"prior_a": specs.PriorSpec(specs.Network("view"), SdsSettings()), "prior_b": "prior_a"},
)
for what, given, must in [
    ("t_min above t_max", {"t_min": 0.98, "t_max": 0.02}, True),
    ("t_min equal to t_max", {"t_min": 0.5, "t_max": 0.5}, False),
    ("guidance of 0", {"guidance": 0.0}, False),
    ("weight of 0", {"weight": 0.0}, False),
]:
    for node in ("ViewPrior", "TextPrior"):
        add(node, what, lambda given=given: given, must)
for what, given, must in [
    ("floor above ceiling", {"floor": 0.9, "ceiling": 0.1}, True),
    ("floor at ceiling", {"floor": 0.5, "ceiling": 0.5}, False),
    ("a window of one", {"window": 1}, False),
    ("blank prompt", {"prompt": "   "}, False),
]:
    add("ClipBoundary", what, lambda given=given: given, must)
for text in ("nan", "360, x", "1e9", ",".join(["1"] * 500)):
    add("RgsdPrior", f"fixed views {text[:20]!a}", lambda text=text: {"fixed_views": text})
add(
    "Estimate",
    "a grown prior for a mesh",
    lambda: {"mesh_prior": good_inputs.prior("text"), "prior": good_inputs.prior()},
    False,
)
add("DownloadWeights", "without consent", lambda: {"accept_license": False})
add("DownloadWeights", "a name of nobody", lambda: {"name": "../../etc/passwd", "accept_license": True})
add("Results", "a folder above", lambda: {"folder": "../.."})
add("Results", "a folder of half a letter", lambda: {"folder": "\ud800"})
add("Results", "a name above", lambda: {"folder": "", "filename_prefix": "../x"})
add("RenderViews", "frames of a sheet beyond memory", lambda: {"source": good_inputs.box(), "frames": 10**9})
add(
    "RenderViews",
    "the widest lens inside of the mesh",
    lambda: {"source": good_inputs.box(), "radius": 1.2, "fovy": 90.0},
    False,
)
add("ToyObject", "a seed of 2^64", lambda: {"seed": 2**64})
add("ToyObject", "version 3", lambda: {"version": "3"})
add("ToyCharacter", "cells of 1", lambda: {"cells": 1})
for node in ("LoadViewPrior", "LoadTextPrior", "LoadSlrm", "LoadDepthControl"):
    for name in ("/etc/passwd", "../../x", "\ud800", "x" * 5000):
        add(node, f"checkpoint {name[:12]!a}", lambda name=name: {"checkpoint": name})
