"""Compare Runs on two runs as Bake and Export leaves them."""

import json
import os

import pytest
import torch
from helpers.comfy_modules import prepare

prepare()
import folder_paths
from lift123.nodes import compare, export
from lift123.pipelines.core.errors import InputError


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Two runs that differ in their iterations; the first has four pictures in its turntable, the second two."""
    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path))
    (tmp_path / "lift123").mkdir()
    for number, (iterations, frames) in enumerate([(10, 4), (40, 2)], 1):
        stem = tmp_path / "lift123" / f"cup_0000{number}_"
        curve = {"every": 1, "steps": [1, 2], "losses": {"rgb": [0.5, 0.1 / number]}, "scores": {}}
        path = stem.with_name(f"{stem.name}manifest.json")
        path.write_text(json.dumps({
            "manifest": 1, "seed": 3, "settings": {"stages": [{"stage": "NeRF", "settings": {"iterations": iterations}}]},
            "curves": {"NeRF": curve}}))
        os.utime(path, (1e9 + number, 1e9 + number))
        export.save_animation(torch.rand(frames, 32, 32, 3), stem.with_name(f"{stem.name}turntable.webp"))
    return tmp_path


@pytest.mark.parametrize("names", [("", ""), ("lift123/cup_00001_", "lift123/cup_00002_.glb")])
def test_two_runs_side_by_side(runs, names):
    made = compare.CompareRuns.execute(run_a=names[0], run_b=names[1], folder="lift123", filename_prefix="lift123/both")
    first, second, both, curves, picture, words = made.args
    assert (len(first), len(second), len(both)) == (4, 2, 4) and both.shape[2] == first.shape[2] + second.shape[2]
    assert "| NeRF.iterations | 10 | 40 |" in words and words.count("\n") == 3, "nothing else differs"
    assert curves.shape[-1] == picture.shape[-1] == 3
    shown = [runs / file["subfolder"] / file["filename"] for file in made.ui["images"]]
    assert [path.suffix for path in shown] == [".webp", ".png", ".png"] and all(path.is_file() for path in shown)


def test_a_run_alone_and_names_of_nothing_are_refused(runs):
    given = {"run_a": "", "run_b": "", "folder": "lift123", "filename_prefix": "lift123/both"}
    for wrong in ({"folder": "elsewhere"}, {"run_a": "lift123/plate_00001_"}, {"run_a": "../../etc/passwd"}, {"folder": "/"}):
        with pytest.raises(InputError):
            compare.CompareRuns.execute(**given | wrong)
    (runs / "lift123/cup_00002_manifest.json").write_text("[]")
    with pytest.raises(InputError, match="manifest of this pack"):
        compare.CompareRuns.execute(**given)
