"""Makes ComfyUI's own modules importable in tests without a server; skips where ComfyUI is absent."""

import sys

import pytest
from lift123.launcher import settings


def prepare() -> None:
    """Puts ComfyUI on the path, on the CPU, once."""
    comfyui = settings.default_paths().comfyui
    if not (comfyui / "comfy_api").is_dir():
        pytest.skip(f"no ComfyUI in {comfyui}: run 'python3 launch.py test'", allow_module_level=True)
    if str(comfyui) not in sys.path:
        sys.path.append(str(comfyui))
    from comfy.cli_args import args

    args.cpu = True
