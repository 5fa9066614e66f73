"""Recorded networks answer as the networks themselves, to the last bit, and are dropped when those change."""

import pytest
import torch
from lift123.pipelines.loaders.embedded import build_unet, build_vae
from lift123.pipelines.networks import frozen
from lift123.pipelines.networks.latent import LatentRuntime
from lift123.pipelines.networks.lora import Lora


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(frozen, "PATIENCE", 1)


@pytest.fixture(scope="module")
def unet():
    return seeded(build_unet(view=True), 3)


def seeded(network, seed):
    """The frozen network with small random weights."""
    draw = torch.Generator().manual_seed(seed)
    for weight in network.eval().requires_grad_(False).parameters():
        weight.copy_(0.1 * torch.randn(weight.shape, generator=draw))
    return network


def given(seed, batch=2):
    draw = torch.Generator().manual_seed(seed)
    x, context = torch.randn(batch, 8, 8, 8, generator=draw), torch.randn(batch, 5, 128, generator=draw)
    return (x, torch.randint(0, 1000, (batch,), generator=draw), context), torch.randn(batch, 8, generator=draw)


def recorded(unet):
    return [r for r in frozen._known[unet].records.values() if r is not None]


@torch.no_grad()
def test_the_record_has_the_same_bits_for_other_inputs_and_goes_with_its_weights(unet):
    for seed in range(frozen.PATIENCE + 2):
        (inputs, labels) = given(seed)
        got = frozen.denoised(unet, *inputs, class_labels=labels)
    assert len(recorded(unet)) == 1
    assert torch.equal(got, unet(*inputs, class_labels=labels).sample)
    with Lora(unet, 1, torch.Generator().manual_seed(0)).active():  # hooks: the network answers itself
        assert frozen._record(unet, "sample class_labels", None, (*inputs, labels)) is None
    with torch.enable_grad():
        assert not frozen._may(unet, inputs[0])
    unet.conv_out.bias += 1.0
    later = frozen.denoised(unet, *inputs, class_labels=labels)
    assert torch.allclose(later, got + 1.0, atol=1e-5) and not recorded(unet)


@torch.no_grad()
def test_an_autoencoder_too():
    vae = seeded(build_vae(), 5)
    runtime = LatentRuntime(vae, vae, torch.ones(2), "epsilon", 32)
    for seed in range(frozen.PATIENCE + 2):
        pictures = torch.rand(1, 32, 32, 3, generator=torch.Generator().manual_seed(seed))
        latents = runtime.raw_latents(pictures)
        shown = runtime.decode(latents)
    assert len(recorded(vae)) == 2
    assert torch.equal(latents, vae.encode(pictures.permute(0, 3, 1, 2) * 2 - 1).latent_dist.mode())
    assert torch.equal(shown, (vae.decode(latents).sample / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1))
    with torch.enable_grad():
        leaf = pictures.requires_grad_()
        assert torch.autograd.grad(runtime.encode(leaf).sum(), leaf)[0].abs().max() > 0
