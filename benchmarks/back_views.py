"""How rough unseen sides look: total variation of the luminance inside the outline, of the result against the truth's.

Grain that a network leaves on the sides which it makes up raises it; a blur lowers it.  It is read from the six views of
128 pixels that every run keeps (``bench_runs.write_sheet``); 120, 180 and 240 degrees from the picture are its back.
"""

from __future__ import annotations

import math

import numpy as np
from bench_runs import SHEET_SIZE, read_sheet, record_path, sheet_path, truth_sheet
from bench_tools import table

BACK = (2, 3, 4)  # of the six views
LUMINANCE = (0.2126, 0.7152, 0.0722)  # ITU-R BT.709
RIM, FEWEST = 2, 100


def variation(rgb: np.ndarray) -> float:
    """Mean absolute difference of neighbors' luminance, two pixels and more inside of what is not white.

    rgb: [H, W, 3] in 0..1 on white.  NaN where fewer than 100 pairs lie inside (a pole, a pair of glasses).
    """
    inside = (np.abs(rgb - 1) > 0.02).any(-1)
    for _ in range(RIM):
        padded = np.pad(inside, 1)
        inside = inside & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    light = rgb @ np.array(LUMINANCE)
    down, across = inside[1:] & inside[:-1], inside[:, 1:] & inside[:, :-1]
    if down.sum() + across.sum() < FEWEST:
        return math.nan
    total = np.abs(np.diff(light, axis=0))[down].sum() + np.abs(np.diff(light, axis=1))[across].sum()
    return float(total / (down.sum() + across.sum()))


def of_sheet(sheet: np.ndarray) -> float:
    """[128, 768, 3] sheet of six views -> mean over those of the back that show enough."""
    found = [variation(sheet[:, SHEET_SIZE * k : SHEET_SIZE * (k + 1)]) for k in BACK]
    known = [v for v in found if not math.isnan(v)]
    return sum(known) / len(known) if known else math.nan


def section(found: dict, names: list[str], folder) -> str:
    """The page's table: one row per variant over its records."""
    rows, truths = [], {}
    for name in names:
        pairs = []
        for index, seed in sorted(found[name]):
            if index not in truths:
                truths[index] = of_sheet(truth_sheet(index).numpy())
            mine = of_sheet(read_sheet(sheet_path(record_path(folder, name, index, seed))))
            if not math.isnan(mine + truths[index]):
                pairs.append((mine, truths[index]))
        if pairs:
            ratios = sorted(a / b for a, b in pairs)
            rows.append([name, len(pairs), f"{sum(a for a, _ in pairs) / sum(b for _, b in pairs):.2f}",
                         f"{ratios[len(ratios) // 2]:.2f}", f"{sum(ratios) / len(ratios):.2f}",
                         sum(r > 1.3 for r in ratios)])
    head = ["variant", "runs", "mean over mean of the truth", "median of ratios", "mean of ratios", "runs above 1.3"]
    return "\n## Back views: how rough they are\n\n" + " ".join(__doc__.split()) + "\n\n" + table(head, rows)
