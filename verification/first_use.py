"""What can only be known of StdGEN's published networks once their files are opened, asked of a toy character (S-K).

Cheap: reduced sizes, few evaluations.  Each check gives figures, doubts in words and pictures to look at; a network that is
merely odd raises nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from ..pipelines.core.character_views import LEVEL_NAMES, CharacterViews
from ..pipelines.core.errors import InputError
from ..pipelines.core.layers import LAYER_NAMES
from ..pipelines.core.mesh import Mesh
from ..pipelines.core.ortho import six_views
from ..pipelines.networks.noise import PREDICTIONS, add_noise, to_epsilon
from ..pipelines.networks.stdgen.schedule import make_scheduler
from ..pipelines.networks.stdgen.slrm_decoder import on_points
from ..pipelines.networks.stdgen.slrm_frames import scene_to_slrm
from ..pipelines.ops.semantic_field import BODY, CODES, FACE
from ..pipelines.render.normal_maps import render_attributes
from ..pipelines.stages.characters.canonicalize import CanonicalSettings, canonicalize
from ..pipelines.stages.characters.handedness import handedness
from ..pipelines.stages.characters.lift_layers import LiftedField, lift_field
from ..pipelines.stages.characters.multiview import MultiViewSettings, check_order, draw_views, level_report
from ..pipelines.stages.characters.picture import CharacterPicture, fit_upright
from ..pipelines.toybox.characters import A_POSE, input_picture, make_character, render_levels

SEED = 10_000_003  # a held-out character
LOPSIDED = {"arm_l": np.array([0.0, 0.0, -0.4])}  # one arm 23 degrees lower than the other: left can be told from right
TIME = 0.4  # of the schedule, where the denoising error is measured
KNOWS_LITTLE = 0.7  # of the error of the best guess without a network, a multiple of the noisy latents
CLEARLY_BETTER = 0.5  # of an error: another reading of the answers that is below this share is the likelier one
FACE_PART, LEG_PART = 0.85, 0.2  # of the body's height: what is above (and in front), and below


@dataclass(frozen=True)
class Findings:
    """facts: name -> figure or sentence; doubts: sentences; pictures: [H, W, 3] sRGB of one size, for people."""

    facts: dict
    doubts: list[str] = field(default_factory=list)
    pictures: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True)
class Figure:
    """A character of which all is known.  picture: in some pose; views: the true ones, square; body: its naked mesh."""

    picture: CharacterPicture
    views: CharacterViews
    body: Mesh


def toy_figure(size: int, lopsided: bool = False, cells: int = 64) -> Figure:
    """A toy character seen at ``size`` pixels; lopsided: its views, too, are of an asymmetric pose; cells: of its meshes."""
    toy = make_character(SEED)
    posed = input_picture(toy, 0, size, layers=toy.posed(toy.pose(0), cells))
    layers = toy.posed(LOPSIDED if lopsided else A_POSE, cells)
    return Figure(CharacterPicture(posed[..., :3], posed[..., 3]), render_levels(layers, size), layers["body"])


def reduced(network, rows: int):
    """A copy that draws pictures of ``rows`` latents' height; its own size where that is less."""
    shrink, (height, width) = network.codec.shrink, network.size
    if rows * shrink >= height:
        return network
    return replace(network, size=(rows * shrink, max(2, 2 * round(rows * width / height / 2)) * shrink))


def look_at_canonicalizer(network, figure: Figure, steps: int, device: torch.device | str = "cpu") -> Findings:
    """A canonicalizer's answers at the true A-pose, and what it draws; network: at the size that is to be looked at."""
    settings = CanonicalSettings(steps=min(steps, network.steps), preview_every=0)
    drawn = canonicalize(network, figure.picture, settings, device=device)
    truth = fit_upright(figure.views.color[0, 0], network.size).to(device)
    shown = drawn.shown.to(device)
    seen, blank = network.see(shown), network.see(torch.ones_like(shown))
    clean = network.codec.encode(truth[None])
    facts, doubts = _denoising(lambda x, t: network.predict(x, t, seen, 1.0), clean, network.schedule)
    share = _change(lambda of: network.predict(clean, _time(network.schedule), of, 1.0), seen, blank)
    facts["change of its answer without the picture"] = share
    doubts += [] if share > 1e-3 else ["the picture that it is shown hardly changes its answer"]
    if hasattr(network.vision, "antialias"):
        other = replace(network.vision, antialias=not network.vision.antialias)
        tokens = [v.image_embedding(shown[None]) for v in (network.vision, other)]
        facts["CLIP token with and without antialias, cosine"] = float(torch.cosine_similarity(*tokens))
    return Findings(facts, doubts + _finite(drawn.picture), [drawn.shown, drawn.picture, truth.cpu()])


def look_at_multiview(network, figure: Figure, steps: int, device: torch.device | str = "cpu") -> Findings:
    """A multi-view network's answers at the true views, and the levels that it draws."""
    views, levels = figure.views, (0,) if network.stock else (0, 1, 2)
    front = fit_upright(views.color[0, 0], network.size).to(device)
    clean = _latents(network, views, 0, device)
    seen = network.show(front)
    facts, doubts = _denoising(lambda x, t: network.predict(x, t, seen, 0, 1.0), clean, network.schedule)
    heads = getattr(network.unet, "pose_heads", None)
    if heads is not None:
        facts["guessed elevation, focal length"] = ", ".join(f"{v:.3g}" for v in heads.pose[0].tolist())
    if not network.stock:
        share = _change(lambda of: network.predict(clean, _time(network.schedule), seen, of, 1.0), 0, 2)
        facts["change of its answer by the level"] = share
        truth = {level: _latents(network, views, level, device) for level in levels}
        doubts += _levels(network, truth, seen) if share > 1e-3 else ["the level hardly changes its answer"]
    settings = MultiViewSettings(levels, min(steps, network.steps), preview_every=0)
    drawn = draw_views(network, front.cpu(), settings, device=device)
    lines = level_report(drawn)
    facts |= {f"level {i}": line for i, line in enumerate(lines, 1)}
    doubts += [line for line in lines if "disagree" in line] + _order(drawn) + _finite(drawn.color)
    return Findings(facts, doubts, [views.color[0, 0], *drawn.color[:, 0], *drawn.encoded_normal()[:, 0]])


def look_at_slrm(network, figure: Figure) -> Findings:
    """What an S-LRM makes of the true views: layers, handedness (S-K.5), and which class is the face (S-K.6).

    figure: a lopsided one; outlines of a symmetric one cannot tell left from right.
    """
    views = figure.views
    try:
        found = lift_field(views.color[0], network)
    except InputError as problem:
        return Findings({}, [str(problem)])
    full = found.surface("full")
    faces = {name: len(found.surface(CODES[name]).faces) for name in LAYER_NAMES}
    facts = {"faces": ", ".join(f"{name} {count}" for name, count in {"full": len(full.faces), **faces}.items())}
    doubts = [f"{name}: nothing found" for name, count in faces.items() if not count]
    facts["classes"], unclear = _classes(found, figure.body)
    if not len(full.faces):
        return Findings(facts, [*doubts, "nothing solid found"])
    hand = handedness(full.to("cpu"), views.alpha[0])
    facts["handedness"] = hand.note()
    doubts += unclear + (["its world is mirrored: the layers have to be mirrored to fit"] if hand.is_mirrored else [])
    full = full.to("cpu").detach()
    assert full.vertex_colors is not None, "the network's surfaces are colored"
    seen = render_attributes(full.vertices, full.faces, full.vertex_colors, six_views(views.color.shape[2]))
    return Findings(facts, doubts, [views.color[0, 0], *(seen[..., :3] + 1 - seen[..., 3:])[[0, 2, 3]]])


def _classes(found: LiftedField, body: Mesh) -> tuple[str, list[str]]:
    """Mean probability of classes 1 and 2 at the true face and legs, in words, and a doubt where they are one."""
    low, high = body.vertices[:, 1].amin(), body.vertices[:, 1].amax()
    part = (body.vertices[:, 1] - low) / (high - low)
    words, likelier = [], []
    for name, chosen in (("face", (part > FACE_PART) & (body.vertices[:, 2] > 0)), ("legs", part < LEG_PART)):
        points = scene_to_slrm(body.vertices[chosen]).to(found.planes)
        with torch.no_grad():
            share = on_points(found.network.decoder.semantics, found.planes, points).mean(0)
        words.append(f"at the {name} class 1 {float(share[FACE]):.2f}, class 2 {float(share[BODY]):.2f}")
        likelier.append(FACE if share[FACE] > share[BODY] else BODY)
    if likelier[0] == likelier[1]:
        return "; ".join(words), ["classes 1 and 2 are the same at face and legs: which is the face stays unknown"]
    return "; ".join(words) + f": class {likelier[0]} is the face", []


def _latents(network, views: CharacterViews, level: int, device) -> Tensor:
    """[12, C, h, w] of the true views of a level, normals first."""
    pictures = [*views.encoded_normal()[level], *views.color[level]]
    return network.codec.encode(torch.stack([fit_upright(p, network.size) for p in pictures]).to(device))


def _levels(network, truth: dict[int, Tensor], seen) -> list[str]:
    """Doubts about levels whose true views are denoised better under another level's code (S-K.9)."""
    doubts = []
    for level, clean in truth.items():
        errors = {code: _errors(lambda x, t, code=code: network.predict(x, t, seen, code, 1.0), clean, network.schedule)[0]
                  for code in truth}
        told = network.schedule.get("prediction_type", "epsilon")
        best = min(errors, key=lambda code: errors[code][told])
        if best != level:
            names = LEVEL_NAMES[level], LEVEL_NAMES[best]
            doubts.append("the true views of '{}' are denoised better when it is asked for '{}'".format(*names))
    return doubts


def _time(schedule: dict) -> int:
    return round(TIME * schedule.get("num_train_timesteps", 1000))


def _denoising(predict, clean: Tensor, schedule: dict) -> tuple[dict, list[str]]:
    """(facts, doubts) of one evaluation under the schedule's reading of the answer and under others."""
    errors, finite = _errors(predict, clean, schedule)
    told, end = schedule.get("prediction_type", "epsilon"), float(make_scheduler(schedule).alphas_cumprod[-1])
    facts = {"prediction": told, "schedule": f"{end:.5f} at its end", "denoising error (1 = knows nothing)": errors[told],
             "read otherwise": ", ".join(f"{k} {v:.3g}" for k, v in errors.items() if k != told)}
    best = min(errors, key=lambda kind: errors[kind])
    if not finite:
        return facts, ["its answer is not finite"]
    if errors[best] < min(KNOWS_LITTLE, CLEARLY_BETTER * errors[told]):
        return facts, [f"read as {best} its error would be {errors[best]:.2g}: the scheduler's prediction_type may be wrong"]
    if errors[told] > KNOWS_LITTLE:
        return facts, [f"denoising error {errors[told]:.2f}: it hardly removes noise (1 = knows nothing)"]
    return facts, []


def _errors(predict, clean: Tensor, schedule: dict) -> tuple[dict[str, float], bool]:
    """(errors of the noise by reading of the answer, whether the answer is finite).

    Errors are squared and relative to those of the best multiple of the noisy latents, so a network that knows nothing has 1
    or more, whatever it predicts.
    """
    alphas = make_scheduler(schedule).alphas_cumprod.to(clean)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0)).to(clean)
    t = torch.tensor([_time(schedule)], device=clean.device)
    noisy = add_noise(clean, noise, t, alphas)
    answer = predict(noisy, int(t))
    guess = (noisy * noise).sum() / noisy.square().sum() * noisy
    worst = float((guess - noise).square().mean())
    errors = {kind: float((to_epsilon(answer, noisy, t, alphas, kind) - noise).square().mean()) / worst for kind in PREDICTIONS}
    return errors, bool(torch.isfinite(answer).all())


def _change(answer, one, other) -> float:
    """Relative distance of two answers."""
    a, b = answer(one), answer(other)
    return float((a - b).norm() / a.norm().clamp_min(1e-12))


def _finite(pictures: Tensor) -> list[str]:
    return [] if bool(torch.isfinite(pictures).all()) else ["pictures that are not finite"]


def _order(views: CharacterViews) -> list[str]:
    try:
        return [f"the views that it draws: {remark}" for remark in check_order(views)]
    except InputError as problem:
        return [f"the views that it draws: {problem}"]
