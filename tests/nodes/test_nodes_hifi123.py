"""HiFi-123's nodes with a tiny network in place of the real one: what arrives, what is said, what is refused."""

from dataclasses import replace

import pytest
import torch
from helpers.comfy_modules import prepare

prepare()
from helpers import (
    depth_tiny,
    public_tiny,
)
from helpers.wedge import reference as _reference
from lift123.host import checkpoints, specs
from lift123.nodes import hifi123, reconstruct
from lift123.pipelines.catalog import registry
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.core.schedules import Constant
from lift123.pipelines.priors.rgsd import RgsdPrior
from lift123.pipelines.stages.inputs.reference import ReferenceView


class Wire:
    """A network on a wire; stands for ``specs.Network``."""

    def check(self):
        pass

    def load(self, device):
        return depth_tiny.network()


class Estimator:
    """A depth network on a wire whose estimate is a ramp."""

    needs_mask = False

    def load(self, device):
        return self

    def depth(self, rgb, mask):
        return torch.linspace(0, 1, rgb.shape[1]).expand(rgb.shape[:2]) * (mask > 0.5)


ENHANCE = {"depth_text_network": Wire(), "steps": 20, "rungs": 2, "guidance": 3.0, "ablation": "all", "words": "orbit",
           "layers": "", "keep_background": False, "object_only": False, "corrections": 0, "background": "auto", "azimuths": "",
           "mask_marks": "object"}


def _bare():
    return ReferenceView(replace(_reference().views, depth=None), "a wedge")


def _views(count=2):
    views = _reference().views
    return views.on_background(1.0).expand(count, -1, -1, -1), views.alpha.expand(count, -1, -1)


@pytest.mark.parametrize("ablation", list(hifi123.ABLATION))
def test_enhance_shows_before_and_after_and_tells_the_cost(ablation):
    images, mask = _views()
    given = {**ENHANCE, "ablation": ablation}
    got = hifi123.RgnvEnhance.execute(reference=_bare(), views=images, mask=mask, depth_network=Estimator(), **given).result
    assert got[0].shape == (2, 32, 32, 3) and got[1].shape == (2, 32, 64, 3)
    assert torch.equal(got[1][:, :, 32:], got[0])
    # 2 rungs: 2 + 2 for the reference, 2 up and 2 guidance pairs down for each of 2 views
    cost = {"no attention": 12, "noise instead of inversion": 12}.get(ablation, 16)
    assert f"{cost} evaluations" in got[2] and "up_blocks.3.attentions.2" in got[2]


def test_depth_pictures_are_inverse_depth():
    """Bright is near: the same as distances that fall where the picture gets brighter."""
    images, mask = _views(1)
    ramp = torch.linspace(0.1, 1, images.shape[2]).expand(1, images.shape[1], -1)
    run = {**ENHANCE, "reference": _reference(), "views": images, "mask": mask}
    got = hifi123.RgnvEnhance.execute(depth=ramp[..., None].expand(-1, -1, -1, 3), **run).result[0]
    from lift123.pipelines.stages.objects.enhance_views import enhance_views

    settings = hifi123.guide_settings(20, 2, guidance=3.0)
    cameras = hifi123._around(_reference(), 1, ())
    _, want, _ = enhance_views(depth_tiny.network(), _reference(), images, mask, 2 - ramp, cameras, settings)
    assert torch.allclose(got, want, atol=1e-4)


def test_words_follow_the_views_azimuths(monkeypatch):
    """What Sample Views says of its views is what RGNV Enhance tells the network of them."""
    from helpers.painter import Painter
    from lift123.nodes import magic123
    from lift123.pipelines.methods.rgnv import ReferenceGuide

    class Views(Wire):
        def load(self, device):
            return Painter()

    asked = {"reference": _bare(), "view_network": Views(), "views": 3, "elevation": 10.0, "guidance": 0.0, "steps": 2, "seed": 0}
    images, angles = magic123.SampleViews.execute(azimuths="20, -90, 185", **asked).result
    assert angles == "20, -90, -175" and len(images) == 3
    assert magic123.SampleViews.execute(azimuths="", **asked).result[1] == "0, 120, -120"
    assert magic123.SampleViews.execute(azimuths="180, -180", **asked).result[1] == "180, 180"
    seen = []
    monkeypatch.setattr(ReferenceGuide, "contexts", lambda self, cameras, count, usual=ReferenceGuide.contexts: (
        seen.append(cameras.azimuth), usual(self, cameras, count))[1])
    given = {"reference": _bare(), "views": images, "depth_network": Estimator(), "mask": torch.ones(3, *images.shape[1:3])}
    hifi123.RgnvEnhance.execute(**given, **{**ENHANCE, "azimuths": angles})
    assert torch.allclose(torch.rad2deg(seen[0]), torch.tensor([20.0, -90.0, -175.0]), atol=1e-3)
    with pytest.raises(InputError, match="3 numbers, one per view"):
        hifi123.RgnvEnhance.execute(**given, **{**ENHANCE, "azimuths": "0, 90"})
    with pytest.raises(InputError, match="azimuths"):
        magic123.SampleViews.execute(azimuths="left", **asked)


def test_views_come_from_a_viewers_camera():
    from helpers.painter import Painter
    from lift123.host import convert
    from lift123.nodes import magic123
    from lift123.pipelines.core.cameras import Cameras

    class Views(Wire):
        def load(self, device):
            seen.append(Painter())
            return seen[-1]

    seen = []
    camera = convert.from_cameras(Cameras.orbit(1.0, 0.3, 2.5, 0.6, 32, 32))
    images, angles = magic123.SampleViews.execute(
        reference=_bare(), view_network=Views(), views=6, elevation=0.0, guidance=0.0, steps=2, azimuths="", seed=0,
        camera=camera).result
    assert len(images) == 1 and float(angles) == pytest.approx(57.3, abs=0.1)


def test_enhance_says_what_is_missing():
    images, mask = _views(1)
    with pytest.raises(InputError, match="depth map"):
        hifi123.RgnvEnhance.execute(reference=_bare(), views=images, mask=mask, **ENHANCE)
    with pytest.raises(InputError, match="rungs"):
        hifi123.RgnvEnhance.execute(reference=_bare(), views=images, mask=mask, **{**ENHANCE, "rungs": 21})
    with pytest.raises(InputError, match="up_blocks.7"):
        hifi123.RgnvEnhance.execute(reference=_reference(), views=images, mask=mask, depth_network=Estimator(),
                                    **{**ENHANCE, "layers": "up_blocks.3, up_blocks.7"})


def test_invert_and_reconstruct_reports_three_ways_and_two_more_under_guidance():
    given = dict(depth_text_network=Wire(), steps=20, rungs=2, corrections=0, background="auto", depth_network=Estimator())
    got = reconstruct.InvertReconstruct.execute(reference=_bare(), **given).result
    assert got[0].shape == (4, 32, 32, 3)
    assert [line.split(":")[0] for line in got[1].splitlines()] == ["autoencoder", "with depth", "without depth"]
    more = reconstruct.InvertReconstruct.execute(reference=_bare(), null_text_guidance=3.0, null_text_steps=1, **given).result
    assert torch.equal(more[0][:4], got[0]) and more[1].startswith(got[1]) and len(more[0]) == 6
    assert [line.split(":")[0] for line in more[1].splitlines()[3:]] == ["guided", "null-text"]
    wordless = replace(_bare(), prompt="")
    with pytest.raises(InputError, match="a reference with a prompt"):
        reconstruct.InvertReconstruct.execute(reference=wordless, null_text_guidance=3.0, **given)


def test_the_prior_is_described_then_built():
    spec = hifi123.RgsdPrior.execute(
        depth_text_network=Wire(), prompt="a parrot", weight=0.1, guidance=7.5, steps=20, rungs=12, reuse=3, slots=2, tau="mean",
        fixed_views="90, -90, 180", reduction="sum", object_only=False, corrections=0, background="white",
        space="pictures").result[0]
    spec.check(_reference())
    with pytest.raises(InputError, match="depth map"):
        spec.check(_bare())
    prior = spec.build(_reference(), torch.device("cpu"))
    assert isinstance(prior, RgsdPrior) and prior.guide.prompt == "a parrot" and spec.kinds() == {"depth_text"}
    assert prior.settings.fixed == (90.0, -90.0, 180.0) and prior.settings.weight == Constant(0.1)
    assert prior.settings.space == "pictures"
    assert prior.guide.grid.rungs == 12 and int(prior.guide.grid.times[-1]) == 600 and prior.backdrop == "white"
    assert hifi123.parse_angles(" ", "fixed_views") == ()
    with pytest.raises(InputError, match="fixed_views"):
        hifi123.parse_angles("left", "fixed_views")


def test_the_loader_finds_a_folder_and_refuses_other_networks(tmp_path, monkeypatch):
    good, text = tmp_path / "depth", tmp_path / "text"
    public_tiny.sd(text)
    public_tiny.unet(good, in_channels=5)
    for part in ("vae", "text_encoder", "tokenizer"):
        (good / part).symlink_to(text / part)
    monkeypatch.setattr(checkpoints, "roots", lambda category: [tmp_path])
    network = hifi123.LoadDepthText.execute(checkpoint="depth").result[0]
    assert network == specs.Network("depth_text", "depth") and network.load(torch.device("cpu")).latent_size == 8
    assert "text-to-image" in hifi123.LoadDepthText.validate_inputs("text")
    assert "mirrors" in registry.known("stable-diffusion-2-depth").note
    missing = hifi123.LoadDepthText.validate_inputs("stable-diffusion-2-depth")
    assert "sd2-community/stable-diffusion-2-depth" in missing and "depth_estimator" in missing


def _rgsd(**given):
    settings = {"prompt": "", "weight": 0.001, "guidance": 2.0, "steps": 20, "rungs": 2, "reuse": 1, "slots": 1, "tau": "draw",
                "fixed_views": "180", "reduction": "half sum", "object_only": False, "corrections": 0, "background": "auto"}
    return hifi123.RgsdPrior.execute(depth_text_network=Wire(), **{**settings, **given}).result[0]


def test_dmtet_refine_takes_the_prior_and_other_stages_send_it_there():
    from helpers.wedge import IMPORT
    from helpers.wedge import wedge as _wedge
    from lift123.host.specs import DynamicSpec, Network, PriorSpec, SumSpec
    from lift123.nodes import stages
    from lift123.pipelines.priors.sds import SdsSettings
    from lift123.pipelines.stages.objects.import_mesh import import_mesh

    scene = import_mesh(_wedge(), _reference(), replace(IMPORT, iterations=5))
    given = {"scene": scene, "iterations": 2, "preset": "quickstart", "render_size": 32, "reference_size": 48}
    view, text = (PriorSpec(Network(kind), SdsSettings(reduction="mean"), prompt="a wedge") for kind in ("view", "text"))
    seen, read = (SumSpec(((_rgsd(), Constant(0.5)), (other, Constant(0.5)))) for other in (view, text))
    for prior in (_rgsd(), SumSpec(((_rgsd(), Constant(0.5)),)), DynamicSpec(view, read), DynamicSpec(seen, text)):
        done = stages.DMTetRefine.execute(what="texture", prior=prior, **given).result[0]
        assert done.step == 2 and torch.equal(done.tensors["surface/vertices"], scene.tensors["surface/vertices"])
    changing = import_mesh(_wedge(), _reference(), replace(IMPORT, iterations=5, surface="refinable"))
    with pytest.raises(InputError, match="set optimize to texture"):
        stages.DMTetRefine.execute(what="both", prior=_rgsd(), **{**given, "scene": changing})
    with pytest.raises(InputError, match="DMTet Refine"):
        stages.NerfStage1.execute(reference=_reference(), iterations=2, seed=0, preset="quickstart", prior=_rgsd(),
                                  render_size=32, reference_size=32)


def test_a_text_network_and_a_controlnet_make_a_pair(tmp_path, monkeypatch):
    from diffusers import UNet2DConditionModel
    from helpers.control import control as _control

    public_tiny.sd(tmp_path / "sd")
    _control(tmp_path / "control", UNet2DConditionModel.from_pretrained(tmp_path / "sd" / "unet"))
    monkeypatch.setattr(checkpoints, "roots", lambda category: [tmp_path])
    given = {"checkpoint": "sd", "controlnet": "control", "strength": 0.5}
    assert hifi123.LoadDepthControl.validate_inputs(**given) is True
    network = hifi123.LoadDepthControl.execute(**given).result[0]
    loaded = network.load(torch.device("cpu"))
    assert loaded.runtime.unet.strength == 0.5 and network.load(torch.device("cpu")) is loaded
    assert "depth ControlNet" in hifi123.LoadDepthControl.validate_inputs("sd", "sd/unet", 1.0)
    assert "control_v11f1p_sd15_depth" in hifi123.LoadDepthControl.validate_inputs("sd", "control-v11f1p-sd15-depth", 1.0)


def test_attention_is_shared_through_comfyuis_memory_management():
    """On a GPU the UNet is a stand-in that takes turns with ComfyUI's models; layers are found and restored through it."""
    from lift123.host.managed import TurnTaker, under_management
    from lift123.pipelines.methods.rgnv import ReferenceGuide, RgnvSettings

    plain, settings = depth_tiny.network(), RgnvSettings(steps=20, rungs=2, guidance=2.0)
    managed = under_management(plain, torch.device("cpu"))
    assert type(managed.runtime.unet) is TurnTaker
    pictures, depth, _ = depth_tiny.scene(0)
    before = dict(plain.runtime.unet.attn_processors)
    guides = [ReferenceGuide(n, pictures[0], depth, None, settings, "a parrot") for n in (plain, managed)]
    want, got = (guide.enhance(pictures, depth) for guide in guides)
    assert torch.allclose(got, want, atol=1e-5) and plain.runtime.unet.attn_processors == before


def test_sizes_set_on_the_node_count_from_the_first_iteration_on():
    """HiFi-123's coarse stage begins with other sizes, which must not outlive what a person asks for."""
    from lift123.nodes.stages import overridden
    from lift123.pipelines.hifi123 import PAPER

    assert overridden(PAPER.nerf).novel_at(0.0) == (4, 64) and overridden(PAPER.nerf).novel_at(0.9) == (2, 128)
    assert [overridden(PAPER.nerf, render_size=32).novel_at(x) for x in (0.0, 0.9)] == [(4, 32), (2, 32)]
    assert [overridden(PAPER.nerf, render_size=32, novel_batch=1).novel_at(x) for x in (0.0, 0.9)] == [(1, 32)] * 2
