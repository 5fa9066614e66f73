"""A checkout for the logic of set-up."""

from lift123.launcher import settings


def fake_paths(tmp_path) -> settings.Paths:
    """A checkout with requirements and a ComfyUI of the right version, for the set-up logic."""
    paths = settings.Paths(tmp_path / "repo", tmp_path / "home")
    paths.root.mkdir()
    paths.comfyui.mkdir(parents=True)
    for file in (paths.root / "requirements.txt", paths.root / "requirements-test.txt", paths.comfyui / "requirements.txt"):
        file.write_text("something\n")
    (paths.comfyui / "comfyui_version.py").write_text(f'__version__ = "{settings.COMFYUI}"\n')
    return paths
