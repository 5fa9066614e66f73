"""What toy objects there are: each recipe assembles colored parts and names itself.

A recipe takes a :class:`Workbench` and returns the noun of its caption.  Objects stand upright
(+Y) and face +Z; all random choices come from the workbench's generator.
"""

from __future__ import annotations

import numpy as np

from .patterns import PALETTE, PATTERNS, jittered, paint
from .shapes import Shape, blend, ellipsoid, prism, revolve, rounded_box, smooth_profile, torus, tube


class Workbench:
    """Collects colored parts and the words that describe them."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        names = list(PALETTE)
        self.colors = [names[i] for i in rng.permutation(len(names))[:4]]
        self.tones = [jittered(name, rng) for name in self.colors]
        self.pattern = "plain" if rng.uniform() < 0.4 else str(rng.choice(PATTERNS[1:]))
        self.parts: list[tuple[Shape, np.ndarray]] = []

    def u(self, low: float, high: float) -> float:
        """A uniform number."""
        return float(self.rng.uniform(low, high))

    def add(self, shape: Shape, tone: int = 0, patterned: bool = False) -> None:
        """Adds a part in one of the four tones, with the object's pattern when asked."""
        pattern = self.pattern if patterned else "plain"
        self.parts.append((shape, paint(shape.vertices, pattern, self.tones[tone], self.tones[1], self.rng)))

    def words(self, noun: str) -> str:
        """The caption: colors, pattern and noun."""
        first, second = self.colors[:2]
        article = "an" if first[0] in "aeiou" else "a"
        if self.pattern == "plain":
            return f"{article} {first} {noun}"
        link = "shaded with" if self.pattern == "shaded" else f"{self.pattern} with"
        return f"{article} {first} {noun} {link} {second}"


def ball(w: Workbench) -> str:
    w.add(ellipsoid([w.u(0.7, 1), w.u(0.7, 1), w.u(0.7, 1)], 20), patterned=True)
    return "ball"


def crate(w: Workbench) -> str:
    w.add(rounded_box([w.u(0.5, 1), w.u(0.5, 1), w.u(0.5, 0.9)], w.u(0.03, 0.2), 18), patterned=True)
    return "box"


def can(w: Workbench) -> str:
    r, h, b = w.u(0.45, 0.8), w.u(0.6, 1), 0.05
    w.add(revolve([(r - b, -h), (r, -h + b), (r, h - b), (r - b, h)]), patterned=True)
    return "can"


def cone(w: Workbench) -> str:
    r, h = w.u(0.5, 0.9), w.u(0.7, 1)
    w.add(revolve([(r - 0.03, -h), (r, -h + 0.04), (0.03, h)]), patterned=True)
    if w.u(0, 1) < 0.5:
        w.add(revolve([(r * 1.3, -h - 0.1), (r * 1.3, -h)]), 2)
    return "cone"


def vase(w: Workbench) -> str:
    points = [(w.u(0.25, 0.5), -1), (w.u(0.4, 0.8), w.u(-0.6, -0.2)), (w.u(0.2, 0.45), w.u(0.3, 0.6)), (w.u(0.3, 0.55), 1)]
    w.add(revolve(smooth_profile(points), rows=44), patterned=True)
    return "vase"


def bottle(w: Workbench) -> str:
    r, neck, shoulder = w.u(0.32, 0.5), w.u(0.1, 0.17), w.u(0.05, 0.4)
    profile = [(r - 0.04, -1), (r, -0.95), (r, shoulder), (neck, shoulder + 0.3), (neck, 0.85)]
    w.add(revolve(profile, rows=44), patterned=True)
    w.add(revolve([(neck * 1.25, 0.8), (neck * 1.25, 1.0)], rows=12), 2)
    return "bottle"


def ring(w: Workbench) -> str:
    shape = torus(0.7, w.u(0.2, 0.33))
    w.add(shape.turned("x", w.u(60, 90)) if w.u(0, 1) < 0.6 else shape, patterned=True)
    return "ring"


def mug(w: Workbench) -> str:
    r, h = w.u(0.45, 0.6), w.u(0.5, 0.7)
    w.add(revolve([(r - 0.05, -h), (r, -h + 0.06), (r, h), (r - 0.09, h), (r - 0.1, -h + 0.2)], rows=48), patterned=True)
    a = np.linspace(-1.4, 1.4, 14)
    side = 1 if w.u(0, 1) < 0.5 else -1
    path = np.stack([side * (r * 0.95 + 0.35 * np.cos(a)), h * 0.65 * np.sin(a), 0 * a], -1)
    w.add(tube(path, 0.08).turned("y", w.u(-30, 30)), 2 if w.u(0, 1) < 0.5 else 0)
    return "mug"


def table(w: Workbench) -> str:
    x, z, h = w.u(0.6, 1), w.u(0.45, 0.8), w.u(0.45, 0.8)
    if w.u(0, 1) < 0.3:
        w.add(revolve([(x, -0.08), (x, 0.08)], rows=16).moved([0, h, 0]), patterned=True)
        w.add(revolve([(0.35, -h), (0.3, -h + 0.1), (0.1, -h + 0.2), (0.1, h)]), 2)
        return "round table"
    w.add(rounded_box([x, 0.08, z], 0.03).moved([0, h, 0]), patterned=True)
    _legs(w, x - 0.1, z - 0.1, -h, h, 0.07, 2)
    return "table"


def chair(w: Workbench) -> str:
    x, z, back = w.u(0.4, 0.55), w.u(0.4, 0.5), w.u(0.6, 0.9)
    w.add(rounded_box([x, 0.08, z], 0.04), patterned=True)
    w.add(rounded_box([x, back / 2, 0.07], 0.04).moved([0, back / 2, -z + 0.05]), 0, patterned=True)
    _legs(w, x - 0.08, z - 0.08, -0.8, 0.0, 0.07, 2)
    return "chair"


def mushroom(w: Workbench) -> str:
    r = w.u(0.6, 0.9)
    w.add(revolve(smooth_profile([(w.u(0.25, 0.4), -0.9), (0.22, -0.4), (0.2, 0.1)])), 2)
    w.add(revolve(smooth_profile([(0.1, 0), (r, 0.02), (r * 0.8, 0.45), (r * 0.3, 0.7), (0.02, 0.75)])), patterned=True)
    return "mushroom"


def tree(w: Workbench) -> str:
    w.add(revolve([(0.16, -1), (0.12, 0.2)]), 2)
    if w.u(0, 1) < 0.5:
        for k in range(3):
            r = 0.75 - 0.18 * k
            w.add(revolve([(r, -0.45 + 0.42 * k), (0.02, 0.3 + 0.42 * k)]), patterned=True)
        return "fir tree"
    centers = w.rng.uniform(-0.28, 0.28, (5, 3))
    w.add(blend(centers, np.full(5, w.u(0.45, 0.55))).moved([0, 0.4, 0]), patterned=True)
    return "tree"


def snowman(w: Workbench) -> str:
    r = [w.u(0.5, 0.6), w.u(0.36, 0.42), w.u(0.25, 0.3)]
    y = -0.5
    for k, radius in enumerate(r):
        w.add(ellipsoid([radius] * 3), 0, patterned=k == 1)
        shape, color = w.parts.pop()
        w.parts.append((shape.moved([0, y, 0]), color))
        y += 0.75 * (radius + r[min(k + 1, 2)])
    head = w.parts[-1][0].vertices.mean(0)
    w.add(revolve([(0.07, 0), (0.01, 0.3)], 16, 10).turned("x", 90).moved(head + [0, 0, r[2] * 0.9]), 2)
    _eyes(w, head + [0, 0.1, 0], r[2], 0.05)
    return "snowman"


def bear(w: Workbench) -> str:
    body = [w.u(0.45, 0.6), w.u(0.5, 0.6), w.u(0.35, 0.5)]
    head = w.u(0.36, 0.45)
    top = body[1] + head * 0.7
    w.add(ellipsoid(body), patterned=True)
    w.add(ellipsoid([head] * 3).moved([0, top, 0]))
    w.add(ellipsoid([head * 0.45, head * 0.35, head * 0.4]).moved([0, top - 0.1, head * 0.8]), 2)
    for side in (-1, 1):
        w.add(ellipsoid([0.14, 0.14, 0.08]).moved([side * head * 0.8, top + head * 0.75, 0]))
        w.add(ellipsoid([0.16, 0.3, 0.16]).turned("z", side * 35).moved([side * body[0] * 1.05, 0.1, 0.1]))
        w.add(ellipsoid([0.2, 0.18, 0.32]).moved([side * 0.3, -body[1] * 0.85, 0.3]))
    _eyes(w, np.array([0, top + 0.08, 0]), head, 0.055)
    return "bear"


def animal(w: Workbench) -> str:
    length, r, leg = w.u(0.55, 0.8), w.u(0.28, 0.4), w.u(0.3, 0.55)
    parts_before = len(w.parts)
    w.add(ellipsoid([r, r, length]), patterned=True)
    head = w.u(0.22, 0.32)
    w.add(ellipsoid([head, head, head * 1.15]).moved([0, r * 0.8, length]))
    for side in (-1, 1):
        for z in (-0.6, 0.6):
            base = [side * r * 0.6, -leg, z * length]
            w.add(revolve([(0.1, -leg * 0.6), (0.11, leg)], 20, 12).moved(base), 0)
        w.add(ellipsoid([0.07, 0.16, 0.05]).moved([side * head * 0.7, r * 0.8 + head, length]), 2)
    _eyes(w, np.array([0, r * 0.8 + 0.06, length]), head, 0.05)
    tail = np.stack([0 * np.linspace(0, 1, 8), 0.4 * np.linspace(0, 1, 8) ** 1.5, -length - 0.3 * np.linspace(0, 1, 8)], -1)
    w.add(tube(tail, np.linspace(0.08, 0.04, 8), 10), 2)
    turn = float(w.rng.choice([0, 90, -90, 35, -35]))
    w.parts[parts_before:] = [(s.turned("y", turn), c) for s, c in w.parts[parts_before:]]
    return "animal"


def fish(w: Workbench) -> str:
    w.add(ellipsoid([0.8, w.u(0.35, 0.55), w.u(0.22, 0.35)], 18), patterned=True)
    tail = prism([(-0.7, 0), (-1.15, 0.4), (-1.15, -0.4)], 0.1)
    w.add(tail, 2)
    w.add(prism([(-0.25, 0.3), (0.3, 0.3), (-0.1, 0.75)], 0.08), 2)
    for side in (-1, 1):
        w.add(ellipsoid([0.07] * 3).moved([0.52, 0.12, side * 0.17]), 3)
    return "fish"


def lump(w: Workbench) -> str:
    n = int(w.rng.integers(3, 6))
    centers = w.rng.normal(0, 0.3, (n, 3)) * [1, 1, 0.8]
    w.add(blend(centers - centers.mean(0), w.rng.uniform(0.35, 0.6, n), 20), patterned=True)
    return "blob"


def lamp(w: Workbench) -> str:
    r = w.u(0.45, 0.65)
    w.add(revolve([(0.4, -1), (0.4, -0.92), (0.06, -0.85), (0.05, 0.3)]), 2)
    w.add(revolve([(r, 0.1), (r * w.u(0.45, 0.8), 0.85)], rows=24), patterned=True)
    return "lamp"


def house(w: Workbench) -> str:
    x, y, z, roof = w.u(0.5, 0.75), w.u(0.35, 0.6), w.u(0.45, 0.7), w.u(0.35, 0.6)
    w.add(rounded_box([x, y, z], 0.02), 0, patterned=w.pattern in ("striped", "two-tone", "shaded"))
    w.add(prism([(-x - 0.12, y), (x + 0.12, y), (0, y + roof)], 2 * z + 0.2), 2)
    w.add(rounded_box([0.12, 0.22, 0.03], 0.01).moved([w.u(-0.2, 0.2), -y + 0.2, z]), 3)
    turn = float(w.rng.choice([0, 0, 30, -30]))
    w.parts[:] = [(s.turned("y", turn), c) for s, c in w.parts]
    return "house"


def car(w: Workbench) -> str:
    length, height, width = w.u(0.8, 1), w.u(0.2, 0.3), w.u(0.35, 0.45)
    w.add(rounded_box([length, height, width], 0.1), patterned=True)
    cabin = rounded_box([length * w.u(0.45, 0.6), 0.22, width * 0.9], 0.1)
    w.add(cabin.moved([w.u(-0.2, 0.1), height + 0.15, 0]), 2)
    for x in (-0.55, 0.55):
        for side in (-1, 1):
            wheel = revolve([(0.19, -0.07), (0.19, 0.07)], 24, 10).turned("x", 90)
            w.add(wheel.moved([x * length, -height, side * width]), 3)
    turn = float(w.rng.choice([0, 180, 90, -90, 35, -35]))
    w.parts[:] = [(s.turned("y", turn), c) for s, c in w.parts]
    return "car"


def arch(w: Workbench) -> str:
    a = np.linspace(-w.u(1.2, 2.0), w.u(1.2, 2.0), 28)
    path = np.stack([0.75 * np.sin(a), 0.75 * np.cos(a), 0.15 * np.sin(2 * a) * w.u(0, 1)], -1)
    radii = w.u(0.16, 0.26) * (1 - w.u(0, 0.6) * (a / 2) ** 2)
    shape = tube(path, np.maximum(radii, 0.06), 20).turned("z", w.u(-180, 180))
    w.add(shape, patterned=True)
    return "banana"


def tower(w: Workbench) -> str:
    y = -1.0
    for k in range(int(w.rng.integers(2, 5))):
        h, r = w.u(0.15, 0.3), w.u(0.3, 0.65)
        kind = int(w.rng.integers(3))
        shape = (
            rounded_box([r, h, r], 0.05),
            revolve([(r, -h), (r, h)], rows=14),
            ellipsoid([r, h, r]),
        )[kind]
        w.add(shape.moved([0, y + h, 0]), k % 4, patterned=k == 0)
        y += 1.95 * h
    return "tower"


def cactus(w: Workbench) -> str:
    w.add(revolve([(0.35, -1), (0.45, -0.5), (0.3, -0.5)]), 2)
    w.add(revolve(smooth_profile([(0.22, -0.6), (0.28, 0.1), (0.24, 0.6), (0.02, 0.85)])), patterned=True)
    for side in (-1, 1)[: int(w.rng.integers(1, 3))]:
        h = w.u(-0.1, 0.3)
        path = [[0.2 * side, h, 0], [0.45 * side, h, 0], [0.55 * side, h + 0.12, 0], [0.56 * side, h + 0.4, 0]]
        w.add(tube(_spline(path), 0.12, 14).turned("y", w.u(-40, 40)), 0)
    return "cactus"


def _spline(points) -> np.ndarray:
    points = np.asarray(points, dtype=np.float64)
    t = np.linspace(0, len(points) - 1, 16)
    return np.stack([np.interp(t, np.arange(len(points)), points[:, k]) for k in range(3)], -1)


def _legs(w: Workbench, x: float, z: float, low: float, high: float, r: float, tone: int) -> None:
    for sx in (-1, 1):
        for sz in (-1, 1):
            leg = rounded_box([r, (high - low) / 2, r], 0.03, 8)
            w.add(leg.moved([sx * x, (low + high) / 2, sz * z]), tone)


def _eyes(w: Workbench, center: np.ndarray, head: float, size: float) -> None:
    for side in (-1, 1):
        offset = np.array([side * head * 0.4, 0.0, head * 0.88])
        eye = ellipsoid([size] * 3, 6).moved(center + offset)
        w.parts.append((eye, np.tile([0.08, 0.08, 0.1], (len(eye.vertices), 1))))


RECIPES = (
    ball, crate, can, cone, vase, bottle, ring, mug, table, chair, mushroom, tree, snowman, bear,
    animal, fish, lump, lamp, house, car, arch, tower, cactus,
)
