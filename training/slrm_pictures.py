"""S-LRM's three stages from pictures alone, as the paper trains it (StdGEN Sec. 3.2, S-C.15): the driver of ``slrm_stages``.

Stage 1: NeRF, the complete character.  Stage 2: NeRF, one of the three peel levels.  Stage 3: surfaces of the three levels.
Each begins with the network that the one before it left, the first with random numbers or with a file; resumable.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import pack  # noqa: F401  (makes ``lift123`` importable)
import torch
from character_pictures import PictureBank
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.loaders.embedded import save_module
from lift123.pipelines.loaders.slrm_files import load_slrm, read_checkpoint, variant_of
from lift123.pipelines.networks.stdgen.slrm import Slrm
from lift123.pipelines.networks.stdgen.slrm_config import RELEASED, SMALL_SLRM, SlrmConfig
from lift123.pipelines.networks.stdgen.slrm_decoder import sample_planes
from lift123.pipelines.networks.stdgen.slrm_frames import six_camera_rows
from loop import train
from slrm_losses import Perceptual, SlrmWeights
from slrm_stages import (
    ISO_DENSITY,
    KEPT_SETS,
    RATE,
    SIZES,
    mesh_from_nerf,
    mesh_terms,
    nerf_terms,
    noisy_cameras,
    optimizer_for,
)
from slrm_start import start

SMALL_RATE = 7e-4  # of a network that begins with random numbers
SMALL_SIZES = (32, 32, 64)  # pixels of the stages' pictures, for a processor; the paper's are in ``slrm_stages.SIZES``
KINDS = {1: "nerf", 2: "nerf", 3: "mesh"}


@dataclass(frozen=True)
class StageSettings:
    """How a stage is trained.

    size:   pixels of the pictures that are compared.  views: of them per step, one character each step.
    steps:  optimizer steps.  minutes: ends earlier.  rate: None = the paper's for a file, SMALL_RATE otherwise.
    samples, importance: of a ray.  config: of a network that begins with random numbers.
    perceptual: measure of two pictures for the lpips term; None leaves it out.
    """

    size: int
    views: int = 2
    steps: int = 4000
    minutes: float | None = None
    rate: float | None = None
    samples: int = 64
    importance: int = 64
    config: SlrmConfig = SMALL_SLRM
    perceptual: Perceptual | None = None


def sizes(paper: bool) -> tuple[int, int, int]:
    """Of the three stages."""
    return SIZES if paper else SMALL_SIZES


def begin(stage: int, out: Path, file: Path | None, config: SlrmConfig, shown: torch.Tensor | None = None
          ) -> tuple[Slrm, bool]:
    """(network as a stage begins, whether it is fine-tuned): of the stage before, of a file, or random.

    shown: [6, S, S, 3] views of some character, in which stage 3 looks for a surface to begin with.
    """
    before = out / f"slrm_stage{stage - 1}.safetensors"
    if stage > 1 and before.is_file():
        earlier = _read(before, KINDS[stage - 1], config)
        if KINDS[stage] == KINDS[stage - 1]:
            return earlier, bool(earlier.config.lora_rank)
        network = Slrm(replace(earlier.config, kind="mesh"))
        _calm(network)
        mesh_from_nerf(network, earlier, ISO_DENSITY if shown is None else iso_density(earlier, shown))
        return network, bool(earlier.config.lora_rank)
    if file is not None:
        kind = variant_of(read_checkpoint(file))
        if kind != KINDS[stage]:
            raise InputError("S-LRM file", f"the {KINDS[stage]} variant, which stage {stage} trains", f"{kind} in {file.name}",
                             "Begin a mesh file with --stages slrm3, a NeRF file with --stages slrm1 slrm2 slrm3.")
        network = load_slrm(file, kind=kind, merge=False, config=RELEASED).network
        return network.requires_grad_(True), True
    if stage > 1:
        raise InputError(f"stage {stage}", f"what stage {stage - 1} leaves, or a file", "neither",
                         f"Train slrm{stage - 1} first, or name a file with --slrm.")
    network = Slrm(replace(config, kind="nerf", lora_rank=0))
    start(network)
    return network, False


def _read(path: Path, kind: str, config: SlrmConfig) -> Slrm:
    state = read_checkpoint(path)
    assert variant_of(state) == kind, f"{path} was written by this script"
    found = RELEASED if state["transformer.pos_embed"].shape[-1] == RELEASED.width else config
    return load_slrm(path, kind=kind, merge=False, config=found).network.requires_grad_(True)


@torch.no_grad()
def iso_density(nerf: Slrm, shown: torch.Tensor) -> float:
    """The raw density at which stage 3 begins: InstantMesh's 10, or, of a network that is nowhere so dense, what the densest
    3 % of the box have; a field that crosses its level nowhere could never learn a surface."""
    grid, planes = nerf.config.grid, nerf.triplane(shown)
    axes = [torch.linspace(low, high, 24) for low, high in zip(grid.low, grid.high, strict=True)]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(1, -1, 3)
    raw = nerf.decoder.net(sample_planes(planes, points))[..., 0]
    return min(ISO_DENSITY, float(raw.quantile(0.97)))


@torch.no_grad()
def _calm(network: Slrm) -> None:
    """No displacement and even weights at first: the surface that the density has."""
    for name in ("net_deformation", "net_weight"):
        last = getattr(network.decoder, name)[6]
        last.weight.zero_()
        last.bias.zero_()


def stage_loss(stage: int, network: Slrm, bank: PictureBank, settings: StageSettings, step: int) -> torch.Tensor:
    """The weighted loss of a step; characters, levels, views and noise follow from the stage and the step alone."""
    rng = np.random.Generator(np.random.PCG64([31, stage, step]))
    generator = torch.Generator().manual_seed(step)
    pick, level = int(rng.integers(bank.count)), 0 if stage == 1 else int(rng.integers(len(KEPT_SETS)))
    views = rng.choice(bank.views(pick), min(settings.views, bank.views(pick)), replace=False).tolist()
    cameras, truth = bank.truth(pick, level, views, settings.size)
    rows = noisy_cameras(six_camera_rows()[None], generator)
    planes = network(network.prepare(bank.shown(pick)[None]), rows)
    if KINDS[stage] == "nerf":
        terms = nerf_terms(network, planes, cameras, truth, KEPT_SETS[level], settings.samples, settings.importance, generator,
                           settings.perceptual)
    else:
        terms = mesh_terms(network, planes, cameras, truth, KEPT_SETS[level], settings.perceptual)
    return SlrmWeights().total(terms)


def train_stage(stage: int, bank: PictureBank, out: Path, settings: StageSettings, file: Path | None = None,
                log: Callable = print) -> Path:
    """Trains stage 1, 2 or 3 and writes slrm_stage<n>.safetensors; run again, it goes on where it stopped."""
    network, tuned = begin(stage, out, file, settings.config, bank.shown(0))
    optimizer = optimizer_for(network) if tuned else None
    rate = settings.rate or (RATE if tuned else SMALL_RATE)
    done = train(network, lambda step: stage_loss(stage, network, bank, settings, step), settings.steps,
                 out / f"slrm_stage{stage}", rate=rate, decay=0.998, minutes=settings.minutes, log=log, optimizer=optimizer)
    path = out / f"slrm_stage{stage}.safetensors"
    save_module(cast(Slrm, done), path)
    return path
