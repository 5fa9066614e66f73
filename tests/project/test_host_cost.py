"""No step of a paper's preset asks a GPU more than twice; counted on a CPU by the host-cost meter."""

import bench_host_cost
import pytest
import torch
from host_watch import GPU, Watch, put
from lift123.pipelines.core.far import pretending, send

MOST = 2


def test_the_watch_sees_what_waits_and_nothing_else():
    here, there = torch.arange(4.0), torch.arange(4.0)
    with Watch() as watch:
        put(there)
        assert float(here.sum()) == 6.0 and len(here.nonzero()) == 3 and there.device == GPU
        there * 2 + there.mean()
        torch.zeros(3, device=there.device).clamp_min(1)
        here.to(GPU, non_blocking=True)
        assert watch.total == 0 and not watch.mixed
        for asked, waits in ((lambda: there.sum().item(), 1), (lambda: bool(there.any()), 1), (lambda: there.tolist(), 1),
                             (lambda: there[there > 1], 1), (lambda: there.nonzero(), 1), (lambda: here.to(GPU), 1),
                             (lambda: (there * 1).cpu(), 1), (lambda: torch.tensor([1.0], device=GPU), 1),
                             (lambda: there.unique(), 1), (lambda: there.masked_select(there > 1), 1),
                             (lambda: torch.where(there > 1, there, 0), 0)):
            watch.forget()
            asked()
            assert watch.total == waits, asked
        there + here
        assert watch.mixed, "a GPU refuses to add a tensor of the host"


@pytest.mark.parametrize("name, phases", [("paper", ("nerf", "mesh")), ("magic123 paper", ("nerf",))])
def test_a_step_waits_at_most_twice(name, phases):
    preset = bench_host_cost.shrunk(bench_host_cost.PRESETS[name], 6)
    with pretending(), Watch() as watch:
        noted = bench_host_cost.stages(preset, bench_host_cost.echoes(), GPU, watch, phases)
    for phase, listener in noted.items():
        assert "novel" in listener.kinds
        for kind, steps in listener.kinds.items():
            assert max(steps.waits) <= MOST, (phase, kind, listener.lines)
        assert not [key for key in listener.lines if "mixed" in key[1]], "operations that a GPU would refuse"


def test_small_tensors_are_sent_and_fetched():
    number = torch.tensor([1, 2])
    assert send(number, torch.zeros(1)).dtype == torch.float32
    assert torch.equal(send(number, "cpu"), number)
