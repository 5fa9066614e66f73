"""Stages divide by what the released codes divide by, or by what the configuration says instead."""

from dataclasses import replace

import pytest
from helpers.tiny_stages import NERF, OFF, reference
from lift123.pipelines.core.schedules import Constant
from lift123.pipelines.render import volume
from lift123.pipelines.stages.objects.fit_nerf import fit_nerf


def test_regularizers_of_samples_run_over_all_that_were_marched(monkeypatch):
    """The first step of an untrained field, whose middle is opaque: half of the samples are never queried."""
    counts = {}
    look = volume._Look.render

    def counting(self, rays, image):
        layers, extras = look(self, rays, image)
        counts.update(marched=len(extras["marched"]), queried=len(extras["samples"]))
        return layers, extras

    monkeypatch.setattr(volume._Look, "render", counting)
    on = {name: Constant(1.0) for name in OFF}
    dense = replace(NERF.volume, step=0.02, max_samples=200)
    seen = {}
    for averages in ("marched", "visible"):
        config = replace(NERF, **on, volume=dense, iterations=1, averages=averages)
        fit_nerf(reference(), None, config, on_step=lambda s, averages=averages: seen.update({averages: s.losses}))
    ratio = counts["marched"] / counts["queried"]
    assert ratio > 1.2
    for name in ("orientation", "entropy"):
        assert seen["visible"][name] / seen["marched"][name] == pytest.approx(ratio, rel=1e-2), name
    assert seen["visible"]["normal_3d"] != seen["marched"]["normal_3d"]
    for name in ("rgb", "mask", "normal_tv", "normal_blur"):
        assert seen["visible"][name] == seen["marched"][name], name


def test_color_and_mask_losses_of_a_stage_follow_the_configuration():
    """One step each, of the same untrained field against a picture with a soft rim."""
    found = {}
    for name, change in {
        "released": {}, "ours": {"rgb_over": "mask", "mask_against": "alpha"}
    }.items():
        config = replace(NERF, iterations=1, rgb_inside=True, rgb=Constant(1.0), mask=Constant(1.0), **change)
        fit_nerf(reference(), None, config, on_step=lambda s, name=name: found.update({name: s.losses}))
    covered = float((reference().resized(NERF.reference_size).alpha > 0.5).float().mean())
    assert 0 < covered < 1
    assert found["released"]["rgb"] / found["ours"]["rgb"] == pytest.approx(covered, rel=1e-4)
    assert found["released"]["mask"] != found["ours"]["mask"]
