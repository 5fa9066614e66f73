"""A text network and a depth ControlNet as one depth-text network on a wire."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from ..pipelines.catalog.kinds import KINDS, resolve
from . import checkpoints
from .specs import Network, widened


@dataclass(frozen=True)
class ControlledNetwork:
    """A text network and a depth ControlNet by name, on the wire of a depth-text network (see ``specs.Network``)."""

    text: str
    control: str
    strength: float = 1.0
    kind: str = "depth_text"

    def check(self) -> None:
        """InputError for absent files, other kinds, or parts that do not belong together."""
        from ..pipelines.loaders.depth_control import check_pair

        Network("text", self.text).check()
        check_pair(*self.folders())

    def identity(self) -> str:
        """Names, strength, and the times of the files of weights (see ``specs.Network``)."""
        files = checkpoints.weight_files("text", self.text) | checkpoints.weight_files("depth_control", self.control)
        return repr((self, sorted((name, path.stat().st_mtime_ns) for name, path in files.items())))

    def folders(self) -> tuple[Path, Path]:
        """Of the text network and of the ControlNet."""
        return checkpoints.find("text", self.text), checkpoints.find("depth_control", self.control)

    def load(self, device: torch.device):
        """The pair on ``device``; loaded once per process and device."""
        self.check()
        text, control = self.folders()
        stamp = text.stat().st_mtime_ns + control.stat().st_mtime_ns
        return widened(_pair(self, str(text), str(control), stamp, str(device)))


@lru_cache(maxsize=1)
def _pair(network: ControlledNetwork, text: str, control: str, stamp: int, device: str):
    from . import managed

    for path in (text, control):
        managed.make_room(Path(path), torch.device(device))
    loaded = resolve(KINDS["depth_control"].loader)(Path(text), Path(control), torch.device(device), strength=network.strength)
    return managed.take_turns(loaded, torch.device(device))
