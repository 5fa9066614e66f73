"""Invert and Reconstruct: what each way of inverting the picture loses (HiFi-123, supplementary Table 2 and Fig. 1)."""

from __future__ import annotations

import torch
from comfy_api.latest import io, ui

from ..host import types
from ..host.base import CATEGORY, Node, device_with_room
from ..host.convert import to_image
from ..host.wires import crossed
from ..pipelines.core.errors import InputError
from .hifi123 import BACKGROUND, CORRECTIONS, DEPTH_TIP, NETWORK_TIP, guide_settings, inversion_inputs, with_depth


class InvertReconstruct(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_InvertReconstruct", display_name="Invert and Reconstruct", category=f"{CATEGORY}/networks",
            description="Why HiFi-123 shows its network depth: inverts and reconstructs the picture with and without, and "
                        "measures what is lost (Supplementary Table 2).",
            search_aliases=["hifi123", "ddim inversion", "reconstruction", "null-text inversion"],
            inputs=[
                types.Reference.Input("reference", tooltip="The picture; needs depth, or a depth network below."),
                types.DepthText.Input("depth_text_network", tooltip=NETWORK_TIP),
                *inversion_inputs(50, 30),
                CORRECTIONS, BACKGROUND,
                types.Depth.Input("depth_network", optional=True, tooltip=DEPTH_TIP),
                io.Float.Input("null_text_guidance", default=0.0, min=0.0, max=50.0, step=0.5, optional=True,
                               tooltip="Adds two ways, with the reference's prompt under this guidance: plain, and with "
                                       "null-text inversion (Mokady et al. 2023, who take 7.5). 0 = neither."),
                io.Int.Input("null_text_steps", default=10, min=1, max=200, optional=True, advanced=True,
                             tooltip="Learning steps of null-text inversion for each rung, at most. Its paper: 10."),
            ],
            outputs=[
                io.Image.Output("pictures", display_name="pictures",
                                tooltip="The picture, through the autoencoder alone, with depth, and without; with "
                                        "null_text_guidance two more: under guidance, and with null-text inversion."),
                io.String.Output("report", display_name="report", tooltip="Errors of each way, one line each."),
            ],
        )

    @classmethod
    def validate_inputs(cls, depth_text_network):
        """What the graph alone tells to be wrong stops the queue before anything runs."""
        return crossed()

    @classmethod
    def run(cls, reference, depth_text_network, steps, rungs, corrections, background, depth_network=None,
            null_text_guidance=0.0, null_text_steps=10):
        from ..pipelines.methods.null_text import NullTextSettings
        from ..pipelines.stages.objects.enhance_views import reconstruct

        depth_text_network.check()
        settings = guide_settings(steps, rungs, corrections=corrections)
        device = device_with_room()
        reference = with_depth(reference, None if depth_network is None else depth_network.load(device), device, True)
        null_text = NullTextSettings(null_text_guidance, null_text_steps) if null_text_guidance else None
        if null_text and not reference.prompt.strip():
            raise InputError("null_text_guidance", "a reference with a prompt", "an empty prompt",
                             "Write what the picture shows into Reference View, or set null_text_guidance to 0.")
        trip = reconstruct(depth_text_network.load(device), reference, settings, background, device, null_text)
        shown = to_image(torch.stack(list(trip.pictures.values())))
        return io.NodeOutput(shown, "\n".join(trip.report()), ui=ui.PreviewImage(shown, cls=cls))
