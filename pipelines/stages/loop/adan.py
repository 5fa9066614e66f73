"""Adan (Xie et al. 2022, arXiv 2208.06677, Algorithm 1), with which Consistent123's released code trains (M-B.7)."""

from __future__ import annotations

import torch

REMEMBERED = (0.98, 0.92, 0.99)  # of gradient, of its change, of the square: 1 - beta in the paper


class Adan(torch.optim.Optimizer):
    """Adam with a third moment, that of the gradient's change, which looks one step ahead.

    All three moments are corrected for their start at 0.  In a parameter's first step its gradient has not changed.
    betas: how much of each moment is kept, as Adam's (the paper writes 1 minus that).
    weight_decay: proximal: parameters are divided by 1 + lr * weight_decay after the step.
    """

    def __init__(self, params, lr: float = 1e-3, betas: tuple[float, float, float] = REMEMBERED, eps: float = 1e-8,
                 weight_decay: float = 0.0):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        """One step of every parameter that has a gradient; ``closure`` as torch's optimizers take it."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, group)
        return loss

    def _move(self, parameter: torch.Tensor, group: dict) -> None:
        state, grad, (keep, keep_change, keep_square) = self.state[parameter], parameter.grad, group["betas"]
        assert grad is not None, "parameters without a gradient are left out"
        if not state:
            state["step"] = torch.tensor(0.0)
            for name in ("exp_avg", "exp_avg_diff", "exp_avg_sq"):
                state[name] = torch.zeros_like(parameter)
            state["former_grad"] = grad.clone()
        state["step"] += 1
        count, change = float(state["step"]), grad - state["former_grad"]
        mean = state["exp_avg"].lerp_(grad, 1 - keep)
        trend = state["exp_avg_diff"].lerp_(change, 1 - keep_change)
        ahead = grad + keep_change * change
        square = state["exp_avg_sq"].mul_(keep_square).addcmul_(ahead, ahead, value=1 - keep_square)
        size = (square / (1 - keep_square**count)).sqrt_().add_(group["eps"])
        move = mean / (1 - keep**count) + trend * (keep_change / (1 - keep_change**count))
        parameter.addcdiv_(move, size, value=-group["lr"]).div_(1 + group["lr"] * group["weight_decay"])
        state["former_grad"].copy_(grad)
