"""Ablations: the acts of Consistent123 one by one, the papers' variants, records of runs, pages from records."""

from dataclasses import replace
from types import SimpleNamespace

import ablations
import bench_papers
import bench_runs
import papers_report
import pytest
import torch
from helpers.counted import networks, small
from helpers.sources import ROOT
from helpers.tiny_stages import SIZE
from helpers.tiny_stages import reference as _reference
from lift123.pipelines import consistent123, magic123
from lift123.pipelines.io.runs import read_run
from lift123.pipelines.stages.results.evaluate import EvaluateSettings, Networks
from lift123.pipelines.toybox.objects import heldout_seed, make_object


def short(**changes):
    preset = small(consistent123.QUICKSTART)
    return replace(replace(preset, boundary=replace(preset.boundary, interval=2, views=2, size=SIZE)), **changes)


def test_a_shared_first_act_changes_nothing():
    preset, models = short(), networks()
    whole = consistent123.run(_reference(), models, preset, seed=3)
    first = consistent123.explore(_reference(), networks(), preset, seed=3)
    assert first.step == first.switch_step == whole.switch_step < 16
    rest = networks()
    parts = consistent123.run(_reference(), rest, preset, scene=first)
    assert parts.switch_step == whole.switch_step and rest.clip.asked == 0, "the boundary has been found already"
    assert all(torch.equal(parts.tensors[k], v) for k, v in whole.tensors.items())


def test_without_text_the_3d_prior_is_alone_and_without_boundary_the_ramp_begins_at_once():
    seen = 16 - 2 + 6  # the first two steps look at the picture only
    models = networks()
    models.text = None
    alone = consistent123.run(_reference(), models, short(), seed=0)
    assert alone.switch_step is None and models.clip.asked == 0 and models.view.predicted == seen
    models = networks()
    single = consistent123.run(_reference(), models, short(boundary=None), seed=0)
    assert single.switch_step == 0 and models.clip.asked == 0
    assert models.view.predicted == models.text.predicted == seen


# ------------------------------------------------------------------------------------ definitions and records


def test_every_variant_differs_from_the_papers_choice_in_what_it_says():
    """Paper's numbers of C-D.4 as factors of the default; nothing else changes."""
    suite = ablations.short_ablations()
    assert set(suite) == {"two_stages", "schedules", "loss_weights", "boundary", "strategies", "prior_trade_off", "coarse_fine",
                          "weight_3d", "weight_2d"}
    base = suite["schedules"].variants[0].preset
    by_name = {v.name: v for ablation in suite.values() for v in ablation.variants}
    for ablation in suite.values():
        for variant in ablation.variants:
            assert bench_runs.settings_of(variant) == bench_runs.settings_of(by_name[variant.name]), "one name, one run"
    keys = [bench_runs.digest(bench_runs.settings_of(v)) for v in by_name.values()]
    assert len(set(keys)) == len(keys), "no run twice under two names"
    page = (ROOT / "docs" / "ablations.md").read_text(encoding="utf-8")
    assert f"{len(keys)} different runs per object and seed serve nine tables" in page and len(suite) == 9

    def factors(name):
        preset = by_name[name].preset
        assert replace(preset, nerf=base.nerf, mesh=base.mesh) == base
        assert replace(preset.nerf, rgb=base.nerf.rgb, mask=base.nerf.mask, depth=base.nerf.depth) == base.nerf
        got = [getattr(preset.nerf, k)(0.5) / getattr(base.nerf, k)(0.5) for k in ("rgb", "mask", "depth")]
        assert [getattr(preset.mesh, k)(0.5) for k in ("rgb", "mask")] == pytest.approx(
            [getattr(base.mesh, k)(0.5) * f for k, f in zip(("rgb", "mask"), got)])
        return got

    assert factors("weights-a") == [1, 1, 0] and factors("weights-b") == pytest.approx([0.01, 2, 50])
    assert factors("weights-c") == pytest.approx([0.5, 0.02, 100]) and factors("weights-d") == pytest.approx([0.8, 1.2, 40])
    rules = {n[-1]: by_name[n].preset.boundary for n in by_name if n.startswith("boundary-")}
    assert {n: (r.window, r.threshold / base.boundary.threshold) for n, r in rules.items()} == {
        "a": (1, pytest.approx(0.1)), "b": (20, pytest.approx(0.1)), "c": (5, pytest.approx(0.4)), "d": (5, pytest.approx(4))}
    window = round(base.boundary.ceiling * base.nerf.iterations) - round(base.boundary.floor * base.nerf.iterations)
    assert window // base.boundary.interval + 1 >= 20 + 1 + 3, "L = 20 has room to fire"
    a, b, c = (by_name[f"strategy-{n}"].preset for n in "abc")
    assert a.boundary.floor == a.boundary.ceiling == 3000 / 5000 and b == replace(base, full_2d=True)
    assert (c.boundary, c.clock, c.stretch) == (None, "global", 1.5)
    assert by_name["3d"].use == "view" and by_name["dynamic"].preset == replace(base, boundary=None)


def test_magic123s_variants():
    by_name = {v.name: v for a in ablations.short_ablations().values() for v in a.variants}
    scales = {n: by_name[n].preset.view.weight(0.5) for n in by_name if n.startswith("lambda-3D")}
    assert scales == {"lambda-3D-10": 0.25, "lambda-3D-20": 0.5, "lambda-3D-60": 1.5, "lambda-3D-80": 2.0}
    assert by_name["lambda-2D-0p1"].preset.mesh_text.weight(0.5) == 0.1 and by_name["lambda-2D-0p1"].use == "text"
    assert [v.ratio for v in ablations.short_ablations()["prior_trade_off"].variants if v.use == "both"] == [1, 0.1, 0.5, 2, 5]


def test_printed_tables_are_the_specs():
    suite = ablations.short_ablations()
    assert suite["boundary"].papers["C10"]["psnr"]["boundary-d"] == 23.398
    assert suite["strategies"].papers["RF15"]["clip"] == {"default": 0.844, "strategy-a": 0.813, "strategy-b": 0.813,
                                                        "strategy-c": 0.825}
    for ablation in suite.values():
        for metrics in ablation.papers.values():
            assert set(metrics) == {"clip", "psnr", "lpips"}
            assert all(list(m) == [v.name for v in ablation.variants] for m in metrics.values())


@pytest.fixture
def tiny(monkeypatch):
    """Consistent123 in a few steps with networks that only count, on the benchmark's first object."""
    preset = short()
    preset = replace(preset, reference_size=SIZE * 2, name="tiny")
    magic = replace(small(magic123.QUICKSTART), reference_size=SIZE * 2)
    suite = {
        "default": ablations.Variant("default", "as published", preset),
        "linear": ablations.Variant("linear", "linear", replace(preset, form="linear")),
        "both": ablations.Variant("both", "1", magic, coarse=True),
        "broken": ablations.Variant("broken", "no such priors", replace(preset, nerf=None)),
    }
    models = networks()
    models.depth = SimpleNamespace(depth=lambda rgb, alpha: torch.ones(alpha.shape))
    monkeypatch.setattr(bench_runs, "variants_of", lambda _: suite)
    monkeypatch.setattr(bench_runs, "toy", lambda index: make_object(heldout_seed(index)))  # simple enough for a few steps
    monkeypatch.setattr(bench_runs, "networks", lambda: (models, Networks(lpips="not here")))
    monkeypatch.setattr(bench_runs, "SETTINGS", EvaluateSettings(size=32, views="turntable-8", intersections=False))
    return models


def test_runs_are_recorded_shared_and_never_repeated(tiny, tmp_path, capsys, monkeypatch):
    task = bench_runs.Task("papers", 2, 1, ("default", "broken", "linear", "both"), tmp_path)
    explored = []
    explore = consistent123.explore
    monkeypatch.setattr(consistent123, "explore", lambda *a, **k: explored.append(1) or explore(*a, **k))
    lines = bench_runs.run_task(task)
    assert len(lines) == 4 and "failed" in lines[1] and len(explored) == 1, "linear goes on from default's first act"
    assert sorted(p.name for p in tmp_path.glob("*.json")) == [
        "both-o002-s1_manifest.json", "broken-o002-s1_failed.json", "default-o002-s1_manifest.json",
        "linear-o002-s1_manifest.json"]
    found, missing = bench_runs.gather("papers", tmp_path, ["default", "linear", "both", "broken"], [2], [1])
    made = found["both"][2, 1]
    assert list(missing) == ["broken-o002-s1"] and "failed" in missing["broken-o002-s1"] and made["seed"] == 1
    assert {"iou", "novel_psnr", "reference_psnr"} <= set(made["results"]["metrics"]["metrics"])
    assert made["results"]["coarse"]["metrics"]["iou"] != made["results"]["metrics"]["metrics"]["iou"]
    assert made["results"]["metrics"]["left_out"]["reference LPIPS (alex)"] == "not here"
    assert read_run(tmp_path / "both-o002-s1_manifest.json", tmp_path).values["novel_psnr"] > 0, "Results reads it"
    assert all((tmp_path / f"{n}-o002-s1_sheet.png").stat().st_size for n in ("default", "linear", "both"))
    asked = tiny.view.predicted
    assert len(bench_runs.run_task(task)) == 1 and tiny.view.predicted == asked, "only the failed one is tried again"
    suite = bench_runs.variants_of("papers")
    suite["linear"] = replace(suite["linear"], preset=replace(suite["linear"].preset, form="log"))
    assert [line.split()[3] for line in bench_runs.run_task(task)] == ["broken", "linear"], "other settings, another run"


def test_the_page_states_what_the_numbers_say():
    """Made-up records with known differences: agree, differ and noise follow from them."""
    variants = tuple(ablations.Variant(n, n, None) for n in ("default", "worse", "better", "same"))
    cells = {"default": 0.80, "worse": 0.70, "better": 0.75, "same": 0.79}
    ablation = ablations.Ablation("x", "Title", "Question?", variants, {"set": {"clip": cells}})
    noise = {(o, s): 0.001 * ((7 * o + 3 * s) % 5 - 2) for o in range(4) for s in range(2)}
    shift = {"default": 0.0, "worse": -0.1, "better": 0.1, "same": 0.0}

    def record(name, key):
        wobble = noise[key] if name == "same" else 0.01 * noise[key] * (name != "default")
        value = 0.5 + 0.1 * key[0] + shift[name] + wobble
        return {"results": {"cpu_seconds": 10.0, "metrics": {"metrics": {"clip_similarity": value, "iou": value},
                                                             "left_out": {"LPIPS": "no file"}}}}

    found = {v.name: {key: record(v.name, key) for key in noise} for v in variants}
    verdicts = {row["pair"]: row["verdict"] for row in papers_report.against_paper(ablation, found)}
    assert verdicts["default", "worse"] == "agrees" and verdicts["default", "better"] == "differs"
    assert verdicts["default", "same"] == "within noise" and verdicts["worse", "better"] == "agrees"
    missing = {"a-o000-s0": "failed: X", "b-o000-s0": "not run"}
    text = papers_report.page(ablation, found, missing, "How.\n", "worst.jpg", "Because of the moon.")
    assert "better 0.750 > default 0.650 = same 0.650 > worse 0.550" in text and "2 runs are missing, 1 of them failed" in text
    assert "default 0.800 > same 0.790 > better 0.750 > worse 0.700" in text and "left out: LPIPS: no file" in text
    single = {name: {(0, 0): records[0, 0]} for name, records in found.items()}
    assert {row["verdict"] for row in papers_report.against_paper(ablation, single)} == {papers_report.UNDECIDED}
    assert "One object decides nothing." in papers_report.page(ablation, single, {}, "", None, "")
    assert papers_report.ordering({"a": 0.2, "b": 0.1, "c": 0.2}, -1, 1) == "b 0.1 < a 0.2 = c 0.2"
    assert "- a-o000-s0: failed: X" in text and "- b-o000-s0" not in text
    assert "+0.100 +- 0.000" in text and text.rstrip().endswith("Because of the moon.")
    assert "Of 6 pairs" in text and papers_report.worst(found, "default") == (0, 0)


def test_objects_are_the_quick_set_then_the_full_one(monkeypatch):
    monkeypatch.setattr(bench_runs, "benchmark_object", lambda seed: seed)
    seeds = [bench_runs.toy(index) for index in range(100)]
    assert tuple(seeds[:20]) == bench_runs.QUICK and sorted(seeds) == sorted(bench_runs.FULL)


def test_unknown_names_are_refused_with_what_there_is():
    with pytest.raises(ValueError, match="schedules"):
        bench_papers.selected("nonsense")
    assert list(bench_papers.selected("boundary,schedules")) == ["boundary", "schedules"]
