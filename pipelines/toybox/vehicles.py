"""Vehicles of the toybox's second version.  Entries of one table: each takes a workbench and returns its noun.

Built with the nose along +Z and then turned; bows, tails and cabins differ by fixed conventions.
"""

from __future__ import annotations

import numpy as np

from .shapes import ellipsoid, prism, revolve, rounded_box, smooth_profile, torus, tube
from .workbench import DARK, LIGHT, STEEL, WOOD, SecondWorkbench, bent, disc, outwards, rod

GLASS, TAIL = np.array([0.55, 0.72, 0.82]), np.array([0.85, 0.12, 0.1])
TURNS = (0, 90, -90, 90, -90, 40, -40, 140, -140)


def truck(w: SecondWorkbench) -> str:
    x, length, high = w.u(0.32, 0.4), w.u(0.75, 0.95), w.u(0.28, 0.38)
    cab = w.u(0.28, 0.36)
    w.add(rounded_box([x, 0.09, length], 0.03, 12).moved([0, -0.25, 0]), 3)
    w.add(rounded_box([x, high, cab], 0.08, 16).moved([0, high - 0.2, length - cab]), 0)
    w.solid(rounded_box([x * 0.85, high * 0.38, 0.04], 0.03, 8).moved([0, high * 1.3 - 0.2, length]), GLASS)
    room = length - cab - 0.06
    if w.u(0, 1) < 0.5:
        w.add(rounded_box([x * 1.02, high * 1.1, room], 0.03, 20).moved([0, high * 1.1 - 0.15, -length + room]), 1)
        ink = DARK if w.colors[1] in ("yellow", "lime", "sky", "pink", "beige", "white", "orange") else LIGHT
        for side in (-1, 1):
            w.letter(high * 1.2, [side * x * 1.02, high * 1.1 - 0.15, -length + room], ink, turn=side * 90)
    else:
        for side in (-1, 1):
            w.add(rounded_box([0.035, high * 0.55, room], 0.02, 8).moved([side * x, high * 0.3 - 0.1, -length + room]), 1)
            w.add(rounded_box([x, high * 0.55, 0.035], 0.02, 8).moved([0, high * 0.3 - 0.1, -length + room + side * room]), 1)
        for k in range(3):
            w.add(ellipsoid([0.17] * 3, 10).moved([w.u(-0.1, 0.1), 0.02, -length + room * (0.5 + 0.55 * k)]), 2)
    _wheels(w, x, (-0.62 * length, 0.6 * length), 0.2, -0.33)
    for side in (-1, 1):
        w.solid(ellipsoid([0.07, 0.07, 0.04], 8).moved([side * x * 0.7, -0.1, length]), [0.98, 0.95, 0.7])
        w.solid(rounded_box([0.06, 0.05, 0.03], 0.01, 6).moved([side * x * 0.75, -0.22, -length]), TAIL)
    w.spin(*TURNS)
    return "truck"


def bus(w: SecondWorkbench) -> str:
    x, y, z = w.u(0.34, 0.42), w.u(0.36, 0.46), w.u(0.85, 1.0)
    w.add(rounded_box([x, y, z], 0.1, 26), 0)
    w.recolor(lambda v: np.abs(v[:, 1] + y * 0.25) < y * 0.2, w.tones[1])
    for place in np.linspace(-0.72, 0.72, 4) * z:
        for side in (-1, 1):
            w.solid(rounded_box([0.02, y * 0.3, z * 0.14], 0.02, 6).moved([side * x, y * 0.4, place]), [0.2, 0.28, 0.34])
    w.solid(rounded_box([x * 0.82, y * 0.42, 0.03], 0.03, 8).moved([0, y * 0.3, z]), GLASS)
    w.solid(rounded_box([x * 0.5, y * 0.25, 0.03], 0.03, 8).moved([0, y * 0.45, -z]), [0.2, 0.28, 0.34])
    for side in (-1, 1):
        w.solid(ellipsoid([0.07, 0.07, 0.04], 8).moved([side * x * 0.65, -y * 0.6, z]), [0.98, 0.95, 0.7])
        w.solid(ellipsoid([0.06, 0.06, 0.04], 8).moved([side * x * 0.7, -y * 0.6, -z]), TAIL)
    _wheels(w, x * 0.95, (-0.6 * z, 0.6 * z), 0.18, -y)
    w.spin(*TURNS)
    return "bus"


def bicycle(w: SecondWorkbench) -> str:
    r, gap = w.u(0.38, 0.45), w.u(0.52, 0.6)
    hubs = [np.array([0, -0.4, z]) for z in (-gap, gap)]
    for hub in hubs:
        w.solid(torus(r, 0.045, 40, 10).turned("z", 90).moved(hub), DARK)
        for a in np.arange(3) * (np.pi / 3):
            spoke = np.array([0, np.cos(a), np.sin(a)]) * r
            w.solid(rod(hub - spoke, hub + spoke, 0.016), STEEL)
    crank, saddle, head = np.array([0, -0.42, -0.05]), np.array([0, 0.28, -gap * 0.45]), np.array([0, 0.3, gap * 0.72])
    for start, stop in ((hubs[0], crank), (hubs[0], saddle), (crank, saddle), (crank, head), (saddle * [1, 0.8, 1], head)):
        w.add(rod(start, stop, 0.045), 0)
    w.add(rod(hubs[1], head + [0, 0.15, -0.03], 0.045), 0)
    w.add(ellipsoid([0.1, 0.05, 0.19], 10).moved(saddle + [0, 0.07, 0]), 2)
    bar = np.array([[-0.3, 0.52, gap * 0.45], [-0.15, 0.48, gap * 0.72], [0.15, 0.48, gap * 0.72], [0.3, 0.52, gap * 0.45]])
    w.add(tube(bar, 0.04, 10), 1)
    for side in (-1, 1):
        w.solid(rod(crank, crank + [side * 0.14, side * 0.14, side * 0.05], 0.03), STEEL)
    if w.u(0, 1) < 0.4:
        w.add(rounded_box([0.2, 0.13, 0.14], 0.03, 10).moved([0, 0.3, gap + 0.12]), 3)
    w.solid(ellipsoid([0.05] * 3, 6).moved([0, 0.2, -gap * 0.62]), TAIL)
    w.spin(90, -90, 90, -90, 60, -60, 30)
    return "bicycle"


def airplane(w: SecondWorkbench) -> str:
    r, length, span = w.u(0.17, 0.23), w.u(0.8, 0.95), w.u(0.8, 1.0)
    line = [(0.05, -length), (r * 0.8, -length * 0.35), (r, length * 0.45), (r * 0.5, length * 0.92), (0.02, length)]
    w.add(revolve(smooth_profile(line), 28, 44).turned("x", 90), 0, patterned=w.pattern in ("striped", "two-tone"))
    sweep = w.u(0.0, 0.3)

    def swept(v):
        v[:, 2] -= sweep * np.abs(v[:, 0])
        v[:, 1] += 0.12 * np.abs(v[:, 0])
        return v

    w.add(bent(rounded_box([span, 0.035, 0.19], 0.03, 20), swept).moved([0, -0.03, 0.15]), 1)
    w.add(bent(rounded_box([span * 0.4, 0.03, 0.11], 0.02, 12), swept).moved([0, 0.03, -length * 0.85]), 1)
    w.add(rounded_box([0.03, 0.22, 0.13], 0.02, 10).moved([0, 0.22, -length * 0.85]), 2)
    w.solid(ellipsoid([r * 0.7, r * 0.6, 0.2], 12).moved([0, r * 0.75, length * 0.5]), GLASS)
    if w.u(0, 1) < 0.5:
        w.solid(ellipsoid([0.06, 0.06, 0.08], 8).moved([0, 0, length]), DARK)
        w.solid(rod([-0.28, 0.05, length + 0.03], [0.28, -0.05, length + 0.03], 0.03), DARK)
    else:
        for side in (-1, 1):
            engine = revolve([(0.07, -0.18), (0.09, 0.1), (0.07, 0.18)], 20, 16).turned("x", 90)
            w.solid(engine.moved([side * span * 0.45, -0.08, 0.2]), STEEL)
    w.spin(0, 35, -35, 70, -70, 145)
    return "airplane"


def boat(w: SecondWorkbench) -> str:
    x, y, z = w.u(0.3, 0.38), w.u(0.2, 0.26), w.u(0.75, 0.95)

    def hull(v):
        along = v[:, 2] / z
        v[:, 0] *= (1 - 0.85 * np.clip(along, 0, 1) ** 2) * (0.75 + 0.25 * v[:, 1] / y)
        v[:, 1] += 0.14 * np.clip(along, 0, 1) ** 2
        return v

    w.add(bent(rounded_box([x, y, z], 0.06, 26), hull).moved([0, -0.55, 0]), 0)
    w.recolor(lambda v: v[:, 1] < -0.62, w.tones[1])
    w.solid(bent(rounded_box([x * 0.8, 0.05, z * 0.85], 0.03, 14), hull).moved([0, -0.55 + y, 0]), WOOD)
    if w.u(0, 1) < 0.55:
        w.solid(rod([0, -0.4, 0.05], [0, 0.9, 0.05], 0.035), WOOD)
        side = prism([(-0.02, -0.18), (-0.6, -0.18), (-0.02, 0.85)], 0.03)
        w.solid(outwards(side).turned("y", -90).moved([0, 0, 0.02]), LIGHT)
        front = prism([(0.08, -0.18), (0.5, -0.18), (0.08, 0.65)], 0.03)
        w.add(front.turned("y", -90).moved([0, 0, 0.05]), 2)
    else:
        w.add(rounded_box([x * 0.6, 0.17, 0.25], 0.04, 12).moved([0, -0.2, -0.1]), 2)
        for k in (-1, 0, 1):
            for side in (-1, 1):
                w.solid(ellipsoid([0.03, 0.055, 0.055], 6).moved([side * x * 0.6, -0.18, -0.1 + 0.15 * k]), GLASS)
        w.add(revolve([(0.1, 0), (0.1, 0.35), (0.07, 0.35)], 20, 20).moved([0, -0.05, -0.15]), 3)
        w.solid(rod([0, -0.3, -z + 0.08], [0, 0.1, -z + 0.02], 0.02), STEEL)
    w.spin(0, 90, -90, 40, -40, 140)
    return "boat"


def rocket(w: SecondWorkbench) -> str:
    r, nose = w.u(0.26, 0.34), w.u(0.75, 0.95)
    body = smooth_profile([(r * 0.7, -0.7), (r, -0.2), (r * 0.85, 0.4), (0.02, nose)])
    w.add(revolve(body, 36, 52), 0, patterned=w.pattern in ("striped", "two-tone", "checkered"))
    w.recolor(lambda v: v[:, 1] > 0.5, w.tones[2])
    w.solid(disc(r * 0.48, 0.05).moved([0, 0.12, r * 0.88]), STEEL)
    w.solid(ellipsoid([r * 0.36, r * 0.36, 0.06], 10).moved([0, 0.12, r * 0.92]), GLASS)
    fins = int(w.rng.integers(3, 5))
    for k in range(fins):
        fin = prism([(r * 0.6, -0.35), (r * 0.6, -0.75), (r * 2.0, -1.0), (r * 1.9, -0.7)], 0.06)
        w.add(outwards(fin).turned("y", 90 + 360 / fins * k + 180), 2)
    if w.u(0, 1) < 0.6:
        w.solid(revolve([(0.01, -1.15), (r * 0.4, -0.8), (r * 0.45, -0.68)], 20, 16), [0.98, 0.6, 0.15])
    w.letter(0.3, [0, -0.33, 0], surface=lambda x, y: np.sqrt(np.maximum((r * 0.97) ** 2 - x**2, 0.01)))
    w.solid(rounded_box([r * 0.4, 0.22, 0.05], 0.03, 8).moved([0, -0.1, -r * 0.93]), STEEL)
    return "rocket"


def tank(w: SecondWorkbench) -> str:
    x, z = w.u(0.4, 0.5), w.u(0.6, 0.75)
    for side in (-1, 1):
        track = tube(np.array([[side * x, -0.4, -z], [side * x, -0.4, z]]), 0.18, 16)
        w.solid(track, [0.2, 0.2, 0.2])
        for place in np.linspace(-0.85, 0.85, 4) * z:
            w.solid(disc(0.12, 0.03, 18).turned("y", 90).moved([side * (x + 0.17), -0.4, place]), STEEL)
    w.add(rounded_box([x, 0.17, z * 0.95], 0.05, 16).moved([0, -0.22, 0]), 0)
    turret = w.u(-40, 40)
    w.add(ellipsoid([0.34, 0.22, 0.36], 16).moved([0, 0.02, -0.05]), 0, patterned=w.pattern in ("dotted", "shaded", "two-tone"))
    w.add(rod([0, 0.08, 0.2], [0, 0.16, w.u(0.85, 1.05)], 0.06).turned("y", turret), 2)
    w.add(revolve([(0.13, 0.18), (0.11, 0.27)], 20, 12).moved([0.05, 0, -0.12]), 3)
    w.solid(rod([-0.18, 0.15, -0.2], [-0.22, 0.6, -0.3], 0.015), STEEL)
    for side in (-1, 1):
        w.solid(rod([side * 0.2, -0.18, -z], [side * 0.2, -0.18, -z - 0.1], 0.05), DARK)
    w.spin(0, 90, -90, 40, -40)
    return "tank"


def _wheels(w: SecondWorkbench, x: float, places, radius: float, y: float) -> None:
    for z in places:
        for side in (-1, 1):
            w.solid(disc(radius, 0.08, 28).turned("y", 90).moved([side * x, y, z]), DARK)
            w.solid(disc(radius * 0.5, 0.03, 18).turned("y", 90).moved([side * (x + 0.08), y, z]), STEEL)


VEHICLES = (truck, bus, bicycle, airplane, boat, rocket, tank)
