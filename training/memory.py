"""Writes what the view prior remembers: codes of the training objects' reference pictures, with their seeds."""

from pathlib import Path

import numpy as np
import pack  # noqa: F401
import torch
from bank import Bank
from lift123.pipelines.loaders import embedded
from lift123.pipelines.toybox.memory import compared
from lift123.pipelines.toybox.objects import train_seed

WIDTH = 160  # principal components kept
# Distances (``toybox.memory.compared``) at which trust is 1 and 0.  Nine in ten toys that were not trained on are nearer
# than 12, photographs of other things mostly farther than 15.
NEAR, FAR = 8.0, 18.0


def remember(bank: Bank, weights: Path) -> None:
    """The stage of ``train-embedded``: every object of the bank is remembered."""
    pictures = [np.load(folder / "rgb.npy", mmap_mode="r")[:n, 0] for folder, n in zip(bank.folders, bank.counts)]
    write_memory(pictures, bank.versions, weights)


@torch.no_grad()
def write_memory(pictures: list, versions: list[int], weights: Path) -> None:
    """pictures: per version of the toybox its first objects' reference pictures [N, 64, 64, 3] uint8, by seed."""
    from safetensors.torch import save_file

    rows = torch.cat([describe(part) for part in pictures])
    mean = rows.mean(0)
    centered = rows - mean
    basis = torch.linalg.eigh(centered.T @ centered / len(rows)).eigenvectors.flip(1)[:, :WIDTH].half().float()
    codes = (centered @ basis).half()
    seeds = torch.tensor([train_seed(i) for part in pictures for i in range(len(part))], dtype=torch.int32)
    owners = torch.tensor([v for part, v in zip(pictures, versions) for _ in range(len(part))], dtype=torch.uint8)
    state = {"mean": mean.half(), "basis": basis.half().contiguous(), "codes": codes, "seeds": seeds, "versions": owners,
             "range": torch.tensor([NEAR, FAR])}
    save_file(state, str(weights / embedded.MEMORY))


def describe(pictures) -> torch.Tensor:
    """[N, 64, 64, 3] uint8 -> [N, 1024], see ``toybox.memory.compared``."""
    chunks = [pictures[i : i + 500] for i in range(0, len(pictures), 500)]
    return torch.cat([compared(torch.from_numpy(np.array(chunk)).float() / 255) for chunk in chunks])
