"""HiFi-123's nodes: enhance views by a reference, see why it works, and RGSD as a prior for the mesh stage."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from comfy_api.latest import io, ui

from ..host import checkpoints, types
from ..host.base import CATEGORY, Node, device_with_room, node_key
from ..host.controlled import ControlledNetwork
from ..host.convert import parse_angles, to_image
from ..host.finished import Packet
from ..host.runner import run_stage
from ..host.specs import AnyNetwork
from ..host.unfinished import Shelf
from ..host.wires import readable
from ..pipelines.catalog import registry
from ..pipelines.core.choices import Space
from ..pipelines.core.errors import InputError
from ..pipelines.core.schedules import Constant
from ..pipelines.networks.depth_text import BACKGROUNDS as KNOWN_BACKGROUNDS
from .networks import Loader, choice

if TYPE_CHECKING:
    from ..pipelines.methods.rgnv import RgnvSettings
    from ..pipelines.priors.rgsd import Aim, RgsdSettings
    from ..pipelines.stages.objects.enhance_views import Choice

BACKGROUNDS = ("auto", *KNOWN_BACKGROUNDS)
ABLATION = {  # the paper's Fig. 7 -> settings of RgnvSettings
    "all": {}, "no attention": {"inject": False}, "no depth": {"depth": False}, "noise instead of inversion": {"start": "noise"},
}
NETWORK_TIP = "From Load Embedded Networks, Load Depth-Text Network or Load Depth ControlNet Pair."
DEPTH_TIP = "Estimates depth where none is known: of the views, and of the reference if it has none."


class LoadDepthText(Loader):
    KIND = "depth_text"

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_LoadDepthText", display_name="Load Depth-Text Network", category=f"{CATEGORY}/networks",
            description="Depth-conditioned Stable Diffusion 2 from a local diffusers folder: the network behind HiFi-123.",
            search_aliases=["hifi123", "depth2img", "stable diffusion 2 depth", "sd2 depth"],
            inputs=choice("depth_text"),
            outputs=[types.DepthText.Output("depth_text", display_name="depth-text network",
                                            tooltip="For RGNV Enhance, RGSD Prior and Invert and Reconstruct.")],
        )


class LoadDepthControl(Node):
    @classmethod
    def define_schema(cls):
        names = checkpoints.names("depth_control")
        return io.Schema(
            node_id="Lift123_LoadDepthControl", display_name="Load Depth ControlNet Pair", category=f"{CATEGORY}/networks",
            description="Stable Diffusion 1.5 (or 2.x) with a depth ControlNet as a depth-text network: the stand-in where "
                        "depth-conditioned Stable Diffusion 2 is not at hand.",
            search_aliases=["hifi123", "controlnet depth", "depth2img"],
            inputs=[
                io.Combo.Input("checkpoint", options=[n for n in checkpoints.names("text") if not registry.is_single(n)
                                                      and n != checkpoints.EMBEDDED],
                               default="stable-diffusion-v1-5",
                               tooltip="The text network: a folder of models/diffusers/. Nothing is downloaded."),
                io.Combo.Input("controlnet", options=names, default=names[0],
                               tooltip="Its depth ControlNet: a folder of models/diffusers/. SD 1.5 and 2.x have their own."),
                io.Float.Input("strength", default=1.0, min=0.0, max=2.0, step=0.05, advanced=True,
                               tooltip="Of the ControlNet; 0 = depth is not seen at all."),
            ],
            outputs=[types.DepthText.Output("depth_text", display_name="depth-text network",
                                            tooltip="For RGNV Enhance, RGSD Prior and Invert and Reconstruct.")],
        )

    @classmethod
    def validate_inputs(cls, checkpoint, controlnet, strength):
        """The queue stops here, before any work, when files are absent or do not belong together."""
        try:
            ControlledNetwork(checkpoint, controlnet, strength).check()
            return True
        except InputError as problem:
            return str(problem)

    @classmethod
    def run(cls, checkpoint, controlnet, strength):
        network = ControlledNetwork(checkpoint, controlnet, strength)
        network.check()
        return io.NodeOutput(network)


def inversion_inputs(steps: int, rungs: int) -> list:
    """How far pictures are inverted, with the paper's numbers as defaults."""
    return [
        io.Int.Input("steps", default=steps, min=2, max=1000,
                     tooltip=f"Into how many steps the noise schedule is cut. The paper: {steps}."),
        io.Int.Input("rungs", default=rungs, min=1, max=1000,
                     tooltip=f"How many of them are inverted. The paper: {rungs} of {steps}. More: texture closer to the "
                             "reference, shape further from the view."),
    ]


CORRECTIONS = io.Int.Input(
    "corrections", default=0, min=0, max=8, advanced=True,
    tooltip="Fixed-point corrections of each inversion step: closer reconstruction for one more evaluation each. The paper "
            "has none.")


BACKGROUND = io.Combo.Input(
    "background", options=list(BACKGROUNDS), default="auto", advanced=True,
    tooltip="What the network sees behind objects. auto: what it was trained on (embedded: white). textured: the released "
            "code's rough gray behind the reference and plain gray behind views; Stable Diffusion dislikes pure white.")


class RgnvEnhance(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_RgnvEnhance", display_name="RGNV Enhance", category=f"{CATEGORY}/networks",
            description="Gives coarse novel views the reference picture's texture: inversion and attention to the reference, "
                        "nothing is trained (HiFi-123).",
            search_aliases=["hifi123", "novel view enhancement", "texture transfer", "masactrl", "rgnv"],
            inputs=[
                types.Reference.Input("reference", tooltip="The picture whose texture the views shall have."),
                types.DepthText.Input("depth_text_network", tooltip=NETWORK_TIP),
                io.Image.Input("views", tooltip="Coarse views of the same object: from Sample Views, Render Views or elsewhere."),
                *inversion_inputs(50, 30),
                io.Float.Input("guidance", default=9.0, min=0.0, max=50.0, step=0.5,
                               tooltip="Classifier-free guidance of the views. The released code: 9. 1 and 0 (without words) "
                                       "cost half."),
                io.Combo.Input("ablation", options=list(ABLATION), default="all",
                               tooltip="Leave a part of the method out to see what it does (the paper's Fig. 7)."),
                io.Combo.Input("words", options=["orbit", "plain"], default="orbit",
                               tooltip="orbit: the prompt says front, side or back view, by where the views are. plain: the "
                                       "prompt as it is."),
                io.String.Input("layers", default="", advanced=True,
                                tooltip="Self-attention layers that look at the reference, by name, separated by commas. Empty = "
                                        "the last quarter (up_blocks.2.attentions.2 and up_blocks.3), as the released code."),
                io.Boolean.Input("keep_background", default=False, advanced=True,
                                 tooltip="Hold the background of the inverted view in place (ours; costs nothing)."),
                io.Boolean.Input("object_only", default=False, advanced=True,
                                 tooltip="Views look at the reference's object only, not at its background (ours)."),
                CORRECTIONS, BACKGROUND,
                io.String.Input("azimuths", default="",
                                tooltip="Where the views are, degrees from the picture's own side: from Sample Views, or "
                                        "written. Empty = evenly around. They choose the words front, side or back."),
                io.Combo.Input("mask_marks", options=["auto", "background", "object"], default="auto",
                               tooltip="What is white in the mask, as in Reference View."),
                io.Combo.Input("space", options=["latents", "pictures"], default="latents", optional=True, advanced=True,
                               tooltip="What a result is. latents: decoded, as in the paper. pictures: the view, by what its "
                                       "latents changed, less so towards the outline (ours; for small autoencoders such as "
                                       "the embedded one)."),
                io.Mask.Input("mask", optional=True,
                              tooltip="The object in each view. Without it a plain background is found."),
                types.Depth.Input("depth_network", optional=True, tooltip=DEPTH_TIP),
                io.Image.Input("depth", optional=True,
                               tooltip="Depth of each view as inverse depth (bright = near), for example from Render Views."),
            ],
            outputs=[
                io.Image.Output("views", display_name="views", tooltip="The enhanced views on white, at the network's size."),
                io.Image.Output("comparison", display_name="comparison", tooltip="Each view before (left) and after (right)."),
                io.String.Output("report", display_name="report", tooltip="What it cost, in evaluations of the network."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, depth_text_network, azimuths):
        """What the graph alone tells to be wrong stops the queue before anything runs."""
        return readable(azimuths=azimuths)

    @classmethod
    def run(cls, reference, depth_text_network, views, steps, rungs, guidance, ablation, words, layers, keep_background,
            object_only, corrections, background, azimuths, mask_marks, space="latents", mask=None, depth_network=None,
            depth=None):
        from ..pipelines.core.journal import Journal
        from ..pipelines.methods.depth_noise import NAME
        from ..pipelines.stages.inputs.marks import object_mask
        from ..pipelines.stages.inputs.reference import depth_of_inverse
        from ..pipelines.stages.objects.enhance_views import check_views, enhance_views

        cameras = None if words == "plain" else _around(reference, len(views), parse_angles(azimuths, "azimuths"))
        depth_text_network.check()
        settings = guide_settings(steps, rungs, guidance=guidance, corrections=corrections, lock=keep_background,
                             object_only=object_only, space=space, **ABLATION[ablation],
                             layers=tuple(n.strip() for n in layers.split(",") if n.strip()))
        masks, _ = object_mask(mask, mask_marks, close=True)
        depths = None if depth is None else depth_of_inverse(depth)
        check_views(views[..., :3], masks, depths, cameras)
        device = device_with_room()
        estimator = None if depth_network is None else depth_network.load(device)
        reference = with_depth(reference, estimator, device, settings.depth)
        shelf = Shelf(NAME, reference=reference, depth_text_network=depth_text_network, views=views[..., :3], masks=masks,
                      depths=depths, cameras=cameras, settings=settings, depth_network=depth_network, background=background,
                      device=device.type)
        known, network = shelf.find(Journal.unpack) or Journal(), depth_text_network.load(device)

        def work(hooks) -> Packet:
            before, after, guide = enhance_views(
                network, reference, views[..., :3], masks, depths, cameras, settings, estimator=estimator, device=device,
                background=background, on_step=hooks["on_step"], journal=replace(known, autosave=hooks["autosave"]))
            spent = guide.spent
            return Packet({"before": before, "after": after}, {"report": (
                f"{len(views)} views at {guide.image_size} px: {spent.pictures} evaluations in {spent.calls} calls of the "
                f"network, {2 * rungs if settings.inject else 0} of them for the reference; layers: "
                + ", ".join(n.split(".transformer")[0] for n in guide.layers))})

        done = run_stage(NAME, work, node_key(cls), shelf=shelf, unpack=Packet.unpack)
        before, after, report = done.tensors["before"], done.tensors["after"], done.told["report"]
        shown = to_image(torch.cat([before, after], 2))
        return io.NodeOutput(to_image(after), shown, report, ui=ui.PreviewImage(shown, cls=cls))


class RgsdPrior(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_RgsdPrior", display_name="RGSD Prior", category=f"{CATEGORY}/priors",
            description="Reference-guided state distillation: pulls every side of a mesh's texture towards what the reference "
                        "suggests (HiFi-123). For DMTet Refine with what = texture.",
            search_aliases=["hifi123", "rgsd", "reference guided", "texture prior"],
            inputs=[
                types.DepthText.Input("depth_text_network", tooltip=NETWORK_TIP),
                io.String.Input("prompt", default="", multiline=True,
                                tooltip="Empty = the reference view's prompt. Front, side or back view is added."),
                io.Float.Input("weight", default=0.025, min=0.0, max=1000.0, step=0.001, round=0.0001,
                               tooltip="Multiplies the loss. 0.025 goes with a color weight of 1000 and reduction half sum "
                                       "(ours; the paper gives none)."),
                io.Float.Input("guidance", default=7.5, min=0.0, max=50.0, step=0.5,
                               tooltip="Classifier-free guidance of the targets. The paper: 7.5. 0 = without words (ours; best "
                                       "for the embedded network)."),
                *inversion_inputs(20, 12),
                io.Int.Input("reuse", default=4, min=1, max=64,
                             tooltip="Visits that each random view's target serves (ours); 1 = a new one at every visit, as the "
                                     "paper, at about 3 times the cost of 4."),
                io.Int.Input("slots", default=4, min=1, max=64, advanced=True,
                             tooltip="Random views that are shown in turn while their targets last (ours)."),
                io.Combo.Input("tau", options=["draw", "mean"], default="draw", advanced=True,
                               tooltip="One noise level per visit (paper), or the weighted mean over all of them: the same "
                                       "expected gradient without its variance (ours)."),
                io.String.Input("fixed_views", default="120, -120", advanced=True,
                                tooltip="Azimuths of the fixed views, degrees from the picture's; empty = none."),
                io.Combo.Input("reduction", options=["half sum", "sum", "mean"], default="half sum", advanced=True,
                               tooltip="Over the latent; weights do not carry over. half sum: threestudio; sum: Algorithm 1."),
                io.Boolean.Input("object_only", default=False, advanced=True,
                                 tooltip="Targets look at the reference's object only, not at its background (ours)."),
                CORRECTIONS, BACKGROUND,
                io.Combo.Input("space", options=["latents", "pictures"], default="latents", optional=True, advanced=True,
                               tooltip="What is pulled. latents: the paper. pictures: the render, by what the guide changes in "
                                       "it (ours; for small autoencoders such as the embedded one)."),
                io.Combo.Input("aim", options=["states", "image"], default="states", optional=True, advanced=True,
                               tooltip="states: RGSD. image: the paper's image loss, against finished pictures (Fig. 4 c)."),
            ],
            outputs=[types.Prior.Output("prior", display_name="prior", tooltip="Wire into DMTet Refine, with what = texture.")],
        )

    @classmethod
    def validate_inputs(cls, fixed_views):
        """What the graph alone tells to be wrong stops the queue before anything runs."""
        return readable(fixed_views=fixed_views)

    @classmethod
    def run(cls, depth_text_network, prompt, weight, guidance, steps, rungs, reuse, slots, tau, fixed_views, reduction,
            object_only, corrections, background, space: Space = "latents", aim: Aim = "states"):
        from ..pipelines.priors.rgsd import RgsdSettings

        guide = guide_settings(steps, rungs, guidance=guidance, corrections=corrections, object_only=object_only)
        settings = RgsdSettings(Constant(weight), reduction, tau, parse_angles(fixed_views, "fixed_views"), slots, reuse,
                                space=space, aim=aim)
        return io.NodeOutput(RgsdSpec(depth_text_network, settings, guide, prompt, background))


@dataclass(frozen=True)
class RgsdSpec:
    """RGSD as it travels on a wire (see ``specs.PriorSpec``).

    settings: ``pipelines.priors.rgsd.RgsdSettings``; guide: ``pipelines.methods.rgnv.RgnvSettings``; background: one of
    ``BACKGROUNDS``.
    """

    network: AnyNetwork
    settings: RgsdSettings
    guide: RgnvSettings
    prompt: str = ""
    background: Choice = "auto"

    def kinds(self) -> set[str]:
        return {"depth_text"}

    def check(self, reference) -> None:
        """InputError before any work: files, depth."""
        self.network.check()
        if reference.views.depth is None:
            raise InputError("reference", "a depth map", "none", "Put Estimate Depth behind Reference View, or wire a depth "
                             "picture into it.")

    def build(self, reference, device: torch.device):
        """The prior on ``device``, conditioned on the reference view."""
        from ..pipelines.stages.objects.enhance_views import rgsd_prior

        reference = reference.with_prompt(self.prompt.strip() or reference.prompt, reference.negative)
        return rgsd_prior(self.network.load(device), reference, self.settings, self.guide, device, self.background)


def guide_settings(steps: int, rungs: int, **others):
    """``RgnvSettings``; InputError for more rungs than steps."""
    from ..pipelines.methods.rgnv import RgnvSettings

    if rungs > steps:
        raise InputError("rungs", f"at most steps ({steps})", str(rungs), "Lower rungs or raise steps.")
    return RgnvSettings(steps=steps, rungs=rungs, **others)


def with_depth(reference, estimator, device, wanted: bool):
    """The reference with a depth map where it is wanted, absent, and can be estimated."""
    if not wanted or reference.views.depth is not None or estimator is None:
        return reference
    from ..pipelines.stages.inputs.picture_depth import depth_of_reference

    depth = depth_of_reference(reference, estimator, device)[None]
    return replace(reference, views=replace(reference.views, depth=depth, depth_is_metric=False))


def _around(reference, count: int, degrees: tuple[float, ...]):
    """Cameras of ``count`` views: at these azimuths, or evenly around the object from the picture's side."""
    from ..pipelines.stages.objects.sample_views import around

    if degrees and len(degrees) != count:
        raise InputError("azimuths", f"{count} numbers, one per view", str(len(degrees)),
                         "Wire Sample Views' azimuths, or leave this empty for views evenly around the object.")
    return around(reference, count, float(reference.camera.elevation[0]), tuple(math.radians(d) for d in degrees))
