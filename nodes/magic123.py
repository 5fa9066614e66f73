"""Magic123's own nodes: the one slider between the priors, its alternatives, and what a view network sees."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

from comfy_api.latest import io, ui

from ..host import types
from ..host.base import CATEGORY, Node, device_with_room
from ..host.convert import angles_of, parse_angles, to_cameras, to_image
from ..host.specs import SumSpec
from ..host.wires import crossed, readable
from ..pipelines.core.errors import InputError
from ..pipelines.core.schedules import Constant, Linear
from ..pipelines.losses.depth import DEPTH_FORMS

NEAREST = 0.1  # of a camera, scene units: closer it has no side that it sees
BALANCES = ["coarse", "fine", "printed_coarse", "printed_fine", "embedded"]


class TradeOffPrior(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_TradeOffPrior", display_name="Trade-Off Prior (2D/3D)", category=f"{CATEGORY}/priors",
            description="Magic123's mixture of a 2D and a 3D prior, moved by one number: up imagines more, down keeps "
                        "closer to the picture.",
            search_aliases=["magic123", "lambda", "mix", "2d 3d"],
            inputs=[
                io.Float.Input("lambda_2d_3d", default=1.0, min=0.0, max=5.0, step=0.05, round=0.001,
                               display_mode=io.NumberDisplay.slider,
                               tooltip="Weight of the 2D prior against the 3D prior. 1 = the balanced point; more = "
                                       "more imagination; 0 = 3D only. For 2D only, disconnect prior_3d (the paper's "
                                       "'infinity')."),
                io.Combo.Input("balance", options=BALANCES, default="coarse",
                               tooltip="The weights at 1. coarse and fine: what Magic123's released code does in its "
                                       "NeRF and mesh stage, restated (0.25 : 2.5 and 0.00025 : 0.000625); printed: "
                                       "the paper's Eq. 8 and Sec. 3.3 taken literally (1 : 40 and 0.001 : 0.01); "
                                       "embedded: 0.3 : 1, for the embedded networks. All for reduction 'mean'."),
                types.Prior.Input("prior_3d", optional=True, tooltip="A View Prior (exploits the picture)."),
                types.Prior.Input("prior_2d", optional=True, tooltip="A Text Prior (explores)."),
            ],
            outputs=[types.Prior.Output("prior", display_name="prior", tooltip="For NeRF Stage 1 or DMTet Refine.")],
        )

    @classmethod
    def validate_inputs(cls, prior_3d=None, prior_2d=None):
        """Crossed wires stop the queue before anything runs."""
        return crossed()

    @classmethod
    def run(cls, lambda_2d_3d, balance, prior_3d=None, prior_2d=None):
        from ..pipelines import magic123

        for name, prior, kind in (("prior_3d", prior_3d, "view"), ("prior_2d", prior_2d, "text")):
            if prior is not None and kind not in prior.kinds():
                raise InputError(name, f"a prior that contains a {kind.capitalize()} Prior", "the other kind",
                                 "Swap the two wires.")
        weights = magic123.trade_off(lambda_2d_3d, magic123.BALANCES[balance])
        pairs = zip((prior_2d, prior_3d), weights, strict=True)
        parts = tuple((prior, Constant(weight)) for prior, weight in pairs if prior is not None and weight > 0)
        if not parts:
            raise InputError("prior_3d", "a prior with a weight above 0", "none",
                             "Connect a View Prior, or a Text Prior with lambda_2d_3d above 0.")
        return io.NodeOutput(SumSpec(parts))


@dataclass(frozen=True)
class StageOptions:
    """Settings that replace a preset's: (name of a field of the stage's configuration, value) pairs."""

    changes: tuple[tuple[str, object], ...]

    def applied(self, config):
        """``config`` with the changes that it has a field for; nested: novel views and shading."""
        known = {f.name for f in fields(config)}
        for name, value in self.changes:
            head, _, tail = name.partition(".")
            if head in known:
                config = replace(config, **{head: replace(getattr(config, head), **{tail: value}) if tail else value})
        return config


_KEEP = "preset"
_BLUR = {"through": False, "stopped": True}
_REGION = {"everywhere": (False, "keep"), "mask": (True, "keep"), "soft_edge": (True, "soft"), "eroded": (True, "erode")}


_OPTIMIZERS = {"adam": [("optimizer", "adam"), ("clip_norm", 0.0)], "adan": [("optimizer", "adan"), ("clip_norm", 5.0)]}


def _rate(name: str, tip: str) -> io.Float.Input:
    return io.Float.Input(name, default=0.0, min=0.0, max=1.0, step=1e-4, round=1e-6, optional=True,
                          tooltip=tip + " 0 = the preset's.")


def _rate_settings() -> list:
    return [
        io.Combo.Input("optimizer", options=[_KEEP, *_OPTIMIZERS], default=_KEEP, optional=True,
                       tooltip="adam: both papers and Magic123's code. adan: Consistent123's code, which also cuts gradients "
                               "to a norm of 5."),
        _rate("rate_grid", "Learning rate of the hash table. Both papers 0.001; Magic123's code 0.01; Consistent123's 0.05, "
                           "with adan."),
        _rate("rate_colors", "Learning rate of the network behind the hash table. Both papers and Magic123's code 0.001; "
                             "Consistent123's 0.005, with adan."),
        _rate("rate_shape", "Mesh stage: learning rate of distances and displacements; as rate_colors."),
    ]


def _mean_settings() -> list:
    return [
        io.Combo.Input("color_mean", options=[_KEEP, "picture", "mask"], default=_KEEP, optional=True,
                       tooltip="What the color loss divides by where colors count in the mask only: all pixels of the picture "
                               "(released), or the mask's (ours: small objects pull as strongly)."),
        io.Combo.Input("mask_target", options=[_KEEP, "binary", "alpha"], default=_KEEP, optional=True,
                       tooltip="What the silhouette is compared with: alpha cut at one half (released), or alpha itself (ours: "
                               "soft edges are followed)."),
        io.Combo.Input("sample_mean", options=[_KEEP, "marched", "visible"], default=_KEEP, optional=True,
                       tooltip="NeRF: what orientation, entropy and 3D normals average over: all samples along the rays "
                               "(released), or those that were looked at (ours: about 1.8 times as strong)."),
        io.Combo.Input("background", options=[_KEEP, "random", "white", "gray"], default=_KEEP, optional=True,
                       tooltip="Behind new views. Magic123: code random, paper white."),
    ]


def _weight(name: str, tip: str, top: float = 1e6) -> io.Float.Input:
    return io.Float.Input(name, default=-1.0, min=-1.0, max=top, step=0.01, round=1e-6,
                          tooltip=tip + " -1 = the preset's.")


class StageOptionsNode(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_StageOptions", display_name="Stage Options", category=f"{CATEGORY}/stages",
            description="Replaces single settings of a preset, above all those in which papers, their released codes and "
                        "this pack differ.",
            search_aliases=["magic123", "consistent123", "regularizer", "shading", "learning rate", "expert"],
            inputs=[
                _weight("normal_warmup", "Share of the stage in which priors see surface normals instead of colors. "
                                         "Magic123: code 0.2 (1000 of 5000), paper 0.6 (3000).", 1.0),
                _weight("clay_share", "Share of later views without texture; the rest is lit color. Magic123: code "
                                      "0.2, paper 0.25.", 1.0),
                _weight("normal_tv", "Weight of the normals' total variation. Magic123: code 0.5, paper none."),
                _weight("normal_blur", "Weight of normals against their own blur. Magic123's code: 0.5."),
                _weight("orientation", "Weight against surfaces that face away. Magic123: code 0.01, paper none."),
                _weight("entropy", "Final weight against half-transparent samples, reached halfway. Magic123: code 0.001, "
                                   "paper none."),
                _weight("half_levels_until", "Share of the stage in which only the coarser half of the hash levels is "
                                             "live. Magic123: code 0.6, paper 0.", 1.0),
                _weight("from_above", "Share of new views taken from anywhere above. Magic123's code: 0.5.", 1.0),
                _weight("reference_noise", "Random shift of the reference camera's rays, scene units. Magic123's code: "
                                           "0.001.", 1.0),
                io.Int.Input("reference_first", default=-1, min=-1, max=100000,
                             tooltip="So many iterations look at the picture only. Magic123: code 100 in each stage, "
                                     "paper none. -1 = the preset's."),
                io.Int.Input("reference_every", default=0, min=0, max=100,
                             tooltip="Every so many iterations look at the picture, the others at new views. Magic123: 4, "
                                     "without 3D prior 2. 0 = the preset's."),
                io.Combo.Input("blur_gradient", options=[_KEEP, *_BLUR], default=_KEEP,
                               tooltip="Whether normal_blur also moves the blurred side: through (Magic123's code) or "
                                       "stopped (its paper)."),
                io.Combo.Input("color_region", options=[_KEEP, *_REGION], default=_KEEP,
                               tooltip="Where the picture's colors count: everywhere (on a background), in the mask "
                                       "(Magic123's paper), without its soft edge (its code's fine stage), or two pixels "
                                       "further in (its README)."),
                io.Combo.Input("field", options=[_KEEP, "hash", "frequency", "triplane"], default=_KEEP, optional=True,
                               tooltip="NeRF stage: what the network is told about a point. hash: the papers' grid; frequency: "
                                       "a plain MLP, smooth and slow to learn; triplane: three feature planes."),
                io.Combo.Input("rasterizer", options=[_KEEP, "built-in", "fastest", "nvdiffrast"], default=_KEEP, optional=True,
                               tooltip="Mesh stage: who draws the mesh. fastest = nvdiffrast where it is installed with a CUDA "
                                       "device, else the built-in one. The log at start says what was found."),
                io.Combo.Input("surface", options=[_KEEP, "dmtet", "flexicubes"], default=_KEEP, optional=True,
                               tooltip="Mesh stage: what carries the shape of a NeRF scene. dmtet: tetrahedra (the papers). "
                                       "flexicubes: cubes with weights (Shen et al. 2023), fewer slivers and sharper edges, "
                                       "more memory. A mesh scene stays what it is."),
                io.Combo.Input("initial_surface", options=[_KEEP, "log", "clamp"], default=_KEEP,
                               tooltip="Mesh stage: how density becomes distance. clamp = the papers' code; log starts "
                                       "without staircase."),
                *_rate_settings(), *_mean_settings(),
                io.Combo.Input("depth_form", options=[_KEEP, *DEPTH_FORMS], default=_KEEP, optional=True,
                               tooltip="How depth is compared: correlation (the papers), or ranking, which asks only that what "
                                       "is estimated farther is farther (NeuralLift-360); its weight is another one."),
            ],
            outputs=[types.Options.Output("options", display_name="options",
                                          tooltip="For the options input of NeRF Stage 1 or DMTet Refine.")],
        )

    @classmethod
    def run(cls, normal_warmup, clay_share, half_levels_until, from_above, reference_noise, entropy, reference_first,
            reference_every, blur_gradient, color_region, initial_surface, depth_form=_KEEP, optimizer=_KEEP, rate_grid=0.0,
            rate_colors=0.0, rate_shape=0.0, color_mean=_KEEP, mask_target=_KEEP, sample_mean=_KEEP, background=_KEEP,
            field=_KEEP, rasterizer=_KEEP, surface=_KEEP, **weights):
        changes = [(name, Constant(value)) for name, value in weights.items() if value >= 0]
        changes += _OPTIMIZERS.get(optimizer, [])
        rates = {"lr_grid": rate_grid, "lr_mlp": rate_colors, "lr_sdf": rate_shape, "lr_deform": rate_shape}
        changes += [(name, rate) for name, rate in rates.items() if rate > 0]
        words = {"rgb_over": color_mean, "mask_against": mask_target, "averages": sample_mean, "novel_background": background}
        changes += [(name, word) for name, word in words.items() if word != _KEEP]
        changes += [("entropy", Linear(0.0, entropy, 0.0, 0.5))] if entropy >= 0 else []
        changes += [("shading.normal_until", normal_warmup)] if normal_warmup >= 0 else []
        if clay_share >= 0:
            changes += [("shading.lambertian", 1 - clay_share), ("shading.textureless", clay_share)]
        if half_levels_until >= 0:
            changes += [("level_start", 0.5), ("level_rate", 0.0), ("level_until", half_levels_until)]
        changes += [("novel.hemisphere", from_above)] if from_above >= 0 else []
        changes += [("reference_noise", reference_noise)] if reference_noise >= 0 else []
        changes += [("reference_first", reference_first)] if reference_first >= 0 else []
        if reference_every:
            changes += [("mode", "alternate"), ("reference_every", reference_every), ("reference_every_2d", 0)]
        changes += [("blur_stop_gradient", _BLUR[blur_gradient])] if blur_gradient in _BLUR else []
        if color_region in _REGION:
            changes += list(zip(("rgb_inside", "rgb_edge"), _REGION[color_region], strict=True))
        changes += [("rasterizer", rasterizer)] if rasterizer != _KEEP else []
        changes += [("surface", surface)] if surface != _KEEP else []
        changes += [("field.encoding", field)] if field != _KEEP else []
        changes += [("init", initial_surface)] if initial_surface != _KEEP else []
        changes += [("depth_form", depth_form)] if depth_form != _KEEP else []
        return io.NodeOutput(StageOptions(tuple(changes)))


class SampleViews(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_SampleViews", display_name="Sample Views", category=f"{CATEGORY}/networks",
            description="Pictures of the other sides straight from a view network, each drawn by itself: what a 3D prior "
                        "believes, before any 3D exists. RGNV Enhance gives them the picture's texture.",
            search_aliases=["zero123", "novel view", "novel views", "zero-1-to-3", "orbit"],
            inputs=[
                types.Reference.Input("reference", tooltip="The picture to be seen from elsewhere."),
                types.ViewNetwork.Input("view_network", tooltip="From Load Embedded Networks or Load View Network."),
                io.Int.Input("views", default=6, min=1, max=36, tooltip="Evenly spaced around the object, beginning at "
                                                                        "the picture's own side."),
                io.Float.Input("elevation", default=0.0, min=-80.0, max=80.0, step=1.0,
                               tooltip="Of the new cameras above the horizon, degrees."),
                io.Float.Input("guidance", default=0.0, min=0.0, max=50.0, step=0.5,
                               tooltip="Classifier-free guidance; 0 = the network's own."),
                io.Int.Input("steps", default=25, min=1, max=500, tooltip="Denoising steps (DDIM) of each picture."),
                io.String.Input("azimuths", default="",
                                tooltip="Instead of evenly spaced views: degrees from the picture's own side, separated by "
                                        "commas; positive shows more of the side on the picture's right."),
                io.Int.Input("seed", default=0, min=0, max=0xFFFFFFFF, control_after_generate=True,
                             tooltip="Of the first noise; all views start from their own."),
                io.Load3DCamera.Input("camera", optional=True,
                                      tooltip="From Load 3D or another viewer node: one view from this camera's direction "
                                              "and distance, in place of all others."),
            ],
            outputs=[
                io.Image.Output("views", display_name="views", tooltip="One picture per view, at the network's size."),
                io.String.Output("azimuths", display_name="azimuths",
                                 tooltip="Where the views are, degrees; for RGNV Enhance's input of the same name."),
            ],
        )

    @classmethod
    def validate_inputs(cls, azimuths):
        """A text that cannot be read stops the queue before anything runs."""
        return readable(azimuths=azimuths)

    @classmethod
    def run(cls, reference, view_network, views, elevation, guidance, steps, azimuths, seed, camera=None):
        from ..pipelines.stages.objects.sample_views import around, sample_views

        turns = tuple(math.radians(angle) for angle in parse_angles(azimuths, "azimuths"))
        cameras = around(reference, views, math.radians(elevation), turns) if camera is None else to_cameras(camera, 64, 64)
        if not bool((cameras.radius > NEAREST).all()):
            raise InputError("camera", f"a camera at least {NEAREST} from the object's center", "one inside it", "Move it away.")
        view_network.check()
        device = device_with_room()
        denoiser = view_network.load(device)
        denoiser = denoiser.with_guidance(guidance) if guidance else denoiser
        shown = to_image(sample_views(denoiser, reference, cameras, steps, seed))
        return io.NodeOutput(shown, angles_of(cameras, reference.camera), ui=ui.PreviewImage(shown, cls=cls))
