"""A MODEL's private copy that gradients can cross: ComfyUI's own one runs in inference mode and may be moved away."""

from __future__ import annotations

import copy
from collections.abc import Callable

import comfy.model_management as mm
import torch
from torch import Tensor

from ..pipelines.core.cameras import Cameras
from ..pipelines.core.modules import AnyModule
from ..pipelines.networks.lora import Lora, LoraLearner
from ..pipelines.networks.noise import NoisePath


def differentiable(patcher) -> AnyModule:
    """A private copy of a patcher's network, with its patches, whose weights are ordinary tensors on the device."""
    if patcher.is_dynamic():
        patcher = patcher.get_non_dynamic_delegate()
    if patcher.load_device.type != "cpu":
        mm.free_memory(2.2 * patcher.model_size() + mm.extra_reserved_memory(), patcher.load_device)
    mm.load_models_gpu([patcher], force_full_load=True)
    kept = [getattr(patcher.model, name, None) for name in ("model_config", "current_patcher")]  # not made to be copied
    with torch.inference_mode(False):
        twin = copy.deepcopy(patcher.model, {id(k): k for k in kept if k is not None})
    return twin.to(patcher.load_device).eval().requires_grad_(False)


def applied(network: AnyModule, path: NoisePath, options: dict, noisy: Tensor, t: Tensor, condition: dict) -> Tensor:
    """eps_hat [B, C, h, w] of a network's copy without guidance; differentiable."""
    x, device = path.state(noisy.float(), t), next(network.parameters()).device
    before, mm.in_training = mm.in_training, True  # some networks compute in place otherwise
    try:
        sample = network.apply_model(
            x.to(device), path.sigmas[t].to(device), transformer_options=dict(options), **condition)
    finally:
        mm.in_training = before
    return path.epsilon(x, sample.to(x.device).float(), t)


def adapter(patcher, path: NoisePath, conditions: Callable, rank: int, generator: torch.Generator) -> LoraLearner:
    """What learns beside a MODEL in VSD: adapters on the attention of a copy, under the first of its own conditions.

    conditions: cameras -> (positive, negative) as ComfyUI's sampling functions take them.
    """
    network = differentiable(patcher)
    options = patcher.model_options.get("transformer_options", {})

    def noise(noisy: Tensor, t: Tensor, cameras: Cameras) -> Tensor:
        with torch.inference_mode():
            positive, _ = conditions(cameras)
        told = {name: value.cond.clone() if torch.is_tensor(value.cond) else value.cond
                for name, value in positive[0]["model_conds"].items()}
        return applied(network, path, options, noisy, t, told)

    return LoraLearner(Lora(network.diffusion_model, rank, generator), noise)
