"""Low-rank adaptation (LoRA, Hu et al. 2021) of the attention of a frozen network, for what learns beside it.

y = W x + B A x, with A [rank, in] drawn and B [out, rank] zero, so that an untrained adapter changes nothing.  The network
itself is never touched: the addition hangs on its layers only while the adapter is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ..core.cameras import Cameras
from ..core.errors import InputError
from ..core.modules import AnyModule

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")  # ends of names, in diffusers' and in CompVis' layout
Linear = torch.nn.Linear


class Lora:
    """Adapters on all linear layers whose names end with one of ``ends``; InputError where there is none.

    rank: of each; generator: on the CPU, draws A, whose entries have the variance 1 / in.
    """

    def __init__(self, network: AnyModule, rank: int, generator: torch.Generator, ends: tuple[str, ...] = ATTENTION):
        self.layers = [m for name, m in network.named_modules() if isinstance(m, Linear) and name.endswith(ends)]
        if not self.layers:
            raise InputError("distillation", "a network with attention layers, for vsd", type(network).__name__,
                             "Use another method with this network.")
        self.pairs: list[tuple[Tensor, Tensor]] = []
        for layer in self.layers:
            down = torch.randn(rank, layer.in_features, generator=generator) / layer.in_features**0.5
            down = down.to(layer.weight.device).requires_grad_()
            self.pairs.append((down, torch.zeros(layer.out_features, rank, device=down.device, requires_grad=True)))

    def parameters(self) -> list[Tensor]:
        """A and B of every layer, in order."""
        return [matrix for pair in self.pairs for matrix in pair]

    @contextmanager
    def active(self) -> Iterator[None]:
        """The network answers with its adapters inside of this context."""
        hooks = [layer.register_forward_hook(self._adding(pair)) for layer, pair in zip(self.layers, self.pairs, strict=True)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    @staticmethod
    def _adding(pair: tuple[Tensor, Tensor]) -> Callable:
        def add(module, inputs, output):
            return output + ((inputs[0].float() @ pair[0].T) @ pair[1].T).to(output)

        return add


class LoraLearner:
    """A network with adapters as a learner of VSD (``distill.learners.Learner``).

    noise: (noisy, t, cameras) -> eps_hat of the conditioned network, differentiable.
    """

    rate = 1.0

    def __init__(self, lora: Lora, noise: Callable[[Tensor, Tensor, Cameras], Tensor]):
        self.lora, self.noise = lora, noise

    def parameters(self) -> list[Tensor]:
        return self.lora.parameters()

    def predict(self, noisy: Tensor, t: Tensor, cameras: Cameras) -> Tensor:
        """eps_hat [B, C, h, w], without guidance."""
        with self.lora.active():
            return self.noise(noisy, t, cameras)
