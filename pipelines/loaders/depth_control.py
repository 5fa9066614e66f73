"""Depth by ControlNet (Zhang et al. 2023): the stand-in where depth-conditioned Stable Diffusion 2 is not at hand.

A text UNet of Stable Diffusion 1.x or 2.x and a depth ControlNet act as one UNet with 5 input channels, so that
everything made for ``depth_text`` works on the pair.  The blocks, and so the names of the self-attentions, are the same.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor

from ..core.errors import InputError
from ..core.modules import AnyModule
from ..networks.depth_text import DepthTextDenoiser
from .folders import config_of, load_component, read_json
from .public import half_unless_cpu, load_text_folder


class ControlledUnet(torch.nn.Module):
    """(latents | depth) [B, 5, h, w] -> what the text UNet answers under the ControlNet.

    unet: UNet2DConditionModel; controlnet: ControlNetModel.
    shrink: pixels of the ControlNet's picture per latent; strength: of the ControlNet.
    """

    def __init__(self, unet: AnyModule, controlnet: AnyModule, shrink: int = 8, strength: float = 1.0):
        super().__init__()
        self.unet, self.controlnet, self.shrink, self.strength = unet, controlnet, shrink, strength

    @property
    def config(self) -> SimpleNamespace:
        """The text UNet's numbers, with the depth channel."""
        return SimpleNamespace(**{**dict(self.unet.config), "in_channels": self.unet.config.in_channels + 1})

    @property
    def dtype(self) -> torch.dtype:
        return self.unet.dtype

    @property
    def attention_unet(self) -> AnyModule:
        """Whose self-attentions pictures share."""
        return self.unet

    def forward(self, x: Tensor, t: Tensor, context: Tensor, **extras):
        latents, picture = x[:, :-1], self.picture(x[:, -1:])
        down, middle = self.controlnet(latents, t, context, controlnet_cond=picture, conditioning_scale=self.strength,
                                       return_dict=False)
        return self.unet(latents, t, context, down_block_additional_residuals=down, mid_block_additional_residual=middle,
                         **extras)

    def picture(self, depth: Tensor) -> Tensor:
        """[B, 1, h, w] in [-1, 1] -> the depth picture [B, 3, H, W] that ControlNets are shown: near bright, nothing black."""
        large = torch.nn.functional.interpolate(depth.float() / 2 + 0.5, scale_factor=float(self.shrink), mode="bilinear")
        return large.to(depth.dtype).expand(-1, 3, -1, -1)


def check_pair(text_folder: Path, control_folder: Path) -> None:
    """InputError for a folder that is no ControlNet, or one of another family than the text network.  Reads no weights."""
    control, unet = read_json(control_folder / "config.json"), config_of(text_folder, "unet")
    if control.get("_class_name") != "ControlNetModel":
        raise InputError("controlnet", "a depth ControlNet", str(control.get("_class_name", "another network")),
                         "Choose a folder with a ControlNetModel.")
    for key in ("cross_attention_dim", "block_out_channels", "addition_embed_type"):
        if control.get(key) != unet.get(key):
            raise InputError("controlnet", f"a ControlNet for this text network ({key} {unet.get(key)})", str(control.get(key)),
                             "SD 1.5 and SD 2.x have different ControlNets; SDXL is not supported here.")


def load_depth_control(text_folder: Path, control_folder: Path, device: torch.device | str = "cpu",
                       dtype: torch.dtype | None = None, strength: float = 1.0) -> DepthTextDenoiser:
    """A Stable Diffusion 1.x or 2.x folder and a depth ControlNet's folder (diffusers layout) as one depth-text network.

    InputError as :func:`check_pair`.
    """
    from diffusers import ControlNetModel

    text_folder, control_folder = Path(text_folder), Path(control_folder)
    dtype = dtype or half_unless_cpu(device)
    check_pair(text_folder, control_folder)
    text = load_text_folder(text_folder, device, dtype)
    net = load_component(ControlNetModel, control_folder, "", device, dtype)
    shrink = 2 ** (len(net.config.conditioning_embedding_out_channels) - 1)
    pair = ControlledUnet(text.runtime.unet, net, shrink, strength).eval()
    return DepthTextDenoiser(replace(text.runtime, unet=pair), text.encoder)
