"""Creatures of the toybox's second version.  Entries of one table: each takes a workbench and returns its noun.

All look along +Z before they are turned; their backs differ from their fronts by fixed conventions that can be learned.
"""

from __future__ import annotations

import numpy as np

from .shapes import blend, ellipsoid, prism, revolve, rounded_box, smooth_profile, tube
from .workbench import DARK, LIGHT, SKIN, STEEL, SecondWorkbench, arc, bent, disc, rod

ORANGE = np.array([0.95, 0.55, 0.12])


def robot(w: SecondWorkbench) -> str:
    x, y, z, head = w.u(0.35, 0.5), w.u(0.4, 0.55), w.u(0.22, 0.34), w.u(0.22, 0.32)
    top = y + head + 0.1
    w.add(rounded_box([x, y, z], 0.05, 20), 0, patterned=w.pattern in ("striped", "two-tone", "shaded"))
    w.add(rounded_box([head * 1.2, head, head], 0.05, 14).moved([0, top, 0]), 2)
    w.solid(rounded_box([head * 0.95, head * 0.6, 0.03], 0.02, 8).moved([0, top + 0.03, head]), DARK)
    for side in (-1, 1):
        w.solid(ellipsoid([0.07, 0.07, 0.04], 8).moved([side * head * 0.5, top + 0.06, head + 0.03]), w.tones[3])
        w.solid(rod([side * x, y * 0.6, 0], [side * (x + 0.25), w.u(-0.4, 0.9), w.u(0, 0.3)], 0.07), STEEL)
        w.add(rounded_box([0.13, 0.25, 0.16], 0.04, 8).moved([side * x * 0.55, -y - 0.2, 0.03]), 2)
    w.solid(rod([0.08, top + head, 0], [w.u(0, 0.2), top + head + 0.3, 0], 0.025), STEEL)
    w.letter(y * 0.85, [0, -0.02, z + 0.01])
    w.add(rounded_box([x * 0.7, y * 0.65, 0.12], 0.05, 10).moved([0, 0.05, -z - 0.1]), 3)
    for side in (-1, 1):
        w.solid(rod([side * x * 0.35, -y * 0.5, -z - 0.24], [side * x * 0.35, y * 0.4, -z - 0.24], 0.06), STEEL)
    return "robot"


def penguin(w: SecondWorkbench) -> str:
    x, y = w.u(0.42, 0.55), w.u(0.65, 0.85)
    w.add(ellipsoid([x, y, x * 0.9], 22))
    w.recolor(lambda v: (v[:, 2] > 0.45 * x) & (v[:, 1] < y * 0.6) & (np.abs(v[:, 0]) < x * 0.7), LIGHT)
    head = w.u(0.28, 0.36)
    w.add(ellipsoid([head] * 3, 18).moved([0, y + head * 0.4, 0]))
    w.solid(revolve([(0.11, 0), (0.01, 0.28)], 16, 10).turned("x", 90).moved([0, y + head * 0.35, head * 0.85]), ORANGE)
    w.eyes([0, y + head * 0.65, head * 0.84], head * 0.42, 0.055, ring=True)
    for side in (-1, 1):
        w.tinted(ellipsoid([0.09, 0.42, 0.2], 10).turned("z", side * w.u(12, 40)).moved([side * x * 1.05, 0.1, 0]), 0, 0.75)
        w.solid(ellipsoid([0.18, 0.07, 0.27], 10).moved([side * 0.22, -y, 0.2]), ORANGE)
    w.tinted(ellipsoid([0.16, 0.1, 0.25], 8).moved([0, -y * 0.8, -x * 0.85]), 0, 0.75)
    if w.u(0, 1) < 0.5:
        w.add(revolve([(head * 1.02, 0), (head * 1.02, 0.12)], rows=16).moved([0, y + head * 0.95, 0]), 1)
        w.add(revolve([(head * 0.75, 0), (head * 0.7, 0.35)], rows=16).moved([0, y + head * 1.0, 0]), 1)
    return "penguin"


def owl(w: SecondWorkbench) -> str:
    x, y = w.u(0.5, 0.62), w.u(0.7, 0.85)
    w.add(ellipsoid([x, y, x * 0.8], 24), 0, patterned=True)
    w.tinted(ellipsoid([x * 0.68, y * 0.62, 0.2], 16).moved([0, -y * 0.25, x * 0.66]), 0, 1.8)
    for side in (-1, 1):
        w.solid(disc(0.24, 0.05).moved([side * 0.22, y * 0.42, x * 0.66]), LIGHT)
        w.solid(ellipsoid([0.1, 0.1, 0.06], 8).moved([side * 0.2, y * 0.42, x * 0.66 + 0.06]), DARK)
        w.add(ellipsoid([0.1, 0.5, 0.3], 12).turned("z", side * 10).moved([side * x * 0.95, -0.05, -0.05]), 2)
        w.add(revolve([(0.13, 0), (0.01, 0.32)], 14, 10).turned("z", -side * 20).moved([side * 0.3, y * 0.75, 0]), 2)
        for toe in (-0.08, 0.08):
            w.solid(ellipsoid([0.06, 0.05, 0.14], 6).moved([side * 0.2 + toe, -y * 0.98, x * 0.5]), ORANGE)
    w.solid(revolve([(0.08, 0), (0.01, 0.2)], 12, 8).turned("x", 120).moved([0, y * 0.3, x * 0.72]), ORANGE)
    tail = prism([(-0.2, -0.35), (0.2, -0.35), (0.1, 0.25), (-0.1, 0.25)], 0.08).turned("x", 25)
    w.add(tail.moved([0, -y * 0.7, -x * 0.75]), 2)
    return "owl"


def turtle(w: SecondWorkbench) -> str:
    x, h, z = w.u(0.6, 0.75), w.u(0.4, 0.6), w.u(0.65, 0.85)
    w.add(bent(ellipsoid([x, h, z], 26), lambda v: v * np.where(v[:, 1:2] < 0, [[1, 0.3, 1]], [[1, 1, 1]])), 0, patterned=True)
    w.add(rounded_box([x * 1.06, 0.06, z * 1.04], 0.06, 12), 2)
    neck = np.array([[0, 0.02, z * 0.8], [0, 0.2, z * 1.15], [0, w.u(0.3, 0.5), z * 1.3]])
    w.solid(tube(neck, [0.17, 0.14, 0.16], 14), [0.55, 0.68, 0.35])
    w.solid(ellipsoid([0.2, 0.19, 0.24], 12).moved(neck[-1] + [0, 0.05, 0.05]), [0.55, 0.68, 0.35])
    w.eyes(neck[-1] + [0, 0.13, 0.2], 0.1, 0.045)
    for side in (-1, 1):
        for end, size in ((0.62, 0.2), (-0.62, 0.17)):
            w.solid(ellipsoid([size, 0.25, size], 10).moved([side * x * 0.8, -0.2, end * z]), [0.5, 0.62, 0.32])
    w.solid(revolve([(0.09, 0), (0.01, 0.35)], 12, 10).turned("x", -100).moved([0, -0.02, -z]), [0.5, 0.62, 0.32])
    w.spin(0, 0, 35, -35, 90, -90)
    return "turtle"


def butterfly(w: SecondWorkbench) -> str:
    lift, upper, lower = w.u(5, 30), w.u(0.42, 0.55), w.u(0.3, 0.4)
    for side in (-1, 1):
        for r, y, lean in ((upper, 0.32, 35), (lower, -0.36, -30)):
            wing = ellipsoid([r, r * 0.72, 0.035], 18).turned("z", side * lean).moved([side * r * 1.0, y, 0])
            w.add(wing.turned("y", -side * lift), 0, patterned=w.pattern != "checkered")
            spot = ellipsoid([r * 0.4, r * 0.3, 0.05], 10).turned("z", side * lean).moved([side * r * 1.15, y, 0.012])
            w.add(spot.turned("y", -side * lift), 2)
    w.solid(ellipsoid([0.09, 0.55, 0.1], 12), DARK)
    w.solid(ellipsoid([0.14, 0.14, 0.14], 10).moved([0, 0.6, 0.04]), DARK)
    w.eyes([0, 0.64, 0.15], 0.07, 0.04, ring=True)
    for side in (-1, 1):
        w.solid(tube(np.array([[0.05 * side, 0.7, 0], [0.12 * side, 0.9, 0.05], [0.25 * side, 1.0, 0.1]]), 0.022, 8), DARK)
    return "butterfly"


def heron(w: SecondWorkbench) -> str:
    body, leg, neck = w.u(0.5, 0.65), w.u(0.5, 0.75), w.u(0.45, 0.75)
    w.add(ellipsoid([0.27, 0.27, body], 20).turned("x", -w.u(10, 30)), 0)
    for side in (-1, 1):
        wing = ellipsoid([0.07, 0.2, body * 0.85], 14).turned("x", -15).moved([side * 0.25, 0.06, -0.1])
        w.add(wing, 1)
        w.solid(rod([side * 0.12, -0.1, 0], [side * 0.13, -0.2 - leg, 0.03], 0.035), ORANGE)
        w.solid(ellipsoid([0.09, 0.03, 0.18], 6).moved([side * 0.13, -0.22 - leg, 0.1]), ORANGE)
    s = np.linspace(0, 1, 12)
    path = np.stack([0 * s, 0.1 + neck * s, body * 0.75 + 0.12 * np.sin(2 * np.pi * s)], -1)
    w.add(tube(path, np.linspace(0.13, 0.085, 12), 12), 0)
    w.add(ellipsoid([0.14, 0.13, 0.19], 12).moved(path[-1] + [0, 0.04, 0.06]), 2)
    w.solid(revolve([(0.055, 0), (0.012, w.u(0.35, 0.55))], 12, 10).turned("x", 92).moved(path[-1] + [0, 0.03, 0.2]), ORANGE)
    w.eyes(path[-1] + [0, 0.09, 0.15], 0.09, 0.035)
    w.spin(0, 35, -35, 90, -90)
    return "heron"


def snail(w: SecondWorkbench) -> str:
    turns = np.linspace(0, 2 * np.pi * w.u(1.6, 2.2), 60)
    r = 0.52 * np.exp(-0.16 * turns)
    path = np.stack([0.02 * turns, r * np.sin(turns + 3.6), -r * np.cos(turns + 3.6)], -1)
    w.add(tube(path, 0.52 * r + 0.03, 14).moved([-0.1, 0.3, -0.1]), 0, patterned=w.pattern in ("shaded", "dotted"))
    w.solid(bent(ellipsoid([0.2, 0.16, 0.85], 16), lambda v: v + [0, -0.3, 0.1]), [0.78, 0.66, 0.48])
    head = np.array([[0, -0.28, 0.7], [0, -0.1, 0.9], [0, 0.2, 0.95]])
    w.solid(tube(head, [0.17, 0.15, 0.15], 12), [0.78, 0.66, 0.48])
    for side in (-1, 1):
        tip = head[-1] + [side * 0.16, w.u(0.28, 0.38), 0.1]
        w.solid(rod(head[-1] + [side * 0.05, 0.05, 0], tip, 0.03), [0.78, 0.66, 0.48])
        w.solid(ellipsoid([0.055] * 3, 8).moved(tip), DARK)
    w.spin(0, 35, -35, 90, -90, 60)
    return "snail"


def monster(w: SecondWorkbench) -> str:
    n = int(w.rng.integers(3, 6))
    centers = w.rng.normal(0, 0.22, (n, 3)) * [1, 1.3, 0.7]
    body = blend(centers - centers.mean(0), w.rng.uniform(0.4, 0.55, n), 22)
    w.add(body, 0, patterned=w.pattern in ("dotted", "shaded", "two-tone"))
    v = body.vertices
    high, half = float(v[:, 1].max()), float(np.abs(v[:, 0]).max())

    def at(x, y, sign):
        gap = np.hypot(v[:, 0] - x, v[:, 1] - y) + 10 * (sign * v[:, 2] < 0)
        return v[gap.argmin()]

    for x in ((0,), (-0.2, 0.2), (-0.28, 0, 0.28))[int(w.rng.integers(3))]:
        place = at(x, high * 0.4, 1)
        w.solid(ellipsoid([0.15, 0.15, 0.1], 10).moved(place), LIGHT)
        w.solid(ellipsoid([0.07, 0.07, 0.05], 8).moved(place + [0, 0, 0.09]), DARK)
    mouth = np.array([at(x, -0.12 + 0.9 * x * x, 1) for x in np.linspace(-0.3, 0.3, 7)])
    w.solid(tube(mouth, 0.05, 10), DARK)
    for side in (-1, 1):
        horn = revolve([(0.11, 0), (0.02, 0.4)], 14, 10).turned("z", -side * 25)
        w.solid(horn.moved([side * half * 0.4, high * 0.8, 0]), LIGHT)
        under = np.abs(v[:, 0] - side * half * 0.4) + np.abs(v[:, 2])
        foot = v[np.where(v[:, 1] < 0, under, 10).argmin()]
        w.add(ellipsoid([0.15, 0.14, 0.22], 10).moved(foot + [0, 0.02, 0.1]), 2)
    for y in np.linspace(-0.45, 0.75, 4) * high:
        place = at(0, y, -1)
        w.add(revolve([(0.13, -0.05), (0.01, 0.28)], 12, 10).turned("x", -90).moved(place), 3)
    return "monster"


def doll(w: SecondWorkbench) -> str:
    r, h = w.u(0.42, 0.6), w.u(0.65, 0.85)
    skirt = smooth_profile([(r, -h), (r * 0.75, -h * 0.5), (0.2, 0.05), (0.22, 0.3), (0.08, 0.45)])
    w.add(revolve(skirt), 0, patterned=True)
    head, top = w.u(0.27, 0.34), 0.72
    w.solid(ellipsoid([head * 0.92, head, head * 0.92], 18).moved([0, top, 0]), SKIN)
    hair = ellipsoid([head * 1.08, head * 1.1, head * 1.0], 20).moved([0, top + 0.05, -0.09])
    w.add(hair, 2)
    w.eyes([0, top + 0.02, head * 0.88], head * 0.36, 0.045)
    w.solid(tube(arc(0.1, 220, 320, 6) + [0, top - 0.03, head * 0.88], 0.02, 8), [0.75, 0.2, 0.2])
    for side in (-1, 1):
        w.solid(rod([side * 0.18, 0.3, 0], [side * w.u(0.45, 0.62), w.u(-0.15, 0.45), w.u(0, 0.25)], 0.065), SKIN)
        w.solid(ellipsoid([0.1, 0.08, 0.18], 8).moved([side * 0.17, -h - 0.05, 0.12]), DARK)
    w.add(ellipsoid([0.11, 0.3, 0.1], 10).moved([0, top - 0.32, -head * 1.0]), 2)
    w.add(ellipsoid([0.18, 0.09, 0.06], 8).moved([0, top - 0.08, -head * 1.12]), 1)
    if w.u(0, 1) < 0.4:
        w.letter(0.3, [0, -0.12, 0.3], surface=lambda x, y: 0.02 - 0.4 * y)
    return "doll"


def rabbit(w: SecondWorkbench) -> str:
    body, head = w.u(0.42, 0.52), w.u(0.3, 0.36)
    top = body + head * 0.75
    w.add(ellipsoid([body * 0.9, body * 1.1, body * 0.85], 20), 0, patterned=w.pattern in ("dotted", "shaded"))
    w.tinted(ellipsoid([body * 0.55, body * 0.7, 0.12], 12).moved([0, -0.05, body * 0.78]), 0, 2.2)
    w.add(ellipsoid([head] * 3, 16).moved([0, top, 0.05]), 0)
    droop = w.u(0, 1) < 0.4
    for k, side in enumerate((-1, 1)):
        lean = w.u(5, 25) if not (droop and k) else w.u(60, 100)
        ear = ellipsoid([0.1, 0.42, 0.07], 12).moved([0, 0.36, 0])
        w.add(ear.turned("z", -side * lean).moved([side * 0.12, top + head * 0.75, 0]), 0)
        inner = ellipsoid([0.055, 0.32, 0.05], 10).moved([0, 0.36, 0.04])
        w.solid(inner.turned("z", -side * lean).moved([side * 0.12, top + head * 0.75, 0]), [0.95, 0.68, 0.72])
        w.add(ellipsoid([0.15, 0.12, 0.27], 10).moved([side * 0.25, -body * 1.0, 0.22]), 0)
        w.add(ellipsoid([0.1, 0.2, 0.12], 8).turned("x", -40).moved([side * body * 0.7, 0.12, body * 0.6]), 0)
    w.eyes([0, top + 0.06, head * 0.95 + 0.02], head * 0.42, 0.05)
    w.solid(ellipsoid([0.05, 0.04, 0.04], 6).moved([0, top - 0.04, head + 0.06]), [0.9, 0.4, 0.45])
    w.solid(ellipsoid([0.17] * 3, 10).moved([0, -body * 0.55, -body * 0.85]), LIGHT)
    if w.u(0, 1) < 0.35:
        w.solid(revolve([(0.1, -0.28), (0.06, 0.2), (0.01, 0.28)], 14, 12).turned("z", 25).moved([0.1, 0.0, body + 0.1]), ORANGE)
    return "rabbit"


CREATURES = (robot, penguin, owl, turtle, butterfly, heron, snail, monster, doll, rabbit)
