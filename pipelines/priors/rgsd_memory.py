"""What RGSD has to keep when a stage stops, so that the stage goes on as if it had never stopped.

Views, their targets, and where in the turn of views the stage was; tensors by name and JSON, as scenes keep them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from torch import Tensor

from ..core.cameras import Cameras


@dataclass(frozen=True)
class Target:
    """Of one view: latents [n, C, h, w] or pictures [n, S, S, 3] for tau = first .. first + n - 1, and a mask that fits."""

    clean: Tensor
    first: int
    mask: Tensor


@dataclass
class Tally:
    """Visits of one kind of view, and UNet evaluations (pictures) and calls spent on them."""

    visits: int = 0
    evaluations: int = 0
    calls: int = 0

    @property
    def per_visit(self) -> float:
        """Evaluations per visit."""
        return self.evaluations / max(self.visits, 1)


@dataclass
class Memory:
    """The changing part of an ``RgsdPrior``.

    slots:   random views that are shown in turn; None = not drawn yet.
    visit:   how many steps have shown novel views, less one; step: the last of them.
    fixed:   views (by key) whose target is the end of the descent; kept: random ones whose targets serve again.
    targets: by the view's key.
    """

    slots: list[Cameras | None]
    visit: int = -1
    step: int | None = None
    fixed: set[bytes] = field(default_factory=set)
    kept: set[bytes] = field(default_factory=set)
    targets: dict[bytes, Target] = field(default_factory=dict)
    tally: dict[str, Tally] = field(default_factory=lambda: {"fixed": Tally(), "random": Tally()})

    def pack(self) -> tuple[dict[str, Tensor], dict]:
        """(tensors on the CPU, JSON); inverse of :meth:`unpack`."""
        tensors, views, found = {}, [], []
        for i, view in enumerate(self.slots):
            if view is not None:
                tensors[f"slot{i}/c2w"], tensors[f"slot{i}/fovy"] = view.c2w, view.fovy
            views.append(None if view is None else [view.height, view.width, view.near, view.far])
        for i, (key, target) in enumerate(self.targets.items()):
            tensors[f"target{i}/clean"], tensors[f"target{i}/mask"] = target.clean, target.mask
            found.append([key.hex(), target.first])
        meta = {"visit": self.visit, "step": self.step, "slots": views, "targets": found,
                "fixed": sorted(k.hex() for k in self.fixed), "kept": sorted(k.hex() for k in self.kept),
                "tally": {name: asdict(tally) for name, tally in self.tally.items()}}
        return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()}, meta

    @staticmethod
    def unpack(tensors: dict[str, Tensor], meta: dict) -> "Memory":
        """What was packed; KeyError where tensors are absent."""
        slots = [None if v is None else Cameras(tensors[f"slot{i}/c2w"], tensors[f"slot{i}/fovy"], *v)
                 for i, v in enumerate(meta["slots"])]
        targets = {bytes.fromhex(key): Target(tensors[f"target{i}/clean"], first, tensors[f"target{i}/mask"])
                   for i, (key, first) in enumerate(meta["targets"])}
        fixed, kept = ({bytes.fromhex(k) for k in meta[name]} for name in ("fixed", "kept"))
        tally = {name: Tally(**numbers) for name, numbers in meta["tally"].items()}
        return Memory(slots, meta["visit"], meta["step"], fixed, kept, targets, tally)
