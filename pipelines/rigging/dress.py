"""What is worn follows the body: clothing takes the weights of the nearest skin, hair the head's, long hair swings.

Hanging hair gets chains of bones for VRM's spring bones, one for each lock or part of a curtain, told apart by their
direction from the head's axis (ours).  Without springs a chain moves with the head as if it were not there.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from ..core.errors import InputError
from ..core.layers import LayeredMesh
from ..core.mesh import Mesh
from ..core.rig import Rig, RiggedLayers, Skin
from ..ops.closest import closest_point
from ..ops.mesh_edges import mesh_edges
from .bind import body_skin

SMOOTH = 0.02  # of the height: how far the weights of clothing are evened out
MOST_ROUNDS = 40
APART = 0.25  # of the height: layers whose boxes are farther from each other's belong to two characters
SECTORS = 24  # directions around the head
WIDEST = 75.0  # degrees that one chain holds
HANGS = 0.1  # of the height: hair that ends less far below its beginning is no chain
LINK = 0.085  # of the height: length of a chain's bones
BONES = (2, 5)  # in a chain, the end included


def bind_layers(layers: LayeredMesh, rig: Rig, springs: bool = True) -> RiggedLayers:
    """Every layer bound to a skeleton that was found in its body (or anywhere in the same frame).

    springs: long hair gets chains of its own.  Raises InputError for no body and for layers that do not belong together.
    """
    if "body" not in layers:
        raise InputError("layers", "a body layer, which the skeleton and all weights come from",
                         f"only {', '.join(layers) or 'nothing'}", "Join Layers adds one.")
    require_one_character(layers)
    body = layers["body"]
    skins, notes = {"body": body_skin(body, rig)}, []
    if "clothing" in layers:
        skins["clothing"] = worn_skin(layers["clothing"], body, skins["body"], len(rig.names))
    if "hair" in layers:
        head = rig.index("head")
        if springs:
            rig, weights = hair_chains(layers["hair"], rig)
            if rig.chains:
                notes.append(f"The hair swings on {len(rig.chains)} chain{'s' * (len(rig.chains) != 1)} of spring bones.")
            skins["hair"] = Skin.strongest(weights)
        else:
            only = torch.zeros(len(layers["hair"].vertices), len(rig.names))
            only[:, head] = 1
            skins["hair"] = Skin.strongest(only)
    return RiggedLayers(layers, rig, skins, notes=(*rig.notes, *notes))


def require_one_character(layers: LayeredMesh) -> None:
    """InputError where a layer stands apart from the body."""
    body = layers["body"].vertices
    low, high = body.amin(0), body.amax(0)
    height = float(high[1] - low[1])
    for name in layers:
        points = layers[name].vertices
        gap = torch.maximum(low - points.amax(0), points.amin(0) - high).amax()
        size = float((points.amax(0) - points.amin(0)).max())
        if float(gap) > APART * height or size > 4 * height or size < 0.02 * height:
            raise InputError("layers", "layers of one character in one frame", f"a {name} that does not fit the body",
                             "Join Layers with meshes of one file, or leave that layer out.")


def worn_skin(mesh: Mesh, body: Mesh, skin: Skin, bones: int) -> Skin:
    """The weights of the nearest skin, evened out along the cloth."""
    found = closest_point(mesh.vertices, body.vertices, body.faces)
    corners = body.faces[found.face]
    weights = (skin.dense(bones)[corners] * found.barycentric[..., None]).sum(1)
    height = float(body.vertices[:, 1].max() - body.vertices[:, 1].min())
    return Skin.strongest(smoothed(weights, mesh, SMOOTH * height))


def smoothed(values: Tensor, mesh: Mesh, reach: float) -> Tensor:
    """[V, C] values evened out over about ``reach`` scene units along the mesh's edges."""
    ends = mesh_edges(mesh.faces, len(mesh.vertices)).ends
    if not len(ends):
        return values
    count, (a, b) = len(values), ends.numpy().T
    edge = float((mesh.vertices[ends[:, 0]] - mesh.vertices[ends[:, 1]]).norm(dim=-1).mean())
    rounds = min(MOST_ROUNDS, max(1, round((reach / max(edge, 1e-9)) ** 2)))
    links = sparse.csr_matrix((np.ones(2 * len(a), np.float32), (np.r_[a, b], np.r_[b, a])), shape=(count, count))
    degree = np.asarray(links.sum(1)).reshape(-1)
    alone = sparse.diags((degree == 0).astype(np.float32))  # a vertex without an edge stays as it is
    mean = sparse.diags((1 / degree.clip(1)).astype(np.float32)) @ links
    step = 0.5 * (sparse.diags(np.ones(count, np.float32)) + mean + alone)
    columns = np.flatnonzero(values.abs().sum(0).numpy())
    moved = np.ascontiguousarray(values[:, columns].numpy())
    for _ in range(rounds):
        moved = step @ moved
    out = torch.zeros_like(values)
    out[:, columns] = torch.from_numpy(moved).to(values)
    return out


def hair_chains(hair: Mesh, rig: Rig) -> tuple[Rig, Tensor]:
    """(the skeleton with the hair's chains, [V, J] weights of the hair)."""
    head, top = rig.joint("head").numpy(), rig.tips[rig.index("head")].numpy()
    height = float(top[1] - rig.joints[:, 1].min())
    points = hair.vertices.double().numpy()
    start = head[1] + 0.15 * (top[1] - head[1])  # hair above it lies on the head
    arcs = _arcs(points, head, start, HANGS * height)
    chains = [_chain(points[_in_arc(points, head, arc) & (points[:, 1] < start)], start, height) for arc in arcs]
    held = np.zeros((len(points), len(rig.names) + sum(len(c) for c in chains)))
    held[:, rig.index("head")] = 1.0
    grown, first = rig, len(rig.names)
    for number, (arc, chain) in enumerate(zip(arcs, chains), 1):
        names = tuple(f"hair_{number}_{k + 1}" for k in range(len(chain)))
        grown = _with_chain(grown, names, chain)
        mine = _in_arc(points, head, arc) & (points[:, 1] < start)
        held[mine] = 0.0
        held[mine, first : first + len(chain)] = _along(points[mine, 1], chain[:, 1])
        slack = np.clip((start - points[mine, 1]) / (0.03 * height), 0.0, 1.0)[:, None]
        held[mine, first : first + len(chain)] *= slack
        held[mine, rig.index("head")] = 1 - slack[:, 0]
        first += len(chain)
    weights = torch.from_numpy(held).float()
    return grown, smoothed(weights, hair, SMOOTH * height) if chains else weights


def _angles(points: np.ndarray, head: np.ndarray) -> np.ndarray:
    return np.degrees(np.arctan2(points[:, 0] - head[0], points[:, 2] - head[2])) % 360


def _arcs(points: np.ndarray, head: np.ndarray, start: float, hangs: float) -> list[tuple[float, float]]:
    """(first, last) degrees around the head's axis of what hangs, cut into pieces that one chain can hold."""
    low = points[points[:, 1] < start - hangs]
    if not len(low):
        return []
    step = 360 / SECTORS
    count = np.bincount((_angles(low, head) // step).astype(int) % SECTORS, minlength=SECTORS)
    full = count > 0.002 * len(points)
    if full.all():
        runs = [(0, SECTORS)]
    else:
        begins = [k for k in range(SECTORS) if full[k] and not full[k - 1]]
        runs = [(b, next(n for n in range(1, SECTORS + 1) if not full[(b + n) % SECTORS])) for b in begins]
    arcs = []
    for begin, length in runs:
        pieces = max(1, int(np.ceil(length * step / WIDEST)))
        arcs += [((begin + length * p / pieces) * step, (begin + length * (p + 1) / pieces) * step) for p in range(pieces)]
    return arcs


def _in_arc(points: np.ndarray, head: np.ndarray, arc: tuple[float, float]) -> np.ndarray:
    return (_angles(points, head) - arc[0]) % 360 < arc[1] - arc[0]


def _chain(points: np.ndarray, start: float, height: float) -> np.ndarray:
    """[K, 3] joints of one chain along the middle of its hair, from the top down; the last is its end."""
    low = np.percentile(points[:, 1], 1)
    count = int(np.clip(round((start - low) / (LINK * height)) + 1, BONES[0] + 1, BONES[1]))
    levels = np.linspace(start, low, count)
    reach = (start - low) / (count - 1) / 2
    joints, last = [], points[np.argsort(-points[:, 1])[: max(8, len(points) // 20)]].mean(0)
    for level in levels:
        near = points[np.abs(points[:, 1] - level) < reach]
        last = near.mean(0) if len(near) > 3 else last
        joints.append([last[0], level, last[2]])
    return np.array(joints)


def _along(heights: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """[N, K] weights of a chain's bones: each holds the hair between its joint and the next, blending at joints."""
    count = len(joints)
    place = np.interp(-heights, -joints, np.arange(count)) - 0.5  # halfway down a bone the vertex is its own
    out = np.zeros((len(heights), count))
    low = np.clip(np.floor(place), 0, count - 2).astype(int)
    share = np.clip(place - low, 0.0, 1.0)
    high = np.minimum(low + 1, count - 2)
    np.add.at(out, (np.arange(len(heights)), low), 1 - share)
    np.add.at(out, (np.arange(len(heights)), high), share)
    return out


def _with_chain(rig: Rig, names: tuple[str, ...], joints: np.ndarray) -> Rig:
    first = len(rig.names)
    parents = (rig.index("head"), *range(first, first + len(names) - 1))
    points = torch.from_numpy(joints)
    ends = torch.cat([points[1:], points[-1:]])
    return replace(rig, names=(*rig.names, *names), parents=(*rig.parents, *parents), joints=torch.cat([rig.joints, points]),
                   tips=torch.cat([rig.tips, ends]), chains=(*rig.chains, names))
