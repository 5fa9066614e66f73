"""``sum_rows`` of the lifted volume with a gradient that is several times faster on a CPU, as Warp kernels."""

import torch
import warp as wp


@wp.kernel
def _forward(index: wp.array2d(dtype=wp.int64), weight: wp.array2d(dtype=wp.float32), table: wp.array2d(dtype=wp.float32),
             corners: int, width: int, out: wp.array2d(dtype=wp.float32)):
    n = wp.tid()
    for k in range(corners):
        row, w = int(index[n, k]), weight[n, k]
        for c in range(width):
            out[n, c] = out[n, c] + w * table[row, c]


@wp.kernel
def _backward(index: wp.array2d(dtype=wp.int64), weight: wp.array2d(dtype=wp.float32), grad: wp.array2d(dtype=wp.float32),
              corners: int, width: int, out: wp.array2d(dtype=wp.float32)):
    n = wp.tid()
    for k in range(corners):
        row, w = int(index[n, k]), weight[n, k]
        for c in range(width):
            wp.atomic_add(out, row, c, w * grad[n, c])


class _SumRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, index, table, weight):
        ctx.save_for_backward(index, weight)
        ctx.shape = table.shape
        return torch.nn.functional.embedding_bag(index, table, per_sample_weights=weight, mode="sum")

    @staticmethod
    def backward(ctx, grad):
        index, weight = ctx.saved_tensors
        wp.init()
        out = torch.zeros(ctx.shape, device=grad.device)
        arrays = [wp.from_torch(x.contiguous()) for x in (index, weight, grad)]
        wp.launch(_backward, len(index), [*arrays, index.shape[1], ctx.shape[1]], [wp.from_torch(out)], device=str(grad.device))
        return None, out, None


def sum_rows(index: torch.Tensor, table: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """[N, C] weighted sums of the rows ``index`` [N, K] of a table [M, C], weights [N, K]; gradient to the table only."""
    return _SumRows.apply(index, table, weight)
