"""Attention shared with a reference, and RGNV: a random network with Stable Diffusion 2's topology, every path compared."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from helpers import depth_tiny
from lift123.pipelines.core.cameras import Cameras
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.methods.inversion import RungGrid, invert, sample
from lift123.pipelines.methods.rgnv import ReferenceGuide, RgnvSettings
from lift123.pipelines.networks.attention import Bank, check_layers, late_layers, self_attentions, shared_attention
from lift123.pipelines.networks.depth_text import depth_channel
from lift123.verification.literal import LiteralRgsd

SHORT = RgnvSettings(steps=20, rungs=4, guidance=3.0)


@pytest.fixture(scope="module")
def network():
    return depth_tiny.network()


def _guide(network, settings=SHORT, **options):
    pictures, depth, masks = depth_tiny.scene(0)
    return ReferenceGuide(network, pictures[0], depth, masks[0], settings, **{"prompt": "a parrot", **options})


def _counted(network):
    """Rows given to the UNet, counted at the UNet itself."""
    rows = []
    hook = network.runtime.unet.register_forward_pre_hook(lambda module, args: rows.append(len(args[0])))
    return rows, hook


def _views(seed=1, count=1):
    return depth_tiny.scene(seed, count)


# ------------------------------------------------------------------------------------------ layers


def test_layers_are_those_of_the_spec_in_order_of_execution(network):
    """The table of H-A.5, and the trap: diffusers' own dictionary has the middle block last."""
    names = [n.removesuffix(".transformer_blocks.0.attn1") for n in self_attentions(network.runtime.unet)]
    want = [f"down_blocks.{b}.attentions.{a}" for b in range(3) for a in range(2)] + ["mid_block.attentions.0"]
    want += [f"up_blocks.{b}.attentions.{a}" for b in range(1, 4) for a in range(3)]
    assert names == want
    late = [n.removesuffix(".transformer_blocks.0.attn1") for n in late_layers(network.runtime.unet)]
    assert late == ["up_blocks.2.attentions.2", *(f"up_blocks.3.attentions.{a}" for a in range(3))]
    chosen = late_layers(network.runtime.unet)
    assert check_layers(network.runtime.unet, ("up_blocks.3", chosen[0])) == chosen
    with pytest.raises(InputError, match="up_blocks.9"):
        check_layers(network.runtime.unet, ("up_blocks.9",))


def test_the_published_network_has_the_layers_tokens_and_size_of_the_spec():
    """Stable Diffusion 2's own configuration, without memory for its weights."""
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(
            in_channels=5, out_channels=4, sample_size=32, block_out_channels=(320, 640, 1280, 1280), cross_attention_dim=1024,
            attention_head_dim=(5, 10, 20, 20), use_linear_projection=True)
    assert [n.split(".transformer")[0] for n in late_layers(unet)] == [
        "up_blocks.2.attentions.2", *(f"up_blocks.3.attentions.{a}" for a in range(3))]
    assert sum(p.numel() for p in unet.parameters()) / 1e6 == pytest.approx(865.9, abs=0.1)
    heads = [unet.get_submodule(n).heads for n in self_attentions(unet)]
    assert heads == [5, 5, 10, 10, 20, 20, 20, 20, 20, 20, 10, 10, 10, 5, 5, 5]


def test_processors_come_back_and_off_means_off(network):
    unet, g = network.runtime.unet, torch.Generator().manual_seed(0)
    x, words = torch.randn(2, 5, 16, 16, generator=g), torch.randn(2, 3, depth_tiny.WIDTH, generator=g)
    before, plain = dict(unet.attn_processors), unet(x, 500, words).sample
    with shared_attention(unet, self_attentions(unet)) as control:
        assert torch.equal(unet(x, 500, words).sample, plain)
        with control.recording(Bank(), 1):
            assert torch.allclose(unet(x[:1], 500, words[:1]).sample, plain[:1], atol=1e-5)
    assert unet.attn_processors == before
    with pytest.raises(RuntimeError), shared_attention(unet, ("up_blocks.3",)):
        raise RuntimeError
    assert unet.attn_processors == before


def test_cached_keys_and_values_equal_a_shared_batch(network):
    """[ref_u, nov_u, ref_c, nov_c] with attention shared by half, against recorded keys and values; all 16 layers."""
    unet, g = network.runtime.unet, torch.Generator().manual_seed(3)
    reference, view = torch.randn(2, 1, 5, 16, 16, generator=g)
    empty, prompt = torch.randn(2, 1, 3, depth_tiny.WIDTH, generator=g)
    bank, every = Bank(), self_attentions(unet)
    with torch.no_grad(), shared_attention(unet, every) as control:
        with control.paired(2):
            batch = torch.cat([reference, view, reference, view])
            together = unet(batch, 400, torch.cat([empty, empty, empty, prompt])).sample
        with control.recording(bank, 7, features=True):
            alone = unet(reference, 400, empty).sample
        with control.injecting(bank, 7):
            cached = unet(torch.cat([view, view]), 400, torch.cat([empty, prompt])).sample
        with control.injecting(bank, 7, "features"):
            same = unet(reference, 400, empty).sample
        plain = unet(view, 400, empty).sample
        with pytest.raises(ValueError, match="rung 8"), control.injecting(bank, 8):
            unet(view, 400, empty)
    assert torch.allclose(together[0], alone[0], atol=1e-5)  # the reference does not notice the view
    assert float((together[1::2] - cached).abs().max()) < 1e-5
    assert float((cached[:1] - plain).abs().max()) > 1e-2  # and injection does something
    assert torch.allclose(same, alone, atol=1e-5)
    assert len(bank.entries) == 16 and bank.bytes > 0


def test_bank_can_hide_the_background(network):
    """With a mask, views behave as if the reference had covered tokens only."""
    unet, g = network.runtime.unet, torch.Generator().manual_seed(4)
    mask = torch.zeros(16, 16)
    mask[4:12, 4:12] = 1
    masked, full, layers = Bank(mask), Bank(), late_layers(unet)
    x, words = torch.randn(1, 5, 16, 16, generator=g), torch.randn(1, 3, depth_tiny.WIDTH, generator=g)
    with torch.no_grad(), shared_attention(unet, layers) as control:
        for bank in (masked, full):
            with control.recording(bank, 1):
                unet(x, 300, words)
    fine, coarse = layers[-1], layers[0]  # 16 x 16 and 8 x 8 tokens
    assert masked.get(1, fine).key.shape[2] == 64 and masked.get(1, coarse).key.shape[2] == 16
    assert torch.equal(masked.get(1, fine).key, full.get(1, fine).key[:, :, mask.flatten() > 0])


# ------------------------------------------------------------------------------------------ RGNV


def test_enhancing_is_three_evaluations_per_rung_and_the_reference_is_seen_once(network):
    guide = _guide(network)
    pictures, depth, _ = _views(1, 3)
    rows, hook = _counted(network)
    first = guide.enhance(pictures[:1], depth[:1])
    hook.remove()
    assert sum(rows) == guide.spent.pictures == 2 * 4 + 3 * 4 and len(rows) == guide.spent.calls == 4 + 4 + 4 + 4
    three = guide.enhance(pictures, depth)
    assert guide.spent.pictures == 2 * 4 + 4 * 3 * 4
    assert three.shape == (3, 32, 32, 3) and torch.allclose(three[:1], first, atol=1e-4)
    parts = ReferenceGuide(network, *_reference(), replace(SHORT, batch=1), "a parrot").enhance(pictures, depth)
    assert torch.allclose(parts, three, atol=1e-4)


def _reference():
    pictures, depth, masks = depth_tiny.scene(0)
    return pictures[0], depth, masks[0]


def test_guidance_between_equal_words_is_not_evaluated(network):
    """No prompt: both halves of the guidance would be the same, so there is one; and it changes nothing."""
    pictures, depth, _ = _views()
    silent = _guide(network, prompt="")
    one = silent.enhance(pictures, depth)
    assert silent.spent.pictures == 2 * 4 + 2 * 4
    same = _guide(network, replace(SHORT, guidance=1.0), prompt="")
    assert torch.allclose(same.enhance(pictures, depth), one, atol=1e-5)
    wordless = _guide(network, replace(SHORT, guidance=0.0), prompt="a parrot")
    assert torch.allclose(wordless.enhance(pictures, depth), one, atol=1e-5) and wordless.spent.pictures == 2 * 4 + 2 * 4


def test_the_released_scheme_with_everything_in_one_batch_gives_the_same_numbers(network):
    """Algorithm 1's shared batch and doubled inversions, against the bank of the resampled reference."""
    guide = _guide(network, replace(SHORT, record="resampled"))
    pictures, depth, _ = _views()
    latents = guide.encode(pictures)
    contexts = guide.contexts(None, 1)
    got = guide.descend(guide.climb(latents, depth), depth, contexts).last
    want, _ = LiteralRgsd(guide).descend(latents, depth, contexts, 0)
    assert float((got - want).abs().max()) < 1e-5 * max(1.0, float(want.abs().max()))


def test_one_step_by_hand(network):
    """A single rung without injection, from the formulas of H-A.3 and the UNet alone."""
    guide = _guide(network, replace(SHORT, rungs=1, inject=False))
    pictures, depth, _ = _views()
    z, runtime = guide.encode(pictures), network.runtime
    words = [network.encoder.text_condition([t])["context"] for t in ("", "a parrot")]
    a = runtime.alphas_cumprod[[0, 50]]

    def eps(x, context):
        return runtime.unet(torch.cat([x, depth], 1), 50, context).sample

    def move(x, e, i, j):
        return a[j].sqrt() * (x - (1 - a[i]).sqrt() * e) / a[i].sqrt() + (1 - a[j]).sqrt() * e

    up = move(z, eps(z, words[0]), 0, 1)
    guided = eps(up, words[0]) + 3.0 * (eps(up, words[1]) - eps(up, words[0]))
    want = runtime.decode(move(up, guided, 1, 0))
    assert torch.allclose(guide.enhance(pictures, depth), want, atol=1e-4)


@pytest.fixture(scope="module")
def enhanced(network):
    """A view as the short settings enhance it."""
    return _guide(network).enhance(*_views())


@pytest.mark.parametrize("change", [{"inject": False}, {"depth": False}, {"start": "noise"}, {"record": "resampled"},
                                    {"corrections": 1}, {"lock": True}, {"object_only": True}, {"layers": ("up_blocks",)},
                                    {"space": "pictures"}])
def test_every_switch_of_the_ablation_changes_the_result(network, enhanced, change):
    other = _guide(network, replace(SHORT, **change)).enhance(*_views())
    assert other.isfinite().all() and float((enhanced - other).abs().max()) > 1e-4


def test_as_pictures_the_autoencoders_own_loss_stays_out(network, monkeypatch):
    """Where nothing changes in the latents, the view comes back exactly; decoded latents do not."""
    pictures, depth, _ = _views()
    guide = _guide(network, replace(SHORT, space="pictures"))
    monkeypatch.setattr(guide, "descend", lambda states, *a, **k: SimpleNamespace(last=states[0]))
    assert torch.allclose(guide.enhance(pictures, depth), pictures, atol=1e-6)
    monkeypatch.setattr(guide, "settings", SHORT)
    assert float((guide.enhance(pictures, depth) - pictures).abs().max()) > 1e-2


def test_lock_keeps_the_background_of_the_view(network):
    """Outside the mask the result is the view's own latent; inside it is not."""
    guide = _guide(network, replace(SHORT, lock=True))
    pictures, depth, _ = _views()
    z = guide.encode(pictures)
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 4:12, 4:12] = 1
    states = guide.climb(z, depth)
    last = guide.descend(states, depth, guide.contexts(None, 1), mask=mask).last
    assert torch.equal(last[:, :, :4], z[:, :, :4]) and float((last - z)[..., 4:12, 4:12].abs().max()) > 1e-2


def test_the_view_itself_comes_back_when_nothing_is_asked(network):
    """Inversion and sampling with the empty prompt, without injection: reconstruction, and closer with corrections."""
    pictures, depth, _ = _views()
    errors = []
    for corrections in (0, 3):
        guide = _guide(network, replace(SHORT, steps=100, inject=False, corrections=corrections), prompt="")
        z = guide.encode(pictures)
        last = guide.descend(guide.climb(z, depth), depth, guide.net.empty).last
        errors.append(float((last - z).norm() / z.norm()))
    assert errors[1] < 0.5 * errors[0] and errors[1] < 0.05, errors


def test_a_v_network_is_inverted_at_the_level_of_its_state():
    """The same UNet labeled v-prediction: noise is made from v with the state's own level, not the asked time's."""
    network = depth_tiny.network(prediction="v_prediction")
    guide = _guide(network, replace(SHORT, rungs=1), prompt="")
    pictures, depth, _ = _views()
    z, a = guide.encode(pictures), network.runtime.alphas_cumprod
    v = network.runtime.unet(torch.cat([z, depth], 1), 50, guide.net.empty).sample
    eps = a[0].sqrt() * v + (1 - a[0]).sqrt() * z
    want = guide.grid.move(z, eps, 0, 1)
    assert torch.allclose(guide.climb(z, depth)[1], want, atol=1e-5)


def test_words_follow_the_camera(network):
    guide = _guide(network)
    degrees = torch.tensor([0.0, 40.0, -50.0, 130.0, -140.0, 180.0])
    cameras = Cameras.orbit(degrees * torch.pi / 180, 0.1, 3.8, 0.35, 32, 32)
    texts = [f"{w} view of a parrot" for w in ("Front", "Front", "Side", "Side", "Back", "Back")]
    assert torch.equal(guide.contexts(cameras, 6), network.encoder.text_condition(texts)["context"])
    assert torch.equal(guide.contexts(None, 1), network.encoder.text_condition(["a parrot"])["context"])
    own = _guide(replace(network, phrase="{prompt}, {word} view"))  # a network that was taught another order of words
    assert torch.equal(own.contexts(cameras[2:3], 1), network.encoder.text_condition(["a parrot, Side view"])["context"])


def test_a_text_network_can_stand_in_where_depth_is_not_wanted():
    guide = _guide(depth_tiny.network(4), replace(SHORT, depth=False))
    pictures, _, _ = _views()
    assert guide.enhance(pictures).isfinite().all()


def test_wrong_inputs_are_refused_before_any_work(network):
    pictures, depth, masks = depth_tiny.scene(0)
    with pytest.raises(InputError, match="32 x 32"):
        ReferenceGuide(network, pictures[0, :20], depth)
    with pytest.raises(InputError, match="depth map"):
        ReferenceGuide(network, pictures[0])
    with pytest.raises(InputError, match="mask"):
        ReferenceGuide(network, pictures[0], depth, settings=replace(SHORT, object_only=True))
    with pytest.raises(InputError, match="depth-text network"):
        ReferenceGuide(object(), pictures[0], depth)
    guide = _guide(network)
    with pytest.raises(InputError, match="views"):
        guide.enhance(pictures)
    with pytest.raises(InputError, match="32 x 32"):
        guide.enhance(pictures[:, :16], depth)
    with pytest.raises(InputError, match="lock"):
        _guide(network, replace(SHORT, lock=True)).enhance(pictures, depth)
    for wrong in ({"start": "x"}, {"record": "x"}, {"rungs": 21}, {"corrections": -1}):
        with pytest.raises(ValueError):
            replace(SHORT, **wrong)
    assert guide.spent.calls == 0


# ------------------------------------------------------------------------------------------ depth


def test_depth_channel_of_distances_and_of_relative_depth():
    """2 z_nearest / z - 1 inside, -1 outside; relative depth spans what distances from 1 to 1 / 0.6 would."""
    depth = torch.tensor([[2.0, 4.0], [2.5, 0.0]])[None]
    alpha = (depth > 0).float()
    assert torch.allclose(depth_channel(depth, alpha, 2, True)[0, 0], torch.tensor([[1.0, 0.0], [0.6, -1.0]]))
    assert torch.allclose(depth_channel(depth, alpha, 2, False)[0, 0], torch.tensor([[1.0, 0.2], [0.8, -1.0]]))
    assert torch.allclose(depth_channel(depth, alpha, 1, True), torch.tensor(0.15))
    assert bool((depth_channel(depth, torch.zeros_like(alpha), 2, False) == -1).all())


def test_protocol_of_the_denoiser(network):
    """predict_noise shows the depth channel last, and samples have the picture's size, not the configured one."""
    conditioned = network.with_prompt("a parrot").with_guidance(1.0)
    _, depth, _ = _views()
    x, cameras = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(5)), Cameras.orbit(0.0, 0.0, 3.0, 0.3, 32, 32)
    got = conditioned.with_depth(depth).predict_noise(x, torch.tensor([300]), cameras)
    context = network.encoder.text_condition(["a parrot, front view"])["context"]
    assert torch.allclose(got, network.runtime.unet(torch.cat([x, depth], 1), 300, context).sample, atol=1e-5)
    assert not torch.allclose(got, conditioned.predict_noise(x, torch.tensor([300]), cameras), atol=1e-3)
    assert conditioned.sample(cameras, 2, torch.Generator().manual_seed(0)).shape == (1, 32, 32, 3)


def test_the_grid_of_a_guide_is_the_papers():
    grid = RungGrid.of(depth_tiny.network().alphas_cumprod, 50, 30)
    states = invert(lambda x, rung, level: x * 0, torch.ones(1, 1, 1, 1), grid)
    assert int(grid.times[-1]) == 600 and len(states) == 31
    assert torch.allclose(sample(lambda x, rung, level: x * 0, states[-1], grid).last, torch.ones(1))
