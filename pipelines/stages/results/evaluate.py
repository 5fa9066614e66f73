"""Every metric of the papers about one object, in one table.

What cannot be computed is listed with the reason.  Where papers disagree, the row's note says which way was taken;
the definitions are in ``pipelines.metrics``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor

from ...core.cameras import HOME, Cameras
from ...core.errors import InputError
from ...core.mesh import Mesh
from ...core.step import OnStep, Step, ignore_step
from ...core.views import RenderBuffers
from ...io.table_picture import markdown, number, table_picture
from ...metrics import geometry, multiface, protocol
from ...metrics.image import psnr, ssim
from ...metrics.registration import Registration, registered
from ...metrics.sets import clip_similarity, set_table
from ..inputs.reference import ReferenceView
from ..loop.scene import Scene
from .render_views import render_mesh, render_scene, scene_mesh

BEST_PSNR = 100.0  # decibels; equal pictures would give infinity, which no mean survives
BATCH = 4  # views at once


@dataclass(frozen=True)
class EvaluateSettings:
    """size: of all pictures, pixels.  views: a name of ``protocol.VIEW_SETS``, for CLIP and contextual distance.

    intersections: look for faces through faces.  seed: of the points on surfaces.
    registration: how renders are laid over true pictures, by their masks, before PSNR, SSIM and LPIPS look at them.
    """

    size: int = 256
    views: str = "turntable-16"
    intersections: bool = True
    seed: int = 0
    registration: Registration = "off"


@dataclass(frozen=True)
class Networks:
    """Scorers, each a callable or a sentence why it is absent.

    clip: pictures [B, H, W, 3] -> [B, D].  lpips, contextual: (a, b) -> [B].  clip_name, lpips_name: for the table.
    """

    clip: Callable[[Tensor], Tensor] | str = "no CLIP network is connected"
    clip_name: str = ""
    lpips: Callable[[Tensor, Tensor], Tensor] | str = "not asked for"
    lpips_name: str = "alex"
    contextual: Callable[[Tensor, Tensor], Tensor] | str = "not asked for"


@dataclass(frozen=True)
class Subject:
    """What is judged.  draw: cameras -> buffers on the CPU; mesh: its surface."""

    mesh: Mesh
    draw: Callable[[Cameras], RenderBuffers]


@dataclass(frozen=True)
class Row:
    """One line: key for machines, label for people; better: "up", "down" or "" for a plain fact."""

    key: str
    label: str
    value: float | int | bool | str | None
    better: str = ""
    note: str = ""


@dataclass
class Evaluation:
    """The table.  left_out: (metric, reason)."""

    settings: dict
    rows: list[Row] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    multi_face_profile: list[float] | None = None

    def add(self, key: str, label: str, value, better: str = "", note: str = "") -> None:
        self.rows.append(Row(key, label, value, better, note))

    def to_json(self) -> dict:
        """{"metrics": {key: value}, "left_out": {metric: reason}, "settings", "multi_face_profile"}."""
        return {"metrics": {r.key: r.value for r in self.rows}, "left_out": dict(self.left_out),
                "settings": self.settings, "multi_face_profile": self.multi_face_profile}

    def to_text(self) -> str:
        """Markdown."""
        rows = [[r.label, number(r.value), r.better, r.note] for r in self.rows]
        out = "".join(f"\nleft out: {name}: {why}" for name, why in self.left_out)
        return markdown(["metric", "value", "better", "how"], rows) + out

    def to_picture(self, title: str = "Evaluation") -> Tensor:
        """[H, W, 3]."""
        rows = [[r.label, r.value, r.better, r.note] for r in self.rows]
        return table_picture(title, ["metric", "value", "better", "how"], rows,
                             tuple(f"left out: {name}: {why}" for name, why in self.left_out))


def subject_of_scene(scene: Scene, device: torch.device | str = "cpu") -> Subject:
    """A scene, drawn as its own kind: volume or surface."""
    return Subject(scene_mesh(scene, device), lambda cameras: render_scene(
        scene, cameras, device=device, want_normal=False, supersample=2))


def subject_of_mesh(mesh: Mesh) -> Subject:
    """A mesh in scene units with the pack's axes."""
    return Subject(mesh, lambda cameras: render_mesh(mesh, cameras, supersample=2, want_normal=False))


@torch.no_grad()
def evaluate(
    subject: Subject,
    reference: ReferenceView | None = None,
    truth: Mesh | None = None,
    networks: Networks = Networks(),
    settings: EvaluateSettings = EvaluateSettings(),
    on_step: OnStep = ignore_step,
) -> Evaluation:
    """The table.  ``truth`` lies in the same frame as the subject; where papers normalize first, so does this."""
    result = Evaluation(asdict(settings) | {"clip": networks.clip_name, "lpips": networks.lpips_name})
    parts = (
        ("reference view", lambda: _reference_view(result, subject, reference, networks, settings)),
        ("novel views", lambda: _novel_views(result, subject, reference, networks, settings)),
        ("sides", lambda: _sides(result, subject, truth)),
        ("true shape", lambda: _true_shape(result, subject.mesh, truth, settings)),
        ("true pictures", lambda: _true_pictures(result, subject, truth, networks, settings)),
        ("mesh", lambda: _facts(result, subject.mesh, settings)),
    )
    for index, (name, part) in enumerate(parts, 1):
        part()
        on_step(Step("Evaluate", index, len(parts), {}, note=name))
    return result


def _reference_view(result, subject, reference, networks: Networks, settings) -> None:
    if reference is None:
        result.left_out.append(("reference view", "no reference is connected"))
        return
    buffers = subject.draw(reference.camera.resized(settings.size, settings.size))
    cover, how = reference.resized(settings.size).alpha[0], settings.registration
    seen, wanted = _laid_over(buffers, cover[None], how), reference.on_background(settings.size)[None]
    note = f"whole picture on white, {settings.size} px"
    moved = ", no stretching" if how == "off" else f", {how} registration of masks"
    result.add("reference_psnr", "reference PSNR, dB", _decibels(seen, wanted), "up", note + moved + ", no JPEG")
    result.add("reference_ssim", "reference SSIM", float(ssim(seen, wanted)), "up", "Wang et al. 2004, Gaussian window")
    _lpips(result, "reference", "reference", seen, wanted, networks)
    solid, true = buffers.alpha[0] > 0.5, cover > 0.5
    union = int((solid | true).sum())
    result.add("reference_mask_iou", "reference outline IoU", int((solid & true).sum()) / max(union, 1), "up",
               "" if how == "off" else "as placed")


def _laid_over(buffers: RenderBuffers, masks: Tensor, how: Registration) -> Tensor:
    """[B, S, S, 3] renders on white, registered to masks [B, S, S]."""
    return registered(buffers.composite(1.0).clamp(0, 1), buffers.alpha, masks.to(buffers.alpha), how).clamp(0, 1)


def _novel_views(result, subject, reference, networks: Networks, settings) -> None:
    wanted = [("CLIP similarity", networks.clip), ("contextual distance", networks.contextual)]
    for name, network in wanted:
        reason = "no reference is connected" if reference is None else network if isinstance(network, str) else ""
        if reason:
            result.left_out.append((name, reason))
    if reference is None or all(isinstance(network, str) for _, network in wanted):
        return
    views = subject.draw(protocol.view_set(settings.views, settings.size)).composite(1.0).clamp(0, 1)
    picture = reference.on_background(settings.size)[None]
    if not isinstance(networks.clip, str):
        embed = networks.clip
        vectors = torch.cat([embed(part).cpu() for part in views.split(BATCH)])
        result.add("clip_similarity", "CLIP similarity", float(clip_similarity(embed(picture).cpu(), vectors).mean()), "up",
                   f"to the reference; {networks.clip_name}; {settings.views}, front included")
    if not isinstance(networks.contextual, str):
        result.add("contextual_distance", "contextual distance", float(networks.contextual(views, picture).mean()), "down",
                   f"VGG-19 relu3_4 + relu4_4; {settings.views}")


def _sides(result, subject, truth) -> None:
    cameras = HOME.turntable(multiface.VIEWS, 0.0, 96)

    def judge(source: Subject) -> multiface.MultiFace:
        buffers = source.draw(cameras)
        return multiface.multi_face(buffers.composite(1.0).clamp(0, 1), buffers.alpha)

    found = judge(subject)
    none = "no distinct front" if found.profile is None else f"{multiface.VIEWS} views around"
    result.add("sides_like_front", "sides that show the front", found.faces, "", none + "; 1 = no Janus problem")
    result.add("janus", "Janus score", found.score, "down", "best resemblance to the front from 60 degrees on")
    result.multi_face_profile = None if found.profile is None else [round(v, 4) for v in found.profile.tolist()]
    if truth is not None:
        result.add("sides_like_front_truth", "the same, true object", judge(subject_of_mesh(truth)).faces)


def _true_shape(result, mesh: Mesh, truth: Mesh | None, settings) -> None:
    if truth is None:
        result.left_out.append(("comparison with the true mesh", "no true mesh is connected"))
        return
    if not len(mesh.faces):
        result.left_out.append(("shape", "the object has no surface"))
        return
    box = "both scaled to the unit cube"
    distance = geometry.chamfer(mesh, truth, seed=settings.seed)
    points = f"{geometry.CHAMFER_SAMPLES} points; {box}"
    result.add("chamfer_squared", "Chamfer, squared sum", distance.squared, "down", f"Consistent123; {points}")
    result.add("chamfer_plain", "Chamfer, plain mean", distance.plain, "down", f"SyncDreamer; {points}")
    result.add("iou", "volume IoU 64^3", geometry.volumetric_iou(mesh, truth), "up", box)
    result.add("iou_placed", "volume IoU 64^3, as placed", geometry.volumetric_iou(mesh, truth, normalize=False), "up",
               "scene units: shift and scale count")
    result.add("f_score", "F-score at 2 %", geometry.f_score(mesh, truth, seed=settings.seed), "up", box)
    result.add("normal_consistency", "normal consistency",
               geometry.normal_consistency(mesh, truth, seed=settings.seed), "up", f"|cos|, both ways; {box}")


def _true_pictures(result, subject, truth: Mesh | None, networks: Networks, settings) -> None:
    if truth is None:
        return
    cameras = protocol.eighteen_views(settings.size)
    true, how = subject_of_mesh(truth).draw(cameras), settings.registration
    wanted, seen = true.composite(1.0).clamp(0, 1), _laid_over(subject.draw(cameras), true.alpha, how)
    each = psnr(seen, wanted).clamp(max=BEST_PSNR)
    note = "Consistent123's 18 views, on white" + ("" if how == "off" else f", {how} registration of masks")
    result.add("views_psnr", "multi-view PSNR, dB", float(each.mean()), "up", note + ", front included")
    result.add("novel_psnr", "novel-view PSNR, dB", float(each[1:].mean()), "up", "the same without the front")
    result.add("novel_psnr_worst", "worst novel view, dB", float(each[1:].min()), "up")
    result.add("views_ssim", "multi-view SSIM", float(ssim(seen, wanted).mean()), "up", note)
    _lpips(result, "views", "multi-view", seen, wanted, networks)


@torch.no_grad()
def compare_sets(reference: Tensor, pictures: Tensor, networks: Networks = Networks(), around: bool = False) -> Evaluation:
    """Scores of a set of pictures [N, H, W, 3] against its partners, pair by pair and as two sets.

    around: the pictures go around an object in even steps, the first from the front; adds rows by the angle from there, left
    and right sides together (HiFi-123, supplementary Table 3).
    StdGEN reports FID; it needs the Inception weights of Heusel et al. and thousands of pictures, and is left out.  On
    CLIP embeddings the same distance is named after them.
    """
    result = Evaluation({"count": len(pictures), "clip": networks.clip_name, "lpips": networks.lpips_name})
    if reference.shape != pictures.shape or len(pictures) < 2:
        raise InputError("pictures", "two sets of the same size, 2 pictures or more",
                         f"{tuple(reference.shape)} and {tuple(pictures.shape)}", "Resize them, and give partners in one order.")
    each = psnr(pictures, reference).clamp(max=BEST_PSNR)
    note = f"{len(pictures)} pairs"
    result.add("set_psnr", "PSNR, dB", float(each.mean()), "up", f"{note}; standard error {_error(each):.2g}")
    result.add("set_psnr_worst", "worst pair, dB", float(each.min()), "up", f"pair {int(each.argmin()) + 1}")
    similar = ssim(pictures, reference)
    result.add("set_ssim", "SSIM", float(similar.mean()), "up", f"{note}; standard error {_error(similar):.2g}")
    _lpips(result, "set", "set", pictures, reference, networks)
    if isinstance(networks.clip, str):
        result.left_out.append(("CLIP similarity", networks.clip))
    else:
        vectors = [torch.cat([networks.clip(part).cpu() for part in set_.split(BATCH)]) for set_ in (reference, pictures)]
        found = set_table(*vectors)
        result.add("set_clip", "CLIP similarity", found["similarity"], "up",
                   f"{networks.clip_name}; pair by pair; standard error {found['similarity_error']:.2g}")
        result.add("set_frechet_clip", "Frechet distance of CLIP embeddings", found["frechet"], "down",
                   f"{networks.clip_name}; not FID; larger for small sets")
    if around:
        _by_angle(result, each, reference, pictures, networks)
    result.left_out.append(("FID", "its Inception weights are not part of this pack, and no other network is FID"))
    return result


def _by_angle(result: Evaluation, decibels: Tensor, reference: Tensor, pictures: Tensor, networks: Networks) -> None:
    """PSNR and LPIPS at each angle from the first picture."""
    count = len(pictures)
    angles = [round(min(k, count - k) * 360 / count, 2) for k in range(count)]
    known = {"PSNR, dB": ("psnr", decibels, "up")}
    if not isinstance(networks.lpips, str):
        lpips = torch.cat([networks.lpips(a, b) for a, b in zip(pictures.split(BATCH), reference.split(BATCH), strict=True)])
        known[f"LPIPS ({networks.lpips_name})"] = (f"lpips_{networks.lpips_name}", lpips, "down")
    for label, (key, values, better) in known.items():
        for angle in sorted(set(angles)):
            at = [k for k, a in enumerate(angles) if a == angle]
            note = "the front" if angle == 0 else f"{len(at)} view{'s' * (len(at) > 1)}"
            result.add(f"{key}_at_{angle:g}", f"{label}, {angle:g} degrees", float(values[at].mean()), better, note)


def _error(values: Tensor) -> float:
    return float(values.double().std() / len(values) ** 0.5)


def _facts(result, mesh: Mesh, settings) -> None:
    if not len(mesh.faces):
        result.left_out.append(("mesh facts", "the object has no surface"))
        return
    facts = geometry.mesh_facts(mesh, settings.intersections)
    for key in ("faces", "watertight", "components", "degenerate_faces", "self_intersections"):
        if key in facts:
            result.add(f"mesh_{key}", f"mesh: {key.replace('_', ' ')}", facts[key])
    texture = facts.get("texture")
    if texture:
        result.add("mesh_texels", "mesh: texels", texture["texels"])
        result.add("mesh_texels_per_unit", "mesh: texels per scene unit", texture["per_unit"], "", "median by area")
        result.add("mesh_texel_spread", "mesh: spread of texel density", texture["spread"], "down", "95 % over 5 %")


def _lpips(result, key: str, label: str, seen: Tensor, wanted: Tensor, networks: Networks) -> None:
    name = f"{label} LPIPS ({networks.lpips_name})"
    if isinstance(networks.lpips, str):
        result.left_out.append((name, networks.lpips))
        return
    values = torch.cat([networks.lpips(a, b) for a, b in zip(seen.split(BATCH), wanted.split(BATCH), strict=True)])
    result.add(f"{key}_lpips_{networks.lpips_name}", name, float(values.mean()), "down", "version 0.1")


def _decibels(a: Tensor, b: Tensor) -> float:
    return float(psnr(a, b).clamp(max=BEST_PSNR).mean())
