"""Semantic-equivalent SDF and NeRF against analytic nested solids, brute force and closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from lift123.pipelines.core.mesh import Mesh
from lift123.pipelines.ops.flexicubes import CubeGrid, flexicubes
from lift123.pipelines.ops.mesh_edges import compact, connected_parts, mesh_edges
from lift123.pipelines.ops.semantic_field import (
    BODY,
    CLOTHING,
    CODES,
    FACE,
    HAIR,
    KEPT,
    dilated,
    equivalent_sdf,
    extraction_sdf,
    kept_semantics,
    kept_weights,
    opacity,
)

SKIN, CLOTH, CURL, HAIRLINE = 0.5, 0.6, 0.64, 0.2  # radii of body, clothing, hair; where the cap begins
GRID = CubeGrid((66, 68, 70), (-0.72, -0.74, -0.76), (0.72, 0.74, 0.76))


def nested(points, sharpness=0.02):
    """A ball, a shell on its lower half, a cap on its top: (f, p), p falling off with the distance to each part.

    f is the distance to the surface of it all in units of ``sharpness``, so that f and p have like slopes.
    """
    r, z = points.norm(dim=-1), points[:, 2]
    body = r - SKIN
    solid = torch.stack([body, torch.maximum(r - CLOTH, z), torch.maximum(r - CURL, HAIRLINE - z)]).amin(0)
    clothing = torch.stack([r - CLOTH, SKIN - r, z]).amax(0)
    hair = torch.stack([r - CURL, SKIN - r, HAIRLINE - z]).amax(0)
    distance = torch.stack([hair, torch.full_like(r, 9.0), body, clothing], -1)
    return solid / sharpness, torch.softmax(-distance / sharpness, -1)


def cap(radius, base):
    """Volume of a ball above z = base."""
    return math.pi * (2 * radius**3 / 3 - radius**2 * base + base**3 / 3)


VOLUMES = {
    "full": 4 / 3 * math.pi * SKIN**3 + cap(CLOTH, 0) - cap(SKIN, 0) + cap(CURL, HAIRLINE) - cap(SKIN, HAIRLINE),
    "no hair": 4 / 3 * math.pi * SKIN**3 + cap(CLOTH, 0) - cap(SKIN, 0),
    "body": 4 / 3 * math.pi * SKIN**3,
    "clothing": cap(CLOTH, 0) - cap(SKIN, 0),
    "hair": cap(CURL, HAIRLINE) - cap(SKIN, HAIRLINE),
}


def layer(name, dilate=False) -> Mesh:
    sdf, probability = nested(GRID.points())
    found = flexicubes(extraction_sdf(sdf, probability, CODES[name], GRID.shape, dilate), GRID)
    vertices, faces, _ = compact(found.vertices, found.faces)
    return Mesh(vertices, faces)


@pytest.mark.parametrize("name", VOLUMES)
def test_nested_solids_fall_apart_into_layers_of_the_right_volume(name):
    mesh = layer(name)
    edges = mesh_edges(mesh.faces, len(mesh.vertices))
    assert edges.count.eq(2).all()  # closed
    assert int(connected_parts(edges.ends, len(mesh.vertices)).max()) == 0
    assert float(mesh.signed_volume()) == pytest.approx(VOLUMES[name], rel=0.02)  # positive: outward
    assert len(mesh.vertices) - len(edges.ends) + len(mesh.faces) == 2
    if name in ("clothing", "hair"):  # hollow: nothing of it lies deeper than the skin
        assert mesh.vertices.norm(dim=-1).min() > SKIN - 0.2 * GRID.cell[0]


@pytest.mark.parametrize("name", ["clothing", "hair"])
def test_dilation_thickens_a_layer_by_less_than_two_cells_inwards_only(name):
    plain, thick = layer(name), layer(name, dilate=True)
    assert mesh_edges(thick.faces, len(thick.vertices)).count.eq(2).all()
    inner = thick.vertices.norm(dim=-1).min()
    assert SKIN - 2 * max(GRID.cell) < inner < SKIN - 0.3 * min(GRID.cell)  # it overlaps the body
    assert thick.vertices.norm(dim=-1).max() == pytest.approx(float(plain.vertices.norm(dim=-1).max()), abs=1e-3)
    assert float(thick.signed_volume()) > float(plain.signed_volume())


def test_codes_are_the_released_formulas():
    generator = torch.Generator().manual_seed(0)
    f = torch.randn(5 * 4 * 3, generator=generator)
    p = torch.softmax(torch.randn(60, 4, generator=generator) * 2, -1)
    p0, p1, p2, p3 = p.unbind(-1)
    body = torch.maximum(f, torch.maximum(p0, p3) - torch.maximum(p1, p2))
    expected = {
        "full": f,
        "no hair": torch.maximum(f, p0 - p[:, 1:].amax(-1)),
        "body": body,
        "clothing": torch.maximum(f, p[:, :3].amax(-1) - p3),
        "hair": torch.maximum(f, p[:, 1:].amax(-1) - p0),
    }
    for name, code in CODES.items():
        assert torch.equal(extraction_sdf(f, p, code, (5, 4, 3), dilate=False), expected[name])
    for name, index in (("clothing", 3), ("hair", 0)):
        likeliest = (p.argmax(-1) == index).reshape(5, 4, 3)
        grown = brute_dilation(likeliest).reshape(-1)
        assert torch.equal(extraction_sdf(f, p, CODES[name], (5, 4, 3)), torch.where(grown, f, expected[name]))
    assert KEPT[CODES["body"]] == (FACE, BODY) and (HAIR, CLOTHING) == (0, 3)


def brute_dilation(region):
    grown = region.clone()
    for x, y, z in region.nonzero().tolist():
        for dx, dy, dz in ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)):
            place = (x + dx, y + dy, z + dz)
            if all(0 <= a < n for a, n in zip(place, region.shape)):
                grown[place] = True
    return grown


def test_dilation_by_brute_force():
    region = torch.rand(6, 5, 7, generator=torch.Generator().manual_seed(2)) > 0.9
    assert torch.equal(dilated(region), brute_dilation(region))


def test_equivalent_sdf_keeps_sign_and_gradient():
    """The paper's principles: outside stays outside; inside, the boundary is where the likeliest class changes."""
    f, p = nested(GRID.points())
    hair = equivalent_sdf(f, p, [HAIR])
    assert (hair[f > 0] >= f[f > 0]).all()
    inside = f < 0
    assert torch.equal((hair < 0)[inside], (p.argmax(-1) == HAIR)[inside])
    f = torch.tensor([-0.3, 0.2], dtype=torch.double, requires_grad=True)
    logits = torch.randn(2, 4, generator=torch.Generator().manual_seed(1), dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda f, x: equivalent_sdf(f, x.softmax(-1), [0, 2]), (f, logits))
    with pytest.raises(ValueError, match="4 classes"):
        equivalent_sdf(f, logits, [4])


def test_weights_under_a_set_by_the_equations_loops():
    generator = torch.Generator().manual_seed(4)
    alpha = torch.rand(3, 7, generator=generator, dtype=torch.double)
    p = torch.softmax(torch.randn(3, 7, 4, generator=generator, dtype=torch.double), -1)
    weights = kept_weights(alpha, p, [1, 3])
    for ray in range(3):
        through = 1.0
        for i in range(7):
            q = p[ray, i, 1] + p[ray, i, 3]
            assert float(weights[ray, i]) == pytest.approx(through * float(alpha[ray, i] * q))
            through *= 1 - float(alpha[ray, i] * q)
    everything = kept_weights(alpha, p, range(4))  # P = all: ordinary volume rendering
    clear = torch.cumprod(torch.cat([torch.ones(3, 1, dtype=torch.double), 1 - alpha], 1), 1)[:, :-1]
    assert torch.allclose(everything, clear * alpha)
    alpha.requires_grad_(), p.requires_grad_()
    assert torch.autograd.gradcheck(lambda a, p: kept_weights(a, p, [1, 3]), (alpha, p))


def test_fog_of_constant_semantics_has_a_closed_form():
    """Density s over length L with share q of the kept class in thin slices: coverage 1 - exp(-s q L)."""
    steps, density, share, length = 4000, 3.0, 0.3, 0.8
    alpha = opacity(torch.full((1, steps), density, dtype=torch.double), torch.tensor(length / steps))
    p = torch.tensor([share, 0.7, 0, 0], dtype=torch.double).expand(1, steps, 4)
    coverage = float(kept_weights(alpha, p, [0]).sum())
    assert coverage == pytest.approx(1 - math.exp(-density * share * length), rel=1e-3)


def test_a_ray_sees_the_first_kept_layer_of_nested_solids():
    """From above: hair, then what is under it; each hit where the closed form says, in its own color."""
    t = torch.linspace(-1, 1, 4001)
    points = torch.stack([torch.zeros_like(t), torch.zeros_like(t), -t], -1)  # downwards along z
    f, p = nested(points, sharpness=1e-3)
    alpha = opacity((f < 0).float()[None] * 1e4, torch.tensor(2 / 4000))
    for keep, first, seen in (((0, 1, 2, 3), -CURL, HAIR), ((1, 2, 3), -SKIN, BODY), ((3,), SKIN, CLOTHING)):
        weights = kept_weights(alpha, p[None], keep)
        assert float(weights.sum()) == pytest.approx(1, abs=1e-3)
        assert float((weights[0] * t).sum()) == pytest.approx(first, abs=2e-3)
        semantic = kept_semantics(weights, p[None], keep)
        assert int(semantic.argmax()) == seen and float(semantic.sum()) == pytest.approx(1, abs=2e-3)
    fog = torch.full((1, 1, 4), 0.25)
    raw = kept_semantics(torch.ones(1, 1), fog, (1, 2), renormalize=False)
    assert torch.allclose(raw, torch.full((1, 4), 0.25))
    assert torch.allclose(kept_semantics(torch.ones(1, 1), fog, (1, 2)), torch.tensor([[0, 0.5, 0.5, 0]]), atol=1e-5)
