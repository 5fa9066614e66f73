"""StdGEN's refinement as its released code does it (S-D.2, S-D.4, S-D.5), and as its paper says it."""

import math
from dataclasses import replace

import pytest
import torch
import trimesh
from helpers import layer_toys
from lift123.pipelines import stdgen
from lift123.pipelines.core.mesh import Mesh
from lift123.pipelines.losses import layers as losses
from lift123.pipelines.ops import remesh_optimizer
from lift123.pipelines.ops.remesh_optimizer import RemeshConfig, RemeshOptimizer
from lift123.pipelines.render.normal_maps import vertex_normals
from lift123.pipelines.stages.characters import refine_layers as module

PAPER, PRINTED = stdgen.PAPER.refine, stdgen.PRINTED.refine


def moved(config: RemeshConfig, steps: int) -> list[float]:
    """How far an icosahedron's vertices move per step, in wanted edge lengths, under a steady pull: rate times factor."""
    made = trimesh.creation.icosphere(0)
    points, faces = torch.tensor(made.vertices, dtype=torch.float64), torch.tensor(made.faces, dtype=torch.int64)
    optimizer = RemeshOptimizer(points, faces, replace(config, every=0, laplacian=0.0), torch.Generator().manual_seed(0))
    out = []
    for _ in range(steps):
        before = optimizer.points.detach()
        optimizer.points.grad = torch.ones_like(before)
        optimizer.step()
        out.append(float((optimizer.points.detach() - before).norm(dim=-1).mean()) / config.longest)
    return out


@pytest.mark.parametrize("fit, rate", [("body", 0.08), ("outer", 0.01), ("whole", 0.03)])
def test_first_fit_reaches_its_rate_in_five_steps_and_decays_before_each(fit, rate):
    config = getattr(PAPER, fit).optimizer
    assert config.ramp == 1
    factors = [m / (rate * 0.995 ** (k + 1)) for k, m in enumerate(moved(config, 6))]
    assert factors == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0], rel=1e-4)


def test_second_fit_rises_five_times_as_slowly():
    config = PAPER.detail.optimizer
    factors = [m / (0.03 * 0.99 ** (k + 1)) for k, m in enumerate(moved(config, 30))]
    assert factors == pytest.approx([min(1.0, 0.04 * (k + 1)) for k in range(30)], rel=1e-4)


@pytest.mark.parametrize("fit", ["body", "outer", "whole", "detail"])
def test_remeshing_starts_with_the_first_step_and_has_one_edge_length_for_the_mesh(fit, monkeypatch):
    made = trimesh.creation.icosphere(1)
    points, faces = torch.tensor(made.vertices, dtype=torch.float32), torch.tensor(made.faces, dtype=torch.int64)
    steps, lengths = [], []

    def spared(surface, generator, longest):
        steps.append(optimizer.steps)
        lengths.append(surface.length)
        return surface

    monkeypatch.setattr(remesh_optimizer, "remesh", spared)
    optimizer = RemeshOptimizer(points, faces, getattr(PAPER, fit).optimizer, torch.Generator().manual_seed(0))
    rng = torch.Generator().manual_seed(1)
    for _ in range(62):
        optimizer.points.grad = torch.randn(points.shape, generator=rng)
        optimizer.step()
    assert steps == (list(range(1, 63)) if fit in ("body", "detail") else [1, 31, 61])
    assert all(float(length.max() - length.min()) == 0 for length in lengths)


def test_a_vertex_of_a_large_and_a_small_face_leans_to_the_large_ones_normal():
    points = torch.tensor([[0.0, 0, 0], [4, 0, 0], [0, 4, 0], [0, 0, 1.0]])
    faces = torch.tensor([[0, 1, 2], [0, 3, 1]])  # area 8, facing +z; area 2, facing +y
    assert vertex_normals(points, faces)[0].tolist() == pytest.approx([0, 0.5**0.5, 0.5**0.5], abs=1e-6)
    leaning = vertex_normals(points, faces, by_area=True)[0]
    assert leaning.tolist() == pytest.approx([0, 2 / 68**0.5, 8 / 68**0.5], abs=1e-6)
    fits = (PAPER.body, PAPER.outer, PAPER.whole, PAPER.detail)
    assert all(fit.area_normals and fit.expansion_over == "all" for fit in fits)


def test_expansion_averages_over_active_and_fixed_vertices():
    """Three active vertices beside nine fixed ones pull a quarter as hard as alone."""
    points, normals = torch.zeros(3, 3, requires_grad=True), torch.tensor([[0.0, 0, 1]] * 3)
    alone, among = losses.expansion(points, normals), losses.expansion(points, normals, count=12)
    assert [float(loss.detach()) for loss in (alone, among)] == pytest.approx([1 / 6, 1 / 24])
    gradients = [torch.autograd.grad(loss, points)[0] for loss in (alone, among)]
    torch.testing.assert_close(gradients[1] * 4, gradients[0])


def test_one_piece_is_fitted_by_settings_of_its_own(monkeypatch):
    seen = []
    monkeypatch.setattr(module, "refine_layers", lambda layers, views, config, **rest: seen.append(config))
    made = trimesh.creation.icosphere(1)
    mesh = Mesh(torch.tensor(made.vertices, dtype=torch.float32), torch.tensor(made.faces, dtype=torch.int64))
    views = layer_toys.views_of(layer_toys.figure(cells=16), 16)
    module.refine_whole(mesh, views, PAPER)
    module.refine_whole(mesh, views, stdgen.TOY.refine)
    fit = seen[0].body
    assert (fit.optimizer.rate, fit.optimizer.every, fit.expansion, fit.steps) == (0.03, 30, 0, 200)
    assert seen[0].detail.expansion == 0 and seen[1].body == replace(stdgen.TOY.refine.body, expansion=0.0)


def test_the_printed_equations_have_no_expansion_no_gate_and_the_whole_mask():
    for fit in (PRINTED.body, PRINTED.outer, PRINTED.detail):
        assert fit.expansion == 0 and fit.whole_mask and fit.gate == math.inf
    assert PRINTED.dilate_falloff and PAPER.dilate_falloff is None
    inner = losses.InnerLayer(torch.zeros(1, 3), torch.tensor([[0.0, 0, 1]]))
    below = torch.tensor([[0.0, 0, -0.2]])
    assert float(losses.collision(below, inner)) == 0
    assert float(losses.collision(below, inner, PRINTED.body.gate)) == pytest.approx(0.2**3)
