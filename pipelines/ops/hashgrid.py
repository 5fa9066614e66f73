"""Multi-resolution hash encoding of points in the unit cube (Mueller et al. 2022, "Instant NGP", section 3).

The layout follows tiny-cuda-nn: level l has ``scale = base * growth^l - 1`` cells per side, positions are
``x * scale + 0.5``, a level whose ``ceil(scale) + 1`` cubed nodes fit its rows is stored densely (x fastest),
others by the hash x ^ 2654435761 y ^ 805459861 z; rows are rounded up to 8 and capped at 2^log2_table; levels
follow each other in one [rows, 2] table.

:func:`encode` runs the Warp kernels, :func:`encode_reference` is their plain-torch specification.  On the CPU
both directions are bitwise deterministic (each level is walked in point order by one thread); on CUDA the table
gradient is summed by atomics, so its last bits vary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from .kernels import hashgrid_kernels as kernels
from .kernels.launch import launch

CPU_BLOCK = 256  # points per thread of a launch on the CPU (one on CUDA)
FEATURES = 2  # per level, as in every published preset; the kernels load rows as pairs
_sums: ContextVar[dict[int, Tensor] | None] = ContextVar("lift123_table_gradients", default=None)


@dataclass(frozen=True)
class HashGridConfig:
    """Shape of the encoding; the defaults are Magic123's and Consistent123's (M-B.1).

    levels:     number of grids.
    features:   per level; must be 2.
    log2_table: log2 of the most rows a level may have, 1..24.
    base:       nodes per side of the coarsest level, >= 2.
    finest:     nodes per side of the finest level, >= base.
    smoothstep: interpolate with 3f^2 - 2f^3 (continuous derivative) instead of linearly.
    """

    levels: int = 16
    features: int = FEATURES
    log2_table: int = 19
    base: int = 16
    finest: int = 2048
    smoothstep: bool = True

    def __post_init__(self):
        if self.features != FEATURES:
            raise ValueError(f"features must be {FEATURES}, got {self.features}")
        if not (self.levels >= 1 and 2 <= self.base <= self.finest and 1 <= self.log2_table <= 24):
            raise ValueError(f"need levels >= 1, 2 <= base <= finest and log2_table in 1..24, got {self}")

    @cached_property
    def scales(self) -> tuple[float, ...]:
        """Cells per side of each level (not an integer in general)."""
        growth = (self.finest / self.base) ** (1 / max(self.levels - 1, 1))
        return tuple(self.base * growth**level - 1 for level in range(self.levels))

    @cached_property
    def layout(self) -> tuple[tuple[int, int, int, int], ...]:
        """(nodes per side, rows, first row, 1 if dense) of each level."""
        spots, start = [], 0
        for scale in self.scales:
            nodes = math.ceil(scale - 1e-6) + 1  # the slack absorbs the rounding of growth^level
            rows = min((nodes**3 + 7) // 8 * 8, 2**self.log2_table)
            spots.append((nodes, rows, start, int(nodes**3 <= rows)))
            start += rows
        return tuple(spots)

    @property
    def rows(self) -> int:
        """Rows of the whole table."""
        return self.layout[-1][2] + self.layout[-1][1]

    @property
    def width(self) -> int:
        """Columns of the encoding."""
        return self.levels * self.features


def new_table(config: HashGridConfig, generator: torch.Generator) -> Tensor:
    """[rows, 2] uniform in +-1e-4, the customary start."""
    table = torch.rand(config.rows, config.features, generator=generator, device=generator.device)
    return table.mul_(2e-4).sub_(1e-4)


def encode(
    x: Tensor, table: Tensor, config: HashGridConfig, live_levels: int | None = None, in_place: bool = False
) -> Tensor:
    """[N, levels * 2] features of points [N, 3] in [0, 1] (clamped there), level after level.

    table:       [config.rows, 2] float32.
    live_levels: only the first so many levels are looked up, the others are zero (coarse to fine); None = all.
    in_place:    for a leaf ``table``: the backward pass adds straight to ``table.grad`` (created if missing), which
                 saves a table-sized buffer per call.  ``torch.autograd.grad`` does not see that gradient.
    Differentiable once, to ``table`` and, when it requires a gradient, to ``x``.  ValueError for wrong shapes.
    """
    _check(x, table, config)
    return _Encode.apply(x, table, config, _live(config, live_levels), in_place and table.requires_grad)


def encode_with_jacobian(
    x: Tensor, table: Tensor, config: HashGridConfig, live_levels: int | None = None, in_place: bool = False
) -> Tensor:
    """[4, N, levels * 2]: the encoding and its derivatives along x, y and z, in one pass over the corners.

    Costs about 1.5 encodings where finite differences cost 4 to 6.  Differentiable once, to ``table`` only.
    """
    _check(x, table, config)
    in_place = in_place and table.requires_grad
    return _EncodeJacobian.apply(x.detach(), table, config, _live(config, live_levels), in_place)


@contextmanager
def gradients_apart() -> Iterator[dict[int, Tensor]]:
    """Of encodings made inside, gradients ``in_place`` go into the dictionary, by ``id`` of their table, not to ``table.grad``.

    Two threads may then go back through one table at once, each with a dictionary of its own.
    """
    sums: dict[int, Tensor] = {}
    token = _sums.set(sums)
    try:
        yield sums
    finally:
        _sums.reset(token)


def _check(x: Tensor, table: Tensor, config: HashGridConfig) -> None:
    if x.ndim != 2 or x.shape[1] != 3:
        raise ValueError(f"points must be [N, 3], got {tuple(x.shape)}")
    if tuple(table.shape) != (config.rows, config.features):
        raise ValueError(f"table must be {(config.rows, config.features)}, got {tuple(table.shape)}")
    if x.dtype != torch.float32 or table.dtype != torch.float32:
        raise ValueError(f"points and table must be float32, got {x.dtype} and {table.dtype}")


def _live(config: HashGridConfig, live_levels: int | None) -> int:
    return config.levels if live_levels is None else min(max(int(live_levels), 0), config.levels)


@lru_cache(maxsize=32)
def _level_tensors(config: HashGridConfig, device: torch.device) -> tuple[Tensor, Tensor]:
    with torch.inference_mode(False):  # cached: they must not become inference tensors of the first caller
        scales = torch.tensor(config.scales, dtype=torch.float32, device=device)
        return scales, torch.tensor(config.layout, dtype=torch.int32, device=device)


def _table_buffer(table: Tensor, in_place: bool, sums: dict[int, Tensor] | None) -> Tensor:
    if not in_place:
        return torch.zeros_like(table)
    if sums is not None:
        if id(table) not in sums:
            sums[id(table)] = torch.zeros_like(table)
        return sums[id(table)]
    if table.grad is None:
        table.grad = torch.zeros_like(table)
    return table.grad


class _Encode(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, table, config, live, in_place):
        new = torch.empty if live == config.levels else torch.zeros
        out = new(len(x), config.width, device=x.device)
        inputs = (x, table, *_level_tensors(config, x.device), int(config.smoothstep))
        _launch(kernels.encode_forward, live, inputs, _pairs(out))
        ctx.save_for_backward(x, table)
        ctx.settings = config, live, in_place, _sums.get()
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_out):
        x, table = ctx.saved_tensors
        config, live, in_place, sums = ctx.settings
        scales, layout = _level_tensors(config, x.device)
        smooth, grad_out = int(config.smoothstep), _pairs(grad_out.contiguous())
        grad_x = grad_table = None
        if ctx.needs_input_grad[1]:
            grad_table = _table_buffer(table, in_place, sums)
            _launch(kernels.encode_backward_table, live, (x, scales, layout, smooth, grad_out), grad_table)
        if ctx.needs_input_grad[0]:
            parts = x.new_empty(live, len(x), 3)
            _launch(kernels.encode_backward_x, live, (x, table, scales, layout, smooth, grad_out), parts)
            grad_x = parts.sum(0)
        return grad_x, None if in_place else grad_table, None, None, None


class _EncodeJacobian(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, table, config, live, in_place):
        new = torch.empty if live == config.levels else torch.zeros
        out = new(4, len(x), config.width, device=x.device)
        inputs = (x, table, *_level_tensors(config, x.device), int(config.smoothstep))
        _launch(kernels.jacobian_forward, live, inputs, _pairs(out))
        ctx.save_for_backward(x, table)
        ctx.settings = config, live, in_place, _sums.get()
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_out):
        x, table = ctx.saved_tensors
        config, live, in_place, sums = ctx.settings
        grad_table = _table_buffer(table, in_place, sums)
        inputs = (x, *_level_tensors(config, x.device), int(config.smoothstep), _pairs(grad_out.contiguous()))
        _launch(kernels.jacobian_backward_table, live, inputs, grad_table)
        return None, None if in_place else grad_table, None, None, None


def _launch(kernel, live: int, inputs: tuple, output: Tensor) -> None:
    """Levels 0 .. live - 1 of all points (the first input); the parts of a launch split by levels share no memory."""
    x = inputs[0]
    block = 1 if x.is_cuda else CPU_BLOCK
    launch(kernel, (live, -(-len(x) // block)), (block, *inputs), (output,), x.device, split=max(live, 1))


def _pairs(features: Tensor) -> Tensor:
    """[..., L * 2] as [..., L, 2], the kernels' element type."""
    return features.view(*features.shape[:-1], features.shape[-1] // FEATURES, FEATURES)


def encode_reference(x: Tensor, table: Tensor, config: HashGridConfig, live_levels: int | None = None) -> Tensor:
    """The specification of :func:`encode` in plain torch; any float type, differentiable to any order."""
    live = _live(config, live_levels)
    columns = [_encode_level(x, table, config, level) for level in range(live)]
    columns.append(x.new_zeros(len(x), (config.levels - live) * config.features))
    return torch.cat(columns, dim=1)


def _encode_level(x: Tensor, table: Tensor, config: HashGridConfig, level: int) -> Tensor:
    """[N, 2] features of one level."""
    nodes, rows, start, dense = config.layout[level]
    position = x.clamp(0, 1) * config.scales[level] + 0.5
    cell = position.detach().floor()
    weight = position - cell
    if config.smoothstep:
        weight = weight * weight * (3 - 2 * weight)
    out = table.new_zeros(())
    for corner in range(8):
        bits = torch.tensor([corner & 1, corner >> 1 & 1, corner >> 2], device=x.device)
        node = cell.long() + bits
        if dense:
            index = node[:, 0] + nodes * (node[:, 1] + nodes * node[:, 2])
        else:  # Python integers do not wrap, so keep the low 32 bits by hand
            index = node[:, 0] ^ (node[:, 1] * 2654435761 & 0xFFFFFFFF) ^ (node[:, 2] * 805459861 & 0xFFFFFFFF)
        share = torch.where(bits.bool(), weight, 1 - weight).prod(dim=1, keepdim=True)
        out = out + share * table[start + index % rows]
    return out
