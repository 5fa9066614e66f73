"""tiny-cuda-nn's twin against the built-in field: by a stand-in that computes what the library documents, or by the library."""

from types import SimpleNamespace

import pytest
import torch
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.fields.hash_nerf import HashNerf, HashNerfConfig
from lift123.pipelines.ops import accelerators
from lift123.pipelines.ops.hashgrid import HashGridConfig, encode_reference
from lift123.pipelines.ops.tiny_cuda import TinyCudaField

CONFIG = HashNerfConfig(HashGridConfig(levels=4, log2_table=9, base=4, finest=24), hidden=24, layers=2)
HERE = accelerators.found()["tinycudann"] and torch.cuda.is_available()


class Encoding(torch.nn.Module):
    """The library's hash grid: one flat parameter, levels after each other, answers in half."""

    def __init__(self, inputs, config, extra=0):
        super().__init__()
        assert inputs == 3 and config["otype"] == "HashGrid" and config["n_features_per_level"] == 2
        levels, base = config["n_levels"], config["base_resolution"]
        self.grid = HashGridConfig(levels, 2, config["log2_hashmap_size"], base,
                                   round(base * config["per_level_scale"] ** (levels - 1)),
                                   config["interpolation"] == "Smoothstep")
        self.params = torch.nn.Parameter(torch.zeros(2 * self.grid.rows + extra))

    def forward(self, x):
        return encode_reference(x, self.params.reshape(-1, 2), self.grid).half()


class Network(torch.nn.Module):
    """The library's fused network: row-major matrices without biases, one after the other, ReLU between."""

    def __init__(self, inputs, outputs, config):
        super().__init__()
        wide = config["n_neurons"]
        assert inputs % 16 == 0 and outputs == 16 and wide in (16, 32, 64, 128) and config["activation"] == "ReLU"
        self.sizes = [(wide, inputs), *[(wide, wide)] * (config["n_hidden_layers"] - 1), (outputs, wide)]
        self.params = torch.nn.Parameter(torch.zeros(sum(a * b for a, b in self.sizes)))

    def forward(self, x):
        start, x = 0, x.half().float()
        for rows, columns in self.sizes:
            matrix = self.params[start : start + rows * columns].reshape(rows, columns)
            x, start = x @ matrix.T, start + rows * columns
            x = torch.relu(x) if start < len(self.params) else x
        return x.half()


LIBRARY = SimpleNamespace(Encoding=Encoding, Network=Network)


def field(device="cpu"):
    made = HashNerf(CONFIG, torch.Generator().manual_seed(1)).to(device)
    made.accumulate_in_place = False
    with torch.no_grad():
        made.table.mul_(3000)  # a trained table's size
    return made


def engine():
    return TinyCudaField(LIBRARY, CONFIG.grid, CONFIG.hidden, CONFIG.layers)


def both(accelerated, device="cpu", live=None):
    """(density logit, albedo, gradients) of the built-in field and of its twin with the same state."""
    out = []
    for twin in (None, accelerated):
        one = field(device)
        one.engine, one.live_levels = twin, live
        x = (torch.rand(40, 3, generator=torch.Generator().manual_seed(2)) * 2 - 1).to(device).requires_grad_()
        density, albedo = one.log_density(x), one.albedo(x)
        grads = torch.autograd.grad((density.sum() + 3 * albedo.square().sum()), [x, *one.parameters()])
        out.append((density, albedo, *grads))
    return out


def agree(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        assert float((a - b).detach().norm()) < 0.02 * float(a.detach().norm()) + 1e-6


@pytest.mark.parametrize("live", [None, 2])
def test_the_twin_gives_the_fields_answers_and_gradients_within_half_precision(live):
    agree(*both(engine(), live=live))


def test_state_converts_both_ways():
    twin, one = engine(), field()
    layers = [(layer.weight, layer.bias) for layer in one._linears()]
    shapes = [tuple(w.shape) for w, _ in layers]
    flat = twin.pack(layers)
    for (weight, bias), (w, b) in zip(layers, twin.unpack(flat, shapes), strict=True):
        assert torch.equal(weight, w) and torch.equal(bias, b)
    for (weight, bias), (w, b) in zip(layers, twin.unpack(flat.half(), shapes), strict=True):
        assert torch.allclose(weight, w, rtol=1e-3, atol=1e-6) and torch.allclose(bias, b, rtol=1e-3, atol=1e-6)
    assert set(one.state_dict()) == set(field().state_dict())  # a scene does not know who computed it


def test_what_cannot_be_used_is_said():
    with pytest.raises(InputError, match="numbers of"):
        TinyCudaField(SimpleNamespace(Encoding=lambda *a: Encoding(*a, extra=8), Network=Network), CONFIG.grid, 24, 2)
    with pytest.raises(InputError, match="128 neurons"):
        TinyCudaField(LIBRARY, CONFIG.grid, 128, 2)
    assert accelerators.choose_engine("built-in", CONFIG.grid, 24, 2, "cpu") is None
    assert accelerators.choose_engine("fastest", CONFIG.grid, 24, 2, "cpu") is None
    with pytest.raises(InputError, match="CUDA device"):
        accelerators.choose_engine("tiny-cuda-nn", CONFIG.grid, 24, 2, "cpu")
    with pytest.raises(ValueError, match="field_engine"):
        accelerators.choose_engine("keops", CONFIG.grid, 24, 2, "cpu")


@pytest.mark.skipif(not HERE, reason="tiny-cuda-nn with a CUDA device is not on this machine")
def test_the_library_itself_keeps_the_contract():
    agree(*both(accelerators.choose_engine("tiny-cuda-nn", CONFIG.grid, 24, 2, "cuda"), "cuda"))
