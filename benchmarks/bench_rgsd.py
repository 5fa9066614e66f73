"""RGSD's cost per random view: UNet evaluations, counted by the code, and CPU time, against the literal Algorithm 1.

    python benchmarks/bench_rgsd.py [--channels 32] [--size 128] [--out benchmarks/results/rgsd.md]

The network is random and has Stable Diffusion 2's topology (16 self-attentions, 5 input channels) at a smaller width:
counts are those of the full network, times are its ratio on this machine.
"""

from __future__ import annotations

import argparse
import importlib
import time
from pathlib import Path

import torch
from bench_tools import load_pack, machine, table

load_pack()
rgnv = importlib.import_module("lift123.pipelines.methods.rgnv")
rgsd = importlib.import_module("lift123.pipelines.priors.rgsd")
literal = importlib.import_module("lift123.verification.literal")
depth_text = importlib.import_module("lift123.pipelines.networks.depth_text")
latent = importlib.import_module("lift123.pipelines.networks.latent")
noise = importlib.import_module("lift123.pipelines.networks.noise")
cameras = importlib.import_module("lift123.pipelines.core.cameras")
views = importlib.import_module("lift123.pipelines.core.views")

SETTINGS = rgnv.RgnvSettings(steps=20, rungs=12, guidance=7.5)
WIDTH = 32  # of the words


class Words:
    """Fixed contexts, different for the empty prompt."""

    def text_condition(self, texts, negative=False):
        """One context for each text, by its length."""
        draws = [torch.randn(77, WIDTH, generator=torch.Generator().manual_seed(len(t))) for t in texts]
        return {"context": torch.stack(draws)}


def network(channels: int, size: int):
    """A random depth-text network whose pictures have ``size`` pixels and whose latents an eighth of it."""
    from diffusers import AutoencoderKL, UNet2DConditionModel

    w, down = channels, ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",)
    unet = UNet2DConditionModel(
        in_channels=5, out_channels=4, block_out_channels=(w, 2 * w, 4 * w, 4 * w), attention_head_dim=(1, 2, 4, 4),
        norm_num_groups=8, cross_attention_dim=WIDTH, use_linear_projection=True, down_block_types=down,
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3)
    vae = AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=4, block_out_channels=(8, 8, 16, 16), norm_num_groups=8,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=1)
    parts = [m.eval().requires_grad_(False) for m in (unet, vae)]
    runtime = latent.LatentRuntime(*parts, noise.scaled_linear_alphas(), "epsilon", size)
    return depth_text.DepthTextDenoiser(runtime, Words())


def disc(cams):
    """A disc in the middle of every picture."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, cams.height), torch.linspace(-1, 1, cams.width), indexing="ij")
    alpha = ((x**2 + y**2) < 0.5).float().expand(len(cams), -1, -1)
    return views.RenderBuffers(torch.zeros(*alpha.shape, 3), alpha, 3 * alpha)


def counted(guide, run) -> tuple[int, int, float]:
    """(evaluations, calls, CPU seconds) of ``run``."""
    before, start = (guide.spent.pictures, guide.spent.calls), time.process_time()
    run()
    return guide.spent.pictures - before[0], guide.spent.calls - before[1], time.process_time() - start


def literal_visits(guide, picture, taus) -> list[tuple[int, int, float]]:
    """Algorithm 1 as printed, forward and backward, for each tau."""
    yardstick, (channel, _) = literal.LiteralRgsd(guide), guide.perceive(3 * disc(HOME).alpha, disc(HOME).alpha)

    def visit(tau):
        image = picture.clone().requires_grad_()
        torch.autograd.grad(yardstick.loss(guide.encode(image), channel, guide.contexts(HOME, 1), tau), image)

    return [counted(guide, lambda tau=tau: visit(tau)) for tau in taus]


def prior_visits(guide, picture, settings, steps: int) -> list[tuple[int, int, float]]:
    """Random-view steps of the prior, forward and backward; the fixed views' are left out."""
    prior, done = rgsd.RgsdPrior(guide, HOME, settings), []
    prior.on_surface(disc, True)
    guide.prepare()
    for step in range(steps):
        fresh = cameras.Cameras.orbit(0.3 * step, 0.2, 3.8, 0.35, HOME.height, HOME.width)
        chosen = prior.choose(step, fresh)

        def visit(step=step, chosen=chosen):
            image = picture.clone().requires_grad_()
            # tau over its whole range, each as often as the others
            torch.autograd.grad(prior.loss(image, chosen, 0.0, TAUS[step // 2 % len(TAUS)]()).sum(), image)

        found = counted(guide, visit)
        if not settings.fixed or step % 2:
            done.append(found)
    return done


def generator_for(tau: int, rungs: int):
    """A factory of generators whose first draw is ``tau``."""
    seed = next(s for s in range(10000)
                if int(torch.randint(1, rungs, (1,), generator=torch.Generator().manual_seed(s))) == tau)
    return lambda: torch.Generator().manual_seed(seed)


def main() -> None:
    """Prints the table and, with --out, writes it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--channels", type=int, default=32, help="width of the first block (published: 320)")
    parser.add_argument("--size", type=int, default=128, help="side of the pictures; latents are an eighth of it")
    parser.add_argument("--out", type=Path, help="a markdown file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    global HOME, TAUS
    HOME = cameras.Cameras.orbit(0.0, 0.1, 3.8, 0.35, options.size, options.size)
    TAUS = [generator_for(tau, SETTINGS.rungs) for tau in range(1, SETTINGS.rungs)]
    g = torch.Generator().manual_seed(0)
    pictures = torch.rand(2, options.size, options.size, 3, generator=g)
    net = network(options.channels, options.size)
    channel = torch.rand(1, 1, options.size // 8, options.size // 8, generator=g) * 2 - 1

    def guide():
        return rgnv.ReferenceGuide(net, pictures[0], channel, None, SETTINGS, "a parrot")

    paper = rgsd.RgsdSettings(reuse=1, reduction="sum", masked=False)
    kept = rgsd.RgsdSettings(reuse=4, reduction="sum", masked=False)
    count = 2 * len(TAUS)
    found = {
        "literal Algorithm 1": literal_visits(guide(), pictures[1:], range(1, SETTINGS.rungs)),
        "reference cached, no-op guidance dropped": prior_visits(guide(), pictures[1:], paper, count),
        "and every target used 4 times": prior_visits(guide(), pictures[1:], kept, 2 * 16),
    }
    base, rows = None, []
    for name, visits in found.items():
        evaluations, calls, seconds = (sum(v[i] for v in visits) / len(visits) for i in range(3))
        base = base or seconds
        rows.append([name, f"{evaluations:.1f}", f"{calls:.1f}", f"{1e3 * seconds:.0f}", f"{base / seconds:.1f} x"])
    once = guide()
    reference = counted(once, once.prepare)
    text = "# RGSD: cost of an iteration on a random view\n\n" + table(
        ["form", "UNet evaluations", "UNet calls", "ms per iteration", "speed-up"], rows)
    text += (f"\nMeans over tau = 1 .. {SETTINGS.rungs - 1} (T = {SETTINGS.steps}, l = {SETTINGS.rungs}); evaluations count "
             f"pictures, a guidance pair being two. Times include the autoencoder's forward and backward. Once per "
             f"reference: {reference[0]} evaluations, {1e3 * reference[2]:.0f} ms; once per fixed view: 36.\n\n"
             f"Random network with Stable Diffusion 2's topology, first block {options.channels} wide (published: 320), "
             f"latents {options.size // 8} x {options.size // 8}. {machine()}\n")
    print(text)
    if options.out:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
