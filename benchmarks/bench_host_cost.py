"""What a step costs the host, and how often it would wait for a GPU; measured on a CPU.

    python benchmarks/bench_host_cost.py [--steps 48] [--presets paper ...] [--lines] [--out benchmarks/results/host_cost.md]

Networks of the published layouts, as many operators, 8 or 4 channels wide; pictures of 64 pixels for them, renders of 4,
tables of 256 rows, a grid of 16 cells: what is left is Python and dispatch.  Steps take the way of a GPU
(``pipelines/core/far.py``).  Times are CPU time of this process, lower quartile over the steps of a kind; a GPU's driver
comes on top, and how long a GPU computes is **not measured**: no GPU was at hand.  Waits are counted in a run of their own
(``host_watch.py``); the median and the most over the steps after the first two.

``tests/project/test_host_cost.py`` asserts the counts.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import torch
from bench_tools import load_pack, machine, table
from host_watch import GPU, Watch, put

load_pack()

from lift123.pipelines import consistent123, magic123
from lift123.pipelines.core.cameras import HOME
from lift123.pipelines.core.far import pretending
from lift123.pipelines.core.views import Views
from lift123.pipelines.loaders.embedded import load_embedded
from lift123.pipelines.networks.latent import LatentRuntime
from lift123.pipelines.networks.noise import scaled_linear_alphas
from lift123.pipelines.networks.recorded import Recorded
from lift123.pipelines.networks.text import TextDenoiser
from lift123.pipelines.networks.view import ViewConditioner, ViewDenoiser
from lift123.pipelines.stages.inputs.reference import ReferenceView
from lift123.pipelines.stages.objects import fit_nerf as nerf_stage
from lift123.pipelines.stages.objects import refine_mesh as mesh_stage
from lift123.pipelines.toybox.objects import heldout_seed, make_object
from lift123.pipelines.toybox.render import render_toy

SIDE, LATENT, WIDTH, TOKENS = 4, 8, 16, 8  # pixels of renders, of latents; width of tokens, how many
PICTURE = 64  # pixels of the networks' pictures
ROUNDS = 2  # steps at the start of a stage that are not counted: caches fill
PRESETS = {p.name: p for paper in (consistent123, magic123) for p in paper.PRESETS.values() if "quickstart" not in p.name}


@dataclass
class Kind:
    """Steps of one kind ("novel", "reference", "both") in one phase: milliseconds and waits of each."""

    ms: list = field(default_factory=list)
    waits: list = field(default_factory=list)

    def quartile(self) -> float:
        """Lower quartile of the milliseconds."""
        return sorted(self.ms)[len(self.ms) // 4]

    def median_waits(self) -> float:
        """Of a step."""
        return sorted(self.waits)[len(self.waits) // 2]


def hollow(extra: int) -> LatentRuntime:
    """A UNet and an autoencoder as Stable Diffusion's in every layer, a few channels wide; ``extra`` input channels."""
    from diffusers import AutoencoderKL, UNet2DConditionModel

    unet = UNet2DConditionModel(
        in_channels=4 + extra, out_channels=4, layers_per_block=2, block_out_channels=(8, 8, 8, 8), norm_num_groups=4,
        sample_size=LATENT, cross_attention_dim=WIDTH, attention_head_dim=2,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    )
    vae = AutoencoderKL(
        block_out_channels=(4, 4, 4, 4), layers_per_block=2, latent_channels=4, norm_num_groups=4, sample_size=PICTURE,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    )
    return LatentRuntime(unet.eval().requires_grad_(False), vae.eval().requires_grad_(False), scaled_linear_alphas(),
                         "epsilon", PICTURE)


def still(call, examples):
    """A recorder of the CPU: what is replayed costs nothing; copies and calls around it are those of a CUDA graph's."""
    result = call(*examples)
    wanted = [x for x in examples if x.requires_grad]
    grads = dict(zip(map(id, wanted), torch.autograd.grad(result.sum(), wanted))) if result.requires_grad else {}
    result, grads = result.detach(), [grads.get(id(x)) for x in examples]

    class Replay(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *inputs):
            with torch.no_grad():
                for kept, given in zip(examples, inputs):
                    kept.copy_(given)
            return result.detach()

        @staticmethod
        def backward(ctx, grad):
            return tuple(None if g is None else g.detach() for g in grads)

    return Replay.apply


class _Towers:
    """In place of CLIP, which is asked once."""

    def image_embedding(self, pictures):
        return pictures.new_zeros(len(pictures), WIDTH)

    def text_condition(self, texts, negative=False):
        context = torch.zeros(len(texts), TOKENS, WIDTH, device=GPU)
        return {"context": context}


class Echo:
    """A denoiser of a few operations, for tests: what is left of a step is the pack's own."""

    image_size, guidance = SIDE, 1.0

    def __init__(self):
        self.alphas_cumprod = scaled_linear_alphas()
        put(self.alphas_cumprod)

    def with_guidance(self, guidance):
        return self

    def with_reference(self, picture, camera):
        return self

    def with_prompt(self, prompt, negative=""):
        return self

    def encode(self, images):
        return images.permute(0, 3, 1, 2) * 2 - 1

    def predict_noise(self, noisy, t, cameras):
        return noisy * self.alphas_cumprod[t][:, None, None, None] + cameras.azimuth[:, None, None, None]


def echoes() -> SimpleNamespace:
    """In place of :func:`networks` where only the pack's own steps are asked about."""
    return SimpleNamespace(view=Echo(), text=Echo(), clip=None)


def networks(recorded: bool = True) -> SimpleNamespace:
    """Zero-1-to-3's and Stable Diffusion's layouts, on the device; recorded: their calls are replayed."""
    view, text = hollow(4), hollow(0)
    if recorded:
        view, text = (replace(r, recorded=Recorded("hollow", still)) for r in (view, text))
    conditioner = ViewConditioner(WIDTH, WIDTH).eval().requires_grad_(False)
    for thing in (view.unet, view.vae, text.unet, text.vae, view.alphas_cumprod, text.alphas_cumprod, conditioner):
        put(thing)
    return SimpleNamespace(view=ViewDenoiser(view, conditioner, _Towers()), text=TextDenoiser(text, _Towers()), clip=None)


def shrunk(preset, steps: int):
    """The preset with everything small that costs no Python."""
    grid = replace(preset.nerf.field.grid, log2_table=8)
    nerf = replace(
        preset.nerf, iterations=steps, mesh_iterations=steps, size=SIDE, reference_size=SIDE, grid_resolution=16,
        field=replace(preset.nerf.field, grid=grid, hidden=8), volume=replace(preset.nerf.volume, step=0.1, max_samples=16),
        preview_every=0, checkpoint_every=0, reference_first=min(preset.nerf.reference_first, 2),
    )
    mesh = replace(preset.mesh, iterations=steps, size=SIDE, reference_size=SIDE, tets=4, preview_every=0, checkpoint_every=0)
    return replace(preset, nerf=nerf, mesh=mesh)


def reference() -> ReferenceView:
    """A gray disk with words."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, SIDE), torch.linspace(-1, 1, SIDE), indexing="ij")
    alpha = ((x.square() + y.square()) < 0.5).float()[None]
    rgb = torch.full((1, SIDE, SIDE, 3), 0.5)
    return ReferenceView(Views(HOME.orbit(0.0, 0.0, SIDE), rgb, alpha, 3.0 * alpha), "a disk")


class Listener:
    """An ``on_step`` that notes time and waits since the last one, by what the step showed."""

    def __init__(self, config, knows: bool = True, watch: Watch | None = None):
        self.config, self.knows, self.watch = config, knows, watch
        self.kinds: dict[str, Kind] = {}
        self.lines: Counter = Counter()
        self.last = time.process_time()

    def __call__(self, step) -> None:
        now = time.process_time()
        shown = self.config.shows(step.index - 1, True, self.knows)
        name = {(True, True): "both", (True, False): "reference", (False, True): "novel"}[shown]
        if step.index > ROUNDS:
            kind = self.kinds.setdefault(name, Kind())
            kind.ms.append(1e3 * (now - self.last))
            if self.watch:
                kind.waits.append(self.watch.total)
                self.lines.update({(name, *key): count for key, count in self.watch.waits.items()})
                self.lines.update({(name, f"mixed {what}", where): n for (what, where), n in self.watch.mixed.items()})
        if self.watch:
            self.watch.forget()
        self.last = time.process_time()


def stages(preset, models, device, watch: Watch | None = None, phases=("nerf 3D", "nerf", "mesh")) -> dict[str, Listener]:
    """Runs the phases of a preset; what was noted of each."""
    picture, noted, scene = reference(), {}, None
    for phase in phases:
        mesh = phase == "mesh"
        config = preset.mesh if mesh else preset.nerf
        listener = Listener(config, watch=watch)
        prior = _prior(preset, models, picture, phase)
        if mesh:
            mesh_stage.refine_mesh(prior, scene, config, device=device, on_step=listener)
        else:
            scene = nerf_stage.fit_nerf(picture, prior, config, device=device, on_step=listener)
        noted[phase] = listener
    return noted


def _prior(preset, models, picture, phase: str):
    stage = "mesh" if phase == "mesh" else "nerf"
    if isinstance(preset, consistent123.Preset):
        make = consistent123.view_only if phase == "nerf 3D" else consistent123.dynamic_prior
        return make(picture, models, preset, stage)
    return magic123.stage_prior(picture, models, preset, stage)


def phases_of(preset) -> tuple[str, ...]:
    """What :func:`stages` runs of a preset."""
    return ("nerf 3D", "nerf", "mesh") if isinstance(preset, consistent123.Preset) else ("nerf", "mesh")


def measure(preset, steps: int) -> tuple[dict[str, Listener], dict[str, Listener]]:
    """(timed, counted) phases of a preset."""
    small = shrunk(preset, steps)
    with pretending():
        timed = stages(small, networks(), torch.device("cpu"), phases=phases_of(preset))
        with Watch() as watch:
            counted = stages(small, networks(), GPU, watch, phases_of(preset))
    return timed, counted


def bf16_error(count: int = 4) -> tuple[float, float]:
    """(of latents, of the gradient at the pictures): relative rms difference of the embedded autoencoder in bfloat16.

    Pictures: toy objects of 64 pixels; the gradient is that of a fixed normal direction in latent space.
    """
    models, errors = [load_embedded().text.runtime.vae for _ in range(2)], []
    models[1].to(torch.bfloat16)
    views = [render_toy(make_object(heldout_seed(i)), HOME.orbit(0.5, 0.2, PICTURE)).on_background(1.0)[0] for i in range(count)]
    pictures = torch.stack(views).permute(0, 3, 1, 2) * 2 - 1
    found = []
    for vae in models:
        leaf = pictures.clone().requires_grad_()
        latents = vae.encode(leaf.to(vae.dtype)).latent_dist.mode().float()
        direction = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
        found.append((latents.detach(), torch.autograd.grad((latents * direction).sum(), leaf)[0]))
    for one, other in zip(*found):
        errors.append(float((one - other).square().mean().sqrt() / one.square().mean().sqrt()))
    return errors[0], errors[1]


def before(preset, steps: int) -> dict[str, Listener]:
    """Timed phases with networks that are called, not replayed."""
    with pretending():
        return stages(shrunk(preset, steps), networks(recorded=False), torch.device("cpu"), phases=phases_of(preset))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=48)
    parser.add_argument("--presets", nargs="*", default=list(PRESETS))
    parser.add_argument("--called", choices=list(PRESETS), default="paper", help="also timed without recorded networks")
    parser.add_argument("--lines", action="store_true", help="print where the host waits")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent / "results" / "host_cost.md")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name in args.presets:
        timed, counted = measure(PRESETS[name], args.steps)
        for phase, listener in timed.items():
            for kind, numbers in listener.kinds.items():
                waits = counted[phase].kinds[kind]
                rows.append([name, phase, kind, f"{numbers.quartile():.1f}", waits.median_waits(), max(waits.waits)])
        if args.lines:
            for phase, listener in counted.items():
                for key, count in sorted(listener.lines.items(), key=str):
                    print(phase, *key, round(count / len(listener.kinds[key[0]].waits), 2))
    head = ["preset", "phase", "step", "host, ms", "waits, median", "waits, most"]
    lines = ["# What a step costs the host\n", __doc__.split("\n\n", 2)[2] + "\n", machine() + "\n", table(head, rows)]
    if args.called:
        called = before(PRESETS[args.called], 10)
        found = [[phase, kind, f"{noted.quartile():.1f}"] for phase, listener in called.items()
                 for kind, noted in listener.kinds.items()]
        lines += [f"\nThe same for {args.called} with networks that are called and not replayed:\n",
                  table(["phase", "step", "host, ms"], found)]
    latents, gradient = bf16_error()
    lines += [f"\nThe embedded autoencoder in bfloat16 (`--bf16-vae`) against float32: latents differ by {latents:.1%}, the "
              f"gradient at the picture by {gradient:.1%} (relative rms, 4 toy objects).\n"]
    page = "\n".join(lines)
    args.out.write_text(page, encoding="utf-8")
    print(page)  # a script's output


if __name__ == "__main__":
    main()
