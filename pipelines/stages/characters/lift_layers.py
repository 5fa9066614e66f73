"""From six pictures to a character in layers: S-LRM's field, cut into body, clothing and hair (StdGEN, Sec. 3.2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...core.character_views import CharacterViews
from ...core.errors import InputError, StopStage
from ...core.layers import LAYER_NAMES, LayeredMesh
from ...core.mesh import Mesh
from ...core.ortho import VIEW_NAMES
from ...core.step import OnStep, Step, ignore_step
from ...networks.stdgen.slrm import Slrm, check_pictures
from ...networks.stdgen.slrm_frames import slrm_to_scene
from ...networks.stdgen.slrm_surface import GridValues, grid_values, layer_surface, point_colors
from ...ops.mesh_edges import compact, connected_parts, mesh_edges
from ...ops.semantic_field import CODES
from .view_order import misplaced, order_remarks

NAME = "S-LRM"
ISLAND_VERTICES, ISLAND_CELL = 300, 0.014  # S-C.11: smaller pieces are dropped, at the released grid's cell


@dataclass(frozen=True)
class LiftConfig:
    """How layers are cut out of the field.

    dilate:  clothing and hair grow by up to a cell into what they lie on (``extraction_sdf``); None = as the network's
             configuration says: the released one does, the embedded one does not.
    islands: connected pieces with fewer vertices are dropped; None = 300 at the released cell size of 0.014, and for
             other cells the number that the same area has.
    whole:   the figure in one piece, extraction code "full", as the layer "body".
    """

    dilate: bool | None = None
    islands: int | None = None
    whole: bool = False


@dataclass(frozen=True)
class LiftedField:
    """A character as S-LRM sees it: the triplane and the grid's values, from which any layer can be cut.

    network: the network that made it.   planes: [1, 3, C, P, P].
    """

    network: Slrm
    planes: Tensor
    values: GridValues

    @torch.no_grad()
    def surface(self, code: int | str, config: LiftConfig = LiftConfig()) -> Mesh:
        """The mesh of an extraction code 0-4 or its name in ``CODES``, scene frame, vertex colors; may have no faces."""
        code = CODES[code] if isinstance(code, str) else code
        dilate = self.network.config.dilate if config.dilate is None else config.dilate
        found = layer_surface(self.network, self.planes, self.values, code, dilate=dilate)
        vertices, faces = drop_islands(found.vertices, found.faces, self._islands(config))
        return Mesh(slrm_to_scene(vertices), faces, point_colors(self.network, self.planes, vertices))

    def _islands(self, config: LiftConfig) -> int:
        if config.islands is not None:
            return config.islands
        return max(4, round(ISLAND_VERTICES * (ISLAND_CELL / max(self.network.config.grid.cell)) ** 2))


def lift_layers(
    views: CharacterViews,
    network: Slrm,
    config: LiftConfig = LiftConfig(),
    *,
    on_step: OnStep = ignore_step,
) -> LayeredMesh:
    """Body, clothing and hair as closed meshes with vertex colors; a layer that is not there is absent.

    views:   their level 0 (the complete character) is used, colors only; square pictures.
    on_step: one step per part of the work; StopStage returns the layers finished so far.
    Raises InputError for pictures of another number, order or shape, a network of the wrong variant, and a character of
    which nothing is found.
    """
    color = level_zero(views)
    check_network(network)
    codes = {"body": "full"} if config.whole else {name: name for name in LAYER_NAMES}
    total = 2 + len(codes)
    layers: dict[str, Mesh] = {}
    doubts = order_remarks(views.alpha[views.index("complete")] > 0.5)
    try:
        if doubts:
            on_step(Step(NAME, 0, total, note=" ".join(doubts)))
        field = lift_field(color, network, lambda done, note: on_step(Step(NAME, done, total, note=note)))
        for index, (name, code) in enumerate(codes.items()):
            mesh = field.surface(code, config)
            if len(mesh.faces):
                layers[name] = mesh
            note = f"{name}: {len(mesh.faces)} faces" if len(mesh.faces) else f"{name}: nothing found, left out"
            on_step(Step(NAME, 3 + index, total, note=note))
    except StopStage:
        return LayeredMesh(layers)
    if not layers:
        raise InputError(
            "views",
            "pictures of a character",
            "pictures in which the network finds nothing solid",
            "Check that the views show a figure on white, the front view first.",
        )
    return LayeredMesh(layers)


@torch.no_grad()
def lift_field(color: Tensor, network: Slrm, on_part=lambda done, note: None) -> LiftedField:
    """The field of six pictures [6, H, H, 3]; ``on_part(done, note)`` hears of its two parts."""
    check_network(network)
    planes = network.triplane(color)
    on_part(1, "triplane")
    values = grid_values(network, planes)
    if not bool(torch.isfinite(values.sdf).all() & torch.isfinite(values.probability).all()):
        raise InputError(
            "checkpoint",
            "a network with finite outputs",
            "NaN or infinite distances",
            "Load the network in float32; if that does not help, the file is damaged.",
        )
    on_part(2, "distance and semantics")
    return LiftedField(network, planes, values)


def level_zero(views: CharacterViews) -> Tensor:
    """[6, H, H, 3] colors of the complete character; InputError without that level, and for views that disagree."""
    if "complete" not in views.levels:
        raise InputError(
            "views",
            "the complete character (peel level 0)",
            f"only: {', '.join(views.levels)}",
            "S-LRM looks at level 0; give views that contain it.",
        )
    if not all(views.seen):
        raise InputError("views", "all six views", ", ".join(n for n, there in zip(VIEW_NAMES, views.seen) if there),
                         "Draw the six with Character Multi-View; four refine a mesh of one piece (Join Layers, whole).")
    color = views.color[views.index("complete")]
    check_pictures(color)
    check_order(views.alpha[views.index("complete")])
    return color


def check_order(alpha: Tensor, spread: float = 0.25) -> None:
    """InputError where outlines [6, H, W] cannot be those of the standard views in the standard order.

    Refused are figures that begin or end more than ``spread`` of their height apart (orthographic views at elevation 0 show
    a figure from one height to one height), and views whose missing opposite lies in another place (``view_order``).
    Opposite views that merely disagree are not: a network that is unsure of a figure draws such views.
    """
    inside = alpha > 0.5
    if not bool(inside.flatten(1).any(1).all()):
        empty = ", ".join(str(i) for i, full in enumerate(inside.flatten(1).any(1).tolist()) if not full)
        raise InputError(
            "views",
            "a figure in each of the six pictures",
            f"nothing in picture {empty} (counted from 0)",
            "Check the background: it must be white or transparent, the figure must not be.",
        )
    rows = inside.any(-1)
    size = rows.shape[1]
    top, bottom = rows.float().argmax(1), size - rows.flip(1).float().argmax(1)
    height = float((bottom - top).float().median())
    apart = max(int(top.max() - top.min()), int(bottom.max() - bottom.min()))
    if apart > spread * height:
        raise InputError(
            "views",
            "six views in which the figure stands at one height",
            f"figures that begin or end {apart} of {size} rows apart",
            "Make all six views orthographic at elevation 0 and at one scale.",
        )
    found = misplaced(inside)
    if found is not None:
        a, b, overlap = found
        raise InputError(
            "views",
            f"the order {', '.join(VIEW_NAMES)}",
            f"pictures {a} and {b} (counted from 0) that mirror each other ({overlap:.0%} overlap), as only opposite views do",
            "Put the pictures in this order; do not mirror single ones.",
        )


def check_network(network: Slrm) -> None:
    """InputError for the NeRF variant, which has no surface."""
    if network.config.kind != "mesh":
        raise InputError(
            "network",
            "the mesh variant of S-LRM",
            "the NeRF variant",
            "Load StdGEN-mesh-slrm; the NeRF variant is for training only.",
        )


def drop_islands(vertices: Tensor, faces: Tensor, least: int) -> tuple[Tensor, Tensor]:
    """Vertices and faces of the connected pieces that have at least ``least`` vertices."""
    vertices, faces, _ = compact(vertices, faces)
    if not len(faces):
        return vertices, faces
    part = connected_parts(mesh_edges(faces, len(vertices)).ends, len(vertices))
    kept = torch.bincount(part)[part] >= least
    vertices, faces, _ = compact(vertices, faces[kept[faces[:, 0]]])
    return vertices, faces
