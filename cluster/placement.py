"""How many workers, and of what size: Ray's resources, one worker per GPU, CPU workers by the memory of their graph."""

from __future__ import annotations

import os
from dataclasses import dataclass

GIB = 2**30
BASE_BYTES = int(1.5 * GIB)  # ComfyUI with torch, networks of the quickstarts included (docs/benchmarks.md)


@dataclass(frozen=True)
class Sizes:
    """What one worker takes.  gpus, cpus: numbers, also fractions; memory: bytes; kind: a custom resource or ""."""

    gpus: float = 0.0
    cpus: float = 1.0
    memory: int = 0
    kind: str = ""

    def options(self) -> dict:
        """For an actor of Ray."""
        return {"num_gpus": self.gpus, "num_cpus": self.cpus, **({"memory": self.memory} if self.memory else {}),
                **({"resources": {self.kind: 0.001}} if self.kind else {})}

    def __str__(self) -> str:
        parts = [f"{self.gpus:g} GPU"] if self.gpus else []
        return ", ".join([*parts, f"{self.cpus:g} CPU", *([f"{self.memory / GIB:.1f} GB"] if self.memory else [])])


def sizes(gpus: float | None, cpus: float | None, memory: float | None, has_gpus: bool, need: int, kind: str = "") -> Sizes:
    """What was asked for (memory in GB), and for the rest: a GPU where there are some, one CPU, the graph's memory."""
    gpus = (1.0 if has_gpus else 0.0) if gpus is None else gpus
    bytes_ = (0 if gpus else need) if memory is None else int(memory * GIB)
    return Sizes(gpus, 1.0 if cpus is None else cpus, bytes_, kind)


def room(nodes: list[dict], size: Sizes) -> int:
    """Workers of that size that the living machines of a cluster hold together."""
    total = 0
    for node in nodes:
        if not node["Alive"]:
            continue
        has = node["Resources"]
        limits = [has.get(name, 0) / need for name, need in
                  (("GPU", size.gpus), ("CPU", size.cpus), ("memory", size.memory), (size.kind, 0.001 if size.kind else 0))
                  if need]
        total += int(min(limits) + 1e-9) if limits else 1
    return total


def of_this_machine(workers: int | None, cpus: float) -> dict:
    """What a cluster of this machine alone is told to have: room for ``workers``, or what the machine has."""
    told: dict = {"object_store_memory": 256 * 2**20}
    if workers:
        told["num_cpus"] = max(os.cpu_count() or 1, int(workers * cpus + 0.999))
    return told


def need_of(prompt: dict) -> int:
    """Bytes that a worker on a CPU takes for a graph: ComfyUI's own and the largest stage's.

    The stages' figures are those that nodes compare with the free memory before work (``core.room``); a stage whose
    preset is not known to it counts as nothing beyond the base.
    """
    from ..pipelines.core import room as estimate

    most = 0
    for node in prompt.values():
        texture = node["inputs"].get("texture_size")
        if isinstance(texture, int):
            fine = node["inputs"].get("supersample")
            most = max(most, estimate.texture_bytes(texture, fine if isinstance(fine, int) else 2))
        preset = node["inputs"].get("preset")
        if isinstance(preset, str):
            most = max(most, preset_bytes(preset))
    return BASE_BYTES + most


def preset_bytes(name: str) -> int:
    """The larger stage of a named preset; 0 for a name that no paper has."""
    from ..pipelines import consistent123, hifi123, magic123
    from ..pipelines.core import room as estimate

    chosen = {**consistent123.PRESETS, **magic123.PRESETS, **hifi123.PRESETS}.get(name)
    return 0 if chosen is None else max(estimate.nerf_bytes(chosen.nerf), estimate.mesh_bytes(chosen.mesh))
