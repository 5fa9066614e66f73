"""HiFi-123's tools from a reference view on: preparation, round trip, loading from a folder, RGSD inside the mesh stage."""

from dataclasses import replace

import pytest
import torch
from helpers import depth_tiny, public_tiny
from helpers.control import control as _control
from helpers.wedge import IMPORT, MESH
from helpers.wedge import likeness as _likeness
from helpers.wedge import reference as _reference
from helpers.wedge import wedge as _wedge
from lift123.pipelines.core.cameras import HOME, Cameras
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.core.schedules import Constant
from lift123.pipelines.core.views import NEUTRAL
from lift123.pipelines.loaders.depth_control import load_depth_control
from lift123.pipelines.loaders.depth_text_folder import bundled_depth, load_depth_text_folder
from lift123.pipelines.loaders.public import load_text_folder
from lift123.pipelines.methods.rgnv import ReferenceGuide, RgnvSettings
from lift123.pipelines.networks.depth_text import DepthTextDenoiser
from lift123.pipelines.priors.rgsd import RgsdSettings
from lift123.pipelines.stages.inputs.reference import ReferenceView
from lift123.pipelines.stages.objects.enhance_views import (
    backdrop,
    enhance_views,
    fit,
    reconstruct,
    reference_guide,
    rgsd_prior,
    within,
)
from lift123.pipelines.stages.objects.import_mesh import import_mesh
from lift123.pipelines.stages.objects.refine_mesh import refine_mesh

QUICK = RgnvSettings(steps=20, rungs=2, guidance=2.0)
RGSD = {"settings": RgsdSettings(Constant(2e-4)), "guide": replace(QUICK, rungs=3)}


@pytest.fixture(scope="module")
def network():
    return depth_tiny.network()


def _with_depth() -> ReferenceView:
    reference = _reference()
    depth = torch.linspace(1, 2, reference.size)[None].expand(reference.size, -1)
    return reference.with_depth(depth)


def _sides(count=2, size=40):
    from lift123.pipelines.toybox.render import render_toy

    azimuth = torch.arange(1, count + 1) * 1.0
    return render_toy(_wedge(), HOME.orbit(azimuth, 0.1, size), 2)


def test_views_of_any_size_come_back_on_white_and_keep_their_outline(network):
    views = _sides()
    before, after, guide = enhance_views(network, _with_depth(), views.on_background(1.0), views.alpha, views.depth,
                                         views.cameras, QUICK, metric=True)
    assert before.shape == after.shape == (2, 32, 32, 3) and guide.spent.pictures == 2 * 2 + 2 * 3 * 2
    _, alpha = fit(views.rgb, views.alpha[..., None], 32)
    outside = alpha[..., 0] == 0
    assert bool(outside.any()) and bool((after[outside] == 1).all()) and bool((before[outside] == 1).all())
    assert float((before - after).abs().max()) > 0.02 and 0 <= float(after.min()) and float(after.max()) <= 1
    found, _, _ = enhance_views(network, _with_depth(), views.on_background(1.0), None, views.depth, None, QUICK)
    assert float((found - before).abs().mean()) < 0.02  # the plain background was found


def test_as_pictures_changes_fade_out_towards_the_outline(network):
    """The outline's pixels stay as they were; what is further inside than half a latent cell changes by the full amount."""
    views, reach = _sides(), 1  # latents of 16 x 16 for 32 x 32 pixels
    given = (network, _with_depth(), views.on_background(1.0), views.alpha, views.depth, views.cameras)
    before, after, guide = enhance_views(*given, replace(QUICK, space="pictures"), metric=True)
    _, alpha = fit(views.rgb, views.alpha[..., None], 32)
    share = within(alpha, guide.image_size // guide.latent_size // 2)
    assert bool((share[alpha < 1] < 0.9).all()) and bool((share[alpha == 0] < 0.4).all()) and float(share.max()) == 1
    rows, columns = torch.nonzero(share[0, ..., 0] == 1, as_tuple=True)
    for y, x in zip(rows.tolist(), columns.tolist(), strict=True):  # brute force: everything near lies inside
        near = alpha[0, max(0, y - reach - 1) : y + reach + 2, max(0, x - reach - 1) : x + reach + 2]
        assert float(near.min()) > 0.999
    changed = (after - before).abs().amax(-1, keepdim=True)
    assert float(changed[share == 1].mean()) > 0.01
    assert not bool(changed[(share == 0) & (alpha > 0)].any())


def test_pictures_are_padded_to_squares_without_bleeding():
    """A wide red picture whose left half is the object: red stays pure to the edge, and lies where it lay."""
    picture, mask = torch.ones(1, 10, 20, 3), torch.zeros(1, 10, 20, 1)
    picture[:, :, :10] = torch.tensor([1.0, 0.0, 0.0])
    mask[:, :, :10] = 1
    rgb, alpha = fit(picture, mask, 10)
    assert rgb.shape == (1, 10, 10, 3) and float(alpha.mean()) == pytest.approx(0.25, abs=0.02)
    seen = alpha[..., 0] > 1e-3
    assert torch.allclose(rgb[seen], torch.tensor([1.0, 0.0, 0.0]), atol=1e-4)


def test_background_is_gray_with_the_texture_of_concrete():
    plain, rough = backdrop("gray", 64), backdrop("textured", 64)
    assert torch.allclose(plain[0, 0] * 255, torch.tensor([126.0, 129.0, 127.0]))
    assert torch.allclose(rough.mean((0, 1)), plain[0, 0], atol=0.01)
    assert float(rough[..., 0].std()) * 255 == pytest.approx(23, abs=3) and torch.equal(rough, backdrop("textured", 64))
    assert bool((backdrop("white", 8) == 1).all())
    with pytest.raises(ValueError, match="background"):
        backdrop("black", 8)


def test_networks_say_what_stands_behind_objects_and_people_may_differ(network, monkeypatch):
    """Reference and views reach the autoencoder on what the network declares, or on what is asked for."""
    white, views = replace(network, background="white"), _sides()
    seen = []
    monkeypatch.setattr(ReferenceGuide, "encode", lambda self, images, usual=ReferenceGuide.encode: (
        seen.append(images[:, 0, 0]), usual(self, images))[1])
    for net, background, want in ((network, "auto", (None, NEUTRAL)), (white, "auto", ((1, 1, 1), (1, 1, 1))),
                                  (white, "gray", (NEUTRAL, NEUTRAL)), (network, "white", ((1, 1, 1), (1, 1, 1)))):
        seen.clear()
        reference = _with_depth()
        enhance_views(net, reference, views.on_background(0.3), views.alpha, views.depth, settings=QUICK, background=background)
        assert len(seen) == 2
        shown = dict(zip(("reference", "views"), seen, strict=True))
        for name, color in zip(("reference", "views"), want, strict=True):
            expected = backdrop("textured", 32)[0, 0] if color is None else torch.tensor(color, dtype=torch.float32)
            assert torch.allclose(shown[name], expected.expand_as(shown[name]), atol=1e-6), (background, name)
        prior = rgsd_prior(net, reference, **RGSD, background=background)
        assert prior.backdrop == ("gray" if want[1] == NEUTRAL else "white")
    with pytest.raises(ValueError, match="background"):
        reference_guide(network, reference, QUICK, "black")


def test_the_mesh_stage_shows_what_the_network_declares(network):
    """RGSD's own background wins over the stage's."""
    prior, corners = rgsd_prior(replace(network, background="white"), _with_depth(), **RGSD), []
    usual = prior.loss
    prior.loss = lambda images, *rest: (corners.append(images[:, 0, 0].detach()), usual(images, *rest))[1]
    scene = import_mesh(_wedge(), _reference(), replace(IMPORT, iterations=5))
    refine_mesh(prior, scene, replace(MESH, iterations=2, novel_background="gray", size=32))
    assert len(corners) == 2 and all(bool((corner == 1).all()) for corner in corners)


def test_round_trip_reports_both_ways_and_the_floor(network):
    trip = reconstruct(network, _with_depth(), replace(QUICK, guidance=9.0))
    assert set(trip.pictures) == {"picture", "autoencoder", "with depth", "without depth"} and trip.evaluations == 4
    assert trip.errors["autoencoder"]["latent"] == 0 and len(trip.report()) == 3
    error = (trip.pictures["with depth"] - trip.pictures["picture"]).square().sum(-1).mean().sqrt() * 255
    assert trip.errors["with depth"]["L2"] == pytest.approx(float(error), rel=1e-5)
    assert trip.errors["with depth"]["latent"] != trip.errors["without depth"]["latent"] > 0
    finer = reconstruct(network, _with_depth(), replace(QUICK, corrections=4))
    assert finer.errors["with depth"]["latent"] < trip.errors["with depth"]["latent"]


def test_wrong_inputs_say_what_is_wrong(network):
    views = _sides()
    white = views.on_background(1.0)
    with pytest.raises(InputError, match="depth"):
        flat = ReferenceView(replace(_reference().views, depth=None))
        enhance_views(network, flat, white, views.alpha, views.depth, settings=QUICK)
    with pytest.raises(InputError, match="masks"):
        enhance_views(network, _with_depth(), white, views.alpha[:, :20], views.depth, settings=QUICK)
    with pytest.raises(InputError, match="depths.*40 x 40 pixels for each of 2 views.*Scale the depths"):
        enhance_views(network, _with_depth(), white, views.alpha, views.depth[:, ::2], settings=QUICK)
    with pytest.raises(InputError, match="views.*a depth map for each"):
        enhance_views(network, _with_depth(), white, views.alpha, settings=QUICK)
    with pytest.raises(InputError, match="empty mask"):
        enhance_views(network, _with_depth(), white, views.alpha * 0, views.depth, settings=QUICK)
    with pytest.raises(InputError, match="cameras"):
        enhance_views(network, _with_depth(), white, views.alpha, views.depth, views.cameras[0], QUICK)
    with pytest.raises(InputError, match="channels"):
        enhance_views(network, _with_depth(), white[..., :2], views.alpha, views.depth, settings=QUICK)
    empty = replace(_with_depth().views, alpha=_reference().views.alpha * 0)
    with pytest.raises(InputError, match="empty mask"):
        reference_guide(network, ReferenceView(empty))


# ------------------------------------------------------------------------------------------ RGSD in the mesh stage


def test_refinement_under_rgsd_keeps_the_shape_and_the_reference_view(network):
    """Even a guide of random weights must not cost quality at the reference, which is held in every step."""
    scene = import_mesh(_wedge(), _reference(), IMPORT)
    prior = rgsd_prior(network, _with_depth(), **RGSD)
    seen = []
    config = replace(MESH, iterations=24, novel_background="gray", size=32, rgb=Constant(1000.0))
    done = refine_mesh(prior, scene, config, on_step=lambda step: seen.append(step.losses))
    assert all({"rgb", "rgsd"} <= set(losses) for losses in seen) and len(seen) == 24
    assert prior.tally["fixed"].visits == prior.tally["random"].visits == 12
    assert prior.tally["fixed"].evaluations == 2 * 9 and prior.tally["random"].evaluations == 4 * 7
    for name in ("surface/vertices", "surface/faces"):
        assert torch.equal(done.tensors[name], scene.tensors[name])
    assert _likeness(done) >= _likeness(scene), (_likeness(done), _likeness(scene))
    side = _sides(1, 48)
    alone = refine_mesh(None, scene, config)
    assert abs(_likeness(done, side) - _likeness(alone, side)) > 0.05  # and the prior did reach the other sides


def test_rgsd_refuses_a_changing_shape_and_a_mesh_elsewhere(network):
    scene = import_mesh(_wedge(), _reference(), replace(IMPORT, surface="refinable"))
    with pytest.raises(InputError, match="texture"):
        refine_mesh(rgsd_prior(network, _with_depth(), **RGSD), scene, replace(MESH, optimize="both", iterations=2))
    corner = torch.zeros_like(_reference().views.alpha)
    corner[:, :6, :6] = 1
    moved = replace(_with_depth().views, alpha=corner)
    with pytest.raises(InputError, match="only 0% of the picture's object lies on the mesh"):
        refine_mesh(rgsd_prior(network, ReferenceView(moved, "a wedge"), **RGSD), scene, replace(MESH, iterations=2))


# ------------------------------------------------------------------------------------------ folders


def _folder(folder, channels=5, **scheduler):
    public_tiny.unet(folder, in_channels=channels, use_linear_projection=True, attention_head_dim=(2, 4))
    public_tiny.vae(folder, 0.18215)
    public_tiny.text_encoder(folder, "text_encoder")
    public_tiny.tokenizer(folder, pad="!")
    public_tiny.scheduler(folder, **scheduler)
    return folder


def test_depth_text_folder_is_read_and_computes_what_diffusers_does(tmp_path):
    from diffusers import UNet2DConditionModel

    folder = _folder(tmp_path)
    network = load_depth_text_folder(folder)
    assert isinstance(network, DepthTextDenoiser) and network.image_size == 16 and network.latent_size == 8
    assert load_depth_text_folder(folder, image_size=32).latent_size == 16
    g = torch.Generator().manual_seed(0)
    x, depth = torch.randn(1, 4, 8, 8, generator=g), torch.randn(1, 1, 8, 8, generator=g)
    conditioned = network.with_prompt("ab").with_guidance(1.0).with_depth(depth)
    got = conditioned.predict_noise(x, torch.tensor([77]), Cameras.orbit(0.0, 0.0, 3.0, 0.3, 16, 16))
    words = network.encoder.text_condition(["ab, front view"])["context"]
    want = UNet2DConditionModel.from_pretrained(folder / "unet")(torch.cat([x, depth], 1), 77, words).sample
    assert torch.allclose(got, want, atol=1e-5)


def test_the_published_configuration_means_512_pixels(tmp_path):
    """Its UNet says 32 latents, half of what it was trained at; an autoencoder that shrinks 8 times makes 512 of 64."""
    from diffusers import AutoencoderKL

    _folder(tmp_path)
    public_tiny.unet(tmp_path, in_channels=5, sample_size=32, use_linear_projection=True, attention_head_dim=(2, 4))
    AutoencoderKL(in_channels=3, out_channels=3, latent_channels=4, block_out_channels=(8,) * 4, norm_num_groups=4,
                  layers_per_block=1, down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
                  ).save_pretrained(tmp_path / "vae")
    network = load_depth_text_folder(tmp_path)
    assert network.image_size == 512 and network.latent_size == 64


@pytest.mark.parametrize(("channels", "word"), [(4, "text-to-image"), (9, "inpainting"), (8, "picture-conditioned")])
def test_other_networks_are_refused_by_name(tmp_path, channels, word):
    with pytest.raises(InputError, match=word):
        load_depth_text_folder(_folder(tmp_path, channels))


def test_a_depth_network_is_no_text_network_and_sizes_must_fit(tmp_path):
    with pytest.raises(InputError, match="depth-conditioned"):
        load_text_folder(_folder(tmp_path))
    with pytest.raises(InputError, match="multiple"):
        load_depth_text_folder(tmp_path, image_size=18)


def test_a_controlnet_stands_in_for_the_depth_channel(tmp_path):
    """The pair answers as diffusers' ControlNet pipeline composes it, shares attention, and enhances views."""
    text, control = public_tiny.sd(tmp_path / "text"), tmp_path / "control"
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel.from_pretrained(text / "unet")
    side = _control(control, unet)
    network = load_depth_control(text, control)
    g = torch.Generator().manual_seed(0)
    x, depth = torch.randn(1, 4, 8, 8, generator=g), torch.rand(1, 1, 8, 8, generator=g) * 2 - 1
    words, t = network.encoder.text_condition(["ab"])["context"], torch.tensor([300])
    picture = torch.nn.functional.interpolate((depth + 1) / 2, size=(16, 16), mode="bilinear").repeat(1, 3, 1, 1)
    down, middle = side(x, t, words, controlnet_cond=picture, return_dict=False)
    want = unet(x, t, words, down_block_additional_residuals=down, mid_block_additional_residual=middle).sample
    got = network.runtime.noise(x, t, {"context": words, "extra": depth})
    assert torch.allclose(got, want, atol=1e-5)
    assert not torch.allclose(got, network.runtime.noise(x, t, {"context": words, "extra": -depth}), atol=1e-3)
    guide = reference_guide(network, _with_depth(), replace(QUICK, layers=("up_blocks",)))
    assert len(guide.layers) == 2 and guide.targets(x, depth, _reference().camera)[0].isfinite().all()
    assert len(guide.bank.entries) == 4


def test_controlnets_of_other_families_are_refused(tmp_path):
    from diffusers import UNet2DConditionModel

    text = public_tiny.sd(tmp_path / "text")
    wide = public_tiny.unet(tmp_path / "wide", cross_attention_dim=24)
    _control(tmp_path / "control", wide)
    with pytest.raises(InputError, match="cross_attention_dim"):
        load_depth_control(text, tmp_path / "control")
    assert isinstance(wide, UNet2DConditionModel)
    with pytest.raises(InputError, match="UNet2DConditionModel"):
        load_depth_control(text, text / "unet")


def test_the_bundled_depth_estimator_reads_its_preprocessor(tmp_path):
    public_tiny.depth(tmp_path / "depth_estimator")
    (tmp_path / "depth_estimator" / "preprocessor_config.json").rename(tmp_path / "moved.json")
    (tmp_path / "feature_extractor").mkdir()
    (tmp_path / "moved.json").rename(tmp_path / "feature_extractor" / "preprocessor_config.json")
    estimator = bundled_depth(tmp_path)
    assert estimator.side == 32 and estimator.multiple == 8 and estimator.convention == "inverse"
    with pytest.raises(InputError, match="depth_estimator"):
        bundled_depth(tmp_path / "feature_extractor")
