"""Toy Object: which toybox it takes its objects from, and that graphs from before there were two mean what they meant."""

import json

import pytest
import torch
from helpers.comfy_modules import prepare

prepare()
from lift123.launcher.shipped import graph_file
from lift123.nodes import reference
from lift123.pipelines.toybox.objects import VERSIONS, make_object

GIVEN = {"size": 32, "azimuth": 20.0, "elevation": 10.0, "seed": 12}


def made(**changes):
    """(image, mask, depth, caption, mesh) of the node."""
    return reference.ToyObject.execute(**{**GIVEN, **changes}).result


@pytest.mark.parametrize("version", sorted(VERSIONS))
def test_a_toy_object_is_that_of_its_seed_and_version(version):
    image, mask, _, caption, mesh = made(version=str(version))
    truth = make_object(GIVEN["seed"], version)
    assert caption == truth.caption and torch.equal(mesh.vertices[0], truth.mesh.vertices)
    assert 0.05 < float(mask.mean()) < 0.9 and image.shape == (1, 32, 32, 3)


def test_graphs_from_before_the_second_toybox_mean_the_first():
    """Prompts leave the version out; saved graphs have no value for it, so it must come behind all values they have."""
    old, first, second = made(), made(version="1"), made(version="2")
    assert torch.equal(old[0], first[0]) and old[3] == first[3] and not torch.equal(old[0], second[0])
    inputs = [i.id for i in reference.ToyObject.GET_SCHEMA().inputs]
    assert inputs == [*GIVEN, "version"] and reference.ToyObject.GET_SCHEMA().inputs[-1].optional
    saved = json.loads(graph_file("refine_mesh_texture").read_text(encoding="utf-8"))
    values = next(n["widgets_values"] for n in saved["nodes"] if n["type"] == "Lift123_ToyObject")
    assert len(values) == len(GIVEN) + 2 and isinstance(values[-3], int), "the value after the seed is the seed's own"
    assert values[-1] == "1", "what sync has appended means the first version"


def test_every_version_can_be_chosen():
    assert reference.ToyObject.GET_SCHEMA().inputs[-1].options == [str(v) for v in sorted(VERSIONS)]


@pytest.mark.parametrize("output", ["depth", "normal_opengl"])
def test_moge_speaks_reference_views_language(output):
    """Core's Render MoGe Geometry, given a toy's true geometry in MoGe's frame (OpenCV: y down, z away), feeds Reference
    View's depth and normal inputs as photo_normals wires them: what arrives is the truth, depth up to an affine map."""
    from comfy_extras.nodes_moge import MoGeRender
    from lift123.pipelines.core.cameras import HOME
    from lift123.pipelines.stages.inputs.reference import prepare_reference
    from lift123.pipelines.toybox.render import render_toy

    views = render_toy(make_object(12), HOME.orbit(0.0, 0.0, 48), supersample=1)
    inside, local = views.alpha[0] > 0.99, views.normal[0] @ views.cameras.c2w[0, :3, :3]
    depth = torch.where(inside, views.depth[0], torch.inf)
    geometry = {"depth": depth[None], "normal": (local * torch.tensor([1.0, -1.0, -1.0]))[None]}
    picture = MoGeRender.execute(geometry, output).result[0]
    given = {"depth": picture, "depth_convention": "inverse"} if output == "depth" else {"normal": picture}
    got = prepare_reference(views.rgb, views.alpha[0], size=48, recenter=False, **given)[0].views
    inner = torch.nn.functional.max_pool2d((~inside).float()[None, None], 5, 1, 2)[0, 0] == 0
    if output == "normal_opengl":
        assert float((got.normal[0] * views.normal[0]).sum(-1)[inner].min()) > 0.99
    else:
        assert float(torch.corrcoef(torch.stack([got.depth[0][inner], views.depth[0][inner]]))[0, 1]) > 0.99
