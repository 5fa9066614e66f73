"""A prompt for those who have a picture and no words."""

from __future__ import annotations

from comfy_api.latest import io

from ..host import types
from ..host.base import CATEGORY, Node, comfy_device
from ..pipelines.stages.inputs.caption import NOUNS


class ProposePrompt(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_ProposePrompt", display_name="Propose Prompt", category=f"{CATEGORY}/reference",
            description="Proposes a prompt for a picture: its colors, and the noun that a CLIP network finds most alike. The "
                        "embedded network knows toys; read it before you use it.",
            search_aliases=["caption", "describe", "interrogate", "clip", "prompt"],
            is_output_node=True, not_idempotent=True,
            inputs=[
                io.Image.Input("image", tooltip="One picture of one object, as for Reference View."),
                types.Clip.Input("clip", tooltip="From Load Embedded Networks or Load CLIP Scorer."),
                io.String.Input("nouns", default=NOUNS, multiline=True,
                                tooltip="What the object may be, separated by commas. The embedded network knows those of the "
                                        "default list only; others know any English noun."),
                io.Combo.Input("mask_marks", options=["auto", "background", "object"], default="auto",
                               tooltip="What is white in the mask, as in Reference View."),
                io.Mask.Input("mask", optional=True, tooltip="Where the object is."),
            ],
            outputs=[
                io.String.Output("prompt", display_name="prompt", tooltip="The best proposal; for Reference View's prompt."),
                io.String.Output("proposals", display_name="proposals", tooltip="All proposals with their scores, best first."),
            ],
        )

    @classmethod
    def run(cls, image, clip, nouns, mask_marks, mask=None):
        from ..pipelines.stages.inputs.caption import propose
        from ..pipelines.stages.inputs.marks import object_mask
        from ..pipelines.stages.inputs.reference import prepare_reference

        cover, _ = object_mask(mask, mask_marks)
        reference, _ = prepare_reference(image, cover)
        device = comfy_device()
        found = propose(reference.on_background().to(device), clip.load(device), nouns)
        text = "\n".join(f"{caption.score:.3f} {caption.text}" for caption in found)
        return io.NodeOutput(found[0].text, text, ui={"text": (text,)})
