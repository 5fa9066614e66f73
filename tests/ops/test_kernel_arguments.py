"""What a kernel is told about tensors is what Warp itself would tell it, whatever was described before."""

import itertools

import pytest
import torch
import warp as wp
from lift123.pipelines.ops.kernels import launch as launching

KINDS = {
    "floats": wp.array(dtype=float), "vectors": wp.array(dtype=wp.vec3), "table": wp.array2d(dtype=float),
    "picture": wp.array2d(dtype=wp.vec3), "whole": wp.array2d(dtype=int),
}


def told(descriptor) -> tuple:
    """Address, sizes and steps, as far as they count: of a size of one the step is never taken."""
    sizes = list(descriptor.shape[: descriptor.ndim])
    steps = [step for size, step in zip(sizes, descriptor.strides) if size > 1]
    return descriptor.data, descriptor.grad, descriptor.flags, sizes, steps


def tensors(seed: int) -> dict[str, list[torch.Tensor]]:
    """Contiguous tensors for each kind, some of them views of a single line whose step is another."""
    generator = torch.Generator().manual_seed(seed)
    rows, wide = torch.rand(50, 3, generator=generator), torch.rand(40, 8, 4, generator=generator)
    return {
        "floats": [rows.flatten(), rows[4], torch.rand(1)],
        "vectors": [rows, rows[7:8], wide[:, 2, :3].contiguous(), torch.rand(3)],
        "table": [wide[3], wide[:1, 3], wide[:, 3].contiguous(), rows],
        "picture": [torch.rand(9, 5, 3), torch.rand(1, 5, 3), torch.rand(30, 40, 3)[2:3], torch.rand(7, 1, 3)],
        "whole": [torch.zeros(sizes, dtype=torch.int32) for sizes in ((6, 2), (1, 2), (0, 2))],
    }


@pytest.mark.parametrize("order", range(6))
def test_descriptors_are_those_of_warp_in_any_order(order):
    launching.init_warp()
    launching._samples.clear()
    cases = [(kind, tensor) for kind, found in tensors(order).items() for tensor in found]
    for k in torch.randperm(3 * len(cases), generator=torch.Generator().manual_seed(order)).tolist():
        kind, tensor = cases[k % len(cases)]
        assert tensor.is_contiguous()
        assert told(launching._describe(tensor, KINDS[kind])) == told(launching._described(tensor, KINDS[kind])), kind


def test_one_line_with_a_step_of_its_own_is_no_sample():
    launching._samples.clear()
    line, lines = torch.rand(30, 40, 4)[2:3, :, 0:1].squeeze(-1).contiguous(), torch.rand(6, 40)
    odd = torch.as_strided(torch.rand(500), (1, 40), (77, 1))
    for first in (odd, line):
        launching._describe(first, KINDS["table"])
        assert told(launching._describe(lines, KINDS["table"])) == told(launching._described(lines, KINDS["table"]))


def test_a_descriptor_keeps_its_tensor_alive():
    kept = [launching._describe(torch.full((8, 3), float(i)), KINDS["vectors"]) for i in range(5)]
    addresses = [descriptor.data for descriptor in kept]
    assert all(a != b for a, b in itertools.combinations(addresses, 2))


@pytest.mark.parametrize("shape, kind", [((5,), "vectors"), ((4, 2), "vectors"), ((4, 5, 4), "picture")])
def test_sizes_that_do_not_fit_are_refused_every_time(shape, kind):
    for _ in range(2):
        with pytest.raises(RuntimeError, match="shape"):
            launching._describe(torch.rand(shape), KINDS[kind])


def test_samples_do_not_pile_up(monkeypatch):
    monkeypatch.setattr(launching, "MOST_SAMPLES", 4)
    launching._samples.clear()
    for width in range(1, 30):
        launching._describe(torch.rand(3, width), KINDS["table"])
    assert len(launching._samples) <= 4
