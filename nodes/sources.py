"""One choice for a whole graph: a paper's words, or its released code, where the two differ."""

from __future__ import annotations

from comfy_api.latest import io

from ..host.base import CATEGORY, Node

SOURCES = {"released code": "PAPER", "paper as printed": "PRINTED"}
_FOLLOW_TIP = ("released code: what made the published results. paper as printed: the paper's words wherever the code does "
               "otherwise. Where one is silent, both take the other's number.")


def _follow() -> io.Combo.Input:
    return io.Combo.Input("follow", options=list(SOURCES), default="released code", tooltip=_FOLLOW_TIP)


class Magic123Settings(Node):
    @classmethod
    def define_schema(cls):
        from .magic123 import BALANCES
        from .stages import PRESETS

        return io.Schema(
            node_id="Lift123_Magic123Settings", display_name="Magic123 Settings", category=f"{CATEGORY}/stages",
            description="Sets a graph to Magic123's released code or to its paper as printed: everything in which the two "
                        "differ, to be wired into the inputs of the same names.",
            search_aliases=["magic123", "paper", "printed", "released", "preset"],
            inputs=[_follow()],
            outputs=[
                io.Combo.Output("preset", display_name="preset", options=PRESETS,
                                tooltip="For NeRF Stage 1 and DMTet Refine: losses, shading, cameras, learning rates."),
                io.Float.Output("text_guidance", display_name="text_guidance",
                                tooltip="For the Text Priors: 100 as printed; the code's formula amounts to 101."),
                io.Float.Output("view_guidance", display_name="view_guidance", tooltip="For the View Priors: 5 in both."),
                io.Boolean.Output("angle_scaling", display_name="angle_scaling",
                                  tooltip="For the View Priors: only the code scales by the angle."),
                io.Combo.Output("balance", display_name="balance", options=BALANCES,
                                tooltip="For the Trade-Off Prior of the NeRF stage."),
                io.Combo.Output("mesh_balance", display_name="mesh_balance", options=BALANCES,
                                tooltip="For the Trade-Off Prior of the mesh stage."),
            ],
        )

    @classmethod
    def run(cls, follow):
        from ..pipelines import magic123

        preset = getattr(magic123, SOURCES[follow])
        return io.NodeOutput(preset.name, preset.text_guidance, preset.view_guidance, preset.angle_scaling, preset.balance,
                             preset.mesh_balance)


class Consistent123Settings(Node):
    @classmethod
    def define_schema(cls):
        from .stages import PRESETS

        return io.Schema(
            node_id="Lift123_Consistent123Settings", display_name="Consistent123 Settings", category=f"{CATEGORY}/stages",
            description="Sets a graph to Consistent123's released code or to its paper as printed: everything in which the two "
                        "differ, to be wired into the inputs of the same names.",
            search_aliases=["consistent123", "paper", "printed", "released", "preset"],
            inputs=[_follow()],
            outputs=[
                io.Combo.Output("preset", display_name="preset", options=PRESETS,
                                tooltip="For NeRF Stage 1 and DMTet Refine: losses, cameras, optimizer and its rates."),
                io.Boolean.Output("angle_scaling", display_name="angle_scaling",
                                  tooltip="For the View Priors: only the code scales by the angle."),
                io.Boolean.Output("fixed_t", display_name="fixed_t",
                                  tooltip="For the View Priors: the code always takes the highest noise level, the paper an "
                                          "expectation."),
                io.Int.Output("interval", display_name="interval", tooltip="For CLIP Boundary: 21 in the code, 20 as printed."),
                io.Float.Output("floor", display_name="floor",
                                tooltip="For CLIP Boundary: 0.4 in the code; the paper has no window."),
                io.Float.Output("ceiling", display_name="ceiling",
                                tooltip="For CLIP Boundary: 0.7 in the code; the paper has no window."),
                io.Combo.Output("rate", display_name="rate", options=["absolute", "signed"],
                                tooltip="For CLIP Boundary: absolute in the code, signed as printed."),
                io.Combo.Output("clock", display_name="clock", options=["phase_local", "global"],
                                tooltip="For Dynamic-Prior Stage 2 and Dynamic Prior: phase_local in the code, global as "
                                        "printed."),
            ],
        )

    @classmethod
    def run(cls, follow):
        from ..pipelines import consistent123

        preset = getattr(consistent123, SOURCES[follow])
        rule = preset.boundary
        return io.NodeOutput(
            preset.name, preset.angle_scaling, preset.view.fixed_t, rule.interval, rule.floor, rule.ceiling,
            "signed" if rule.signed else "absolute", "phase_local" if preset.clock == "local" else preset.clock)
