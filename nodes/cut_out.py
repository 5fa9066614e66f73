"""From an opaque photograph to a mask, without a network."""

from __future__ import annotations

from comfy_api.latest import io, ui

from ..host.base import CATEGORY, Node
from ..host.convert import to_image, to_mask


class CutOut(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_CutOut", display_name="Cut Out", category=f"{CATEGORY}/reference",
            description="Cuts the object out of an opaque photograph by its colors: no network, no download. For objects whose "
                        "colors differ from those of the picture's rim; soft shadows stay behind.",
            search_aliases=["background", "remove background", "background removal", "segmentation", "mask", "grabcut", "photo"],
            inputs=[
                io.Image.Input("image", tooltip="One opaque picture; its rim shows background."),
                io.Int.Input("detail", default=256, min=64, max=512, step=16, advanced=True,
                             tooltip="Longer side at which the object is told from the background, pixels. The edge is drawn "
                                     "at the picture's own size. Time grows with its square."),
                io.Combo.Input("mask_marks", options=["auto", "background", "object"], default="auto",
                               tooltip="What is white in the mask, as in Reference View."),
                io.Mask.Input("mask", optional=True,
                              tooltip="About where the object is, drawn generously, for example in the mask editor. What is "
                                      "outside of it is background. Without it, the picture's rim is."),
            ],
            outputs=[
                io.Image.Output("image", display_name="image",
                                tooltip="The picture, with the object's own colors along its soft edge."),
                io.Mask.Output("mask", display_name="mask", tooltip="Coverage of the object, 1 = object; for Reference View."),
                io.String.Output("report", display_name="report", tooltip="What to look at: several parts, a touched rim."),
            ],
        )

    @classmethod
    def run(cls, image, detail, mask_marks, mask=None):
        from ..pipelines.stages.inputs.cut_out import cut_out
        from ..pipelines.stages.inputs.marks import object_mask

        hint, remarks = object_mask(mask, mask_marks, close=True)
        rgb, cover, report = cut_out(image, hint, detail)
        shown = rgb * cover[..., None] + 1 - cover[..., None]
        text = "\n".join([*remarks, *report])
        return io.NodeOutput(to_image(rgb[None]), to_mask(cover[None]), text,
                             ui={**ui.PreviewImage(to_image(shown[None]), cls=cls).as_dict(), "text": (text,)})
