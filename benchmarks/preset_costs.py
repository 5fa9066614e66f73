"""What one iteration of each preset costs, counted and not timed: network evaluations, FLOPs, bytes.

    python benchmarks/preset_costs.py [--out FOLDER]

Networks are built at their published sizes on torch's "meta" device, which knows shapes and holds no numbers, and one
evaluation is counted by torch's FLOP counter (a multiplication with its addition is two).  A novel-view iteration asks
each prior for one guided prediction, which is two evaluations of its UNet (one batched call; a single one at guidance 1), and for
one pass of its autoencoder's encoder forwards and, for the gradient at the picture, backwards.  Nothing is evaluated
that the phase throws away: the 2D prior before the CLIP boundary, a prior of weight 0, the reference's CLIP embedding
and latent and the prompt's tokens after the first time (``tests/papers/test_preset_costs.py`` counts the calls of real runs).
RGSD makes targets by inversion and guided denoising, each for as many visits as the preset says, and the reference's
and the fixed views' once.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import stdgen_costs
import torch
from bench_tools import load_pack, table

load_pack()

from lift123.pipelines import consistent123, hifi123, magic123
from lift123.pipelines.loaders import embedded
from lift123.pipelines.stages.loop.step_config import StepConfig

VAE = {
    "in_channels": 3, "out_channels": 3, "latent_channels": 4, "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2, "down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4,
}
UNET = {
    "out_channels": 4, "layers_per_block": 2, "block_out_channels": (320, 640, 1280, 1280),
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
}


@dataclass(frozen=True)
class NetworkSize:
    """A published (or embedded) denoiser: UNet and autoencoder settings, latent side, tokens of its condition."""

    name: str
    unet: dict
    vae: dict
    latent: int
    image: int
    tokens: int
    half: bool = True


_SD15 = {**UNET, "in_channels": 4, "cross_attention_dim": 768, "attention_head_dim": 8}
_SD21 = {**_SD15, "cross_attention_dim": 1024, "attention_head_dim": (5, 10, 20, 20), "use_linear_projection": True}
_SMALL_TEXT = {**embedded.UNET_CONFIG, "in_channels": 4}
_SMALL_VIEW = {**embedded.UNET_CONFIG, "in_channels": 8, **embedded.POSE_LABELS}
NETWORKS = {
    size.name: size
    for size in (
        NetworkSize("SD 1.5", _SD15, VAE, 64, 512, 77),
        NetworkSize("SD 2.1-base", _SD21, VAE, 64, 512, 77),
        NetworkSize("SD 2 depth", {**_SD21, "in_channels": 5}, VAE, 64, 512, 77),
        NetworkSize("Zero123", {**_SD15, "in_channels": 8}, VAE, 32, 256, 1),
        NetworkSize("embedded text", _SMALL_TEXT, embedded.VAE_CONFIG, 16, 64, 16, half=False),
        NetworkSize("embedded depth-text", {**_SMALL_TEXT, "in_channels": 5}, embedded.VAE_CONFIG, 16, 64, 16, half=False),
        NetworkSize("embedded view", _SMALL_VIEW, embedded.VAE_CONFIG, 16, 64, 65, half=False),
    )
}


@lru_cache
def network_cost(name: str) -> dict:
    """FLOPs of one UNet evaluation, of the encoder with its gradient at the picture ("encode"), and of encoder and decoder
    without any ("pixels"); bytes of the weights.
    """
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from torch.utils.flop_counter import FlopCounterMode

    size = NETWORKS[name]
    with torch.device("meta"):
        unet, vae = UNet2DConditionModel(**size.unet), AutoencoderKL(**size.vae)
        unet.requires_grad_(False), vae.requires_grad_(False)
        latent = torch.empty(1, size.unet["in_channels"], size.latent, size.latent)
        context = torch.empty(1, size.tokens, size.unet["cross_attention_dim"])
        labels = torch.empty(1, size.unet["projection_class_embeddings_input_dim"]) if "class_embed_type" in size.unet else None
        picture = torch.empty(1, 3, size.image, size.image, requires_grad=True)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            unet(latent, torch.zeros(1), context, class_labels=labels)
        evaluation = counter.get_total_flops()
        with FlopCounterMode(display=False) as counter:
            vae.encode(picture).latent_dist.mode().sum().backward()
        with FlopCounterMode(display=False) as both, torch.no_grad():
            vae.decode(vae.encode(picture).latent_dist.mode())
    encoder = sum(p.numel() for n, p in vae.named_parameters() if n.startswith(("encoder", "quant")))
    return {
        "unet": evaluation, "encode": counter.get_total_flops(), "pixels": both.get_total_flops(),
        "bytes": sum(p.numel() for p in unet.parameters()) * (2 if size.half else 4) + encoder * 4,
    }


def reference_share(config: StepConfig, has_view: bool = True) -> tuple[float, float]:
    """Shares of a stage's iterations that show the reference view and novel views, by the stage's own rule."""
    shown = [config.shows(step, True, has_view) for step in range(config.iterations)]
    return tuple(sum(s[i] for s in shown) / config.iterations for i in (0, 1))


def evaluations(guidance: float | None) -> int:
    """UNet evaluations of one guided prediction."""
    return 1 if guidance in (0.0, 1.0) else 2


def field_cost(field_config) -> tuple[int, int]:
    """(FLOPs of the MLP, bytes read from the hash table) of one sample, forwards only."""
    grid, hidden = field_config.grid, field_config.hidden
    width = grid.levels * grid.features
    flops = 2 * (width * hidden + (field_config.layers - 1) * hidden * hidden + hidden * 4)
    return flops, grid.levels * 8 * grid.features * 4


_SMALL = ("embedded text", "embedded view")
_CONSISTENT, _MAGIC = ("SD 2.1-base", "Zero123"), ("SD 1.5", "Zero123")
PRIORS = {  # preset -> (2D network, 3D network)
    "quickstart": _SMALL, "standard": _CONSISTENT, "paper": _CONSISTENT, "printed": _CONSISTENT,
    "magic123 quickstart": _SMALL,
    "magic123 standard": _MAGIC, "magic123 paper": _MAGIC, "magic123 printed": _MAGIC,
    "hifi123 quickstart": _SMALL, "hifi123 standard": _CONSISTENT, "hifi123 paper": _CONSISTENT,  # in place of DeepFloyd IF
}
GUIDES = {"hifi123 quickstart": "embedded depth-text", "hifi123 standard": "SD 2 depth", "hifi123 paper": "SD 2 depth"}


def phases(preset) -> list[tuple[str, StepConfig, int, list[tuple[str, float]]]]:
    """(name, configuration, iterations, asked) of the phases of a preset.

    asked: (network, UNet evaluations per novel view) of each prior.  The CLIP boundary is taken in the middle of its window.
    """
    text, view = ((n, evaluations(g)) for n, g in zip(PRIORS[preset.name], (preset.text_guidance, preset.view_guidance)))
    nerf, mesh = preset.nerf, preset.mesh
    both, last = [text, view], [("mesh, both", mesh, mesh.iterations, [text, view])]
    if isinstance(preset, hifi123.Preset):
        last = [("mesh, RGSD", mesh, mesh.iterations, [(GUIDES[preset.name], rgsd_evaluations(preset))])]
    if isinstance(preset, consistent123.Preset):
        switch = round((preset.boundary.floor + preset.boundary.ceiling) / 2 * nerf.iterations)
        return [("NeRF, 3D prior", nerf, switch, [view]), ("NeRF, both", nerf, nerf.iterations - switch, both), *last]
    return [("NeRF, both", nerf, nerf.iterations, both), *last]


def rgsd_evaluations(preset: hifi123.Preset) -> float:
    """UNet evaluations of RGSD per novel view, the reference's and the fixed views' share included.

    Every other view is a fixed one, where there are any.  A random view's target serves ``reuse`` visits, and then goes
    down to the cleanest level; else it stops at the level drawn, which is halfway on average.
    """
    rungs, rgsd, pair = preset.guide.rungs, preset.rgsd, evaluations(preset.guide.guidance)
    visits = reference_share(preset.mesh)[1] * preset.mesh.iterations * preset.mesh.novel_batch
    random = visits / 2 if rgsd.fixed else visits
    target = rungs + pair * (rungs - 1 if rgsd.reuse > 1 or rgsd.tau == "mean" else rungs / 2)
    once = 2 * rungs + len(rgsd.fixed) * (rungs + pair * rungs)
    return (random * target / rgsd.reuse + once) / visits


def rows_of(preset) -> list[list]:
    """Table rows of one preset: one per phase, costs of an average iteration."""
    rows = []
    for name, config, iterations, asked in phases(preset):
        reference, novel = reference_share(config)
        drawn = [config.novel_at(step / config.iterations) for step in range(config.iterations)]
        views = novel * sum(count for count, _ in drawn) / len(drawn)
        calls = sum(count for _, count in asked) * views
        network = sum(count * network_cost(n)["unet"] + network_cost(n)["encode"] for n, count in asked) * views
        rays = reference * config.reference_size**2 + novel * sum(count * side**2 for count, side in drawn) / len(drawn)
        rows.append([preset.name, name, iterations, f"{calls:.2f}", f"{network / 1e12:.3g}", f"{rays / 1e3:.1f}",
                     f"{network * iterations / 1e15:.3g}"])
    return rows


def preset_bytes(preset) -> list:
    """Table row of one preset: bytes of frozen weights, of the field with its gradient and the optimizer's state."""
    used = {name for *_, asked in phases(preset) for name, _ in asked}
    weights = sum(network_cost(n)["bytes"] for n in sorted(used))
    grid = preset.nerf.field.grid
    numbers = grid.rows * grid.features
    flops, read = field_cost(preset.nerf.field)
    copies = 6 if preset.nerf.optimizer == "adan" else 4  # itself, its gradient, and two or four that the optimizer keeps
    samples = min(preset.nerf.volume.max_samples, int(2 * 3**0.5 / preset.nerf.volume.step))
    return [preset.name, f"{weights / 2**30:.2f}", f"{numbers * 4 * copies / 2**20:.0f}", samples, f"{flops / 1e3:.1f}", read]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent / "results")
    args = parser.parse_args()
    presets = [*consistent123.PRESETS.values(), *magic123.PRESETS.values(), *hifi123.PRESETS.values()]
    networks = [[n, f"{c['unet'] / 1e9:.4g}", f"{c['encode'] / 1e9:.4g}", f"{c['bytes'] / 2**30:.3g}"]
                for n in NETWORKS for c in [network_cost(n)]]
    lines = ["# What an iteration costs\n", __doc__.split("\n\n", 2)[2] + "\n", "Networks:\n"]
    lines.append(table(["network", "UNet evaluation, GFLOP", "encoder with gradient, GFLOP", "weights, GiB"], networks))
    lines.append("\nAn average iteration of each phase (a phase mixes reference and novel iterations as its preset says):\n")
    head = ["preset", "phase", "iterations", "UNet evaluations", "networks, TFLOP", "rays, thousands", "phase, PFLOP"]
    lines.append(table(head, [row for preset in presets for row in rows_of(preset)]))
    lines.append("\nBytes, and the field's work for one sample (hash features and MLP, forwards; samples per ray at most):\n")
    head = ["preset", "frozen weights, GiB", "hash table in training, MiB", "samples per ray", "MLP, kFLOP", "table, bytes read"]
    lines.append(table(head, [preset_bytes(preset) for preset in presets]))
    lines += ["\nA character of each StdGEN preset.", stdgen_costs.__doc__.split("\n\n", 1)[1],
              table(stdgen_costs.HEAD, stdgen_costs.rows())]
    page = "\n".join(lines)
    (args.out / "preset_costs.md").write_text(page, encoding="utf-8")
    print(page)  # a script's output


if __name__ == "__main__":
    main()
