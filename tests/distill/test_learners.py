"""VSD's adapters on real networks, and that an interrupted stage with a learning prior goes on bit for bit."""

from dataclasses import replace

import pytest
import torch
from helpers import comfy_tiny, tiny_stages
from helpers.gaussians import SIDE, Gaussians
from lift123.host import comfy_denoiser
from lift123.pipelines.core.cameras import Cameras
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.core.settings import describe
from lift123.pipelines.distill.plug import How
from lift123.pipelines.distill.voices import Voices
from lift123.pipelines.loaders import embedded
from lift123.pipelines.priors.sds import SdsPrior, SdsSettings
from lift123.pipelines.stages.loop.scene import Scene
from lift123.pipelines.stages.objects.fit_nerf import fit_nerf
from lift123.verification.oracle import OracleDenoiser


def networks():
    world = comfy_tiny.tiny()
    backbone = comfy_denoiser.Backbone(world.model, world.vae, comfy_tiny.SIZE, torch.device("cpu"))
    yield "MODEL", comfy_denoiser.ModelTextDenoiser(backbone, 3.0, clip=world.clip).with_prompt("a red mug")
    yield "embedded", embedded.load_embedded("cpu").text.with_prompt("a red mug").with_guidance(3.0)


def test_an_adapter_begins_as_the_network_and_learns_without_touching_it():
    """On diffusers' UNet and on ComfyUI's MODEL; and guidance 0 is the unconditioned answer, as all scales are one line."""
    for name, denoiser in networks():
        generator = torch.Generator().manual_seed(0)
        cameras, t = Cameras.orbit(torch.tensor([0.3, 2.0]), 0.1, 3.0, 0.4, 8, 8), torch.tensor([300, 700])
        z = denoiser.encode(torch.rand(2, denoiser.image_size, denoiser.image_size, 3, generator=generator)).detach()
        noisy = z + torch.randn(z.shape, generator=generator)
        zero, one, two = (denoiser.with_guidance(s).predict_noise(noisy, t, cameras) for s in (0.0, 1.0, 2.0))
        assert torch.allclose(zero + 2 * (one - zero), two, atol=1e-4), name
        learner = denoiser.learner(2, torch.Generator().manual_seed(1))
        first = learner.predict(noisy, t, cameras)
        assert torch.allclose(first, one, atol=1e-4), name
        adam = torch.optim.Adam(learner.parameters(), lr=3e-3)
        losses = []
        for _ in range(6):
            loss = learner.predict(noisy, t, cameras).square().mean()
            loss.backward()
            adam.step()
            adam.zero_grad()
            losses.append(float(loss.detach()))
        assert losses[-1] < losses[0] and all(p.grad is None for p in learner.parameters()), name
        assert torch.equal(denoiser.with_guidance(1.0).predict_noise(noisy, t, cameras), one), name


def test_a_network_without_a_condition_is_refused_by_methods_that_leave_it_out():
    prior = SdsPrior(OracleDenoiser(lambda c: torch.rand(1, 8, 8, 3), image_size=8), SdsSettings(how=How("csd")))
    with pytest.raises(InputError, match="guidance"):
        prior.loss(torch.rand(1, 8, 8, 3), Cameras.orbit(0.0, 0.0, 3.0, 0.4, 8, 8), 0.0, torch.Generator())


def test_evaluations_are_counted_per_picture():
    prior = SdsPrior(Gaussians(guidance=4.0), SdsSettings(how=How("csd")), "text", Voices(Gaussians(guidance=4.0)))
    for seed in range(3):
        prior.loss(torch.rand(2, SIDE, SIDE, 3), Cameras.orbit(torch.zeros(2), 0.0, 3.0, 0.4, 8, 8), 0.0,
                   torch.Generator().manual_seed(seed))
    assert prior.evaluations() == {"text (csd)": 2.0}


def test_an_interrupted_nerf_goes_on_with_what_its_prior_has_learned():
    config = replace(tiny_stages.NERF, iterations=6)
    reference = tiny_stages.reference()

    def run(scene=None, until=None, method="vsd"):
        how = How(method, (("rate", 1e-2),) if method == "vsd" else ())
        prior = SdsPrior(Gaussians(), SdsSettings(reduction="mean", how=how))
        return fit_nerf(reference, prior, config, scene=scene, until=until, seed=3)

    whole, part = run(), run(until=3)
    assert part.meta["prior"]["how"] and any(name.startswith("prior/learned") for name in part.tensors)
    again = run(Scene.unpack(*part.pack()))
    assert describe(again.meta) == describe(whole.meta)
    assert all(torch.equal(again.tensors[name], value) for name, value in whole.tensors.items())
    assert "prior" not in run(until=3, method="sds").meta
