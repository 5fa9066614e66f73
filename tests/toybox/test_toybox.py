"""Toy objects: determinism, closed parts, framing, captions and rendered truth."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from lift123.pipelines.core.cameras import HOME
from lift123.pipelines.core.mesh import Mesh
from lift123.pipelines.toybox import shapes
from lift123.pipelines.toybox.objects import HELD_OUT_OFFSET, heldout_seed, make_object, train_seed
from lift123.pipelines.toybox.patterns import PATTERNS, bake_light, paint
from lift123.pipelines.toybox.recipes import RECIPES
from lift123.pipelines.toybox.render import reference_camera, render_toy

SEEDS = range(60)


def welded_faces(mesh: Mesh) -> np.ndarray:
    _, index = np.unique(np.round(mesh.vertices.numpy(), 6), axis=0, return_inverse=True)
    faces = index.ravel()[mesh.faces.numpy()]
    return faces[(faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])]


def test_same_seed_same_object():
    a, b = make_object(17), make_object(17)
    assert a.caption == b.caption and torch.equal(a.mesh.vertices, b.mesh.vertices)
    assert torch.equal(a.mesh.vertex_colors, b.mesh.vertex_colors)
    assert not torch.equal(make_object(18).mesh.vertices[:50], a.mesh.vertices[:50])


@pytest.mark.parametrize("seed", SEEDS)
def test_parts_are_closed_and_outward(seed):
    for part in make_object(seed).parts:
        assert float(part.signed_volume()) > 0
        edges = Counter()
        for a, b, c in welded_faces(part).tolist():
            edges.update([(a, b), (b, c), (c, a)])
        assert all(edges[(b, a)] == count for (a, b), count in edges.items()), "each edge is met from both sides"


def test_all_recipes_occur_and_captions_are_phrases():
    objects = [make_object(s) for s in range(400)]
    assert len({o.name for o in objects}) >= len(RECIPES)
    for toy in objects:
        assert toy.caption.split()[0] in ("a", "an") and toy.name in toy.caption
        assert (toy.caption.split()[0] == "an") == (toy.caption.split()[1][0] in "aeiou")


def test_front_view_fills_the_frame_as_a_prepared_reference_does():
    for seed in SEEDS:
        alpha = render_toy(make_object(seed), reference_camera(64)).alpha[0] > 0.5
        rows, columns = torch.nonzero(alpha.any(1)), torch.nonzero(alpha.any(0))
        longer = max(int(rows.max() - rows.min()), int(columns.max() - columns.min())) + 1
        assert 0.3 * 64 < longer < 0.92 * 64
        assert not alpha[0].any() and not alpha[-1].any() and not alpha[:, 0].any() and not alpha[:, -1].any()


def test_splits_are_disjoint():
    assert heldout_seed(0) == HELD_OUT_OFFSET
    with pytest.raises(ValueError, match="training index"):
        train_seed(HELD_OUT_OFFSET)


def test_rendered_depth_of_a_ball_is_the_closed_form():
    """Depth at the center = radius of the orbit minus the ball's radius; the normal faces the camera."""
    shape = shapes.ellipsoid([0.4, 0.4, 0.4], 40)
    mesh = Mesh(torch.from_numpy(shape.vertices).float(), torch.from_numpy(shape.faces), torch.ones(len(shape.vertices), 3) / 2)
    camera = HOME.orbit(0.9, 0.4, 65)
    views = render_toy(mesh, camera)
    assert float(views.depth[0, 32, 32]) == pytest.approx(3.2 - 0.4, abs=2e-3)
    assert torch.allclose(views.normal[0, 32, 32], camera.positions[0] / 3.2, atol=0.03)
    area = float(views.alpha.sum()) / 65**2
    # The silhouette of a ball of radius r seen from distance d has the half angle asin(r / d).
    half = math.tan(math.asin(0.4 / 3.2)) / math.tan(HOME.fovy / 2)
    assert area == pytest.approx(math.pi * half**2 / 4, rel=0.01)


def test_light_is_fixed_to_the_world():
    normals = np.eye(3)
    lit = bake_light(np.full((3, 3), 0.5), normals)
    assert lit[1, 0] > lit[2, 0] > lit[0, 0], "above is brightest, the front next, the side last"
    assert np.allclose(lit[0], bake_light(np.full((1, 3), 0.5), -normals[:1])), "left and right alike"


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_mix_two_colors(pattern):
    points = np.random.default_rng(0).uniform(-1, 1, (4000, 3))
    colors = paint(points, pattern, np.zeros(3), np.ones(3), np.random.default_rng(1))
    assert colors.shape == (4000, 3) and colors.min() >= -1e-9 and colors.max() <= 1 + 1e-9
    assert (colors.std() < 1e-9) == (pattern == "plain")


@pytest.mark.parametrize(
    "shape,volume",
    [
        (shapes.ellipsoid([0.5, 0.7, 0.9], 30), 4 / 3 * math.pi * 0.5 * 0.7 * 0.9),
        (shapes.torus(0.7, 0.2, 90, 40), 2 * math.pi**2 * 0.7 * 0.2**2),
        (shapes.revolve([(0.5, -1), (0.5, 1)], 90, 60), math.pi * 0.25 * 2),
        (shapes.prism([(0, 0), (1, 0), (0, 1)], 0.5), 0.25),
        (shapes.rounded_box([0.5, 0.4, 0.3], 1e-4, 20), 0.48),
    ],
)
def test_volumes_match_closed_forms(shape, volume):
    a, b, c = (shape.vertices[shape.faces[:, k]] for k in range(3))
    assert (a * np.cross(b, c)).sum() / 6 == pytest.approx(volume, rel=0.015)
