"""A character as separate meshes, one inside the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor

from .mesh import Mesh, merge, with_one_texture

LAYER_NAMES = ("body", "clothing", "hair")  # inside out; shoes belong to the body
LEVEL_LAYERS = (("body", "clothing", "hair"), ("body", "clothing"), ("body",))  # what peel levels 0, 1, 2 show


@dataclass(frozen=True)
class LayeredMesh:
    """The layers of a character in one frame (scene units), ordered inside out.

    layers: name -> mesh, names of :data:`LAYER_NAMES`.  A layer without faces counts as absent (a bald character has
            no "hair"); the order given does not matter, the order kept is inside out.
    ValueError for an unknown name.
    """

    layers: dict[str, Mesh]

    def __post_init__(self):
        unknown = [name for name in self.layers if name not in LAYER_NAMES]
        if unknown:
            raise ValueError(f"layers must be named {', '.join(LAYER_NAMES)}, got {', '.join(map(repr, unknown))}")
        for name, mesh in self.layers.items():
            if not isinstance(mesh, Mesh):
                raise ValueError(f"layer {name!r} must be a Mesh, got {type(mesh).__name__}")
        kept = {n: self.layers[n] for n in LAYER_NAMES if n in self.layers and len(self.layers[n].faces)}
        object.__setattr__(self, "layers", kept)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the layers that exist, inside out."""
        return tuple(self.layers)

    def __contains__(self, name: str) -> bool:
        return name in self.layers

    def __iter__(self) -> Iterator[str]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, name: str) -> Mesh:
        """The mesh of a layer; KeyError, naming the layers that exist, for an absent one."""
        if name not in self.layers:
            raise KeyError(f"no layer {name!r}; there are: {', '.join(self.layers) or 'none'}")
        return self.layers[name]

    def replaced(self, name: str, mesh: Mesh | None) -> "LayeredMesh":
        """The same character with one layer replaced, added, or (None) taken away."""
        layers = {key: value for key, value in self.layers.items() if key != name}
        return LayeredMesh(layers if mesh is None else {**layers, name: mesh})

    def select(self, names) -> "LayeredMesh":
        """Only those of ``names`` that exist."""
        return LayeredMesh({name: mesh for name, mesh in self.layers.items() if name in names})

    def level(self, level: int) -> "LayeredMesh":
        """What a peel level shows: 0 the complete character, 1 without hair, 2 the body only."""
        if level not in range(len(LEVEL_LAYERS)):
            raise ValueError(f"level must be 0, 1 or 2, got {level!r}")
        return self.select(LEVEL_LAYERS[level])

    def merged(self) -> Mesh:
        """All layers as one mesh, inside out (textures are dropped, see ``core.mesh.merge``).

        ValueError where there is no layer.
        """
        if not self.layers:
            raise ValueError("a character without layers cannot be merged into one mesh")
        return merge(list(self.layers.values()))

    def joined(self) -> Mesh:
        """As :meth:`merged`; where all layers have textures of one size they stay, side by side in one."""
        meshes = list(self.layers.values())
        sizes = {None if m.texture is None else tuple(m.texture.shape) for m in meshes}
        return self.merged() if len(sizes) != 1 or None in sizes else with_one_texture(meshes)

    def map(self, change: Callable[[Mesh], Mesh]) -> "LayeredMesh":
        """Every layer changed by a function of its mesh."""
        return LayeredMesh({name: change(mesh) for name, mesh in self.layers.items()})

    def transformed(self, scale: Tensor | float = 1.0, offset: Tensor | float = 0.0) -> "LayeredMesh":
        """vertices * scale + offset of every layer; ``scale`` must be positive."""
        return self.map(lambda mesh: mesh.transformed(scale, offset))

    def framed(self) -> "LayeredMesh":
        """All layers moved and scaled alike: centered, longest side 2.  ValueError where there is no layer."""
        points = self.merged().vertices
        low, high = points.amin(0), points.amax(0)
        scale = 2.0 / float((high - low).max().clamp_min(1e-12))
        return self.transformed(scale, -scale * (low + high) / 2)

    def to(self, device) -> "LayeredMesh":
        """The same layers on another device."""
        return self.map(lambda mesh: mesh.to(device))

    def detach(self) -> "LayeredMesh":
        """The same layers without their autograd history."""
        return self.map(Mesh.detach)
