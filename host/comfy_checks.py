"""What can be told about a MODEL, CLIP and VAE before any work: families, channels, LoRAs that do not fit.

Reading attributes only; nothing is loaded or computed here.
"""

from __future__ import annotations

from typing import Any

import torch

from ..pipelines.core.errors import InputError

ComfyObject = Any  # a MODEL, CLIP, VAE or CLIP_VISION: its networks differ by family, so its attributes do
KINDS = {3: "a pixel model", 5: "a depth-conditioned model", 7: "an upscaler",
         8: "a picture-conditioned model (Zero-1-to-3 or InstructPix2Pix)", 9: "an inpainting model"}
NATIVE = {"SDXL": 1024, "SD15": 512}  # core's latent formats -> pixels; SD 2.x shares the second


def describe(model) -> str:
    """The MODEL's family and input channels, for messages."""
    network = model.model
    return f"{type(network.model_config).__name__} ({input_channels(model) or 'unknown'} input channels)"


def input_channels(model) -> int | None:
    """Channels of what the network sees, or None where it does not say."""
    value = model.model.model_config.unet_config.get("in_channels")
    return value if isinstance(value, int) else None


def check_present(**parts) -> None:
    """InputError for a socket that carries nothing (a checkpoint without that part)."""
    for name, part in parts.items():
        if part is None or (name == "vae" and getattr(part, "first_stage_model", None) is None):
            raise InputError(name, f"a {name.upper()}", "nothing: the checkpoint has none",
                             f"Load a {name.upper()} with its own loader node and wire it here.")


def check_picture_model(model, vae) -> None:
    """InputError for video, audio and other models without pictures, and for a VAE of another family."""
    form = model.get_model_object("latent_format")
    if form.latent_dimensions != 2:
        raise InputError("model", "an image model", f"{describe(model)}: its latents are video or audio",
                         "Load a text-to-image model, for example Stable Diffusion 1.5 or XL.")
    if getattr(vae, "latent_dim", 2) != 2 or vae.latent_channels != form.latent_channels:
        raise InputError("vae", f"a VAE of the MODEL's family ({form.latent_channels} latent channels)",
                         f"one with {vae.latent_channels} latent channels in {vae.latent_dim} dimensions",
                         "Take MODEL and VAE from the same checkpoint.")


def check_text_model(model, vae) -> None:
    """InputError unless the MODEL turns text alone into pictures."""
    check_picture_model(model, vae)
    channels, wanted = input_channels(model), model.get_model_object("latent_format").latent_channels
    from_patches = not hasattr(model.model.diffusion_model, "input_blocks")  # transformers count differently
    extra = tuple(getattr(model.model, "concat_keys", ()))
    if hasattr(model.model, "cc_projection"):
        raise InputError("model", "a text-to-image model", "a Zero-1-to-3 model",
                         "Use Model as View Network for it.")
    if extra or (not from_patches and channels is not None and channels != wanted):
        raise InputError("model", f"a text-to-image model ({wanted} input channels)",
                         f"{KINDS.get(channels or 0, 'a model that wants further pictures')} ({channels} input channels)",
                         "Load the ordinary version of this model, without 'inpainting' or 'depth' in its name.")


def check_view_model(model, vae, clip_vision) -> None:
    """InputError unless the MODEL is Zero-1-to-3 as core loads it, with a CLIP_VISION of the right width."""
    projection = getattr(model.model, "cc_projection", None)
    if projection is None:
        raise InputError("model", "a Zero-1-to-3 or Stable-Zero123 model", describe(model),
                         "Load its checkpoint with Image Only Checkpoint Loader; use Model as Text Network for others.")
    check_picture_model(model, vae)
    width, wanted = getattr(clip_vision, "config", {}).get("projection_dim"), projection.weight.shape[1] - 4
    if width is not None and width != wanted:
        raise InputError("clip_vision", f"a picture encoder of width {wanted}", f"width {width}",
                         "Use CLIP ViT-L/14, which the checkpoint itself contains.")


def native_size(model, vae) -> int:
    """Side in pixels that the MODEL was trained for, as far as its family tells; a multiple of the VAE's step."""
    if hasattr(model.model, "cc_projection"):
        return 256
    form = model.get_model_object("latent_format")
    if type(model.model.model_config).__name__ == "SD20" and model.model.model_type.name == "V_PREDICTION":
        return 768
    size = NATIVE.get(type(form).__name__, 512 if form.latent_channels == 4 else 1024)
    return size - size % (2 * vae.spacial_compression_encode())


def check_size(size: int, vae) -> None:
    """InputError for a picture size that the VAE cannot halve evenly."""
    step = vae.spacial_compression_encode()
    if size % step or size < 4 * step:
        raise InputError("image_size", f"a multiple of {step}, at least {4 * step} (0 = the MODEL's own)", str(size),
                         f"Use {max(4, round(size / step)) * step}.")


def check_loras(model, prompt: dict | None, node_id: str | None) -> list[str]:
    """Warnings about LoRAs that only partly fit; InputError where one was asked for and nothing of it fits.

    Core skips unknown weights and logs wrong shapes, so that a LoRA of another family would pass unnoticed.
    prompt, node_id: the running graph in API format and this node in it, if known.
    """
    names = _asked_for(prompt or {}, node_id)
    weights = dict(model.model.named_parameters()) if model.patches else {}
    wrong = [k for k, patches in model.patches.items() if k in weights and not all(_fits(p, weights[k]) for p in patches)]
    unused = names and not model.patches and not model.injections and not model.hook_patches
    if unused or (wrong and len(wrong) == len(model.patches)):
        listed = ", ".join(repr(n) for n in names) or "the one that is applied"
        raise InputError("model", "a LoRA made for this MODEL", f"{listed}, of which no weight fits {describe(model)}",
                         "Use a LoRA of the same family (an SDXL LoRA does nothing on SD 1.5), or take it out.")
    return [f"{len(wrong)} of {len(model.patches)} LoRA weights do not fit and are left out"] if wrong else []


def _asked_for(prompt: dict, node_id: str | None) -> list[str]:
    """Names of the LoRAs on the MODEL's way to this node, as far as core's own loaders carry them."""
    names, link = [], prompt.get(str(node_id), {}).get("inputs", {}).get("model")
    for _ in range(100):
        node = prompt.get(str(link[0])) if isinstance(link, (list, tuple)) and link else None
        if node is None:
            break
        given = node.get("inputs", {})
        if node.get("class_type") in ("LoraLoader", "LoraLoaderModelOnly") and given.get("strength_model") != 0:
            names.append(str(given.get("lora_name")))
        link = given.get("model")
    return names


def _fits(patch: tuple, weight: torch.Tensor) -> bool:
    """Whether a LoRA's two factors multiply to the weight's size; True for anything that is not a LoRA."""
    adapter, part, function = patch[1], patch[3], patch[4]
    if getattr(adapter, "name", "") != "lora" or part is not None or function is not None:
        return True
    up, down, _, middle, _, reshape = adapter.weights
    if middle is not None or reshape is not None:
        return True
    return up.flatten(1).shape[0] * down.flatten(1).shape[1] == weight.numel() and up.shape[0] == weight.shape[0]


def long_prompt(clip, text: str) -> str:
    """What happens to a prompt that is longer than its text encoder's window, or ""."""
    chunks = {name: len(batches) for name, batches in clip.tokenize(text).items() if isinstance(batches, list)}
    if max(chunks.values(), default=1) <= 1:
        return ""
    return (f"the prompt is longer than one window of the text encoder and is read in {max(chunks.values())} parts; "
            "words of different parts do not see each other. Shorten it if details are ignored.")
