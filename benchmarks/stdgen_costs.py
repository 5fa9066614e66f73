"""What a character of each StdGEN preset costs, counted on shapes; a table of ``preset_costs.py``.

One guided evaluation of the canonicalizer sees 2 pictures (its reference network as many), one of the multi-view network 24
(six views of color and normals, twice, and guidance); both are as many operations as their published sizes take.  S-LRM's
encoder and transformer run once; its decoders on the grid, and the autoencoders' few pictures, are left out.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from bench_tools import load_pack

load_pack()

import bench_stdgen_networks as diffusion
from lift123.pipelines import stdgen
from lift123.pipelines.loaders.stdgen_files import on_meta
from lift123.pipelines.networks.stdgen.slrm import VIEWS, Slrm
from lift123.pipelines.networks.stdgen.slrm_config import RELEASED

HEAD = ["preset", "canonicalizer, evaluations", "TFLOP", "multi-view, evaluations", "TFLOP", "S-LRM, TFLOP",
        "refinement, steps", "renders, megapixels", "networks together, PFLOP"]
LAYERS = 3  # body, clothing, hair: the body's fit and twice the outer one, each followed by the fit of detail
PUBLISHED = ("stdgen paper", "stdgen printed")  # the others use embedded networks


@lru_cache
def evaluation(name: str) -> float:
    """TFLOP of one guided evaluation of "canonical" or "multiview"."""
    return diffusion.count_operations(name)


@lru_cache
def reconstruction() -> float:
    """TFLOP of S-LRM from six pictures to triplanes."""
    from torch.utils.flop_counter import FlopCounterMode

    network, size = on_meta(lambda: Slrm(RELEASED)).requires_grad_(False), RELEASED.encoder.image_size
    pictures, cameras = (torch.empty(1, VIEWS, *shape, device="meta") for shape in ((3, size, size), (16,)))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(pictures, cameras)
    return counter.get_total_flops() / 1e12


def refinement_steps(preset: stdgen.Preset) -> int:
    """Steps of all fits of a character in three layers."""
    refine = preset.refine
    return refine.body.steps + (LAYERS - 1) * refine.outer.steps + LAYERS * refine.detail.steps


def row_of(preset: stdgen.Preset) -> list:
    """Table row of one preset."""
    first, second = preset.canonical.steps, preset.views.steps
    steps = refinement_steps(preset)
    pixels = steps * VIEWS * preset.refine.size**2 / 1e6
    costs = (first * evaluation("canonical"), second * evaluation("multiview"), reconstruction())
    return [preset.name, first, f"{costs[0]:.0f}", second, f"{costs[1]:.0f}", f"{costs[2]:.2f}", steps, f"{pixels:.0f}",
            f"{sum(costs) / 1e3:.3g}"]


def rows() -> list[list]:
    """Table rows of the presets with published networks."""
    return [row_of(stdgen.PRESETS[name]) for name in PUBLISHED]
