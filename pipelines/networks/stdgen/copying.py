"""What the small networks take from the given picture itself, pixel by pixel.

Networks of a few megabytes that say every color themselves lose what is finer than their features: eyes, stripes, plaid.
Here the UNet's last layer has channels for more: of each pixel a query, a key, and the share of its color that is taken
from the pixels of the given picture at which it looks.  After appearance flow (Zhou et al. 2016, View Synthesis by
Appearance Flow), with attention (Vaswani et al. 2017) in the place of flow, so that a pixel finds its place from afar.
The published networks have nothing of the kind.

Clean estimates are mixed: (1 - share) x0 + share * copied; the answer stays a v (Salimans and Ho 2022).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from .schedule import make_scheduler

Conv2d = torch.nn.Conv2d  # trained, so host-patched operations must not be used
START = -2.0  # of the shares before training, as a logit


class Copying(torch.nn.Module):
    """Common to both: how many channels the UNet must answer with, and the mixing.

    copied: [N, 3, H, W] in [-1, 1], all that the last pass found, whatever its share; while training only.
    """

    copied: Tensor | None = None

    def __init__(self, channels: int, shrink: int, dims: int, own_keys: bool, schedule: dict):
        super().__init__()
        self.channels, self.shrink, self.dims = channels, shrink, dims
        self.extra = shrink**2 * (dims * (2 if own_keys else 1) + 1)
        self.register_buffer("alphas", make_scheduler(schedule).alphas_cumprod, persistent=False)

    def parts(self, answer: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(v [N, C, h, w], logits of shares [N, 1, H, W], the rest [N, D, H, W]) of a UNet's answer."""
        pixels = pixel_shuffle(answer[:, self.channels :].float(), self.shrink)
        return answer[:, : self.channels].float(), pixels[:, :1] + START, pixels[:, 1:]

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

    query: [B, Q, D]; key: [B, K, D]; place: [B or 1, Q, P] and there: [1, K, P], pixels; sharpness: [B or 1, Q, 1].
    The distance is part of one product, so that the host's attention needs no table of pairs.
    """
    batch, ones = len(query), torch.ones_like(there[..., :1])
    nearness = [place * sharpness, sharpness.expand(-1, query.shape[1], 1)]
    queries = torch.cat([query, *(x.expand(batch, -1, -1) for x in nearness)], -1)
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

    The cameras are orthographic at elevation 0, so a row shows the same height from every side.  Keys are those that the
    front's own color picture answers.  ``place``: where looking begins, the same column (mirrored from behind); ``sharpness``
    [V], log of 1 / pixels^2, learned.
    """

    def __init__(self, channels: int, shrink: int, views: int, schedule: dict, dims: int = 8, behind: int = 3):
        super().__init__(channels, shrink, dims, True, schedule)
        self.views, self.behind = views, behind
        self.sharpness = torch.nn.Parameter(torch.full((views,), -3.0))
        with torch.no_grad():
            self.sharpness[0] = 0.0

    def forward(self, answer: Tensor, x: Tensor, t) -> Tensor:
        """v [2 B V, C, h, w], normals first; answer: [2 B V, C + extra, h, w]; x: the UNet's input, noisy and shown latents."""
        noisy, shown = x.float().chunk(2, 1)
        v, share, rest = self.parts(answer)
        half = len(v) // 2
        front = pixel_shuffle(shown[half :: self.views], self.shrink)  # [B, 3, H, W]
        query, key = rest[half:].chunk(2, 1)
        copied = self.rows(query.unflatten(0, (-1, self.views)), key[:: self.views], front).flatten(0, 1)
        times = t if not isinstance(t, Tensor) or t.ndim == 0 else t[half:]
        colors = self.mix(v[half:], noisy[half:], times, share[half:].sigmoid(), copied)
        return torch.cat([v[:half], colors])

    def rows(self, query: Tensor, key: Tensor, front: Tensor) -> Tensor:
        """[B, V, 3, H, W]; query: [B, V, D, H, W]; key: [B, D, H, W]; front: [B, 3, H, W]."""
        batch, views, _, height, width = query.shape
        column = torch.arange(width, device=query.device, dtype=query.dtype) - (width - 1) / 2
        place = torch.stack([-column if k == self.behind else column for k in range(views)]).reshape(1, -1, 1)
        sharpness = self.sharpness.exp().repeat_interleave(width).reshape(1, -1, 1)
        asked = query.permute(0, 3, 1, 4, 2).reshape(batch * height, views * width, -1)
        keys, values = (p.permute(0, 2, 3, 1).flatten(0, 1) for p in (key, front))
        found = look_up(asked, place, keys, column.reshape(1, -1, 1), values, sharpness)
        return found.unflatten(0, (batch, height)).unflatten(2, (views, width)).permute(0, 2, 4, 1, 3)


class PictureCopy(Copying):
    """For one picture in another pose: each pixel looks at the whole of it.

    Keys come from the reference UNet's last tokens and from the picture itself.
    """

    def __init__(self, channels: int, shrink: int, width: int, schedule: dict, dims: int = 16):
        super().__init__(channels, shrink, dims, False, schedule)
        self.to_key = Conv2d(width + channels, shrink**2 * dims, 1)
        self.sharpness = torch.nn.Parameter(torch.tensor(-3.0))

    def forward(self, answer: Tensor, noisy: Tensor, t, seen: Tensor, tokens: Tensor) -> Tensor:
        """v [B, C, h, w]; answer: [B, C + extra, h, w]; seen: clean latents [B, C, h, w]; tokens: [B, h w, width]."""
        v, share, query = self.parts(answer)
        features = torch.cat([tokens.float().transpose(1, 2).unflatten(2, seen.shape[2:]), seen.float()], 1)
        key = pixel_shuffle(self.to_key(features), self.shrink)
        height, width = query.shape[2:]
        rows, columns = (torch.arange(n, device=query.device, dtype=query.dtype) - (n - 1) / 2 for n in (height, width))
        place = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), -1).flatten(0, 1)[None]
        values = flat(pixel_shuffle(seen.float(), self.shrink))
        sharpness = self.sharpness.exp().reshape(1, 1, 1).expand(1, place.shape[1], 1)
        found = look_up(flat(query), place, flat(key), place, values, sharpness)
        return self.mix(v, noisy.float(), t, share.sigmoid(), found.transpose(1, 2).unflatten(2, (height, width)))
