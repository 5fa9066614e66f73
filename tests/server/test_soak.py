"""The soak's short form: a dozen prompts leave no handle, thread or half-written file behind; and its figures."""

import bench_soak
import pytest
from bench_soak import BAR, WARM, Sample, completed, graph, look, report, verdicts

COUNT, WARM_UP = 12, 4
LIGHT = ("toy", "reference", "networks", "prior", "nerf", "save")  # the whole graph: launch.py bench soak


def test_a_dozen_prompts_leave_nothing_open(comfy, tmp_path):
    samples = []
    for number in range(1, COUNT + 1):
        prompt = {name: entry for name, entry in graph(number).items() if name in LIGHT}
        entry = comfy.run(completed(prompt, comfy.info))
        assert entry["status"]["status_str"] == "success"
        samples.append(look(comfy.server.pid, number, 0.0, comfy.base, tmp_path))
    early, late = samples[WARM_UP : 2 * WARM_UP], samples[2 * WARM_UP :]
    for name in ("handles", "threads", "temporary"):
        before, after = (max(getattr(s, name) for s in part) for part in (early, late))
        assert after <= before, f"{name} grew from {before} to {after}"


def sample(prompt, **changes):
    quiet = {"seconds": 1.0, "memory": 1 << 30, "own": 1 << 29, "handles": 9, "threads": 4, "temporary": 0, "previews": 0}
    return Sample(**{"prompt": prompt, **quiet, **changes})


@pytest.mark.parametrize("name, growth, stays", [
    ("memory", lambda n: (1 << 30) + n * 1000, True), ("memory", lambda n: round((1 << 30) * (1 + BAR * n / WARM)), False),
    ("own", lambda n: (1 << 29) + n * (1 << 18), False), ("handles", lambda n: 9 + n % 2, True),
    ("handles", lambda n: 9 + n // 50, False), ("threads", lambda n: 4 + n // 20, False), ("temporary", lambda n: n, False)])
def test_growth_is_seen_and_noise_is_not(name, growth, stays):
    samples = [sample(n, **{name: growth(n)}) for n in range(1, 301)]
    found = verdicts(samples)
    assert {key: ok for key, (*_, ok) in found.items()} == {k: stays or k != name for k in found}
    page = report(samples, "here")
    assert ("NO" in page) == (not stays) and "| 300 |" in page and "300 prompts" in page and "embedded 3D prior" in page


def test_prompts_differ_in_seeds_and_some_in_toys():
    before, at, after = (graph(bench_soak.RENEW + n) for n in (-1, 0, 1))
    assert at["figure"] == after["figure"] != before["figure"] and at["nerf"] != after["nerf"]
    assert "character" in at and "character" not in before and f"every {bench_soak.RENEW}th prompt" in bench_soak.__doc__
