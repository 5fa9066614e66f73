"""The conventions of pipelines/__init__.py, pinned (M-A.4)."""

import math

import pytest
import torch
from lift123.pipelines.core.cameras import HOME, Cameras, turntable
from lift123.pipelines.core.mesh import Mesh
from lift123.pipelines.networks.view import pose_vector
from lift123.pipelines.render.surface import render_surface

FOVY = math.radians(20)


def octahedron(center, size, color):
    v = torch.tensor([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]]) * size + torch.tensor(center)
    f = [[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]]
    return Mesh(v.float(), torch.tensor(f), torch.tensor(color).expand(6, 3).float())


def test_c2w_is_rigid_and_right_handed():
    c = Cameras.orbit([0.3, -2.0, 3.0], [0.5, -0.4, 1.2], 3.0, FOVY, 8, 8)
    rotation = c.c2w[:, :3, :3]
    assert torch.allclose(torch.linalg.det(rotation), torch.ones(3), atol=1e-6)
    assert torch.allclose(rotation @ rotation.transpose(1, 2), torch.eye(3).expand(3, 3, 3), atol=1e-6)
    assert torch.allclose(c.w2c() @ c.c2w, torch.eye(4).expand(3, 4, 4), atol=1e-5)


@pytest.mark.parametrize("azimuth,elevation", [(0.0, 0.0), (1.2, 0.3), (-2.9, -0.7), (3.1, 1.3)])
def test_azimuth_and_elevation_round_trip(azimuth, elevation):
    c = Cameras.orbit(azimuth, elevation, 2.5, FOVY, 4, 4)
    assert float(c.azimuth) == pytest.approx(azimuth, abs=1e-5)
    assert float(c.elevation) == pytest.approx(elevation, abs=1e-5)
    assert float(c.radius) == pytest.approx(2.5, abs=1e-5)


def test_positive_azimuth_is_towards_plus_x():
    assert torch.allclose(Cameras.orbit(math.pi / 2, 0, 2.0, FOVY, 4, 4).positions[0], torch.tensor([2.0, 0, 0]), atol=1e-6)
    assert torch.allclose(Cameras.orbit(0, 0, 2.0, FOVY, 4, 4).positions[0], torch.tensor([0, 0, 2.0]), atol=1e-6)


@pytest.mark.parametrize(
    "center,row_half,column_half",
    [((0.4, 0.0, 0.0), None, "right"), ((-0.4, 0.0, 0.0), None, "left"), ((0.0, 0.4, 0.0), "top", None)],
)
def test_a_blob_appears_on_its_side_of_the_front_picture(center, row_half, column_half):
    picture = render_surface(octahedron(center, 0.1, [1.0, 0, 0]), Cameras.orbit(0, 0, 3.2, FOVY, 32, 32)).alpha[0]
    rows, columns = torch.nonzero(picture > 0.5).float().mean(0) + 0.5
    if column_half:
        assert (columns > 20) if column_half == "right" else (columns < 12)
    if row_half:
        assert rows < 12


def test_the_flank_on_the_right_is_shown_from_plus_ninety_degrees():
    """A red blob at +x faces the camera that moved by +90 degrees, and the pose vector says sin = +1."""
    both = octahedron((0.3, 0, 0), 0.15, [1.0, 0, 0])
    other = octahedron((-0.3, 0, 0), 0.15, [0, 0, 1.0])
    from lift123.pipelines.core.mesh import merge

    front, side = Cameras.orbit(0, 0, 3.2, FOVY, 33, 33), Cameras.orbit(math.pi / 2, 0, 3.2, FOVY, 33, 33)
    center = render_surface(merge([both, other]), side).rgb[0, 16, 16]
    assert center[0] > 0.9 and center[2] < 0.1
    assert torch.allclose(pose_vector(side, front), torch.tensor([[0.0, 1.0, 0.0, 0.0]]), atol=1e-6)
    up = Cameras.orbit(0, 0.5, 3.2, FOVY, 33, 33)
    assert float(pose_vector(up, front)[0, 0]) == pytest.approx(-0.5, abs=1e-5), "moving up lowers the polar angle"


def test_rays_and_projection_agree():
    """A point on a pixel's ray projects onto that pixel's center, and its clip w is the ray parameter."""
    c = Cameras.orbit([0.7, -1.0], [0.2, 0.5], 3.0, FOVY, 6, 9)
    rays = c.rays()
    for t in (0.5, 3.0):
        points = rays.origins + t * rays.directions
        clip = torch.einsum("bij,bhwj->bhwi", c.world_to_clip(), torch.nn.functional.pad(points, (0, 1), value=1.0))
        ndc = clip[..., :2] / clip[..., 3:]
        x, y = (ndc[..., 0] + 1) / 2 * 9, (1 - ndc[..., 1]) / 2 * 6
        assert torch.allclose(x, (torch.arange(9) + 0.5).expand_as(x), atol=1e-3)
        assert torch.allclose(y, (torch.arange(6) + 0.5)[:, None].expand_as(y), atol=1e-3)
        assert torch.allclose(clip[..., 3], torch.full_like(clip[..., 3], t), atol=1e-4)


def test_field_of_view_is_vertical_and_full():
    c = Cameras.orbit(0, 0, 3.0, FOVY, 10, 20)
    top = (c.rays().directions[0, 0, :, 1] / -c.rays().directions[0, 0, :, 2]).max()
    assert float(top) == pytest.approx(math.tan(FOVY / 2) * 0.9, rel=1e-5)  # center of the outermost of 10 rows


def test_bad_cameras_are_refused():
    with pytest.raises(ValueError, match="90"):
        Cameras.orbit(0, math.pi / 2, 3.0, FOVY, 4, 4)
    with pytest.raises(ValueError, match="size"):
        Cameras.orbit(0, 0, 3.0, FOVY, 0, 4)
    with pytest.raises(ValueError, match="share"):
        Cameras.cat([turntable(2, 0, 3, FOVY, 8), turntable(2, 0, 3, FOVY, 9)])


def test_turntable_starts_in_front_and_turns_to_plus_x():
    c = turntable(4, 0.0, 3.0, FOVY, 8)
    assert torch.allclose(c.positions[1], torch.tensor([3.0, 0, 0]), atol=1e-5)
    assert len(c[2]) == 1 and len(c[-1]) == 1 and len(c[1:3]) == 2


def test_the_home_camera_sees_the_frame_that_its_radius_and_angle_give():
    c = HOME.orbit(0.4, 0.1, 6)
    assert float(c.radius) == pytest.approx(HOME.radius) and (c.height, c.width) == (6, 6)
    frame = 2 * HOME.radius * math.tan(HOME.fovy / 2)
    assert frame == pytest.approx(1.13, abs=5e-3) and HOME.fovy == FOVY
    up = c.c2w[0, :3, 1]
    for share in (-0.5, 0.5):  # the ends of the frame at the origin are the picture's edges
        clip = c.world_to_clip()[0] @ torch.cat([share * frame * up, torch.ones(1)])
        assert float(clip[1] / clip[3]) == pytest.approx(2 * share, abs=1e-5)
    assert torch.equal(HOME.turntable(4, 0.0, 8).c2w, turntable(4, 0.0, HOME.radius, FOVY, 8).c2w)
