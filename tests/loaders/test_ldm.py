"""Checkpoints in the ldm layout become our networks: outputs equal those of ComfyUI's own and of diffusers' converter."""

import pytest
import torch
from helpers.compare import SEEDS, close, draw
from lift123.pipelines.loaders import ldm_layout

ldm_tiny = pytest.importorskip("helpers.ldm_tiny")


def built(cls, config, state):
    """A diffusers network of ``config`` with ``state``, loaded strictly."""
    network = cls(**config)
    network.load_state_dict(state, strict=True)
    return network.eval()


def our_unet(theirs):
    """Our conversion of one of ComfyUI's UNets."""
    from diffusers import UNet2DConditionModel

    state = theirs.state_dict()
    config = ldm_layout.unet_config(state)
    new, unknown = ldm_layout.convert_unet(state, config["layers_per_block"])
    assert not unknown and len(new) == len(state)
    return built(UNet2DConditionModel, config, new), new, config


@pytest.mark.parametrize("kind", ldm_tiny.KINDS)
def test_unet_equals_comfyuis(kind):
    theirs = ldm_tiny.unet(kind)
    ours, new, config = our_unet(theirs)
    with torch.no_grad():
        for seed in SEEDS:
            x = draw(seed, 2, config["in_channels"], 16, 8 * (seed + 1))
            context = draw(seed + 10, 2, 3, config["cross_attention_dim"])
            t = torch.tensor([1 + 300 * seed, 999])
            close(ours(x, t, context).sample, theirs(x, t, context=context))


@pytest.mark.parametrize("kind", ldm_tiny.KINDS)
def test_unet_state_equals_diffusers_converter(kind):
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    theirs = ldm_tiny.unet(kind, seed=5)
    _, ours, config = our_unet(theirs)
    reference = convert_ldm_unet_checkpoint(ldm_tiny.prefixed("model.diffusion_model.", theirs), config)
    assert set(reference) == set(ours)
    assert all(torch.equal(reference[name], ours[name]) for name in ours)


def test_vae_equals_comfyuis_and_diffusers_converter():
    from diffusers import AutoencoderKL
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    theirs = ldm_tiny.vae()
    state = theirs.state_dict()
    config = ldm_layout.vae_config(state)
    new, unknown = ldm_layout.convert_vae(state)
    assert not unknown
    ours = built(AutoencoderKL, config, new)
    reference = convert_ldm_vae_checkpoint(ldm_tiny.prefixed("first_stage_model.", theirs), config)
    assert set(reference) == set(new) and all(torch.equal(reference[name], new[name]) for name in new)
    with torch.no_grad():
        for seed in SEEDS:
            x, z = draw(seed, 2, 3, 32, 16 * (seed + 1)), draw(seed + 10, 2, 4, 8, 8)
            close(ours.encode(x).latent_dist.mode(), theirs.encode(x))
            close(ours.decode(z).sample, theirs.decode(z))


@pytest.mark.parametrize("kind", ldm_tiny.KINDS)
def test_full_size_names_and_shapes_are_the_published_ones(kind):
    """On the meta device: what we infer for the published sizes, and that every weight finds a place of its shape."""
    from diffusers import UNet2DConditionModel

    state = ldm_tiny.unet(kind, full=True, device="meta").state_dict()
    config = ldm_layout.unet_config(state)
    facts = ldm_tiny.FULL[kind]
    assert config["block_out_channels"] == (320, 640, 1280, 1280) and config["layers_per_block"] == 2
    assert config["in_channels"] == facts["in_channels"] and config["cross_attention_dim"] == facts["context"]
    assert config["attention_head_dim"] == ((5, 10, 20, 20) if kind == "sd2" else 8)
    assert config["down_block_types"] == ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",)
    new, unknown = ldm_layout.convert_unet(state, config["layers_per_block"])
    with torch.device("meta"):
        network = UNet2DConditionModel(**config)
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert not unknown and {name: tuple(value.shape) for name, value in new.items()} == expected


def test_full_size_vae_has_the_published_names_and_shapes():
    from diffusers import AutoencoderKL

    state = ldm_tiny.vae(full=True).state_dict()
    config = ldm_layout.vae_config(state)
    assert config["block_out_channels"] == (128, 256, 512, 512) and config["layers_per_block"] == 2
    new, unknown = ldm_layout.convert_vae(state)
    with torch.device("meta"):
        network = AutoencoderKL(**config)
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert not unknown and {name: tuple(value.shape) for name, value in new.items()} == expected


def test_a_misplaced_weight_would_be_seen():
    """The parity above has teeth: two equal-shaped weights exchanged change the answer by far more than rounding."""
    theirs = ldm_tiny.unet("sd1")
    ours, new, config = our_unet(theirs)
    place = "down_blocks.0.attentions.0.transformer_blocks.0.attn1"
    a, b = f"{place}.to_q.weight", f"{place}.to_v.weight"
    ours.load_state_dict({**new, a: new[b], b: new[a]}, strict=True)
    x, context = draw(0, 1, 4, 16, 16), draw(1, 1, 3, config["cross_attention_dim"])
    with torch.no_grad(), pytest.raises(AssertionError):
        close(ours(x, torch.tensor([500]), context).sample, theirs(x, torch.tensor([500]), context=context))
