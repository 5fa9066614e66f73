"""Which of many points lies nearest: scipy's tree, where a table of all distances would take seconds."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def nearest(points: Tensor, among: Tensor) -> Tensor:
    """[N] index into ``among`` [M, D] of the point nearest to each of ``points`` [N, D]; of equally near ones always the same.

    Works on the CPU in double precision, the result is on the device of ``points``; nan counts as 0.  ValueError without any
    in ``among``.
    """
    from scipy.spatial import KDTree

    if not len(among):
        raise ValueError("nearest of no points at all")
    there, here = (table.cpu().double().nan_to_num().numpy() for table in (among, points))
    found = KDTree(there).query(here)[1]
    return torch.as_tensor(found, dtype=torch.int64, device=points.device)
