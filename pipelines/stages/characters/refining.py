"""A refinement of layers between two steps: all that it needs to go on, bit for bit, in another process."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ...core.mesh import Mesh
from .refined_layers import RefinedLayers


@dataclass(frozen=True)
class Refining:
    """Finished layers, and the one at work.

    done:    the layers, refined as far as they are finished.
    step, total: iterations made and planned, as people were told.
    outline: [6, H, W] coverage that views are shifted to match, as it was when the layer at work began; None = not known.
    layer:   the one at work; "" between two layers.  fit: which of its two fits.
    before:  the surface that the fit began with; generator: state of its noise, [bytes] uint8; surface: of ``fit_layer``.
    """

    done: RefinedLayers
    step: int
    total: int
    outline: Tensor | None = None
    layer: str = ""
    fit: int = 0
    before: Mesh | None = None
    generator: Tensor | None = None
    surface: dict[str, Tensor] = field(default_factory=dict)

    def pack(self) -> tuple[dict[str, Tensor], dict]:
        """(tensors on the CPU, JSON); inverse of :meth:`unpack`."""
        tensors, done = self.done.pack()
        tensors = {f"done/{name}": value for name, value in tensors.items()}
        tensors |= {f"surface/{name}": value for name, value in self.surface.items()}
        if self.outline is not None:
            tensors["outline"] = self.outline.detach().cpu()
        if self.before is not None and self.generator is not None:
            tensors |= {"before/vertices": self.before.vertices.detach().cpu(), "before/faces": self.before.faces.cpu(),
                        "generator": self.generator}
        return tensors, {"done": done, "step": self.step, "total": self.total, "layer": self.layer, "fit": self.fit}

    @staticmethod
    def unpack(tensors: dict[str, Tensor], state: dict) -> "Refining":
        """What :meth:`pack` gave."""

        def part(name: str) -> dict[str, Tensor]:
            return {k.removeprefix(f"{name}/"): v for k, v in tensors.items() if k.startswith(f"{name}/")}

        before = Mesh(tensors["before/vertices"], tensors["before/faces"]) if state["layer"] else None
        return Refining(RefinedLayers.unpack(part("done"), state["done"]), int(state["step"]), int(state["total"]),
                        tensors.get("outline"), state["layer"], int(state["fit"]), before, tensors.get("generator"),
                        part("surface"))

    def to(self, device: torch.device | str) -> "Refining":
        """The same on another device; the generator's state stays on the CPU."""
        move = lambda value: None if value is None else value.to(device)  # noqa: E731
        return replace(self, done=self.done.to(device), outline=move(self.outline), before=move(self.before),
                       surface={name: value.to(device) for name, value in self.surface.items()})
