"""HiFi-123's Algorithm 1 as it is printed and as its released half does it: the yardstick for ``rgnv`` and ``rgsd``.

Nothing is cached: reference and view are inverted under a guidance pair each, and share a batch of four while they are
denoised.  Tests and the benchmark compare numbers, counts and times with it; nothing else should use it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..pipelines.methods.inversion import invert
from ..pipelines.methods.rgnv import ReferenceGuide
from ..pipelines.networks.attention import shared_attention


class LiteralRgsd:
    """Algorithm 1 with the networks, words and grid of a :class:`ReferenceGuide`."""

    def __init__(self, guide: ReferenceGuide):
        self.guide, self.net, self.grid = guide, guide.net, guide.grid

    @torch.no_grad()
    def descend(self, latents: Tensor, depth: Tensor, contexts: Tensor, stop: int) -> tuple[Tensor, Tensor]:
        """(x~ at rung ``stop``, the noise of the last step) of one view's latents [1, C, h, w]."""
        view = invert(self._pair(depth), latents.detach(), self.grid)[-1]
        reference = invert(self._pair(self.guide.depth), self.guide.encode(self.guide.picture[None]), self.grid)[-1]
        empty, guidance = self.net.empty, self.guide.settings.guidance
        words = torch.cat([empty, empty, empty, contexts])
        maps = torch.cat([self.net.extra(self.guide.depth, view)["extra"], self.net.extra(depth, view)["extra"]] * 2)
        with shared_attention(self.guide.runtime.unet, self.guide.layers) as control:
            for rung in range(self.grid.rungs, stop, -1):
                batch = torch.cat([reference, view] * 2)
                with control.paired(2):
                    eps = self.net.evaluate(batch, rung, rung, {"context": words, "extra": maps})
                eps_u, eps_c = eps.chunk(2)
                both = eps_u + guidance * (eps_c - eps_u)
                reference = self.grid.move(reference, both[:1], rung, rung - 1)
                view = self.grid.move(view, both[1:], rung, rung - 1)
        return view, both[1:]

    def loss(self, latents: Tensor, depth: Tensor, contexts: Tensor, stop: int) -> Tensor:
        """|x_tau - stopgrad(x~_tau)|^2 summed, for tau = ``stop``; differentiable in ``latents`` [1, C, h, w]."""
        target, noise = self.descend(latents, depth, contexts, stop)
        a = self.grid.alphas[stop].to(latents)
        state = a.sqrt() * latents + (1 - a).sqrt() * noise
        return (state - target).square().sum()

    def _pair(self, depth: Tensor | None):
        """Inversion under classifier-free guidance between two empty prompts, evaluated in full."""

        def noise(state: Tensor, rung: int, level: int) -> Tensor:
            extra = self.net.extra(depth, state)["extra"].repeat(2, 1, 1, 1)
            words = self.net.empty.expand(2 * len(state), -1, -1)
            eps_u, eps_c = self.net.evaluate(state.repeat(2, 1, 1, 1), rung, level, {"context": words, "extra": extra}).chunk(2)
            return eps_u + self.guide.settings.guidance * (eps_c - eps_u)

        return noise
