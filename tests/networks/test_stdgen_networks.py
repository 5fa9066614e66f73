"""StdGEN's UNets from published folders: every listed key finds its place, and what does not fit is named."""

import json

import pytest
import torch
from helpers import public_tiny as tiny
from helpers import stdgen_tiny
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.loaders import canonical_folder, multiview_folder
from lift123.pipelines.loaders import stdgen_files as loading
from lift123.pipelines.networks.stdgen import canonical, multiview
from lift123.pipelines.networks.stdgen.schedule import make_scheduler, sample
from lift123.pipelines.networks.stdgen.unet_config import diffusers_options


def listing(name: str) -> dict:
    """A checkpoint of exactly the listed names and shapes, on the meta device."""
    path = stdgen_tiny.CHECKPOINTS / f"{name}.json"
    if not path.is_file():
        pytest.skip(f"{path.name} is not beside the repository")
    return {k: torch.empty(shape, device="meta") for k, shape in json.loads(path.read_text()).items()}


def published(name: str) -> dict:
    path = stdgen_tiny.CHECKPOINTS / f"{name}.json"
    if not path.is_file():
        pytest.skip(f"{path.name} is not beside the repository")
    data = json.loads(path.read_text())
    return data.get("config", data)


FULL = {
    "stdgen_canonicalize_unet": ("stdgen_canonicalize_config_used", canonical.build_main, loading.DEAD, 694),
    "stdgen_canonicalize_ref_unet": ("stdgen_canonicalize_config_used", canonical.build_reference, loading.UNUSED, 670),
    "era3d_unet_6view_regress": ("era3d_unet_config_used", multiview.build_multiview, None, 838),
    "era3d_unet_6view_ortho_noregress": ("era3d_unet_config_used", multiview.build_multiview, None, 802),
}


@pytest.mark.parametrize("name", FULL)
def test_every_listed_key_finds_its_place_at_full_size(name):
    config_name, build, unused, count = FULL[name]
    state, config = listing(name), published(config_name)
    if "noregress" in name:
        config = {**config, "regress_elevation": False, "regress_focal_length": False}
    module = loading.fill(loading.on_meta(lambda: build(config)), dict(state), name, unused)
    own = module.state_dict()
    assert len(state) == count and own.keys() <= state.keys()
    assert all(k for k in state.keys() - own.keys() if unused.match(k))
    assert len(state) - len(own) == (8 if "canonicalize" in name else 0)  # the dead embeddings, nothing else
    assert not any(p.requires_grad for p in module.parameters()) and not module.training
    for lost in ("up_blocks.3.attentions.1.transformer_blocks.0.attn1.to_k.weight", "mid_block.resnets.0.conv1.bias"):
        short = {k: v for k, v in state.items() if k != lost}
        with pytest.raises(InputError, match=f"missing: {lost}"):
            loading.fill(module, short, name, unused)
    with pytest.raises(InputError, match="unused: down_blocks.9"):
        loading.fill(module, {**state, "down_blocks.9.weight": torch.empty(1, device="meta")}, name, unused)
    with pytest.raises(InputError, match="of another shape: conv_in.bias"):
        loading.fill(module, {**state, "conv_in.bias": torch.empty(1, device="meta")}, name, unused)


def test_the_references_file_may_hold_its_unused_tail():
    """S-A.2: the published loader wants conv_out in the file; expect all 694 names there."""
    config, state = published("stdgen_canonicalize_config_used"), listing("stdgen_canonicalize_unet")
    module = loading.fill(loading.on_meta(lambda: canonical.build_reference(config)), state, "ref", loading.UNUSED)
    assert len(module.state_dict()) == 662
    assert module.up_blocks[3].attentions[2].transformer_blocks[0].norm1.weight.shape == (320,)


def test_our_constants_are_the_published_configurations():
    """Defaults of diffusers' class fill the rest, so the options that the two give it are the same."""
    from diffusers import UNet2DConditionModel

    for ours, name in ((canonical.CANONICAL_CONFIG, "stdgen_canonicalize_config_used"),
                       (multiview.MULTIVIEW_CONFIG, "era3d_unet_config_used")):
        theirs = diffusers_options(published(name))
        mine = diffusers_options(ours)
        with torch.device("meta"):
            a, b = UNet2DConditionModel(**mine).config, UNet2DConditionModel(**theirs).config
        a, b = ({k: tuple(v) if isinstance(v, list) else v for k, v in c.items() if k[0] != "_"} for c in (a, b))
        assert a == b


def test_variants_are_told_apart():
    names = {name: loading.variant_of(listing(name)) for name in FULL}
    assert names["era3d_unet_6view_regress"] == loading.HEADED
    assert names["era3d_unet_6view_ortho_noregress"] == loading.HEADLESS
    assert names["stdgen_canonicalize_unet"] == names["stdgen_canonicalize_ref_unet"] == loading.CANONICAL
    assert loading.variant_of(listing("stdgen_slrm_mesh_lora128")) == "S-LRM"
    plain = {k for k in listing("stdgen_canonicalize_unet") if not loading.DEAD.match(k)}
    assert len(plain) == 686 and loading.variant_of(plain) == "a plain Stable Diffusion UNet"


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_a_multi_view_folder(tmp_path, suffix):
    unet = stdgen_tiny.multiview_folder(tmp_path, multiview.build_multiview, suffix=suffix)
    network = multiview_folder.load_multiview_folder(tmp_path)
    x, text, labels = torch.randn(12, 8, 8, 4), torch.randn(12, 3, tiny.WIDTH), torch.randn(12, 24)
    with torch.no_grad():
        ours = multiview.run_unet(network.unet, x, 5, text, labels)
        assert torch.allclose(ours, multiview.run_unet(unet, x, 5, text, labels), atol=1e-4)
    half = multiview_folder.load_multiview_folder(tmp_path, dtype=torch.float16)
    assert next(half.unet.parameters()).dtype == torch.float16 and next(half.codec.vae.parameters()).dtype == torch.float32
    assert network.size == (1024, 576) and network.latent_shape == (12, 4, 512, 288)  # this autoencoder halves only
    assert network.prompts.shape == (2, 6, stdgen_tiny.LENGTH, tiny.WIDTH) and network.normalizer is None


def test_fixed_prompts_come_from_the_published_files_or_the_text_encoder(tmp_path):
    stdgen_tiny.multiview_folder(tmp_path, multiview.build_multiview)
    made = multiview_folder.read_prompts(tmp_path, "cpu", torch.float32)
    from lift123.pipelines.loaders.public import text_towers

    tower = text_towers(tmp_path, False, "cpu", torch.float32)
    back = tower.text_tokens(["a rendering image of 3D models, back view, color map."])
    assert torch.allclose(made[1, 3], back[0]) and not torch.allclose(made[0, 3], back[0])
    torch.save(torch.full((6, 4, 3), 2.0).half(), tmp_path / "clr_embeds.pt")
    torch.save(torch.full((6, 4, 3), 1.0).half(), tmp_path / "normal_embeds.pt")
    assert multiview_folder.read_prompts(tmp_path, "cpu", torch.float32)[:, 0, 0, 0].tolist() == [1, 2]  # normals come first
    torch.save(torch.zeros(8, 4, 3), tmp_path / "clr_embeds.pt")
    with pytest.raises(InputError, match="clr_embeds.pt, got"):
        multiview_folder.read_prompts(tmp_path, "cpu", torch.float32)
    torch.save({"mean": torch.zeros(1, 12), "std": torch.ones(1, 12)}, tmp_path / "x.bin")
    (tmp_path / "image_normalizer").mkdir()
    (tmp_path / "x.bin").rename(tmp_path / "image_normalizer" / "pytorch_model.bin")
    mean, std = multiview_folder.read_normalizer(tmp_path, "cpu")
    assert mean.shape == std.shape == (1, 12)


def test_a_canonical_folder_with_its_dead_keys(tmp_path):
    main, reference = stdgen_tiny.canonical_folder(tmp_path, canonical.build_main, canonical.build_reference)
    network = canonical_folder.load_canonical_folder(tmp_path)
    pair = canonical.ReferencePair(main, reference)
    generator = torch.Generator().manual_seed(0)
    noisy, clean = (torch.randn(1, 4, 8, 4, generator=generator) for _ in range(2))
    seen = canonical.Seen(clean, torch.randn(1, 1, tiny.WIDTH, generator=generator))
    with torch.no_grad():
        text = network.texts
        unconditional = pair(noisy, 7, torch.zeros_like(seen.token), clean, text[:1])
        conditional = pair(noisy, 7, seen.token, clean, text[1:])
    assert text.shape[0] == 2 and not torch.allclose(text[0], text[1])
    assert torch.allclose(network.predict(noisy, 7, seen, 1.0), conditional, atol=1e-5)
    expected = unconditional + 5 * (conditional - unconditional)
    assert torch.allclose(network.predict(noisy, 7, seen, 5.0), expected, atol=1e-4)
    assert network.schedule["rescale_betas_zero_snr"] and network.schedule["timestep_spacing"] == "trailing"


def test_guidance_of_the_multi_view_network_is_two_passes(tmp_path):
    """The unconditional half: no condition latents, and a class vector of zeros, level code included."""
    stdgen_tiny.multiview_folder(tmp_path, multiview.build_multiview)
    network = multiview_folder.load_multiview_folder(tmp_path)
    generator = torch.Generator().manual_seed(0)
    noisy = torch.randn(12, 4, 8, 4, generator=generator)
    shown = multiview.Shown(*(torch.randn(*s, generator=generator) for s in ((1, 4, 8, 4), (1, 12))))
    conditional = network.predict(noisy, 7, shown, 1, 1.0)
    nothing = torch.cat([noisy, torch.zeros_like(noisy)], 1)
    with torch.no_grad():
        unconditional = multiview.run_unet(network.unet, nothing, 7, network.prompts.flatten(0, 1), torch.zeros(12, 24))
    guided = network.predict(noisy, 7, shown, 1, 3.0)
    assert torch.allclose(guided, unconditional + 3 * (conditional - unconditional), atol=1e-4)
    assert not torch.allclose(network.predict(noisy, 7, shown, 2, 1.0), conditional, atol=1e-4)


def test_wrong_variants_are_named(tmp_path):
    folders = {name: tmp_path / name for name in ("headed", "ortho", "canonical", "mixed", "swapped")}
    stdgen_tiny.multiview_folder(folders["headed"], multiview.build_multiview)
    ortho = stdgen_tiny.multiview_folder(folders["ortho"], multiview.build_multiview, stdgen_tiny.ORTHO)
    stdgen_tiny.canonical_folder(folders["canonical"], canonical.build_main, canonical.build_reference)
    with pytest.raises(InputError, match="pose heads in .* got a multi-view network without pose heads"):
        multiview_folder.load_multiview_folder(folders["ortho"])
    assert multiview_folder.load_multiview_folder(folders["ortho"], stock=True).unet.pose_heads is None
    assert multiview_folder.load_multiview_folder(folders["headed"], stock=True).unet.pose_heads is not None
    with pytest.raises(InputError, match="got a canonicalization network"):
        multiview_folder.load_multiview_folder(folders["canonical"])
    with pytest.raises(InputError, match="a canonicalization network in .*unet, got a multi-view network with pose heads"):
        canonical_folder.load_canonical_folder(folders["headed"])
    stdgen_tiny.save(folders["mixed"], "unet", ortho.state_dict(), stdgen_tiny.MULTIVIEW)
    with pytest.raises(InputError, match="regress_elevation = False"):
        multiview_folder.load_multiview_folder(folders["mixed"], stock=True)
    stdgen_tiny.save(folders["swapped"], "unet", tiny.seeded(
        lambda: multiview.build_multiview(stdgen_tiny.MULTIVIEW), 1).state_dict(),
        {**stdgen_tiny.MULTIVIEW, "cd_attention_mid": True})
    with pytest.raises(InputError, match="cd_attention_mid = False, got True"):
        multiview_folder.load_multiview_folder(folders["swapped"])
    plain = {k: v for k, v in ortho.state_dict().items() if "_mv." not in k}
    stdgen_tiny.save(folders["swapped"], "unet", plain, stdgen_tiny.ORTHO)
    with pytest.raises(InputError, match="got a plain Stable Diffusion UNet"):
        multiview_folder.load_multiview_folder(folders["swapped"])


def test_one_missing_key_of_a_folder_is_named(tmp_path):
    unet = stdgen_tiny.multiview_folder(tmp_path, multiview.build_multiview)
    lost = "mid_block.attentions.0.transformer_blocks.0.attn_mv.to_out.0.bias"
    stdgen_tiny.save(tmp_path, "unet", {k: v for k, v in unet.state_dict().items() if k != lost}, stdgen_tiny.MULTIVIEW)
    with pytest.raises(InputError, match=f"missing: {lost}"):
        multiview_folder.load_multiview_folder(tmp_path)
    with pytest.raises(InputError, match="a folder ref_unet/"):
        stdgen_tiny.save(tmp_path, "unet", {**unet.state_dict(), "camera_embedding.0.weight": torch.ones(1)}, {})
        stdgen_tiny.canonical_folder(tmp_path / "c", canonical.build_main, canonical.build_reference)
        (tmp_path / "c" / "ref_unet").rename(tmp_path / "c" / "elsewhere")
        canonical_folder.load_canonical_folder(tmp_path / "c")


def test_published_schedules(tmp_path):
    """S-A.5 and S-B.5: trailing 999, 974 ... 24 with no signal at first; leading 976, 951 ... 1."""
    from lift123.pipelines.networks.stdgen.schedule import LEADING, ZERO_SNR

    for settings, first, last in ((ZERO_SNR, 999, 24), (LEADING, 976, 1)):
        scheduler = make_scheduler(loading.read_schedule_file(tmp_path, "scheduler", settings))
        scheduler.set_timesteps(40)
        assert [int(scheduler.timesteps[0]), int(scheduler.timesteps[-1])] == [first, last]
    assert float(make_scheduler(ZERO_SNR).alphas_cumprod[-1]) == 0
    stdgen_tiny.save(tmp_path, "s", {}, {})
    (tmp_path / "scheduler").mkdir()
    (tmp_path / "scheduler" / "scheduler_config.json").write_text(json.dumps({
        "_class_name": "DDIMScheduler", "beta_schedule": "linear", "clip_sample": True, "steps_offset": 0, "skip_prk": True}))
    scheduler = make_scheduler(loading.read_schedule_file(tmp_path, "scheduler", ZERO_SNR))
    assert (scheduler.config.clip_sample, scheduler.config.steps_offset) == (False, 1)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("eta", [0.0, 0.6])
def test_a_step_is_diffusers_own(prediction, eta):
    from lift123.pipelines.networks.stdgen.schedule import LEADING, ddim_step

    scheduler = make_scheduler({**LEADING, "prediction_type": prediction})
    scheduler.set_timesteps(20)
    generator = torch.Generator().manual_seed(1)
    x, answer, fresh = torch.randn(3, 2, 4, 3, 3, generator=generator)
    fresh = fresh if eta else None
    for t in scheduler.timesteps.tolist():
        theirs = scheduler.step(answer, t, x, eta=eta, variance_noise=fresh)
        ours, clean = ddim_step(scheduler, answer, t, x, eta, fresh)
        assert torch.allclose(ours, theirs.prev_sample, rtol=1e-6, atol=1e-6)
        assert torch.allclose(clean, theirs.pred_original_sample, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 5, 10, 40])
def test_full_noise_from_zero_signal_stays_finite(steps):
    from lift123.pipelines.networks.stdgen.schedule import ZERO_SNR

    start = torch.randn(1, 2, 2, 2, generator=torch.Generator().manual_seed(3))
    out = sample(lambda x, t: torch.zeros_like(x), start, ZERO_SNR, steps, 1.0, torch.Generator().manual_seed(4))
    assert bool(out.isfinite().all())


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_sampling_is_ddim(eta):
    """Song et al. 2021, Eq. 12 and 16, on a network that always sees the same clean latents: they come out."""
    from lift123.pipelines.networks.stdgen.schedule import ZERO_SNR

    target, alphas = torch.linspace(-1, 1, 8).reshape(1, 2, 2, 2), make_scheduler(ZERO_SNR).alphas_cumprod
    told = []

    def predict(x, t):
        a = alphas[t]
        epsilon = (x - a.sqrt() * target) / (1 - a).sqrt()
        return a.sqrt() * epsilon - (1 - a).sqrt() * target

    start = torch.randn(1, 2, 2, 2, generator=torch.Generator().manual_seed(3))
    out = sample(predict, start, ZERO_SNR, 10, eta, torch.Generator().manual_seed(4),
                 lambda done, clean, _: told.append((done, clean)))
    assert torch.allclose(out, target, atol=0.1) and [d for d, _ in told] == list(range(1, 11))
    assert all(torch.allclose(clean, target, atol=1e-4) for _, clean in told)
    again = sample(predict, start, ZERO_SNR, 10, eta, torch.Generator().manual_seed(4))
    assert torch.equal(out, again)


def test_assumptions_are_checked_against_the_files(tmp_path):
    """S-K.1 to S-K.3: counts of tensors, scheduler files; and the fixed prompts against the text encoder."""
    from lift123.verification.stdgen_checklist import checklist, prompt_difference, tensor_names

    unet = stdgen_tiny.multiview_folder(tmp_path, multiview.build_multiview)
    assert tensor_names(tmp_path / "unet") == sorted(unet.state_dict())
    lines = checklist(tmp_path, "multiview")
    assert f"differs: unet has {len(unet.state_dict())} tensors, expected 838" in lines[0] and "no scheduler" in lines[1]
    (tmp_path / "scheduler").mkdir()
    good = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "linear", "prediction_type": "v_prediction",
            "set_alpha_to_one": False, "skip_prk_steps": True}
    other = {"beta_schedule": "scaled_linear"}
    for changes, wanted in (({}, "ok: scheduler is"), (other, "differs: scheduler says beta_schedule scaled_linear")):
        (tmp_path / "scheduler" / "scheduler_config.json").write_text(json.dumps({**good, **changes}))
        assert checklist(tmp_path, "multiview")[1].startswith(wanted)
    with pytest.raises(InputError, match="clr_embeds.pt"):
        prompt_difference(tmp_path)
    made = multiview_folder.make_prompts(tmp_path, "cpu", torch.float32)
    torch.save(made[0].half(), tmp_path / "normal_embeds.pt")
    torch.save(made[1].half(), tmp_path / "clr_embeds.pt")
    assert 0 < prompt_difference(tmp_path) < 0.01
    torch.save(made[0].half(), tmp_path / "clr_embeds.pt")
    assert prompt_difference(tmp_path) > 0.01
