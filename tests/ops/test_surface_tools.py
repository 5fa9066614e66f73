"""Closest points against brute force, and the run manifest."""

import hashlib
import json

import pytest
import torch
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.io.manifest import run_manifest, write_manifest
from lift123.pipelines.ops.closest import closest_point, closest_point_reference
from lift123.pipelines.ops.marching_tets import marching_tets
from lift123.pipelines.ops.tet_grid import a15_grid


def soup(count=40):
    generator = torch.Generator().manual_seed(0)
    vertices = torch.randn(3 * count, 3, generator=generator)
    vertices[2] = vertices[1]  # a triangle that is a segment
    return vertices, torch.arange(3 * count).reshape(-1, 3), torch.randn(300, 3, generator=generator)


def test_closest_point_against_brute_force():
    vertices, faces, points = soup()
    fast = closest_point(points, vertices, faces)
    slow = closest_point_reference(points.double(), vertices.double(), faces)
    assert torch.allclose(fast.distance.double(), slow.distance, atol=1e-5)
    assert torch.allclose(fast.point.double(), slow.point, atol=1e-4)
    assert torch.allclose(fast.barycentric.sum(-1), torch.ones(300), atol=1e-5)


def test_brute_force_against_dense_sampling():
    vertices, faces, points = soup(3)
    u = torch.rand(30_000, 2, generator=torch.Generator().manual_seed(1))
    root = u[:, :1].sqrt()
    weights = torch.cat([1 - root, root * (1 - u[:, 1:]), root * u[:, 1:]], dim=-1)
    spots = (weights @ vertices[faces]).reshape(-1, 3)
    sampled = torch.stack([(spots - p).norm(dim=-1).min() for p in points[:40]])
    exact = closest_point_reference(points[:40], vertices, faces).distance
    assert bool((sampled >= exact - 1e-5).all()) and torch.allclose(sampled, exact, atol=0.05)


def test_distance_to_a_ball():
    grid, tets = a15_grid(12)
    vertices, faces = marching_tets(grid, grid.norm(dim=-1) - 0.5, tets)
    points = torch.randn(2000, 3, generator=torch.Generator().manual_seed(2))
    found = closest_point(points, vertices, faces)
    assert torch.allclose(found.distance, (points.norm(dim=-1) - 0.5).abs(), atol=5e-3)
    assert torch.equal(found.face, closest_point(points, vertices, faces).face)


def test_closest_point_edge_cases():
    vertices, faces, points = soup(2)
    assert closest_point(points[:0], vertices, faces).distance.shape == (0,)
    far = closest_point(torch.full((1, 3), 1e4), vertices, faces)
    assert far.face.item() >= 0
    with pytest.raises(ValueError, match="at least one face"):
        closest_point(points, vertices, faces[:0])
    with pytest.raises(ValueError, match="finite"):
        closest_point(points * float("nan"), vertices, faces)


def test_manifest(tmp_path):
    weights = tmp_path / "view.safetensors"
    weights.write_bytes(b"abc")
    settings = {"steps": 3, "lr": 0.1, "bad": float("nan"), "scalar": torch.tensor(2.5)}
    manifest = run_manifest("consistent123", settings, 7, {"nerf": 1.23456}, [weights], {"image": b"xyz"})
    write_manifest(tmp_path / "run.json", manifest)
    text = (tmp_path / "run.json").read_text()
    read = json.loads(text)
    assert str(tmp_path) not in text
    assert read["weights"] == [{"name": "view.safetensors", "bytes": 3, "sha256": hashlib.sha256(b"abc").hexdigest()}]
    assert read["inputs"]["image"]["sha256"] == hashlib.sha256(b"xyz").hexdigest()
    assert read["settings"] == {"steps": 3, "lr": 0.1, "bad": None, "scalar": 2.5}
    assert read["timings_seconds"] == {"nerf": 1.235} and read["environment"]["libraries"]["torch"]
    with pytest.raises(InputError, match="output path"):
        write_manifest(tmp_path / "no" / "run.json", manifest)
