"""Garments: shells around the parts of a body, cut at hems, cuffs and collars."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .paint import Banded, Color, FrontMarks, Paint, Plain, Upright
from .parts import Part
from .skeleton import ARM_DIRECTION, SIDES, Skeleton

WALL = 0.036  # scene units: thickness of cloth that stands off the body


@dataclass(frozen=True)
class Solid:
    """The smooth union of ``parts`` minus that of ``carve``."""

    parts: tuple
    carve: tuple = ()


@dataclass(frozen=True)
class Outfit:
    """What a character wears; None where it wears nothing of the kind.

    top: "tank", "tee", "long", "wide" (sleeves) or "hoodie"; bottom: "shorts", "trousers", "flared", "skirt" or "dress"
    (which continues the top); over: "jacket" or "vest".  collar: color or None.
    """

    top: str | None
    bottom: str | None
    over: str | None
    top_paint: Paint
    bottom_paint: Paint
    over_color: Color
    trim: Color
    collar: Color | None
    marks: tuple = ()
    hem: float = 0.5  # of the thigh (skirt, shorts), 0 to 1 and beyond
    flare: float = 0.12
    loose: float = 0.0


def make_clothing(s: Skeleton, body: dict[str, Part], outfit: Outfit) -> list[Solid]:
    """The garments' solids; empty where nothing is worn."""
    out: list[Solid] = []
    if outfit.bottom in ("shorts", "trousers", "flared"):
        out += _legwear(s, body, outfit)
    if outfit.top:
        out += _top(s, body, outfit, outfit.top)
    if outfit.bottom in ("skirt", "dress"):
        out.append(_skirt(s, outfit))
    if outfit.over:
        out.append(_over(s, body, outfit))
    if outfit.collar is not None and outfit.top:
        out.append(_collar(s, outfit.collar))
    return out


def _along_arm(s: Skeleton, side: str) -> tuple[tuple, float]:
    """(direction, coordinate of the shoulder along it) of an arm in the rest pose."""
    axis = ARM_DIRECTION * [SIDES[side], 1, 1]
    return tuple(axis), float(axis @ s.joint(f"arm_{side}"))


def _sleeve(s: Skeleton, body: dict, side: str, share: float, by: float, paint: Paint, trim: Color, flare: float = 0.0):
    """(parts, carve) of a sleeve that covers ``share`` of the arm."""
    axis, start = _along_arm(s, side)
    reach = share * (s.upper_arm + s.forearm)
    cuffed = Banded(paint, trim, ((start + reach - 0.028, start + reach + 1),), axis)
    upper, fore = body[f"arm_{side}"], body[f"forearm_{side}"]
    if reach <= s.upper_arm:
        return [upper.inflated(by, high=reach, paint=cuffed, rb=upper.rb + by + flare)], []
    rest = reach - s.upper_arm
    end = fore.inflated(by, high=rest, paint=cuffed)
    carve = []
    if flare:
        end = replace(end, rb=end.rb + flare, scale=(1, 1, 1))
        inside = replace(end, ra=end.ra - WALL, rb=end.rb - WALL, low=0.25 * rest, high=rest + 1)
        carve = [inside]
    return [upper.inflated(by, paint=cuffed), end], carve


def _top(s: Skeleton, body: dict, outfit: Outfit, kind: str) -> list[Solid]:
    by = {"tank": 0.042, "tee": 0.044, "long": 0.042, "wide": 0.046, "hoodie": 0.06}[kind] + outfit.loose
    paint = FrontMarks(outfit.top_paint, outfit.marks) if outfit.marks else outfit.top_paint
    hem = s.joint("thigh_l")[1] + (0.015 if outfit.top != "hoodie" else -0.02)
    trimmed = Banded(paint, outfit.trim, ((hem - 1, hem + 0.022),)) if outfit.bottom != "dress" else paint
    pelvis = body["pelvis"]
    low = hem - pelvis.a[1]
    parts = [pelvis.inflated(by + 0.01, low=low, paint=trimmed), body["chest"].inflated(by, paint=trimmed)]
    carve: list[Part] = []
    share = {"tank": 0.0, "tee": 0.3, "long": 0.93, "wide": 0.95, "hoodie": 0.95}[kind]
    for side in SIDES:
        if share:
            flare = 0.055 if outfit.top == "wide" else 0.018 if outfit.top == "tee" else 0.0
            more, holes = _sleeve(s, body, side, share, by, paint, outfit.trim, flare)
            parts += more
            carve += holes
    if outfit.top == "tank":
        for sign in SIDES.values():  # arm holes
            at = s.joint("arm_l") * [sign, 1, 1] + np.array([sign * 0.04, 0.0, 0])
            carve.append(Part("chest", at, at + [sign * 0.1, 0.1, 0], 0.075 * s.build, 0.1, blend=0.01))
    if outfit.top == "hoodie":
        hood = np.array([0.0, s.joint("head")[1] - 0.02, -0.1])
        parts.append(Part("chest", hood, hood, 1, 1, (0.16, 0.085, 0.09), blend=0.05, paint=paint))
    return [Solid(tuple(parts), tuple(carve))]


def _collar(s: Skeleton, color: Color) -> Solid:
    low, high = s.joint("arm_l")[1] - 0.005, s.joint("head")[1] + 0.02
    foot = np.array([0.0, low, -0.012])
    part = Part("chest", foot, foot + [0, high - low, 0], 0.112 * s.build**0.5, 0.092 * s.build**0.5, (1, 1, 0.95), low=0.0,
                high=high - low, paint=Plain(color))
    notch = np.array([0.0, high + 0.01, 0.12])
    return Solid((part,), (Part("chest", notch, notch + [0, -0.05, 0], 0.06, 0.015, (0.8, 1, 1.6), blend=0.01),))


def _legwear(s: Skeleton, body: dict, outfit: Outfit) -> list[Solid]:
    by = 0.04 + 0.6 * outfit.loose
    paint = outfit.bottom_paint
    if isinstance(paint, Upright):
        paint = replace(paint, center=1.1 * s.hip, count=max(4, paint.count // 2))
    parts = [body["pelvis"].inflated(by, paint=paint)]
    carve: list[Part] = []
    for side in SIDES:
        thigh, shin = body[f"thigh_{side}"], body[f"shin_{side}"]
        if outfit.bottom == "shorts":
            reach = max(0.16, min(outfit.hem, 0.95) * s.thigh)
            hem = s.joint(f"thigh_{side}")[1] - reach
            trimmed = Banded(paint, outfit.trim, ((hem - 1, hem + 0.02),))
            parts.append(thigh.inflated(by, high=reach, paint=trimmed, rb=thigh.rb + by + 0.03))
            continue
        parts.append(thigh.inflated(by, paint=paint, rb=thigh.rb + by + 0.004))
        end = s.shin - 0.02
        wide = 0.06 if outfit.bottom == "flared" else 0.018
        leg = shin.inflated(by, high=end, paint=paint, rb=shin.rb + by + wide)
        parts.append(leg)
        carve.append(replace(leg, ra=leg.ra - WALL, rb=leg.rb - WALL, low=0.5 * s.shin, high=s.shin + 1))
    return [Solid(tuple(parts), tuple(carve))]


def _skirt(s: Skeleton, outfit: Outfit) -> Solid:
    waist = s.joint("chest")[1] - 0.01
    hip = s.joint("thigh_l")[1]
    hem = hip - max(0.45, outfit.hem) * s.thigh
    top = np.array([0.0, waist, -0.005])
    length = waist - hem
    wide = s.hip + 0.052 * s.build**0.5 + 0.065 + outfit.flare
    paint = outfit.bottom_paint if outfit.bottom == "skirt" else outfit.top_paint
    paint = Banded(paint, outfit.trim, ((hem - 1, hem + 0.03), (waist - 0.035, waist + 1)))
    start = 0.088 * s.build + 0.062 + outfit.loose
    cone = Part(
        "pelvis", top, top - [0, length, 0], start, wide, (1, 1, 0.86), low=0.0, high=length, paint=paint, blend=0.05
    )
    # the cone's radius at the hem is what its flank says, whatever the cut takes away
    inside = replace(cone, ra=start - WALL, rb=wide - WALL, low=0.12, high=length + 1)
    hips = Part("pelvis", np.array([0.0, hip + 0.03, -0.01]), np.array([0.0, hip + 0.03, -0.01]), s.hip + 0.09, s.hip + 0.09,
                (1.05, 0.8, 0.86), blend=0.05, paint=paint, low=-0.08)
    return Solid((cone, hips), (inside,))


def _over(s: Skeleton, body: dict, outfit: Outfit) -> Solid:
    by = 0.088 + outfit.loose
    hem = s.joint("thigh_l")[1] - (0.05 if outfit.over == "jacket" else -0.03)
    paint: Paint = Banded(Plain(outfit.over_color), outfit.trim, ((hem - 1, hem + 0.028),))
    pelvis = body["pelvis"]
    parts = [
        pelvis.inflated(by + 0.012, low=hem - pelvis.a[1], paint=paint, a=pelvis.a + [0, -0.06, 0]),
        body["chest"].inflated(by, paint=paint),
    ]
    parts[0] = replace(parts[0], low=hem - parts[0].a[1])
    chest = s.joint("arm_l")[1]
    foot = np.array([0.0, hem - 0.1, 0.2])
    carve = [Part("chest", foot, np.array([0.0, chest + 0.1, 0.2]), 0.05, 0.075, (1, 1, 2.6), blend=0.02)]
    for side in SIDES:
        if outfit.over == "jacket":
            more, _ = _sleeve(s, body, side, 0.86, by - 0.012, paint, outfit.trim)
            parts += more
        else:
            at = s.joint(f"arm_{side}") + np.array([SIDES[side] * 0.07, 0.0, 0])
            carve.append(Part("chest", at, at + [SIDES[side] * 0.1, 0, 0], 0.11, 0.12, blend=0.01))
    return Solid(tuple(parts), tuple(carve))
