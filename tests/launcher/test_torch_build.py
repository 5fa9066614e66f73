"""Which build of torch is installed: the small one where no GPU is seen, what is there stays."""

import pytest
from helpers.checkout import fake_paths
from lift123.launcher import environment, settings, torch_build


def torch_machine(monkeypatch, platform="linux", gpu=False, word=None):
    monkeypatch.setattr(torch_build.sys, "platform", platform)
    monkeypatch.setattr(torch_build, "sees_gpu", lambda: gpu)
    monkeypatch.setattr(settings, "TORCH_INDEX", "")
    if word:
        monkeypatch.setenv("LIFT123_TORCH_BUILD", word)
    else:
        monkeypatch.delenv("LIFT123_TORCH_BUILD", raising=False)


def test_the_build_of_torch_fits_the_machine_and_what_is_there_stays(monkeypatch):
    keys = torch_build.keys
    for platform, gpu, word, there, expected in (
        ("linux", False, "auto", None, "cpu"), ("linux", True, "auto", None, "plain"), ("darwin", False, "auto", None, "plain"),
        ("win32", False, "auto", None, "plain"), ("win32", True, "auto", None, "cuda"),
        ("linux", False, "auto", "plain", "plain"),
        ("linux", True, "auto", "cpu", "cpu"), ("linux", True, "cpu", "plain", "cpu"), ("linux", False, "cuda", "cpu", "plain"),
        ("linux", False, "keep", None, "plain"), ("linux", False, "keep", "cpu", "cpu"), ("darwin", False, "cpu", None, "plain"),
    ):
        torch_machine(monkeypatch, platform, gpu)
        assert torch_build.wanted(word, keys()[there] if there else None) == expected, (platform, gpu, word, there)
    torch_machine(monkeypatch)
    assert torch_build.wanted("auto", "another version") == "cpu"
    monkeypatch.setattr(settings, "TORCH_INDEX", "file:///wheels")
    assert torch_build.wanted("cpu", None) == "plain", "an index that the person names goes first"
    monkeypatch.setenv("LIFT123_TORCH_BUILD", "rocm")
    with pytest.raises(settings.LaunchError, match="auto, cpu, cuda, keep"):
        torch_build.choice()


@pytest.mark.parametrize("reachable", [True, False])
def test_a_machine_without_a_gpu_gets_the_small_torch_or_is_told(tmp_path, monkeypatch, capsys, reachable):
    torch_machine(monkeypatch)
    monkeypatch.delenv("LIFT123_COMFYUI", raising=False)
    paths, ran = fake_paths(tmp_path), []
    monkeypatch.setattr(environment, "_works", lambda paths: True)
    monkeypatch.setattr(environment, "pip", lambda paths, title, *arguments: ran.append(title))
    monkeypatch.setattr(torch_build.shutil, "which", lambda name: None)

    def run(command, title, paths, env=None, cwd=None):
        ran.append(title)
        assert command[command.index("--torch-backend") + 1] == "cpu" and f"torch=={settings.TORCH}" in command
        assert "--no-deps" in command and env["UV_HTTP_RETRIES"] == "1"
        if not reachable:
            raise settings.LaunchError("PyTorch failed:\n  no route to the host")

    monkeypatch.setattr(environment, "run_logged", run)
    environment.ensure(paths)
    assert ran[:2] == ["uv, which knows PyTorch's builds", "PyTorch, cpu build"] and ran[2] == torch_build.TITLE
    stamp = environment.Stamp(paths.stamp).done["torch"]
    assert stamp == torch_build.keys()["cpu" if reachable else "plain"]
    assert ("no route to the host" in capsys.readouterr().out) != reachable
    ran.clear()
    environment.ensure(paths)
    assert ran == [], "an unreachable build is not asked for at every start"
