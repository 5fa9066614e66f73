"""Orthographic cameras against brute force: projection, rasters, gradients; the types of layered characters."""

import math

import pytest
import torch
from lift123.pipelines.core.cameras import Cameras
from lift123.pipelines.core.character_views import LEVEL_NAMES, CharacterViews
from lift123.pipelines.core.layers import LAYER_NAMES, LayeredMesh
from lift123.pipelines.core.mesh import Mesh
from lift123.pipelines.core.ortho import VIEW_AZIMUTHS, VIEW_NAMES, OrthoCameras, six_views
from lift123.pipelines.ops.rasterize import rasterize, rasterize_reference
from lift123.pipelines.ops.rasterizers import REFERENCE, WARP
from lift123.pipelines.render.surface import project, render_surface

CAMERAS = OrthoCameras.orbit(
    torch.tensor([0.0, 0.7, -2.0]), torch.tensor([0.0, 0.4, -0.3]), torch.tensor([1.2, 0.8, 1.0]), 20, 28
)


def soup(count: int = 12, seed: int = 0) -> Mesh:
    generator = torch.Generator().manual_seed(seed)
    centers = torch.rand(count, 1, 3, generator=generator) * 1.4 - 0.7
    vertices = (centers + (torch.rand(count, 3, 3, generator=generator) - 0.5)).reshape(-1, 3)
    colors = torch.rand(len(vertices), 3, generator=generator)
    return Mesh(vertices, torch.arange(3 * count).reshape(-1, 3), colors)


def seen_by_brute_force(mesh: Mesh, origin, direction):
    """(distance, face, barycentric) of the first triangle on a ray, by Cramer's rule in double precision."""
    best = (math.inf, -1, None)
    for face, corners in enumerate(mesh.vertices[mesh.faces].double()):
        a, b, c = corners
        matrix = torch.stack([b - a, c - a, -direction.double()], dim=1)
        if abs(torch.linalg.det(matrix)) < 1e-12:
            continue
        u, v, t = torch.linalg.solve(matrix, origin.double() - a).tolist()
        if u >= 0 and v >= 0 and u + v <= 1 and 0 < t < best[0]:
            best = (t, face, (1 - u - v, u, v))
    return best


def test_points_project_to_where_their_offset_along_the_axes_says():
    points = soup().vertices
    clip = project(points, CAMERAS)
    assert (clip[..., 3] == 1).all()
    for b in range(3):
        right, up, backward, position = CAMERAS.c2w[b, :3].T
        half = float(CAMERAS.half_height[b])
        offset = points - position
        torch.testing.assert_close(clip[b, :, 0], offset @ right / (half * 28 / 20), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(clip[b, :, 1], offset @ up / half, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(CAMERAS.depth(points)[b], -(offset @ backward), rtol=1e-5, atol=1e-5)
    steps = torch.tensor([CAMERAS.near, CAMERAS.far])[:, None] * -CAMERAS.c2w[0, :3, 2] + CAMERAS.positions[0]
    torch.testing.assert_close(project(steps, CAMERAS[0])[0, :, 2], torch.tensor([-1.0, 1.0]), rtol=1e-4, atol=1e-4)


def test_rays_run_through_pixel_centers():
    rays = CAMERAS.rays()
    for t in (1.0, 5.0):
        points = rays.origins + t * rays.directions
        for b in range(3):
            clip = project(points[b].reshape(-1, 3), CAMERAS[b])[0].reshape(20, 28, 4)
            columns = (clip[..., 0] * 0.5 + 0.5) * 28 - 0.5
            rows = (0.5 - clip[..., 1] * 0.5) * 20 - 0.5
            torch.testing.assert_close(columns, torch.arange(28.0).expand(20, 28), rtol=0, atol=1e-3)
            torch.testing.assert_close(rows, torch.arange(20.0)[:, None].expand(20, 28), rtol=0, atol=1e-3)


def test_pictures_equal_ray_casting():
    mesh = soup(24)
    out = render_surface(mesh, CAMERAS, antialias=False, want_normal=False)
    rays, compared = CAMERAS.rays(), 0
    for b in range(3):
        for i in range(0, 20, 3):
            for j in range(1, 28, 3):
                t, face, weights = seen_by_brute_force(mesh, rays.origins[b, i, j], rays.directions[b, i, j])
                assert bool(out.alpha[b, i, j]) == (face >= 0)
                if face < 0:
                    assert out.depth[b, i, j] == 0
                    continue
                color = torch.tensor(weights) @ mesh.vertex_colors[mesh.faces[face]].double().to(torch.float32)
                assert float(out.depth[b, i, j]) == pytest.approx(t, abs=2e-5)
                assert (out.rgb[b, i, j] - color).abs().max() < 1e-4
                compared += 1
    assert compared > 40


def test_raster_and_its_gradient_equal_the_plain_specification():
    mesh = soup(8, seed=3)
    clip = project(mesh.vertices, CAMERAS)
    weights = torch.rand(3, 20, 28, 3, generator=torch.Generator().manual_seed(1))
    grads = []
    for draw in (rasterize, rasterize_reference):
        leaf = clip.clone().requires_grad_()
        raster = draw(leaf, mesh.faces, 20, 28)
        (raster.barycentric * weights).sum().backward()
        grads.append((raster, leaf.grad))
    assert torch.equal(grads[0][0].triangle, grads[1][0].triangle)
    torch.testing.assert_close(grads[0][0].barycentric, grads[1][0].barycentric, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(grads[0][1], grads[1][1], rtol=1e-3, atol=1e-3)
    assert float(grads[0][1].abs().max()) > 0.1


@pytest.mark.parametrize("antialias", [False, True])
def test_renders_and_gradients_equal_plain_torch(antialias):
    base = soup(6, seed=5)
    results = []
    for rasterizer in (WARP, REFERENCE):
        vertices = base.vertices.clone().requires_grad_()
        mesh = Mesh(vertices, base.faces, base.vertex_colors)
        out = render_surface(mesh, CAMERAS, antialias=antialias, rasterizer=rasterizer)
        (out.rgb.sum() + (out.depth * out.depth).sum() + out.alpha.sum() + out.normal[..., 0].sum()).backward()
        results.append((out, vertices.grad))
    for name in ("rgb", "alpha", "depth", "normal"):
        torch.testing.assert_close(getattr(results[0][0], name), getattr(results[1][0], name), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(results[0][1], results[1][1], rtol=2e-3, atol=2e-3)


def test_depth_of_a_tilted_plane_has_its_closed_form_gradient():
    """z = 0.3 x: depth of a front picture is DISTANCE - 0.3 x; raising all vertices lowers it by as much."""
    vertices = torch.tensor([[-1.0, -1, -0.3], [1, -1, 0.3], [1, 1, 0.3], [-1, 1, -0.3]], requires_grad=True)
    mesh = Mesh(vertices, torch.tensor([[0, 1, 2], [0, 2, 3]]))
    camera = six_views(24)[0]
    out = render_surface(mesh, camera, antialias=False)
    x = camera.rays().origins[0, ..., 0]
    inside = out.alpha[0] > 0
    torch.testing.assert_close(out.depth[0][inside], (float(camera.radius) - 0.3 * x)[inside], rtol=1e-5, atol=1e-5)
    out.depth.sum().backward()
    assert float(vertices.grad[:, 2].sum()) == pytest.approx(-float(inside.sum()), rel=1e-4)


def test_six_views_go_round_to_the_viewers_right():
    cameras = six_views(32)
    assert VIEW_NAMES == ("front", "front_right", "right", "back", "left", "front_left")
    assert [round(math.degrees(a)) for a in VIEW_AZIMUTHS] == [0, 45, 90, 180, 270, 315]
    expected = torch.tensor([[0, 0, 1], [1, 0, 1], [1, 0, 0], [0, 0, -1], [-1, 0, 0], [-1, 0, 1]]).float()
    expected = torch.nn.functional.normalize(expected, dim=-1) * 1.2 / math.tan(math.radians(15))
    torch.testing.assert_close(cameras.positions, expected, rtol=1e-5, atol=1e-5)
    assert cameras.positions.norm(dim=-1).allclose(torch.tensor(4.4785), atol=1e-3)
    # a point on the character's left hand side (+X) is right of the middle from the front, left of it from behind
    columns = project(torch.tensor([[0.5, 0.0, 0.0]]), cameras)[:, 0, 0] * 1.2
    torch.testing.assert_close(columns, torch.tensor([0.5, 0.35355, 0.0, -0.5, 0.0, 0.35355]), rtol=1e-4, atol=1e-5)
    narrow = six_views(32, 18)
    torch.testing.assert_close(
        project(torch.tensor([[0.3, 0.6, 0]]), narrow)[0, 0, :2], torch.tensor([0.3 / 0.675, 0.5])
    )


def test_stand_in_pinhole_sees_the_same_window():
    cameras = six_views(16)
    pinhole = cameras.pinhole()
    torch.testing.assert_close(pinhole.c2w, cameras.c2w, rtol=1e-5, atol=1e-5)
    assert float(1 / (2 * torch.tan(pinhole.fovy[0] / 2))) == pytest.approx(1.866025, abs=1e-5)
    in_plane = cameras.c2w[1, :3, :2] @ torch.tensor([0.7, -0.9])
    ours, theirs = (project(in_plane[None], c[1])[0, 0] for c in (cameras, pinhole))
    torch.testing.assert_close(ours[:2] / ours[3], theirs[:2] / theirs[3], rtol=1e-4, atol=1e-5)


def test_batches_behave_like_those_of_pinhole_cameras():
    again = OrthoCameras.cat([CAMERAS[0], CAMERAS[1:]])
    assert torch.equal(again.c2w, CAMERAS.c2w) and len(CAMERAS[-1]) == 1
    assert CAMERAS.resized(5, 7).half_height is CAMERAS.half_height
    torch.testing.assert_close(CAMERAS.w2c() @ CAMERAS.c2w, torch.eye(4).expand(3, 4, 4), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(CAMERAS.azimuth, torch.tensor([0.0, 0.7, -2.0]))
    torch.testing.assert_close(CAMERAS.elevation, torch.tensor([0.0, 0.4, -0.3]), rtol=1e-4, atol=1e-5)
    public = {name for name in dir(Cameras) if name[0] != "_"} - {"fovy"}
    assert public <= set(dir(OrthoCameras))
    with pytest.raises(ValueError, match="positive"):
        OrthoCameras(torch.eye(4)[None], torch.zeros(1), 4, 4)
    with pytest.raises(ValueError, match="c2w"):
        OrthoCameras(torch.eye(3)[None], torch.ones(1), 4, 4)
    with pytest.raises(ValueError, match="image size"):
        OrthoCameras.cat([CAMERAS, CAMERAS.resized(4, 4)])


def test_layers_are_kept_inside_out_and_empty_ones_are_absent():
    mesh, empty = soup(2), Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64))
    layered = LayeredMesh({"hair": mesh, "body": mesh, "clothing": empty})
    assert layered.names == ("body", "hair") and "clothing" not in layered and len(layered) == 2
    assert layered.level(0).names == ("body", "hair") and layered.level(1).names == layered.level(2).names == ("body",)
    full = layered.replaced("clothing", mesh)
    assert (
        full.names == LAYER_NAMES
        and list(full) == list(LAYER_NAMES)
        and full.replaced("hair", None).names == full.names[:2]
    )
    assert len(full.merged().faces) == 6 and full.transformed(2.0, 1.0)["body"].vertices.equal(mesh.vertices * 2 + 1)
    with pytest.raises(ValueError, match="shoes"):
        LayeredMesh({"shoes": mesh})
    with pytest.raises(KeyError, match="clothing.*body, hair"):
        layered["clothing"]
    with pytest.raises(ValueError, match="level"):
        layered.level(3)
    with pytest.raises(ValueError, match="without layers"):
        LayeredMesh({}).merged()


def test_character_views_check_their_shapes_and_composite_on_white():
    alpha = torch.zeros(2, 6, 8, 8)
    alpha[0, :, 2:6, 2:6], alpha[1, :, 3, 3] = 1.0, 0.5
    normal = torch.zeros(2, 6, 8, 8, 3)
    normal[..., 2] = (alpha > 0).float()
    color = (alpha[..., None] * 0.25 + (1 - alpha[..., None])).expand_as(normal)
    views = CharacterViews(color, normal, alpha, ("complete", "body"))
    encoded = views.encoded_normal()
    assert encoded[0, 0, 0, 0].tolist() == [1, 1, 1] and encoded[0, 0, 3, 3].tolist() == [0.5, 0.5, 1.0]
    assert encoded[1, 0, 3, 3].tolist() == [0.75, 0.75, 1.0]
    assert views.level(2).levels == ("body",) and views.level("body").alpha.equal(alpha[1:])
    posed = views.views(2)
    assert float((posed.rgb[0, 3, 3] - 0.25).abs().max()) < 1e-6 and len(posed.cameras) == 6
    assert posed.on_background(1.0).allclose(color[1], atol=1e-6)
    with pytest.raises(ValueError, match="no level 1"):
        views.index(1)
    with pytest.raises(ValueError, match="levels"):
        CharacterViews(color, normal, alpha, ("body", "complete"))
    with pytest.raises(ValueError, match="alpha"):
        CharacterViews(color, normal, alpha)
    with pytest.raises(ValueError, match="normal"):
        CharacterViews(color, normal[..., :2], alpha, LEVEL_NAMES[:2])
