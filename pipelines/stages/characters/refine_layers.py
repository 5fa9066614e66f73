"""Multi-layer refinement from inside out: body, then clothing, then hair (StdGEN Sec. 3.3, S-D)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ...core.character_views import CharacterViews
from ...core.errors import InputError, StopStage
from ...core.layers import LAYER_NAMES, LayeredMesh
from ...core.mesh import Mesh, merge
from ...core.step import KeepState, OnStep, Step, ignore_step, keep_no_state
from ...core.threads import aside
from ...metrics.layers import penetration
from ...ops.dilate import carried, dilate
from ...ops.remesh import check_manifold
from . import layer_clean as clean
from .handedness import handedness, mirrored_layers
from .layer_fit import FitConfig, FitProgress, LayerTask, fit_layer
from .layer_masks import LayerMask, best_shift, layer_mask
from .refine_config import RefineConfig
from .refined_layers import RefinedLayers
from .refining import Refining
from .view_order import level_remarks

log = logging.getLogger(__name__)
LEVEL_OF = {"body": 2, "clothing": 1, "hair": 0}  # the peel level that shows a layer outermost
OnLayer = Callable[["RefinedLayers"], None]


def refine_layers(
    layers: LayeredMesh,
    views: CharacterViews,
    config: RefineConfig,
    *,
    keep: tuple[str, ...] = (),
    hair_segments: Tensor | None = None,
    resume: RefinedLayers | None = None,
    seed: int = 0,
    on_step: OnStep = ignore_step,
    on_layer: OnLayer | None = None,
    autosave: KeepState = keep_no_state,
    left: Refining | None = None,
    whole: bool = False,
) -> RefinedLayers:
    """Layers that follow the views' normals and outlines, each outside the ones before it.

    layers:  coarse layers in scene axes; an absent layer stays absent.
    views:   the level that shows each layer outermost must exist (body: 2, clothing: 1, hair: 0).
    keep:    names of layers that are used as they are (replaced clothing under kept hair, say).
    hair_segments: [N, H, W] masks of a segmenter on the front picture, of which those that fit become the hair mask.
    resume:  an earlier result; its finished layers are not done again.
    on_step: hears of every step; StopStage ends the refinement with what it has.  on_layer: hears of every finished layer.
    autosave: told of a ``Refining`` after every step; left: one of the same run, which then ends bit for bit where it would
              have ended without a pause.
    whole:   what the result says of itself; see :func:`refine_whole`.
    Raises InputError, before any work, for no layers, names that do not exist, levels or normals that are missing, and
    layers whose edges have more than two faces.
    """
    _check(layers, views, keep)
    check_segments(hair_segments, views)
    done = left.done if left is not None else resume or _begun(layers, views, config, whole)
    coarse = mirrored_layers(layers) if done.was_mirrored else layers
    work = _Work(coarse, views, config, seed, on_step, autosave, left)
    ahead = [n for n in coarse if n not in keep and n not in done.finished]
    if left is None:
        work.plan(ahead)
    with work.beginnings(ahead):
        done = _inside_out(work, done, keep, hair_segments, on_layer)
    return replace(done, reach=reaches(done.layers, config.tolerance))


def _inside_out(work: "_Work", done: RefinedLayers, keep: tuple[str, ...], hair_segments: Tensor | None,
                on_layer: OnLayer | None) -> RefinedLayers:
    """All layers, one after the other, or those before a stop."""
    coarse = work.coarse
    for name in coarse:
        if name in done.finished:
            continue
        if name in keep:
            mesh, inner, notes, whole = coarse[name], coarse[name], (f"{name}: kept as it is.",), True
        else:
            segments = hair_segments if name == "hair" else None
            within, work.done = done.inner.select(LAYER_NAMES[: LAYER_NAMES.index(name)]), done
            mesh, inner, notes, whole = work.refine(name, within, segments)
        finished = (*done.finished, name) if whole else done.finished
        done = replace(done, layers=done.layers.replaced(name, mesh), inner=done.inner.replaced(name, inner),
                       finished=finished, notes=(*done.notes, *notes))
        if not whole:
            break
        if on_layer is not None:
            on_layer(done)
        work.autosave(partial(Refining, done, work.index, work.total, work.body_alpha))
    return done


def refine_whole(
    mesh: Mesh, views: CharacterViews, config: RefineConfig, seed: int = 0, on_step: OnStep = ignore_step, **more: Any
) -> RefinedLayers:
    """A character that was not taken apart, as the layer "body", against level 0, by ``config.whole``; no expansion (S-D.2).

    more: resume, on_layer, autosave and left of :func:`refine_layers`.
    """
    config = replace(config, body=config.whole or config.body)
    config = replace(
        config, **{name: replace(getattr(config, name), expansion=0.0) for name in ("body", "outer", "detail")}
    )
    if "complete" not in views.levels:
        raise InputError("views", "the complete character", ", ".join(views.levels), "A figure in one piece is compared with "
                         "the level 'complete': give views that contain it.")
    return refine_layers(LayeredMesh({"body": mesh}), views.whole(), config, seed=seed, on_step=on_step, whole=True, **more)


def replace_layers(old: LayeredMesh, new: LayeredMesh, names: tuple[str, ...]) -> tuple[LayeredMesh, tuple[str, ...]]:
    """(layers, keep): ``new``'s layers under ``names``, all others as in ``old`` (StdGEN Sec. 4.5).

    ``refine_layers(layers, new_views, keep=keep)`` then works on the new ones only.  A name that ``new`` lacks takes the
    layer away (a character that loses its hair).  InputError for unknown names and for a result without layers.
    """
    unknown = [n for n in names if n not in LAYER_NAMES]
    if unknown or not names:
        raise InputError("layers to replace", f"some of {', '.join(LAYER_NAMES)}", ", ".join(unknown) or "none",
                         "Name the layers that should come from the new character.")
    chosen = {n: new[n] for n in names if n in new} | {n: old[n] for n in old if n not in names}
    if not chosen:
        raise InputError("layers to replace", "at least one layer that remains", "none",
                         "The new character lacks the named layers; name others or rebuild it.")
    layers = LayeredMesh(chosen)
    return layers, tuple(n for n in layers if n not in names)


def replaced(old: RefinedLayers, new: RefinedLayers, names: tuple[str, ...]) -> RefinedLayers:
    """:func:`replace_layers` of two results: what stays counts as finished, so ``resume`` refines the new layers only."""
    if old.whole or new.whole:
        raise InputError("old, new", "two characters in layers", "a figure in one piece",
                         "Set pieces to 'body, clothing, hair' in S-LRM: Views to Layers.")
    fresh = mirrored_layers(new.layers) if old.was_mirrored and not new.was_mirrored else new.layers
    layers, keep = replace_layers(old.layers, fresh, names)
    inner = LayeredMesh({n: old.inner[n] if n in old.inner else layers[n] for n in keep})
    coarse = LayeredMesh({n: fresh[n] if n in fresh else layers[n] for n in layers})
    note = f"Replaced: {', '.join(names)}; kept: {', '.join(keep) or 'nothing'}."
    return RefinedLayers(layers, inner, keep, (note,), coarse=coarse, story=old.story.joined(new.story))


def report(refined: RefinedLayers) -> list[str]:
    """Lines for people: what was noted, and how far layers reach into each other."""
    lines = list(refined.notes)
    for pair, found in refined.reach.items():
        deep = f"{found['deepest']:.4f} units at the deepest, {found['share']:.2%} of the vertices"
        lines.append(f"{pair}: {deep if found['share'] else 'nowhere'}.")
    waiting = [n for n in refined.layers if n not in refined.finished]
    return lines + ([f"Not refined yet: {', '.join(waiting)}."] if waiting else [])


def reaches(layers: LayeredMesh, tolerance: float) -> dict:
    """How far each layer's vertices lie inside each layer within it, by :func:`~..metrics.layers.penetration`."""
    names = layers.names
    pairs = [(outer, inner) for i, outer in enumerate(names) for inner in names[:i]]
    return {f"{o} in {i}": penetration(layers[o], layers[i], tolerance) for o, i in pairs}


class _Work:
    """What all layers of one run share."""

    def __init__(self, layers: LayeredMesh, views: CharacterViews, config: RefineConfig, seed: int, on_step: OnStep,
                 autosave: KeepState, left: Refining | None):
        self.views, self.config, self.seed, self.on_step, self.autosave = views, config, seed, on_step, autosave
        self.coarse, self.left, self.done = layers, left, RefinedLayers(layers)
        self.begun: dict[str, Callable[[], tuple[Mesh, str]]] = {}
        self.body_alpha = None if left is None else left.outline
        self.total, self.index = (0, 0) if left is None else (left.total, left.step)

    def plan(self, names: list[str]) -> None:
        """Counts the steps ahead."""
        self.total = sum(fit.steps for name in names for fit in self._fits(name))

    def _fits(self, name: str) -> list[FitConfig]:
        return [self.config.body if name == "body" else self.config.outer, self.config.detail]

    def refine(
        self, name: str, inner: LayeredMesh, segments: Tensor | None
    ) -> tuple[Mesh, Mesh, tuple[str, ...], bool]:
        """(layer, the layer as the next ones see it, notes, whether it is done)."""
        config, notes, outline = self.config, [], self.body_alpha
        left = self.left if self.left is not None and self.left.layer == name else None
        given = self.coarse[name].detach()
        before = None if left is None else left.before
        mesh, note = self.begun[name]() if name in self.begun else self._begin(name, before is None)
        notes += [f"{name}: {note}"] if note else []
        fixed = merge([inner[n] for n in inner]) if len(inner) else None
        if before is not None:
            mesh = before
        elif fixed is not None:
            mesh = self._moved_aside(name, mesh, inner, fixed)
        task, more = self._task(name, fixed, segments)
        notes += more
        mesh, whole = self._fit(name, mesh, task, left, outline)
        mesh = clean.smoothed(mesh, config.smooth, config.smooth_shrinks)
        if fixed is not None and config.push_out:
            mesh = clean.pushed_out(mesh, [inner[n] for n in inner], config.tolerance / 2)
        seen = mesh
        mesh = clean.merged_faces(mesh, config.least_area)
        mesh, note = clean.large_parts(mesh, config.least_part_after)
        notes += [f"{name}: after fitting {note}"] if note else []
        mesh, seen, vanished = _unless_vanished(name, given, mesh, seen)
        if fixed is not None and name in config.dilate and not vanished and config.push_after > 0:
            mesh = self._dilated(mesh, fixed, config.push_after)
        if fixed is not None and config.push_out:
            mesh = clean.pushed_out(mesh, [inner[n] for n in inner], config.tolerance / 2)
        return mesh, seen, (*notes, *vanished), whole

    @contextmanager
    def beginnings(self, names: list[str]) -> Iterator[None]:
        """Inside, the layers after the first are begun on other cores: what they begin with depends on no other layer."""
        with ExitStack() as stack:
            device = self.views.color.device
            self.begun = {name: stack.enter_context(aside(partial(self._begin, name), device)) for name in names[1:]}
            yield

    def _begin(self, name: str, even: bool = True) -> tuple[Mesh, str]:
        """The large parts of the layer, where asked for even enough for the first fit, and a note."""
        config = self.config
        mesh, note = clean.large_parts(self.coarse[name].detach(), config.least_part)
        if config.even and even:
            first = config.body if name == "body" else config.outer
            mesh = clean.evened(mesh, first.optimizer.longest, config.even)
        return mesh, note

    def _moved_aside(self, name: str, mesh: Mesh, inner: LayeredMesh, fixed: Mesh) -> Mesh:
        points = mesh.vertices
        if self.config.carry:
            before = [self.coarse[n] for n in inner if n in self.coarse]
            old = merge([Mesh(m.vertices, m.faces) for m in before])
            points = carried(points, (old.vertices, old.faces), (fixed.vertices, fixed.faces), self.config.carry)
        mesh = Mesh(points, mesh.faces)
        return self._dilated(mesh, fixed, self.config.push_before) if name in self.config.dilate else mesh

    def _dilated(self, mesh: Mesh, fixed: Mesh, push: float) -> Mesh:
        points = dilate(mesh.vertices, fixed.vertices, fixed.vertex_normals(), push, self.config.dilate_falloff)
        return Mesh(points, mesh.faces)

    def _task(self, name: str, fixed: Mesh | None, segments: Tensor | None) -> tuple[LayerTask, list[str]]:
        config, views, level = self.config, self.views.level(LEVEL_OF[name]), LEVEL_OF[name]
        notes, mask = [], None
        if name in config.masked:
            upto = self.coarse.select(LAYER_NAMES[: LAYER_NAMES.index(name) + 1])
            mask = layer_mask(upto, name, self.views, level, config.mask_front_only, segments)
            notes += [f"{mask.note}." if mask else f"{name}: no mask, the levels do not differ or one is missing."]
        normal, alpha = views.normal[0], views.alpha[0]
        if config.register:
            normal, alpha, mask, note = self._registered(name, normal, alpha, mask)
            notes += note
        found = (mask.mask, mask.free, mask.known) if mask else (None, None, None)
        task = LayerTask(normal, alpha, views.cameras, fixed, *found)
        return _resized(task if all(views.seen) else _of_views(task, views.seen), config.size), notes

    def _registered(self, name: str, normal: Tensor, alpha: Tensor, mask: LayerMask | None):
        """Rolls each view sideways until its background matches the body's (S-D.3b)."""
        from ...render.normal_maps import orthographic_raster

        if self.body_alpha is None:
            body = self.coarse[self.coarse.names[0]]
            shown = orthographic_raster(body.vertices.detach(), body.faces, self.views.cameras)[0].covered
            reference = ~shown
        else:
            reference = self.body_alpha <= 0.1
        most = round(self.config.register * alpha.shape[-1] / 1024)
        shifts = [best_shift(a < 0.1, r, most) for a, r in zip(alpha, reference, strict=True)]
        roll = lambda stack: torch.stack([p.roll(s, 1) for p, s in zip(stack, shifts, strict=True)])  # noqa: E731
        normal, alpha = roll(normal), roll(alpha)
        if self.body_alpha is None:
            self.body_alpha = alpha
        if mask is not None:
            mask = replace(mask, mask=roll(mask.mask), free=roll(mask.free))
        note = [f"{name}: views shifted sideways by {shifts} pixels."] if any(shifts) else []
        return normal, alpha, mask, note

    def _fit(self, name: str, mesh: Mesh, task: LayerTask, left: Refining | None, outline: Tensor | None) -> tuple[Mesh, bool]:
        """(surface, whether it is done); left: where to go on; outline: as this layer found it."""
        generator, first, surface = torch.Generator().manual_seed(self.seed), 0, None
        if left is not None and left.generator is not None:
            generator.set_state(left.generator)
            first, surface = left.fit, left.surface
        state = None
        try:
            for index, fit in enumerate(self._fits(name)[first:], first):
                before = mesh
                mesh = mesh if surface is None else Mesh(surface["points"], surface["faces"])
                for progress in fit_layer(before, task, fit, generator, surface):
                    mesh = Mesh(progress.points, progress.faces)
                    state = partial(self._state, name, index, before, generator, progress, outline)
                    self._report(name, progress)
                    self.autosave(state)
                surface = None
                if self.config.follow and not fit.explicit:
                    mesh = clean.followed(before, mesh, task.fixed, task.cameras, self.config.follow)
        except StopStage:
            if state is not None:
                self.autosave(state, now=True)
            return mesh, False
        return mesh, True

    def _state(self, name: str, fit: int, before: Mesh, generator: torch.Generator, progress: FitProgress,
               outline: Tensor | None) -> Refining:
        return Refining(self.done, self.index, self.total, outline, name, fit, before, generator.get_state(), progress.state())

    def _report(self, name: str, progress) -> None:
        self.index += 1
        every = self.config.preview_every
        preview = progress.front.clamp(0, 1).cpu() if every and self.index % every == 0 else None
        self.on_step(Step(f"Refine {name}", self.index, self.total, progress.losses, preview))


def _unless_vanished(name: str, given: Mesh, mesh: Mesh, seen: Mesh) -> tuple[Mesh, Mesh, tuple[str, ...]]:
    """Keeps the input of a layer that the fit destroyed."""
    area = lambda m: float(m.face_normals().norm(dim=-1).sum())  # noqa: E731
    if len(mesh.faces) and area(mesh) >= 0.05 * area(given):
        return mesh, seen, ()
    note = f"{name}: vanished while it was fitted to the views; its input is kept. Do the views show it?"
    log.warning(note)
    return given, given, (note,)


def _of_views(task: LayerTask, seen: tuple[bool, ...]) -> LayerTask:
    """The task with the views that are there; the first must be the front one."""
    kept = [k for k, there in enumerate(seen) if there]
    parts = {name: None if (value := getattr(task, name)) is None else value[kept]
             for name in ("normal", "alpha", "mask", "free", "has_mask")}
    return replace(task, **parts, cameras=task.cameras[torch.tensor(kept)], views=tuple(kept))


def _resized(task: LayerTask, size: int) -> LayerTask:
    """The pictures at ``size`` pixels of height; normals stay unit."""
    height, width = task.alpha.shape[1:]
    if height == size:
        return task
    wide = max(1, round(size * width / height))

    def scaled(stack: Tensor) -> Tensor:
        mode: dict[str, Any] = {"mode": "area"} if size < height else {"mode": "bilinear", "align_corners": False}
        return torch.nn.functional.interpolate(stack.permute(0, 3, 1, 2), (size, wide), **mode).permute(0, 2, 3, 1)

    alpha = scaled(task.alpha[..., None])
    normal = torch.nn.functional.normalize(scaled(task.normal * task.alpha[..., None]), dim=-1, eps=1e-12)
    mask, free = (None if m is None else scaled(m[..., None].float())[..., 0] > 0.5 for m in (task.mask, task.free))
    return replace(
        task, normal=normal, alpha=alpha[..., 0], cameras=task.cameras.resized(size, wide), mask=mask, free=free
    )


def _begun(layers: LayeredMesh, views: CharacterViews, config: RefineConfig, whole: bool) -> RefinedLayers:
    """The layers, mirrored if the complete character's outlines say so, and what is odd about the views."""
    doubts = level_remarks(views)
    if not config.check_handedness or "complete" not in views.levels:
        return RefinedLayers(layers, notes=tuple(doubts), coarse=layers, whole=whole)
    found = handedness(layers.merged(), views.alpha[views.index(0)])
    turned = mirrored_layers(layers) if found.is_mirrored else layers
    return RefinedLayers(turned, notes=(found.note(), *doubts), was_mirrored=found.is_mirrored, coarse=layers,
                         whole=whole)


def check_segments(segments: Tensor | None, views: CharacterViews) -> None:
    """InputError unless masks [N, H, W] are of the views' shape; their size is scaled."""
    if segments is not None and abs(segments.shape[-1] / segments.shape[-2] * views.height / views.width - 1) > 0.02:
        raise InputError("hair_segments", f"masks of the front picture, {views.width} x {views.height} or scaled alike",
                         f"{segments.shape[-1]} x {segments.shape[-2]}", "Segment the front picture of the views.")


def _check(layers: LayeredMesh, views: CharacterViews, keep: tuple[str, ...]) -> None:
    if not len(layers):
        raise InputError("layers", "at least one layer with faces", "none", "Check the stage that made the layers.")
    unknown = [n for n in keep if n not in layers]
    if unknown:
        raise InputError("layers to keep", f"some of {', '.join(layers)}", ", ".join(unknown),
                         "Name layers that this character has.")
    if not views.has_normals and any(name not in keep for name in layers):
        raise InputError("views", "normal maps beside the colors: layers are fitted to them", "colors alone",
                         "Connect normals to Images to Character Views, or use the views of Character Multi-View. Without "
                         "normals wire the layers past this node into Project Colors.")
    for name in layers:
        if name in keep:
            continue
        try:
            views.index(LEVEL_OF[name])
        except ValueError as error:
            raise InputError("views", f"the peel level that shows the {name} outermost", ", ".join(views.levels),
                             f"Make three levels of views, or name the {name} in 'keep'.") from error
        check_manifold(layers[name].faces, len(layers[name].vertices), f"layer {name}")
        if not bool(torch.isfinite(layers[name].vertices).all()):
            raise InputError(
                f"layer {name}", "finite vertex positions", "NaN or infinity", "Check what made the layer."
            )
