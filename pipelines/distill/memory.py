"""What VSD has seen and learned, as plain tensors: a stage that goes on has to go on bit for bit."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..core.cameras import Cameras

MOST = 16  # views of one step that are learned from


@dataclass
class Seen:
    """Latents of the step with random seed ``key``, and where they were seen from."""

    key: int = 0
    latents: list[Tensor] = field(default_factory=list)
    cameras: list[Cameras] = field(default_factory=list)

    def add(self, key: int, latents: Tensor, cameras: Cameras) -> None:
        """Adds views of one step; those of a step that was tried again are in twice, the last ones count."""
        self.key = key
        self.latents = [*self.latents, latents.detach().cpu()][-MOST:]
        self.cameras = [*self.cameras, cameras.to("cpu")][-MOST:]

    def all(self, like: Tensor) -> tuple[Tensor, Cameras]:
        """Everything in one batch on the device of ``like``."""
        return torch.cat(self.latents).to(like), Cameras.cat(self.cameras).to(like.device)


def pack_adam(adam: torch.optim.Adam, seen: Seen, learned: list[Tensor]) -> tuple[dict[str, Tensor], dict]:
    """(tensors on the CPU, JSON) of what was learned and seen; inverse of :func:`unpack_adam`."""
    tensors = {f"learned/{i}": p for i, p in enumerate(learned)}
    for i, p in enumerate(learned):
        tensors |= {f"adam/{i}/{name}": value for name, value in adam.state.get(p, {}).items()}
    meta: dict = {"key": seen.key, "size": None}
    if seen.latents:
        cameras = Cameras.cat(seen.cameras)
        tensors |= {"seen/latents": torch.cat(seen.latents), "seen/c2w": cameras.c2w, "seen/fovy": cameras.fovy}
        meta["size"] = [cameras.height, cameras.width]
    return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()}, meta


@torch.no_grad()
def unpack_adam(adam: torch.optim.Adam, learned: list[Tensor], tensors: dict[str, Tensor], meta: dict) -> Seen:
    """Puts back what :func:`pack_adam` gave, and returns what was seen."""
    for i, p in enumerate(learned):
        p.copy_(tensors[f"learned/{i}"])
        state = {k.rpartition("/")[2]: v for k, v in tensors.items() if k.startswith(f"adam/{i}/")}
        if state:
            adam.state[p] = {k: v.clone() if k == "step" else v.to(p, copy=True) for k, v in state.items()}
    if meta["size"] is None:
        return Seen(meta["key"])
    cameras = Cameras(tensors["seen/c2w"], tensors["seen/fovy"], *meta["size"])
    return Seen(meta["key"], [tensors["seen/latents"]], [cameras])
