"""Plots: marks stand where the numbers say, and what runs differ in is found."""

import json
import math

import pytest
import torch
from lift123.pipelines.io import compare, runs, sweep
from lift123.pipelines.io.plot import COLORS, TOP, Line, Panel, log_ticks, plot_picture, spread, ticks


def at(picture, color) -> torch.Tensor:
    """[N, 2] rows and columns of the pixels of a color."""
    return ((picture - torch.tensor(color) / 255).abs().amax(-1) < 0.12).nonzero().float()


def test_a_line_rises_from_corner_to_corner():
    picture = plot_picture([Panel("rising", "x", (Line("", ((0, 0, None), (1, 1, None), (2, 2, None)), dots=False),))])
    marks = at(picture, COLORS[0])
    assert torch.corrcoef(marks.T)[0, 1] < -0.999, "rows count downwards"
    middle = marks[(marks[:, 1] - marks[:, 1].mean()).abs() < 2][:, 0].mean()
    assert abs(middle - (marks[:, 0].min() + marks[:, 0].max()) / 2) < 3


def test_error_bars_are_as_long_as_they_are():
    line = Line("", ((0, 5, None), (1, 5, 2), (2, 5, None), (3, 10, None), (4, 0, None)))
    picture = plot_picture([Panel("", "", (line,), labels=("a", "b", "c", "d", "e"))])
    marks = at(picture, COLORS[0])
    columns = marks[:, 1]
    second = marks[(columns - (columns.min() + (columns.max() - columns.min()) * 0.25)).abs() < 3][:, 0]
    span = marks[:, 0].max() - marks[:, 0].min()  # of 0 .. 10, less the dots
    assert second.max() - second.min() == pytest.approx(float(span) * 0.4, abs=8)


def test_ticks_are_round_and_within():
    assert ticks(0.0, 1.0) == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0] and ticks(-3, 999) == [0, 250, 500, 750]
    assert all(2 <= len(ticks(low, low + span)) <= 6 for low in (-7.3, 0, 1e5) for span in (1e-3, 0.7, 3.1, 26, 1e4))
    assert spread([]) == (0.0, 1.0) and spread([2.0, 2.0]) == (1.9, 2.1)


def test_ticks_of_a_logarithmic_axis_are_round_numbers():
    def numbers(low, high):
        return [float(f"{10**place:.9g}") for place in log_ticks(math.log10(low), math.log10(high))]

    assert numbers(0.001, 1000) == [0.001, 0.1, 10, 1000] and numbers(0.008, 0.12) == [0.01, 0.02, 0.05, 0.1]
    assert numbers(0.0126, 0.0194) == [0.014, 0.016, 0.018]
    assert numbers(0.02, 0.09) == [0.02, 0.04, 0.06, 0.08] and numbers(3, 3.4) == [3, 3.1, 3.2, 3.3, 3.4]


def test_names_stand_beside_a_short_title_else_on_the_plot():
    lines = (Line("A", ((0, 0, None), (1, 1, None))), Line("B", ((0, 1, None), (1, 1, None))))
    for title, above in (("rgb", True), ("a title that takes the whole width of its panel " * 2, False)):
        marks = at(plot_picture([Panel(title, "x", lines)]), COLORS[1])
        assert bool((marks[:, 0] < TOP - 4).any()) == above


def test_a_plot_of_nothing_is_a_frame():
    assert plot_picture([Panel("empty", "x", (Line("", ()),))]).shape == (340, 520, 3)


def manifest(tmp_path, number, iterations, psnr, seed=0, **more):
    data = {"manifest": 1, "seed": seed, "timings_seconds": {"NeRF stage 1": float(iterations)},
            "settings": {"stages": [{"stage": "NeRF stage 1", "settings": {"iterations": iterations, "lr": {"grid": 0.1}},
                                     "seed": seed}]},
            "graph": {"1": {"class_type": "Lift123_NerfStage1", "inputs": {"preset": "quickstart", "scene": ["2", 0]}},
                      "2": {"class_type": "Lift123_BakeExport", "inputs": {"filename_prefix": f"a{number}"}}},
            "results": {"faces": 100 + number, "metrics": {"metrics": {"reference_psnr": psnr}}}, **more}
    (tmp_path / f"run_{number:05}_manifest.json").write_text(json.dumps(data))


def test_the_swept_setting_is_found_and_averaged(tmp_path):
    for number, (iterations, seed, psnr) in enumerate([(10, 0, 20.0), (10, 1, 22.0), (40, 0, 30.0), (40, 1, 30.0)]):
        manifest(tmp_path, number, iterations, psnr, seed)
    found = runs.gather(tmp_path, newest_only=False)
    assert sweep.swept(found) == ["NeRF stage 1.iterations"], "neither the seed nor the file's name is a parameter"
    assert sweep.measured(found)[:2] == ["reference_psnr", "faces"]
    (panel,) = sweep.panels(found, "NeRF stage 1.iterations", ["reference_psnr"])
    assert panel.lines[0].points == ((10.0, 21.0, 1.0), (40.0, 30.0, 0.0)) and not panel.labels
    assert sweep.value_of(found[0], "NeRF stage 1.lr.grid") == 0.1


def test_words_are_set_side_by_side(tmp_path):
    for number, word in enumerate(("cat", "dog")):
        manifest(tmp_path, number, 10, 20.0 + number, batch={"value": word})
    found = runs.gather(tmp_path, newest_only=False)
    (panel,) = sweep.panels(found, sweep.swept(found)[0], ["reference_psnr"])
    assert panel.labels == ("cat", "dog") and [p[:2] for p in panel.lines[0].points] == [(0.0, 20.0), (1.0, 21.0)]


def test_two_runs_are_compared(tmp_path):
    curve = {"every": 1, "steps": [1, 2], "losses": {"rgb": [0.5, 0.1]}, "scores": {"CLIP score": [[2, 0.3]]}}
    manifest(tmp_path, 1, 10, 20.0, curves={"NeRF stage 1": curve})
    manifest(tmp_path, 2, 40, 20.0, curves={"NeRF stage 1": curve | {"losses": {"rgb": [0.4, 0.2], "mask": [1.0, None]}}})
    one, two = (compare.read(tmp_path, path) for path in compare.newest(tmp_path, "", 2))
    head, rows = compare.differences(one, two)
    assert head == ["what", "A", "B"]
    assert rows == [["NeRF stage 1.iterations", "10", "40"], ["seconds of NeRF stage 1", "10", "40"], ["faces", "101", "102"]]
    panels = compare.curve_panels(one, two)
    assert [p.title.split(": ")[1] for p in panels] == ["rgb", "CLIP score", "mask"], "what both have comes first"
    assert [[p[:2] for p in line.points] for line in panels[0].lines] == [[(1, 0.5), (2, 0.1)], [(1, 0.4), (2, 0.2)]]
    assert [line.points for line in panels[2].lines] == [(), ((1.0, 1.0, None),)]
    for name in ("run_00001_", "run_00001_.glb", "run_00001_turntable.webp", "output/run_00001_manifest.json"):
        assert compare.find(tmp_path, name).name == "run_00001"
    with pytest.raises(compare.InputError, match="Send to Compare"):
        compare.find(tmp_path, "run_00003_")


def test_turntables_turn_together():
    first = torch.arange(4.0).reshape(4, 1, 1, 1).expand(4, 6, 5, 3) / 4
    second = torch.arange(2.0).reshape(2, 1, 1, 1).expand(2, 8, 5, 3) / 2
    both = compare.side_by_side(first, second, ("a", "b"))
    assert both.shape == (4, 8 + 28, 10, 3)
    assert both[:, 0, 0, 0].tolist() == [0, 0.25, 0.5, 0.75] and both[:, 0, 5, 0].tolist() == [0, 0, 0.5, 0.5]
    assert (both[:, 6:8, :5] == 1).all(), "the smaller one stands on white"
