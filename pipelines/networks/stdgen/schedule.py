"""The samplers of StdGEN's two networks: DDIM (Song et al. 2021) on diffusers' schedules, set up by the published files."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import torch
from torch import Tensor

from ...core.errors import InputError

# S-A.5: the canonicalizer's, should its file be missing; zero terminal signal, trailing steps (Lin et al. 2024).
ZERO_SNR = {
    "num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing",
    "set_alpha_to_one": False,
}
# S-B.5: Era3D's published one.
LEADING = {
    "num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "linear",
    "prediction_type": "v_prediction", "timestep_spacing": "leading", "set_alpha_to_one": False,
}
FORCED = {"steps_offset": 1, "clip_sample": False}  # whatever the files say (S-A.5)


def make_scheduler(settings: dict):
    """diffusers' DDIMScheduler; entries that it does not know (of other samplers' files) are left out."""
    from diffusers import DDIMScheduler

    known = inspect.signature(DDIMScheduler.__init__).parameters
    chosen = {k: v for k, v in settings.items() if k in known and not k.startswith("_")}
    prediction = chosen.get("prediction_type", "epsilon")
    if prediction not in ("epsilon", "v_prediction", "sample"):
        raise InputError("checkpoint", "a scheduler that predicts epsilon, v or the sample", repr(prediction),
                         "Download scheduler_config.json again.")
    return DDIMScheduler(**{**chosen, **FORCED})


def first_time(settings: dict, steps: int) -> int:
    """The time at which :func:`sample` asks first."""
    scheduler = make_scheduler(settings)
    scheduler.set_timesteps(steps)
    return int(scheduler.timesteps[0])


@torch.no_grad()
def sample(predict: Callable, start: Tensor, settings: dict, steps: int, eta: float, generator: torch.Generator,
           watch: Callable | None = None, done: int = 0) -> Tensor:
    """Latents like ``start`` (noise), in float32 between the network's evaluations.

    predict(noisy, t) -> the network's guided answer, t an int; eta: 0 = deterministic, 1 = as much fresh noise as DDPM.
    generator: on the CPU, of the fresh noise.  watch(done, clean, x) is told steps done, the clean latents guessed, and the
    latents as they are.  done: steps made before; with ``start`` and ``generator`` as these left them, the rest is bit for bit
    what it would have been.
    """
    scheduler = make_scheduler(settings)
    scheduler.set_timesteps(steps)
    x = start
    for now, t in enumerate(scheduler.timesteps.tolist()[done:], done + 1):
        answer = predict(x, t).float()
        fresh = torch.randn(x.shape, generator=generator).to(x) if eta > 0 else None
        x, clean = ddim_step(scheduler, answer, t, x, eta, fresh)
        if watch is not None:
            watch(now, clean, x)
    return x


def ddim_step(scheduler, answer: Tensor, t: int, x: Tensor, eta: float, fresh: Tensor | None) -> tuple[Tensor, Tensor]:
    """(latents one step cleaner, clean latents guessed), shaped like ``x``: Song et al. 2021, Eq. 12 and 16.

    diffusers' own step takes the root of 1 - abar_prev - sigma^2, which is 0 where the signal begins at zero and eta is 1,
    and rounding makes it negative on some processors: all latents become nan.  Here it ends at 0; the rest is equal.
    """
    before = t - scheduler.config.num_train_timesteps // scheduler.num_inference_steps
    a = scheduler.alphas_cumprod[t]
    a_before = scheduler.alphas_cumprod[before] if before >= 0 else scheduler.final_alpha_cumprod
    clean, noise = _clean_and_noise(scheduler.config.prediction_type, answer, x, a)
    sigma = eta * ((1 - a_before) / (1 - a) * (1 - a / a_before)) ** 0.5
    x = a_before**0.5 * clean + (1 - a_before - sigma**2).clamp(min=0) ** 0.5 * noise
    return (x if fresh is None else x + sigma * fresh), clean


def _clean_and_noise(prediction: str, answer: Tensor, x: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
    """Clean latents and noise that an answer of kind ``prediction`` means at cumulative alpha ``a``."""
    b = 1 - a
    if prediction == "v_prediction":
        return a**0.5 * x - b**0.5 * answer, a**0.5 * answer + b**0.5 * x
    if prediction == "sample":
        return answer, (x - a**0.5 * answer) / b**0.5
    return (x - b**0.5 * answer) / a**0.5, answer
