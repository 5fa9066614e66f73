"""Estimated bytes against what torch keeps, and what is said when a request does not fit."""

from dataclasses import replace

import pytest
import torch
from helpers import tiny_stages
from lift123.pipelines import consistent123
from lift123.pipelines.core import room
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.core.schedules import Constant, Linear
from lift123.pipelines.ops.tet_grid import a15_grid
from lift123.pipelines.stages.loop.optimize import Loop
from lift123.pipelines.stages.objects.fit_nerf import fit_nerf

GB = 2**30


def kept_bytes(monkeypatch, config) -> int:
    """Most bytes that one step of a NeRF stage saves for its backward pass."""
    found, attempt = [], Loop._attempt

    def watched(self, step):
        kept = {}

        def pack(tensor):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            done = attempt(self, step)
        found.append(sum(kept.values()))
        return done

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_attempt", watched)
        fit_nerf(tiny_stages.reference(), tiny_stages.oracle(), config, until=2)
    return max(found)


@pytest.mark.parametrize("size, batch", [(48, 1), (64, 2)])
def test_a_fields_pixels_cost_what_was_said(monkeypatch, size, batch):
    """What is saved is between a quarter of the estimate and all of it: the peak adds gradients and what is passing by."""
    base = replace(tiny_stages.NERF, size=16, reference_size=16, novel_batch=1)
    large = replace(base, size=size, novel_batch=batch)
    kept = kept_bytes(monkeypatch, large) - kept_bytes(monkeypatch, base)
    said = room.nerf_bytes(large) - room.nerf_bytes(base)
    assert said / 4 < kept < said, (kept, said)


def test_normals_and_early_views_count():
    base = tiny_stages.NERF
    assert room.field_bytes(replace(base, normal_tv=Linear(0.0, 1.0))) == 3 * room.field_bytes(base)
    assert room.field_bytes(replace(base, normal_tv=Constant(1.0), normal_3d=Constant(1.0))) == 5 * room.field_bytes(base)
    assert room.pixels_at_once(replace(base, size=10, novel_batch=3, reference_size=20)) == 700
    assert room.pixels_at_once(replace(base, size=10, novel_batch=3, reference_size=20), novel=False) == 400
    assert room.pixels_at_once(replace(base, mode="alternate", size=10, novel_batch=3, reference_size=20)) == 400
    early = replace(base, mode="alternate", size=10, novel_batch=1, early_size=30, early_batch=2, early_until=0.5)
    assert room.pixels_at_once(early) == 1800


def test_a_grid_costs_what_was_said():
    """Tables of a grid by their own sizes: the peak is what sorting them once takes, a few times that."""
    corners, tets = a15_grid(12)
    edges = torch.combinations(torch.arange(4), 2)
    sides = tets[:, edges].sort(-1).values.reshape(-1, 2)  # what is sorted: every edge of every tetrahedron
    held = sum(t.numel() * t.element_size() for t in (corners, tets, sides))
    assert 1 < room.grid_bytes(12) / held < 6, held


def test_published_presets_and_absurd_requests():
    quick, paper = consistent123.PRESETS["quickstart"], consistent123.PRESETS["paper"]
    assert 9 * GB < room.nerf_bytes(paper.nerf) < 18 * GB, "13 GB were seen"
    assert room.nerf_bytes(quick.nerf) < 0.2 * GB and room.mesh_bytes(quick.mesh) < 3 * GB
    assert room.nerf_bytes(replace(quick.nerf, size=1024, novel_batch=16)) > 20 * GB, "this one got the server killed"
    assert room.grid_bytes(128) > 30 * GB and room.texture_bytes(4096, 4) > 8 * GB and room.picture_bytes(120, 1024) > 8 * GB


def test_the_message_names_a_value_that_fits():
    def bytes_of(size, count):
        return size * size * count

    def ask(size, count, free):
        room.refuse_too_large(free, [("count", count, 1, 1, lambda n: bytes_of(size, n)),
                                     ("size", size, 8, 8, lambda n: bytes_of(n, count))])

    ask(64, 16, None)  # nothing is known
    ask(64, 16, 64 * 64 * 16)
    with pytest.raises(InputError, match="Set count to 5 or less") as error:
        ask(64, 16, 64 * 64 * 5 + 7)
    assert error.value.name == "count"
    with pytest.raises(InputError, match="Set size to 24 or less"):
        ask(128, 16, 24 * 24 * 16 + 7)
    with pytest.raises(InputError, match="Lower size to 8, close other programs"):
        ask(64, 16, 3)
