"""Loaders.  They hand out descriptions; a network is read when a stage first needs it."""

from __future__ import annotations

from comfy_api.latest import io

from . import checkpoints, types
from .base import CATEGORY, Node
from .specs import Network


class LoadEmbedded(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_LoadEmbedded", display_name="Load Embedded Networks", category=f"{CATEGORY}/networks",
            description="The small networks that ship with Lift123: they run on a CPU and need no download. Trained "
                        "on procedural toy objects only, so expect toy quality.",
            search_aliases=["offline", "small", "cpu"],
            inputs=[],
            outputs=[
                types.ViewNetwork.Output("view", display_name="view network",
                                         tooltip="Novel views of the reference picture (Zero-1-to-3 style)."),
                types.TextNetwork.Output("text", display_name="text network",
                                         tooltip="Pictures from a prompt (Stable Diffusion style)."),
                types.Clip.Output("clip", display_name="clip", tooltip="Picture-text similarity for CLIP Boundary."),
                types.Depth.Output("depth", display_name="depth network", tooltip="Depth of one picture."),
            ],
        )

    @classmethod
    def run(cls):
        return io.NodeOutput(*(Network(kind) for kind in ("view", "text", "clip", "depth")))


class _Loader(Node):
    """A loader of one kind of public checkpoint from local folders."""

    @classmethod
    def validate_inputs(cls, checkpoint):
        """The queue stops here, before any work, when files are absent."""
        from ..pipelines.core.errors import InputError

        try:
            Network(cls.kind(), checkpoint).check()
            return True
        except InputError as problem:
            return str(problem)

    @classmethod
    def kind(cls) -> str:
        raise NotImplementedError

    @classmethod
    def run(cls, checkpoint):
        network = Network(cls.kind(), checkpoint)
        network.check()
        return io.NodeOutput(network)


def _choice(kind: str, default: str, folder: str) -> io.Combo.Input:
    return io.Combo.Input(
        "checkpoint", options=checkpoints.names(kind), default=default,
        tooltip=f"A published network by name, in ComfyUI's {folder}<name>/ (diffusers layout), or 'embedded'. "
                "Nothing is downloaded: if files are missing, the error says which go where.")


class LoadViewPrior(_Loader):
    @classmethod
    def kind(cls):
        return "view"

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_LoadViewPrior", display_name="Load View Network", category=f"{CATEGORY}/networks",
            description="A Zero-1-to-3 style network by name, from a local folder.",
            search_aliases=["zero123", "novel view"],
            inputs=[_choice("view", "zero123-xl", "models/diffusers/")],
            outputs=[types.ViewNetwork.Output("view", display_name="view network",
                                              tooltip="For View Prior.")],
        )


class LoadTextPrior(_Loader):
    @classmethod
    def kind(cls):
        return "text"

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_LoadTextPrior", display_name="Load Text Network", category=f"{CATEGORY}/networks",
            description="A Stable Diffusion style network by name, from a local folder.",
            search_aliases=["stable diffusion", "text to image"],
            inputs=[_choice("text", "stable-diffusion-2-1-base", "models/diffusers/")],
            outputs=[types.TextNetwork.Output("text", display_name="text network", tooltip="For Text Prior.")],
        )


class LoadClip(_Loader):
    @classmethod
    def kind(cls):
        return "clip"

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_LoadClip", display_name="Load CLIP Scorer", category=f"{CATEGORY}/networks",
            description="An open_clip network by name, from a local folder; scores pictures against a prompt.",
            search_aliases=["clip", "open_clip"],
            inputs=[_choice("clip", "clip-vit-base-patch16", "models/lift123_clip/")],
            outputs=[types.Clip.Output("clip", display_name="clip", tooltip="For CLIP Boundary.")],
        )
