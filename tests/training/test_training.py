"""The training scripts: what a depth-text network is shown, and where it starts."""

import importlib

import numpy as np
import pytest
import torch
from conftest import ROOT
from lift123.pipelines.loaders import embedded
from lift123.pipelines.toybox.objects import train_seed

Linear = torch.nn.Linear


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "training"))
    return importlib.import_module("bank"), importlib.import_module("networks"), importlib.import_module("train")


def test_depth_maps_are_the_banks_views_and_continue_after_an_interruption(scripts, tmp_path):
    bank, _, _ = scripts
    seeds = [train_seed(i) for i in range(3)]
    whole = np.array(bank.make_depth_maps(tmp_path / "a", seeds, 2, 16, log=lambda *a, **k: None))
    assert whole.shape == (3, 2, 2, 16, 16) and whole.min() == -1 and 0.5 < whole.max() <= 1
    bank.make_bank(tmp_path / "bank", seeds, 2, log=lambda *a, **k: None)
    pictures = bank.Bank(tmp_path / "bank")
    for i in range(3):
        for view in range(2):  # where the white background is, nothing is near, and the other way round
            covered = (1 - pictures.pictures(i, view)).amax(-1).reshape(16, 4, 16, 4).amax((1, 3)).numpy() > 0.02
            assert (whole[i, view, 0][~covered] == -1).all() and (whole[i, view, 0][covered] > -1).mean() > 0.75
    assert (whole[:, :, 0] > -1).any() and not np.array_equal(whole[:, :, 0], whole[:, :, 1])


    (tmp_path / "b").mkdir()
    part = np.lib.format.open_memmap(tmp_path / "b" / "depth_maps.npy", "w+", np.float16, whole.shape)
    part[:2] = 7
    part.flush()
    (tmp_path / "b" / "depth_maps.json").write_text('{"done": 2, "total": 3}')
    again = bank.make_depth_maps(tmp_path / "b", seeds, 2, 16, log=lambda *a, **k: None)
    assert (again[:2] == 7).all() and np.array_equal(again[2], whole[2])


def test_the_depth_network_starts_as_the_text_network_whatever_the_depth(scripts, tmp_path):
    _, networks, train = scripts
    assert train.STAGES.index("depth_text") == train.STAGES.index("text") + 1 and "depth_text" in train.STEPS
    text, deep = embedded.build_unet(False).eval(), embedded.build_unet(False, depth=True).eval()
    embedded.save_module(text, tmp_path / "text.safetensors")
    networks._start_from(deep, tmp_path / "text.safetensors")
    text = embedded.load_module(text, tmp_path / "text.safetensors")  # rounded to fp16, as saved
    generator = torch.Generator().manual_seed(0)
    x, depth, context = (torch.randn(1, c, *s, generator=generator) for c, s in ((4, (16, 16)), (1, (16, 16)), (5, (128,))))
    with torch.no_grad():
        assert torch.equal(deep(torch.cat([x, depth], 1), 500, context).sample, text(x, 500, context).sample)
        deep.conv_in.weight[:, 4:] += 0.1
        assert not torch.equal(deep(torch.cat([x, depth], 1), 500, context).sample, text(x, 500, context).sample)


def test_the_floor_gives_weight_where_noise_prevails_and_only_there(scripts):
    _, networks, _ = scripts
    alphas, x0 = torch.tensor([0.9, 0.05]), torch.ones(4, 1, 2, 2)

    def loss(index, floor):
        class Fixed:
            def integers(self, low, high, size):
                return np.full(size, index)

        generator = torch.Generator().manual_seed(0)
        return float(networks.diffusion_loss(lambda x, t: x * 0, x0, Fixed(), alphas, generator, floor))

    assert loss(0, 0.5) == loss(0, 0.0)
    assert loss(1, 0.5) == pytest.approx(10 * loss(1, 0.0), rel=1e-4)  # snr / (snr + 1) = abar = 0.05 -> 0.5


def test_a_second_round_starts_the_rate_anew_and_goes_on_where_it_was_interrupted(scripts, tmp_path):
    loop = importlib.import_module("loop")
    rates, module = [], Linear(1, 1)

    def loss_of_batch(step):
        return module(torch.ones(1, 1)).square().mean()

    def run(steps, **more):
        seen = []
        loop.train(module, lambda step: seen.append(step) or loss_of_batch(step), steps, tmp_path, rate=0.1, warmup=1, **more)
        state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
        rates.append(state["optimizer"]["param_groups"][0]["lr"])
        return seen, state["step"]

    assert run(4) == ([0, 1, 2, 3], 4)
    assert run(4) == ([], 4) and rates[-1] < 0.02
    assert run(3, anew=True) == ([4, 5, 6], 7)
    assert run(3) == ([], 7), "said once: the round is over"
    assert run(5) == ([7, 8], 9), "and may be made longer"
    assert rates[2] == pytest.approx(0.1 * 0.5 * (1 + np.cos(np.pi * 2 / 3)))
