"""Unwrapping large meshes: our own quick charts, and xatlas in a process of its own."""

import subprocess
import sys
import time

import pytest
import torch
from lift123.pipelines.core import pulse
from lift123.pipelines.core.mesh import Mesh, merge
from lift123.pipelines.io import unwrap as unwrapping
from lift123.pipelines.io import unwrap_child
from lift123.pipelines.io.unwrap import CHILD, unwrap
from lift123.pipelines.io.unwrap_boxes import unwrap_boxes
from lift123.pipelines.ops.rasterize import rasterize


def sheet(function, rows, columns) -> Mesh:
    """A surface over [0, 1]^2."""
    u, v = torch.meshgrid(torch.linspace(0, 1, rows), torch.linspace(0, 1, columns), indexing="ij")
    a = (torch.arange(rows - 1)[:, None] * columns + torch.arange(columns - 1)).reshape(-1)
    faces = torch.cat([torch.stack([a, a + columns, a + 1], 1), torch.stack([a + 1, a + columns, a + columns + 1], 1)])
    return Mesh(torch.stack(function(u, v), -1).reshape(-1, 3), faces)


def ball(rows=24) -> Mesh:
    return sheet(lambda u, v: (torch.sin(3.14 * u + 1e-3) * torch.cos(6.2832 * v), torch.cos(3.14 * u + 1e-3),
                               torch.sin(3.14 * u + 1e-3) * torch.sin(6.2832 * v)), rows, 2 * rows)


def ramp() -> Mesh:
    """A spiral of three turns: every place but the first turn's lies under another, in one connected piece."""
    return sheet(lambda u, v: ((0.3 + 0.5 * v) * torch.cos(18.85 * u), 0.6 * u, (0.3 + 0.5 * v) * torch.sin(18.85 * u)), 160, 5)


def crumpled() -> Mesh:
    noise = torch.randn(24 * 48, 3, generator=torch.Generator().manual_seed(0)) * 0.08
    return Mesh(ball().vertices + noise, ball().faces)


SHAPES = {
    "a ball": ball, "a spiral ramp": ramp, "a crumpled ball": crumpled, "a ball, twice in one place": lambda: merge([ball()] * 2),
    "faces of both windings": lambda: Mesh(ball().vertices, torch.cat([ball().faces, ball().faces.flip(1)])),
    "three faces at an edge": lambda: Mesh(torch.tensor([[0, 0, 0], [0, 1, 0.0], [1, 0, 0.1], [1, 0.5, 0.3], [1, 0, 0.5]]),
                                           torch.tensor([[0, 2, 1], [0, 3, 1], [0, 4, 1]])),
    "faces without an area": lambda: Mesh(ball().vertices, torch.cat([ball().faces, torch.zeros(3, 3, dtype=torch.int64)])),
    "one face": lambda: Mesh(torch.eye(3), torch.tensor([[0, 1, 2]])),
}


def two_faces_share_a_texel(done, size) -> bool:
    """Drawn once with the first and once with the last face on top, an atlas shows the same faces, borders aside."""
    flat, drawn = done.uvs[done.face_uvs].reshape(-1, 2) * 2 - 1, []
    own = torch.arange(len(flat)).reshape(-1, 3)
    depth = torch.linspace(-0.9, 0.9, len(own)).repeat_interleave(3)
    for sign in (1, -1):
        raster = rasterize(torch.stack([flat[:, 0], flat[:, 1], sign * depth, torch.ones(len(flat))], -1)[None], own, size, size)
        drawn.append((raster.triangle[0], raster.barycentric[0].amin(-1) > 2e-3))
    (first, inside), (last, inside_too) = drawn
    return bool(((first != last) & inside & inside_too).any())


def areas(done) -> torch.Tensor:
    a, b, c = (done.uvs[done.face_uvs[:, k]].double() for k in range(3))
    return ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]).abs()


@pytest.mark.parametrize("name", SHAPES)
def test_no_texel_belongs_to_two_faces_and_every_face_has_its_place(name, size=384):
    mesh = SHAPES[name]()
    done = unwrap(mesh, None, size, 2, "boxes")
    assert torch.equal(done.faces, mesh.faces) and torch.equal(done.vertices, mesh.vertices)
    assert float(done.uvs.min()) >= 0 and float(done.uvs.max()) <= 1 and done.face_uvs.shape == mesh.faces.shape
    assert not two_faces_share_a_texel(done, size)
    sound = mesh.face_normals().norm(dim=-1) > 1e-6
    assert bool((areas(done)[sound] > 0).all()), "a face has no texels"
    again = unwrap(SHAPES[name](), None, size, 2, "boxes")
    assert torch.equal(again.uvs, done.uvs) and torch.equal(again.face_uvs, done.face_uvs)


def test_pieces_of_a_large_mesh_share_one_atlas(monkeypatch, size=512):
    """xatlas's time grows faster than the faces, so that it is given pieces; together they look as one."""
    pytest.importorskip("xatlas")
    mesh = ball(12)  # 506 faces
    whole = unwrap(mesh, None, size, 2, "xatlas")
    for name, value in (("WHOLE", 500), ("PIECE", 130)):
        monkeypatch.setattr(unwrap_child, name, value)
    parts = unwrap_child.pieces(mesh.vertices.numpy(), mesh.faces.numpy())
    assert len(parts) == 4 and sorted(torch.cat([torch.from_numpy(p) for p in parts]).tolist()) == list(range(506))
    done, again = (unwrap(mesh, None, size, 2, "xatlas") for _ in range(2))
    assert torch.equal(again.uvs, done.uvs) and torch.equal(again.face_uvs, done.face_uvs)
    assert not torch.equal(done.uvs[done.face_uvs], whole.uvs[whole.face_uvs]) and torch.equal(done.faces, mesh.faces)
    assert not two_faces_share_a_texel(done, size)
    sound = mesh.face_normals().norm(dim=-1) > 1e-6
    assert bool((areas(done)[sound] > 0).all()) and float(areas(done).sum()) > 0.6 * float(areas(whole).sum())
    scale = areas(done)[sound].sqrt() / mesh.face_normals().norm(dim=-1)[sound].sqrt()
    assert float(scale.quantile(0.9) / scale.quantile(0.1)) < 2.5, "pieces are packed at one scale"


def test_a_balls_charts_are_few_and_fill_the_texture():
    done = unwrap(ball(), None, 512, 2, "boxes")
    a, b, c = (done.uvs[done.face_uvs[:, k]].double() for k in range(3))
    used = float(((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]).abs().sum() / 2)
    assert used > 0.3
    corners = mesh_corners(done)
    assert len(torch.unique(corners, dim=0)) < 1.35 * len(done.vertices), "neighbors share their places within a chart"


def mesh_corners(mesh) -> torch.Tensor:
    """[3 F, 3] vertex and place of each corner."""
    place = (mesh.uvs[mesh.face_uvs].reshape(-1, 2) * 1e4).round().long()
    return torch.cat([mesh.faces.reshape(-1, 1), place], 1)


def test_too_many_charts_for_the_texture_take_a_grid():
    assert unwrap_boxes(crumpled(), 16, 8) is None
    done = unwrap(crumpled(), None, 16, 8, "boxes")
    assert done.face_uvs.shape == crumpled().faces.shape


def test_large_meshes_take_our_own_charts(monkeypatch):
    monkeypatch.setattr(unwrapping, "ATLAS_FACES", 100)
    monkeypatch.setattr(unwrapping, "charts", lambda *_: pytest.fail("xatlas was asked"))
    assert torch.equal(unwrap(ball(), None, 256, 2).uvs, unwrap(ball(), None, 256, 2, "boxes").uvs)


def test_a_child_gives_the_same_bytes(monkeypatch):
    pytest.importorskip("xatlas")
    here = unwrap(ball(12), None, 256, 2, "xatlas")
    monkeypatch.setattr(unwrapping, "HERE_FACES", 10)
    there = unwrap(ball(12), None, 256, 2, "xatlas")
    assert torch.equal(here.uvs, there.uvs) and torch.equal(here.face_uvs, there.face_uvs)


class Enough(Exception):
    pass


def test_a_child_ends_with_the_call(monkeypatch, tmp_path):
    """Interrupted: the process is gone at once.  Too slow or broken: our own charts take over."""
    pids = []

    class Watched(subprocess.Popen):
        def __init__(self, *words, **more):
            super().__init__(*words, **more)
            pids.append(self)

    sleeper = tmp_path / "sleeper.py"
    sleeper.write_text("import time; time.sleep(60)")
    for name, value in (("HERE_FACES", 10), ("CHILD", sleeper)):
        monkeypatch.setattr(unwrapping, name, value)
    monkeypatch.setattr(unwrapping.subprocess, "Popen", Watched)
    began, heard = time.monotonic(), []

    def listener(what, done, total):
        heard.append(what)
        if time.monotonic() - began > 0.5:
            raise Enough()

    with pulse.heard_by(listener), pytest.raises(Enough):
        unwrap(ball(12), None, 256, 2, "xatlas")
    assert time.monotonic() - began < 5 and pids[0].poll() is not None and "unwrapping 506 faces" in heard
    monkeypatch.setattr(unwrapping, "PATIENCE", 0.3)
    slow = unwrap(ball(12), None, 256, 2, "xatlas")
    assert pids[1].poll() is not None and torch.equal(slow.uvs, unwrap(ball(12), None, 256, 2, "boxes").uvs)
    sleeper.write_text("raise SystemExit('no such thing')")
    assert torch.equal(unwrap(ball(12), None, 256, 2, "xatlas").uvs, slow.uvs)


def test_the_child_stands_alone():
    """It imports nothing but what it needs, whatever stands beside it."""
    words = ("import sys, runpy; runpy.run_path(sys.argv[1], run_name='child'); "
             "print(sorted(m for m in sys.modules if 'lift' in m))")
    said = subprocess.run([sys.executable, "-c", words, str(CHILD)], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"
