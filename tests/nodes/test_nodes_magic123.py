"""Magic123's nodes against the presets they have to reproduce, and what they refuse."""

from dataclasses import replace

import pytest
import torch
from helpers.comfy_modules import prepare

prepare()
from conftest import ROOT
from helpers import tiny_stages
from helpers.painter import Painter
from lift123.host.specs import Network, PriorSpec, SumSpec
from lift123.nodes import magic123 as nodes
from lift123.nodes import stages
from lift123.pipelines import consistent123, magic123
from lift123.pipelines.core.cameras import Cameras
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.core.schedules import Constant
from lift123.pipelines.core.views import Views
from lift123.pipelines.priors.sds import SdsSettings
from lift123.pipelines.stages.inputs.reference import ReferenceView
from lift123.pipelines.stages.objects.sample_views import around, sample_views

VIEW, TEXT = (PriorSpec(Network(kind), SdsSettings()) for kind in ("view", "text"))


def mixed(ratio, balance, **given):
    return nodes.TradeOffPrior.execute(lambda_2d_3d=ratio, balance=balance, **given).result[0]


def defaults(node, **changed):
    return node.execute(**{**{i.id: i.default for i in node.GET_SCHEMA().inputs}, **changed}).result[0]


@pytest.mark.parametrize("balance", nodes.BALANCES)
def test_slider_gives_the_weights_of_the_pipeline(balance):
    assert mixed(0.5, balance, prior_3d=VIEW, prior_2d=TEXT) == SumSpec((
        (TEXT, Constant(0.5 * magic123.BALANCES[balance].text)), (VIEW, Constant(magic123.BALANCES[balance].view))))
    assert list(nodes.BALANCES) == list(magic123.BALANCES)


def test_slider_at_its_ends_leaves_a_prior_out():
    assert [p for p, _ in mixed(0.0, "coarse", prior_3d=VIEW, prior_2d=TEXT).parts] == [VIEW]
    assert [p for p, _ in mixed(1.0, "coarse", prior_2d=TEXT).parts] == [TEXT]


@pytest.mark.parametrize("given, name", [
    ({"prior_3d": TEXT, "prior_2d": VIEW}, "prior_3d"), ({"prior_2d": VIEW}, "prior_2d"), ({}, "prior_3d")])
def test_wrong_wires_are_named(given, name):
    with pytest.raises(InputError, match=name):
        mixed(1.0, "embedded", **given)
    with pytest.raises(InputError, match="weight above 0"):
        mixed(0.0, "embedded", prior_2d=TEXT)


def test_options_at_rest_change_nothing_and_know_every_field():
    for preset in stages.presets().values():
        assert stages.with_options(preset.nerf, defaults(nodes.StageOptionsNode)) == preset.nerf
        assert stages.with_options(preset.mesh, None) == preset.mesh


def test_options_turn_the_released_code_into_the_paper_and_back():
    paper, printed = magic123.PAPER, magic123.PRINTED
    words = defaults(
        nodes.StageOptionsNode, normal_warmup=0.6, clay_share=0.25, normal_tv=0.0, orientation=0.0, entropy=0.0,
        half_levels_until=0.0, reference_first=0, reference_noise=0.0, blur_gradient="stopped", rate_grid=0.001,
        background="white", from_above=0.0)
    config = stages.overridden(stages.with_options(paper.nerf, words), depth_weight=0.0005)
    same = {"level_start": 0.5, "level_until": 0.0, "entropy": config.entropy,  # another way to say 'all levels', 'none'
            "novel": replace(printed.nerf.novel, elevation=(-45.0, 45.0)), "blur_normals": "density"}  # the preset's only
    assert config == replace(printed.nerf, **same) and config.entropy(1.0) == 0
    code = defaults(
        nodes.StageOptionsNode, normal_warmup=0.2, clay_share=0.2, normal_tv=0.5, orientation=0.01, entropy=0.001,
        half_levels_until=0.6, reference_first=100, reference_noise=0.001, blur_gradient="through", rate_grid=0.01,
        background="random", from_above=0.5)
    same = {"novel": replace(paper.nerf.novel, elevation=(-10.0, 89.0)), "blur_normals": "depth"}
    assert stages.overridden(stages.with_options(printed.nerf, code), depth_weight=0.005) == replace(paper.nerf, **same)


def test_options_give_every_rate_and_every_mean():
    """Consistent123's code's optimizer on Magic123's preset, and ours in place of what was released."""
    code = consistent123.PAPER
    options = defaults(nodes.StageOptionsNode, optimizer="adan", rate_grid=0.05, rate_colors=0.005, rate_shape=0.005,
                       color_mean="mask", mask_target="alpha", sample_mean="visible")
    for stage in ("nerf", "mesh"):
        config, theirs = options.applied(getattr(magic123.PAPER, stage)), getattr(code, stage)
        names = ["optimizer", "clip_norm", *(n for n in ("lr_grid", "lr_mlp", "lr_sdf", "lr_deform") if hasattr(config, n))]
        assert [getattr(config, n) for n in names] == [getattr(theirs, n) for n in names]
        assert (config.rgb_over, config.mask_against) == ("mask", "alpha")
        assert getattr(config, "averages", "visible") == "visible"
    back = defaults(nodes.StageOptionsNode, optimizer="adam", rate_grid=0.001, rate_colors=0.001, rate_shape=0.001)
    mesh, printed = back.applied(code.mesh), consistent123.PRINTED.mesh
    for name in ("optimizer", "clip_norm", "lr_grid", "lr_mlp", "lr_sdf", "lr_deform"):
        assert getattr(mesh, name) == getattr(printed, name), name


def test_options_of_the_mesh_stage():
    options = defaults(nodes.StageOptionsNode, color_region="eroded", initial_surface="log", from_above=0.25,
                       reference_every=3, normal_tv=1.0)
    mesh = options.applied(magic123.QUICKSTART.mesh)
    assert (mesh.rgb_inside, mesh.rgb_edge, mesh.init, mesh.novel.hemisphere) == (True, "erode", "log", 0.25)
    assert [mesh.shows(i, True, knows) for i in range(3) for knows in (True, False)] == [
        (True, False)] * 2 + [(False, True)] * 4
    assert not hasattr(mesh, "normal_tv"), "what the stage does not have is ignored"


def test_options_reach_the_stage():
    """A stage node built from preset and options gives the configuration to the pipeline (seen in the scene)."""
    tiny = {i.id: i.default for i in stages.NerfStage1.GET_SCHEMA().inputs if hasattr(i, "default")}
    tiny.update(iterations=1, render_size=16, reference_size=16)
    camera = Cameras.orbit(0.0, 0.0, 3.2, 0.35, 16, 16)
    alpha = torch.zeros(1, 16, 16)
    alpha[:, 4:12, 4:12] = 1
    reference = ReferenceView(Views(camera, torch.full((1, 16, 16, 3), 0.5), alpha), "a box")
    names = {i.id for i in stages.NerfStage1.GET_SCHEMA().inputs}
    scene, _, words = stages.NerfStage1.execute(**{k: v for k, v in tiny.items() if v is not None and k in names} | {
        "reference": reference, "options": defaults(nodes.StageOptionsNode, from_above=0.75)}).result
    assert scene.meta["config"]["novel"]["hemisphere"] == 0.75 and "unlike" not in words


def test_sampled_views_go_around_from_the_pictures_side_and_repeat():
    camera = Cameras.orbit(0.3, 0.0, 3.2, 0.35, 16, 16)
    reference = ReferenceView(Views(camera, torch.zeros(1, 16, 16, 3), torch.ones(1, 16, 16)))
    cameras = around(reference, 4, 0.1)
    pictures = sample_views(Painter(), reference, cameras, 3, seed=1)
    assert pictures.shape == (4, 8, 8, 3)
    torch.testing.assert_close(pictures.mean((1, 2, 3)), torch.tensor([0.0, 0.25, 0.5, 0.75]), atol=2e-3, rtol=0)
    assert torch.equal(pictures, sample_views(Painter(), reference, cameras, 3, seed=1))
    given = sample_views(Painter(), reference, around(reference, 9, 0.1, (1.5708, 3.1416)), 3, seed=1)
    torch.testing.assert_close(given.mean((1, 2, 3)), torch.tensor([0.25, 0.5]), atol=2e-3, rtol=0)
    with pytest.raises(InputError, match="draw pictures"):
        sample_views(object(), reference, cameras, 1, 0)


def test_embedded_network_draws_views():
    if not (ROOT / "pipelines" / "embedded" / "settings.json").is_file():
        pytest.skip("the embedded networks are not here")
    camera = Cameras.orbit(0.0, 0.0, 3.2, 0.35, 64, 64)
    rgb = torch.zeros(1, 64, 64, 3)
    rgb[..., 0] = 1
    alpha = torch.zeros(1, 64, 64)
    alpha[:, 16:48, 16:48] = 1
    result = nodes.SampleViews.execute(
        reference=ReferenceView(Views(camera, rgb, alpha)), view_network=Network("view"), views=2, elevation=0.0,
        guidance=2.0, steps=4, azimuths="", seed=0)
    assert result.result[0].shape == (2, 64, 64, 3) and float(result.result[0].std()) > 0.01


def test_estimate_knows_the_presets_it_offers(monkeypatch):
    """Every choice of the node names presets that exist, and each is measured once, with its own stages."""
    from lift123.nodes import estimate as node
    from lift123.nodes import stages
    from lift123.pipelines.stages.objects import estimate as measuring

    measured = []

    def record(reference, coarse, fine, nerf, mesh, **_):
        measured.append((nerf.iterations, mesh.iterations))
        return [measuring.StageEstimate(name, part.iterations, 0.5, 8) for name, part in (("NeRF", nerf), ("mesh", mesh))]

    monkeypatch.setattr(measuring, "estimate", record)
    known, view = stages.presets(), tiny_stages.reference()
    for choice in node.Estimate.define_schema().inputs[1].options:
        measured.clear()
        text = node.Estimate.execute(reference=view, preset=choice, patience=1).result[0]
        names = node.GROUPS.get(choice, [choice])
        assert measured == [(known[name].nerf.iterations, known[name].mesh.iterations) for name in names]
        assert [line for line in text.splitlines() if line in known] == names
