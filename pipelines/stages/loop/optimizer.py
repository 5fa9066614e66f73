"""The papers' optimizers, their saved state, and rates that follow a schedule."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor

from ...core.doubts import all_fine, doubt
from ...core.errors import NotFinite
from .adan import Adan

Method = Literal["adam", "adan"]
METHODS = get_args(Method)


def pack_optimizer(optimizer: torch.optim.Optimizer) -> dict:
    """``optim/<i>/<name>`` tensors of all parameters, in order."""
    out = {}
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for i, parameter in enumerate(parameters):
        for name, value in optimizer.state.get(parameter, {}).items():
            value = value if isinstance(value, Tensor) else torch.tensor(float(value))
            out[f"optim/{i}/{name}"] = value.detach().to("cpu", copy=True)
    return out


def unpack_optimizer(optimizer: torch.optim.Optimizer, part: dict) -> None:
    """Restores what :func:`pack_optimizer` kept (names without ``optim/``); absent or another method's state starts fresh."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for i, parameter in enumerate(parameters):
        state = {k.split("/", 1)[1]: v for k, v in part.items() if k.split("/", 1)[0] == str(i)}
        of_this = ("exp_avg_diff" in state) == isinstance(optimizer, Adan)
        if state and of_this and state.get("exp_avg", parameter).shape == parameter.shape:
            optimizer.state[parameter] = {k: v.to(parameter.device, copy=True) for k, v in state.items()}


def optimizer_of(method: Method, groups: list[dict], device: torch.device) -> torch.optim.Optimizer:
    """Of parameter groups that carry their rates (M-B.7).

    "adam": Magic123's code and, but for eps, the words of both papers: beta .9, .99, eps 1e-15, no decay.
    "adan": Consistent123's code: decay 2e-5; its gradient cut is ``StepConfig.clip_norm``.
    """
    if method == "adan":
        return Adan(groups, eps=1e-8, weight_decay=2e-5)
    return torch.optim.Adam(groups, betas=(0.9, 0.99), eps=1e-15, fused=torch.device(device).type in ("cpu", "cuda"))


def live_levels(levels: int, start: float, rate: float, progress: float, until: float = 1.0) -> int | None:
    """Coarse to fine: ceil(levels * min(1, start + rate * progress)) hash levels; None for all.

    All levels live from progress ``until`` on (Magic123's code: half of them until 0.6).
    """
    if progress >= until:
        return None
    live = math.ceil(levels * min(1.0, start + rate * progress) - 1e-9)
    return None if live >= levels else max(1, live)


class RateScaler:
    """Remembers every group's base learning rate, so that a factor can be applied each step."""

    def __init__(self, optimizer: torch.optim.Optimizer):
        self.optimizer, self.base = optimizer, [g["lr"] for g in optimizer.param_groups]

    def parameters(self) -> list[Tensor]:
        """All that is trained."""
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def forget(self) -> None:
        """Drops accumulated gradients."""
        self.optimizer.zero_grad(set_to_none=False)

    def step(self, factor: float, clip_norm: float) -> None:
        """Clips to ``clip_norm`` (0 = not), sets rates, steps, clears gradients.

        Raises NotFinite, with parameters and optimizer state untouched, when a gradient is not finite.  Where such doubts
        are collected (``core.doubts``) it is told later, and a step in which anything is in doubt is none: all gradients
        count as 0 then (and moments fade, as in any step without gradients).
        """
        for group, base in zip(self.optimizer.param_groups, self.base, strict=True):
            group["lr"] = base * factor
        parameters = [p for g in self.optimizer.param_groups for p in g["params"] if p.grad is not None]
        refuse_not_finite([p.grad for p in parameters])
        fine = all_fine()
        if fine is not None and parameters:
            for parameter in parameters:
                parameter.grad = torch.where(fine, parameter.grad, 0.0)
        if clip_norm > 0:
            torch.nn.utils.clip_grad_norm_(parameters, clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=False)


def refuse_not_finite(grads: list[Tensor]) -> None:
    """NotFinite unless every gradient is finite; one host synchronization."""
    if not grads:
        return
    sums = torch.stack([grad.sum().float() for grad in grads])  # a sum is finite only if its terms are
    doubt(sums.isfinite().all(), lambda: NotFinite(
        "gradients", "nan or infinity in the field's gradients",
        "Lower the guidance or the weights of the losses, or use a network in float32 or bfloat16.",
    ))
