"""Tet grids, marching tets, the TetSdf field and the mesh regularizers against closed forms and brute force."""

import itertools
import math

import pytest
import torch
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.core.mesh import Mesh
from lift123.pipelines.fields.tet_sdf import TetSdf
from lift123.pipelines.losses.mesh import normal_consistency, uniform_laplacian
from lift123.pipelines.ops.marching_tets import LOCAL_EDGES, TetTopology, case_table, marching_tets
from lift123.pipelines.ops.mesh_edges import mesh_edges
from lift123.pipelines.ops.tet_grid import a15_grid, rim
from lift123.pipelines.ops.tet_lattice import a15_topology

SPHERE = 4 / 3 * math.pi


def tet_volumes(vertices, tets):
    a, b, c, d = vertices.double()[tets].unbind(1)
    return (torch.linalg.cross(b - a, c - a) * (d - a)).sum(-1) / 6


@pytest.mark.parametrize("n", [1, 2, 5])
def test_grid_fills_the_cube_without_overlap(n):
    vertices, tets = a15_grid(n)
    volumes = tet_volumes(vertices, tets)
    assert volumes.min() > 0
    assert volumes.sum() == pytest.approx(8, abs=1e-5)
    assert vertices.abs().max() == 1
    faces = torch.cat([tets[:, list(f)] for f in itertools.combinations(range(4), 3)]).sort(-1).values
    unique, count = faces.unique(dim=0, return_counts=True)
    assert count.max() == 2
    single = vertices[unique[count == 1]]  # faces of one tet lie in one plane of the cube's surface
    assert bool(((single == 1) | (single == -1)).all(dim=1).any(dim=-1).all())


def test_grid_has_the_published_density_and_shape():
    vertices, tets = a15_grid(16)
    assert len(vertices) == pytest.approx(36562, rel=0.01) and len(tets) == pytest.approx(192492, rel=0.01)
    inner = tets[~rim(vertices)[tets].any(-1)]
    lengths = [(vertices[inner[:, a]] - vertices[inner[:, b]]).norm(dim=-1) * 32 for a, b in LOCAL_EDGES]
    assert set((torch.stack(lengths) ** 2).round().unique().tolist()) == {4, 5, 6}


def test_case_table_has_the_textbook_triangle_counts():
    assert case_table()[1].tolist() == [0, 1, 1, 2, 1, 2, 2, 1, 1, 2, 2, 1, 2, 1, 1, 0]


def test_every_case_separates_inside_from_outside():
    corners = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    for signs in itertools.product([-1.0, 1.0], repeat=4):
        sdf = torch.tensor(signs) * torch.tensor([0.3, 0.5, 0.7, 0.2])
        vertices, faces = marching_tets(corners, sdf, torch.tensor([[0, 1, 2, 3]]))
        for a, b, c in vertices[faces]:
            side = torch.einsum("vj,j->v", corners - a, torch.linalg.cross(b - a, c - a))
            assert bool((side[sdf < 0] < 1e-6).all()) and bool((side[sdf > 0] > -1e-6).all())


def sphere(n, radius=0.7):
    grid, tets = a15_grid(n)
    return grid, grid.norm(dim=-1) - radius, tets


def test_sphere_volume_closed_and_outward():
    grid, sdf, tets = sphere(32)
    mesh = Mesh(*marching_tets(grid, sdf, tets))
    assert mesh.signed_volume().item() == pytest.approx(SPHERE * 0.7**3, rel=0.002)
    edges = mesh_edges(mesh.faces, len(mesh.vertices))
    assert bool((edges.count == 2).all())
    assert len(mesh.vertices) - len(edges.ends) + len(mesh.faces) == 2  # Euler
    outward = (mesh.face_normals() * mesh.vertices[mesh.faces].mean(1)).sum(-1)
    assert bool((outward > 0).all())
    directed = mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    assert len(directed.unique(dim=0)) == len(directed)  # neighbors agree on the winding


def test_random_noise_is_closed_and_encloses_the_inside_volume():
    grid, tets = a15_grid(6)
    sdf = torch.rand(len(grid), generator=torch.Generator().manual_seed(0)) - 0.5
    sdf[rim(grid)] = 0.5
    mesh = Mesh(*marching_tets(grid, sdf, tets))
    edges = mesh_edges(mesh.faces, len(mesh.vertices))
    assert bool((edges.count % 2 == 0).all())
    points = torch.rand(200_000, 4, generator=torch.Generator().manual_seed(1)).clamp(min=1e-9)
    weights = -points.log() / (-points.log()).sum(-1, keepdim=True)  # uniform in a tet
    volumes = tet_volumes(grid, tets)
    pick = torch.multinomial(volumes, len(points), replacement=True, generator=torch.Generator().manual_seed(2))
    inside = (sdf[tets[pick]] * weights).sum(-1) < 0
    assert mesh.signed_volume().item() == pytest.approx(8 * inside.double().mean().item(), rel=0.02)


def test_gradients_match_finite_differences():
    grid, sdf, tets = sphere(3, 0.61)
    grid, topology = grid.double(), TetTopology.build(tets, len(grid))
    generator = torch.Generator().manual_seed(3)
    sdf = sdf.double() + 0.01 * torch.rand(len(sdf), generator=generator, dtype=torch.float64)
    weights = torch.rand(3, generator=generator, dtype=torch.float64)

    def value(g, s):
        vertices, faces = marching_tets(g, s, topology)
        return Mesh(vertices, faces).signed_volume() + (vertices.square() @ weights).sum()

    assert torch.autograd.gradcheck(value, (grid.requires_grad_(), sdf.requires_grad_()))


def test_zero_and_nan_distances():
    grid, _, tets = sphere(4)
    sdf = (grid.abs().amax(-1) - 0.5).clamp(-1, 1)  # many vertices exactly on the surface
    assert bool((sdf == 0).any())
    mesh = Mesh(*marching_tets(grid, sdf, tets))
    assert bool(torch.isfinite(mesh.vertices).all())
    assert bool((mesh_edges(mesh.faces, len(mesh.vertices)).count == 2).all())
    assert mesh.signed_volume().item() == pytest.approx(1.0, rel=0.15)  # corners are cut at this resolution
    sdf[3] = float("nan")
    with pytest.raises(ValueError, match="NaN"):
        marching_tets(grid, sdf, tets)


def test_no_surface_gives_an_empty_mesh():
    grid, _, tets = sphere(2)
    vertices, faces = marching_tets(grid, torch.ones(len(grid)), tets)
    assert vertices.shape == (0, 3) and faces.shape == (0, 3)


def ball_density(x, center=(0.1, -0.05, 0.0), radius=0.4):
    return torch.exp((radius - (x - torch.tensor(center)).norm(dim=-1)) * 40 + math.log(10))


@pytest.mark.parametrize("init, tolerance", [("log", 0.01), ("clamp", 0.15)])
def test_field_from_density(init, tolerance):
    field = TetSdf.from_density(ball_density, 12, 10.0, init=init)
    mesh = field.extract()
    assert mesh.signed_volume().item() == pytest.approx(SPHERE * 0.4**3, rel=tolerance)
    assert field.scale.tolist() == pytest.approx([0.6, 0.55, 0.5], abs=0.09)


def test_field_drops_floaters_and_fills_cavities():
    def density(x):
        depth = 0.5 - x.norm(dim=-1)
        return 10 * torch.exp(40 * torch.minimum(depth, 0.25 - depth)) + ball_density(x, (0.8, 0.8, 0.8), 0.1)

    mesh = TetSdf.from_density(density, 16, 10.0).extract()
    assert mesh.signed_volume().item() == pytest.approx(SPHERE * 0.5**3, rel=0.02)
    raw = TetSdf.from_density(density, 16, 10.0, keep_parts=0.0, fill_cavities=False).extract()
    assert raw.signed_volume() < mesh.signed_volume() * 0.95


def test_field_stays_closed_when_it_touches_the_box():
    field = TetSdf.from_density(lambda x: 100 * torch.ones(len(x)), 6, 10.0)
    mesh = field.extract()
    assert bool((mesh_edges(mesh.faces, len(mesh.vertices)).count == 2).all())
    assert mesh.vertices.abs().max() <= 1


def test_field_errors():
    with pytest.raises(InputError, match="none anywhere"):
        TetSdf.from_density(lambda x: torch.zeros(len(x)), 4, 1.0)
    with pytest.raises(InputError, match="positive"):
        TetSdf.from_density(ball_density, 4, 0.0)
    with pytest.raises(InputError, match="no surface"):
        TetSdf(4).extract()


def test_field_can_be_fitted_and_saved():
    field = TetSdf.from_density(ball_density, 8, 10.0)
    optimizer = torch.optim.Adam(field.parameters(), lr=0.02)
    losses = []
    for _ in range(60):
        mesh = field.extract()
        loss = (mesh.vertices.norm(dim=-1) - 0.33).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.05 * losses[0]
    twin = TetSdf(8)
    twin.load_state_dict(field.state_dict())
    assert torch.equal(twin.extract().vertices, field.extract().vertices)


def test_extraction_is_bitwise_deterministic():
    results = []
    for _ in range(2):
        field = TetSdf.from_density(ball_density, 10, 10.0)
        mesh = field.extract()
        (uniform_laplacian(mesh) + normal_consistency(mesh)).backward()
        results.append((mesh.vertices.detach(), mesh.faces, field.sdf.grad, field.deform.grad))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_mesh_losses_against_loops():
    field = TetSdf.from_density(ball_density, 3, 10.0)
    mesh = field.extract().detach()
    mesh = Mesh(mesh.vertices.double(), mesh.faces)
    normals = torch.nn.functional.normalize(mesh.face_normals(), dim=-1)
    by_edge, neighbors = {}, {}
    for index, face in enumerate(mesh.faces.tolist()):
        for a, b in zip(face, face[1:] + face[:1]):
            by_edge.setdefault((min(a, b), max(a, b)), []).append(index)
            neighbors.setdefault(a, set()).add(b)
            neighbors.setdefault(b, set()).add(a)
    bends = [abs(1 - float(normals[f] @ normals[g])) for f, g in by_edge.values()]
    assert normal_consistency(mesh).item() == pytest.approx(sum(bends) / len(bends), rel=1e-6)
    x = mesh.vertices
    pulls = [float(sum(x[i] - x[j] for j in js).norm()) for i, js in neighbors.items()]
    assert uniform_laplacian(mesh).item() == pytest.approx(sum(pulls) / len(x), rel=1e-5)


def test_mesh_losses_survive_degenerate_faces():
    vertices = torch.zeros(4, 3, requires_grad=True)
    mesh = Mesh(vertices, torch.tensor([[0, 1, 2], [0, 2, 3]]))
    (normal_consistency(mesh) + uniform_laplacian(mesh)).backward()
    assert bool(torch.isfinite(vertices.grad).all())


def test_albedo_asks_a_radiance_field_or_a_function():
    """The NeRF a surface came from has no call of its own, only ``albedo``."""

    class Field(torch.nn.Module):
        def albedo(self, x):
            return x.abs()

    x = torch.tensor([[0.1, -0.2, 0.3]])
    assert torch.equal(TetSdf(4, color=Field()).albedo(x), x.abs())
    assert torch.equal(TetSdf(4, color=lambda p: p * 2).albedo(x), x * 2)
    assert torch.equal(TetSdf(4).albedo(x), torch.full_like(x, 0.7))


@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_tables_from_lattice_steps_are_those_from_sorting(n):
    vertices, tets = a15_grid(n)
    sorted_ = TetTopology.build(tets, len(vertices))
    quick_vertices, quick = a15_topology(n)
    assert torch.equal(vertices, quick_vertices) and quick.vertex_count == len(vertices)
    for name in ("tets", "edges", "tet_edges"):
        assert torch.equal(getattr(sorted_, name), getattr(quick, name)), name
    assert quick.edges.dtype == sorted_.edges.dtype and quick.tets.dtype == sorted_.tets.dtype
