"""StdGEN's attention, as processors of diffusers' UNet2DConditionModel: no UNet is forked.

Canonicalizer (StdGEN, Sec. 3.1; the reference attention is AnimateAnyone's and CharacterGen's, S-A.3, S-A.8):
  :class:`WriteReference` in the reference UNet keeps what each self-attention sees,
  :class:`ReadReference` in the main UNet attends to its own tokens and to those,
  :class:`SingleKey` replaces cross-attention to one token, whose softmax is 1.
Multi-view network (Era3D, Li et al. 2024; S-B.3):
  :class:`JointThenRows` lets the normal and the color picture of one view attend to each other, and then each image
  row of one view to the same row of all views; the cameras are orthographic at elevation 0, so rows are epipolar lines.

Processors hold references to modules and to shared state, never closures, so that ``copy.deepcopy`` of a UNet (for a
moving average, say) gives a network of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import get_ident

import torch
from torch import Tensor

from ...core.modules import AnyModule
from ..attention import self_attentions

Linear, LayerNorm = torch.nn.Linear, torch.nn.LayerNorm  # trained, so host-patched operations must not be used


def attend(attn, queries: Tensor, tokens: Tensor) -> Tensor:
    """Multi-head attention of layer ``attn`` from ``queries`` [B, N, C] to ``tokens`` [B, M, D], with its projections.

    attn: a module with ``heads``, ``to_q``, ``to_k``, ``to_v``, ``to_out[0]``; scores are scaled by 1 / sqrt(C / heads).
    """
    query, key, value = (_heads(x, attn.heads) for x in (attn.to_q(queries), attn.to_k(tokens), attn.to_v(tokens)))
    mixed = torch.nn.functional.scaled_dot_product_attention(query, key, value)
    return attn.to_out[0](mixed.transpose(1, 2).flatten(2))


def _heads(x: Tensor, heads: int) -> Tensor:
    """[B, L, C] -> [B, heads, L, C / heads]."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


# ------------------------------------------------------------------------------------------ canonicalizer


@dataclass
class ReferenceTokens:
    """What the reference UNet's self-attentions saw in its last pass, by layer; each entry is used once."""

    entries: dict[str, Tensor] = field(default_factory=dict)

    def put(self, layer: str, tokens: Tensor) -> None:
        """Keeps normalized tokens [B, N, C] of ``layer``."""
        self.entries[layer] = tokens

    def take(self, layer: str) -> Tensor:
        """The tokens of ``layer``, which are forgotten here; ValueError when the reference UNet has not run."""
        if layer not in self.entries:
            raise ValueError(f"the reference network has not seen the reference picture before {layer} asked for it")
        return self.entries.pop(layer)

    def __deepcopy__(self, memo) -> "ReferenceTokens":
        copied = memo[id(self)] = ReferenceTokens()  # tokens of a pass under way belong to the original
        return copied


class WriteReference:
    """Self-attention of the reference UNet: remembers its normalized input, then runs as ever."""

    def __init__(self, tokens: ReferenceTokens, layer: str):
        self.tokens, self.layer = tokens, layer

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None, **extra):
        self.tokens.put(self.layer, hidden_states)
        return attend(attn, hidden_states, hidden_states)


class ReadReference:
    """Self-attention of the main UNet: keys and values also of the reference's tokens, by the main UNet's projections."""

    def __init__(self, tokens: ReferenceTokens, layer: str):
        self.tokens, self.layer = tokens, layer

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None, **extra):
        seen = self.tokens.take(self.layer)
        return attend(attn, hidden_states, torch.cat([hidden_states, seen], 1))


class SingleKey:
    """Cross-attention to exactly one token: softmax over one key is 1, so every query gets ``to_out(to_v(token))``.

    Exact, and it leaves out queries and keys altogether; what remains is one small product per layer and picture.
    """

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None, **extra):
        if encoder_hidden_states is None or encoder_hidden_states.shape[1] != 1:
            raise ValueError("this cross-attention was built for one token")
        return attn.to_out[0](attn.to_v(encoder_hidden_states))  # [B, 1, C]: the block adds it to every token


def share_reference(main: AnyModule, reference: AnyModule) -> ReferenceTokens:
    """Connects the self-attentions of two UNets of one topology; returns the store between them.

    The reference UNet's last layer may be a :class:`LastNorm`, which writes without attending.
    """
    tokens = ReferenceTokens()
    for name in self_attentions(main):
        main.get_submodule(name).processor = ReadReference(tokens, name)
        block = reference.get_submodule(name.removesuffix(".attn1"))
        if isinstance(block, LastNorm):
            block.tokens, block.layer = tokens, name
        else:
            block.attn1.processor = WriteReference(tokens, name)
    return tokens


class Enough(Exception):
    """Raised once the reference UNet has written all that is ever read: the rest of it would be thrown away.

    tokens: [B, N, C], what was written last.
    """

    def __init__(self, tokens: Tensor):
        super().__init__()
        self.tokens = tokens


class LastNorm(torch.nn.Module):
    """What is left of the reference UNet's last transformer block: its first norm, whose output is written.

    norm1: the block's.  Ends the pass with :class:`Enough`, see :func:`look`.
    """

    def __init__(self, norm1: AnyModule):
        super().__init__()
        self.norm1 = norm1
        self.tokens, self.layer = ReferenceTokens(), ""

    def forward(self, hidden_states, *args, **kwargs):
        written = self.norm1(hidden_states)
        self.tokens.put(self.layer, written)
        raise Enough(written)


def look(reference: AnyModule, seen: Tensor, t, text: Tensor) -> Tensor:
    """Runs a reference UNet that ends in :class:`LastNorm` on latents [B, C, h, w] at time ``t`` with ``text`` [B, L, D].

    Returns the tokens [B, N, C] that it wrote last.
    """
    try:
        reference(seen, t, text)
    except Enough as end:
        return end.tokens
    raise ValueError("the reference network does not end in LastNorm")


# ------------------------------------------------------------------------------------------ multi-view


@dataclass
class ViewGrid:
    """How tokens lie in pictures: ``views`` pictures per object, and each level's rows and columns."""

    views: int = 6
    sizes: tuple[tuple[int, int], ...] = ()

    def set(self, height: int, width: int, levels: int = 8) -> None:
        """Latent size of the next pass; a level halves it, rounding up, as strided convolutions do."""
        sizes = [(height, width)]
        for _ in range(levels - 1):
            rows, columns = sizes[-1]
            sizes.append(((rows + 1) // 2, (columns + 1) // 2))
        self.sizes = tuple(sizes)

    def rows(self, tokens: int) -> int:
        """Rows of the level that has so many tokens; ValueError when there is none."""
        for height, width in self.sizes:
            if height * width == tokens:
                return height
        raise ValueError(f"no level of {self.sizes[:1]} has {tokens} tokens")


class RowAttention(torch.nn.Module):
    """Projections of the row-wise attention, named as in the published files: to_q, to_k, to_v, to_out.0."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v = (Linear(width, width, bias=False) for _ in range(3))
        self.to_out = torch.nn.ModuleList([Linear(width, width)])

    def forward(self, x: Tensor, views: int, height: int) -> Tensor:
        """[B * views, H * W, C] -> the same: attention among all views' pixels of the same image row."""
        rows = to_rows(x, views, height)
        return from_rows(attend(self, rows, rows), views, height)


def to_rows(x: Tensor, views: int, height: int) -> Tensor:
    """[B * V, H * W, C] -> [B * H, V * W, C]."""
    return x.unflatten(0, (-1, views)).unflatten(2, (height, -1)).transpose(1, 2).flatten(2, 3).flatten(0, 1)


def from_rows(rows: Tensor, views: int, height: int) -> Tensor:
    """Inverse of :func:`to_rows`."""
    return rows.unflatten(0, (-1, height)).unflatten(2, (views, -1)).transpose(1, 2).flatten(2, 3).flatten(0, 1)


def join_domains(attn, x: Tensor) -> Tensor:
    """[2 B, N, C] (first half normals, second half colors) -> the same: each picture attends to both of its domains."""
    both = torch.cat(x.chunk(2), 1)
    return torch.cat(attend(attn, both, both).chunk(2, 1))


class JointThenRows:
    """Self-attention over both domains, then row-wise attention over the views, each added to the block's state.

    diffusers adds one residual per attention; the second lies between that and the next norm, so this processor
    computes both and returns their sum.  It sees the block's state through a hook before the block, which hands it over
    thread by thread: two levels of views may be drawn at once.
    """

    def __init__(self, grid: ViewGrid):
        self.grid = grid
        self.handed: dict[int, tuple[AnyModule, Tensor]] = {}

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None, **extra):
        handed = self.handed.pop(get_ident(), None)
        assert handed is not None, "the hook before the block has not run"
        block, state = handed
        joint = join_domains(attn, hidden_states)
        height = self.grid.rows(hidden_states.shape[1])
        return joint + block.attn_mv(block.norm_mv(state + joint), self.grid.views, height)


class _RememberState:
    """Hook before a transformer block: hands the block and its state to its processor."""

    def __init__(self, processor: JointThenRows):
        self.processor = processor

    def __call__(self, block, arguments):
        self.processor.handed[get_ident()] = block, arguments[0]


def add_row_attention(unet: AnyModule, views: int = 6) -> ViewGrid:
    """Gives every transformer block of ``unet`` joint and row-wise attention; returns their common grid.

    Adds ``norm_mv`` and ``attn_mv`` to each block, so that the state dict's names are the published ones.
    """
    grid = ViewGrid(views)
    for name in self_attentions(unet):
        block = unet.get_submodule(name.removesuffix(".attn1"))
        width = block.attn1.to_q.in_features
        block.norm_mv, block.attn_mv = LayerNorm(width), RowAttention(width, block.attn1.heads)
        block.attn1.processor = JointThenRows(grid)
        block.register_forward_pre_hook(_RememberState(block.attn1.processor))
    return grid
