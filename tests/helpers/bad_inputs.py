"""Inputs that a clumsy or hostile person gives, thought of by hand: swapped wires, wrong pairings, absurd numbers, odd files.

``CASES``: name -> Case.  Those of ``must`` have to be refused; the others are odd but allowed: a result of finite numbers, or
one clear error.
"""

from __future__ import annotations

import io as std_io
import math
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import torch

from helpers import good_inputs, tiny_stages
from helpers.comfy_modules import prepare
from helpers.gltf_tiny import textured_box

prepare()
from comfy_api.latest import Types
from lift123.host import specs
from lift123.pipelines.core.schedules import Constant
from lift123.pipelines.stages.characters.refined_layers import RefinedLayers


@dataclass(frozen=True)
class Case:
    """node: without "Lift123_".  given: makes the inputs that are not good ones.  must: whether it has to be refused."""

    node: str
    given: Callable[[], dict]
    must: bool = True


CASES: dict[str, Case] = {}


def add(node: str, what: str, given: Callable[[], dict], must: bool = True) -> None:
    """One more case."""
    name = f"{node}: {what}"
    assert name not in CASES, name
    CASES[name] = Case(node, given, must)


# Wires in the wrong input ---------------------------------------------------------------------------------------------

THINGS: dict[str, Callable] = {
    "picture": good_inputs.disc,
    "mask": good_inputs.inside,
    "mesh": good_inputs.box,
    "scene": good_inputs.scene,
    "reference": tiny_stages.reference,
    "view-prior": good_inputs.prior,
    "text-prior": lambda: good_inputs.prior("text"),
    "view-net": lambda: specs.Network("view"),
    "text-net": lambda: specs.Network("text"),
    "clip": lambda: specs.Network("clip"),
    "depth-net": lambda: specs.Network("depth"),
    "slrm": lambda: specs.Network("slrm"),
    "layers": good_inputs.layers,
    "canonical": lambda: specs.Network("canonical"),
    "multiview": lambda: specs.Network("multiview"),
    "depth-text": lambda: specs.Network("depth_text"),
    "views": good_inputs.views,
    "camera": lambda: good_inputs.CAMERA,
    "schedule": Constant,
    "boundary": lambda: good_inputs.wire("LIFT123_BOUNDARY", ""),
    "glb": lambda: file(),
    "text": lambda: "a box",
    "number": lambda: 7,
    "latent": lambda: {"samples": torch.zeros(1, 4, 8, 8)},
    "conditioning": lambda: [[torch.zeros(1, 77, 8), {}]],
    "pictures": lambda: [good_inputs.disc(), good_inputs.disc()],
    "array": lambda: np.zeros((64, 64, 3)),
    "nan": lambda: math.nan,
    "model": lambda: SimpleNamespace(model=None),
    "class": lambda: RefinedLayers,
    "module": lambda: math,
    "bytes": lambda: b"\0" * 99,
    "path": lambda: "/etc/passwd",
    "true": lambda: True,
    "ramp": lambda: specs.DynamicSpec(good_inputs.prior(), good_inputs.prior("text")),
}
SWAPS = """
ReferenceView.image mask latent array pictures mesh text reference bytes
ReferenceView.mask picture reference text true
ReferenceView.depth mask depth-net reference number
ReferenceView.normal mask mesh text
DepthPicture.image reference mask latent
DepthPicture.depth_network clip view-net picture text
EstimateDepth.reference picture scene views
EstimateDepth.depth_network depth-text slrm picture
TextualInversion.reference picture text
TextualInversion.text_network view-net clip text conditioning
SampleViews.reference picture scene views mesh
SampleViews.view_network text-net multiview view-prior model path
SampleViews.camera picture text number conditioning
RgnvEnhance.reference picture scene
RgnvEnhance.depth_text_network text-net depth-net
RgnvEnhance.views views mask reference latent pictures
RgnvEnhance.depth depth-net mask
InvertReconstruct.depth_text_network view-net picture
ViewPrior.view_network text-net view-prior picture path
ViewPrior.weight_schedule number text view-prior
TextPrior.text_network view-net clip text
CombinePriors.prior_a view-net schedule number ramp
CombinePriors.schedule_a number view-prior nan
TradeOffPrior.prior_3d text-prior view-net
TradeOffPrior.prior_2d view-prior text-net
DynamicPrior.prior_3d text-prior schedule
DynamicPrior.prior_2d view-prior ramp
DynamicStage2.prior_3d text-prior boundary
DynamicStage2.scene reference layers mesh picture
RgsdPrior.depth_text_network text-net depth-net clip
ClipBoundary.clip text-net depth-net text
NerfStage1.reference picture scene view-prior
NerfStage1.prior view-net boundary reference
NerfStage1.boundary clip view-prior
NerfStage1.scene reference mesh layers
NerfStage1.options schedule text class
DMTetRefine.scene mesh reference layers glb
DMTetRefine.prior text-net scene
Estimate.reference picture scene
Estimate.prior view-net number
MeshToScene.mesh scene layers picture text module
MeshToScene.reference picture mesh
Canonicalize.image mask views layers
Canonicalize.canonical multiview slrm text
CharacterMultiView.image mask reference
CharacterMultiView.multiview canonical view-net
ViewsToImages.views picture layers pictures
ImagesToViews.colors views mask
ImagesToViews.normals views mask number
LiftLayers.views picture layers
LiftLayers.slrm multiview picture
RefineLayers.layers views mesh scene class
RefineLayers.views picture layers
RefineLayers.hair_segments picture text
ReplaceLayers.old mesh views
ReplaceLayers.new mesh scene
SplitLayers.layers mesh views
JoinLayers.body layers scene picture
JoinLayers.hair mask text
SaveLayers.layers scene mesh
ProjectColors.layers mesh scene
ProjectColors.views pictures layers
PreviewLayers.layers views mesh
ExportCharacter.layers scene mesh glb
RenderViews.source layers reference picture path
RenderViews.camera picture reference
Evaluate.source layers picture
Evaluate.truth picture scene
Evaluate.reference picture mesh
CompareSets.pictures views mask
CompareSets.truth reference latent
BakeExport.scene mesh layers glb reference
MeshToFile3D.mesh glb scene layers array
File3DToMesh.file mesh text bytes path
SaveScene.scene layers mesh
ModelAsText.model text-net picture
ModelAsText.clip clip text
ModelAsView.vae model view-net
"""
for line in SWAPS.split("\n"):
    at, _, things = line.partition(" ")
    for thing in things.split():
        add(
            at.partition(".")[0],
            f"{at.partition('.')[2]} is a {thing}",
            lambda at=at, thing=thing: {at.partition(".")[2]: THINGS[thing]()},
        )


# Pictures and masks ---------------------------------------------------------------------------------------------------


def file(data: bytes | None = None, kind: str = "glb"):
    """A 3D file in memory; by default a textured box."""
    return Types.File3D(std_io.BytesIO(textured_box().packed() if data is None else data), kind)


def spotted(pixels: int) -> torch.Tensor:
    mask = torch.zeros(1, 64, 64)
    mask[0, 30 : 30 + pixels, 30 : 30 + pixels] = 1
    return mask


def clear(alpha: float) -> torch.Tensor:
    return torch.cat([good_inputs.disc(), torch.full((1, 64, 64, 1), alpha)], -1)


noise = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(0))
square, marks = good_inputs.disc, {"mask_marks": "object"}
PICTURES: list[tuple[str, Callable[[], dict], bool]] = [
    ("1 x 1", lambda: {"image": torch.zeros(1, 1, 1, 3)}, True),
    ("1 x 10000", lambda: {"image": torch.ones(1, 1, 10_000, 3)}, True),
    ("10000 x 1", lambda: {"image": torch.ones(1, 10_000, 1, 3)}, True),
    ("10 x 10", lambda: {"image": square()[:, :10, :10]}, True),
    ("white all over", lambda: {"image": torch.ones(1, 64, 64, 3)}, True),
    ("black", lambda: {"image": torch.zeros(1, 64, 64, 3)}, True),
    ("noise", lambda: {"image": noise}, True),
    ("a batch of two", lambda: {"image": square(2)}, True),
    ("0..255", lambda: {"image": square() * 255}, True),
    ("-1..1", lambda: {"image": square() * 2 - 1}, True),
    ("of 8 bits", lambda: {"image": (square() * 255).to(torch.uint8)}, False),
    ("of int64", lambda: {"image": (square() * 255).long()}, True),
    ("of half precision", lambda: {"image": square().half()}, False),
    ("gray", lambda: {"image": square()[..., :1]}, False),
    ("of two channels", lambda: {"image": square()[..., :2]}, True),
    ("without a batch", lambda: {"image": square()[0]}, False),
    ("with channels first", lambda: {"image": square().movedim(-1, 1)}, True),
    ("five-dimensional", lambda: {"image": square()[None]}, True),
    ("transparent", lambda: {"image": clear(0.0)}, True),
    ("nearly transparent", lambda: {"image": clear(0.3)}, True),
    ("opaque RGBA", lambda: {"image": clear(1.0)}, False),
    ("one NaN", lambda: {"image": square().index_put((torch.tensor(0),) * 4, torch.tensor(math.nan))}, True),
    ("mask of nothing", lambda: {"mask": spotted(0), **marks}, True),
    ("mask of all", lambda: {"mask": torch.ones(1, 64, 64), **marks}, True),
    ("mask of a pixel", lambda: {"mask": spotted(1), **marks}, True),
    ("mask of 3 x 3", lambda: {"mask": spotted(3), **marks}, False),
    ("mask of 0.3", lambda: {"mask": spotted(20) * 0.3, **marks}, True),
    ("mask of 63 x 64", lambda: {"mask": spotted(9)[:, :63], **marks}, True),
    ("two masks", lambda: {"mask": spotted(9).repeat(2, 1, 1), **marks}, True),
    ("mask of 0 and 255", lambda: {"mask": spotted(9) * 255}, True),
    ("mask of bytes", lambda: {"mask": (spotted(9) * 255).to(torch.uint8), **marks}, False),
    ("mask of booleans", lambda: {"mask": spotted(9) > 0, **marks}, False),
    ("mask below 0", lambda: {"mask": spotted(9) - 1}, True),
    ("mask said to mark the background", lambda: {"mask": spotted(30), "mask_marks": "background"}, True),
    ("even depth", lambda: {"depth": torch.full((1, 64, 64, 3), 0.5)}, False),
    ("depth in meters", lambda: {"depth": square() * 40}, False),
    ("two depths", lambda: {"depth": square(2)}, True),
    ("depth of 63", lambda: {"depth": square()[:, :63]}, True),
    ("negative depth", lambda: {"depth": -square()}, False),
    ("normals of 0..255", lambda: {"normal": square() * 255}, True),
    ("normals of -1..1", lambda: {"normal": square() * 2 - 1}, True),
    ("normals of 32", lambda: {"normal": square(1, 32)}, True),
    ("gray normals", lambda: {"normal": torch.full((1, 64, 64, 3), 0.5)}, False),
    ("normals of one channel", lambda: {"normal": square()[..., :1]}, True),
    ("the widest view", lambda: {"fovy": 90.0, "radius": 1.5}, False),
    ("the narrowest view", lambda: {"fovy": 5.0, "radius": 10.0, "elevation": 80.0}, False),
    ("no room", lambda: {"border": 0.8}, False),
    ("no border", lambda: {"border": 0.0, "recenter": False}, False),
    ("a size of 33", lambda: {"size": 33}, False),
    ("a prompt of emoji", lambda: {"prompt": "\U0001f43b\u200d\u2744 \u202eabc"}, False),
    ("a prompt of half a letter", lambda: {"prompt": "\ud800"}, True),
    ("a prompt of 30,000 letters", lambda: {"prompt": "bear " * 6000}, True),
    ("a convention in other words", lambda: {"depth_convention": "inverse"}, True),
    ("marks in capitals", lambda: {"mask_marks": "Object"}, True),
    ("recenter 1", lambda: {"recenter": 1}, True),
    ("a size of 256.0", lambda: {"size": 256.0}, True),
]
for what, given, must in PICTURES:
    add("ReferenceView", what, given, must)
for what, given, must in [
    ("a figure of a pixel", lambda: {"image": torch.ones(1, 1, 1, 3)}, True),
    ("nothing drawn", lambda: {"image": torch.ones(1, 64, 64, 3)}, True),
    ("two figures", lambda: {"image": square(2)}, True),
    ("0..255", lambda: {"image": square() * 255}, True),
    ("a mask of nothing", lambda: {"mask": spotted(0), **marks}, True),
    ("guidance below 1", lambda: {"guidance": 0.5}, False),
]:
    add("Canonicalize", what, given, must)
for what, given in [
    ("0..255", lambda: {"image": square() * 255}),
    ("two pictures", lambda: {"image": square(2)}),
    ("a strip", lambda: {"image": torch.ones(1, 4, 4000, 3)}),
]:
    add("DepthPicture", what, given)
