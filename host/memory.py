"""Sizes against the memory of this machine, before work: the bytes are estimated in ``pipelines/core/room.py``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from ..pipelines.core import room

LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # of a container, versions 2 and 1
USED = ("/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory/memory.usage_in_bytes")


def free_bytes(device: torch.device | str = "cpu") -> int | None:
    """What work on ``device`` may take; None on a GPU, where running out is an error that the stages answer themselves."""
    if torch.device(device).type != "cpu":
        return None
    import psutil

    free = psutil.virtual_memory().available + psutil.swap_memory().free
    for limit, used in zip(map(Path, LIMITS), map(Path, USED), strict=True):
        try:
            free = min(free, max(0, int(limit.read_text()) - int(used.read_text())))
        except (OSError, ValueError):  # no container, or none with a limit ("max")
            continue
    return free


def require_nerf(config, novel: bool, device) -> None:
    """InputError unless a NeRF stage of this configuration fits."""
    room.refuse_too_large(free_bytes(device), _views(config, novel, lambda c: room.nerf_bytes(c, novel)))


def require_mesh(config, novel: bool, device) -> None:
    """InputError unless a mesh stage of this configuration fits."""
    grid = ("grid", config.tets, 8, 1, lambda n: room.mesh_bytes(replace(config, tets=n), novel))
    room.refuse_too_large(free_bytes(device), [*_views(config, novel, lambda c: room.mesh_bytes(c, novel)), grid])


def _views(config, novel: bool, need) -> list:
    """Widgets of a stage's pictures, with the bytes of each of their values."""
    early = {"early_size": 0, "early_batch": 0} if hasattr(config, "early_size") else {}
    batch = ("novel_batch", max(n for n, _ in (config.novel_at(0.0), config.novel_at(1.0))), 1, 1,
             lambda n: need(replace(config, novel_batch=n, **early) if n < config.novel_batch else config))
    size = ("render_size", max(s for _, s in (config.novel_at(0.0), config.novel_at(1.0))), 16, 8,
            lambda n: need(replace(config, size=n, **early) if n < config.size else config))
    seen = ("reference_size", config.reference_size, 16, 8, lambda n: need(replace(config, reference_size=n)))
    return [batch, size, seen] if novel else [seen]


def require_grid(cells: int) -> None:
    """InputError unless a tetrahedral grid fits, wherever it is used: it is built on the CPU."""
    room.refuse_too_large(free_bytes(), [("grid", cells, 8, 1, room.grid_bytes)])


def require_texture(size: int, supersample: int | None = None, default: int = 2) -> None:
    """InputError unless a texture can be baked.  supersample: None where the node has no such input, and takes ``default``."""
    fine = default if supersample is None else supersample
    widgets = [("texture_size", size, 64, 64, lambda n: room.texture_bytes(n, fine))]
    if supersample is not None:
        widgets = [("supersample", supersample, 1, 1, lambda n: room.texture_bytes(size, n)), *widgets]
    room.refuse_too_large(free_bytes(), widgets)


def require_pictures(count: int, size: int, counted: str | None, sized: str = "size") -> None:
    """InputError unless ``count`` pictures of ``size`` pixels fit.  counted, sized: the widgets; None: the count is no widget."""
    widgets = [(sized, size, 16, 8, lambda n: room.picture_bytes(count, n))]
    if counted is not None:
        widgets = [(counted, count, 1, 1, lambda n: room.picture_bytes(n, size)), *widgets]
    room.refuse_too_large(free_bytes(), widgets)
