"""How a prior's network teaches, as a wire: score distillation and its relatives."""

from __future__ import annotations

import math

from comfy_api.latest import io

from ..host import types
from ..host.base import CATEGORY, Node
from ..host.specs import DistillSpec
from ..host.wires import told
from ..pipelines.core.errors import InputError

_METHOD = ("sds: DreamFusion. sjc: averages over draws. csd: the condition's part alone. nfsd: without the noise. ism: along an "
           "inverted path. sdi: with inverted noise. vsd: against a network that learns what is rendered. dds: against the "
           "scene as it was, for edits. Papers, equations, costs: docs/method/distillation.md.")
_TIMES = ("How noise levels are chosen in the prior's range: paper = as the method's paper when numbers = paper, else drawn "
          "evenly; uniform; annealed or root: from high to low over the stage; dreamtime: from high to low, longest in the "
          "middle.")


class Distillation(Node):
    @classmethod
    def define_schema(cls):
        from ..pipelines.distill.registry import METHODS

        return io.Schema(
            node_id="Lift123_Distillation", display_name="Distillation", category=f"{CATEGORY}/priors",
            description="How a frozen network teaches, apart from which network it is: score distillation (SDS) and its "
                        "relatives, each from its paper.",
            search_aliases=["sds", "vsd", "csd", "ism", "nfsd", "dds", "sjc", "sdi", "prolificdreamer", "lora", "perp-neg"],
            inputs=[
                io.Combo.Input("method", options=list(METHODS), default="sds", tooltip=_METHOD),
                io.Combo.Input("numbers", options=["prior", "paper"], default="prior",
                               tooltip="Where guidance, range of noise levels and weighting come from: the prior node, or the "
                                       "method's paper (meant for Stable Diffusion)."),
                io.Combo.Input("times", options=["paper", "uniform", "annealed", "root", "dreamtime"], default="paper",
                               tooltip=_TIMES),
                io.Boolean.Input("perp_neg", default=False,
                                 tooltip="Text Prior: words for other views push away (Perp-Neg), against faces on all sides; "
                                         "four evaluations instead of two."),
                io.String.Input("options", default="", advanced=True,
                                tooltip="The method's own numbers as 'name: value' pairs, for example 'samples: 4' (sjc), "
                                        "'stride: 0.2' (ism, sdi), 'scale: 10' (csd, nfsd), 'rate: 0.001' (vsd)."),
                io.String.Input("source_prompt", default="", tooltip="What the source shows; empty = the prior's prompt."),
                types.Scene.Input("source", optional=True,
                                  tooltip="dds: the scene as it is before the edit. It is rendered from every new view."),
            ],
            outputs=[types.Distillation.Output("distillation", display_name="distillation",
                                               tooltip="For View Prior or Text Prior.")],
        )

    @classmethod
    def validate_inputs(cls, options):
        """A text that cannot be read stops the queue before anything runs."""
        return True if options is None else told(parse_options, options)

    @classmethod
    def run(cls, method, numbers, times, perp_neg, options, source_prompt, source=None):
        from ..pipelines.distill.plug import How
        from ..pipelines.distill.registry import METHODS, method_of

        how = How(method, parse_options(options), "" if times == "paper" else times, perp_neg, numbers)
        method_of(how)  # refuses unknown numbers now
        return io.NodeOutput(DistillSpec(how, source if METHODS[method].sourced else None, source_prompt))


def parse_options(text: str) -> tuple[tuple[str, float], ...]:
    """"steps: 10, guidance: -7.5" -> (("steps", 10.0), ("guidance", -7.5)); InputError names what is wrong."""
    found = {}
    for pair in text.split(","):
        name, colon, value = (part.strip() for part in pair.partition(":"))
        if not name and not value:
            continue
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not colon or not name.isidentifier() or not math.isfinite(number):
            raise InputError("options", "'name: value' pairs separated by commas", repr(pair.strip()[:60]),
                             "Write, for example, 'stride: 0.2'.")
        found[name] = number
    return tuple(found.items())
