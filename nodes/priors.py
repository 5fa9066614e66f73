"""Priors as wires: what each frozen network contributes, and when."""

from __future__ import annotations

import math

from comfy_api.latest import io

from ..host import types
from ..host.base import CATEGORY, Node
from ..host.specs import DynamicSpec, PriorSpec, SumSpec
from ..host.wires import crossed
from ..pipelines.core.errors import InputError
from ..pipelines.core.schedules import Constant, Linear, Piecewise
from ..pipelines.io.text_numbers import number

_SHARED_TIPS = {
    "guidance": "Classifier-free guidance scale; 0 = the network's own. Higher follows the condition more closely and "
                "saturates colors.",
    "weight": "Multiplies this prior's loss.",
    "t_min": "Lowest noise level, as a fraction of the network's timesteps.",
    "t_max": "Highest noise level, as a fraction. High levels decide the shape, low ones the detail.",
    "fixed_t": "Always use the highest noise level (Consistent123's released code does, for the view prior).",
    "reduction": "Average or add the loss over the latent's elements; weights do not carry over.",
    "weighting": "How the gradient's size depends on the noise level: 1 - abar (papers), constant, or sigma / alpha.",
    "t_min_schedule": "Overrides t_min over progress (0..1 of the stage).",
    "t_max_schedule": "Overrides t_max over progress (0..1 of the stage), for example from 0.98 down to 0.5.",
    "weight_schedule": "Multiplies weight over progress (0..1 of the stage).",
    "space": "latent: the papers' distillation, through the autoencoder. pixels: the render is pulled towards the picture "
             "that the network expects: smoother unseen sides, a third more work; reduction and weighting do not count.",
    "pixel_weight": "space = pixels: multiplies weight.",
    "pixel_weight_schedule": "space = pixels: multiplies pixel_weight over progress (0..1 of the stage).",
    "shrink": "How renders larger than the network's pictures become smaller. smooth: every pixel counts; plain: the "
              "released codes, which look at four pixels around each sample.",
    "distillation": "From Distillation: how the network teaches; without it by score distillation (SDS).",
    "prior": "Wire into NeRF Stage 1, Dynamic-Prior Stage 2, DMTet Refine or Combine Priors.",
}


def _sds_inputs(weight: float) -> list:
    tips = _SHARED_TIPS
    return [
        io.Float.Input("guidance", default=0.0, min=0.0, max=200.0, step=0.5, tooltip=tips["guidance"]),
        io.Float.Input("weight", default=weight, min=0.0, max=1000.0, step=0.01, round=0.0001, tooltip=tips["weight"]),
        io.Float.Input("t_min", default=0.2, min=0.0, max=1.0, step=0.01, tooltip=tips["t_min"]),
        io.Float.Input("t_max", default=0.6, min=0.0, max=1.0, step=0.01, tooltip=tips["t_max"]),
    ]


def _expert_inputs() -> list:
    tips = _SHARED_TIPS
    return [
        io.Boolean.Input("fixed_t", default=False, tooltip=tips["fixed_t"], advanced=True),
        io.Combo.Input("reduction", options=["mean", "sum"], default="mean", tooltip=tips["reduction"], advanced=True),
        io.Combo.Input("weighting", options=["sigma2", "uniform", "snr"], default="sigma2", tooltip=tips["weighting"],
                       advanced=True),
        types.Schedule.Input("t_min_schedule", optional=True, tooltip=_SHARED_TIPS["t_min_schedule"]),
        types.Schedule.Input("t_max_schedule", optional=True, tooltip=_SHARED_TIPS["t_max_schedule"]),
        types.Schedule.Input("weight_schedule", optional=True, tooltip=_SHARED_TIPS["weight_schedule"]),
        io.Combo.Input("space", options=["latent", "pixels"], default="latent", optional=True, tooltip=tips["space"]),
        io.Float.Input("pixel_weight", default=12.0, min=0.0, max=1000.0, step=0.1, round=0.0001, optional=True,
                       tooltip=tips["pixel_weight"], advanced=True),
        types.Schedule.Input("pixel_weight_schedule", optional=True, tooltip=tips["pixel_weight_schedule"]),
        io.Combo.Input("shrink", options=["smooth", "plain"], default="smooth", optional=True, tooltip=tips["shrink"],
                       advanced=True),
        types.Distillation.Input("distillation", optional=True, tooltip=tips["distillation"]),
    ]


def _settings(weight, t_min, t_max, fixed_t, reduction, weighting, t_min_schedule, t_max_schedule, weight_schedule,
              space, pixel_weight, pixel_weight_schedule, shrink):
    from ..pipelines.priors.sds import SdsSettings

    low, high = (v if s is None else s for v, s in ((t_min, t_min_schedule), (t_max, t_max_schedule)))
    bends = [x for v in (low, high) if isinstance(v, Piecewise) for x, _ in v.knots]
    bends += [x for v in (low, high) if isinstance(v, Linear) for x in (v.start, v.stop)]
    times = (0.0, 0.25, 0.5, 0.75, 1.0, *bends)
    ends = [[v if isinstance(v, float | int) else v(x) for x in times] for v in (low, high)]
    if any(a > b for a, b in zip(*ends)) or min(ends[0]) < 0 or max(ends[1]) > 1:
        raise InputError("t_min", "0 <= t_min <= t_max <= 1 at all times", f"{ends[0][:5]} and {ends[1][:5]} over the stage",
                         "Swap or widen the range.")
    return SdsSettings((low, high), fixed_t, _scaled(weight_schedule, weight), reduction, weighting, space,
                       _scaled(pixel_weight_schedule, pixel_weight), shrink)


def _scaled(schedule, factor: float):
    """``schedule`` times a constant, as a schedule of the same family."""
    if schedule is None:
        return Constant(factor)
    if isinstance(schedule, Constant):
        return Constant(schedule.value * factor)
    if isinstance(schedule, Linear):
        return Linear(schedule.first * factor, schedule.last * factor, schedule.start, schedule.stop)
    return Piecewise(tuple((x, y * factor) for x, y in schedule.knots))


class ViewPrior(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_ViewPrior", display_name="View Prior (3D)", category=f"{CATEGORY}/priors",
            description="Score distillation from a novel-view network: keeps all sides consistent with the picture.",
            search_aliases=["sds", "zero123", "3d prior", "score distillation"],
            inputs=[
                types.ViewNetwork.Input("view_network", tooltip="From Load Embedded Networks or Load View Network."),
                *_sds_inputs(1.0),
                io.Boolean.Input("angle_scaling", default=True,
                                 tooltip="Scale the weight by the angle from the picture's camera: 0 at it, 1 behind "
                                         "the object."),
                *_expert_inputs(),
            ],
            outputs=[types.Prior.Output("prior", display_name="prior", tooltip=_SHARED_TIPS["prior"])],
        )

    @classmethod
    def validate_inputs(cls, view_network):
        """What the graph alone tells to be wrong stops the queue before anything runs."""
        return crossed()

    @classmethod
    def run(cls, view_network, guidance, weight, t_min, t_max, angle_scaling, fixed_t, reduction, weighting,
            t_min_schedule=None, t_max_schedule=None, weight_schedule=None, space="latent", pixel_weight=12.0,
            pixel_weight_schedule=None, shrink="smooth", distillation=None):
        settings = _settings(weight, t_min, t_max, fixed_t, reduction, weighting, t_min_schedule, t_max_schedule,
                             weight_schedule, space, pixel_weight, pixel_weight_schedule, shrink)
        return io.NodeOutput(PriorSpec(view_network, settings, guidance or None, angle_scaling=angle_scaling,
                                       distillation=distillation))


class TextPrior(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_TextPrior", display_name="Text Prior (2D)", category=f"{CATEGORY}/priors",
            description="Score distillation from a text-to-image network with view-dependent prompts: adds detail.",
            search_aliases=["sds", "stable diffusion", "2d prior", "score distillation", "dreamfusion"],
            inputs=[
                types.TextNetwork.Input("text_network", tooltip="From Load Embedded Networks or Load Text Network."),
                io.String.Input("prompt", default="", multiline=True,
                                tooltip="Empty = the reference view's prompt. The view ('front view', ...) is added."),
                io.String.Input("negative", default="", tooltip="What to avoid.", advanced=True),
                *_sds_inputs(1.0),
                *_expert_inputs(),
            ],
            outputs=[types.Prior.Output("prior", display_name="prior", tooltip=_SHARED_TIPS["prior"])],
        )

    @classmethod
    def validate_inputs(cls, text_network):
        """What the graph alone tells to be wrong stops the queue before anything runs."""
        return crossed()

    @classmethod
    def run(cls, text_network, prompt, negative, guidance, weight, t_min, t_max, fixed_t, reduction, weighting,
            t_min_schedule=None, t_max_schedule=None, weight_schedule=None, space="latent", pixel_weight=12.0,
            pixel_weight_schedule=None, shrink="smooth", distillation=None):
        settings = _settings(weight, t_min, t_max, fixed_t, reduction, weighting, t_min_schedule, t_max_schedule,
                             weight_schedule, space, pixel_weight, pixel_weight_schedule, shrink)
        return io.NodeOutput(PriorSpec(text_network, settings, guidance or None, prompt, negative, distillation=distillation))


class CombinePriors(Node):
    @classmethod
    def define_schema(cls):
        letters = "abcd"
        inputs: list[io.Input] = [
            io.Float.Input(f"weight_{x}", default=1.0, min=0.0, max=1000.0, step=0.01, round=0.0001,
                           tooltip=f"Multiplies prior {x}'s loss.") for x in letters
        ]
        inputs += [types.Prior.Input(f"prior_{x}", optional=x != "a",
                                     tooltip=f"Prior {x}: a View, Text or Combined Prior.") for x in letters]
        inputs += [types.Schedule.Input(f"schedule_{x}", optional=True,
                                        tooltip=f"Multiplies weight_{x} over progress.") for x in letters]
        return io.Schema(
            node_id="Lift123_CombinePriors", display_name="Combine Priors", category=f"{CATEGORY}/priors",
            description="A weighted sum of priors. Their gradients are added at the picture, so the render is "
                        "back-propagated only once.",
            search_aliases=["mix", "sum", "weights"],
            inputs=inputs,
            outputs=[types.Prior.Output("prior", display_name="prior", tooltip=_SHARED_TIPS["prior"])],
        )

    @classmethod
    def validate_inputs(cls, prior_a=None):
        """Crossed wires stop the queue before anything runs."""
        return crossed()

    @classmethod
    def run(cls, **given):
        parts = [(given[f"prior_{x}"], _scaled(given.get(f"schedule_{x}"), given[f"weight_{x}"]))
                 for x in "abcd" if given.get(f"prior_{x}") is not None]
        if any(isinstance(part, DynamicSpec) for part, _ in parts):
            raise InputError("prior", "View, Text or Combined Priors", "a Dynamic Prior inside Combine Priors",
                             "Its clock belongs to the stage: combine its two inputs instead.")
        return io.NodeOutput(SumSpec(tuple(parts)))


class PriorSchedule(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_PriorSchedule", display_name="Prior Schedule", category=f"{CATEGORY}/priors",
            description="A value over a stage's progress: constant, a ramp, or through given points.",
            search_aliases=["curve", "ramp", "anneal"],
            inputs=[
                io.Float.Input("first", default=1.0, min=-1000.0, max=1000.0, step=0.01, round=0.0001,
                               tooltip="The constant, or the value at the start of the ramp."),
                io.Float.Input("last", default=1.0, min=-1000.0, max=1000.0, step=0.01, round=0.0001,
                               tooltip="Linear: the value at the end of the ramp."),
                io.Float.Input("start", default=0.0, min=0.0, max=1.0, step=0.01,
                               tooltip="Linear: progress where the ramp starts, 0..1 of the stage."),
                io.Float.Input("stop", default=1.0, min=0.0, max=1.0, step=0.01,
                               tooltip="Linear: progress where the ramp ends."),
                io.String.Input("knots", default="0: 1, 1: 0.5",
                                tooltip="Piecewise: 'progress: value' pairs, progress increasing within 0..1."),
                io.Combo.Input("form", options=["constant", "linear", "piecewise"], default="constant",
                               tooltip="Which of the settings above count."),
            ],
            outputs=[types.Schedule.Output("schedule", display_name="schedule",
                                           tooltip="For the schedule inputs of priors.")],
        )

    @classmethod
    def run(cls, first, last, start, stop, knots, form):
        if form == "constant":
            return io.NodeOutput(Constant(first))
        if form == "linear":
            if start >= stop:
                raise InputError("start", f"below stop ({stop})", str(start), "Widen the ramp.")
            return io.NodeOutput(Linear(first, last, start, stop))
        return io.NodeOutput(Piecewise(parse_knots(knots)))


def parse_knots(text: str) -> tuple[tuple[float, float], ...]:
    """"0: 1, 0.5: 0.2" -> ((0, 1), (0.5, 0.2)); InputError names what is wrong."""
    remedy = "Write pairs like '0: 1, 0.5: 0.3, 1: 0.1'."
    try:
        knots = tuple(tuple(number(v.strip()) for v in pair.split(":")) for pair in text.split(",") if pair.strip())
    except ValueError:
        knots = ()
    if not knots or any(len(k) != 2 for k in knots):
        raise InputError("knots", "pairs 'progress: value' separated by commas", repr(text[:60]), remedy)
    if not all(math.isfinite(v) for knot in knots for v in knot):
        raise InputError("knots", "finite numbers", repr(text[:60]), remedy)
    xs = [x for x, _ in knots]
    if any(not 0 <= x <= 1 for x in xs) or any(b <= a for a, b in zip(xs, xs[1:])):
        raise InputError("knots", "progress increasing within 0..1", str(xs)[:60], remedy)
    return tuple((x, value) for x, value in knots)
