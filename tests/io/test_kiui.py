"""kiui as a second opinion on cameras, mesh files and LPIPS, where it is installed.  ``kiui.render`` is never imported."""

import builtins
import math
import sys

import numpy as np
import pytest
import torch
from lift123.pipelines.core.cameras import Cameras
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.io.glb import write_glb
from lift123.pipelines.metrics import perceptual
from lift123.pipelines.ops import accelerators

HERE = accelerators.found()["kiui"]
needs_kiui = pytest.mark.skipif(not HERE, reason="kiui is not installed here (pip install lift123[kiui])")


@needs_kiui
@pytest.mark.parametrize("azimuth, elevation", [(0.0, 0.0), (40.0, 25.0), (-130.0, -10.0)])
def test_cameras_and_rays_agree(azimuth, elevation):
    cam = pytest.importorskip("kiui.cam")
    ours = Cameras.orbit(math.radians(azimuth), math.radians(elevation), 2.5, math.radians(35), 5, 7)
    pose = cam.orbit_camera(-elevation, azimuth, 2.5)  # its elevation is positive below the horizon
    assert np.allclose(ours.c2w[0].numpy(), pose, atol=1e-5)
    _, local = cam.get_rays(np.eye(4, dtype=np.float32), ours.height, ours.width, 35.0)  # under a turned pose 0.2.20's
    rays = ours.rays()  # rays turn the other way: numpy's transpose(0, 1) changes nothing
    there = torch.nn.functional.normalize(rays.directions[0], dim=-1)
    assert np.allclose(there.numpy(), local @ pose[:3, :3].T, atol=1e-5)
    assert np.allclose(rays.origins[0].numpy(), np.broadcast_to(pose[:3, 3], local.shape), atol=1e-5)


@needs_kiui
def test_mesh_files_agree(tmp_path):
    mesh = pytest.importorskip("kiui.mesh")
    from helpers.tiny_stages import box

    ours = box()
    write_glb(tmp_path / "box.glb", ours)
    theirs = mesh.Mesh.load(str(tmp_path / "box.glb"), resize=False, device=torch.device("cpu"), renormal=False)
    here, there = (v.detach()[f.long()].sum(1) for v, f in ((ours.vertices, ours.faces), (theirs.v, theirs.f)))
    assert here.shape == there.shape and torch.cdist(here, there).amin(1).max() < 1e-4


@needs_kiui
def test_lpips_by_kiui_is_lpips(tmp_path, monkeypatch):
    """The same random backbone and the published heads, through both packages."""
    package = pytest.importorskip("lpips")
    reference = package.LPIPS(net="alex", pnet_rand=True, verbose=False).eval()
    features = {"features." + k.split(".", 1)[1]: v for k, v in reference.net.named_parameters()}
    torch.save(features, tmp_path / perceptual.BACKBONES["alex"])
    torch.save({k: v for k, v in reference.state_dict().items() if k.startswith("lin") and "lins" not in k},
               tmp_path / perceptual.HEADS["alex"])
    a, b = torch.rand(2, 2, 64, 64, 3, generator=torch.Generator().manual_seed(0))
    wanted = perceptual.load_lpips("alex", [tmp_path])(a, b)
    hide(monkeypatch, "lpips")
    assert torch.allclose(perceptual.load_lpips("alex", [tmp_path])(a, b), wanted, rtol=1e-4, atol=1e-6)
    assert "kiui.render" not in sys.modules


def test_without_either_package_the_error_says_what_to_install(tmp_path, monkeypatch):
    torch.save({}, tmp_path / perceptual.BACKBONES["alex"])
    hide(monkeypatch, "lpips")
    monkeypatch.setattr(perceptual, "found", lambda: {"kiui": False})
    with pytest.raises(InputError, match="pip install lpips"):
        perceptual.load_lpips("alex", [tmp_path])
    monkeypatch.setattr(perceptual, "found", lambda: {"kiui": True})
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "none"))
    with pytest.raises(InputError, match="kiui with the file alex.pth"):
        perceptual.load_lpips("alex", [tmp_path])


def hide(monkeypatch, name):
    """Lets ``import name`` fail."""
    real = builtins.__import__

    def without(module, *args, **kwargs):
        if module == name:
            raise ImportError(f"No module named {name!r}")
        return real(module, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
