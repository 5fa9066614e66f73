"""Telling by a checkpoint's keys what it is, so that a wrong file gets one clear sentence instead of a list of names."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ..core.errors import InputError

UNET = "model.diffusion_model."
_FIRST = UNET + "input_blocks.0.0.weight"
_WANTED = {
    "view": "a Zero-1-to-3 or Stable Zero123 checkpoint",
    "text": "a Stable Diffusion 1.x or 2.x checkpoint",
}
_CHANNELS = {5: "a depth-conditioned network", 7: "an upscaler", 9: "an inpainting network"}
_THROUGH_COMFYUI = "Load it with ComfyUI's Load Checkpoint and wire its MODEL, CLIP and VAE into Model as Text Network."


def check_kind(state: Mapping[str, Tensor], kind: str, title: str) -> None:
    """InputError unless ``state`` looks like a whole ldm checkpoint of ``kind`` ("view" or "text")."""
    got, remedy = _verdict(state, kind)
    if got:
        raise InputError("checkpoint", _WANTED[kind], f"{title}, which is {got}", remedy)


def _verdict(state: Mapping[str, Tensor], kind: str) -> tuple[str, str]:
    another = "Choose another checkpoint."
    if any("lora_" in k or ".lora" in k or ".hada_" in k for k in state):
        return "a LoRA", "Apply it to a MODEL with ComfyUI's Load LoRA, then use Model as Text Network."
    if any(k.startswith(("control_model.", "input_hint_block.")) for k in state):
        return "a ControlNet", another
    if _FIRST not in state:
        if "conv_in.weight" in state and any(k.startswith("down_blocks.") for k in state):
            return "one component in the diffusers layout", "Put the whole folder into models/diffusers/ and choose it there."
        if any(k.startswith(("encoder.", "decoder.", "first_stage_model.")) for k in state):
            return "an autoencoder without a UNet", another
        return "not in Stable Diffusion's layout (no UNet in it)", _THROUGH_COMFYUI
    if any("time_stack" in k or "time_mixer" in k or "temporal" in k for k in state if k.startswith(UNET)):
        return "a video network", another
    if UNET + "label_emb.0.0.weight" in state:
        sdxl = any(k.startswith("conditioner.embedders.") for k in state)
        return "SDXL" if sdxl else "a network with further conditions (unCLIP)", _THROUGH_COMFYUI
    return _by_channels(state, kind, another)


def _by_channels(state: Mapping[str, Tensor], kind: str, another: str) -> tuple[str, str]:
    channels = state[_FIRST].shape[1]
    projected = "cc_projection.weight" in state and "cc_projection.bias" in state
    if channels in _CHANNELS:
        return f"{_CHANNELS[channels]} ({channels} input channels)", another
    if channels == 8 and projected:
        return ("", "") if kind == "view" else ("a Zero-1-to-3 network", "Use Load View Network for it.")
    if channels == 8:
        what = "InstructPix2Pix or a Zero-1-to-3 without its pose projection (no cc_projection.weight and .bias)"
        return what, "For Zero-1-to-3, get the whole checkpoint."
    if channels == 4:
        return ("", "") if kind == "text" else ("a text-to-image network", "Use Load Text Network for it.")
    return f"a network with {channels} input channels", another
