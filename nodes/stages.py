"""The long nodes: NeRF until the CLIP boundary, NeRF under the dynamic prior, mesh refinement."""

from __future__ import annotations

from dataclasses import replace

from comfy_api.latest import io, ui

from ..host import types
from ..host.base import CATEGORY, Node, device_with_room, node_key
from ..host.convert import to_image
from ..host.memory import require_mesh, require_nerf
from ..host.runner import run_stage, say
from ..host.specs import BoundarySpec, DynamicSpec
from ..host.story import with_settings
from ..host.unfinished import Shelf
from ..host.wires import crossed
from ..pipelines.core.choices import Clock
from ..pipelines.core.errors import InputError
from ..pipelines.core.schedules import Form
from ..pipelines.core.settings import configured
from .stage_settings import mesh_settings, overridden, quality_setting, size_settings

PRESETS = ["quickstart", "standard", "paper", "printed", "magic123 quickstart", "magic123 standard", "magic123 paper",
           "magic123 printed", "hifi123 quickstart", "hifi123 standard", "hifi123 paper"]
_PRESET_TIP = ("Where all settings that are not on this node come from. quickstart: CPU, embedded networks; standard "
               "(a quarter to a half of the iterations), paper (the released code) and printed (the paper's words): GPU, "
               "public checkpoints; all Consistent123's unless they say magic123 (they want Reference View at "
               "radius 1.8 and fovy 40) or hifi123 (standard and paper want radius 3.8; the mesh stage wants RGSD Prior and "
               "what = texture). Estimate Time and Memory says what they cost here.")
_OPTIONS_TIP = "From Stage Options: single settings that replace the preset's."
_REPORT_TIP = "Where the stage ended and why, and which losses were left out because their input is missing."
_LOSSES_TIP = "From a loss node (Photo, Silhouette, Symmetry, Depth Order, CLIP, Palette, Keep Outside Region), or a row of them."
_SCENE_TIP = "What has been learned so far; any stage, render, save or export node takes it."
_FORM_TIP = "How the weight moves from the 3D to the 2D prior: exponential (the paper's choice), linear, or log."
_STRETCH_TIP = ("Sigma: slows the ramp down, exp(-x / sigma). 1.5 on the global clock without a CLIP Boundary is strategy (c) of "
                "Consistent123's Table 6.")
_FULL_TIP = "The 2D prior weighs 1 as soon as the ramp starts; only the 3D prior moves (strategy (b) of Table 6)."
_CLOCK_TIP = "Where the ramp starts: phase_local = at the CLIP boundary (the released code), global = at iteration 0."


class ClipBoundary(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_ClipBoundary", display_name="CLIP Boundary", category=f"{CATEGORY}/stages",
            description="Ends the 3D-only phase when the CLIP score between renders and prompt stops rising "
                        "(Consistent123).",
            search_aliases=["switch", "early stopping", "consistent123"],
            inputs=[
                types.Clip.Input("clip", tooltip="From Load Embedded Networks or Load CLIP Scorer."),
                io.String.Input("prompt", default="", tooltip="Empty = the reference view's prompt.", advanced=True),
                io.Int.Input("interval", default=21, min=1, max=1000, tooltip="Iterations between two scores."),
                io.Int.Input("views", default=8, min=1, max=64, tooltip="Renders per score, all around the object."),
                io.Int.Input("window", default=5, min=1, max=100,
                             tooltip="L: relative changes that are averaged into the rate."),
                io.Float.Input("delta", default=2.5e-4, min=0.0, max=1.0, step=1e-5, round=1e-7,
                               tooltip="The phase ends when the rate falls below this."),
                io.Float.Input("floor", default=0.4, min=0.0, max=1.0, step=0.01,
                               tooltip="Never before this fraction of the NeRF iterations."),
                io.Float.Input("ceiling", default=0.7, min=0.0, max=1.0, step=0.01,
                               tooltip="At the latest at this fraction of the NeRF iterations."),
                io.Int.Input("size", default=128, min=16, max=512, step=8, advanced=True,
                             tooltip="Side of the scored renders, pixels."),
                io.Combo.Input("rate", options=["absolute", "signed"], default="absolute",
                               tooltip="absolute: any small change counts as settled (released code); signed: a "
                                       "falling score ends the phase at once (paper)."),
            ],
            outputs=[types.Boundary.Output("boundary", display_name="boundary", tooltip="For NeRF Stage 1.")],
        )

    @classmethod
    def run(cls, clip, prompt, interval, views, window, delta, floor, ceiling, size, rate):
        from ..pipelines.stages.objects.boundary import ClipBoundary as Rule

        rule = Rule(interval=interval, views=views, window=window, threshold=delta, floor=floor, ceiling=ceiling,
                    signed=rate == "signed", size=size)
        return io.NodeOutput(BoundarySpec(clip, rule, prompt))


class NerfStage1(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_NerfStage1", display_name="NeRF Stage 1", category=f"{CATEGORY}/stages",
            description="Fits a hash-grid NeRF to the picture, with a prior for the unseen sides, until the CLIP "
                        "boundary or the last iteration.",
            search_aliases=["nerf", "coarse", "image to 3d", "picture to mesh", "sds", "plot"],
            inputs=[
                types.Reference.Input("reference", tooltip="From Reference View."),
                io.Combo.Input("preset", options=PRESETS, default="quickstart", tooltip=_PRESET_TIP),
                io.Int.Input("iterations", default=0, min=0, max=100000, advanced=True,
                             tooltip="Of the whole NeRF phase (stages 1 and 2 together); 0 = the preset's."),
                *size_settings(),
                io.Int.Input("seed", default=0, min=0, max=0xFFFFFFFF, control_after_generate=True,
                             tooltip="Same seed, same machine: same result."),
                types.Prior.Input("prior", optional=True,
                                  tooltip="Usually a View Prior. Without one only the picture is fitted."),
                types.Boundary.Input("boundary", optional=True,
                                     tooltip="From CLIP Boundary. Without it the stage runs all iterations."),
                types.Scene.Input("scene", optional=True,
                                  tooltip="Go on with this unfinished NeRF scene, for example from Load Scene."),
                types.Options.Input("options", optional=True, tooltip=_OPTIONS_TIP),
                types.Losses.Input("losses", optional=True, tooltip=_LOSSES_TIP),
                quality_setting(),
            ],
            outputs=[
                types.Scene.Output("scene", display_name="scene", tooltip=_SCENE_TIP),
                io.Image.Output("plot", display_name="plot",
                                tooltip="CLIP scores over iterations with the place where the boundary fired."),
                io.String.Output("report", display_name="report", tooltip=_REPORT_TIP),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, reference):
        """Crossed wires stop the queue before anything runs."""
        return crossed()

    @classmethod
    def run(cls, reference, iterations, seed, preset, prior=None, boundary=None, scene=None, options=None,
            losses=None, **settings):
        from ..pipelines.stages.loop.scene import Scene
        from ..pipelines.stages.objects.fit_nerf import fit_nerf

        config = overridden(with_options(presets()[preset].nerf, options), iterations=iterations, **settings)
        if scene is not None and scene.kind != "nerf":
            raise InputError("scene", "a NeRF scene", f"a {scene.kind} scene", "Use DMTet Refine for meshes.")
        if scene is not None and (other := reference.unlike(scene.reference)):
            raise InputError("scene", "one that was begun with this reference view", f"one of {other}",
                             "Connect its own picture, or disconnect the scene to begin anew.")
        for part in (prior, boundary, losses):
            if part is not None:
                part.check(reference)
        remarks = stage_remarks(config, reference, prior is not None)
        if remarks:
            say(" ".join(remarks), node_key(cls))
        device = device_with_room()
        require_nerf(config, prior is not None, device)
        more = {} if losses is None else {"losses": losses}
        shelf = Shelf("NeRF stage 1", reference=reference, config=config, seed=seed, prior=prior, boundary=boundary, scene=scene,
                      device=device.type, **more)
        left = shelf.find(Scene.unpack)
        built = None if prior is None else prior.build(reference, device)
        gate = None if boundary is None else boundary.build(reference, device)
        extras = () if losses is None else losses.build(reference, device)
        result = run_stage("NeRF stage 1", lambda hooks: fit_nerf(
            reference, built, config, scene=left or scene, boundary=gate, stop_at_boundary=gate is not None, seed=seed,
            device=device, extras=extras, **hooks), node_key(cls), scene, shelf=shelf, unpack=Scene.unpack, remarks=remarks)
        result = with_settings(result, prior=prior, boundary=boundary, losses=losses)
        plot = boundary_plot(result)
        return io.NodeOutput(result, plot, report(result, remarks), ui=ui.PreviewImage(plot, cls=cls))


class DynamicStage2(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_DynamicStage2", display_name="Dynamic-Prior Stage 2", category=f"{CATEGORY}/stages",
            description="Goes on with the NeRF from where stage 1 ended, moving the weight from the 3D prior to the "
                        "2D prior (Consistent123).",
            search_aliases=["dynamic prior", "consistent123", "nerf"],
            inputs=[
                types.Scene.Input("scene", tooltip="A NeRF scene, usually from NeRF Stage 1."),
                types.Prior.Input("prior_3d", tooltip="Must contain a View Prior; its weight falls."),
                types.Prior.Input("prior_2d", tooltip="Must contain a Text Prior; its weight rises."),
                io.Int.Input("mesh_iterations", default=0, min=0, max=100000,
                             tooltip="How many iterations DMTet Refine will run: the ramp ends with them. 0 = as stage "
                                     "1 planned."),
                io.Combo.Input("form", options=["exponential", "linear", "log"], default="exponential", tooltip=_FORM_TIP),
                io.Combo.Input("clock", options=["phase_local", "global"], default="phase_local", tooltip=_CLOCK_TIP),
                *_ramp_settings(),
            ],
            outputs=[
                types.Scene.Output("scene", display_name="scene", tooltip=_SCENE_TIP),
                types.Prior.Output("prior", display_name="dynamic prior", tooltip="For DMTet Refine: its ramp goes on there."),
                io.String.Output("report", display_name="report", tooltip=_REPORT_TIP),
                io.Image.Output("weights", display_name="weights",
                                tooltip="Of the 3D (blue) and the 2D prior (orange) over all iterations; red: the switch."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, prior_3d):
        """Crossed wires stop the queue before anything runs."""
        return crossed()

    @classmethod
    def run(cls, scene, prior_3d, prior_2d, mesh_iterations, form, clock, stretch=1.0, full_2d=False):
        from ..pipelines.stages.loop.scene import Scene
        from ..pipelines.stages.objects.boundary import plot_weights
        from ..pipelines.stages.objects.fit_nerf import FORMER, fit_nerf

        if scene.kind != "nerf":
            raise InputError("scene", "a NeRF scene", f"a {scene.kind} scene", "Use DMTet Refine for meshes.")
        prior = dynamic(prior_3d, prior_2d, form, clock, stretch, full_2d)
        prior.check(scene.reference)
        device = device_with_room()
        config = overridden(configured(FORMER, scene.meta["config"]), mesh_iterations=mesh_iterations)
        require_nerf(config, True, device)
        remarks = stage_remarks(config, scene.reference)
        built = prior.build(scene.reference, device)
        shelf = Shelf("NeRF stage 2", scene=scene, config=config, prior=prior, device=device.type)
        left = shelf.find(Scene.unpack)
        result = run_stage("NeRF stage 2", lambda hooks: fit_nerf(
            scene.reference, built, config, scene=left or scene, device=device, **hooks), node_key(cls), scene, shelf=shelf,
            unpack=Scene.unpack, remarks=remarks)
        plot = to_image(plot_weights(built, result.switch_step, config.iterations, config.mesh_iterations))
        return io.NodeOutput(with_settings(result, prior=prior), prior, report(result, remarks), plot,
                             ui=ui.PreviewImage(plot, cls=cls))


class DynamicPrior(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_DynamicPrior", display_name="Dynamic Prior", category=f"{CATEGORY}/priors",
            description="Consistent123's prior that moves from 3D to 2D; for DMTet Refine when its networks or "
                        "timestep ranges differ from stage 2's.",
            search_aliases=["consistent123", "anneal"],
            inputs=[
                types.Prior.Input("prior_3d", tooltip="Must contain a View Prior; its weight falls."),
                types.Prior.Input("prior_2d", tooltip="Must contain a Text Prior; its weight rises."),
                io.Combo.Input("form", options=["exponential", "linear", "log"], default="exponential", tooltip=_FORM_TIP),
                io.Combo.Input("clock", options=["phase_local", "global"], default="phase_local", tooltip=_CLOCK_TIP),
                *_ramp_settings(),
            ],
            outputs=[types.Prior.Output("prior", display_name="dynamic prior",
                                        tooltip="For NeRF Stage 1 (dynamic from the start) or DMTet Refine.")],
        )

    @classmethod
    def validate_inputs(cls, prior_3d):
        """Crossed wires stop the queue before anything runs."""
        return crossed()

    @classmethod
    def run(cls, prior_3d, prior_2d, form, clock, stretch=1.0, full_2d=False):
        return io.NodeOutput(dynamic(prior_3d, prior_2d, form, clock, stretch, full_2d))


class DMTetRefine(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_DMTetRefine", display_name="DMTet Refine", category=f"{CATEGORY}/stages",
            description="Turns a NeRF scene into a mesh on a tetrahedral grid (or FlexiCubes, by Stage Options) and refines "
                        "its shape, its texture, or both; also refines a mesh scene further.",
            search_aliases=["mesh", "fine", "dmtet", "flexicubes", "refine texture", "image to 3d", "picture to mesh"],
            inputs=[
                types.Scene.Input("scene", tooltip="A NeRF scene to start from, or a mesh scene to refine further."),
                io.Combo.Input("preset", options=PRESETS, default="quickstart", tooltip=_PRESET_TIP),
                io.Int.Input("iterations", default=0, min=0, max=100000, advanced=True, tooltip="0 = the preset's."),
                *size_settings(), *mesh_settings(),
                io.Combo.Input("what", options=["both", "texture", "geometry"], default="both",
                               tooltip="What may change."),
                types.Prior.Input("prior", optional=True,
                                  tooltip="Any prior; usually the dynamic prior of stage 2. Without one only the "
                                          "picture is fitted."),
                types.Options.Input("options", optional=True, tooltip=_OPTIONS_TIP),
                types.Losses.Input("losses", optional=True, tooltip=_LOSSES_TIP),
                quality_setting(),
            ],
            outputs=[
                types.Scene.Output("scene", display_name="scene", tooltip=_SCENE_TIP),
                io.String.Output("report", display_name="report", tooltip=_REPORT_TIP),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, scene):
        """Crossed wires stop the queue before anything runs."""
        return crossed()

    @classmethod
    def run(cls, scene, iterations, what, preset, prior=None, options=None, losses=None, **settings):
        from ..pipelines.stages.loop.scene import Scene
        from ..pipelines.stages.objects.refine_mesh import refine_mesh

        config = overridden(with_options(presets()[preset].mesh, options), iterations=iterations, **settings)
        config = replace(config, optimize=what)
        for part in (prior, losses):
            if part is not None:
                part.check(scene.reference)
        device = device_with_room()
        require_mesh(config, prior is not None, device)
        remarks = stage_remarks(config, scene.reference)
        built = None if prior is None else prior.build(scene.reference, device)
        extras, more = ((), {}) if losses is None else (losses.build(scene.reference, device), {"losses": losses})
        shelf = Shelf("DMTet refine", scene=scene, config=config, prior=prior, device=device.type, **more)
        left = shelf.find(Scene.unpack)
        result = run_stage("DMTet refine", lambda hooks: refine_mesh(
            built, left or scene, config, reference=scene.reference, device=device, extras=extras, **hooks), node_key(cls),
            scene, shelf=shelf, unpack=Scene.unpack, remarks=remarks)
        return io.NodeOutput(with_settings(result, prior=prior, losses=losses), report(result, remarks))


def dynamic(prior_3d, prior_2d, form: Form, clock: Clock, stretch: float = 1.0, full_2d: bool = False) -> DynamicSpec:
    """The ramp between two priors, from the node's words."""
    prior = DynamicSpec(prior_3d, prior_2d, form, "local" if clock == "phase_local" else clock, stretch, full_2d)
    prior.check_kinds()
    return prior


def _ramp_settings() -> list:
    return [
        io.Float.Input("stretch", default=1.0, min=0.1, max=10.0, step=0.1, round=0.001, optional=True, advanced=True,
                       tooltip=_STRETCH_TIP),
        io.Boolean.Input("full_2d", default=False, optional=True, advanced=True, tooltip=_FULL_TIP),
    ]


def with_options(config, options):
    """``config`` with the changes of a Stage Options node, if there is one."""
    return config if options is None else options.applied(config)


def presets() -> dict:
    """The presets by name, of all papers."""
    from ..pipelines import consistent123, hifi123, magic123

    return {**consistent123.PRESETS, **magic123.PRESETS, **hifi123.PRESETS}


def boundary_plot(scene):
    """IMAGE of the CLIP scores (a blank picture when there was no boundary)."""
    import torch

    from ..pipelines.stages.objects.boundary import plot_history

    if not scene.boundary:
        return to_image(torch.ones(64, 64, 3))
    return to_image(plot_history(scene.boundary))


def stage_remarks(config, reference, looks_around: bool = False) -> tuple[str, ...]:
    """What a stage says besides its losses: losses without their input, and new views unlike the reference's."""
    from ..pipelines.stages.loop.absent import absent_losses

    unlike = config.novel.unlike(reference.camera) if looks_around else ""
    return (*absent_losses(config, reference), *([unlike] if unlike else []))


def report(scene, remarks=()) -> str:
    """Why the stage ended where it did, and what it was told beforehand."""
    boundary = scene.boundary if scene.kind == "nerf" else None
    why = boundary["explanation"] if boundary else "No CLIP boundary." if scene.kind == "nerf" else ""
    return " ".join(part for part in (f"step {scene.step} of {scene.total}.", why, *remarks) if part)
