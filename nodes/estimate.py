"""Time and memory of a preset on this machine, measured before anything is started."""

from __future__ import annotations

from dataclasses import replace

import comfy.model_management as mm
from comfy_api.latest import io

from ..host import types
from ..host.base import CATEGORY, Node, device_with_room, node_key
from ..host.runner import duration, peak_bytes, say
from .stages import PRESETS, presets

GROUPS = {"all of Consistent123": ["quickstart", "standard", "paper"],
          "all of Magic123": ["magic123 quickstart", "magic123 standard", "magic123 paper"],
          "all of HiFi-123": ["hifi123 quickstart", "hifi123 standard", "hifi123 paper"]}
_TIP_MESH_PRIOR = "What DMTet Refine will listen to; without it the NeRF stage's prior is measured there too."


class Estimate(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_Estimate", display_name="Estimate Time and Memory", category=f"{CATEGORY}/stages",
            description="Runs a few iterations of both stages on this machine and says how long each preset would take "
                        "and how much memory it needs. Keeps nothing.",
            search_aliases=["eta", "how long", "benchmark", "vram"],
            inputs=[
                types.Reference.Input("reference", tooltip="From Reference View."),
                io.Combo.Input("preset", options=[*GROUPS, *PRESETS], default="quickstart",
                               tooltip="Which preset to measure; 'all of ...' measures that paper's quickstart, standard "
                                       "and paper presets one after the other."),
                io.Int.Input("patience", default=30, min=1, max=600,
                             tooltip="Seconds of measuring per stage; one iteration at least, however long it takes."),
                types.Prior.Input("prior", optional=True,
                                  tooltip="What the stages will listen to, usually a Dynamic Prior or a Trade-Off Prior. "
                                          "Without one only the picture is fitted."),
                types.Prior.Input("mesh_prior", optional=True, tooltip=_TIP_MESH_PRIOR),
            ],
            outputs=[io.String.Output("report", display_name="report",
                                      tooltip="Time per stage and together, and the peak memory so far.")],
            hidden=[io.Hidden.unique_id],
            is_output_node=True, not_idempotent=True,
        )

    @classmethod
    def run(cls, reference, preset, patience, prior=None, mesh_prior=None):
        from ..pipelines.stages.objects.estimate import estimate, report

        for part in (prior, mesh_prior):
            if part is not None:
                part.check(reference)
        device, known, pages = device_with_room(), presets(), []
        coarse, fine = ((None if p is None else p.build(reference, device)) for p in (prior, mesh_prior or prior))
        for name in GROUPS.get(preset, [preset]):
            chosen = known[name]
            nerf = replace(chosen.nerf, mesh_iterations=chosen.mesh.iterations)
            say(f"measuring {name} ...", node_key(cls))
            stages = estimate(reference, coarse, fine, nerf, chosen.mesh, device=device, patience=patience,
                              peak=lambda: peak_bytes(device),
                              watch=lambda step: mm.throw_exception_if_processing_interrupted())
            pages.append("\n".join([name, report(stages, duration), *evaluations(coarse, fine)]))
            say("\n\n".join(pages), node_key(cls))
        return io.NodeOutput("\n\n".join(pages))


def evaluations(*priors) -> list[str]:
    """A line on what the priors' networks were asked per new view, or nothing."""
    found = {name: count for prior in priors if prior is not None for name, count in prior.evaluations().items()}
    told = ", ".join(f"{name} {count:.3g}" for name, count in found.items())
    return [f"network evaluations per new view: {told}"] if told else []
