"""The recipe for a distillation method: short files, one line of registration, and everything else follows from it."""

import ast
from dataclasses import dataclass

import pytest
import torch
from helpers.comfy_modules import prepare
from helpers.gaussians import Gaussians
from helpers.sources import ROOT

prepare()
from lift123.nodes.distillation import Distillation as Node
from lift123.nodes.distillation import parse_options
from lift123.pipelines.core.cameras import Cameras
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.distill import registry
from lift123.pipelines.distill.plug import Distillation, How, Paper
from lift123.pipelines.distill.voices import Voices
from lift123.pipelines.priors.sds import SdsPrior, SdsSettings


@dataclass(frozen=True)
class Halved(Distillation):
    """share of the guided answer: what somebody's first method may look like."""

    share: float = 0.5

    paper = Paper("nobody's", 2.0, (0.1, 0.9), "uniform")

    def direction(self, draw):
        return self.share * draw.voices.guided(draw.noisy(), draw.t, draw.cameras)


def test_a_method_is_one_short_file_and_one_line():
    folder = ROOT / "pipelines" / "distill"
    table = (folder / "registry.py").read_text(encoding="utf-8")
    for name, kind in registry.METHODS.items():
        source = (folder / f"{name}.py").read_text(encoding="utf-8")
        assert len(source.splitlines()) <= 80, name
        assert table.count(f'"{name}": {kind.__name__},') == 1
        assert [n.name for n in ast.parse(source).body if isinstance(n, ast.ClassDef)] == [kind.__name__]


def test_a_new_line_in_the_registry_is_all_that_node_and_prior_need(monkeypatch):
    monkeypatch.setitem(registry.METHODS, "halved", Halved)
    method = next(i for i in Node.define_schema().inputs if i.id == "method")
    assert "halved" in method.options
    spec = Node.run("halved", "prior", "paper", False, "share: 0.25", "").args[0]
    assert spec.how == How("halved", parse_options("share: 0.25"), "", False, "prior")
    with pytest.raises(InputError, match="shape"):
        Node.run("halved", "prior", "paper", False, "shape: 1", "")
    network, cameras = Gaussians(guidance=3.0), Cameras.orbit(torch.zeros(2), 0.1, 3.0, 0.4, 8, 8)

    def gradient(share):
        settings = SdsSettings(how=How("halved", (("share", share),)))
        prior = SdsPrior(network, settings, "text", Voices(network, network.with_prompt, ""))
        images = torch.full((2, network.image_size, network.image_size, 3), 0.5, requires_grad=True)
        prior.loss(images, cameras, 0.3, torch.Generator().manual_seed(0)).sum().backward()
        return images.grad

    half, whole = gradient(0.5), gradient(1.0)
    assert float(whole.abs().sum()) > 0 and torch.allclose(2 * half, whole, rtol=1e-4, atol=1e-9)
