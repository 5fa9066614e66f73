"""Trains the embedded S-LRM from nothing, by what is where at points of toy characters.  Resumable: run it again.

    python training/stdgen_slrm.py points --work WORKDIR [--characters 2400]
    python training/stdgen_slrm.py drawn  --work WORKDIR --bank CHARACTERS [--weights FOLDER]
    python training/stdgen_slrm.py train  --work WORKDIR [--steps 8000] [--threads 1] [--anew --rate 4e-4]
    python training/stdgen_slrm.py export --work WORKDIR [--weights FOLDER]

"points" draws and samples the characters (``character_points.py``), "drawn" adds the six views that the small canonicalizer
and multi-view network make of the same characters (``character_bank.py`` has their posed pictures), "train" learns from as
many as there are by then, from true and drawn views in turn, and "export" writes the moving average of the last checkpoint
as ``stdgen_slrm.safetensors``, also while training goes on.

The three stages of the paper, which need pictures only, are in ``slrm_stages.py``.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from character_bank import CharacterBank
from character_points import PARTS, PointBank, bytes_of, make_points, mirrored
from lift123.pipelines.loaders import embedded_characters as small
from lift123.pipelines.loaders.embedded import save_module
from lift123.pipelines.networks.stdgen.slrm import Slrm
from lift123.pipelines.networks.stdgen.slrm_config import SMALL_SLRM
from lift123.pipelines.networks.stdgen.slrm_decoder import sample_planes
from lift123.pipelines.networks.stdgen.slrm_frames import scene_to_slrm
from lift123.pipelines.stages.characters.canonicalize import CanonicalSettings, canonicalize
from lift123.pipelines.stages.characters.multiview import MultiViewSettings, draw_views
from lift123.pipelines.stages.characters.picture import CharacterPicture
from lift123.pipelines.toybox.characters import train_character
from loop import train
from pack import ROOT
from slrm_losses import point_terms
from slrm_start import start
from stdgen_networks import recolor

BATCH, POINTS = 2, 3072
DRAWN = 0.5  # share of batches whose views the small networks drew, where there are such
WEIGHTS = {"sdf": 1.0, "sem": 1.0, "rgb": 2.0}
NAME = "stdgen_slrm"
F = torch.nn.functional


def point_loss(network: Slrm, views: torch.Tensor, found: dict) -> dict:
    """Terms of one batch: views [B, 6, H, W, 3] and what is at points (``PointBank.points``, with "colored")."""
    planes = network(network.prepare(views))
    features = sample_planes(planes, scene_to_slrm(found["points"]))
    decoder = network.decoder
    return point_terms(decoder.sdf(features), decoder.semantic_net(features), decoder.colors(features), found)


def batch_of(bank: PointBank, rng: np.random.Generator, generator: torch.Generator, batch=BATCH, points=POINTS):
    """(views, what is at points) of random characters, half of them mirrored, pictures a little spoilt."""
    picks = rng.integers(0, bank.count, batch)
    drawn = bank.drawn is not None and rng.uniform() < DRAWN
    columns = np.stack([rng.choice(sum(PARTS), points, replace=False) for _ in picks])
    views, found = bank.views(picks, drawn), bank.points(picks, columns)
    for views_of, colors_of in zip(views, found["color"], strict=True):
        views_of[:], colors_of[:] = recolor([views_of.clone(), colors_of.clone()], rng)
    found["colored"] = torch.from_numpy(columns < PARTS[0])
    if rng.uniform() < 0.5:
        views, found = mirrored(views, found)
    return spoilt(views, rng, generator), found


def draw_bank(points: PointBank, characters: CharacterBank, weights: Path, log=print) -> None:
    """Writes the views that the small networks draw: of every other character from the true A-pose, else from a posed picture.

    The same characters must be in both banks.
    """
    draw, stand = small.load_small_multiview(folder=weights), small.load_small_canonical(folder=weights)
    count, drawn = min(points.count, characters.count), []
    for i in range(count):
        front = points.views([i])[0, 0]
        if i % 2:
            rgba = characters.get("input", i, 0)
            front = canonicalize(stand, CharacterPicture(rgba[..., :3], rgba[..., 3]), CanonicalSettings(preview_every=0)).picture
        drawn.append(bytes_of(draw_views(draw, front, MultiViewSettings(levels=(0,), seed=i, preview_every=0)).color[0]))
        if (i + 1) % 50 == 0:
            log(f"drawn {i + 1}/{count}", flush=True)
    np.save(points.folder / "drawn.npy", np.stack(drawn))


def spoilt(views: torch.Tensor, rng: np.random.Generator, generator: torch.Generator) -> torch.Tensor:
    """What generated views do to pictures: half of the batches blurred, shifted by up to a pixel, slightly noisy."""
    if rng.uniform() < 0.5:
        return views
    b, n, h, w, _ = views.shape
    flat = views.flatten(0, 1).permute(0, 3, 1, 2)
    small = int(rng.integers(32, h + 1))
    flat = F.interpolate(F.interpolate(flat, (small, small), mode="area"), (h, w), mode="bicubic").clamp(0, 1)
    shift = [int(s) for s in rng.integers(-1, 2, 2)]
    flat = torch.roll(flat, shift, (2, 3))
    flat = (flat + 0.02 * float(rng.uniform()) * torch.randn(flat.shape, generator=generator)).clamp(0, 1)
    return flat.permute(0, 2, 3, 1).reshape(b, n, h, w, 3)


def train_slrm(bank: PointBank, out: Path, steps: int, batch=BATCH, rate=7e-4, **loop):
    """The moving average of an embedded S-LRM after ``steps`` in all (or so many minutes)."""
    network = Slrm(SMALL_SLRM)
    start(network)
    seed = sum(ord(c) for c in NAME)

    def loss_of_batch(step):
        rng = np.random.Generator(np.random.PCG64([seed, step]))
        generator = torch.Generator().manual_seed(step)
        terms = point_loss(network, *batch_of(bank, rng, generator, batch))
        if (step + 1) % 50 == 0:
            print(step + 1, {k: round(float(v.detach()), 4) for k, v in terms.items()}, flush=True)
        return sum(WEIGHTS[k] * v for k, v in terms.items())

    return train(network, loss_of_batch, steps, out, rate=rate, decay=0.998, warmup=100, **loop)


def export(checkpoint: Path, weights: Path) -> Path:
    """Writes the moving average of a checkpoint in half precision."""
    network = Slrm(SMALL_SLRM)
    network.load_state_dict(torch.load(checkpoint, weights_only=True, map_location="cpu")["ema"])
    weights.mkdir(parents=True, exist_ok=True)
    save_module(network, weights / f"{NAME}.safetensors")
    return weights / f"{NAME}.safetensors"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("points", "drawn", "train", "export"))
    parser.add_argument(
        "--work", type=Path, default=ROOT / ".lift123" / "train" / NAME, help="points, checkpoint, logs"
    )
    parser.add_argument(
        "--weights", type=Path, default=ROOT / "pipelines" / "embedded", help="where weights are written"
    )
    parser.add_argument("--characters", type=int, default=2400)
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--minutes", type=float, help="stop after this much training time")
    parser.add_argument("--rate", type=float, default=7e-4, help="the learning rate's peak")
    parser.add_argument("--anew", action="store_true", help="begins a second round from the last checkpoint")
    parser.add_argument("--bank", type=Path, help="the folder of character_bank.py, for \"drawn\"")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(7)  # network initialization only; batches use generators of their own
    if args.stage == "points":
        make_points(args.work / "points", train_character, args.characters)
    elif args.stage == "drawn":
        draw_bank(PointBank(args.work / "points"), CharacterBank(args.bank), args.weights)
    elif args.stage == "train":
        bank, loop = PointBank(args.work / "points"), {"minutes": args.minutes, "anew": args.anew}
        train_slrm(bank, args.work, args.steps, rate=args.rate, **loop)
        print(export(args.work / "checkpoint.pt", args.work))
    else:
        print(export(args.work / "checkpoint.pt", args.weights))


if __name__ == "__main__":
    main()
