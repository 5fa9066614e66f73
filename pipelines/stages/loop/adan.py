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
            alike: dict[float, list[torch.Tensor]] = {}  # by number of steps, which is the same for all but rarely
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike.setdefault(self._begin(parameter), []).append(parameter)
            for count, parameters in alike.items():
                self._move(parameters, count, group)
        return loss

    def _begin(self, parameter: torch.Tensor) -> float:
        """Steps of a parameter, this one included."""
        state, grad = self.state[parameter], parameter.grad
        assert grad is not None, "parameters without a gradient are left out"
        if not state:
            state["step"] = torch.tensor(0.0)
            for name in ("exp_avg", "exp_avg_diff", "exp_avg_sq"):
                state[name] = torch.zeros_like(parameter)
            state["former_grad"] = grad.clone()
        state["step"] += 1
        return float(state["step"])

    def _move(self, parameters: list[torch.Tensor], count: float, group: dict) -> None:
        """One step of parameters in their ``count``-th, in one call for all of them per operation."""
        keep, keep_change, keep_square = group["betas"]
        names = ("exp_avg", "exp_avg_diff", "exp_avg_sq", "former_grad")
        means, trends, squares, formers = ([self.state[p][name] for p in parameters] for name in names)
        grads = [p.grad for p in parameters if p.grad is not None]  # all of them have one
        change = torch._foreach_sub(grads, formers)
        torch._foreach_lerp_(means, grads, 1 - keep)
        torch._foreach_lerp_(trends, change, 1 - keep_change)
        ahead = torch._foreach_add(grads, torch._foreach_mul(change, keep_change))
        torch._foreach_mul_(squares, keep_square)
        torch._foreach_addcmul_(squares, ahead, ahead, value=1 - keep_square)
        size = torch._foreach_sqrt(torch._foreach_div(squares, 1 - keep_square**count))
        torch._foreach_add_(size, group["eps"])
        move = torch._foreach_div(means, 1 - keep**count)
        torch._foreach_add_(move, torch._foreach_mul(trends, keep_change / (1 - keep_change**count)))
        torch._foreach_addcdiv_(parameters, move, size, value=-group["lr"])
        torch._foreach_div_(parameters, 1 + group["lr"] * group["weight_decay"])
        torch._foreach_copy_(formers, grads)
