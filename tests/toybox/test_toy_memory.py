"""What the embedded view prior remembers: which objects, how much each counts, and from where they are seen."""

import importlib
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import ROOT
from helpers.lift_random import random_net
from lift123.pipelines.core.cameras import HOME, Cameras
from lift123.pipelines.loaders import embedded
from lift123.pipelines.networks.lifted_view import LiftedViewDenoiser
from lift123.pipelines.networks.noise import scaled_linear_alphas
from lift123.pipelines.toybox import memory as toy_memory
from lift123.pipelines.toybox.memory import SHARP, ToyMemory
from lift123.pipelines.toybox.objects import make_object, train_seed
from lift123.pipelines.toybox.render import reference_camera, render_toy


def reference(seed, version=1):
    return render_toy(make_object(seed, version), reference_camera(64)).on_background(1.0)[0].clamp(0, 1)


def as_bytes(pictures):
    return (torch.stack(pictures) * 255 + 0.5).to(torch.uint8).numpy()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A memory of four objects of each version, as the training script writes it."""
    folder = tmp_path_factory.mktemp("memory")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "training"))
        script = importlib.import_module("memory")
        parts = [as_bytes([reference(train_seed(i), version) for i in range(4)]) for version in (1, 2)]
        script.write_memory(parts, [1, 2], folder)
    return folder / embedded.MEMORY, parts


def test_every_remembered_object_is_found_again_and_trusted(written):
    memory = embedded.load_memory(written[0])
    for version in (1, 2):
        for i in range(4):
            found = memory.recall(reference(train_seed(i), version))
            assert float(found.weights[0]) > 0.99 and found.trust == 1.0
            assert torch.equal(found.meshes[0].vertices, make_object(train_seed(i), version).mesh.vertices)


def test_the_nearest_is_the_nearest_by_colors_and_outline_at_sixteen_pixels(written):
    memory, picture = embedded.load_memory(written[0]), reference(train_seed(77), 2)
    rows = torch.cat([torch.from_numpy(np.concatenate(written[1])).float() / 255, picture[None]])
    outline = math.sqrt(toy_memory.OUTLINE) * (1 - ((rows.amin(-1, keepdim=True) - 0.9) / 0.1).clamp(0, 1))
    small = torch.cat([rows, outline], -1).reshape(9, 16, 4, 16, 4, 4).mean((2, 4)).flatten(1)
    best = int((small[:8] - small[8]).square().sum(1).argmin())
    expected = make_object(train_seed(best % 4), 1 + best // 4).mesh
    assert torch.equal(memory.recall(picture).meshes[0].vertices, expected.vertices)


def plain(distances, near=1.0, far=4.0):
    """A memory whose objects lie at these distances from a white picture."""
    count = len(distances)
    codes = torch.tensor(distances)[:, None] * torch.ones(1, 1)
    seeds, versions = torch.arange(count), torch.ones(count, dtype=torch.uint8)
    return ToyMemory(toy_memory.compared(torch.ones(1, 64, 64, 3))[0], torch.zeros(1024, 1), codes, seeds, versions, near, far)


def test_weights_fall_with_the_squared_distance_over_the_least():
    found = plain([2.0, 2.5, 3.0]).recall(torch.ones(64, 64, 3))
    expected = torch.exp(-torch.tensor([0.0, 2.25, 5.0]) / (SHARP * 4.0))
    assert torch.allclose(found.weights, expected / expected.sum()) and len(found.meshes) == 3
    found = plain([2.0, 2.5, 5.0]).recall(torch.ones(64, 64, 3))  # the last one would weigh 0.00002
    expected = torch.exp(-torch.tensor([0.0, 2.25]) / (SHARP * 4.0))
    assert torch.allclose(found.weights, expected / expected.sum()) and len(found.meshes) == 2


@pytest.mark.parametrize("distance, trust", [(0.5, 1.0), (1.0, 1.0), (2.0, 0.5), (4.0, 0.0), (9.0, 0.0)])
def test_trust_falls_with_the_logarithm_of_the_distance(distance, trust):
    assert plain([distance]).recall(torch.ones(64, 64, 3)).trust == pytest.approx(trust, abs=1e-6)


def test_what_is_shown_is_the_weighted_mean_of_the_objects():
    found, camera = plain([2.0, 2.2]).recall(torch.ones(64, 64, 3)), HOME.orbit([0.8, 2.0], 0.2, 32)
    one, two = (render_toy(make_object(i), camera).on_background(1.0) for i in (0, 1))  # white tells nothing about colors
    assert torch.allclose(found.show(camera), found.weights[0] * one + found.weights[1] * two, atol=1e-6)


def test_a_toy_in_other_colors_is_recolored_where_the_picture_tells_and_keeps_its_own_shape():
    mesh = make_object(train_seed(1)).mesh
    picture = render_toy(mesh, reference_camera(64)).on_background(1.0)[0]
    assert float((toy_memory.recolored(mesh, picture).vertex_colors - mesh.vertex_colors).abs().max()) < 1e-5
    assert torch.equal(toy_memory.recolored(mesh, torch.ones(64, 64, 3)).vertex_colors, mesh.vertex_colors)
    turned = replace(mesh, vertex_colors=mesh.vertex_colors[:, [2, 0, 1]] * 0.8)
    camera = HOME.orbit([0.0, 0.7], 0.1, 64)
    wanted = render_toy(turned, camera).on_background(1.0)
    found = toy_memory.recolored(mesh, wanted[0])
    assert torch.equal(found.vertices, mesh.vertices)
    before, after = ((render_toy(m, camera).on_background(1.0) - wanted).square().mean((1, 2, 3)) for m in (mesh, found))
    assert bool((after < 0.1 * before).all()), "from the front, and from the side that the picture shows in part"


@pytest.mark.parametrize("trust", [0.0, 0.5, 1.0])
def test_the_denoiser_sees_the_memory_from_the_reference_wherever_that_stands(trust):
    """The reference's azimuth and distance are taken off; the mixture is linear in the trust."""
    net, picture = random_net().eval().requires_grad_(False), reference(train_seed(3))
    code = toy_memory.compared(picture[None])[0]
    memory = ToyMemory(code, torch.zeros(1024, 1), torch.tensor([[4.0 ** (1 - trust)]]), torch.tensor([0]),
                       torch.tensor([1], dtype=torch.uint8), 1.0, 4.0)  # its only object has seed 0

    def shown(used, azimuth, radius):
        one = LiftedViewDenoiser(net, scaled_linear_alphas(), memory=used)
        one = one.with_reference(picture, Cameras.orbit(azimuth, 0.0, radius, HOME.fovy, 8, 8))
        return one.show(Cameras.orbit(azimuth + 0.9, 0.2, radius, HOME.fovy, 8, 8))

    mesh = toy_memory.recolored(make_object(0).mesh, picture)
    truth = render_toy(mesh, HOME.orbit(0.9, 0.2, 64)).on_background(1.0)
    expected = trust * truth + (1 - trust) * shown(None, 0.0, 3.2)
    assert torch.allclose(shown(memory, 0.0, 3.2), expected, atol=1e-4)
    assert float((shown(memory, 1.3, 6.4) - expected).abs().mean()) < 2e-3
