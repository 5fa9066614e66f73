"""The workbench of the toybox's second version: finishes, letters, faces and thin parts."""

from __future__ import annotations

import numpy as np

from .glyphs import STROKES, letter_shapes
from .recipes import Workbench
from .shapes import Shape, ellipsoid, revolve, tube, vertex_normals

DARK, LIGHT = np.array([0.10, 0.10, 0.12]), np.array([0.95, 0.95, 0.93])
WOOD, STEEL, SKIN = np.array([0.62, 0.44, 0.27]), np.array([0.66, 0.68, 0.71]), np.array([0.93, 0.74, 0.60])
PALE = ("yellow", "lime", "sky", "pink", "beige", "white", "orange")


class SecondWorkbench(Workbench):
    """A :class:`Workbench` whose objects may also be glossy, lettered and painted in fixed materials.

    glossy: highlights of fixed lights are baked into the colors.  lettered: the letter, once there is one.
    """

    def __init__(self, rng: np.random.Generator):
        super().__init__(rng)
        self.glossy = bool(rng.uniform() < 0.4)
        self.lettered: str | None = None
        self.patterned = False

    def add(self, shape: Shape, tone: int = 0, patterned: bool = False) -> None:
        """Adds a part in one of the four tones, with the object's pattern when asked."""
        self.patterned |= patterned
        super().add(shape, tone, patterned)

    @property
    def ink(self) -> np.ndarray:
        """Dark on pale objects, light on dark ones."""
        return DARK if self.colors[0] in PALE else LIGHT

    def solid(self, shape: Shape, color) -> None:
        """Adds a part in one sRGB color (3), slightly varied."""
        color = np.clip(np.asarray(color) + self.rng.normal(0, 0.012, 3), 0.03, 0.97)
        self.parts.append((shape, np.tile(color, (len(shape.vertices), 1))))

    def tinted(self, shape: Shape, tone: int, factor: float) -> None:
        """Adds a part in a tone made darker (factor < 1) or paler (factor > 1)."""
        color = self.tones[tone] * factor if factor < 1 else 1 - (1 - self.tones[tone]) / factor
        self.solid(shape, color)

    def recolor(self, where, color) -> None:
        """Paints the vertices of the last part for which ``where(vertices)`` is true."""
        shape, colors = self.parts[-1]
        colors = colors.copy()
        colors[where(shape.vertices)] = color
        self.parts[-1] = (shape, colors)

    def letter(self, height: float, center, color=None, turn: float = 0.0, surface=None) -> None:
        """Sticks the object's letter on a face: read from +Z, turned about +Y by ``turn`` degrees, moved to ``center``."""
        self.lettered = self.lettered or str(self.rng.choice(list(STROKES)))
        color = self.ink if color is None else color
        for shape in letter_shapes(self.lettered, height, height * 0.085, surface):
            self.solid(shape.turned("y", turn).moved(center), color)

    def eyes(self, center, apart: float, size: float, ring: bool = False) -> None:
        """Two eyes that look along +Z; ``ring`` puts them on white."""
        for side in (-1, 1):
            place = np.asarray(center) + [side * apart, 0, 0]
            if ring:
                self.solid(ellipsoid([size * 1.9, size * 1.9, size], 8).moved(place), LIGHT)
                place = place + [0, 0, size * 0.75]
            self.solid(ellipsoid([size] * 3, 8).moved(place), DARK)

    def spin(self, *angles: float) -> None:
        """Turns the whole object about +Y by one of the angles (degrees)."""
        angle = float(self.rng.choice(angles))
        self.parts[:] = [(shape.turned("y", angle), color) for shape, color in self.parts]

    def one_of(self, *names: str) -> str:
        """A random one of some words."""
        return str(self.rng.choice(names))

    def words(self, noun: str) -> str:
        """The caption: finish, colors, pattern, letter and noun; at most 12 words."""
        self.pattern = self.pattern if self.patterned else "plain"  # say only what can be seen
        plain = super().words(noun)
        text = f"a glossy {plain.split(' ', 1)[1]}" if self.glossy else plain
        return f"{text} lettered {self.lettered}" if self.lettered else text


def disc(radius: float, half: float, segments: int = 40) -> Shape:
    """A coin in the x-y plane, ``half`` thick to either side."""
    edge = min(half, radius) * 0.4
    profile = [(radius - edge, -half), (radius, -half + edge), (radius, half - edge), (radius - edge, half)]
    return revolve(profile, segments, 30).turned("x", 90)


def rod(start, stop, radius: float) -> Shape:
    """A straight round bar with round ends."""
    return tube(np.asarray([start, stop], dtype=np.float64), radius, 10)


def bent(shape: Shape, change) -> Shape:
    """``change`` (vertices [V, 3] -> [V, 3], smooth, keeps orientation) applied, with new normals."""
    vertices = change(shape.vertices.copy())
    return Shape(vertices, shape.faces, vertex_normals(vertices, shape.faces))


def arc(radius: float, start: float, stop: float, count: int = 14) -> np.ndarray:
    """[count, 3] a circle's points in the x-y plane; angles in degrees from +X towards +Y."""
    a = np.deg2rad(np.linspace(start, stop, count))
    return np.stack([radius * np.cos(a), radius * np.sin(a), 0 * a], -1)


def outwards(shape: Shape) -> Shape:
    """The same closed surface with faces and normals to the outside, whichever way round it was built."""
    a, b, c = (shape.vertices[shape.faces[:, k]] for k in range(3))
    if (a * np.cross(b, c)).sum() > 0:
        return shape
    return Shape(shape.vertices, np.ascontiguousarray(shape.faces[:, ::-1]), -shape.normals)
