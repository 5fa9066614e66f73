"""Compare Runs on two runs as Bake and Export leaves them."""

import pytest
from helpers.comfy_modules import prepare
from helpers.two_runs import write_two_runs

prepare()
import folder_paths
from lift123.nodes import compare, export
from lift123.pipelines.core.errors import InputError


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """The output folder with two runs that differ in their iterations."""
    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path))
    write_two_runs(tmp_path / "lift123", export.save_animation)
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
