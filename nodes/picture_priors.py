"""Priors made of pictures: given views of the other sides, and a CLIP network that compares with the reference."""

from __future__ import annotations

import math

from comfy_api.latest import io

from ..host import types
from ..host.base import CATEGORY, Node
from ..host.convert import parse_angles
from ..host.specs import ClipImageSpec, PicturesSpec
from ..host.wires import readable
from .priors import _SHARED_TIPS, _scaled


class PicturesPrior(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_PicturesPrior", display_name="Given Views Prior", category=f"{CATEGORY}/priors",
            description="Fits pictures of other sides that are known: what SyncDreamer, Zero123++, Era3D or a renderer drew. "
                        "Alone a plain multi-view fit; with View or Text Priors in Combine Priors both. A whole set of "
                        "drawn views in the place of a network: this node. A few photos beside a prior: Photo Loss.",
            search_aliases=["multi-view", "multiview fit", "syncdreamer", "zero123++", "era3d", "six views", "photogrammetry"],
            inputs=[
                io.Image.Input("views", tooltip="Pictures of one object, on white: from RGNV Enhance, Character Views to Images, "
                                                "Render Views, or made elsewhere."),
                io.String.Input("azimuths", default="",
                                tooltip="One per view, degrees from the picture's own side, positive = its right. Empty = evenly "
                                        "around from the front. Zero123++: 30, 90, 150, 210, 270, 330; Era3D: 0, 45, 90, 180, "
                                        "270, 315."),
                io.String.Input("elevations", default="0",
                                tooltip="Degrees above the horizon, one for all or one per view. SyncDreamer: 30; Zero123++: 20, "
                                        "-10, 20, -10, 20, -10; Era3D: 0."),
                io.Float.Input("weight", default=1000.0, min=0.0, max=1e6, step=1.0, round=0.001,
                               tooltip="Multiplies the mean squared error of each picture."),
                io.Float.Input("radius", default=0.0, min=0.0, max=50.0, step=0.1, advanced=True,
                               tooltip="Distance of the views' cameras, scene units; 0 = Reference View's. Orthographic "
                                       "pictures: fovy 5 and radius 12.8 show as much."),
                io.Float.Input("fovy", default=0.0, min=0.0, max=90.0, step=1.0, advanced=True,
                               tooltip="Their vertical field of view, degrees; 0 = Reference View's."),
                types.Schedule.Input("weight_schedule", optional=True, tooltip=_SHARED_TIPS["weight_schedule"]),
            ],
            outputs=[types.Prior.Output("prior", display_name="prior", tooltip=_SHARED_TIPS["prior"])],
        )

    @classmethod
    def validate_inputs(cls, azimuths, elevations):
        """A text that cannot be read stops the queue before anything runs."""
        return readable(azimuths=azimuths, elevations=elevations)

    @classmethod
    def run(cls, views, azimuths, elevations, weight, radius, fovy, weight_schedule=None):
        count = len(views)
        turns = parse_angles(azimuths, "azimuths") or tuple(360 * k / count for k in range(count))
        heights = parse_angles(elevations, "elevations") or (0.0,)
        told = [tuple(math.radians(angle) for angle in angles) for angles in (turns, heights)]
        return io.NodeOutput(PicturesSpec(views[..., :3], told[0], told[1], _scaled(weight_schedule, weight), radius,
                                          math.radians(fovy)))


class ClipImagePrior(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_ClipImagePrior", display_name="CLIP Image Prior", category=f"{CATEGORY}/priors",
            description="Pulls every side towards the reference picture as CLIP sees it: the image term of NeuralLift-360 and "
                        "Make-It-3D. For Combine Priors, beside a Text Prior, whose schedules and ramps it then shares. To pull "
                        "towards words or another picture, or without any prior: CLIP Loss.",
            search_aliases=["neurallift-360", "make-it-3d", "clip loss", "clip guidance"],
            inputs=[
                types.Clip.Input("clip", tooltip="From Load Embedded Networks or Load CLIP Scorer."),
                io.Float.Input("weight", default=10.0, min=0.0, max=1e5, step=0.1, round=0.0001,
                               tooltip="Multiplies 1 minus the cosine of both embeddings."),
                types.Schedule.Input("weight_schedule", optional=True, tooltip=_SHARED_TIPS["weight_schedule"]),
            ],
            outputs=[types.Prior.Output("prior", display_name="prior", tooltip=_SHARED_TIPS["prior"])],
        )

    @classmethod
    def run(cls, clip, weight, weight_schedule=None):
        return io.NodeOutput(ClipImageSpec(clip, _scaled(weight_schedule, weight)))
