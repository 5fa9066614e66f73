"""The two halves of a step, each with its losses and its gradients, so that two cores can work on them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ...core.far import far
from ...ops.hashgrid import gradients_apart


class Half:
    """The terms of one half of a step, and their gradients at ``leaves``."""

    def __init__(self, leaves: list[Tensor]):
        self.leaves = leaves
        self.terms: dict[str, Tensor] = {}
        self.regular: dict[str, Tensor] = {}
        self.grads: list[Tensor | None] = [None] * len(leaves)
        self.tables: dict[int, Tensor] = {}
        self.learns = False  # whether anything had a gradient

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Inside, nothing of this half reaches a leaf's own gradient before :meth:`lend`.

        A far device has no second thread for it: there, tables of features save themselves the second sum.
        """
        if any(far(leaf.device) for leaf in self.leaves):
            yield
            return
        with gradients_apart() as self.tables:
            yield

    def learn(self, terms: dict, regular: dict) -> None:
        """Keeps the terms' values, and adds the gradient of their sum."""
        self.follow(sum(terms.values()) + sum(regular.values()))
        self.terms = {name: value.detach() for name, value in terms.items()}
        self.regular = {name: value.detach() for name, value in regular.items()}

    def follow(self, total: Tensor | float) -> None:
        """Adds the gradient of a scalar, if it has one."""
        if isinstance(total, Tensor) and total.requires_grad:
            self.learns = True
            more = torch.autograd.grad(total, self.leaves, allow_unused=True)
            self.grads = [_sum(a, b) for a, b in zip(self.grads, more, strict=True)]

    def lend(self) -> None:
        """Adds the gradients to the leaves' own."""
        for leaf, grad in zip(self.leaves, self.grads, strict=True):
            grad = _sum(grad, self.tables.get(id(leaf)))
            if grad is not None:
                leaf.grad = grad.clone() if leaf.grad is None else leaf.grad.add_(grad)


def sums(*parts: dict) -> dict:
    """Terms of the same name added."""
    out: dict = {}
    for part in parts:
        for name, value in part.items():
            out[name] = out[name] + value if name in out else value
    return out


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return a if b is None else b if a is None else a + b
