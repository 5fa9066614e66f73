"""The samplers of StdGEN's two networks: diffusers' DDIM (Song et al. 2021), set up by the published files."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ...core.errors import InputError
from ...loaders.folders import read_json

# spec A.5: the canonicalizer's, should its file be missing; zero terminal signal, trailing steps (Lin et al. 2024).
ZERO_SNR = {
    "num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing",
    "set_alpha_to_one": False,
}
# spec B.5: Era3D's published one.
LEADING = {
    "num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "linear",
    "prediction_type": "v_prediction", "timestep_spacing": "leading", "set_alpha_to_one": False,
}
FORCED = {"steps_offset": 1, "clip_sample": False}  # whatever the files say (spec A.5)


def read_schedule_file(folder: Path, name: str, otherwise: dict) -> dict:
    """The scheduler's settings in ``folder/name``; ``otherwise`` where there is no such file."""
    path = Path(folder) / name / "scheduler_config.json"
    return read_json(path) if path.is_file() else dict(otherwise)


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
        moved = scheduler.step(answer, t, x, eta=eta, variance_noise=fresh)
        x = moved.prev_sample
        if watch is not None:
            watch(now, moved.pred_original_sample, x)
    return x
