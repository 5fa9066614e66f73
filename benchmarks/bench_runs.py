"""Runs of the benchmark suites: one record per variant, object and seed; what is recorded is not run again.

A record is a manifest like Bake and Export's, so that the node Results reads it, too.  Its key covers everything that
decides the result: the preset, the priors, the weights of the networks, the object, the seed, the measurement.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from ablations import Variant, variants_of
from bench_tools import ROOT, load_pack
from PIL import Image

load_pack()

from lift123.pipelines import consistent123, magic123
from lift123.pipelines.core.cameras import turntable
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.core.settings import describe
from lift123.pipelines.io.color import encode_png
from lift123.pipelines.io.manifest import describe_file, run_manifest, write_manifest
from lift123.pipelines.loaders import embedded
from lift123.pipelines.metrics import perceptual
from lift123.pipelines.priors.view import ViewPrior
from lift123.pipelines.stages.inputs.reference import ReferenceView
from lift123.pipelines.stages.loop.scene import Scene
from lift123.pipelines.stages.objects.fit_nerf import fit_nerf
from lift123.pipelines.stages.objects.refine_mesh import refine_mesh
from lift123.pipelines.stages.results import evaluate as evaluation
from lift123.pipelines.stages.results.render_views import contact_sheet
from lift123.pipelines.toybox.objects import ToyObject
from lift123.pipelines.toybox.render import reference_camera, render_toy
from lift123.verification.baselines import visual_hull_extrusion
from lift123.verification.oracle import OracleDenoiser
from lift123.verification.toy_sets import FULL, QUICK, benchmark_object

SETTINGS = evaluation.EvaluateSettings(size=128, views="turntable-8", intersections=False, seed=0)
SHEET_VIEWS, SHEET_SIZE = 6, 128
VIEW = "view_lift"
USED = ("clip", "depth", "text_unet", "vae", VIEW)
WITHOUT_VIEW = ("none", "oracle", "hull")  # of Variant.use: other runs load the view prior


def toy(index: int) -> ToyObject:
    """The index-th object of the fixed sets (the first 20 are QUICK).  The only place that knows which set it is."""
    return benchmark_object((*QUICK, *(seed for seed in FULL if seed not in QUICK))[index])


@dataclass(frozen=True)
class Task:
    """All variants (by name) of a suite on one object with one seed; folder: of the records."""

    suite: str
    index: int
    seed: int
    names: tuple[str, ...]
    folder: Path
    fresh: bool = False


@dataclass
class Shelf:
    """What variants of one object and seed share: first acts by key."""

    acts: dict = field(default_factory=dict)


@dataclass
class Lifted:
    """A result: its subject for ``stages.evaluate``; the NeRF's, where that is measured, too; notes for the record."""

    subject: evaluation.Subject
    coarse: evaluation.Subject | None = None
    notes: dict = field(default_factory=dict)


# ------------------------------------------------------------------------------------------- keys and records


def digest(value) -> str:
    """Short name of any JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:24]


def weights(variant: Variant) -> tuple[Path, ...]:
    """Files of the embedded networks that a run uses: others may come and go without making a record stale."""
    names = [name for name in USED if name != VIEW or variant.use not in WITHOUT_VIEW]
    return tuple(embedded.FOLDER / f"{name}.safetensors" for name in names)


@lru_cache(maxsize=8)
def file_digest(path: Path) -> str:
    """SHA-256 of an embedded network."""
    return describe_file(path)["sha256"]


def weights_digest(variant: Variant) -> str:
    """Of the contents of all embedded networks that the variant's runs use."""
    return digest([[p.name, file_digest(p)] for p in weights(variant)])


def object_digest(thing: ToyObject) -> str:
    """Of what the object looks like, so that another toybox makes other records."""
    points = torch.cat([thing.mesh.vertices, thing.mesh.vertex_colors], 1).mul(1e4).round().long()
    return digest([thing.caption, len(points), points.sum(0).tolist(), points[:: max(1, len(points) // 50)].tolist()])


def settings_of(variant: Variant) -> dict:
    """What a variant does, as JSON."""
    return {"preset": describe(variant.preset), "use": variant.use, "ratio": variant.ratio, "coarse": variant.coarse}


def record_key(variant: Variant, thing: ToyObject, seed: int) -> str:
    """Changes with everything that can change the result."""
    return digest([settings_of(variant), weights_digest(variant), object_digest(thing), seed, describe(SETTINGS)])


def record_path(folder: Path, name: str, index: int, seed: int) -> Path:
    return folder / f"{name}-o{index:03d}-s{seed}_manifest.json"


def read_record(path: Path, key: str | None = None) -> dict | None:
    """A finished record (of that key), or None."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and key in (None, (found.get("batch") or {}).get("key")) else None


# ------------------------------------------------------------------------------------------------- lifting


def reference_of(thing: ToyObject, size: int, models) -> ReferenceView:
    """What a person would give: one picture and a caption; depth is estimated."""
    views = render_toy(thing, reference_camera(size))
    reference = ReferenceView(replace(views, depth=None, normal=None), thing.caption)
    return reference.with_depth(models.depth.depth(views.rgb[0], views.alpha[0]))


def lift(variant: Variant, thing: ToyObject, reference: ReferenceView, models, seed: int, shelf: Shelf) -> Lifted:
    """The variant's result."""
    if variant.use == "hull":
        views = reference.resized(SETTINGS.size)
        return Lifted(evaluation.subject_of_mesh(visual_hull_extrusion(views.alpha[0], views.cameras, views.rgb[0])))
    if variant.use in ("none", "oracle"):
        scene, coarse = lift_with(told_priors(variant, thing, reference), reference, variant.preset, seed)
    elif isinstance(variant.preset, magic123.Preset):
        scene, coarse = lift_with(magic_priors(variant, reference, models), reference, variant.preset, seed)
    else:
        scene, coarse = lift_consistent(variant, reference, models, seed, shelf), None
    boundary = scene.boundary or {}
    notes = {"switch_step": scene.switch_step, "boundary": boundary.get("explanation")}
    return Lifted(evaluation.subject_of_scene(scene), coarse and evaluation.subject_of_scene(coarse), notes)


def lift_with(priors, reference, preset, seed: int) -> tuple[Scene, Scene]:
    """(finished scene, NeRF before the mesh stage) under one prior per stage."""
    coarse = fit_nerf(reference, priors[0], preset.nerf, seed=seed)
    return refine_mesh(priors[1], coarse, preset.mesh), coarse


def told_priors(variant: Variant, thing: ToyObject, reference) -> list:
    """No priors, or the exact denoiser of the true view in both stages."""
    if variant.use == "none":
        return [None, None]
    preset, priors = variant.preset, []
    for settings, size in ((preset.view, preset.nerf.size), (preset.mesh_view, preset.mesh.size)):
        truth = OracleDenoiser(lambda cameras: render_toy(thing, cameras.to("cpu")).on_background(1.0), image_size=size)
        priors.append(ViewPrior(truth, settings, reference.camera, preset.angle_scaling))
    return priors


def magic_priors(variant: Variant, reference, models) -> list:
    """Magic123's prior in both stages; the 2D prior alone has the weight that its settings say."""
    preset, ratio = variant.preset, {"view": 0.0}.get(variant.use, variant.ratio)
    if variant.use == "text":
        models, ratio = SimpleNamespace(text=models.text, view=None), 1 / magic123.BALANCES[preset.balance].text
    return [magic123.stage_prior(reference, models, preset, stage, ratio) for stage in ("nerf", "mesh")]


def lift_consistent(variant: Variant, reference, models, seed: int, shelf: Shelf) -> Scene:
    """Consistent123; a first act that another variant has gone through already is taken from the shelf."""
    preset, scene = consistent123.aligned(variant.preset), None
    if variant.use == "view":
        models = SimpleNamespace(view=models.view, text=None, clip=models.clip)
    elif preset.boundary is not None:
        scene = first_act(preset, reference, models, seed, shelf)
    return consistent123.run(reference, models, preset, scene=scene, seed=seed)


def first_act(preset, reference, models, seed: int, shelf: Shelf) -> Scene:
    """The 3D-only phase, once per boundary, NeRF settings and view prior."""
    key = digest(describe([preset.nerf, preset.boundary, preset.view, preset.view_guidance, preset.angle_scaling]))
    if key not in shelf.acts:
        shelf.acts[key] = consistent123.explore(reference, models, preset, seed=seed)
    return shelf.acts[key]


# ------------------------------------------------------------------------------------------------- measuring


@lru_cache(maxsize=1)
def networks() -> tuple:
    """(the embedded networks, the scorers that are here)."""
    models = embedded.load_embedded()
    try:
        lpips = perceptual.load_lpips("alex")
    except InputError as problem:
        lpips = str(problem)
    return models, evaluation.Networks(models.clip.image_embedding, "embedded CLIP", lpips)


def run_one(variant: Variant, task: Task, thing: ToyObject, shelf: Shelf) -> dict:
    """Lifts, measures, writes the record; returns it."""
    models, scorers = networks()
    start, cpu = time.perf_counter(), time.process_time()
    reference = reference_of(thing, variant.preset.reference_size, models)
    lifted = lift(variant, thing, reference, models, task.seed, shelf)
    spent = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}
    judged = evaluation.evaluate(lifted.subject, reference, thing.mesh, scorers, SETTINGS)
    results = {"metrics": judged.to_json(), **spent, **lifted.notes}
    if variant.coarse:
        results["coarse"] = evaluation.evaluate(lifted.coarse, reference, thing.mesh, scorers, SETTINGS).to_json()
    results["cpu_seconds_with_metrics"] = time.process_time() - cpu
    path = record_path(task.folder, variant.name, task.index, task.seed)
    made = run_manifest(
        variant.name, settings_of(variant), task.seed, {"lift": spent["seconds"]}, weights(variant),
        {"caption": thing.caption, "object": task.index, "toy_seed": thing.seed}, results,
        batch={"item": path.name, "value": variant.told, "key": record_key(variant, thing, task.seed)},
    )
    write_sheet(path, lifted.subject)
    write_manifest(path, made)  # last: what is recorded is complete
    return made


def sheet_path(record: Path) -> Path:
    return record.with_name(record.name.replace("_manifest.json", "_sheet.png"))


def failure_path(record: Path) -> Path:
    return record.with_name(record.name.replace("_manifest.json", "_failed.json"))


def write_sheet(path: Path, subject: evaluation.Subject) -> None:
    """Six views beside the record."""
    pictures = subject.draw(turntable(SHEET_VIEWS, 0.15, 3.2, 0.349, SHEET_SIZE)).composite(1.0).clamp(0, 1)
    sheet_path(path).write_bytes(encode_png(contact_sheet(pictures, SHEET_VIEWS)))


def read_sheet(path: Path) -> np.ndarray:
    """[128, 768, 3] in 0..1, as :func:`write_sheet` left it."""
    with Image.open(path) as file:
        return np.asarray(file.convert("RGB"), dtype=np.float32) / 255


def truth_sheet(index: int) -> torch.Tensor:
    """The same six views of the true object."""
    subject = evaluation.subject_of_mesh(toy(index).mesh)
    pictures = subject.draw(turntable(SHEET_VIEWS, 0.15, 3.2, 0.349, SHEET_SIZE)).composite(1.0).clamp(0, 1)
    return contact_sheet(pictures, SHEET_VIEWS)


def run_task(task: Task) -> list[str]:
    """What is not recorded yet, one variant after the other; a failure is recorded and does not stop the rest."""
    torch.set_num_threads(1)
    thing, shelf, known, lines = toy(task.index), Shelf(), variants_of(task.suite), []
    parent = os.getppid()
    for name in task.names:
        if os.getppid() != parent:
            break  # whoever asked is gone
        variant, path = known[name], record_path(task.folder, name, task.index, task.seed)
        if not task.fresh and read_record(path, record_key(variant, thing, task.seed)):
            continue
        failed = failure_path(path)
        try:
            made = run_one(variant, task, thing, shelf)
            failed.unlink(missing_ok=True)
            metrics = made["results"]["metrics"]["metrics"]
            told = f"IoU {metrics['iou']:.3f}, novel PSNR {metrics['novel_psnr']:.2f}, {made['results']['cpu_seconds']:.0f} CPU s"
        except Exception as problem:
            told = f"failed: {type(problem).__name__}: {problem}"
            write_manifest(failed, {"manifest": 1, "method": name, "error": told, "batch": {"item": path.name}})
        lines.append(f"{task.index:3d} seed {task.seed} {name:16s} {told}  ({thing.caption})")
        print(lines[-1], flush=True)  # a script's output
    return lines


def run_all(tasks: list[Task], jobs: int) -> None:
    """All tasks in ``jobs`` processes of one thread each; returns when every one has ended."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    for task in tasks:
        task.folder.mkdir(parents=True, exist_ok=True)
    if jobs <= 1:
        for task in tasks:
            run_task(task)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        running = [pool.submit(run_task, task) for task in tasks]
        try:
            for done in as_completed(running):
                done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def default_folder(suite: str) -> Path:
    return ROOT / ".lift123" / "bench" / suite


def gather(suite: str, folder: Path, names, indices, seeds) -> tuple[dict, dict[str, str]]:
    """({variant: {(object, seed): record}} of finished runs with the present settings, {missing run: why}).

    Why is the error of a run that failed, else "not run": tables without failed runs flatter, so pages list them.
    """
    known, found, missing = variants_of(suite), {name: {} for name in names}, {}
    for index in indices:
        thing = toy(index)
        for seed in seeds:
            for name in names:
                path = record_path(folder, name, index, seed)
                made = read_record(path, record_key(known[name], thing, seed))
                if made is None:
                    failed = read_record(failure_path(path)) or {}
                    missing[path.name.removesuffix("_manifest.json")] = failed.get("error", "not run")
                else:
                    found[name][index, seed] = made
    return found, missing
