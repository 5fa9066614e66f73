"""tiny-cuda-nn as the twin of the hash grid and the network behind it (Mueller et al. 2021, 2022).

Nothing is kept here: a field's own table and layers stay its state, and every call lays them out as the library wants them, so
that gradients reach them and a scene is the same file with and without the library.  The library computes in half precision.
``accelerators.py`` imports it; here it is handed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

import torch
from torch import Tensor
from torch.func import functional_call

from ..core.errors import InputError
from .hashgrid import HashGridConfig

TILE = 16  # the fused network's inputs and outputs come in multiples of this
WIDTHS = (16, 32, 64, 128)  # that it can have
Layers = Sequence[tuple[Tensor, Tensor]]
"""(weight [out, in], bias [out]) of each layer, ReLU between them."""


class TinyCudaField:
    """Points to logits by the library, with the weights of somebody else.

    library: the module ``tinycudann``; grid, hidden, layers: as ``HashNerfConfig``; outputs: of the last layer, at most 16.
    InputError where the library lays the grid out otherwise, or the network is too wide to be fused.
    """

    def __init__(self, library: ModuleType, grid: HashGridConfig, hidden: int, layers: int, outputs: int = 4):
        self.grid, self.inputs = grid, _up(grid.width + 1)
        self.width = next((w for w in WIDTHS if w > hidden), 0)
        if not self.width or outputs > TILE:
            raise InputError("field_engine", f"a network of less than {WIDTHS[-1]} neurons", str(hidden),
                             "Choose the built-in one.")
        self.encoding = library.Encoding(3, {
            "otype": "HashGrid", "n_levels": grid.levels, "n_features_per_level": grid.features,
            "log2_hashmap_size": grid.log2_table, "base_resolution": grid.base,
            "per_level_scale": (grid.finest / grid.base) ** (1 / max(grid.levels - 1, 1)),
            "interpolation": "Smoothstep" if grid.smoothstep else "Linear"})
        self.network = library.Network(self.inputs, TILE, {
            "otype": "FullyFusedMLP", "activation": "ReLU", "output_activation": "None", "n_neurons": self.width,
            "n_hidden_layers": layers})
        self.sizes = [(self.width, self.inputs), *[(self.width, self.width)] * (layers - 1), (TILE, self.width)]
        wanted = {"hash grid": grid.rows * grid.features, "network": sum(a * b for a, b in self.sizes)}
        got = {"hash grid": self.encoding.params.numel(), "network": self.network.params.numel()}
        if got != wanted:
            raise InputError("tinycudann", f"numbers of {wanted}", str(got), "Choose the built-in one, or another version of it.")

    def __call__(self, x: Tensor, table: Tensor, layers: Layers, live_levels: int | None = None) -> Tensor:
        """[N, outputs] float32 at points [N, 3] in [0, 1]; gradients to x, table and layers.

        table: [rows, 2] as ``hashgrid.encode``; live_levels: as there.
        """
        points = x.clamp(0, 1)
        h = functional_call(self.encoding.to(x.device), {"params": table.reshape(-1)}, (points,)).float()
        if live_levels is not None:
            live = torch.arange(h.shape[1], device=x.device) < live_levels * self.grid.features
            h = h * live
        h = torch.cat([h, h.new_ones(len(h), 1), h.new_zeros(len(h), self.inputs - self.grid.width - 1)], 1)
        out = functional_call(self.network.to(x.device), {"params": self.pack(layers)}, (h,))
        return out[:, : len(layers[-1][1])].float()

    def pack(self, layers: Layers) -> Tensor:
        """[P] the network's flat parameters, differentiable in ``layers``.

        The library's layers have no biases: the input's column behind the features is 1, and one more neuron hands it on.
        """
        parts, carried = [], self.grid.width  # the column that is 1
        for index, ((weight, bias), (rows, columns)) in enumerate(zip(layers, self.sizes, strict=True)):
            last = index == len(layers) - 1
            matrix = weight.new_zeros(rows, columns)
            matrix[: len(weight), : weight.shape[1]] = weight
            matrix[: len(bias), carried] = bias
            if not last:
                matrix[len(weight), carried] = 1.0
                carried = len(weight)
            parts.append(matrix.reshape(-1))
        return torch.cat(parts)

    def unpack(self, flat: Tensor, shapes: Sequence[tuple[int, int]]) -> list[tuple[Tensor, Tensor]]:
        """Inverse of :meth:`pack`: layers of ``shapes`` (out, in) from [P] numbers, in float32."""
        layers, start, carried = [], 0, self.grid.width
        for (outs, ins), (rows, columns) in zip(shapes, self.sizes, strict=True):
            matrix = flat[start : start + rows * columns].reshape(rows, columns).float()
            layers.append((matrix[:outs, :ins].clone(), matrix[:outs, carried].clone()))
            start, carried = start + rows * columns, outs
        return layers


def _up(count: int) -> int:
    return -(-count // TILE) * TILE
