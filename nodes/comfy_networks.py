"""Models from ComfyUI's own loaders as networks on our wires: whatever a user has, LoRAs included."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from comfy_api.latest import io

from ..host import comfy_checks as checks
from ..host import types
from ..host.base import CATEGORY, Node, node_key
from ..host.runner import say
from ..pipelines.core.choices import Pose
from ..pipelines.io.fingerprint import fingerprint
from ..pipelines.io.runs import run_key, upstream
from .export import used_weights

log = logging.getLogger(__name__)
GUIDANCE = {"text": 7.5, "view": 3.0}


@dataclass(frozen=True, eq=False)
class ComfyNetwork:
    """A frozen network made of ComfyUI's objects; stands in for ``specs.Network`` on the wires.

    kind: "text" (model, vae, clip) or "view" (model, vae, clip_vision).
    image_size: side of the pictures it judges, pixels; 0 = what the model was trained for.
    convention: view only, one of ``pipelines.networks.view.POSES``.
    node_key: the node that made it, whose text line shows warnings.
    origin: the graph that leads to it, and the files of weights that it names (:func:`origin`); "" = unknown.
    """

    kind: str
    model: checks.ComfyObject
    vae: checks.ComfyObject
    clip: checks.ComfyObject = None
    clip_vision: checks.ComfyObject = None
    image_size: int = 0
    convention: Pose = "zero123"
    node_key: str | None = None
    origin: str = ""

    def identity(self) -> list:
        """Where it comes from and how strongly it is patched; TypeError where the graph is unknown."""
        if not self.origin:
            raise TypeError("no key for a MODEL of an unknown graph")
        patched = [getattr(self.model, "patches", {}), getattr(getattr(self.clip, "patcher", None), "patches", {})]
        strengths = [[[str(key), [[float(p[0]), float(p[2])] for p in parts]] for key, parts in patches.items()]
                     for patches in patched]
        return [self.kind, self.image_size, self.convention, self.origin, strengths]

    @property
    def name(self) -> str:
        """What a manifest says about it."""
        return f"ComfyUI {type(self.model.model.model_config).__name__}"

    @property
    def size(self) -> int:
        """Side of the pictures it judges, pixels."""
        return self.image_size or checks.native_size(self.model, self.vae)

    def check(self) -> None:
        """InputError while nothing has been computed: parts that are absent or do not belong together."""
        if self.kind == "text":
            checks.check_present(model=self.model, clip=self.clip, vae=self.vae)
            checks.check_text_model(self.model, self.vae)
        else:
            checks.check_present(model=self.model, clip_vision=self.clip_vision, vae=self.vae)
            checks.check_view_model(self.model, self.vae, self.clip_vision)
        checks.check_size(self.size, self.vae)
        from ..host.comfy_denoiser import noise_path

        noise_path(self.model)

    def load(self, device: torch.device):
        """The denoiser; the VAE's private copy lives on ``device``, the rest where ComfyUI puts it."""
        from ..host.comfy_denoiser import Backbone, ModelTextDenoiser, ModelViewDenoiser

        self.check()
        backbone = Backbone(self.model, self.vae, self.size, device)
        if self.kind == "view":
            return ModelViewDenoiser(backbone, GUIDANCE["view"], clip_vision=self.clip_vision, convention=self.convention,
                                     warn=self.warn)
        return ModelTextDenoiser(backbone, GUIDANCE["text"], clip=self.clip, warn=self.warn)

    def warn(self, text: str) -> None:
        """A remark that must not stop the work: into the log and the node's text line."""
        log.warning("Lift123: %s: %s", self.name, text)
        say(f"Warning: {text}", self.node_key)


class ModelAsText(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_ModelAsText", display_name="Model as Text Network", category=f"{CATEGORY}/networks",
            description="Any ComfyUI text-to-image MODEL with its CLIP and VAE as a text network: Stable Diffusion, SDXL, "
                        "flow models, fine-tunes, with LoRAs.",
            search_aliases=["checkpoint", "sdxl", "flux", "lora", "stable diffusion"],
            inputs=[
                io.Model.Input("model", tooltip="A text-to-image model from any loader, LoRAs and patches included. Not "
                                                "inpainting, depth or video models."),
                io.Clip.Input("clip", tooltip="The text encoder of the same checkpoint; its LoRAs and hooks count."),
                io.Vae.Input("vae", tooltip="The VAE of the same family. Gradients cross it, in a private copy."),
                io.Int.Input("image_size", default=0, min=0, max=2048, step=8,
                             tooltip="Side of the pictures the network judges, pixels; 0 = what the model was trained "
                                     "for. Smaller is faster and needs less memory."),
            ],
            outputs=[types.TextNetwork.Output("text", display_name="text network", tooltip="For Text Prior.")],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
        )

    @classmethod
    def run(cls, model, clip, vae, image_size):
        network = ComfyNetwork("text", model, vae, clip=clip, image_size=image_size, node_key=node_key(cls),
                               origin=origin(cls.hidden))
        return io.NodeOutput(checked(network, cls.hidden))


class ModelAsView(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_ModelAsView", display_name="Model as View Network", category=f"{CATEGORY}/networks",
            description="Zero-1-to-3 or Stable-Zero123 as ComfyUI's Image Only Checkpoint Loader reads it, as a view network.",
            search_aliases=["zero123", "stable zero123", "novel view", "checkpoint"],
            inputs=[
                io.Model.Input("model", tooltip="From Image Only Checkpoint Loader: Zero-1-to-3, Zero123-XL or Stable-Zero123."),
                io.ClipVision.Input("clip_vision", tooltip="The picture encoder of the same checkpoint."),
                io.Vae.Input("vae", tooltip="The VAE of the same checkpoint. Gradients cross it, in a private copy."),
                io.Int.Input("image_size", default=0, min=0, max=2048, step=8, advanced=True,
                             tooltip="Side of the pictures the network judges, pixels; 0 = 256, what these models were "
                                     "trained for."),
                io.Combo.Input("pose", options=["auto", "zero123", "stable"], default="auto",
                               tooltip="The fourth pose number: the difference of the camera distances (zero123) or the "
                                       "picture's own elevation (stable). auto reads the checkpoint's file name."),
            ],
            outputs=[types.ViewNetwork.Output("view", display_name="view network", tooltip="For View Prior.")],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
        )

    @classmethod
    def run(cls, model, clip_vision, vae, image_size, pose):
        network = ComfyNetwork("view", model, vae, clip_vision=clip_vision, image_size=image_size,
                               convention=convention(model) if pose == "auto" else pose, node_key=node_key(cls),
                               origin=origin(cls.hidden))
        return io.NodeOutput(checked(network, cls.hidden))


def checked(network: ComfyNetwork, hidden) -> ComfyNetwork:
    """The network after all cheap checks; remarks go to the node's text line."""
    network.check()
    for remark in checks.check_loras(network.model, getattr(hidden, "prompt", None), network.node_key):
        network.warn(remark)
    return network


def origin(hidden) -> str:
    """What leads to the running node: all nodes and settings before it, and its files' times; "" outside a graph."""
    graph, key = getattr(hidden, "prompt", None), str(getattr(hidden, "unique_id", None))
    if not graph or key not in graph:
        return ""
    files = [(name, path.stat().st_mtime_ns) for name, path in used_weights({k: graph[k] for k in upstream(graph, key)})]
    return fingerprint(run_key(graph, key), files)


def convention(model) -> Pose:
    """The pose convention by the checkpoint's file name; "stable", which core assumes for all, where it has none."""
    source = getattr(model, "cached_patcher_init", None)
    path = next((a for a in (source[1] if source else ()) if isinstance(a, str)), "")
    name = Path(path).name.lower()
    return "stable" if "stable" in name or not name else "zero123"
