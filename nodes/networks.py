"""Loaders.  They hand out descriptions; a network is read when a stage first needs it."""

from __future__ import annotations

from comfy_api.latest import io

from ..host import checkpoints, types
from ..host.base import CATEGORY, Node
from ..host.specs import Network
from ..pipelines.catalog.kinds import KINDS


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
                types.DepthText.Output("depth_text", display_name="depth-text network",
                                       tooltip="Pictures from a prompt and a depth map, for HiFi-123's nodes."),
            ],
        )

    @classmethod
    def run(cls):
        return io.NodeOutput(*(Network(kind) for kind in ("view", "text", "clip", "depth", "depth_text")))


class Loader(Node):
    """A loader of one kind of public network from local files."""

    KIND = ""

    @classmethod
    def validate_inputs(cls, checkpoint, hub_name=""):
        """The queue stops here, before any work, when files are absent or of another kind."""
        from ..pipelines.core.errors import InputError

        try:
            cls.network(checkpoint, hub_name).check()
            return True
        except InputError as problem:
            return str(problem)

    @classmethod
    def network(cls, checkpoint: str, hub_name: str = "", option: str = "auto") -> Network:
        """What goes on the wire."""
        return Network(cls.KIND, (hub_name or "").strip() or checkpoint or checkpoints.EMBEDDED, option)

    @classmethod
    def run(cls, checkpoint, hub_name=""):
        return cls.hand_out(cls.network(checkpoint, hub_name))

    @classmethod
    def hand_out(cls, network: Network) -> io.NodeOutput:
        """The network, once its files are known to be there."""
        network.check()
        return io.NodeOutput(network)


def choice(name: str) -> list:
    """The inputs of a kind's loader: a name from the list, or a hub name."""
    kind = KINDS[name]
    folder, default = kind.folder, kind.default
    single = f", or a file of models/{kind.single}/" if kind.single else ""
    return [
        io.Combo.Input(
            "checkpoint", options=list(dict.fromkeys([*checkpoints.names(name), default])), default=default,
            tooltip=f"A network by name: a folder of ComfyUI's models/{folder}/ ({kind.layouts}){single}, or 'embedded'. "
                    "Nothing is downloaded: if files are missing, the error says which go where."),
        io.String.Input(
            "hub_name", default="", optional=True, advanced=True, placeholder="org/name",
            tooltip=f"Instead of the list: a hub name (org/name) or a folder name. Its files must be in models/{folder}/ or in "
                    "Hugging Face's own cache on this machine."),
    ]


class LoadViewPrior(Loader):
    KIND = "view"

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_LoadViewPrior", display_name="Load View Network", category=f"{CATEGORY}/networks",
            description="A Zero-1-to-3 style network from local files: a diffusers folder, or an original checkpoint.",
            search_aliases=["zero123", "novel view", "stable zero123"],
            inputs=[
                *choice("view"),
                io.Combo.Input("pose", options=["auto", "zero123", "stable"], default="auto", optional=True, advanced=True,
                               tooltip="What the network was told about cameras in training: Zero-1-to-3's or Stable "
                                       "Zero123's. 'auto' goes by the name; the files look alike."),
            ],
            outputs=[types.ViewNetwork.Output("view", display_name="view network",
                                              tooltip="For View Prior.")],
        )

    @classmethod
    def run(cls, checkpoint, hub_name="", pose="auto"):
        return cls.hand_out(cls.network(checkpoint, hub_name, pose))


class LoadTextPrior(Loader):
    KIND = "text"

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_LoadTextPrior", display_name="Load Text Network", category=f"{CATEGORY}/networks",
            description="A Stable Diffusion 1.x, 2.x or SDXL network, or DeepFloyd IF, from local files: a diffusers folder, or "
                        "a checkpoint file (1.x and 2.x).",
            search_aliases=["stable diffusion", "text to image", "sdxl", "deepfloyd if", "pixel diffusion"],
            inputs=choice("text"),
            outputs=[types.TextNetwork.Output("text", display_name="text network", tooltip="For Text Prior.")],
        )


class LoadClip(Loader):
    KIND = "clip"

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_LoadClip", display_name="Load CLIP Scorer", category=f"{CATEGORY}/networks",
            description="A CLIP network from local files (open_clip's or transformers' layout); scores pictures against a "
                        "prompt.",
            search_aliases=["clip", "open_clip"],
            inputs=choice("clip"),
            outputs=[types.Clip.Output("clip", display_name="clip", tooltip="For CLIP Boundary.")],
        )


class LoadDepth(Loader):
    KIND = "depth"

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_LoadDepth", display_name="Load Depth Network", category=f"{CATEGORY}/networks",
            description="A depth estimator of transformers from a local folder: DPT / MiDaS, Depth Anything, ZoeDepth.",
            search_aliases=["depth", "midas", "dpt", "depth anything"],
            inputs=[
                *choice("depth"),
                io.Combo.Input("convention", options=["auto", "inverse", "distance"], default="auto", optional=True,
                               advanced=True,
                               tooltip="What the network's large numbers mean: near (inverse) or far (distance). 'auto' reads "
                                       "its configuration: metric networks give distances, all others inverse depth."),
            ],
            outputs=[types.Depth.Output("depth", display_name="depth network",
                                        tooltip="For Depth Picture or Estimate Depth.")],
        )

    @classmethod
    def run(cls, checkpoint, hub_name="", convention="auto"):
        return cls.hand_out(cls.network(checkpoint, hub_name, convention))
