"""``sum_rows`` of the lifted volume with a gradient that is several times faster on a CPU, by a Warp kernel."""

import pack  # noqa: F401
import torch
from lift123.pipelines.networks import lifted
from lift123.pipelines.ops.kernels.launch import launch
from lift123.pipelines.ops.kernels.row_kernels import add_rows


class _SumRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, index, table, weight):
        ctx.save_for_backward(index, weight)
        ctx.shape = table.shape
        return lifted.sum_rows(index, table, weight)

    @staticmethod
    def backward(ctx, grad):
        index, weight = ctx.saved_tensors
        out = torch.zeros(ctx.shape, device=grad.device)
        launch(add_rows, len(index), [index, weight, grad.contiguous(), index.shape[1], ctx.shape[1]], [out], grad.device)
        return None, out, None


def sum_rows(index: torch.Tensor, table: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """[N, C] weighted sums of the rows ``index`` [N, K] of a table [M, C], weights [N, K]; gradient to the table only."""
    return _SumRows.apply(index, table, weight)
