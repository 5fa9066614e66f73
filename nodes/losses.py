"""Losses as wires: each a small node; chained through ``losses`` and connected to a stage."""

from __future__ import annotations

from comfy_api.latest import io

from ..host import types
from ..host.base import CATEGORY, Node
from ..host.convert import parse_angles
from ..host.extra_specs import Losses, LossSpec
from ..host.wires import readable, told
from ..pipelines.core.errors import InputError
from .priors import _scaled

_OUT = "For the losses input of NeRF Stage 1 or DMTet Refine, or of another loss."
_PLACES = ("{}, degrees from the reference's camera (azimuth, to its right) and above the horizon (elevation), one number per "
           "picture, separated by commas.")


def _weight(default: float) -> list:
    return [
        io.Float.Input("weight", default=default, min=0.0, max=1e6, step=0.01, round=0.0001,
                       tooltip="Multiplies this loss; the picture's own colors weigh 5 in quickstart, 1000 elsewhere."),
        types.Schedule.Input("weight_schedule", optional=True, tooltip="Multiplies weight over progress (0..1 of the stage)."),
        types.Losses.Input("losses", optional=True, tooltip="Another loss node: all of the row count."),
    ]


def _schema(name: str, title: str, description: str, inputs: list, weight: float, aliases: list[str]):
    return io.Schema(
        node_id=f"Lift123_{name}", display_name=title, category=f"{CATEGORY}/losses", description=description,
        search_aliases=["loss", *aliases], inputs=[*inputs, *_weight(weight)],
        outputs=[types.Losses.Output("losses", display_name="losses", tooltip=_OUT)],
    )


def _row(losses, weight: float, schedule, kind: str, **parts):
    before = () if losses is None else losses.parts
    return io.NodeOutput(Losses((*before, LossSpec(kind, _scaled(schedule, weight), **parts))))


def _places(azimuths: str, elevations: str, count: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    around, up = (tuple(parse_angles(text, name)) for text, name in ((azimuths, "azimuths"), (elevations, "elevations")))
    up = up * count if len(up) == 1 else up
    for name, found in (("azimuths", around), ("elevations", up)):
        if len(found) != count:
            raise InputError(name, f"{count} numbers, one per picture", str(len(found)), "Write, for example, '0, 90, 180'.")
    if any(abs(v) > 89 for v in up):
        raise InputError("elevations", "-89 to 89 degrees", elevations, "Choose values in that range.")
    return around, up


def _pictures(images, masks, marks, size: int):
    """([N, S, S, 3] straight colors, [N, S, S] coverage) of an IMAGE batch, padded to squares, not moved."""
    import torch

    from ..pipelines.stages.inputs.marks import object_mask
    from ..pipelines.stages.inputs.reference import prepare_reference

    pairs = []
    for i in range(len(images)):
        cover, _ = object_mask(None if masks is None else masks[min(i, len(masks) - 1)][None], marks)
        view, _ = prepare_reference(images[i], cover, size=max(size, 32), recenter=False)
        small = view.resized(size)
        pairs.append((small.rgb, small.alpha))
    return torch.cat([rgb for rgb, _ in pairs]), torch.cat([alpha for _, alpha in pairs])


class PhotoLoss(Node):
    @classmethod
    def define_schema(cls):
        return _schema(
            "PhotoLoss", "Photo Loss", "Further pictures of the same object from known places: front, side and back, or the six "
            "views of a multi-view network. They are not moved or scaled: frame them like the reference. For a few photos, "
            "with masks, beside any prior or without one; a whole set of views instead of a network: Given Views Prior.",
            [io.Image.Input("images", tooltip="One or several pictures of the object on a plain background, or with masks."),
             io.String.Input("azimuths", default="90", tooltip=_PLACES.format("Where they were taken from")),
             io.String.Input("elevations", default="0", tooltip="One number for all, or one per picture; degrees."),
             io.Int.Input("size", default=64, min=16, max=512, step=8, tooltip="Side at which they are compared, pixels."),
             io.Combo.Input("mask_marks", options=["auto", "background", "object"], default="auto",
                            tooltip="What is white in the masks; as in Reference View."),
             io.Mask.Input("masks", optional=True, tooltip="One mask per picture, or one for all.")],
            5.0, ["multi-view", "photos", "three pictures", "era3d"])

    @classmethod
    def validate_inputs(cls, azimuths, elevations):
        """A text that cannot be read stops the queue before anything runs."""
        return readable(azimuths=azimuths, elevations=elevations)

    @classmethod
    def run(cls, images, azimuths, elevations, size, mask_marks, weight, masks=None, weight_schedule=None, losses=None):
        around, up = _places(azimuths, elevations, len(images))
        rgb, alpha = _pictures(images, masks, mask_marks, size)
        return _row(losses, weight, weight_schedule, "photos", pictures=rgb, masks=alpha, azimuths=around, elevations=up)


class SilhouetteLoss(Node):
    @classmethod
    def define_schema(cls):
        return _schema(
            "SilhouetteLoss", "Silhouette Loss", "Outlines from known places, without colors.",
            [io.Mask.Input("masks", tooltip="One or several masks, white = object."),
             io.String.Input("azimuths", default="90", tooltip=_PLACES.format("Where they are seen from")),
             io.String.Input("elevations", default="0", tooltip="One number for all, or one per mask; degrees."),
             io.Int.Input("size", default=64, min=16, max=512, step=8, tooltip="Side at which they are compared, pixels.")],
            2.0, ["outline", "mask"])

    @classmethod
    def validate_inputs(cls, azimuths, elevations):
        """A text that cannot be read stops the queue before anything runs."""
        return readable(azimuths=azimuths, elevations=elevations)

    @classmethod
    def run(cls, masks, azimuths, elevations, size, weight, weight_schedule=None, losses=None):
        import torch

        around, up = _places(azimuths, elevations, len(masks))
        small = torch.nn.functional.interpolate(masks[:, None].float(), (size, size), mode="area")[:, 0].clamp(0, 1)
        return _row(losses, weight, weight_schedule, "photos", masks=small, azimuths=around, elevations=up)


class SymmetryLoss(Node):
    @classmethod
    def define_schema(cls):
        return _schema("SymmetryLoss", "Symmetry Loss", "Left and right of the object are mirror images (the plane x = 0).", [],
                       1.0, ["mirror"])

    @classmethod
    def run(cls, weight, weight_schedule=None, losses=None):
        return _row(losses, weight, weight_schedule, "symmetry")


class DepthOrderLoss(Node):
    @classmethod
    def define_schema(cls):
        return _schema("DepthOrderLoss", "Depth Order Loss", "What is nearer in the reference's depth is nearer in the render; "
                       "nothing is said about how much.", [], 5.0, ["depth ranking", "sparsenerf"])

    @classmethod
    def run(cls, weight, weight_schedule=None, losses=None):
        return _row(losses, weight, weight_schedule, "depth")


class ClipLoss(Node):
    @classmethod
    def define_schema(cls):
        return _schema(
            "ClipLoss", "CLIP Loss", "Views from anywhere resemble words, a picture, or both, as CLIP sees it. Works without a "
            "prior; the papers' image term beside a text prior, inside its ramps, is CLIP Image Prior.",
            [types.Clip.Input("clip", tooltip="From Load Embedded Networks or Load CLIP Scorer."),
             io.String.Input("prompt", default="", multiline=True,
                             tooltip="Empty = the reference's prompt, unless an image is connected."),
             io.Image.Input("image", optional=True, tooltip="A picture to resemble.")],
            0.5, ["dietnerf", "clip-mesh", "dream fields"])

    @classmethod
    def run(cls, clip, prompt, weight, image=None, weight_schedule=None, losses=None):
        return _row(losses, weight, weight_schedule, "clip", clip=clip, words=prompt,
                    pictures=None if image is None else image[:1, ..., :3])


class PaletteLoss(Node):
    @classmethod
    def define_schema(cls):
        return _schema(
            "PaletteLoss", "Palette Loss", "Every color of the object is one of a few.",
            [io.String.Input("colors", default="#808080", tooltip="Colors like '#ff8800', separated by commas.")],
            1.0, ["colors"])

    @classmethod
    def validate_inputs(cls, colors):
        """A text that cannot be read stops the queue before anything runs."""
        return True if colors is None else told(parse_colors, colors)

    @classmethod
    def run(cls, colors, weight, weight_schedule=None, losses=None):
        return _row(losses, weight, weight_schedule, "palette", colors=parse_colors(colors))


class UntouchedLoss(Node):
    @classmethod
    def define_schema(cls):
        tip = "Of the box that may change, scene units; the object lives in a cube of side 2."
        return _schema(
            "UntouchedLoss", "Keep Outside Region", "For edits: outside of a box the scene looks as it did.",
            [types.Scene.Input("scene", tooltip="The scene before the edit."),
             *(io.Float.Input(f"center_{x}", default=0.0, min=-1.0, max=1.0, step=0.01, tooltip="Center. " + tip) for x in "xyz"),
             *(io.Float.Input(f"size_{x}", default=0.5, min=0.01, max=2.0, step=0.01, tooltip="Size. " + tip) for x in "xyz")],
            20.0, ["edit", "region", "mask"])

    @classmethod
    def run(cls, scene, weight, center_x, center_y, center_z, size_x, size_y, size_z, weight_schedule=None, losses=None):
        box = (center_x, center_y, center_z, size_x, size_y, size_z)
        return _row(losses, weight, weight_schedule, "untouched", scene=scene, box=box)


def parse_colors(text: str) -> tuple[tuple[float, float, float], ...]:
    """"#ff8800, #000000" -> sRGB in [0, 1]; InputError names what is wrong."""
    found = []
    for word in (part.strip().lstrip("#") for part in text.split(",") if part.strip()):
        if len(word) != 6 or any(c not in "0123456789abcdefABCDEF" for c in word):
            raise InputError("colors", "colors like '#ff8800' separated by commas", repr(word[:20]), "Write six hex digits each.")
        found.append((int(word[:2], 16) / 255, int(word[2:4], 16) / 255, int(word[4:], 16) / 255))
    if not found:
        raise InputError("colors", "at least one color", "none", "Write, for example, '#ff8800, #ffffff'.")
    return tuple(found)
