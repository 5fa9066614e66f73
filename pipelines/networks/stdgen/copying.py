"""What the small networks take from the given picture itself, pixel by pixel.

Networks of a few megabytes that say every color themselves lose what is finer than their features: eyes, stripes, plaid.
Here the UNet's last layer has channels for more: of each pixel the share of its color that is taken from the given
picture, where it looks there (how far from its own place, and how sharply: appearance flow, Zhou et al. 2016, View Synthesis
by Appearance Flow), and a query, so that among the pixels near that place those count that are alike (attention, Vaswani et
al. 2017).  The published networks have nothing of the kind.

Clean estimates are mixed: (1 - share) x0 + share * copied; the answer stays a v (Salimans and Ho 2022).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from .schedule import make_scheduler

Conv2d = torch.nn.Conv2d  # trained, so host-patched operations must not be used
START = -2.0  # of the shares before training, as a logit
REACH = 8.0  # pixels per unit of an answered offset


class Copying(torch.nn.Module):
    """Common to both: how many channels the UNet must answer with, and the mixing.

    copied: [N, 3, H, W] in [-1, 1], all that the last pass found, whatever its share; while training only.
    """

    alphas: Tensor
    copied: Tensor | None = None

    def __init__(self, channels: int, shrink: int, dims: int, axes: int, schedule: dict):
        super().__init__()
        self.channels, self.shrink, self.dims, self.axes = channels, shrink, dims, axes
        self.extra = shrink**2 * (1 + dims + axes + 1)
        self.register_buffer("alphas", make_scheduler(schedule).alphas_cumprod, persistent=False)

    def parts(self, answer: Tensor) -> tuple[Tensor, ...]:
        """(v [N, C, h, w], logits of shares [N, 1, H, W], features [N, D, H, W], offsets [N, P, H, W] in pixels, logs of
        sharpness [N, 1, H, W]) of a UNet's answer."""
        pixels = pixel_shuffle(answer[:, self.channels :].float(), self.shrink)
        share, features, offset, sharp = pixels.split((1, self.dims, self.axes, 1), 1)
        return answer[:, : self.channels].float(), share + START, features, REACH * offset, sharp

    def mix(self, v: Tensor, noisy: Tensor, t, share: Tensor, copied: Tensor) -> Tensor:
        """The v [N, C, h, w] whose clean estimate has ``share`` [N, 1, H, W] of ``copied`` [N, 3, H, W], colors in [-1, 1].

        t: int, or [N].
        """
        self.copied = copied if self.training else None
        a = self.alphas[t].reshape(-1, 1, 1, 1)
        of_picture = (a.sqrt() * noisy - pixel_unshuffle(copied, self.shrink)) / (1 - a).sqrt()
        taken = pixel_unshuffle(share.expand(-1, 3, -1, -1), self.shrink)
        return v + taken * (of_picture - v)


def look_up(query: Tensor, place: Tensor, key: Tensor, there: Tensor, value: Tensor, sharpness: Tensor) -> Tensor:
    """[B, Q, 3]: means of ``value`` [B, K, 3] by softmax of query . key - sharpness |place - there|^2 / 2.

    query: [B, Q, D]; key: [B, K, D]; place: [B, Q, P] and there: [1, K, P], pixels; sharpness: [B, Q, 1].
    The distance is part of one product, so that the host's attention needs no table of pairs.
    """
    batch, ones = len(query), torch.ones_like(there[..., :1])
    queries = torch.cat([query, place * sharpness, sharpness], -1)
    far = there.square().sum(-1, keepdim=True) / -2 * ones
    keys = torch.cat([key, *(x.expand(batch, -1, -1) for x in (there, far))], -1)
    values = torch.nn.functional.pad(value, (0, queries.shape[-1] - value.shape[-1]))
    found = torch.nn.functional.scaled_dot_product_attention(queries[:, None], keys[:, None], values[:, None], scale=1.0)
    return found[:, 0, :, : value.shape[-1]]


def flat(pixels: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, H W, C]."""
    return pixels.flatten(2).transpose(1, 2)


class RowCopy(Copying):
    """For six views: each pixel of a color picture looks at its own row of the front, where all of its sources lie.

    The cameras are orthographic at elevation 0, so a row shows the same height from every side.  Half of the features are
    queries, the others keys, of which those of the front's own color picture count.  Offsets begin at the same column
    (mirrored from behind); ``sharpness`` [V], log of 1 / pixels^2, learned, is added to each pixel's own.
    """

    def __init__(self, channels: int, shrink: int, views: int, schedule: dict, dims: int = 8, behind: int = 3):
        super().__init__(channels, shrink, 2 * dims, 1, schedule)
        self.views, self.behind = views, behind
        self.sharpness = torch.nn.Parameter(torch.full((views,), -3.0))
        with torch.no_grad():
            self.sharpness[0] = 0.0

    def forward(self, answer: Tensor, x: Tensor, t) -> Tensor:
        """v [2 B V, C, h, w], normals first; answer: [2 B V, C + extra, h, w]; x: the UNet's input, noisy and shown latents."""
        noisy, shown = x.float().chunk(2, 1)
        v, share, features, offset, sharp = self.parts(answer)
        half = len(v) // 2
        front = pixel_shuffle(shown[half :: self.views], self.shrink)  # [B, 3, H, W]
        query, key = features[half:].chunk(2, 1)
        query, offset, sharp = (x.unflatten(0, (-1, self.views)) for x in (query, offset[half:, 0], sharp[half:, 0]))
        copied = self.rows(query, offset, sharp, key[:: self.views], front).flatten(0, 1)
        times = t if not isinstance(t, Tensor) or t.ndim == 0 else t[half:]
        colors = self.mix(v[half:], noisy[half:], times, share[half:].sigmoid(), copied)
        return torch.cat([v[:half], colors])

    def rows(self, query: Tensor, offset: Tensor, sharp: Tensor, key: Tensor, front: Tensor) -> Tensor:
        """[B, V, 3, H, W]; query: [B, V, D, H, W]; offset, sharp: [B, V, H, W]; key: [B, D, H, W]; front: [B, 3, H, W]."""
        batch, views, _, height, width = query.shape
        column = torch.arange(width, device=query.device, dtype=query.dtype) - (width - 1) / 2
        start = torch.stack([-column if k == self.behind else column for k in range(views)])
        places, sharpness = start[:, None] + offset, (self.sharpness[:, None, None] + sharp).exp()
        asked, place, sharpness = (x.transpose(1, 2).reshape(batch * height, views * width, -1)
                                   for x in (query.movedim(2, -1), places[..., None], sharpness[..., None]))
        keys, values = (p.permute(0, 2, 3, 1).flatten(0, 1) for p in (key, front))
        found = look_up(asked, place, keys, column.reshape(1, -1, 1), values, sharpness)
        return found.unflatten(0, (batch, height)).unflatten(2, (views, width)).permute(0, 2, 4, 1, 3)


class PictureCopy(Copying):
    """For one picture in another pose: each pixel looks at the whole of it.

    Keys come from the reference UNet's last tokens and from the picture itself.
    """

    def __init__(self, channels: int, shrink: int, width: int, schedule: dict, dims: int = 16):
        super().__init__(channels, shrink, dims, 2, schedule)
        self.to_key = Conv2d(width + channels, shrink**2 * dims, 1)
        self.sharpness = torch.nn.Parameter(torch.tensor(-3.0))

    def forward(self, answer: Tensor, noisy: Tensor, t, seen: Tensor, tokens: Tensor) -> Tensor:
        """v [B, C, h, w]; answer: [B, C + extra, h, w]; seen: clean latents [B, C, h, w]; tokens: [B, h w, width]."""
        v, share, query, offset, sharp = self.parts(answer)
        features = torch.cat([tokens.float().transpose(1, 2).unflatten(2, seen.shape[2:]), seen.float()], 1)
        key = pixel_shuffle(self.to_key(features), self.shrink)
        height, width = query.shape[2:]
        rows, columns = (torch.arange(n, device=query.device, dtype=query.dtype) - (n - 1) / 2 for n in (height, width))
        place = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), -1).flatten(0, 1)[None]
        values, sharpness = flat(pixel_shuffle(seen.float(), self.shrink)), (self.sharpness + flat(sharp)).exp()
        found = look_up(flat(query), place + flat(offset), flat(key), place, values, sharpness)
        return self.mix(v, noisy.float(), t, share.sigmoid(), found.transpose(1, 2).unflatten(2, (height, width)))
