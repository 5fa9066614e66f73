"""StdGEN's pictures: its networks, toy characters, canonicalization, multi-view diffusion, views in and out."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import cast

from comfy_api.latest import io, ui

from ..host import types
from ..host.base import CATEGORY, Node, device_with_room, node_key
from ..host.convert import to_image, to_mask
from ..host.finished import Packet
from ..host.runner import run_stage, say
from ..host.specs import Network
from ..host.story import Chapter, recall, remember, told
from ..host.unfinished import Shelf
from ..pipelines.core.character_views import LEVEL_NAMES, CharacterViews
from ..pipelines.core.errors import InputError
from ..pipelines.core.story import Story
from ..pipelines.io.manifest import describe_picture
from .layers import MENU, layers_output
from .networks import Loader, choice

LEVELS = {"complete + no hair + body": (0, 1, 2), "complete": (0,), "complete + no hair": (0, 1)}
HEADS = ("as drawn", "from the picture")
DILATE = {"as trained": None, "yes": True, "no": False}
_SEED_TIP = "Of all noise. Same seed, same machine: same pictures."
_STEPS_TIP = "Sampling steps; 0 = the network's own (published: 40; embedded: 1)."
_GUIDANCE_TIP = "Classifier-free guidance; -1 = the network's own"
_VIEWS_TIP = "Six orthographic views (front, front right, right, back, left, front left) of up to three levels."


def settings_inputs(published: float) -> list:
    """Steps, guidance and seed of a sampler."""
    return [
        io.Int.Input("steps", default=0, min=0, max=1000, tooltip=_STEPS_TIP),
        io.Float.Input("guidance", default=-1.0, min=-1.0, max=30.0, step=0.1,
                       tooltip=f"{_GUIDANCE_TIP} (published: {published:g}; embedded: 1)."),
        io.Int.Input("seed", default=42, min=0, max=0xFFFFFFFF, control_after_generate=True, tooltip=_SEED_TIP),
    ]


def chosen(steps: int, guidance: float) -> dict:
    """Steps and guidance as the stages take them: None = the network's own."""
    return {"steps": steps or None, "guidance": None if guidance < 0 else guidance}


class LoadCharacterEmbedded(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_LoadCharacterEmbedded", display_name="Load Embedded Character Networks",
            category=f"{CATEGORY}/networks",
            description="StdGEN's networks at toy size: canonicalizer, multi-view and S-LRM ship with Lift123, run on a CPU and "
                        "need no download. Trained on procedural toy characters only, so expect toy quality.",
            search_aliases=["stdgen", "offline", "small", "cpu"],
            inputs=[],
            outputs=[types.Canonical.Output("canonical", display_name="canonicalizer",
                                            tooltip="For Canonicalize."),
                     types.MultiView.Output("multiview", display_name="multi-view network", tooltip="For Character Multi-View."),
                     types.Slrm.Output("slrm", display_name="s-lrm", tooltip="For S-LRM: views to layers.")],
        )

    @classmethod
    def run(cls):
        return io.NodeOutput(*(Network(kind) for kind in ("canonical", "multiview", "slrm")))


class LoadCanonicalizer(Loader):
    KIND = "canonical"

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_LoadCanonicalizer", display_name="Load Canonicalizer", category=f"{CATEGORY}/networks",
            description="StdGEN's A-pose network from local files.",
            search_aliases=["stdgen", "a-pose", "charactergen"],
            inputs=choice("canonical"),
            outputs=[types.Canonical.Output("canonical", display_name="canonicalizer", tooltip="For Canonicalize.")],
        )


class LoadMultiView(Loader):
    KIND = "multiview"

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_LoadMultiView", display_name="Load Multi-View Network", category=f"{CATEGORY}/networks",
            description="StdGEN's or stock Era3D's six-view network from local files; a name with 'era3d' means the latter.",
            search_aliases=["stdgen", "era3d", "six views"],
            inputs=choice("multiview"),
            outputs=[types.MultiView.Output("multiview", display_name="multi-view network",
                                            tooltip="For Character Multi-View.")],
        )


class LoadSlrm(Loader):
    KIND = "slrm"

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_LoadSlrm", display_name="Load S-LRM", category=f"{CATEGORY}/networks",
            description="StdGEN's semantic large reconstruction model from a local file; LoRA weights in it are merged.",
            search_aliases=["stdgen", "lrm", "instantmesh"],
            inputs=choice("slrm"),
            outputs=[types.Slrm.Output("slrm", display_name="s-lrm", tooltip="For S-LRM: views to layers.")],
        )


class ToyCharacter(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_ToyCharacter", display_name="Toy Character", category=MENU,
            description="A procedural figure with everything known: a picture in some pose, its A-pose, six views of three "
                        "levels, and its body, clothing and hair. Tests any character graph against the truth without data.",
            search_aliases=["test character", "procedural", "ground truth", "stdgen"],
            inputs=[
                io.Int.Input("size", default=256, min=32, max=1024, step=8, tooltip="Height of the pictures, pixels."),
                io.Int.Input("pose", default=0, min=0, max=1000, tooltip="Which of its arbitrary poses the picture shows."),
                io.Int.Input("cells", default=64, min=16, max=128, step=4,
                             tooltip="Of the grid on which the layers are meshed, per side. 64: fine; 32: as coarse as a "
                                     "reconstruction network's. Pictures and views are always of the fine layers."),
                io.Int.Input("seed", default=10000003, min=0, max=0xFFFFFFFF, control_after_generate=True,
                             tooltip="Which character. From 10,000,000 on: none that the embedded networks were trained on."),
            ],
            outputs=[
                io.Image.Output("image", display_name="image", tooltip="The figure in a pose, on white."),
                io.Mask.Output("mask", display_name="mask",
                               tooltip="1 = figure: in Canonicalize mask_marks may be 'auto' or 'object'."),
                io.Image.Output("a_pose", display_name="a-pose", tooltip="The true A-pose from the front, on white."),
                types.CharacterViews.Output("views", display_name="views", tooltip=f"The true ones. {_VIEWS_TIP}"),
                layers_output("The true body, clothing and hair in A-pose, with vertex colors."),
                io.String.Output("caption", display_name="caption", tooltip="Who it is, in words."),
            ],
        )

    @classmethod
    def run(cls, size, pose, cells, seed):
        from ..pipelines.stages.characters.refined_layers import RefinedLayers
        from ..pipelines.toybox.characters import A_POSE, input_picture, make_character, render_levels

        toy = make_character(seed)
        layers = toy.layers
        picture, views = input_picture(toy, pose, size), render_levels(layers, size)
        given = layers if cells == 64 else toy.posed(A_POSE, cells // 4 * 4)
        image = to_image(picture[..., :3] * picture[..., 3:] + 1 - picture[..., 3:])
        sign = Chapter(Story(), "Toy Character", {"size": size, "pose": pose, "cells": cells}, seed=seed).sign
        return io.NodeOutput(image, to_mask(picture[..., 3]), to_image(views.color[0, 0]), sign(views),
                             sign(RefinedLayers(given)), toy.caption, ui=ui.PreviewImage(image, cls=cls))


class Canonicalize(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_Canonicalize", display_name="Canonicalize", category=MENU,
            description="A character in any pose -> the same one in A-pose, from the front (StdGEN Sec. 3.1). The result is an "
                        "ordinary picture: edit it, inpaint it, or skip this node if yours is in A-pose already.",
            search_aliases=["a-pose", "stdgen", "charactergen", "canonical pose"],
            inputs=[
                io.Image.Input("image", tooltip="One whole figure, from head to feet."),
                types.Canonical.Input("canonical", tooltip="From Load Canonicalizer or Load Embedded Character Networks."),
                io.Combo.Input("mask_marks", options=["auto", "background", "object"], default="auto",
                               tooltip="What is white in the mask: core Load Image marks the background. auto: the background, "
                                       "if more than half of the mask's border is white."),
                io.Boolean.Input("complete", default=False,
                                 tooltip="The figure is whole although it touches the picture's rim."),
                *settings_inputs(5.0),
                io.Combo.Input("when", options=["always", "auto", "never"], default="always", optional=True,
                               tooltip="auto: a figure that stands in A-pose already is kept as it is, in the picture's full "
                                       "resolution. never: any picture is. The network is not asked then."),
                io.Combo.Input("head", options=list(HEADS), default=HEADS[0], optional=True,
                               tooltip="from the picture: where the network draws the A-pose, the picture's own head is turned "
                                       "to the front and laid on it with all its pixels; where it is not found again, the "
                                       "report says so."),
                io.Mask.Input("mask", optional=True, tooltip="Where the figure is. Without one a plain background is removed."),
            ],
            outputs=[io.Image.Output("a_pose", display_name="a-pose", tooltip="The figure in A-pose, on white."),
                     io.Image.Output("shown", display_name="shown", tooltip="What the network was shown: the framed figure."),
                     io.String.Output("report", display_name="report", tooltip="Remarks on the picture.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def run(cls, image, canonical, mask_marks, complete, steps, guidance, seed, when="always", head=HEADS[0], mask=None):
        from ..pipelines.stages.characters.a_pose import When, kept_pose, needs_canonicalization
        from ..pipelines.stages.characters.canonicalize import CanonicalSettings, canonicalize
        from ..pipelines.stages.characters.head_transfer import transfer_head
        from ..pipelines.stages.characters.picture import read_character
        from ..pipelines.stages.characters.unfinished import Unfinished
        from ..pipelines.stages.inputs.marks import object_mask

        cover, remarks = object_mask(mask, mask_marks)
        picture = read_character(image, cover, complete)
        story = Story().given(picture=describe_picture(image))
        needed, why = needs_canonicalization(picture, cast(When, when))
        report = "\n".join(part for part in (*remarks, *picture.report, why) if part)
        if not needed:
            result = to_image(kept_pose(picture))
            remember(result, story)
            return io.NodeOutput(result, result, report, ui=ui.PreviewImage(result, cls=cls))
        settings, device = CanonicalSettings(seed=seed, **chosen(steps, guidance)), device_with_room()
        network = canonical.load(device)
        shelf = Shelf("Canonicalize", canonical=canonical, picture=picture, settings=settings, device=device.type)
        left = shelf.find(Unfinished.unpack)
        own = {"head": head} if head == HEADS[1] else {}
        chapter = Chapter(story, "Canonicalize", settings, seed=seed, network=told(canonical), **own)

        def work(hooks) -> Packet:
            done = canonicalize(network, picture, settings, resume=lambda key: left, device=device, on_step=hooks["on_step"],
                                autosave=hooks["autosave"])
            return Packet({"picture": done.picture, "shown": done.shown})

        done = run_stage("Canonicalize", work, node_key(cls), shelf=shelf, unpack=Packet.unpack).tensors
        made = done["picture"]
        if own:
            with_head, said = transfer_head(picture, made)
            made, report = made if with_head is None else with_head, f"{report}\n{said}".strip()
            chapter.entry["said"] = said
        if report:
            say(report, node_key(cls))
        result = to_image(made)
        remember(result, chapter.end())
        return io.NodeOutput(result, to_image(done["shown"]), report, ui=ui.PreviewImage(result, cls=cls))


class CharacterMultiView(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_CharacterMultiView", display_name="Character Multi-View", category=MENU,
            description="One picture -> six views of colors and normals, for each level: the complete character, without hair, "
                        "and the body alone (StdGEN Sec. 3.2). With stock Era3D: six views of any object, one level.",
            search_aliases=["era3d", "stdgen", "six views", "multiview", "normals"],
            inputs=[
                io.Image.Input("image", tooltip="StdGEN: the A-pose from the front, on white. Era3D: any object on a plain "
                                                "background."),
                types.MultiView.Input("multiview", tooltip="From Load Multi-View Network or Load Embedded Character Networks."),
                io.Combo.Input("levels", options=list(LEVELS), default="complete + no hair + body",
                               tooltip="Each level is a run of its own. Layers need all three."),
                *settings_inputs(3.0),
                types.CharacterViews.Input("views", optional=True,
                                           tooltip="Levels of an earlier, stopped run: they are not made again."),
            ],
            outputs=[types.CharacterViews.Output("views", display_name="views", tooltip=_VIEWS_TIP),
                     io.Image.Output("colors", display_name="colors", tooltip="Six pictures per level, level after level."),
                     io.Image.Output("normals", display_name="normals",
                                     tooltip="Six normal maps per level as (n + 1) / 2 on white, in the front camera's frame.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def run(cls, image, multiview, levels, steps, guidance, seed, views=None):
        from ..pipelines.stages.characters import multiview as stage
        from ..pipelines.stages.characters.picture import read_character
        from ..pipelines.stages.characters.unfinished import Unfinished

        if len(image) != 1:
            raise InputError("image", "one picture", f"a batch of {len(image)}", "Pick one with Image From Batch.")
        device = device_with_room()
        settings = stage.MultiViewSettings(levels=LEVELS[levels], seed=seed, **chosen(steps, guidance))
        network = multiview.load(device)
        shelf = Shelf("Multi-view", multiview=multiview, image=image[0], views=views, settings=settings, device=device.type)
        left = shelf.find(Unfinished.unpack)
        chapter = Chapter(recall(image, "picture") if views is None else views.story, "Multi-view", settings,
                          seed=seed, network=told(multiview))
        if network.stock:
            picture = read_character(image)
            work = partial(stage.draw_stock_views, network, picture, settings)
        else:
            work = partial(stage.draw_views, network, image[0], settings, done=views)
        found = chapter.sign(run_stage("Multi-view", lambda hooks: work(
            resume=lambda key: left, device=device, on_step=hooks["on_step"], autosave=hooks["autosave"]), node_key(cls),
            shelf=shelf, unpack=CharacterViews.unpack))
        colors = to_image(found.color.flatten(0, 1))
        return io.NodeOutput(found, colors, to_image(found.encoded_normal().flatten(0, 1)), ui=ui.PreviewImage(colors, cls=cls))


class ViewsToImages(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_ViewsToImages", display_name="Character Views to Images", category=MENU,
            description="Takes character views apart: six pictures, normal maps and masks of one level.",
            search_aliases=["split views", "stdgen", "era3d"],
            inputs=[types.CharacterViews.Input("views", tooltip=_VIEWS_TIP),
                    io.Combo.Input("level", options=list(LEVEL_NAMES), default="complete", tooltip="Which level.")],
            outputs=[io.Image.Output("colors", display_name="colors", tooltip="Six pictures on white."),
                     io.Image.Output("normals", display_name="normals", tooltip="Six normal maps as (n + 1) / 2 on white."),
                     io.Mask.Output("mask", display_name="mask", tooltip="Coverage, 1 = figure.")],
        )

    @classmethod
    def run(cls, views, level):
        try:
            one = views.level(level)
        except ValueError as error:
            raise InputError("level", ", ".join(views.levels), level, "Choose a level that these views have.") from error
        return io.NodeOutput(to_image(one.color[0]), to_image(one.encoded_normal()[0]), to_mask(one.alpha[0]))


class ImagesToViews(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_ImagesToViews", display_name="Images to Character Views", category=MENU,
            description="Puts pictures made elsewhere (or edited) together as character views. Per level six pictures in the "
                        "order front, front right, right, back, left, front left. Colors alone are enough for S-LRM and Project "
                        "Colors; Refine Layers asks for normals.",
            search_aliases=["join views", "stdgen", "era3d", "zero123++", "syncdreamer"],
            inputs=[io.Image.Input("colors", tooltip="6, 12 or 18 square pictures on white: complete, no hair, body. Or 4: "
                                                     "front, right, back, left (CharacterGen's), for a mesh of one piece."),
                    io.Image.Input("normals", optional=True,
                                   tooltip="As many normal maps as (n + 1) / 2 on white, in the front camera's frame (red = "
                                           "its right, green = up, blue = towards it). Only Refine Layers wants them."),
                    io.Mask.Input("mask", optional=True,
                                  tooltip="As many masks, 1 = figure. Without them all but a plain background is figure.")],
            outputs=[types.CharacterViews.Output("views", display_name="views", tooltip=_VIEWS_TIP)],
        )

    @classmethod
    def run(cls, colors, normals=None, mask=None):
        from ..pipelines.stages.characters.multiview import VIEWS, views_from_pictures

        levels = min(max(1, len(colors) // VIEWS), len(LEVEL_NAMES))
        pictures = {"colors": colors} if normals is None else {"colors": colors, "normals": normals}
        given = Story().given(**{name: describe_picture(picture) for name, picture in pictures.items()})
        found = views_from_pictures(list(colors), None if normals is None else list(normals), levels, mask)
        return io.NodeOutput(replace(found, story=given))


class LiftLayers(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_LiftLayers", display_name="S-LRM: Views to Layers", category=MENU,
            description="The semantic large reconstruction model: the six color views of the complete character become body, "
                        "clothing and hair, each closed where the others cover it (StdGEN Sec. 3.2). A layer that is absent is "
                        "left out.",
            search_aliases=["stdgen", "lrm", "decompose", "layers", "reconstruction"],
            inputs=[
                types.CharacterViews.Input("views", tooltip="Only the colors of the complete character are looked at."),
                types.Slrm.Input("slrm", tooltip="From Load S-LRM or Load Embedded Character Networks."),
                io.Combo.Input("dilate", options=list(DILATE), default="as trained", advanced=True,
                               tooltip="Clothing and hair grow by a cell into what they lie on, which closes them where they "
                                       "touch. as trained: yes for the released network, no for the embedded one, whose cells "
                                       "are too large for it."),
                io.Combo.Input("pieces", options=["body, clothing, hair", "one piece"], default="body, clothing, hair",
                               optional=True, advanced=True,
                               tooltip="one piece: the whole figure as one surface, which Refine Layers and Project Colors then "
                                       "compare with the complete character only (the comparison of StdGEN's Fig. 7)."),
            ],
            outputs=[layers_output("Coarse layers with vertex colors. Sharpen them with Refine Layers.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def run(cls, views, slrm, dilate, pieces="body, clothing, hair"):
        from ..pipelines.stages.characters.lift_layers import LiftConfig, lift_layers
        from ..pipelines.stages.characters.refined_layers import RefinedLayers

        views.require_figure()
        device, config = device_with_room(), LiftConfig(dilate=DILATE[dilate])
        whole = pieces == "one piece"
        device, config = device_with_room(), LiftConfig(dilate=DILATE[dilate], whole=whole)
        network, chapter = slrm.load(device), Chapter(views.story, "S-LRM", config, network=told(slrm))
        found = run_stage("S-LRM", lambda hooks: lift_layers(
            views.to(device), network, config, on_step=hooks["on_step"]), node_key(cls))
        return io.NodeOutput(chapter.sign(RefinedLayers(found.to("cpu"), whole=whole)))
