"""Distillation methods on the same objects: quality, cost, noise of the gradient, two faces (issue of the field: no bench).

Every run lifts one picture of a toy into a small NeRF; only the method differs.  ``exact``: the denoiser knows the true
distribution of pictures (``verification/mixture.py``), so that what is lost is the method's.  ``embedded``: the view network
that ships with the pack.  Finished runs are recorded and not run again.

    launch.py bench distillation [--networks exact embedded] [--objects 10] [--seeds 2] [--page]
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch
from bench_tools import ROOT, load_pack, machine, table

load_pack()

from bench_runs import VIEW, digest, file_digest, object_digest, read_record, toy
from lift123.pipelines.core.cameras import HOME, Cameras, turntable
from lift123.pipelines.core.schedules import Constant, Linear
from lift123.pipelines.core.settings import describe
from lift123.pipelines.distill.plug import How
from lift123.pipelines.fields.hash_nerf import HashNerfConfig
from lift123.pipelines.io.color import encode_png
from lift123.pipelines.io.manifest import run_manifest, write_manifest
from lift123.pipelines.loaders import embedded
from lift123.pipelines.ops.hashgrid import HashGridConfig
from lift123.pipelines.presets import small_networks
from lift123.pipelines.priors.sds import SdsPrior, SdsSettings
from lift123.pipelines.render.volume import VolumeSettings
from lift123.pipelines.stages.inputs.reference import ReferenceView
from lift123.pipelines.stages.loop.cameras import NovelViews
from lift123.pipelines.stages.objects.fit_nerf import fit_nerf
from lift123.pipelines.stages.objects.priors import view_prior
from lift123.pipelines.stages.results.render_views import contact_sheet, render_scene
from lift123.pipelines.toybox.render import reference_camera, render_toy
from lift123.verification.means import paired, summary
from lift123.verification.mixture import MixtureDenoiser, by_azimuth

SIZE, STEPS, GUIDANCE, AROUND = 32, 120, 2.0, 12
SHARPNESS = 3.0  # how well the exact denoiser's condition tells views apart: words, not angles
VIEWS, DRAWS = 8, 12
EDITION = 1
CALIBRATION = 15  # an object that is not reported
SDS = replace(small_networks.SDS, t_range=(Linear(0.3, 0.02), Linear(0.95, 0.3)), space="latent")
NERF = replace(
    small_networks.NERF, iterations=STEPS, mesh_iterations=0, size=SIZE, reference_size=SIZE, preview_every=0,
    depth=Constant(0.0), novel=NovelViews(radius=(HOME.radius, HOME.radius), elevation=(0.0, 0.0)),
    field=HashNerfConfig(HashGridConfig(levels=6, log2_table=13, base=6, finest=48), hidden=32, layers=1),
    volume=VolumeSettings(step=0.06, max_samples=48, normal_method="tetrahedral"), grid_resolution=24, grid_every=8,
)


@dataclass(frozen=True)
class Variant:
    """One way to be taught.  name, told: for files and tables; settings: of the prior, weight 1."""

    name: str
    told: str
    settings: SdsSettings = SDS

    def how(self, **changes) -> "Variant":
        """The same with another method."""
        return replace(self, settings=replace(self.settings, how=How(**changes)))


VARIANTS = (
    Variant("sds", "SDS"),
    Variant("sds_pixels", "SDS in pixels", replace(SDS, space="pixels", pixel_weight=Constant(1.0))),
    Variant("sds_uniform", "SDS, times drawn from 0.02 to 0.98", replace(SDS, t_range=(0.02, 0.98))),
    Variant("sds_dreamtime", "SDS, DreamTime", replace(SDS, t_range=(0.02, 0.98))).how(times="dreamtime"),
    Variant("sjc", "SJC, 2 draws").how(method="sjc", options=(("samples", 2),)),
    Variant("csd", "CSD").how(method="csd"),
    Variant("nfsd", "NFSD, scale 2").how(method="nfsd", options=(("scale", GUIDANCE),)),
    Variant("ism", "ISM").how(method="ism"),
    Variant("sdi", "SDI, inversion at -2").how(method="sdi", options=(("guidance", -GUIDANCE),)),
    Variant("vsd", "VSD").how(method="vsd"),
)
NETWORKS = ("exact", "embedded")
METRICS = {"novel_psnr": ("novel PSNR dB", 2), "iou": ("outline IoU", 3), "janus": ("two faces", 3),
           "noise": ("gradient noise", 2), "evaluations": ("evaluations / view", 2), "seconds": ("CPU s / step", 4)}


def picture(index: int, azimuths: torch.Tensor, size: int = SIZE):
    """The truth from cameras at ``azimuths``, on the horizon."""
    cameras = Cameras.orbit(azimuths, 0.0, HOME.radius, HOME.fovy, size, size)
    return render_toy(toy(index), cameras)


@lru_cache(maxsize=1)
def pictures(objects: int) -> tuple[torch.Tensor, torch.Tensor]:
    """([objects * AROUND, S, S, 3], their azimuths): what the exact denoiser knows, seen from all around."""
    ring = torch.arange(AROUND) * (2 * math.pi / AROUND)
    return torch.cat([picture(i, ring).on_background(1.0) for i in range(objects)]), ring.repeat(objects)


def exact(index: int, objects: int = 20) -> MixtureDenoiser:
    """The exact denoiser that is told object ``index`` and roughly where the camera stands."""
    known, azimuths = pictures(objects)
    members = torch.arange(len(known)) // AROUND == index
    return MixtureDenoiser(known, by_azimuth(azimuths, SHARPNESS, members), guidance=GUIDANCE)


@lru_cache(maxsize=1)
def view_network():
    """The embedded view network under the guidance that suits it."""
    return embedded.load_embedded().view.with_guidance(small_networks.VIEW_GUIDANCE)


def prior_of(network: str, index: int, reference: ReferenceView, settings: SdsSettings) -> SdsPrior:
    """The prior of one object."""
    if network == "exact":
        return SdsPrior(exact(index), settings, "prior")
    return view_prior(view_network(), reference, settings, angle_scaling=False)


def reference_of(index: int) -> ReferenceView:
    """The picture that is lifted: front, 128 pixels."""
    thing = toy(index)
    return ReferenceView(replace(render_toy(thing, reference_camera(128)), depth=None, normal=None), thing.caption)


@lru_cache(maxsize=None)
def strength(network: str, name: str) -> float:
    """Mean size of a method's gradient on gray pictures of an object that is not reported, at its weight 1."""
    variant = next(v for v in VARIANTS if v.name == name)
    prior = prior_of(network, CALIBRATION, reference_of(CALIBRATION), variant.settings)
    cameras = Cameras.orbit(torch.arange(4) * 1.5, 0.0, HOME.radius, HOME.fovy, SIZE, SIZE)
    return float(torch.stack([gradient(prior, torch.full((4, SIZE, SIZE, 3), 0.6), cameras, seed).flatten(1).norm(dim=1).mean()
                              for seed in range(8)]).mean())


def gradient(prior, images: torch.Tensor, cameras: Cameras, seed: int, progress: float = 0.3) -> torch.Tensor:
    """[B, S, S, 3] of one draw."""
    images = images.clone().requires_grad_()
    loss = prior.loss(images, cameras, progress, torch.Generator().manual_seed(seed)).sum()
    return torch.autograd.grad(loss, images)[0]


def settings_of(network: str, variant: Variant) -> SdsSettings:
    """With the weight at which all methods pull as hard as SDS at the beginning."""
    return replace(variant.settings, weight=Constant(strength(network, "sds") / strength(network, variant.name)))


def measure(scene, prior, index: int) -> dict:
    """The figures of METRICS that a finished run has."""
    ring = torch.arange(VIEWS) * (2 * math.pi / VIEWS)
    cameras = Cameras.orbit(ring, 0.0, HOME.radius, HOME.fovy, SIZE, SIZE)
    drawn, true = render_scene(scene, cameras, want_normal=False), picture(index, ring)
    ours, theirs = drawn.composite(1.0).clamp(0, 1), true.on_background(1.0)
    errors = (ours - theirs).square().flatten(1).mean(1)
    solid, wanted = drawn.alpha > 0.5, true.alpha > 0.5
    overlap = (solid & wanted).flatten(1).sum(1) / (solid | wanted).flatten(1).sum(1).clamp_min(1)
    behind = torch.cos(ring) < -0.5  # views that must not show the front
    front = (ours - theirs[:1]).square().flatten(1).mean(1)
    draws = torch.stack([gradient(prior, ours[2:6], cameras[2:6], 900 + k) for k in range(DRAWS)])
    mean = draws.mean(0)
    spread = (draws - mean).square().sum() / (DRAWS - 1) / mean.square().sum().clamp_min(1e-20)
    return {"novel_psnr": float((-10 * errors[1:].clamp_min(1e-8).log10()).mean()), "iou": float(overlap[1:].mean()),
            "janus": float((front < errors)[behind].float().mean()), "noise": float(spread)}


def run_one(network: str, variant: Variant, index: int, seed: int, path: Path, key: str) -> dict:
    """Lifts, measures, records."""
    reference = reference_of(index)
    prior = prior_of(network, index, reference, settings_of(network, variant))
    started = time.process_time()
    scene = fit_nerf(reference, prior, NERF, seed=seed)
    seconds = (time.process_time() - started) / STEPS
    figures = {"seconds": seconds, "evaluations": next(iter(prior.evaluations().values())), **measure(scene, prior, index)}
    made = run_manifest(f"{variant.name} {network}", {"prior": describe(prior.settings), "nerf": describe(NERF)}, seed,
                        {"lift": seconds * STEPS}, (), {"caption": toy(index).caption, "object": index},
                        {"metrics": {"metrics": figures}}, batch={"item": path.name, "value": variant.told, "key": key})
    views = render_scene(scene, turntable(6, 0.1, HOME.radius, HOME.fovy, 96), want_normal=False).composite(1.0).clamp(0, 1)
    path.with_name(path.name.replace("_manifest.json", "_sheet.png")).write_bytes(encode_png(contact_sheet(views, 6)))
    write_manifest(path, made)
    return made


def record_key(network: str, variant: Variant, index: int, seed: int) -> str:
    """Changes with what decides a result here.  EDITION stands for the stages and methods: raise it when they change."""
    taught = [variant.name, repr(variant.settings.how), describe(variant.settings.t_range), variant.settings.space]
    weights = [file_digest(embedded.FOLDER / f"{VIEW}.safetensors")] if network == "embedded" else []
    return digest([EDITION, network, taught, STEPS, SIZE, GUIDANCE, SHARPNESS, object_digest(toy(index)), seed, *weights])


def tasks(args) -> list[tuple[str, Variant, int, int, Path, str]]:
    """Every run with the place of its record and its key: objects change last, so that a cut keeps whole tables."""
    found = []
    for network in args.networks:
        for index in range(args.objects):
            for seed in range(args.seeds):
                for variant in VARIANTS:
                    key = record_key(network, variant, index, seed)
                    path = args.folder / f"{network}-{variant.name}-o{index:03d}-s{seed}_manifest.json"
                    found.append((network, variant, index, seed, path, key))
    return found


def gather(args) -> dict:
    """{network: {variant: {(object, seed): figures}}} of what is recorded."""
    found: dict = {network: {v.name: {} for v in VARIANTS} for network in args.networks}
    for network, variant, index, seed, path, key in tasks(args):
        made = read_record(path, key)
        if made:
            found[network][variant.name][index, seed] = made["results"]["metrics"]["metrics"]
    return found


def page(found: dict) -> str:
    """The tables, from records alone, and what people wrote about them."""
    lines = ["# Distillation methods, compared", "", "Written by `launch.py bench distillation --page`. " + machine(), ""]
    lines += [__doc__.split("\n\n")[1].replace("\n", " "), "", (
        f"{STEPS} iterations at {SIZE} pixels; guidance {GUIDANCE:g}; every method is weighed so that its gradient is as long "
        "as that of SDS on gray pictures of an object that is not in the tables. Mean +- standard error over objects (in "
        "brackets over seeds). Two faces: share of back views closer to the true front than to the true back. Gradient "
        "noise: variance over squared mean of a finished scene's gradient, over time and noise. Evaluations: one per "
        "condition and view, learners' included."), ""]
    for network, variants in found.items():
        runs = {name: records for name, records in variants.items() if records}
        if not runs:
            continue
        lines += [f"## The {network} denoiser", ""]
        rows = []
        for variant in VARIANTS:
            records = runs.get(variant.name)
            if not records:
                continue
            cells = [cell({k: v[m] for k, v in records.items()}, digits) for m, (_, digits) in METRICS.items()]
            rows.append([variant.told, len(records), *cells, gap(records, runs.get("sds", {}))])
        lines += [table(["method", "runs", *(head for head, _ in METRICS.values()), "PSNR against SDS (95 %)"], rows), ""]
    notes = ROOT / "benchmarks" / "notes" / "distillation.md"
    return "\n".join(lines) + (notes.read_text(encoding="utf-8") if notes.exists() else "")


def cell(values: dict, digits: int) -> str:
    """mean +- error over objects (over seeds)."""
    got = summary(values)
    errors = ["?" if math.isnan(v) else f"{v:.{digits}f}" for v in (got.over_objects, got.over_seeds)]
    return f"{got.mean:.{digits}f} +- {errors[0]} ({errors[1]})"


def gap(records: dict, base: dict) -> str:
    """Paired difference of PSNR, with its interval."""
    if records is base or not records.keys() & base.keys():
        return "-"
    got = paired({k: v["novel_psnr"] for k, v in records.items()}, {k: v["novel_psnr"] for k, v in base.items()})
    return f"{got.difference.mean:+.2f} ({got.low:+.2f} to {got.high:+.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--objects", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=ROOT / ".lift123" / "bench" / "distillation")
    parser.add_argument("--page", action="store_true", help="write benchmarks/results/distillation.md from the records")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.folder.mkdir(parents=True, exist_ok=True)
    if args.page:
        target = ROOT / "benchmarks" / "results" / "distillation.md"
        target.write_text(page(gather(args)), encoding="utf-8")
        print(target)
        return
    for network, variant, index, seed, path, key in tasks(args):
        if read_record(path, key) is None:
            made = run_one(network, variant, index, seed, path, key)["results"]["metrics"]["metrics"]
            told = ", ".join(f"{m} {made[m]:.3g}" for m in METRICS)
            print(f"{network} {index:3d} seed {seed} {variant.name:14s} {told}", flush=True)


if __name__ == "__main__":
    main()
