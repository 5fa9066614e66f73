"""Which axis-aligned boxes overlap."""

from __future__ import annotations

import numpy as np

from ..core.pulse import beat


def box_pairs(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """[P, 2] pairs i < j of boxes (``low``, ``high`` [N, 3]) that overlap or touch.

    Two copies of one binary tree are descended together, a level at a time.
    """
    count = len(low)
    order = np.argsort(_morton((low + high) / 2), kind="stable")
    depth = max(int(np.ceil(np.log2(count))), 1)
    lows = [np.full((2**depth, 3), np.inf)]
    highs = [np.full((2**depth, 3), -np.inf)]
    lows[0][:count], highs[0][:count] = low[order], high[order]
    for _ in range(depth):
        lows.append(lows[-1].reshape(-1, 2, 3).min(1))
        highs.append(highs[-1].reshape(-1, 2, 3).max(1))
    pairs = np.zeros((1, 2), dtype=np.int64)
    for level in range(depth - 1, -1, -1):
        beat()
        children = [(0, 0), (0, 1), (1, 0), (1, 1)]
        pairs = np.concatenate([pairs * 2 + child for child in children])
        pairs = pairs[pairs[:, 0] <= pairs[:, 1]]
        a, b = pairs.T
        overlap = (lows[level][a] <= highs[level][b]) & (lows[level][b] <= highs[level][a])
        pairs = pairs[overlap.all(1)]
    pairs = pairs[pairs[:, 0] < pairs[:, 1]]
    return np.sort(order[pairs], axis=1)


def _morton(points: np.ndarray) -> np.ndarray:
    """Order along a space-filling curve, 10 bits per axis."""
    low = points.min(0)
    cells = ((points - low) / max(float(np.ptp(points, axis=0).max()), 1e-300) * 1023).astype(np.int64)
    code = np.zeros(len(points), dtype=np.int64)
    for bit in range(10):
        for axis in range(3):
            code |= ((cells[:, axis] >> bit) & 1) << (3 * bit + axis)
    return code
