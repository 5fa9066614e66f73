"""A real run on a local Ray cluster: ComfyUI, an actor and the driver are killed; nothing is lost, nothing done twice."""

import os

import pytest
from helpers import clusters
from lift123.launcher import settings, source

NAMES = [f"p{n:02d}" for n in range(24)]
BROKEN = ("p05", "p17")


@pytest.fixture(scope="module")
def ray():
    """Ray and ComfyUI; only outside of CI may they be missing."""
    try:
        import ray
    except ImportError:
        if os.environ.get("CI"):
            raise
        pytest.skip("Ray is not installed: run 'python3 launch.py test'")
    if not source.version_of(settings.default_paths().comfyui):
        pytest.skip("no ComfyUI: run 'python3 launch.py test'")
    return ray


def test_nothing_is_lost_and_nothing_done_twice(ray, tmp_path):
    """24 pictures, two broken, two workers; the second driver is alone and without Ray, which any driver may be."""
    plan = [(4, "server"), (8, "actor"), (13, "driver")]
    found = clusters.killed_run(tmp_path, NAMES, BROKEN, plan, {"workers": 1}, workers=2, share="send")
    lines = clusters.check(tmp_path / "out" / "lift123" / "pictures", found, BROKEN)
    told = [event["e"] for event in lines]
    assert told.count("begin") == 2 and 1 <= told.count("lost") <= 4 and "aside" not in told
    assert len([e for e in lines if e["e"] == "done"]) >= 22, "done lines may repeat, results may not"
    assert not [p for p in (settings.default_paths().home / "cluster").glob(f"worker-*-{os.getpid()}-*")]
