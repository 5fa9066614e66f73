"""Our frozen networks under ComfyUI's memory management.  On a CPU the machinery runs, only nothing has to move."""

import copy
from dataclasses import dataclass

import pytest
import torch
from helpers.comfy_modules import prepare

prepare()
import comfy.model_management as mm
from lift123.host import managed
from lift123.pipelines.core.cameras import Cameras
from lift123.pipelines.loaders import embedded
from lift123.pipelines.networks.clip import ClipScorer
from lift123.pipelines.networks.latent import LatentRuntime
from lift123.pipelines.networks.learned_words import DenoiserInverter, LearnedWord
from lift123.pipelines.networks.noise import scaled_linear_alphas
from lift123.pipelines.networks.text import TextDenoiser
from lift123.pipelines.networks.tokenizer import WordTokenizer

Linear = torch.nn.Linear
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def nothing_loaded():
    """Every test starts and ends without models in ComfyUI's list."""
    mm.unload_all_models()
    yield
    mm.unload_all_models()


def loaded_networks() -> set:
    """ids of the networks that ComfyUI believes to be on the device."""
    return {id(m) for p in mm.loaded_models() for m in getattr(p.model, "parts", ())}


@dataclass(frozen=True)
class Scorer:
    """An object that holds networks and has methods, as ClipScorer does."""

    first: torch.nn.Module
    others: tuple
    scale: float = 2.0

    def score(self, x):
        return self.scale * self.others[0](self.first(x))


def scorer():
    return Scorer(Linear(3, 4), (Linear(4, 1),))


def test_an_unloaded_network_comes_back_when_it_is_used():
    plain = scorer()
    taking = managed.TurnTaker(plain, CPU)
    x = torch.ones(2, 3)
    assert loaded_networks() == set() and taking.scale == 2.0, "reading a number loads nothing"
    assert loaded_networks() == set()
    assert torch.equal(taking.score(x), plain.score(x))
    assert loaded_networks() == {id(plain.first), id(plain.others[0])}
    mm.unload_all_models()
    assert loaded_networks() == set()
    assert torch.equal(taking.score(x), plain.score(x)) and len(loaded_networks()) == 2


def test_networks_take_turns(monkeypatch):
    """Where the device holds one network at a time, each use moves the other away and is still right."""
    one, two = Linear(3, 3), Linear(3, 3)
    taking = [managed.TurnTaker(n, CPU) for n in (one, two)]
    order, real = [], mm.load_models_gpu

    def room_for_one(models, **kwargs):
        mm.unload_all_models()
        order.append(id(models[0].model.parts[0]))
        assert kwargs["force_full_load"], "plain modules cannot run half loaded"
        return real(models, **kwargs)

    monkeypatch.setattr(mm, "load_models_gpu", room_for_one)
    x = torch.ones(1, 3)
    for n in (0, 1, 0):
        assert torch.equal(taking[n](x), (one, two)[n](x))
        assert loaded_networks() == {id((one, two)[n])}
    assert order == [id(one), id(two), id(one)]


def text_denoiser():
    tokenizer = WordTokenizer(["mug", "red"], 16)
    clip = ClipScorer(embedded.build_clip(tokenizer.vocab_size).eval(), tokenizer, 64)
    runtime = LatentRuntime(embedded.build_unet(False).eval(), embedded.build_vae().eval(), scaled_linear_alphas(),
                            "epsilon", 64)
    return TextDenoiser(runtime, clip)


@pytest.fixture(scope="module")
def plain_text():
    return text_denoiser()


def test_a_managed_denoiser_predicts_the_same(plain_text):
    """UNet and text tower are ComfyUI's to move; the autoencoder, which gradients cross, is not."""
    both = managed.under_management(plain_text, CPU)
    assert both.runtime.vae is plain_text.runtime.vae
    noisy, t = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0)), torch.tensor([10, 900])
    cameras = Cameras.orbit(torch.tensor([0.0, 2.0]), 0.1, 2.0, 0.8, 64, 64)
    conditioned = both.with_prompt("a red mug").with_guidance(3.0)
    unet, tower = id(plain_text.runtime.unet), id(plain_text.encoder.model)
    assert loaded_networks() == {tower}
    mm.unload_all_models()
    expected = plain_text.with_prompt("a red mug").with_guidance(3.0).predict_noise(noisy, t, cameras)
    assert torch.equal(conditioned.predict_noise(noisy, t, cameras), expected) and loaded_networks() == {unet}
    picture = torch.rand(1, 64, 64, 3).requires_grad_()
    conditioned.encode(picture).sum().backward()
    assert float(picture.grad.abs().max()) > 0 and loaded_networks() == {unet}


def test_on_a_cpu_there_is_nothing_to_manage(plain_text, tmp_path, monkeypatch):
    assert managed.take_turns(plain_text, CPU) is plain_text

    def refuse(*args, **kwargs):
        raise AssertionError("nothing may be moved")

    monkeypatch.setattr(mm, "free_memory", refuse)
    managed.make_room(tmp_path, CPU)


def test_room_is_made_before_loading(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(mm, "free_memory", lambda size, device: asked.append((size, device)))
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "a.safetensors").write_bytes(bytes(1000))
    (tmp_path / "readme.md").write_bytes(bytes(5000))
    managed.make_room(tmp_path, torch.device("meta"))
    managed.make_room(tmp_path / "readme.md", torch.device("meta"))
    assert [size - mm.extra_reserved_memory() for size, _ in asked] == pytest.approx([1100, 5500])
    assert managed.disk_size(tmp_path) == 1000


def test_weights_that_another_node_moved_can_be_differentiated():
    """ComfyUI's nodes run in inference mode: what they move away comes back as inference tensors."""
    network = torch.nn.Sequential(Linear(3, 3), torch.nn.BatchNorm1d(3)).eval().requires_grad_(False)
    taking = managed.TurnTaker(network, CPU)
    x = torch.rand(2, 3).requires_grad_()
    expected = torch.autograd.grad(taking(x).square().sum(), x)[0]
    with torch.inference_mode():
        for part in network.modules():
            part._parameters.update({k: torch.nn.Parameter(v.clone(), False) for k, v in part._parameters.items()})
            part._buffers.update({k: v.clone() for k, v in part._buffers.items()})
        taking(x.detach())
    with pytest.raises(RuntimeError, match="[Ii]nference"):
        network(x)
    assert torch.equal(torch.autograd.grad(taking(x).square().sum(), x)[0], expected)


def test_stand_ins_pass_for_what_they_stand_for(plain_text):
    both = managed.under_management(plain_text, CPU)
    assert isinstance(both.encoder, ClipScorer) and isinstance(both.runtime.unet, torch.nn.Module)
    assert both.runtime.unet.dtype == torch.float32 and both.runtime.unet.config.in_channels == 4


def test_a_managed_network_learns_words(plain_text):
    """Textual inversion reaches token tables through the stand-ins, and its gradient is the same."""
    def slope(denoiser):
        inverter = DenoiserInverter(denoiser)
        word = LearnedWord("thing", {k: v.requires_grad_() for k, v in inverter.start("mug").items()})
        noisy = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
        condition = inverter.condition(["a embedding:thing"], word)
        inverter.noise(noisy, torch.tensor([300]), condition).square().mean().backward()
        return word.vectors["clip_l"].grad

    mm.unload_all_models()
    managed_slope = slope(managed.under_management(plain_text, CPU))
    assert torch.equal(managed_slope, slope(plain_text)) and float(managed_slope.abs().max()) > 0


def test_copies_and_odd_names_are_the_targets():
    taking = managed.TurnTaker(scorer(), CPU)
    twin = copy.deepcopy(taking)
    assert isinstance(twin, Scorer) and twin.first is not taking.first
    with pytest.raises(AttributeError):
        taking.no_such_thing  # noqa: B018
