"""How close two shapes are, and whether a mesh is sound (Consistent123's protocol, C-D.7)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..core.mesh import Mesh
from ..core.pulse import beat
from ..ops.mesh_edges import connected_parts, mesh_edges
from ..ops.voxelize import voxelize
from .soundness import self_intersections, texel_density

CHAMFER_SAMPLES = 2000
IOU_RESOLUTION = 64


def unit_cube(mesh: Mesh) -> Mesh:
    """Moved and uniformly scaled so that the bounding box is centered at 0 with longest side 1."""
    low, high = mesh.vertices.min(0).values, mesh.vertices.max(0).values
    scale = 1 / (high - low).max().clamp(min=1e-12)
    return mesh.transformed(scale, -(low + high) / 2 * scale)


def sample_surface(mesh: Mesh, count: int, generator: torch.Generator) -> Tensor:
    """[count, 3] points, uniform by area; ``generator`` lives on the CPU."""
    return sample_oriented(mesh, count, generator)[0]


def sample_oriented(mesh: Mesh, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(points [count, 3], unit normals of their faces [count, 3]), uniform by area."""
    vertices, faces = mesh.vertices.detach().cpu().double(), mesh.faces.cpu()
    corners = vertices[faces]
    normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = normals.norm(dim=-1)
    if not bool(area.sum() > 0):
        raise ValueError("cannot sample a mesh without area")
    ticket = torch.rand(count, generator=generator, dtype=torch.float64) * area.sum()
    face = torch.searchsorted(area.cumsum(0), ticket, right=True).clamp(max=len(faces) - 1)
    u, v = torch.rand(2, count, generator=generator, dtype=torch.float64)
    root = u.sqrt()[:, None]
    a, b, c = corners[face].unbind(1)
    points = (1 - root) * a + root * (1 - v[:, None]) * b + root * v[:, None] * c
    return points.float(), (normals[face] / area[face, None]).float()


@dataclass(frozen=True)
class Chamfer:
    """Distances to the nearest neighbor.

    squared: mean square from a to b plus mean square from b to a (Consistent123's).
    plain:   mean of the two mean distances (SyncDreamer's, used by HiFi-123): a length, where the other is a squared one.
    """

    squared: float
    plain: float


def chamfer_points(a: Tensor, b: Tensor) -> Chamfer:
    """Between point sets [N, 3] and [M, 3]."""
    there, back = nearest_distances(a, b), nearest_distances(b, a)
    squared = float((there**2).mean() + (back**2).mean())
    return Chamfer(squared, float((there.mean() + back.mean()) / 2))


def nearest_distances(a: Tensor, b: Tensor) -> np.ndarray:
    """[N] distance from every point of ``a`` to the nearest point of ``b``."""
    from scipy.spatial import KDTree

    tree = KDTree(b.detach().cpu().double().numpy())
    return tree.query(a.detach().cpu().double().numpy())[0]


def chamfer(a: Mesh, b: Mesh, samples: int = CHAMFER_SAMPLES, seed: int = 0, normalize: bool = True) -> Chamfer:
    """Between surfaces, each first brought to the unit cube unless ``normalize`` is False.

    Two samplings of one surface are not at distance 0: with 2000 points on a ball in the unit cube the floor
    is ``squared`` 0.001, ``plain`` 0.02 (measured); compare methods at equal ``samples``.
    """
    points = []
    for offset, mesh in enumerate((a, b)):
        generator = torch.Generator().manual_seed(2 * seed + offset)
        points.append(sample_surface(unit_cube(mesh) if normalize else mesh, samples, generator))
    return chamfer_points(*points)


def f_score(
    a: Mesh, b: Mesh, threshold: float = 0.02, samples: int = 20_000, seed: int = 0, normalize: bool = True
) -> float:
    """Harmonic mean of the fractions of points within ``threshold`` of the other surface, in [0, 1].

    Knapitsch et al. (2017); Tatarchenko et al. (2019) use it for single pictures with 1 to 2 % of the side, as here.
    """
    points = []
    for offset, mesh in enumerate((a, b)):
        generator = torch.Generator().manual_seed(2 * seed + offset)
        points.append(sample_surface(unit_cube(mesh) if normalize else mesh, samples, generator))
    precision, recall = (
        float((nearest_distances(x, y) < threshold).mean()) for x, y in (points, reversed(points))
    )
    return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)


def normal_consistency(a: Mesh, b: Mesh, samples: int = 20_000, seed: int = 0, normalize: bool = True) -> float:
    """Mean |cosine| between a point's normal and that of the nearest point of the other surface, both ways, in [0, 1].

    Mescheder et al., "Occupancy networks" (2019), who take the absolute value, so flipped faces do not show.
    Unrelated directions give 0.5.
    """
    sets = []
    for offset, mesh in enumerate((a, b)):
        mesh = unit_cube(mesh) if normalize else mesh
        sets.append(sample_oriented(mesh, samples, torch.Generator().manual_seed(2 * seed + offset)))
    return (_agreement(*sets) + _agreement(*reversed(sets))) / 2


def _agreement(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> float:
    from scipy.spatial import KDTree

    nearest = torch.from_numpy(KDTree(b[0].numpy()).query(a[0].numpy())[1])
    return float((a[1] * b[1][nearest]).sum(-1).abs().mean())


def volumetric_iou(a: Mesh, b: Mesh, resolution: int = IOU_RESOLUTION, normalize: bool = True) -> float:
    """Intersection over union of the solids on a voxel grid.

    normalize: each mesh to the unit cube, the grid covering that cube (the paper); otherwise the grid covers
    [-1, 1]^3 in scene units.  0 when both are empty.
    """
    half = 0.5 if normalize else 1.0
    meshes = [unit_cube(m) if normalize else m for m in (a, b)]
    inside = [voxelize(m.vertices, m.faces, resolution, -half, half).cpu() for m in meshes]
    union = int((inside[0] | inside[1]).sum())
    return int((inside[0] & inside[1]).sum()) / union if union else 0.0


def mesh_facts(mesh: Mesh, intersections: bool = False) -> dict:
    """Counts and checks for a person or a manifest; JSON-able.

    intersections: also count pairs of faces that pass through each other (seconds for 100,000 faces).
    """
    beat()
    edges = mesh_edges(mesh.faces, len(mesh.vertices))
    beat()
    area = mesh.face_normals().norm(dim=-1) / 2
    used = torch.zeros(len(mesh.vertices), dtype=torch.bool, device=mesh.faces.device)
    used[mesh.faces.reshape(-1)] = True
    labels = connected_parts(edges.ends, len(mesh.vertices))[used]
    directed = torch.stack([mesh.faces, mesh.faces.roll(-1, 1)], dim=-1).reshape(-1, 2)
    closed = bool(len(mesh.faces)) and bool((edges.count == 2).all())
    facts = {
        "vertices": int(used.sum()),
        "faces": len(mesh.faces),
        "watertight": closed,
        "consistent_winding": len(torch.unique(directed[:, 0] * len(mesh.vertices) + directed[:, 1])) == len(directed),
        "components": len(torch.unique(labels)),
        "euler": int(used.sum()) - len(edges.ends) + len(mesh.faces),
        "degenerate_faces": int((area < 1e-12).sum()),
        "area": float(area.sum()),
        "volume": float(mesh.signed_volume()),
        "bounds": [mesh.vertices.amin(0).tolist(), mesh.vertices.amax(0).tolist()] if len(mesh.vertices) else [],
    }
    if mesh.texture is not None:
        facts["texture"] = texel_density(mesh)
    if intersections:
        facts["self_intersections"] = len(self_intersections(mesh))
    return facts
