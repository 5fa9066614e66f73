"""Fields by choice: each learns a shape, is kept in a scene and read again, and gives normals."""

from dataclasses import replace

import pytest
import torch
from helpers import tiny_stages
from lift123.pipelines.fields.encodings import ENCODINGS, encoded, new_planes, width
from lift123.pipelines.fields.hash_nerf import HashNerf, HashNerfConfig
from lift123.pipelines.stages.loop.scene import Scene
from lift123.pipelines.stages.objects.fit_nerf import fit_nerf, load_field
from lift123.pipelines.stages.objects.refine_mesh import refine_mesh
from lift123.pipelines.stages.results.render_views import render_scene


def test_frequencies_are_sines_of_doubling_pitch():
    x = torch.tensor([[0.25, -0.5, 0.0]])
    found = encoded("frequency", x, torch.zeros(0))[0]
    assert found.shape == (width("frequency"),) and torch.equal(found[:3], x[0])
    assert found[3:6].tolist() == pytest.approx([0.5**0.5, -1.0, 0.0], abs=1e-6), "sin(pi x)"
    assert found[6:9].tolist() == pytest.approx([1.0, 0.0, 0.0], abs=1e-6), "sin(2 pi x)"


def test_planes_are_read_at_their_own_axes():
    planes = new_planes("triplane", torch.Generator().manual_seed(0))
    ramp = torch.linspace(-1, 1, planes.shape[-1])
    planes[:, 0], planes[:, 1] = ramp[None, :], ramp[:, None]  # first axis, second axis
    x = torch.tensor([[0.3, -0.6, 0.9]])
    found = encoded("triplane", x, planes).reshape(3, -1)
    for row, axes in zip(found, ((0, 1), (1, 2), (2, 0))):
        assert row[:2].tolist() == pytest.approx([float(x[0, axes[0]]), float(x[0, axes[1]])], abs=1e-5)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_stage_learns_with_any_field_and_its_scene_is_read_again(encoding):
    config = replace(tiny_stages.NERF, iterations=16, field=replace(tiny_stages.NERF.field, encoding=encoding))
    scene = fit_nerf(tiny_stages.reference(), tiny_stages.oracle(), config, seed=3)
    assert ("encoding" in scene.meta["field"]) == (encoding != "hash"), "older scenes stay as they were"
    cut = fit_nerf(tiny_stages.reference(), tiny_stages.oracle(), config, seed=3, until=8)
    again = fit_nerf(tiny_stages.reference(), tiny_stages.oracle(), config, scene=Scene.unpack(*cut.pack()))
    assert tiny_stages.same(scene, again)
    camera = tiny_stages.reference().camera
    start = fit_nerf(tiny_stages.reference(), None, config, seed=3, until=0)
    errors = [float((render_scene(s, camera, want_normal=False).composite(1.0) - tiny_stages.truth(camera)).square().mean())
              for s in (start, scene)]
    assert errors[1] < 0.8 * errors[0]
    assert load_field(scene).config.encoding == encoding
    mesh = refine_mesh(None, scene, replace(tiny_stages.MESH, iterations=1, threshold=1.0))
    assert load_field(mesh).config.encoding == encoding


@pytest.mark.parametrize("encoding", ["frequency", "triplane"])
def test_normals_lead_down_the_density(encoding):
    field = HashNerf(HashNerfConfig(hidden=8, layers=1, encoding=encoding), torch.Generator().manual_seed(1))
    with torch.no_grad():
        for layer in field.layers:
            layer.weight.zero_()
    x = torch.tensor([[0.1, 0.0, 0.0], [0.0, -0.2, 0.1]])
    for method in ("central", "analytic"):
        assert torch.allclose(field.normal(x, method), torch.nn.functional.normalize(x, dim=-1), atol=4e-2), "the blob's"
    with pytest.raises(ValueError, match="encoding"):
        HashNerfConfig(encoding="voxels")
