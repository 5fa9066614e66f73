"""Where a run starts: the picture, or a toy object with known truth."""

from __future__ import annotations

import math

from comfy_api.latest import io, ui

from ..host import types
from ..host.base import CATEGORY, Node, comfy_device
from ..host.convert import depth_picture, lens_of, to_comfy_mesh, to_image, to_mask
from ..pipelines.core.cameras import HOME


class ReferenceView(Node):
    ANY_RANGE = ("depth",)  # known up to scale and shift: meters will do

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_ReferenceView", display_name="Reference View", category=f"{CATEGORY}/reference",
            description="The picture to lift: checks it, cuts the object out, centers it, and places its camera.",
            search_aliases=["image to 3d", "picture to mesh", "lift123", "picture", "cutout"],
            inputs=[
                io.Image.Input("image", tooltip="One picture of one object. RGB on a plain background, RGBA, or with "
                                                "a mask."),
                io.String.Input("prompt", default="", multiline=True, placeholder="a red teapot",
                                tooltip="What the object is, in a few words. Text priors and the CLIP boundary need "
                                        "it."),
                io.String.Input("negative", default="", tooltip="What it is not; used by text priors only.",
                                advanced=True),
                io.Int.Input("size", default=256, min=32, max=1024, step=8,
                             tooltip="Side of the square reference picture, pixels. Training renders are smaller; "
                                     "the texture is fitted at this size."),
                io.Float.Input("border", default=0.2, min=0.0, max=0.8, step=0.01,
                               tooltip="Share of the picture's side left free, both margins together."),
                io.Boolean.Input("recenter", default=True,
                                 tooltip="Crop to the object and center it. Switch off only for pictures framed like "
                                         "the toy object's."),
                io.Float.Input("elevation", default=0.0, min=-80.0, max=80.0, step=1.0,
                               tooltip="How far above the horizon the picture was taken from, degrees. 0 = level."),
                io.Float.Input("radius", default=HOME.radius, min=1.5, max=10.0, step=0.05, advanced=True,
                               tooltip="Distance of the camera from the object's center, scene units. The object "
                                       "lives in a cube of side 2."),
                io.Float.Input("fovy", default=HOME.degrees, min=5.0, max=90.0, step=0.5, advanced=True,
                               tooltip="Vertical field of view, degrees."),
                io.Combo.Input("mask_marks", options=["auto", "background", "object"], default="auto",
                               tooltip="What is white in the mask. Load Image marks the transparent background; most "
                                       "segmentation nodes mark the object. auto: the background, if more than half of the "
                                       "mask's border is white."),
                io.Combo.Input("depth_convention", options=["inverse-depth", "distance"], default="inverse-depth",
                               tooltip="How to read the depth picture: bright = near (most estimators) or bright = "
                                       "far."),
                io.Mask.Input("mask", optional=True,
                              tooltip="Where the object is. Without a mask and without transparency a plain "
                                      "background is removed."),
                io.Image.Input("depth", optional=True,
                               tooltip="A depth picture of the same size, known only up to scale and shift. Improves "
                                       "the shape."),
                io.Image.Input("normal", optional=True,
                               tooltip="A normal picture of the same size, coded (n + 1) / 2 with x right, y up, z "
                                       "towards the viewer."),
                io.Load3DCamera.Input("camera", optional=True,
                                      tooltip="From Load 3D or another viewer: its height, distance and field of view take "
                                              "the place of elevation, radius and fovy. The picture stays the front."),
            ],
            outputs=[
                types.Reference.Output("reference", display_name="reference",
                                       tooltip="The checked, centered picture with its camera and prompt."),
                io.Image.Output("preview", display_name="preview", tooltip="The object on white, as stages see it."),
                io.Mask.Output("mask", display_name="mask", tooltip="Coverage of the object, 1 = object."),
                io.String.Output("report", display_name="report",
                                 tooltip="What was done to the picture, and warnings (object cut at the border, "
                                         "guessed mask)."),
            ],
        )

    @classmethod
    def run(cls, image, prompt, negative, size, border, recenter, elevation, radius, fovy, mask_marks,
            depth_convention, mask=None, depth=None, normal=None, camera=None):
        from ..pipelines.stages.inputs.marks import object_mask
        from ..pipelines.stages.inputs.reference import prepare_reference

        lens = (math.radians(elevation), radius, math.radians(fovy)) if camera is None else lens_of(camera)
        height, distance, field = lens
        cover, remarks = object_mask(mask, mask_marks)
        reference, report = prepare_reference(
            image, cover, depth, normal, prompt=prompt, negative=negative, size=size,
            border=border, recenter=recenter, radius=distance, fovy=field, elevation=height,
            depth_convention="inverse" if depth_convention == "inverse-depth" else "distance")
        preview = to_image(reference.views.on_background(1.0))
        return io.NodeOutput(reference, preview, to_mask(reference.views.alpha), "\n".join([*remarks, *report]),
                             ui=ui.PreviewImage(preview, cls=cls))


class EstimateDepth(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_EstimateDepth", display_name="Estimate Depth", category=f"{CATEGORY}/reference",
            description="Adds an estimated depth to a reference view; the stages then fit the visible side's relief.",
            search_aliases=["depth", "midas"],
            inputs=[
                types.Reference.Input("reference", tooltip="A reference view; its object must already be cut out."),
                types.Depth.Input("depth_network", tooltip="From Load Depth Network or Load Embedded Networks."),
            ],
            outputs=[
                types.Reference.Output("reference", display_name="reference",
                                       tooltip="The same reference view with depth."),
                io.Image.Output("depth", display_name="depth",
                                tooltip="The estimate as inverse depth: bright = near, black = background."),
            ],
        )

    @classmethod
    def run(cls, reference, depth_network):
        from dataclasses import replace

        from ..pipelines.stages.inputs.picture_depth import depth_of_reference

        views, device = reference.views, comfy_device()
        depth = depth_of_reference(reference, depth_network.load(device), device)[None]
        picture = depth_picture(depth, views.alpha)
        reference = replace(reference, views=replace(views, depth=depth, depth_is_metric=False))
        return io.NodeOutput(reference, picture, ui=ui.PreviewImage(picture, cls=cls))


class DepthPicture(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_DepthPicture", display_name="Depth Picture", category=f"{CATEGORY}/reference",
            description="Estimated depth of a picture as a picture, for Reference View's depth input. Sees the whole "
                        "photograph, background included, as Magic123 does.",
            search_aliases=["depth", "midas", "depth map"],
            inputs=[
                io.Image.Input("image", tooltip="One picture, the same one that goes into Reference View."),
                types.Depth.Input("depth_network", tooltip="From Load Depth Network or Load Embedded Networks."),
                io.Combo.Input("mask_marks", options=["auto", "background", "object"], default="auto",
                               tooltip="What is white in the mask, as in Reference View."),
                io.Mask.Input("mask", optional=True,
                              tooltip="Where the object is; limits the picture's range to it. The embedded network needs the "
                                      "object alone: without mask and transparency a plain background is removed."),
            ],
            outputs=[io.Image.Output("depth", display_name="depth",
                                     tooltip="Inverse depth: bright = near, black = outside the mask. Reference View's default "
                                             "convention.")],
        )

    @classmethod
    def run(cls, image, depth_network, mask_marks, mask=None):
        from ..pipelines.stages.inputs.marks import object_mask
        from ..pipelines.stages.inputs.picture_depth import check_picture, depth_of_picture

        device = comfy_device()
        cover, _ = object_mask(mask, mask_marks)
        check_picture(image, cover)
        depth, cover = depth_of_picture(image, depth_network.load(device), cover, device)
        picture = depth_picture(depth[None], cover[None])
        return io.NodeOutput(picture, ui=ui.PreviewImage(picture, cls=cls))


class ToyObject(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_ToyObject", display_name="Toy Object", category=f"{CATEGORY}/reference",
            description="A procedural object with everything known: picture, mask, depth, caption and true mesh. "
                        "Tests any graph against the truth without data.",
            search_aliases=["test object", "procedural", "ground truth"],
            inputs=[
                io.Int.Input("size", default=256, min=32, max=1024, step=8, tooltip="Side of the picture, pixels."),
                io.Float.Input("azimuth", default=0.0, min=-180.0, max=180.0, step=5.0,
                               tooltip="Degrees; 0 = front, positive = the camera moves to its own right."),
                io.Float.Input("elevation", default=0.0, min=-80.0, max=80.0, step=5.0,
                               tooltip="Degrees above the horizon."),
                io.Int.Input("seed", default=7, min=0, max=0xFFFFFFFF, control_after_generate=True,
                             tooltip="Which object; the same seed always makes the same object."),
                # Behind the seed and optional, first one by default: graphs saved before it existed mean what they meant.
                io.Combo.Input("version", options=["1", "2"], default="1", optional=True,
                               tooltip="Of the toybox. 1: simple shapes. 2: harder ones, with thin parts, hollows, letters, "
                                       "gloss and fronts unlike backs. A seed means another object in each."),
            ],
            outputs=[
                io.Image.Output("image", display_name="image", tooltip="The object on white."),
                io.Mask.Output("mask", display_name="mask",
                               tooltip="1 = object: in Reference View mask_marks may be 'auto' or 'object'."),
                io.Image.Output("depth", display_name="depth", tooltip="True depth as inverse depth: bright = near."),
                io.String.Output("caption", display_name="caption", tooltip="What the object is, for prompts."),
                io.Mesh.Output("mesh", display_name="mesh", tooltip="The true mesh with vertex colors."),
            ],
        )

    @classmethod
    def run(cls, size, azimuth, elevation, seed, version="1"):
        from ..pipelines.toybox.objects import make_object
        from ..pipelines.toybox.render import render_toy

        toy = make_object(seed, int(version))
        cameras = HOME.orbit(math.radians(azimuth), math.radians(elevation), size)
        views = render_toy(toy, cameras, supersample=2)
        picture = to_image(views.on_background(1.0))
        assert views.depth is not None, "toys are rendered with it"
        return io.NodeOutput(picture, to_mask(views.alpha), depth_picture(views.depth, views.alpha), toy.caption,
                             to_comfy_mesh(toy.mesh), ui=ui.PreviewImage(picture, cls=cls))
