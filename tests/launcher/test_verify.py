"""``launch.py verify-weights``: every network that is present is loaded strictly, run for one step and reported."""

import json
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from lift123.launcher import commands, verify
from lift123.launcher.settings import LaunchError, Paths
from safetensors.torch import save_file

GOOD = {
    "kind": "view", "device": "cuda", "loading seconds": 12.345, "network seconds": 0.05, "device bytes": 4.2e9,
    "networks": {"UNet": {"parameters": 860e6, "dtype": "float16", "finite": True}}, "tensors": {"UNet (moving average)": 686},
    "denoising error": 0.123456, "latents": [4, 32, 32], "doubts": [], "picture": "/x/view_105000_ckpt.png", "pictured": "views",
}


class Here(Paths):
    """Folders of a test: this interpreter, an empty home."""

    @property
    def python(self) -> Path:
        """The interpreter that runs the tests."""
        return Path(sys.executable)


@pytest.fixture
def paths(tmp_path):
    return Here(ROOT, tmp_path / "home")


def item(name, **changes):
    """An entry of the list of present networks."""
    return {"name": name, "kind": "view", "path": f"/models/{name}", "missing": [], "known": True, **changes}


@pytest.fixture
def pretend(monkeypatch, paths):
    """Lets the heavy script answer from a table: name -> report; the list is the table's names."""
    def install(table, **changes):
        def answer(_, arguments, out):
            if arguments[0] == "list":
                return [item(name, **changes.get(name, {})) for name in table]
            return {**table[arguments[2]], "name": arguments[2]}

        monkeypatch.setattr(verify, "run_script", answer)
        return paths
    return install


def test_a_good_network_passes_and_is_reported(pretend, capsys):
    paths = pretend({"105000.ckpt": GOOD})
    assert verify.verify(paths, [], []) == 0
    told, page = capsys.readouterr().out, (paths.home / "verify" / "report.md").read_text()
    for text in ("passed: nothing odd", "UNet: 860.0 M parameters, float16", "686 UNet (moving average)",
                 "loading seconds: 12.35", "device bytes: 4.20 GB", "denoising error: 0.123", "[4, 32, 32]"):
        assert text in told and text in page, text
    assert "| 105000.ckpt (view) | passed | 12.35 | 0.05 | 4.20 |" in page
    assert "![views](view_105000_ckpt.png)" in page
    assert json.loads((paths.home / "verify" / "report.json").read_text())[0]["denoising error"] == 0.123456


@pytest.mark.parametrize("report,known,code,verdict", [
    ({**GOOD, "doubts": ["denoising error 0.95"]}, True, 0, "look: denoising error 0.95"),
    ({"error": "checkpoint: expected this, got that."}, True, 1, "failed: checkpoint: expected this"),
    ({"error": "a LoRA"}, False, 0, "failed: a LoRA"),  # other people's files are none of our business
    ({"died": "code -9: no message; out of memory?"}, True, 1, "out of memory?"),
])
def test_the_exit_code_says_whether_known_networks_load(pretend, capsys, report, known, code, verdict):
    paths = pretend({"a": GOOD, "b": report}, b={"known": known})
    assert verify.verify(paths, [], []) == code
    assert verdict in capsys.readouterr().out


def test_incomplete_folders_are_told_without_a_start(pretend, capsys):
    paths = pretend({"zero123-xl": GOOD}, **{"zero123-xl": {"missing": ["unet/config.json"]}})
    assert verify.verify(paths, [], []) == 1
    assert "failed: incomplete: unet/config.json" in capsys.readouterr().out


def test_names_choose(tmp_path):
    found = [item("a"), item("b")]
    file = tmp_path / "other.ckpt"
    file.touch()
    assert verify.chosen(found, []) == found
    assert verify.chosen(found, ["b"]) == found[1:]
    own = [item("embedded", kind=kind, shipped=True) for kind in ("clip", "slrm")]
    assert verify.chosen(found + own, []) == found and verify.chosen(found + own, ["embedded"]) == own
    assert verify.chosen(found, [str(file)])[0] == item("other.ckpt", kind="file", path=str(file))
    with pytest.raises(LaunchError, match="no network 'c' here; present are: a, b$"):
        verify.chosen(found + own, ["c"])


def absent(name):
    """An entry of the list for a network without files."""
    return item(name, kind="slrm", path="/models/lift123_slrm", installed=False)


def test_what_is_not_installed_is_listed_with_its_folder_and_is_no_failure(pretend, capsys):
    paths = pretend({"105000.ckpt": GOOD, "StdGEN-mesh-slrm.pth": {}}, **{"StdGEN-mesh-slrm.pth": {
        "kind": "slrm", "path": "/models/lift123_slrm", "installed": False, "missing": ["StdGEN-mesh-slrm.pth"]}})
    assert verify.verify(paths, [], []) == 0
    told, page = capsys.readouterr().out, (paths.home / "verify" / "report.md").read_text()
    for text in (told, page):
        assert "not installed: its files go into /models/lift123_slrm" in text
    assert "| StdGEN-mesh-slrm.pth (slrm) | not installed | - | - | - |" in page
    with pytest.raises(LaunchError, match="'b' is not installed; put its files into /models/lift123_slrm"):
        verify.chosen([item("a"), absent("b")], ["b"])
    with pytest.raises(LaunchError, match="present are: a$"):
        verify.chosen([item("a"), absent("b")], ["c"])


def test_where_nothing_is_installed_the_list_comes_first(pretend, tmp_path, capsys):
    paths = pretend({"b": {}}, b={"installed": False, "path": "/models/lift123_slrm"})
    with pytest.raises(LaunchError, match="No files of public networks in"):
        verify.verify(paths, [], [tmp_path])
    assert "b: not installed; its files go into /models/lift123_slrm" in capsys.readouterr().out


def test_nothing_present_says_where_to_put_it(pretend, tmp_path):
    with pytest.raises(LaunchError, match="No files of public networks in") as told:
        verify.verify(pretend({}), [], [tmp_path / "models"])
    assert str(tmp_path / "models") in str(told.value) and "docs/verification.md" in str(told.value)


def test_the_command_line_knows_it(monkeypatch, tmp_path):
    seen = {}
    monkeypatch.setattr(commands.environment, "ensure", lambda paths: None)
    monkeypatch.setattr(commands.verify, "verify", lambda paths, *rest: seen.update(rest=rest) or 0)
    arguments = ["verify-weights", "105000.ckpt", "--models", str(tmp_path), "--device", "cpu", "--steps", "3"]
    assert commands.main(arguments) == 0
    assert seen["rest"] == (["105000.ckpt"], [tmp_path], "cpu", 3)
    assert commands.main(["verify-weights", "--models", str(tmp_path / "absent")]) == 1


def test_real_files_are_found_loaded_and_run(paths, tmp_path, capsys):
    """A small checkpoint under a published name, a LoRA beside it, an unfinished download, the rest absent: four verdicts."""
    ldm_tiny = pytest.importorskip("helpers.ldm_tiny")
    models = tmp_path / "models"
    (models / "checkpoints").mkdir(parents=True)
    (models / "diffusers" / "zero123-xl" / "unet").mkdir(parents=True)
    state = ldm_tiny.checkpoint("zero123", averages=True)
    torch.save({"state_dict": state, "global_step": 105000}, models / "checkpoints" / "105000.ckpt")
    save_file({"lora_unet_x.lora_down.weight": torch.zeros(1)}, str(models / "checkpoints" / "style.safetensors"))
    assert verify.verify(paths, [], [models], "cpu", 1) == 1  # because of the unfinished download
    reports = {r["name"]: r for r in json.loads((paths.home / "verify" / "report.json").read_text())}
    assert {name for name, r in reports.items() if "absent" not in r} == {"105000.ckpt", "style.safetensors", "zero123-xl"}
    assert str(models / "lift123_slrm") in reports["StdGEN-mesh-slrm.pth"]["absent"]
    good = reports["105000.ckpt"]
    assert "error" not in good and good["latents"] == [4, 32, 32] and good["image size"] == 128
    assert sum(good["tensors"].values()) == len(state) and good["gradient"] > 0
    assert good["denoising error"] > 0.7 and good["doubts"], "random weights know nothing, and the report says so"
    assert good["host bytes"] > 1e8 and Path(good["picture"]).stat().st_size > 1000
    assert "which is a LoRA" in reports["style.safetensors"]["error"]
    assert reports["zero123-xl"]["error"].startswith("incomplete: ")
    assert "look: denoising error" in capsys.readouterr().out
