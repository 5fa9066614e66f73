"""One distillation in pixels against one in latent space: CPU time in one run, and operations of published networks.

    python benchmarks/bench_sds.py [--repeats 20] [--out benchmarks/results/sds.md]

In latent space the autoencoder's encoder runs forwards and backwards; in pixels encoder and decoder run forwards.  What is
saved therefore depends on how heavy the decoder is; the UNet's evaluations are the same.
"""

from __future__ import annotations

import argparse
import importlib
from dataclasses import replace
from pathlib import Path

import torch
from bench_tools import load_pack, machine, table, timed

load_pack()
costs = importlib.import_module("preset_costs")
embedded = importlib.import_module("lift123.pipelines.loaders.embedded")
sds = importlib.import_module("lift123.pipelines.priors.sds")
cameras = importlib.import_module("lift123.pipelines.core.cameras")

SPACES = ("latent", "pixels")
HOME = cameras.HOME.turntable(1, 0.0, 64)


def networks() -> dict:
    """The embedded denoisers, told something."""
    models, picture = embedded.load_embedded(), torch.full((64, 64, 3), 0.5)
    return {"embedded view": models.view.with_reference(picture, HOME), "embedded text": models.text.with_prompt("a mug")}


def step_time(denoiser, space: str, size: int, repeats: int) -> float:
    """Milliseconds of loss and gradient at one picture of ``size`` pixels."""
    prior = sds.SdsPrior(denoiser, replace(sds.SdsSettings(), space=space))
    picture = torch.rand(1, size, size, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()

    def step():
        loss = prior.loss(picture, HOME, 0.5, torch.Generator().manual_seed(0)).sum()
        torch.autograd.grad(loss, picture)

    return timed(step, repeats)


def times(repeats: int) -> list[list]:
    """Rows: network, milliseconds in each space, their ratio."""
    rows = []
    for name, denoiser in networks().items():
        latent, pixels = (step_time(denoiser, space, 64, repeats) for space in SPACES)
        rows.append([name, f"{latent:.0f}", f"{pixels:.0f}", f"{pixels / latent:.2f}"])
    return rows


def operations() -> list[list]:
    """Rows: network, GFLOP of a guided UNet evaluation, of the autoencoder in each space, ratio of the sums."""
    rows = []
    for name in costs.NETWORKS:
        cost = costs.network_cost(name)
        unet, latent, pixels = 2 * cost["unet"] / 1e9, cost["encode"] / 1e9, cost["pixels"] / 1e9
        rows.append([name, f"{unet:.4g}", f"{latent:.4g}", f"{pixels:.4g}", f"{(unet + pixels) / (unet + latent):.2f}"])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent / "results" / "sds.md")
    args = parser.parse_args()
    torch.set_num_threads(1)
    lines = ["# Distillation in pixels and in latent space\n", __doc__.split("\n\n", 2)[2] + "\n",
             f"A step at one picture of 64 pixels, its gradient included. {machine()}\n",
             table(["network", "latent, ms", "pixels, ms", "ratio"], times(args.repeats)),
             "Operations, counted on networks of the published size without evaluating them; guidance is two evaluations:\n",
             table(["network", "UNet, GFLOP", "autoencoder, latent", "autoencoder, pixels", "ratio of a step"], operations())]
    args.out.write_text("\n".join(lines), encoding="utf-8")
    print(args.out.read_text(encoding="utf-8"))  # a script's output


if __name__ == "__main__":
    main()
