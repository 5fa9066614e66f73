"""Fits one layer of a character to six pictures of normals while the layers inside it stay (StdGEN Sec. 3.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, cast, get_args

import torch
from torch import Tensor

from ...core.errors import NotFinite
from ...core.mesh import Mesh
from ...core.ortho import OrthoCameras
from ...core.threads import aside
from ...losses import layers as losses
from ...ops.remesh_optimizer import RemeshConfig, RemeshOptimizer
from ...render import normal_maps

NORMAL_WEIGHTS = (2.0, 0.8, 0.8, 2.0, 0.8, 0.8)  # of the six views' normals on the surface (S-D.5)
ExpansionOver = Literal["active", "all"]
EXPANSION_OVER = get_args(ExpansionOver)
LEAST_CONFIDENCE = 0.1  # below this sum of weights a vertex keeps its own normal


@dataclass(frozen=True)
class FitConfig:
    """One of the two fits of a layer; weights are those of the released code (S-D.4, S-D.5, S-D.7).

    steps:        iterations.  optimizer: rates, edge lengths, rhythm of remeshing.
    explicit:     compare with per-vertex target normals instead of the pictures' (the second, "ExplicitTarget" fit).
    refresh:      steps between two projections of the target normals, after the first five steps.
    collision:    weight of Eq. 13.  gate: scene units, how near a colliding vertex is.
    expansion:    weight of the push along the normals; parity: with the released code's flipped normals; expansion_over: its
                  mean runs over the "active" vertices or over "all", the fixed ones too (the code).
    area_normals: vertex normals count faces with their area (the code), not all alike.
    smoothness:   weight of the uniform Laplacian (ours, 0 in the paper; the optimizer has its own).
    mask_inside, mask_outside: weights of the layer's own visible part, where a mask of it is known.
    whole_mask:   coverage is compared everywhere (the paper's Eq. 12), not over the background only (its code).
    """

    steps: int
    optimizer: RemeshConfig
    explicit: bool = False
    refresh: int = 20
    collision: float = 100.0
    gate: float = losses.GATE
    expansion: float = 0.1
    parity: bool = False
    expansion_over: ExpansionOver = "active"
    area_normals: bool = False
    smoothness: float = 0.0
    mask_inside: float = 1.0
    mask_outside: float = 10.0
    whole_mask: bool = False

    def __post_init__(self):
        if self.steps < 0 or self.refresh < 1:
            raise ValueError(f"steps must be at least 0 and refresh at least 1, got {self.steps} and {self.refresh}")
        if self.expansion_over not in EXPANSION_OVER:
            raise ValueError(f"expansion_over must be one of {EXPANSION_OVER}, got {self.expansion_over!r}")


@dataclass(frozen=True)
class LayerTask:
    """What one layer is fitted to.

    normal, alpha: [6, H, W, 3] unit normals in scene axes and [6, H, W] coverage of the layer's peel level.
    cameras: the six views.  fixed: geometry that is seen but does not move, or None.
    mask:   [6, H, W] bool where the layer itself is the nearest, or None; free: where it surely is not; has_mask: [6] views
            for which both are known.
    views:  which of the six standard views these are, for their weights; None = all of them.
    """

    normal: Tensor
    alpha: Tensor
    cameras: OrthoCameras
    fixed: Mesh | None = None
    mask: Tensor | None = None
    free: Tensor | None = None
    has_mask: Tensor | None = None
    views: tuple[int, ...] | None = None


@dataclass
class FitProgress:
    """After a step: the surface so far, weighted losses, and the front view's rendered normals on black.

    state: gives, until the next step, tensors on the CPU with which ``fit_layer`` goes on from here.
    """

    points: Tensor
    faces: Tensor
    losses: dict = field(default_factory=dict)
    front: Tensor | None = None
    state: Callable[[], dict[str, Tensor]] = dict


def fit_layer(mesh: Mesh, task: LayerTask, config: FitConfig, generator: torch.Generator,
              left: dict[str, Tensor] | None = None) -> Iterator[FitProgress]:
    """Yields after every step; the last one carries the result.

    generator: on the CPU, for remeshing.  left: a ``FitProgress.state`` of the same fit, which then goes on from there, with
    the generator's own state of that moment.  Raises InputError for a mesh that is not manifold and NotFinite for losses that
    are no numbers.
    """
    optimizer = RemeshOptimizer(mesh.vertices, mesh.faces, config.optimizer, generator)
    sight = _Sight(task, config)
    if left is not None:
        optimizer.restore(left)
        sight.restore(left)
    for step in range(optimizer.steps, config.steps):
        terms, front = sight.losses(optimizer.points, optimizer.faces, step)
        total = cast(Tensor, sum(terms.values()))
        if not bool(torch.isfinite(total)):
            raise NotFinite(
                "refinement's loss", str({k: float(v) for k, v in terms.items()}), "Check the input pictures."
            )
        total.backward()
        optimizer.step()
        values = {name: float(value.detach()) for name, value in terms.items()}
        state = lambda: optimizer.state() | sight.state()  # noqa: E731
        yield FitProgress(optimizer.points.detach(), optimizer.faces, values, front, state)


class _Sight:
    """Renders active and fixed geometry together and compares."""

    def __init__(self, task: LayerTask, config: FitConfig):
        self.task, self.config = task, config
        self.target = normal_maps.normal_target(task.normal, task.alpha)
        self.explicit_target: Tensor | None = None
        self.aimed: tuple[Tensor, Tensor] | None = None  # points and faces that the target was made for
        fixed = task.fixed
        none = task.normal.new_zeros(0, 3)
        self.fixed_points = none if fixed is None else fixed.vertices.detach()
        self.fixed_faces = none.long() if fixed is None else fixed.faces
        self.fixed_normals = normal_maps.vertex_normals(self.fixed_points, self.fixed_faces, config.area_normals)
        self.inner = losses.InnerLayer(self.fixed_points, self.fixed_normals)

    def losses(self, points: Tensor, faces: Tensor, step: int) -> tuple[dict, Tensor]:
        """(weighted terms, front picture [H, W, 3])."""
        config = self.config
        normals = normal_maps.vertex_normals(points, faces, config.area_normals)
        weighted = bool(config.mask_inside or config.mask_outside)
        wants_mask = self.task.mask is not None and weighted and not config.explicit
        due = config.explicit and (step < 5 or step % config.refresh == 0)
        aim = partial(self._aim, points.detach(), faces, normals.detach())
        with aside(aim, points.device) if due else nullcontext(lambda: None) as aimed:
            picture, own = self._render(points, faces, normal_maps.normal_colors(normals), wants_mask)
            aimed()
        terms = self._picture_terms(picture)
        if own is not None:
            terms |= self._mask_terms(own)
        if config.collision and len(self.fixed_points):
            terms["collision"] = config.collision * losses.collision(points, self.inner, config.gate)
        if config.expansion:
            count = len(points) + len(self.fixed_points) if config.expansion_over == "all" else None
            terms["expansion"] = config.expansion * losses.expansion(points, normals, config.parity, count)
        if config.smoothness:
            from ...ops.remesh_edges import edge_table

            ends = edge_table(faces, len(points)).ends
            terms["smoothness"] = config.smoothness * losses.smoothness(points, ends)
        return terms, picture[0, ..., :3].detach()

    def state(self) -> dict[str, Tensor]:
        """The surface that the explicit target was made for: smaller than the target, and as good."""
        named = zip(("aimed_points", "aimed_faces"), self.aimed or (), strict=False)
        return {name: value.cpu().clone() for name, value in named}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Makes the explicit target of :meth:`state` again."""
        if "aimed_points" in state:
            points, faces = (state[f"aimed_{name}"].to(self.target.device) for name in ("points", "faces"))
            self._aim(points, faces, normal_maps.vertex_normals(points, faces, self.config.area_normals))

    def _aim(self, points: Tensor, faces: Tensor, normals: Tensor) -> None:
        self.aimed, self.explicit_target = (points, faces), self._project_targets(points, faces, normals)

    def _picture_terms(self, picture: Tensor) -> dict:
        if not self.config.explicit:
            return {"picture": losses.picture_loss(picture, self.target, self.config.whole_mask)}
        background = (
            torch.ones_like(picture[..., 3], dtype=torch.bool) if self.config.whole_mask else self.target[..., 3] <= 0
        )
        assert self.explicit_target is not None, "the first step makes it"
        miss = (picture[..., 3] - self.target[..., 3]).square() * background
        coverage = miss.sum() / background.sum().clamp(min=1)
        return {"normal": losses.color_loss(picture, self.explicit_target), "mask": coverage}

    def _mask_terms(self, own: Tensor) -> dict:
        assert self.task.mask is not None, "only where there is a mask is the layer's own part rendered"
        known = torch.ones(len(own), dtype=torch.bool) if self.task.has_mask is None else self.task.has_mask
        free = None if self.task.free is None else self.task.free[known]
        inside, outside = losses.mask_terms(own[known], self.target[known], self.task.mask[known], free)
        return {"mask_inside": self.config.mask_inside * inside, "mask_outside": self.config.mask_outside * outside}

    def _render(self, points: Tensor, faces: Tensor, colors: Tensor, own: bool) -> tuple[Tensor, Tensor | None]:
        """(all layers [6, H, W, 4], the same with the fixed ones painted black, or None)."""
        values = torch.cat([colors, normal_maps.normal_colors(self.fixed_normals)])
        if own:
            values = torch.cat([values, torch.cat([colors, torch.zeros_like(self.fixed_normals)])], dim=1)
        joined, triangles = self._joined(points, faces)
        picture = normal_maps.render_attributes(joined, triangles, values, self.task.cameras)
        alpha = picture[..., -1:]
        return torch.cat([picture[..., :3], alpha], -1), torch.cat([picture[..., 3:6], alpha], -1) if own else None

    def _joined(self, points: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
        return torch.cat([points, self.fixed_points]), torch.cat([faces, self.fixed_faces + len(points)])

    @torch.no_grad()
    def _project_targets(self, points: Tensor, faces: Tensor, normals: Tensor) -> Tensor:
        """[6, H, W, 4] picture of per-vertex target normals on the surface as it is."""
        joined, triangles = self._joined(points, faces)
        own = torch.cat([normals, self.fixed_normals])
        views = range(len(NORMAL_WEIGHTS)) if self.task.views is None else self.task.views
        goal, weight = blend_views(joined, triangles, self.task, [NORMAL_WEIGHTS[k] for k in views], power=1.0)
        goal = torch.where((weight >= LEAST_CONFIDENCE)[:, None], torch.nn.functional.normalize(goal, dim=-1), own)
        colors = normal_maps.normal_colors(goal)
        return normal_maps.render_attributes(joined, triangles, colors, self.task.cameras)


def blend_views(points: Tensor, faces: Tensor, task: LayerTask, view_weights, power: float) -> tuple[Tensor, Tensor]:
    """(weighted mean of the pictures' normals [V, 3], total weight [V]) of the views that see each vertex."""
    return blend_pictures(points, faces, task.normal, task.alpha, task.cameras, view_weights, power)


def blend_pictures(
    points: Tensor, faces: Tensor, pictures: Tensor, alpha: Tensor, cameras: OrthoCameras, view_weights, power: float
) -> tuple[Tensor, Tensor]:
    """(mean [V, C], weight [V]): pictures [B, H, W, C] brought back to the vertices that see them.

    A view counts with its weight times cosine^power times coverage [B, H, W] at the vertex (S-D.5, S-D.8).
    """
    return blend_seen(points, seen_from(points, faces, cameras), pictures, alpha, cameras, view_weights, power)


def seen_from(points: Tensor, faces: Tensor, cameras: OrthoCameras) -> tuple[Tensor, Tensor]:
    """(seen, cosine) [B, V] of all vertices, at the least size that tells them apart."""
    return normal_maps.seen_vertices(points, faces, cameras, max(512, cameras.height))


@torch.no_grad()
def blend_seen(points: Tensor, sight: tuple[Tensor, Tensor], pictures: Tensor, alpha: Tensor, cameras: OrthoCameras,
               view_weights, power: float) -> tuple[Tensor, Tensor]:
    """(mean [V, C], weight [V]) of :func:`blend_pictures` where it is known what is seen.

    sight: what :func:`seen_from` gives for the same ``points`` [V, 3] (scene units) and cameras.
    """
    seen, cosine = sight
    found = normal_maps.sample_pictures(points, torch.cat([pictures * alpha[..., None], alpha[..., None]], -1), cameras)
    share = torch.tensor(view_weights, dtype=points.dtype, device=points.device)[:, None]
    share = share * seen * cosine.clamp(min=0) ** power
    weight = share * found[..., -1]
    total = (share[..., None] * found[..., :-1]).sum(0)
    return total / weight.sum(0).clamp(min=1e-8)[:, None], weight.sum(0)


Fit = Callable[[Mesh, LayerTask, FitConfig, torch.Generator], Iterator[FitProgress]]
