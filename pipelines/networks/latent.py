"""What all latent diffusion denoisers share: the autoencoder, the schedule, classifier-free guidance."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TypeVar

import torch
from torch import Tensor

from ..core.cameras import Cameras
from ..core.modules import AnyModule
from ..core.pulse import beat
from .frozen import denoised
from .lora import Lora, LoraLearner
from .noise import Prediction, to_epsilon
from .recorded import Recorded, recorder_for

Same = TypeVar("Same", bound="LatentDenoiser")


@dataclass(frozen=True)
class LatentRuntime:
    """A frozen UNet and VAE with the numbers that describe them.

    unet: diffusers UNet2DConditionModel; vae: diffusers AutoencoderKL.
    alphas_cumprod: [T]; prediction: one of noise.PREDICTIONS.
    image_size: side of the pictures, pixels.  Diffusion latents = posterior mean * scaling_factor.
    recorded: who replays the calls of score distillation on a GPU; None = all calls are ordinary.
    """

    unet: AnyModule
    vae: AnyModule
    alphas_cumprod: Tensor
    prediction: Prediction
    image_size: int
    recorded: Recorded | None = field(default=None, compare=False)

    def encode(self, images: Tensor) -> Tensor:
        """[B, H, W, 3] sRGB in [0, 1] -> scaled latents [B, C, h, w]; differentiable.

        The posterior's mean is used (Zero-1-to-3's and this pack's convention; the released SDS
        codes draw a sample, whose extra noise only adds variance to the gradient).
        """
        return self.raw_latents(images) * self.vae.config.scaling_factor

    def raw_latents(self, images: Tensor) -> Tensor:
        """Unscaled posterior means [B, C, h, w]."""
        if self.recorded is None:
            return self._raw_latents(images)
        return self.recorded("encode", self._raw_latents, (images,), self.vae)

    def _raw_latents(self, images: Tensor) -> Tensor:
        x = images.permute(0, 3, 1, 2) * 2 - 1
        return self.vae.encode(x.to(self.vae.dtype)).latent_dist.mode().float()

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, h, w) of what is diffused."""
        return (self.unet.config.out_channels, self.unet.config.sample_size, self.unet.config.sample_size)

    def settle(self, clean: Tensor) -> Tensor:
        """What sampling makes of a clean estimate [B, C, h, w] before it goes on; latents are left alone."""
        return clean

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Scaled latents [B, C, h, w] -> [B, H, W, 3] sRGB in [0, 1]."""
        x = self.vae.decode((latents / self.vae.config.scaling_factor).to(self.vae.dtype)).sample
        return (x.float() / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)

    def noise(self, noisy: Tensor, t: Tensor, condition: dict, level: Tensor | None = None) -> Tensor:
        """eps_hat [B, C, h, w] in float32 under one condition, without guidance; differentiable.

        condition: as in :meth:`guided_noise`, with B rows everywhere.
        level: time [B] at which the state really is, where the network is told another one (DDIM inversion).
        """
        dtype = self.unet.dtype
        x = torch.cat([noisy, condition["extra"]], 1) if "extra" in condition else noisy
        extras = {}
        if "labels" in condition:
            extras["class_labels"] = condition["labels"].to(dtype)
        if "added" in condition:
            extras["added_cond_kwargs"] = {name: value.to(dtype) for name, value in condition["added"].items()}
        output = denoised(self.unet, x.to(dtype), t, condition["context"].to(dtype), **extras).float()
        output = output[:, : noisy.shape[1]]  # further channels are a learned variance, which nothing here uses
        return to_epsilon(output, noisy, t if level is None else level, self.alphas_cumprod, self.prediction)

    @torch.no_grad()
    def guided_noise(self, noisy: Tensor, t: Tensor, conditional: dict, unconditional: dict, guidance: float) -> Tensor:
        """eps_u + s (eps_c - eps_u) in float32 (Ho and Salimans 2022); one batched UNet call.

        conditional, unconditional: ``context`` [B, L, D], optional ``extra`` [B, C', h, w] channels to
        concatenate, ``labels`` [B, K] and ``added`` (SDXL's pooled text and sizes, by their diffusers names).
        At guidance 1 the unconditional half is not evaluated, at 0 it alone is.
        """
        if self.recorded is None:
            return self._guided_noise(noisy, t, conditional, unconditional, guidance)
        names, tensors = _flat(conditional)
        against = _flat(unconditional)[1]
        at_hand = replace(self, unet=ready(self.unet))

        def call(noisy: Tensor, t: Tensor, *conditions: Tensor) -> Tensor:
            known, other = (_deep(names, conditions[i : i + len(names)]) for i in (0, len(names)))
            return at_hand._guided_noise(noisy, t, known, other, guidance)

        what = ("guided", guidance, names)
        return self.recorded(what, call, (noisy, t, *tensors, *against), at_hand.unet)

    def _guided_noise(self, noisy: Tensor, t: Tensor, conditional: dict, unconditional: dict, guidance: float) -> Tensor:
        parts = {1.0: [conditional], 0.0: [unconditional]}.get(guidance, [unconditional, conditional])
        repeat = len(parts)
        both: dict = {name: torch.cat([p[name] for p in parts]) for name in conditional if name != "added"}
        if "added" in conditional:
            both["added"] = {n: torch.cat([p["added"][n] for p in parts]) for n in conditional["added"]}
        eps = self.noise(noisy.repeat(repeat, 1, 1, 1), t.repeat(repeat), both)
        if repeat == 1:
            return eps
        eps_u, eps_c = eps.chunk(2)
        return eps_u + guidance * (eps_c - eps_u)


def prepared(runtime: LatentRuntime, device: torch.device | str, name: str) -> LatentRuntime:
    """The runtime as a CUDA device likes it, elsewhere as it is: channels last, and its calls recorded.

    name: of the network, for the log.
    """
    if torch.device(device).type != "cuda":
        return runtime
    for network in (runtime.unet, runtime.vae):
        network.to(memory_format=torch.channels_last)
    recorder = recorder_for(device)
    return replace(runtime, recorded=Recorded(name, recorder) if recorder else None)


def ready(network: AnyModule) -> AnyModule:
    """The network itself with its weights on the device, of what may only stand in for it (``host.managed.TurnTaker``)."""
    bring = getattr(network, "at_hand", None)
    return network if bring is None else bring()


def _flat(condition: dict) -> tuple[tuple[str, ...], tuple[Tensor, ...]]:
    """Names and tensors of a condition, those inside of "added" with its name before theirs."""
    flat = {name: value for name, value in condition.items() if name != "added"}
    flat.update({f"added/{name}": value for name, value in condition.get("added", {}).items()})
    return tuple(flat), tuple(flat.values())


def _deep(names: tuple[str, ...], tensors: tuple[Tensor, ...]) -> dict:
    """Inverse of :func:`_flat`."""
    flat = dict(zip(names, tensors, strict=True))
    added = {name.partition("/")[2]: flat.pop(name) for name in names if name.startswith("added/")}
    return {**flat, "added": added} if added else flat


@dataclass(frozen=True)
class LatentDenoiser:
    """What every ``Denoiser`` on a latent runtime has in common; a subclass adds ``guidance`` and its conditions."""

    runtime: LatentRuntime

    @property
    def alphas_cumprod(self) -> Tensor:
        """[T] cumulative noise schedule."""
        return self.runtime.alphas_cumprod

    @property
    def image_size(self) -> int:
        """Side of the pictures ``encode`` wants, pixels."""
        return self.runtime.image_size

    def encode(self, images: Tensor) -> Tensor:
        """[B, H, W, 3] sRGB in [0, 1] -> scaled latents [B, C, h, w]; differentiable."""
        return self.runtime.encode(images)

    def decode(self, latents: Tensor) -> Tensor:
        """Scaled latents [B, C, h, w] -> [B, H, W, 3] sRGB in [0, 1]; no gradient."""
        return self.runtime.decode(latents)

    def with_guidance(self: Same, guidance: float) -> Same:
        """A copy with another CFG scale (1 = conditional only, 0 = unconditional only)."""
        return replace(self, guidance=guidance)

    def conditions(self, noisy: Tensor, cameras: Cameras) -> tuple[dict, dict]:
        """(conditional, unconditional) for ``LatentRuntime.guided_noise``, one row per camera."""
        raise NotImplementedError

    def learner(self, rank: int, generator: torch.Generator) -> LoraLearner:
        """What learns beside the conditioned network in VSD: adapters on its attention."""
        return LoraLearner(Lora(self.runtime.unet, rank, generator),
                           lambda noisy, t, cameras: self.runtime.noise(noisy, t, self.conditions(noisy, cameras)[0]))


@torch.no_grad()
def ddim_sample(predict_noise, shape, alphas: Tensor, steps: int, generator: torch.Generator, device: torch.device | str = "cpu",
                settle=lambda clean: clean) -> Tensor:
    """Deterministic DDIM sampling (Song et al. 2021, Eq. 12 with eta = 0).

    predict_noise(noisy [B, C, h, w], t [B]) -> eps_hat; settle: corrects each clean estimate; returns latents of ``shape``.
    """
    x = torch.randn(shape, generator=generator).to(device)
    times = torch.linspace(len(alphas) - 1, 0, steps + 1).round().long()
    for now, after in zip(times[:-1], times[1:]):
        beat()
        t = torch.full((shape[0],), int(now), device=device)
        eps = predict_noise(x, t)
        a, b = alphas[now], alphas[after] if after > 0 else torch.tensor(1.0)
        x0 = settle((x - (1 - a).sqrt() * eps) / a.sqrt())
        x = b.sqrt() * x0 + (1 - b).sqrt() * eps
    return x
