"""Household things of the toybox's second version.  Entries of one table: each takes a workbench and returns its noun.

Thin parts, hollows and lettered fronts; plain backs.  What a back looks like follows from the front by fixed conventions.
"""

from __future__ import annotations

import numpy as np

from .shapes import ellipsoid, revolve, rounded_box, smooth_profile, torus, tube
from .workbench import DARK, LIGHT, STEEL, WOOD, SecondWorkbench, arc, bent, disc, outwards, rod

LEAF = np.array([0.25, 0.55, 0.25])


def sign(w: SecondWorkbench) -> str:
    x, y = w.u(0.5, 0.8), w.u(0.35, 0.55)
    lift = w.u(0.25, 0.5)
    if w.u(0, 1) < 0.35:
        w.add(disc(y * 1.1, 0.05).moved([0, lift, 0]))
        x = y * 1.1
    else:
        w.add(rounded_box([x, y, 0.055], 0.03, 20).moved([0, lift, 0]))
    w.recolor(lambda v: v[:, 2] < 0.01, WOOD * 0.9)
    w.letter(y * 1.15, [0, lift, 0.055])
    for place in (-0.5 * x, 0.5 * x) if w.u(0, 1) < 0.4 else (0.0,):
        w.solid(rounded_box([0.05, (lift + 1) / 2, 0.05], 0.02, 8).moved([place, (lift - 1) / 2, -0.08]), WOOD)
    w.add(rounded_box([0.32, 0.06, 0.25], 0.04, 8).moved([0, -1, -0.05]), 2)
    w.spin(0, 0, 0, 25, -25)
    return "sign"


def clock(w: SecondWorkbench) -> str:
    r, depth = w.u(0.62, 0.75), w.u(0.12, 0.25)
    w.add(disc(r, depth, 48), 0)
    w.solid(disc(r * 0.84, 0.03, 44).moved([0, 0, depth]), LIGHT)
    for k in range(12):
        a = k * np.pi / 6
        spot = [np.sin(a) * r * 0.7, np.cos(a) * r * 0.7, depth + 0.03]
        w.solid(ellipsoid([0.045 if k % 3 == 0 else 0.028] * 2 + [0.02], 6).moved(spot), DARK)
    for length, width in ((0.4, 0.04), (0.58, 0.028)):
        a = w.u(0, 2 * np.pi)
        w.solid(rod([0, 0, depth + 0.045], [np.sin(a) * r * length, np.cos(a) * r * length, depth + 0.045], width), DARK)
    if w.u(0, 1) < 0.6:
        for side in (-1, 1):
            w.add(ellipsoid([0.2, 0.15, 0.2], 12).turned("z", -side * 38).moved([side * r * 0.66, r * 0.85, 0]), 2)
            w.solid(rod([side * r * 0.5, -r * 0.8, 0], [side * r * 0.75, -r * 1.2, 0], 0.06), STEEL)
        w.solid(tube(arc(0.22, 10, 170) + [0, r * 1.0, 0], 0.035, 10), STEEL)
    w.solid(disc(r * 0.25, 0.04).moved([0, -r * 0.2, -depth]), STEEL)
    w.solid(rounded_box([0.16, 0.035, 0.05], 0.02, 6).moved([0, -r * 0.2, -depth - 0.05]), DARK)
    return "clock"


def television(w: SecondWorkbench) -> str:
    x, y, z = w.u(0.65, 0.8), w.u(0.45, 0.58), w.u(0.2, 0.3)
    w.add(rounded_box([x, y, z], 0.08, 22), 0)
    w.solid(rounded_box([x * 0.66, y * 0.76, 0.04], 0.04, 12).moved([-x * 0.22, 0, z]), [0.2, 0.26, 0.3])
    w.recolor(lambda v: v[:, 1] - v[:, 0] > 0.25, [0.42, 0.5, 0.55])
    for k in range(int(w.rng.integers(2, 4))):
        w.add(disc(0.085, 0.05, 20).moved([x * 0.72, y * (0.55 - 0.4 * k), z + 0.02]), 2)
    for side in (-1, 1):
        w.solid(rod([0, y, 0], [side * w.u(0.25, 0.6), y + w.u(0.35, 0.6), 0], 0.025), STEEL)
        w.solid(rod([side * x * 0.6, -y, 0], [side * x * 0.75, -y - 0.2, 0.05], 0.05), WOOD)
    w.solid(rounded_box([x * 0.6, y * 0.65, 0.16], 0.08, 12).moved([0, 0, -z - 0.08]), [0.2, 0.2, 0.22])
    for y_bar in (-0.25, 0.0, 0.25):
        w.solid(rounded_box([x * 0.45, 0.03, 0.02], 0.01, 6).moved([0, y_bar * y * 1.4, -z - 0.24]), STEEL)
    return "television"


def basket(w: SecondWorkbench) -> str:
    low, high, h = w.u(0.3, 0.45), w.u(0.5, 0.65), w.u(0.4, 0.55)
    wall = 0.06
    profile = [(low, -h), (high, h), (high - wall, h), (low - wall, -h + wall), (0.02, -h + wall)]
    w.add(revolve(profile, 44, 60), 0, patterned=w.pattern in ("striped", "checkered", "two-tone"))
    w.solid(tube(arc(high - wall / 2, 0, 180, 20) * [1, w.u(0.9, 1.3), 1] + [0, h - 0.05, 0], 0.045, 10), WOOD)
    for k in range(int(w.rng.integers(0, 4))):
        a = w.u(0, 2 * np.pi)
        w.add(ellipsoid([0.2] * 3, 12).moved([0.22 * np.cos(a), h - 0.08, 0.22 * np.sin(a)]), 2 + k % 2)
    if w.u(0, 1) < 0.5:
        slope = (high - low) / (2 * h)
        middle = (high + low) / 2
        w.letter(h * 0.9, [0, 0, 0], surface=lambda x, y: np.sqrt(np.maximum((middle + slope * y) ** 2 - x**2, 0.01)))
    w.spin(0, 0, 90) if w.lettered is None else None
    return "basket"


def teapot(w: SecondWorkbench) -> str:
    r, h, side = w.u(0.5, 0.6), w.u(0.45, 0.6), 1 if w.u(0, 1) < 0.5 else -1
    profile = smooth_profile([(r * 0.6, -h), (r, -h * 0.2), (r * 0.8, h * 0.6), (r * 0.45, h * 0.85)])
    w.add(revolve(profile, rows=44), 0, patterned=True)
    w.add(revolve(smooth_profile([(r * 0.48, h * 0.83), (r * 0.3, h * 1.05), (0.05, h * 1.15)]), rows=20), 2)
    w.add(ellipsoid([0.08] * 3, 8).moved([0, h * 1.25, 0]), 1)
    spout = np.array([[r * 0.8, -0.15, 0], [r * 1.25, 0.0, 0], [r * 1.5, h * 0.7, 0], [r * 1.75, h * 0.85, 0]]) * [side, 1, 1]
    s = np.linspace(0, 3, 14)
    w.add(tube(np.stack([np.interp(s, range(4), spout[:, k]) for k in range(3)], -1), np.linspace(0.16, 0.07, 14), 14), 0)
    w.add(tube((arc(h * 0.55, -80, 80) * [1.0, 1, 1] + [r * 0.85, 0.0, 0]) * [-side, 1, 1], 0.06, 12), 2)
    w.spin(0, 0, 30, -30, 60, -60)
    return "teapot"


def armchair(w: SecondWorkbench) -> str:
    x, z, back = w.u(0.45, 0.75), w.u(0.42, 0.52), w.u(0.6, 0.95)
    w.add(rounded_box([x, 0.16, z], 0.07, 16).moved([0, -0.25, 0]), 0)
    w.add(rounded_box([x * 0.97, 0.1, z * 0.9], 0.08, 14).moved([0, -0.05, 0.06]), 1)
    w.add(rounded_box([x, back / 2, 0.13], 0.1, 22).moved([0, -0.2 + back / 2, -z + 0.08]), 0, patterned=True)
    for side in (-1, 1):
        w.add(rounded_box([0.13, 0.27, z], 0.1, 14).moved([side * x, -0.12, 0]), 0)
        for end in (-0.8, 0.8):
            w.solid(revolve([(0.04, -0.3), (0.07, 0)], 14, 8).moved([side * x * 0.9, -0.4, end * z]), WOOD)
    if w.u(0, 1) < 0.5:
        w.add(rounded_box([0.2, 0.2, 0.08], 0.08, 10).turned("z", w.u(-20, 20)).moved([w.u(-0.15, 0.15), 0.2, -z + 0.3]), 2)
    w.spin(0, 0, 25, -25, 40, -40)
    return "armchair"


def bookshelf(w: SecondWorkbench) -> str:
    x, y, z, rows = w.u(0.5, 0.7), w.u(0.7, 0.95), w.u(0.18, 0.26), int(w.rng.integers(2, 4))
    w.solid(rounded_box([x, y, 0.03], 0.02, 8).moved([0, 0, -z]), WOOD * 0.75)
    for side in (-1, 1):
        w.add(rounded_box([0.05, y, z], 0.02, 8).moved([side * x, 0, 0]))
    shelves = np.linspace(-y, y, rows + 1)
    for level in shelves:
        w.add(rounded_box([x + 0.04, 0.045, z], 0.02, 8).moved([0, level, 0]))
    for level, above in zip(shelves[:-1], shelves[1:]):
        left, room = -x + 0.08, above - level - 0.1
        while left < x - 0.2:
            wide, tall = w.u(0.05, 0.1), room * w.u(0.55, 0.95)
            if w.u(0, 1) < 0.8:
                book = rounded_box([wide, tall / 2, z * 0.75], 0.015, 6)
                w.add(book.moved([left + wide, level + 0.04 + tall / 2, 0]), int(w.rng.integers(1, 4)))
            left += 2 * wide + 0.02
    return "bookshelf"


def umbrella(w: SecondWorkbench) -> str:
    r, h, thick = w.u(0.75, 0.95), w.u(0.35, 0.5), 0.035
    down = [((r - thick) * np.cos(a), (h - thick) * np.sin(a)) for a in np.linspace(np.pi / 2, 0, 14)]
    up = [(r * np.cos(a), h * np.sin(a)) for a in np.linspace(0, np.pi / 2, 14)]
    canopy = outwards(revolve(down + up, 48, 70))  # from under the tip to the rim and back above: open from below
    lean = w.u(-25, 25)
    w.add(canopy.moved([0, 0.35, 0]).turned("z", lean), 0, patterned=w.pattern in ("upright striped", "two-tone", "shaded"))
    w.solid(rod([0, -0.75, 0], [0, 0.35 + h + 0.12, 0], 0.03).turned("z", lean), STEEL)
    hook = tube(arc(0.13, 180, 350) + [0.13, -0.75, 0], 0.045, 10)
    w.add(hook.turned("y", w.u(-60, 60)).turned("z", lean), 2)
    return "umbrella"


def guitar(w: SecondWorkbench) -> str:
    r, neck = w.u(0.36, 0.44), w.u(0.75, 0.95)
    w.add(ellipsoid([r, r, 0.12], 22).moved([0, -0.55, 0]), 0)
    w.add(ellipsoid([r * 0.72, r * 0.72, 0.12], 18).moved([0, -0.55 + r * 1.05, 0]), 0)
    w.solid(disc(r * 0.3, 0.03).moved([0, -0.55 + r * 0.45, 0.11]), DARK)
    w.solid(rounded_box([0.06, neck / 2 + 0.1, 0.04], 0.02, 10).moved([0, -0.1 + neck / 2, 0.06]), WOOD * 0.7)
    w.add(rounded_box([0.1, 0.15, 0.045], 0.03, 8).moved([0, neck + 0.1, 0.04]), 2)
    w.solid(rounded_box([0.15, 0.03, 0.03], 0.01, 6).moved([0, -0.72, 0.12]), DARK)
    for place in (-0.03, 0.0, 0.03):
        w.solid(rod([place, -0.72, 0.135], [place, neck + 0.1, 0.11], 0.009), LIGHT)
    for side in (-1, 1):
        for k in range(3):
            w.solid(ellipsoid([0.05, 0.025, 0.025], 6).moved([side * 0.13, neck + 0.02 + 0.08 * k, 0.03]), LIGHT)
    w.parts[:] = [(shape.turned("z", -20), color) for shape, color in w.parts]
    w.spin(0, 0, 25, -25)
    return "guitar"


def hammer(w: SecondWorkbench) -> str:
    handle = tube(np.array([[0, -0.95, 0], [0, -0.2, 0], [0, 0.7, 0]]), [0.1, 0.075, 0.065], 14)
    w.add(handle, 0, patterned=w.pattern == "striped")
    reach = w.u(0.3, 0.42)
    w.solid(rounded_box([0.22, 0.13, 0.13], 0.05, 10).moved([0, 0.72, 0]), STEEL)
    w.solid(disc(0.17, reach * 0.35).turned("y", 90).moved([reach, 0.72, 0]), STEEL)
    if w.u(0, 1) < 0.5:
        w.solid(revolve([(0.12, 0), (0.02, 0.45)], 16, 14).turned("z", 90).moved([-0.15, 0.72, 0]), STEEL)
    else:
        for z in (-0.07, 0.07):
            claw = np.array([[-0.15, 0.74, z], [-0.35, 0.72, z * 1.2], [-0.55, 0.58, z * 1.3]])
            w.solid(tube(claw, [0.07, 0.05, 0.03], 10), STEEL)
    w.add(ellipsoid([0.12, 0.08, 0.12], 8).moved([0, -0.98, 0]), 2)
    w.parts[:] = [(s.turned("z", angle), c) for angle in [float(w.rng.choice([0, 30, -30]))] for s, c in w.parts]
    w.spin(0, 180, 35, -35, 60)
    return "hammer"


def cake(w: SecondWorkbench) -> str:
    r, y = w.u(0.6, 0.8), -0.5
    for k in range(int(w.rng.integers(1, 4))):
        h = w.u(0.18, 0.26)
        layer = revolve([(r, -h), (r, h * 0.8), (r - 0.05, h)], 48, 40).moved([0, y + h, 0])
        w.add(layer, 0 if k % 2 == 0 else 2, patterned=k == 0)
        y += 2 * h
        for a in np.arange(10) * (np.pi / 5):
            w.solid(ellipsoid([0.07, 0.06, 0.07], 6).moved([r * 0.93 * np.cos(a), y, r * 0.93 * np.sin(a)]), LIGHT)
        r *= w.u(0.6, 0.75)
    for k in range(int(w.rng.integers(1, 5))):
        spot = np.array([0.22 * np.cos(2.2 * k), y, 0.22 * np.sin(2.2 * k)])
        w.add(rod(spot, spot + [0, 0.28, 0], 0.04), 3)
        w.solid(ellipsoid([0.04, 0.07, 0.04], 6).moved(spot + [0, 0.4, 0]), [0.98, 0.75, 0.2])
    w.add(revolve([(0.95, -0.04), (0.95, 0.02)], 44, 30).moved([0, -0.52, 0]), 1)
    return "cake"


def camera(w: SecondWorkbench) -> str:
    x, y, z = w.u(0.55, 0.75), w.u(0.38, 0.48), w.u(0.18, 0.26)
    w.add(rounded_box([x, y, z], 0.08, 20), 0, patterned=w.pattern in ("two-tone", "striped"))
    off = w.u(-0.15, 0.15)
    lens = [(0.3, 0), (0.3, 0.3), (0.22, 0.3), (0.2, 0.22), (0.02, 0.2)]
    w.solid(revolve(lens, 40, 44).turned("x", 90).moved([off, -0.04, z - 0.02]), DARK)
    w.solid(ellipsoid([0.19, 0.19, 0.07], 14).moved([off, -0.04, z + 0.19]), [0.25, 0.35, 0.5])
    w.add(rounded_box([0.14, 0.08, 0.03], 0.02, 8).moved([x * 0.65, y * 0.62, z]), 1)
    w.add(rounded_box([0.22, 0.09, z * 0.8], 0.05, 10).moved([off, y + 0.07, 0]), 2)
    w.solid(disc(0.08, 0.05, 20).turned("x", 90).moved([-x * 0.7, y + 0.03, 0]), STEEL)
    w.solid(rounded_box([x * 0.55, y * 0.62, 0.02], 0.02, 8).moved([-x * 0.15, -0.03, -z]), [0.22, 0.28, 0.33])
    for k in range(3):
        w.solid(disc(0.05, 0.03, 16).moved([x * 0.68, y * (0.4 - 0.4 * k), -z]), STEEL)
    w.spin(0, 0, 25, -25)
    return "camera"


def block(w: SecondWorkbench) -> str:
    half = w.u(0.5, 0.6)
    w.add(rounded_box([half] * 3, 0.07, 18), 0)
    w.add(rounded_box([half * 0.8, half * 0.8, half * 1.015], 0.03, 12), 1)
    w.add(rounded_box([half * 1.015, half * 0.8, half * 0.8], 0.03, 12), 2)
    ink = DARK if w.colors[1] in ("yellow", "lime", "sky", "pink", "beige", "white", "orange") else LIGHT
    w.letter(half * 1.1, [0, 0, half * 1.02], ink)
    w.letter(half * 1.1, [0, 0, -half * 1.02], ink, turn=180)
    w.spin(0, 30, -30, 40)
    return "block"


def flowerpot(w: SecondWorkbench) -> str:
    r, h = w.u(0.3, 0.42), w.u(0.25, 0.35)
    profile = [(r * 0.7, -h), (r, h), (r - 0.06, h), (r - 0.08, h * 0.7), (0.02, h * 0.65)]
    w.add(revolve(profile, 40, 44).moved([0, -0.65, 0]), 0, patterned=True)
    for k in range(int(w.rng.integers(1, 4))):
        lean, tall = w.u(-0.35, 0.35), w.u(0.55, 1.15)
        tip = np.array([lean, -0.45 + tall, 0.15 * (k - 1)])
        middle = np.array([lean * 0.2, -0.45 + tall * 0.5, 0.1 * (k - 1)])
        w.solid(tube(np.stack([[0, -0.5, 0.05 * (k - 1)], middle, tip]), 0.03, 10), LEAF)
        for a in np.arange(6) * (np.pi / 3):
            petal = ellipsoid([0.12, 0.075, 0.045], 8).moved([0.16, 0, 0]).turned("z", np.rad2deg(a))
            w.add(petal.moved(tip + [0, 0, 0.03]), 2)
        w.solid(ellipsoid([0.09, 0.09, 0.06], 8).moved(tip + [0, 0, 0.06]), [0.95, 0.8, 0.2])
        w.solid(ellipsoid([0.2, 0.06, 0.1], 8).turned("z", 30).moved(middle + [0.15, 0, 0]), LEAF)
    return "flowerpot"


def glasses(w: SecondWorkbench) -> str:
    r = w.u(0.3, 0.38)
    for side in (-1, 1):
        w.add(torus(r, 0.05, 40, 12).turned("x", 90).moved([side * (r + 0.1), 0, 0.35]), 0)
        w.solid(disc(r * 0.97, 0.015).moved([side * (r + 0.1), 0, 0.35]), [0.62, 0.75, 0.82])
        x = side * (2 * r + 0.13)
        arm = np.array([[x, 0.1, 0.35], [x, 0.1, 0.0], [x, 0.1, -0.45], [x, -0.05, -0.6], [x, -0.2, -0.65]])
        w.add(tube(arm, 0.04, 10), 2)
    w.add(tube(arc(0.12, 20, 160, 8) + [0, 0, 0.35], 0.04, 10), 0)
    w.parts[:] = [(s.turned("x", w_angle), c) for w_angle in [w.u(0, 15)] for s, c in w.parts]
    w.spin(0, 30, -30, 50)
    return "glasses"


def flag(w: SecondWorkbench) -> str:
    x, y, waves, phase = w.u(0.6, 0.8), w.u(0.35, 0.48), w.u(1.5, 4), w.u(0, 6)

    def wave(v):
        v[:, 2] += 0.09 * np.sin(waves * (v[:, 0] / x + 1) + phase)
        return v

    cloth = bent(rounded_box([x, y, 0.03], 0.02, 26), wave).moved([x, 0.45, 0])
    w.add(cloth, 0, patterned=w.pattern in ("striped", "two-tone", "shaded"))
    w.letter(y * 1.2, [x, 0.45, 0], surface=lambda a, _: 0.03 + 0.09 * np.sin(waves * (a / x + 1) + phase))
    w.solid(rod([0, -1.1, 0], [0, 0.98, 0], 0.045), STEEL)
    w.add(ellipsoid([0.09] * 3, 10).moved([0, 1.03, 0]), 2)
    w.solid(revolve([(0.3, -0.06), (0.22, 0.06)], 32, 16).moved([0, -1.1, 0]), WOOD)
    w.spin(0, 0, 30, -30)
    return "flag"


def windmill(w: SecondWorkbench) -> str:
    r, h = w.u(0.32, 0.42), w.u(0.65, 0.8)
    body = revolve([(r, -1), (r * 0.65, h - 0.6), (r * 0.7, h - 0.55), (0.03, h - 0.15)], 36, 50)
    w.add(body, 0, patterned=w.pattern == "striped")
    w.recolor(lambda v: v[:, 1] > h - 0.57, w.tones[2])
    hub, angle = np.array([0, h - 0.5, r * 0.95]), w.u(0, 90)
    w.solid(rod(hub - [0, 0, 0.4], hub + [0, 0, 0.03], 0.06), DARK)
    for k in range(4):
        blade = rounded_box([0.1, 0.32, 0.02], 0.015, 10).moved([0.08, 0.42, 0])
        w.solid(blade.turned("y", 15).turned("z", angle + 90 * k).moved(hub), LIGHT)
        w.solid(rod([0, 0, 0], [0, 0.74, 0], 0.022).turned("z", angle + 90 * k).moved(hub), WOOD)
    w.solid(rounded_box([0.12, 0.2, 0.05], 0.03, 8).moved([0, -0.8, r * 0.95]), WOOD)
    for y in (-0.3, 0.0):
        w.solid(rounded_box([0.08, 0.08, 0.05], 0.02, 6).moved([0, y, -r * (0.72 - 0.2 * y)]), DARK)
    return "windmill"


THINGS = (
    sign, clock, television, basket, teapot, armchair, bookshelf, umbrella, guitar, hammer, cake, camera, block,
    flowerpot, glasses, flag, windmill,
)
