"""ComfyUI's MODEL, CLIP, VAE and CLIP_VISION as the frozen denoisers that ``pipelines`` expects.

A MODEL speaks sigma and answers with x_0; ``pipelines.networks.noise.NoisePath`` translates.  Everything that a
sampler node respects is respected: LoRA and other weight patches, hooks, model options such as CFG rescaling,
model sampling patches.  The MODEL runs in inference mode through ComfyUI's own sampling code and takes turns with
other models in memory.  Only the VAE is crossed by gradients: of it a private copy stays in place, because
ComfyUI could move the shared one away between a forward and its backward pass.
"""

from __future__ import annotations

import copy
import logging
import math
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import comfy.conds
import comfy.model_management as mm
import comfy.model_patcher
import comfy.model_sampling as sampling
import comfy.sampler_helpers
import comfy.samplers
import torch
from torch import Tensor

from ..pipelines.core import threads
from ..pipelines.core.cameras import Cameras
from ..pipelines.core.choices import Pose
from ..pipelines.core.errors import InputError
from ..pipelines.core.modules import AnyModule
from ..pipelines.networks.lora import LoraLearner
from ..pipelines.networks.noise import NoisePath
from ..pipelines.networks.text import VIEWS, view_weights
from ..pipelines.networks.view import pose_vector, resize
from .comfy_checks import ComfyObject, long_prompt
from .comfy_twin import adapter

log = logging.getLogger(__name__)
NOT_IMAGES = (sampling.IMG_TO_IMG, sampling.IMG_TO_IMG_FLOW, sampling.COSMOS_RFLOW, sampling.V_PREDICTION_DDPM)


def noise_path(model) -> NoisePath:
    """The noise levels of a MODEL, model sampling patches included; InputError for kinds without an x_0 or eps."""
    ms = model.get_model_object("model_sampling")
    if isinstance(ms, NOT_IMAGES) or not isinstance(ms, (sampling.EPS, sampling.CONST)):
        kinds = ", ".join(c.__name__ for c in type(ms).__mro__[1:3])
        raise InputError("model", "an image model that predicts noise, v or flow", f"model sampling {kinds}",
                         "Load a text-to-image model, for example Stable Diffusion 1.5, 2.1 or XL.")
    sigmas = cast(Any, ms).sigmas.detach().float().cpu().clone()
    if isinstance(ms, sampling.CONST):
        return NoisePath.flow(sigmas, float(getattr(ms, "noise_scale", 1.0)))
    return NoisePath.exploding(sigmas)


def private_autoencoder(vae, device: torch.device, room: int = 0) -> AnyModule:
    """A copy of the VAE's network that gradients may cross, in float32, resident on ``device``.

    room: bytes of activations to make place for, besides the weights.
    """
    if device.type != "cpu":
        mm.free_memory(2 * mm.module_size(vae.first_stage_model) + room + mm.extra_reserved_memory(), device)
    patcher = vae.patcher
    if patcher.is_dynamic() and patcher.cached_patcher_init is not None:
        module = patcher.clone(disable_dynamic=True, force_deepcopy=True).model
    else:
        module = vae.first_stage_model
    with torch.inference_mode(False):
        return copy.deepcopy(module).to(device=device, dtype=torch.float32).eval().requires_grad_(False)


class Backbone:
    """A MODEL and its VAE: encode with gradient, denoise without.

    path: the noise levels; image_size: side of the pictures, pixels; device: where latents live.
    """

    def __init__(self, model, vae, image_size: int, device: torch.device):
        self.model, self.vae, self.image_size, self.device = model, vae, image_size, torch.device(device)
        self.path = noise_path(model).to(device)
        self.latent_format = model.get_model_object("latent_format")
        room = 3 * vae.memory_used_encode((1, 3, image_size, image_size), torch.float32)
        self.autoencoder = private_autoencoder(vae, self.device, int(room))
        side = image_size // vae.spacial_compression_encode()
        self.latent_shape = (self.latent_format.latent_channels, side, side)

    def raw_latents(self, images: Tensor) -> Tensor:
        """[B, H, W, 3] sRGB in [0, 1] -> unscaled posterior means [B, C, h, w]; differentiable."""
        pixels = self.vae.process_input(images.to(self.device).float().movedim(-1, 1))
        latents = self.autoencoder.encode(pixels)
        return latents if self.vae.format_encoded is None else self.vae.format_encoded(latents)

    def encode(self, images: Tensor) -> Tensor:
        """[B, H, W, 3] sRGB in [0, 1] -> latents [B, C, h, w] in the MODEL's units; differentiable."""
        return self.latent_format.process_in(self.raw_latents(images))

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Latents [B, C, h, w] in the MODEL's units -> [B, H, W, 3] sRGB in [0, 1], with the shared VAE."""
        with torch.inference_mode():
            pictures = self.vae.decode(self.latent_format.process_out(latents))
        return pictures.clone().to(latents.device).float().clamp(0, 1)

    def opened(self, conditions: dict, count: int = 1):
        """(network, model options) with the MODEL and room for ``count`` pictures in memory.

        Call in inference mode; close with :meth:`close`.
        """
        threads.widen()
        options = comfy.model_patcher.create_model_options_clone(self.model.model_options)
        options.setdefault("transformer_options", {})["sample_sigmas"] = self.path.sigmas.flip(0)
        comfy.samplers.preprocess_conds_hooks(conditions)
        comfy.sampler_helpers.prepare_model_patcher(self.model, conditions, options)
        comfy.samplers.filter_registered_hooks_on_conds(conditions, options)
        shape = (count, *self.latent_shape)
        network, _, _ = comfy.sampler_helpers.prepare_sampling(self.model, shape, conditions, options)
        comfy.samplers.cast_to_load_options(options, device=self.model.load_device, dtype=self.model.model_dtype())
        self.model.pre_run()
        return network, options

    def close(self) -> None:
        """Leaves the MODEL as it was found."""
        self.model.cleanup()
        self.model.restore_hook_patches()

    def denoise(self, x: Tensor, sigma: Tensor, positive: list, negative: list, guidance: float) -> Tensor:
        """x_0 [B, C, h, w] under classifier-free guidance, for the network's own x and sigma [B]; no gradient."""
        device = self.model.load_device
        with torch.no_grad(), torch.inference_mode():
            try:
                network, options = self.opened({"positive": positive, "negative": negative}, len(x))
                sample = comfy.samplers.sampling_function(
                    network, x.to(device), sigma.to(device), negative, positive, guidance, model_options=options, seed=0)
            finally:
                self.close()
        return sample.clone().to(x.device).float()

    def with_model(self, model) -> "Backbone":
        """The same VAE with another patcher of the MODEL."""
        other = copy.copy(self)
        other.model = model
        return other


@dataclass(frozen=True)
class ModelDenoiser:
    """What text and view denoisers on a MODEL have in common; a subclass adds conditions."""

    backbone: Backbone
    guidance: float = 7.5
    warn: Callable[[str], None] = log.warning  # where remarks go that must not stop the work

    @property
    def alphas_cumprod(self) -> Tensor:
        """[T] cumulative noise schedule."""
        return self.backbone.path.alphas_cumprod

    @property
    def image_size(self) -> int:
        """Side of the pictures ``encode`` wants, pixels."""
        return self.backbone.image_size

    def encode(self, images: Tensor) -> Tensor:
        return self.backbone.encode(images)

    def decode(self, latents: Tensor) -> Tensor:
        """Latents [B, C, h, w] in the MODEL's units -> [B, H, W, 3] sRGB in [0, 1]; no gradient."""
        return self.backbone.decode(latents)

    def with_guidance(self, guidance: float):
        """A copy with another CFG scale (1 = conditional only, 0 = unconditional only)."""
        return replace(self, guidance=guidance)

    def learner(self, rank: int, generator: torch.Generator) -> LoraLearner:
        """What learns beside the MODEL in VSD: adapters on the attention of a private copy that gradients can cross."""
        return adapter(self.backbone.model, self.backbone.path, self.conditions, rank, generator)

    def conditions(self, cameras: Cameras) -> tuple[list, list]:
        """(positive, negative) as ComfyUI's sampling functions take them, one row per camera."""
        raise NotImplementedError

    @torch.no_grad()
    def predict_noise(self, noisy: Tensor, t: Tensor, cameras: Cameras) -> Tensor:
        path = self.backbone.path
        x = path.state(noisy.float(), t)
        return path.epsilon(x, self._denoise(x, t, cameras, self.guidance), t)

    def sample(self, cameras: Cameras, steps: int, generator: torch.Generator) -> Tensor:
        """Pictures [B, S, S, 3] by DDIM."""
        noise = torch.randn((len(cameras), *self.backbone.latent_shape), generator=generator).to(self.backbone.device)
        latents = self.backbone.path.generate(
            lambda x, t: self._denoise(x, t, cameras, self.guidance), noise, steps)
        return self.backbone.decode(latents)

    def _denoise(self, x: Tensor, t: Tensor, cameras: Cameras, guidance: float) -> Tensor:
        with torch.inference_mode():
            positive, negative = self.conditions(cameras)
        if guidance == 0:  # the unconditioned answer alone, for the price of one
            positive, guidance = negative, 1.0
        return self.backbone.denoise(x, self.backbone.path.sigmas[t], positive, negative, guidance)

    def doubted(self):
        """The denoiser itself, after one evaluation of pure noise; warns where that contradicts its declared kind."""
        noise = torch.randn((1, *self.backbone.latent_shape), generator=torch.Generator().manual_seed(0))
        front = Cameras.orbit(0.0, 0.0, 2.0, 0.8, 8, 8)
        doubt = self.backbone.path.doubt(
            lambda x, t: self._denoise(x, t, front, 1.0), noise.to(self.backbone.device))
        if doubt:
            self.warn(f"the MODEL may be labeled wrongly: {doubt}. Core's ModelSamplingDiscrete node corrects the label.")
        return self


@dataclass(frozen=True)
class ModelTextDenoiser(ModelDenoiser):
    """A MODEL and CLIP conditioned on a prompt; the view words follow the camera's azimuth (M-C.3).

    views: the processed conditions of ", front view", ", side view" and ", back view"; negative: of what to avoid.
    """

    clip: ComfyObject = None
    views: tuple[list, ...] = ()
    negative: tuple = ()

    @torch.no_grad()
    def with_prompt(self, prompt: str, negative: str = "") -> "ModelTextDenoiser":
        """A copy conditioned on ``prompt``, completed by ", front view" and so on."""
        with torch.inference_mode():
            prompts = [encode_text(self.clip, f"{prompt}, {view} view") for view in VIEWS]
            avoid = encode_text(self.clip, negative)
            self._check_width(prompts[0])
            backbone = self.backbone.with_model(own_patcher(self.backbone.model, [*prompts, avoid]))
            views, negatives = process(backbone, prompts, avoid)
            blend(views, torch.full((1, len(VIEWS)), 1 / len(VIEWS)))  # fails now where it cannot work
        remark = long_prompt(self.clip, f"{prompt}, {VIEWS[0]} view")
        if remark:
            self.warn(remark)
        return replace(self, backbone=backbone, views=tuple(views), negative=tuple(negatives)).doubted()

    def conditions(self, cameras: Cameras) -> tuple[list, list]:
        """The views' conditions mixed by azimuth, and what to avoid."""
        if not self.views:
            raise ValueError("the text prior has no prompt yet: call with_prompt first")
        return blend(self.views, view_weights(cameras.azimuth)), list(self.negative)

    def _check_width(self, conditioning: list) -> None:
        config = self.backbone.model.model.model_config.unet_config
        expected, got = config.get("context_dim"), conditioning[0][0].shape[-1]
        if isinstance(expected, int) and expected != got:
            raise InputError("clip", f"a text encoder of width {expected} for this MODEL", f"width {got}",
                             "Take MODEL and CLIP from the same checkpoint, or load the CLIP of that family.")


def encode_text(clip, text: str) -> list:
    """CONDITIONING of a text."""
    return clip.encode_from_tokens_scheduled(clip.tokenize(text), show_pbar=False)


def own_patcher(model, conditionings: list):
    """The MODEL itself, or, where hooks would be registered on it, a clone of our own."""
    if not any(comfy.sampler_helpers.cond_has_hooks(c) for c in conditionings):
        return model
    return model.get_non_dynamic_delegate() if model.is_dynamic() else model.clone()


def process(backbone: Backbone, prompts: list, avoid: list) -> tuple[list, list]:
    """CONDITIONINGs -> (processed conditions for each of ``prompts``, for ``avoid``); call in inference mode."""
    convert = comfy.sampler_helpers.convert_cond
    views, negative = [convert(c) for c in prompts], convert(avoid)
    device = backbone.model.load_device
    shape = (1, *backbone.latent_shape)
    blank = torch.zeros(shape, device=device)
    try:
        network, _ = backbone.opened({**{f"view{i}": v for i, v in enumerate(views)}, "negative": negative})
        done = [comfy.samplers.process_conds(
            network, blank, {"positive": view, "negative": list(negative)}, device, latent_image=blank, seed=0,
            latent_shapes=[shape]) for view in views]
    finally:
        backbone.close()
    return [d["positive"] for d in done], done[0]["negative"]


def blend(views: tuple[list, ...] | list, weights: Tensor) -> list:
    """Conditions whose rows are mixtures of the views' by ``weights`` [B, V]; entries are mixed one by one."""
    if len({len(v) for v in views}) != 1:
        raise InputError("prompt", "as many scheduled parts for every view", "different numbers",
                         "Use a prompt without schedules, or fewer CLIP hooks.")
    mixed = []
    for entries in zip(*views):
        parts = [e["model_conds"] for e in entries]
        conds = {name: _mix(name, [p[name] for p in parts], weights) for name in parts[0]}
        mixed.append({**entries[0], "model_conds": conds, "uuid": uuid.uuid4()})
    return mixed


def _mix(name: str, parts: list, weights: Tensor):
    values = [p.cond for p in parts]
    if not all(torch.is_tensor(v) and v.is_floating_point() and v.ndim and len(v) == 1 for v in values):
        return parts[0]
    if len({v.shape for v in values}) > 1:
        values = _same_length(name, values, isinstance(parts[0], comfy.conds.CONDCrossAttn))
    stacked = torch.cat(values)
    if bool((stacked == stacked[:1]).all()):
        return parts[0]
    return parts[0]._copy_with(torch.einsum("bv,v...->b...", weights.to(stacked), stacked))


def _same_length(name: str, values: list[Tensor], attended: bool) -> list[Tensor]:
    """Contexts [1, L, D] repeated to a common length, which changes nothing where they are only attended to."""
    lengths = [v.shape[1] if v.ndim == 3 else 0 for v in values]
    common = math.lcm(*lengths) if all(lengths) else 0
    if not attended or not common or common > 4 * min(lengths) or len({v.shape[2] for v in values}) > 1:
        raise InputError("prompt", "a prompt that is equally long for every view word", f"{name} of {lengths} tokens",
                         "Shorten the prompt by a word or two.")
    return [v.repeat(1, common // length, 1) for v, length in zip(values, lengths)]


@dataclass(frozen=True)
class ModelViewDenoiser(ModelDenoiser):
    """Zero-1-to-3 as ComfyUI loads it (a MODEL with ``cc_projection``), with CLIP_VISION.

    convention: what the fourth pose number is, one of ``pipelines.networks.view.POSES``.
    """

    clip_vision: ComfyObject = None
    convention: Pose = "zero123"
    reference_camera: Cameras | None = None
    reference_latent: Tensor | None = None
    reference_embedding: Tensor | None = None

    @torch.no_grad()
    def with_reference(self, picture: Tensor, camera: Cameras) -> "ModelViewDenoiser":
        """A copy conditioned on ``picture`` [H, W, 3] (sRGB on white, any size) seen from ``camera``."""
        small = resize(picture[None], self.image_size)
        latent = self.backbone.raw_latents(small)
        with torch.inference_mode():
            seen = self.clip_vision.encode_image(by_corners(small, self.clip_vision.image_size), crop=False)
            embedding = seen["image_embeds"]
        return replace(self, reference_camera=camera, reference_latent=latent,
                       reference_embedding=embedding.clone().float()).doubted()

    def _reference(self) -> tuple[Cameras, Tensor, Tensor]:
        """Camera, latent and embedding; ValueError before there is a reference."""
        if self.reference_camera is None or self.reference_latent is None or self.reference_embedding is None:
            raise ValueError("the view prior has no reference picture yet: call with_reference first")
        return self.reference_camera, self.reference_latent, self.reference_embedding

    def pose(self, cameras: Cameras) -> Tensor:
        """[B, 4] what the MODEL is told about the cameras."""
        return pose_vector(cameras, self._reference()[0], self.convention)

    def conditions(self, cameras: Cameras) -> tuple[list, list]:
        """Picture and pose through ``cc_projection`` with the unscaled reference latent, and zeros of both."""
        _, raw, embedding = self._reference()
        network, device = self.backbone.model.model, self.backbone.model.load_device
        mm.load_models_gpu([self.backbone.model])
        embedding = embedding.expand(len(cameras), -1)
        tokens = torch.cat([embedding, self.pose(cameras).to(embedding)], -1)[:, None]
        context = network.cc_projection(tokens.to(device=device, dtype=network.get_dtype_inference())).float()
        latent = raw.to(device).expand(len(cameras), -1, -1, -1)
        return [_entry(context, latent)], [_entry(torch.zeros_like(context), torch.zeros_like(latent))]


def _entry(context: Tensor, concat: Tensor) -> dict:
    conds = {"c_crossattn": comfy.conds.CONDCrossAttn(context), "c_concat": comfy.conds.CONDNoiseShape(concat)}
    return {"model_conds": conds, "uuid": uuid.uuid4()}


def by_corners(images: Tensor, size: int) -> Tensor:
    """[B, H, W, 3] -> [B, size, size, 3] as Zero-1-to-3 feeds its CLIP: bicubic, corners aligned, no antialias."""
    planes = torch.nn.functional.interpolate(images.movedim(-1, 1), (size, size), mode="bicubic", align_corners=True)
    return planes.movedim(1, -1).clamp(0, 1)
