"""Optional accelerators: chosen by one setting, found without being imported, and held to the same contract."""

import sys
from dataclasses import replace

import pytest
import torch
from helpers import tiny_stages
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.ops import accelerators
from lift123.pipelines.ops.rasterizers import REFERENCE, WARP
from lift123.pipelines.render.surface import render_surface
from lift123.pipelines.stages.objects.refine_mesh import refine_mesh

INSTALLED = ["built-in"] + (["nvdiffrast"] if accelerators.found()["nvdiffrast"] and torch.cuda.is_available() else [])


def test_without_libraries_nothing_changes(monkeypatch):
    monkeypatch.setattr(accelerators, "found", lambda: dict.fromkeys(accelerators.LIBRARIES, False))
    assert accelerators.choose_rasterizer("built-in", "cpu") is WARP is accelerators.choose_rasterizer("fastest", "cpu")
    assert "found: none" in accelerators.told()
    with pytest.raises(InputError, match="nvdiffrast"):
        accelerators.choose_rasterizer("nvdiffrast", "cpu")
    with pytest.raises(ValueError, match="built-in"):
        accelerators.choose_rasterizer("opengl", "cpu")


def test_looking_imports_nothing():
    before = set(sys.modules)
    assert set(accelerators.found()) == {"nvdiffrast", "tinycudann", "kiui"}
    assert not {m for m in set(sys.modules) - before if m.split(".")[0] in accelerators.LIBRARIES}


@pytest.mark.parametrize("name", INSTALLED)
def test_every_rasterizer_that_is_here_draws_what_the_specification_draws(name):
    device = "cpu" if name == "built-in" else "cuda"
    rasterizer = accelerators.choose_rasterizer(name, device)
    camera = tiny_stages.reference().camera.resized(24, 24)
    ours = render_surface(tiny_stages.box().to(device), camera.to(device), grad=False, rasterizer=rasterizer)
    wanted = render_surface(tiny_stages.box(), camera, grad=False, rasterizer=REFERENCE)
    assert float((ours.alpha.cpu() - wanted.alpha).abs().mean()) < 0.01
    assert float((ours.rgb.cpu() - wanted.rgb).abs().mean()) < 0.01


def test_the_mesh_stage_uses_the_one_it_is_told():
    config = replace(tiny_stages.MESH, iterations=1)
    plain, fastest = (refine_mesh(None, tiny_stages.nerf(), replace(config, rasterizer=r)) for r in ("built-in", "fastest"))
    assert tiny_stages.same(plain, fastest) or torch.cuda.is_available()
    with pytest.raises(InputError, match="nvdiffrast"):
        refine_mesh(None, tiny_stages.nerf(), replace(config, rasterizer="nvdiffrast"))
