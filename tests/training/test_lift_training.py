"""Training of the lifted view prior: its gradients, its losses and its recipe."""

import contextlib
import importlib

import numpy as np
import pytest
import torch
from conftest import ROOT
from helpers.lift_random import random_net
from lift123.pipelines.core.cameras import HOME
from lift123.pipelines.loaders import embedded
from lift123.pipelines.networks import lifted
from lift123.pipelines.networks.lifted import COLUMNS, EMPTY, FIELDS, SIDE, SLICES, Lifted, LiftNet
from lift123.pipelines.toybox.objects import train_seed

QUIET = lambda *a, **k: None  # noqa: E731


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "training"))
    return {name: importlib.import_module(name) for name in ("bank", "lift", "lift_rows", "train", "measure")}


@pytest.fixture
def bank(scripts, tmp_path):
    for version in (1, 2):
        scripts["bank"].make_bank(tmp_path / f"b{version}", [train_seed(i) for i in range(2)], 5, log=QUIET, version=version)
    return scripts["bank"].Bank(tmp_path / "b1", tmp_path / "b2")


def test_the_fast_gradient_of_summed_rows_is_the_plain_one(scripts):
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(40, FIELDS, generator=generator).requires_grad_()
    index, weight = torch.randint(0, 40, (300, 8), generator=generator), torch.rand(300, 8, generator=generator)
    toward = torch.randn(300, FIELDS, generator=generator)
    grads = []
    for gather in (lifted.sum_rows, scripts["lift_rows"].sum_rows):
        out = gather(index, table, weight)
        assert torch.allclose(out, (table[index] * weight[..., None]).sum(1), atol=1e-5)
        grads.append(torch.autograd.grad((out * toward).sum(), table)[0])
    assert torch.allclose(*grads, atol=1e-4)


def test_the_surface_loss_vanishes_where_outline_and_depth_are_the_references(scripts, bank):
    """A volume is filled from the bank's depth inwards: what is left of the loss is half a voxel (0.03), and outlines' pixels."""
    lift, picks = scripts["lift"], np.array([0, 3])
    mask = torch.from_numpy(np.array(bank.mask[picks])).float() / 255
    depth = torch.from_numpy(np.array(bank.depth[picks])).float()
    solid = torch.nn.functional.avg_pool2d(mask, 2) > 0.99
    place = torch.nn.functional.avg_pool2d(mask * (depth - HOME.radius) / lift.FRAME, 2)
    w = (torch.arange(SLICES) + 0.5) / SLICES * 2 - 1

    def loss(shift):
        voxels = torch.zeros(2, COLUMNS, COLUMNS, SLICES, FIELDS)
        behind = (w > place[..., None] + shift) & solid[..., None]
        voxels[..., 0] = torch.where(behind, torch.tensor(30.0), torch.tensor(EMPTY))
        table = torch.cat([torch.zeros(1, FIELDS), voxels.flatten(0, 3)])
        columns = 1 + SLICES * torch.arange(2 * COLUMNS**2).reshape(2, COLUMNS, COLUMNS)
        return float(lift.surface_loss(Lifted(table, columns, torch.zeros(2, SIDE, SIDE, 4)), bank, picks))

    assert loss(0.0) < 0.05 and min(loss(0.3), loss(-0.3)) > loss(0.0) + 0.03


class Enough(Exception):
    """Ends a training whose end nobody looks at."""


def test_a_few_steps_lower_the_loss_and_are_the_same_twice(scripts, bank, tmp_path, monkeypatch):
    curves = []
    for name, last in (("one", 24), ("two", 10)):
        values, plain = [], scripts["lift"].train

        def watched(module, loss_of_batch, steps, out, values=values, plain=plain, last=last, **options):
            def loss(step):
                if step == last:
                    raise Enough
                values.append(loss_of_batch(step))
                return values[-1]
            return plain(module, loss, steps, out, **options)

        monkeypatch.setattr(scripts["lift"], "train", watched)
        (tmp_path / name).mkdir()
        monkeypatch.setattr(scripts["lift"], "LiftNet", random_net)
        with contextlib.suppress(Enough):
            scripts["lift"].train_lift(bank, tmp_path / name / "lift", tmp_path / name, 24, batch=3, drawn=2, views=2,
                                       rate=1e-2)
        monkeypatch.setattr(scripts["lift"], "train", plain)
        curves.append([float(v.detach()) for v in values])
    assert curves[0][:10] == curves[1] and len(curves[0]) == 24
    assert np.mean(curves[0][-6:]) < 0.9 * np.mean(curves[0][:6])
    net = embedded.load_module(LiftNet(), tmp_path / "one" / embedded.LIFTED)
    scores, pictures = scripts["lift"].lift_scores(net, bank, samples=8)
    assert scores.shape == (4, 2) and pictures.shape == (4, 2, SIDE, SIDE, 3) and bool(scores.isfinite().all())


def test_it_is_a_stage_of_train_embedded(scripts, tmp_path):
    train = scripts["train"]
    assert train.STAGES.index("lift") == train.STAGES.index("bank") + 1 and "lift" in train.STEPS
    (tmp_path / "lift").mkdir()
    torch.save({"step": 7, "spent": 120.0}, tmp_path / "lift" / "checkpoint.pt")
    assert scripts["measure"].training_of("view", tmp_path) == {"steps": 7, "training minutes": 2.0}
    assert scripts["measure"].training_of("text", tmp_path) == {}
