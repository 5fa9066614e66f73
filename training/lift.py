"""The view prior's lifted volume: how it is trained on the bank, and how its pictures compare with held-out views."""

import math
from pathlib import Path

import numpy as np
import torch
from bank import Bank
from lift123.pipelines.core.cameras import HOME
from lift123.pipelines.loaders import embedded
from lift123.pipelines.networks.lifted import COLUMNS, DENSITY, FRAME, SLICES, WHITE, Lifted, LiftNet, relative, render
from lift123.pipelines.toybox.render import reference_camera
from lift_rows import sum_rows
from loop import train

F = torch.nn.functional
TAN = math.tan(HOME.fovy / 2)
SAMPLES = 20  # per ray in training; each lies anywhere in its interval
SURFACE, SOLID = 0.1, 0.3  # weights: of the reference view's own outline and depth, of the hull


def train_lift(bank: Bank, out: Path, weights: Path, steps: int, minutes=None, start=None, batch=8, drawn=3, views=3, rate=2e-3):
    """Root mean square error of novel views, every eighth pixel of each, and what is known of the geometry.

    The root counts a picture that is nearly right as much as one that is far off, as PSNR does.  Known is the reference's
    own outline and depth (:func:`surface_loss`) and that nothing lies outside of the outlines of all views
    (:func:`hull_loss`), which teaches far faster than colors do; so only ``drawn`` objects of a batch are drawn.
    """
    net = LiftNet()
    if start is not None:
        net = embedded.load_module(net, start / "view_lift.safetensors").requires_grad_(True).train()
    net = net.to(bank.device).to(memory_format=torch.channels_last)
    rng = np.random.Generator(np.random.PCG64(17))
    home = reference_camera(64).to(bank.device)
    tan = torch.full((drawn * views,), TAN, device=bank.device)

    def loss_of_batch(step):
        nonlocal bank
        if step % 200 == 0:
            bank = Bank(*bank.folders, device=bank.device)  # it may have grown
        picks = bank.draw(rng, batch)
        seen = rng.permuted(np.tile(np.arange(1, bank.views), (drawn, 1)), axis=1)[:, :views]
        lifted = net(bank.pictures(picks, np.zeros_like(picks)))
        many = Lifted(lifted.table, lifted.columns[:drawn], lifted.plane[:drawn]).repeat(views)
        objects, which = np.repeat(picks[:drawn], views), seen.ravel()
        origins, directions = relative(bank.cameras(objects, which), home)
        corner = rng.integers(0, [[2], [4]], (2, len(objects)))
        every = torch.stack([torch.stack([o[i::2, j::4] for o, i, j in zip(x, *corner)]).flatten(1, 2)
                             for x in (origins, directions, bank.pictures(objects, which))])
        jitter = torch.from_numpy(rng.random((*every.shape[1:3], SAMPLES), dtype=np.float32)).to(bank.device)
        shown = render(many, every[0], every[1], tan, SAMPLES, jitter, sum_rows)[..., :3]
        error = (shown - every[2]).square().mean((1, 2))
        return (error + 1e-4).sqrt().mean() + SURFACE * surface_loss(lifted, bank, picks) + SOLID * hull_loss(lifted, bank, picks)

    trained = train(net, loss_of_batch, steps, out, rate=rate, decay=0.998, minutes=minutes)
    embedded.save_module(trained, weights / "view_lift.safetensors")


def surface_loss(lifted, bank: Bank, picks) -> torch.Tensor:
    """Outline and depth that the reference itself shows, by columns: squared and absolute error, frames."""
    mask = torch.from_numpy(np.array(bank.mask[picks])).to(bank.device).float()[:, None] / 255
    depth = torch.from_numpy(np.array(bank.depth[picks])).to(bank.device).float()[:, None]
    solid = F.avg_pool2d(mask, 2)[:, 0]
    place = F.avg_pool2d(mask * (depth - HOME.radius) / FRAME, 2)[:, 0] / solid.clamp_min(1e-3)
    columns = lifted.columns > 0
    own = F.avg_pool2d(lifted.plane[..., 3][:, None], 2)[:, 0][columns]
    optical = DENSITY * F.softplus(lifted.table[1:, 0].view(-1, SLICES) + own[:, None]) * (2 / SLICES)
    before = torch.exp(optical - optical.cumsum(1))
    weight = before * (1 - torch.exp(-optical))
    w = (torch.arange(SLICES, device=weight.device) + 0.5) / SLICES * 2 - 1
    alpha = weight.sum(1)
    reached = (weight * w).sum(1) / alpha.clamp_min(1e-3)
    solid, place = solid[columns], place[columns]
    return (alpha - solid).square().mean() + (solid * (reached - place).abs()).mean()


def hull_loss(lifted: Lifted, bank: Bank, picks) -> torch.Tensor:
    """Cross-entropy between a voxel's opacity and whether it lies in the hull of all views, over voxels of the table."""
    columns = lifted.columns > 0
    own = F.avg_pool2d(lifted.plane[..., 3][:, None], 2)[:, 0][columns]
    optical = DENSITY * F.softplus(lifted.table[1:, 0].view(-1, SLICES) + own[:, None]) * (2 / SLICES)
    inside = torch.cat([hull(bank, pick, where) for pick, where in zip(picks, columns)])
    return torch.where(inside, -torch.log(-torch.expm1(-optical.clamp_min(1e-4))), optical).mean()


def voxel_centers() -> torch.Tensor:
    """[32, 32, 32, 3] centers of the voxels behind a reference picture from HOME, scene units; row, column, slice."""
    line = (torch.arange(COLUMNS) + 0.5) / COLUMNS * 2 - 1
    v, u, w = torch.meshgrid(-line, line, (torch.arange(SLICES) + 0.5) / SLICES * 2 - 1, indexing="ij")
    wider = 1 + w * TAN
    return FRAME * torch.stack([u * wider, v * wider, -w], -1)


CENTERS = voxel_centers()


@torch.no_grad()
def hull(bank: Bank, pick: int, columns: torch.Tensor) -> torch.Tensor:
    """[N, 32] bool: whether the voxels of the columns [32, 32] that are marked project into the outline of every view."""
    outlines = torch.from_numpy((bank.rgb[pick].min(-1) < WHITE * 255)).to(bank.device)  # [V, 64, 64]
    cameras = bank.cameras(np.full(bank.views, pick), np.arange(bank.views))
    points = F.pad(CENTERS.to(bank.device)[columns], (0, 1), value=1.0)  # [N, 32, 4]
    clip = torch.einsum("vij,nkj->vnki", cameras.world_to_clip()[:, [0, 1, 3]], points)
    place = ((clip[..., :2] / clip[..., 2:] * clip.new_tensor([1, -1]) + 1) * 32).long().clamp(0, 63)
    view = torch.arange(bank.views, device=bank.device)[:, None, None]
    return outlines[view, place[..., 1], place[..., 0]].all(0)


@torch.no_grad()
def lift_scores(net: LiftNet, bank: Bank, samples: int = 40, views=(1, 2)) -> tuple[torch.Tensor, torch.Tensor]:
    """PSNR [N, len(views)] in dB of novel views of a bank's objects, and the pictures [N, len(views), 64, 64, 3]."""
    home, rows = reference_camera(64), []
    for i in range(bank.count):
        lifted = net(bank.pictures([i], [0])).repeat(len(views))
        origins, directions = (x.flatten(1, 2) for x in relative(bank.cameras([i] * len(views), list(views)), home))
        shown = render(lifted, origins, directions, torch.full((len(views),), TAN), samples)[..., :3]
        rows.append(shown.reshape(len(views), 64, 64, 3).clamp(0, 1))
    pictures = torch.stack(rows)
    truth = torch.stack([bank.pictures([i] * len(views), list(views)) for i in range(bank.count)])
    return -10 * torch.log10((pictures - truth).square().flatten(2).mean(2).clamp_min(1e-10)), pictures
