"""Loads one network from its files, strictly, runs one step of it and says what it saw.

``worker.py`` calls it, one process per network, for ``launch.py verify-weights``: the peak memory is that network's own.
"""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path

import torch

from ..pipelines.catalog import registry
from ..pipelines.catalog.kinds import CHECKPOINTS, KINDS
from ..pipelines.catalog.options import is_stock
from ..pipelines.core.cameras import Cameras
from ..pipelines.core.errors import InputError

ROOT = Path(__file__).resolve().parent.parent
ROWS = {"cpu": 32, "cuda": 64}  # of StdGEN's latents, whose full height is 128; 64 is a size that it was trained at
PROMPT, OTHER = "a pink bear striped with brown", "a blue car"  # the sample picture shows the first
EMBEDDED = "embedded"
TIME = 0.4  # of the noise schedule, where the denoising error is measured
PICTURED = {"canonical": "a toy character; its A-pose as drawn; the true one",
            "multiview": "the true front view; front colors as drawn, level by level; their normals",
            "slrm": "the true front view; the reconstruction from front, right, back"}
SUSPICIOUS = 0.7  # a network that knows nothing has an error of 1


def candidates(models: list[Path]) -> list[dict]:
    """Every network of the registry of which some file is present, then other files in models/checkpoints.

    Of announced kinds also those that are absent: their "installed" is False, their path the folder that they go into.
    """
    found = []
    for entry in (e for e in registry.TABLE if e.kind in KINDS and not KINDS[e.kind].pair):
        item = {"kind": entry.kind, "name": entry.name, "known": True}
        place = next((p for root in models if (p := root / entry.category / entry.name).exists()), None)
        if place is not None:
            missing = [] if entry.single else [f.path for f in entry.missing(place)]
            found.append({**item, "path": str(place), "missing": missing})
        elif KINDS[entry.kind].announced and models:
            folder = models[0] / entry.category / ("" if entry.single else entry.name)
            found.append({**item, "path": str(folder), "missing": [f.path for f in entry.files], "installed": False})
    names = {item["name"] for item in found}
    for root in models:
        folder = root / CHECKPOINTS
        for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
            name = path.relative_to(folder).as_posix()
            if path.is_file() and registry.is_single(name) and name not in names:
                names.add(name)
                found.append({"kind": "file", "name": name, "path": str(path), "missing": [], "known": False})
    return found


def shipped() -> list[dict]:
    """The embedded networks, one item per kind; verified when asked for."""
    item = {"name": EMBEDDED, "path": EMBEDDED, "missing": [], "known": True, "shipped": True}
    return [{"kind": kind.name, **item} for kind in KINDS.values() if kind.embedded]


def sample(size: int) -> torch.Tensor:
    """[size, size, 3] the sample picture on white."""
    import numpy as np
    from PIL import Image

    picture = Image.open(ROOT / "workflows" / "sample" / "lift123_sample.png").convert("RGBA").resize((size, size))
    rgba = torch.from_numpy(np.asarray(picture).copy()).float() / 255
    return rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]


def save(images: list[torch.Tensor], path: Path) -> str:
    """Pictures [H, W, 3] of one size, side by side, as PNG."""
    from PIL import Image

    row = torch.cat([image.cpu().clamp(0, 1) for image in images], 1)
    Image.fromarray((row * 255).round().byte().numpy()).save(path)
    return str(path)


def kind_of_file(path: Path) -> str:
    """The kind of a single file that is in no table; InputError where no check of a kind passes it."""
    problems = []
    for kind in (k for k in KINDS.values() if k.file_checker):
        try:
            kind.check(path)
            return kind.name
        except InputError as problem:
            problems.append(problem)
    raise problems[-1]


def loaded(kind: str, name: str, path: Path, device):
    """The network, from its folder or file, as the loader nodes load it; S-LRM as a ``SlrmFile``."""
    if kind == "slrm":
        return loaded_slrm(name, path, device)
    return KINDS[kind].load_embedded(device) if name == EMBEDDED else KINDS[kind].load(path, name, device)


def loaded_slrm(name: str, path: Path, device):
    """S-LRM with what its file's names said, for the report."""
    from ..pipelines.loaders import slrm_files
    from ..pipelines.networks.stdgen.slrm import SlrmFile

    return SlrmFile(KINDS["slrm"].load_embedded(device), []) if name == EMBEDDED else slrm_files.load_slrm(path, device=device)


def size_of(module: torch.nn.Module) -> dict:
    """Parameters and precision of a network; also whether all of its numbers are finite."""
    parameters = list(module.parameters())
    finite = all(bool(torch.isfinite(p).all()) for p in parameters)
    return {"parameters": sum(p.numel() for p in parameters), "dtype": str(parameters[0].dtype).removeprefix("torch."),
            "finite": finite}


def camera(azimuth: float) -> Cameras:
    """A camera at the height of the object; degrees."""
    return Cameras.orbit(math.radians(azimuth), 0.0, 1.8, math.radians(40), 256, 256)


def denoiser_step(denoiser, kind: str, device, steps: int, picture_path: Path) -> dict:
    """One distillation step with its gradient, the denoising error, and pictures by DDIM."""
    front = camera(0).to(device)
    picture = sample(denoiser.image_size).to(device)
    denoiser = denoiser.with_reference(picture, front) if kind == "view" else denoiser.with_prompt(PROMPT)
    report = {"image size": denoiser.image_size, "guidance": denoiser.guidance,
              "prediction": denoiser.runtime.prediction, "schedule": f"{float(denoiser.alphas_cumprod[-1]):.5f} at its end"}
    parts = {"UNet": denoiser.runtime.unet, "autoencoder": denoiser.runtime.vae}
    source = denoiser.clip if kind == "view" else denoiser.encoder
    towers = [source] if hasattr(source, "model") else [source.first, source.second]  # SDXL has two
    parts.update({f"tower {i + 1}" if len(towers) > 1 else "tower": t.model for i, t in enumerate(towers)})
    report["networks"] = {name: size_of(module) for name, module in parts.items()}
    images = picture[None].clone().requires_grad_(True)
    latents = denoiser.encode(images)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0)).to(latents)
    t = torch.tensor([round(TIME * len(denoiser.alphas_cumprod))], device=device)
    abar = denoiser.alphas_cumprod.to(latents)[t]
    noisy = abar.sqrt() * latents.detach() + (1 - abar).sqrt() * noise
    single = denoiser.with_guidance(1.0)
    with torch.no_grad():
        error = float((single.predict_noise(noisy, t, front) - noise).square().mean())
        begin = time.perf_counter()
        epsilon = denoiser.predict_noise(noisy, t, front)
        wait(device)
        report["network seconds"] = time.perf_counter() - begin
    begin = time.perf_counter()
    (latents * ((1 - abar) * (epsilon - noise))).sum().backward()
    wait(device)
    assert images.grad is not None, "backward has just been called"
    report.update({"backward seconds": time.perf_counter() - begin, "latents": list(latents.shape[1:]),
                   "latent spread": float(latents.detach().std()), "denoising error": error,
                   "gradient": float(images.grad.norm())})
    turned = [camera(azimuth).to(device) for azimuth in ((0, 45, 90, 180, -90) if kind == "view" else (0,))]
    begin = time.perf_counter()
    made = [denoiser.sample(view, steps, torch.Generator().manual_seed(0))[0] for view in turned]
    report.update({"sampling seconds": time.perf_counter() - begin, "steps": steps})
    shown = "the picture; then 0, 45, 90, 180, -90 degrees" if kind == "view" else f"the sample; {PROMPT!r}"
    report["picture"], report["pictured"] = save([picture.detach(), *made], picture_path), shown
    doubts = [] if error < SUSPICIOUS else [f"denoising error {error:.2f}: it hardly removes noise (1 = knows nothing)"]
    if not math.isfinite(report["gradient"]) or report["gradient"] == 0:
        doubts.append(f"gradient {report['gradient']}")
    broken = [name for name, size in report["networks"].items() if not size["finite"]]
    return {**report, "doubts": doubts + [f"numbers that are not finite in {name}" for name in broken]}


def depth_text_step(denoiser, device, steps: int, picture_path: Path) -> dict:
    """As any text network's, and whether the depth map changes the answer."""
    report = denoiser_step(denoiser, "depth_text", device, steps, picture_path)
    side, conditioned = denoiser.latent_size, denoiser.with_prompt(PROMPT).with_guidance(1.0)
    ramp = torch.linspace(-1, 1, side, device=device).expand(1, 1, side, side)
    noisy = torch.randn(1, *report["latents"], generator=torch.Generator().manual_seed(1)).to(device)
    t = torch.tensor([round(TIME * len(denoiser.alphas_cumprod))], device=device)
    with torch.no_grad():
        view = camera(0).to(device)
        flat, sloped = (conditioned.with_depth(d).predict_noise(noisy, t, view) for d in (torch.zeros_like(ramp), ramp))
    change = float((sloped - flat).norm() / flat.norm())
    report |= {"input channels": denoiser.runtime.unet.config.in_channels, "change of its answer by depth": change}
    doubts = [] if math.isfinite(change) else ["its answer is not finite"]
    return {**report, "doubts": [*report["doubts"], *doubts, *["depth hardly changes its answer"] * (change < 1e-3)]}


def character_step(kind: str, name: str, path: Path, network, device, steps: int, picture_path: Path) -> dict:
    """What ``stages.first_use`` finds of one of StdGEN's networks, and what was assumed about its files."""
    from . import first_use
    from .stdgen_checklist import checklist

    lines = checklist(path, "stock" if kind == "multiview" and is_stock(name) else kind) if path.is_dir() else []
    begin = time.perf_counter()
    if kind == "slrm":
        lines, network = [*lines, *network.report], network.network
        parts, size = {"S-LRM": network}, network.config.encoder.image_size
        found = first_use.look_at_slrm(network, first_use.toy_figure(size, lopsided=True))
    else:
        network = first_use.reduced(network, ROWS[torch.device(device).type])
        parts = {"UNet": network.unet, "reference UNet": getattr(network, "reference", None),
                 "autoencoder": getattr(network.codec, "vae", None), "tower": getattr(network.vision, "model", None)}
        look = first_use.look_at_canonicalizer if kind == "canonical" else first_use.look_at_multiview
        found, size = look(network, first_use.toy_figure(network.size[0]), steps, device), network.size
    networks = {part: size_of(module) for part, module in parts.items() if module is not None}
    broken = [f"numbers that are not finite in {part}" for part, facts in networks.items() if not facts["finite"]]
    odd = [line for line in lines if line.startswith(("differs", "warning"))]
    report = {"networks": networks, "looked at, pixels": size, "checking seconds": time.perf_counter() - begin, **found.facts,
              **{f"file {i}": line for i, line in enumerate(lines, 1)}, "doubts": found.doubts + odd + broken}
    if found.pictures:
        tall = max(p.shape[0] for p in found.pictures)
        wide = [torch.nn.functional.pad(p.cpu(), (0, 0, 0, 0, 0, tall - p.shape[0]), value=1.0) for p in found.pictures]
        report |= {"picture": save(wide, picture_path), "pictured": PICTURED[kind]}
    return report


def clip_step(scorer, device) -> dict:
    """Similarity of the sample picture with a fitting and an unfitting text."""
    picture = sample(256).to(device)[None]
    begin = time.perf_counter()
    fitting, other = scorer.similarity(picture, PROMPT), scorer.similarity(picture, OTHER)
    report = {"networks": {"CLIP": size_of(scorer.model)}, "image size": scorer.image_size,
              f"similarity with {PROMPT!r}": fitting, f"similarity with {OTHER!r}": other,
              "network seconds": (time.perf_counter() - begin) / 2}
    return {**report, "doubts": [] if fitting > other else ["the unfitting text is nearer than the fitting one"]}


def depth_step(estimator, device, picture_path: Path) -> dict:
    """The sample picture's depth, bright = near."""
    picture = sample(384).to(device)
    mask = (picture < 0.98).any(-1).float()
    begin = time.perf_counter()
    depth = estimator.depth(picture, mask)
    wait(device)
    report = {"networks": {"estimator": size_of(estimator.net)}, "network seconds": time.perf_counter() - begin,
              "spread": float(depth[mask > 0].std()), "convention": getattr(estimator, "convention", "distance")}
    near = ((1 - depth) * mask)[..., None].expand(-1, -1, 3)
    report["picture"], report["pictured"] = save([picture, near], picture_path), "the picture; its depth, bright = near"
    return {**report, "doubts": [] if report["spread"] > 0.02 else ["its depth is flat"]}


def wait(device) -> None:
    """Until the device is done."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def peak_memory(device) -> dict:
    """Bytes at the worst moment, where the system tells."""
    memory = {"device bytes": torch.cuda.max_memory_allocated(device)} if torch.device(device).type == "cuda" else {}
    try:
        import resource
    except ImportError:  # Windows
        return memory
    unit = 1 if sys.platform == "darwin" else 1024
    return {**memory, "host bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}


def looked_at(kind: str, name: str, path: Path, network, device, steps: int, picture: Path) -> dict:
    """What one step of a network shows; of a kind without an instrument, that there is none."""
    looks = {
        "view": lambda: denoiser_step(network, kind, device, steps, picture),
        "text": lambda: denoiser_step(network, kind, device, steps, picture),
        "depth_text": lambda: depth_text_step(network, device, steps, picture),
        "clip": lambda: clip_step(network, device),
        "depth": lambda: depth_step(network, device, picture),
        **dict.fromkeys(PICTURED, lambda: character_step(kind, name, path, network, device, steps, picture)),
    }
    return looks[kind]() if kind in looks else {"doubts": [f"loaded, but nothing here looks at a {kind} network"]}


def verify(kind: str, name: str, path: Path, device, steps: int, picture: Path) -> dict:
    """The whole report of one network; "error" instead of results where it was refused."""
    report: dict = {"name": name, "kind": kind, "path": str(path), "device": str(device)}
    try:
        if kind == "file":
            kind = report["kind"] = kind_of_file(path)
        if path.is_file() and (tensors := KINDS[kind].check(path)):
            report["tensors"] = tensors
        from diffusers import AutoencoderKL, UNet2DConditionModel  # noqa: F401  their import is not loading
        from transformers import CLIPTextModel, CLIPVisionModelWithProjection  # noqa: F401

        begin = time.perf_counter()
        network = loaded(kind, name, path, device)
        report["loading seconds"] = time.perf_counter() - begin
        report.update(looked_at(kind, name, path, network, device, steps, picture))
    except InputError as problem:
        report["error"] = str(problem)
    return {**report, **peak_memory(device)}
