"""Operations as a GPU gets them, without questions, give what the CPU's give."""

import torch
from helpers.tiny_stages import NERF, box, nerf
from lift123.pipelines.core.cameras import HOME
from lift123.pipelines.core.far import pretending
from lift123.pipelines.losses import image, mesh
from lift123.pipelines.ops.antialias import edge_topology
from lift123.pipelines.ops.marching_tets import find_crossing
from lift123.pipelines.ops.mesh_edges import edge_slots, mesh_edges
from lift123.pipelines.ops.occupancy import OccupancyGrid
from lift123.pipelines.ops.tet_grid import rim
from lift123.pipelines.ops.tet_lattice import a15_topology
from lift123.pipelines.render.surface import render_surface
from lift123.pipelines.render.volume import render_volume
from lift123.pipelines.stages.objects.fit_nerf import load_field, load_grid


def _both(run):
    near = run()
    with pretending():
        return near, run()


def test_marching_gives_the_same_mesh():
    grid, topology = a15_topology(5)
    sdf = torch.where(rim(grid), 1.0, torch.randn(len(grid), generator=torch.Generator().manual_seed(2)))
    near, far = _both(lambda: find_crossing(sdf, topology))
    assert len(near.faces) > 100
    for name in ("inside", "outside", "faces"):
        assert torch.equal(getattr(near, name), getattr(far, name))


def test_edges_and_their_losses():
    surface = box()
    faces = torch.cat([surface.faces, surface.faces[:1].flip(1), torch.tensor([[0, 0, 1]])])  # shared by three, degenerate
    near, far = _both(lambda: edge_topology(faces.clone()))
    assert torch.equal(near.neighbor, far.neighbor)
    edges = mesh_edges(surface.faces.clone(), len(surface.vertices))
    with pretending():
        slots = edge_slots(surface.faces.clone())
    assert torch.equal(slots.ends[slots.end_weight], edges.ends) and torch.equal(slots.pairs[slots.pair_weight], edges.pairs)
    for loss in (mesh.normal_consistency, mesh.uniform_laplacian):
        assert torch.allclose(loss(surface, edges), loss(surface, slots), atol=1e-6)


def test_a_surface_looks_the_same_and_pulls_the_same():
    def run():
        surface = box()
        vertices = surface.vertices.clone().requires_grad_()
        moved = type(surface)(vertices, surface.faces.clone(), surface.vertex_colors)
        seen = render_surface(moved, HOME.orbit(0.4, 0.2, 24))
        (grad,) = torch.autograd.grad((seen.rgb * torch.linspace(0, 1, 24)[:, None]).sum(), vertices)
        return seen.rgb.detach(), seen.alpha.detach(), grad

    for near, far in zip(*_both(run)):
        assert torch.allclose(near, far, atol=1e-5)


def test_a_volume_looks_the_same_but_for_samples_without_light():
    scene = nerf()
    field, grid, cameras = load_field(scene), load_grid(scene), HOME.orbit(0.4, 0.2, 24)

    def run():
        seen = render_volume(field, cameras, grid, NERF.volume, want_normal=True)
        with torch.no_grad():
            quick = render_volume(field, cameras, grid, NERF.volume)
        return seen, quick

    (near, quick), (far, also) = _both(run)
    for name in ("rgb", "alpha", "depth", "normal"):
        assert torch.allclose(getattr(near, name), getattr(far, name), atol=2e-3), name
    assert torch.allclose(quick.rgb, also.rgb, atol=2e-3)
    assert len(far.extras["samples"]) <= len(near.extras["samples"]) < len(near.extras["marched"])


def test_bounds_of_a_grid():
    density = torch.zeros(8, 8, 8)
    density[2:4, 1, 5:8] = 1.0

    def run():
        grid = OccupancyGrid(8)
        grid.load_state({"density": density, "updates": torch.tensor(1)})
        return grid.bounds

    near, far = _both(run)
    assert torch.equal(near, far)


def test_losses_over_a_mask():
    draw = torch.Generator().manual_seed(3)
    a, b, mask = torch.rand(2, 9, 9, generator=draw), torch.rand(2, 9, 9, generator=draw), torch.zeros(2, 9, 9)
    mask[:, 2:6, 3:8] = 1.0
    n, m = torch.randn(2, 9, 9, 3, generator=draw), torch.randn(2, 9, 9, 3, generator=draw)
    for run in (lambda: image.pearson_depth(a, b, mask), lambda: image.normal_cosine(n, m, mask),
                lambda: image.pearson_depth(a, b, mask * 0), lambda: image.normal_cosine(n, m, mask * 0)):
        near, far = _both(run)
        assert torch.allclose(near, far, atol=1e-5)
