"""The body of a toy character: head with a painted face, torso, limbs, hands, and the shoes it keeps on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .paint import Banded, Color, Paint, Plain, Stripes, filled, over, ramp
from .parts import Part
from .skeleton import ARM_DIRECTION, SIDES, Skeleton

Z = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True)
class Face:
    """Skin with eyes, brows, mouth and blush, painted on the front of the head.

    center: [3] of the head; radius: half its width; all other lengths are relative to the radius.
    """

    center: tuple
    radius: float
    skin: Color
    iris: Color
    brow: Color
    eye_size: tuple = (0.17, 0.25)
    eye_gap: float = 0.4
    eye_height: float = -0.16
    smile: float = 0.05
    mouth_width: float = 0.14
    blush: float = 0.5
    open_mouth: bool = False
    brow_tilt: float = 0.0

    def __call__(self, points: Tensor) -> Tensor:
        local = (points - points.new_tensor(self.center)) / self.radius
        u, v, front = local[:, 0], local[:, 1], local[:, 2] > 0.2
        color = filled(points, self.skin)
        color = self._blush(color, u, v, front)
        for sign in (-1.0, 1.0):
            color = self._eye(color, (u - sign * self.eye_gap), v - self.eye_height, sign, front)
        return self._mouth(color, u, v + 0.62, front)

    def _ink(self, color: Tensor, tone: Color, inside: Tensor, front: Tensor) -> Tensor:
        return over(color, tone, ramp(inside * self.radius) * front)

    def _blush(self, color, u, v, front):
        spot = (1 - torch.hypot((u.abs() - 0.58) / 0.2, (v - self.eye_height + 0.34) / 0.12)).clamp(0, 1)
        return over(color, (0.95, 0.45, 0.45), spot * self.blush * front)

    def _eye(self, color, u, v, sign: float, front):
        w, h = self.eye_size
        dark = tuple(0.35 * c for c in self.iris)
        ball = 1 - torch.hypot(u / w, v / h)
        color = self._ink(
            color, (0.16, 0.1, 0.12), (1 - torch.hypot(u / (w * 1.18), (v - 0.035) / (h * 1.06))) * w, front
        )
        color = self._ink(color, (0.98, 0.98, 0.99), torch.minimum(ball * w, h * 0.72 - v), front)
        iris = 1 - torch.hypot(u / (w * 0.78), (v + 0.01) / (h * 0.9))
        color = self._ink(color, self.iris, torch.minimum(iris * w, h * 0.72 - v), front)
        color = self._ink(color, dark, torch.minimum(torch.minimum(iris * w, v + 0.02), h * 0.72 - v), front)
        color = self._ink(color, (0.05, 0.04, 0.07), (1 - torch.hypot(u / (w * 0.36), v / (h * 0.42))) * w, front)
        color = self._ink(color, (1.0, 1.0, 1.0), 0.055 - torch.hypot(u + 0.05, v - 0.09), front)
        brow = torch.minimum(0.028 - (v - h - 0.13 + self.brow_tilt * u * sign + u * u * 0.8).abs(), 0.17 - u.abs())
        return self._ink(color, self.brow, brow, front)

    def _mouth(self, color, u, v, front):
        if self.open_mouth:
            color = self._ink(color, (0.62, 0.2, 0.22), 0.09 - torch.hypot(u * 0.9, v + 0.02), front & (v < 0.03))
            return color
        curve = v + self.smile - self.smile * (u / self.mouth_width) ** 2 * 1.5
        line = torch.minimum(0.026 - curve.abs(), self.mouth_width - u.abs())
        return self._ink(color, (0.6, 0.25, 0.24), line, front)


@dataclass(frozen=True)
class BodyStyle:
    """Colors and choices of a body."""

    skin: Color
    iris: Color
    brow: Color
    shoe: Color
    sole: Color
    under: Color
    sock: Color | None
    sock_height: float  # of the shin, 0 to 1
    boots: bool
    face: dict


def make_body(skeleton: Skeleton, style: BodyStyle) -> dict[str, Part]:
    """Part name -> part.  Names carry the side ("thigh_l")."""
    parts: dict[str, Part] = {}
    _torso(parts, skeleton, style)
    _head(parts, skeleton, style)
    for side, sign in SIDES.items():
        _arm(parts, skeleton, style, side, sign)
        _leg(parts, skeleton, style, side, sign)
    return parts


def _torso(parts: dict, s: Skeleton, style: BodyStyle) -> None:
    hip, chest, neck = s.joint("thigh_l")[1], s.joint("arm_l")[1], s.joint("head")[1]
    waist = s.joint("chest")[1]
    under: Paint = Banded(Plain(style.skin), style.under, ((hip - 0.2, hip + 0.045), (waist + 0.03, chest - 0.035)))
    b = s.build
    middle = np.array([0.0, 0.0, 0.0])
    parts["pelvis"] = Part("pelvis", middle + [0, hip + 0.015, -0.01], middle + [0, waist, 0], s.hip + 0.052 * b**0.5,
                           0.088 * b, (1, 1, 0.84), blend=0.05, paint=under)
    parts["chest"] = Part("chest", middle + [0, waist, 0], middle + [0, chest - 0.05, 0], 0.085 * b, s.shoulder * 0.84,
                          (1, 1, 0.72), blend=0.06, paint=under)
    parts["neck"] = Part("chest", middle + [0, chest - 0.03, -0.012], middle + [0, neck + 0.06, -0.005], 0.052 * b**0.5,
                         0.046 * b**0.5, blend=0.05, paint=Plain(style.skin))


def _head(parts: dict, s: Skeleton, style: BodyStyle) -> None:
    r, c = s.head, s.head_center
    face = Face(tuple(c), r, style.skin, style.iris, style.brow, **style.face)
    top = c + np.array([0, 0.1, 0]) * r
    parts["skull"] = Part("head", top, top, r, r, (1.0, 0.9, 0.97), blend=0.03, paint=face)
    jaw = c + np.array([0, -0.46, 0.15]) * r
    parts["jaw"] = Part("head", jaw, jaw, r, r, (0.66, 0.54, 0.7), blend=0.16 * r / 0.3, paint=face)
    nose = c + np.array([0, -0.36, 0.93]) * r
    parts["nose"] = Part("head", nose, nose, r, r, (0.055, 0.06, 0.07), blend=0.04, paint=face)
    for side, sign in SIDES.items():
        ear = c + np.array([sign * 0.97, -0.22, -0.05]) * r
        parts[f"ear_{side}"] = Part("head", ear, ear, r, r, (0.09, 0.2, 0.15), blend=0.02, paint=Plain(style.skin))


def _arm(parts: dict, s: Skeleton, style: BodyStyle, side: str, sign: float) -> None:
    b, skin = s.build, Plain(style.skin)
    start, elbow, wrist = (s.joint(f"{n}_{side}") for n in ("arm", "forearm", "hand"))
    along = ARM_DIRECTION * [sign, 1, 1]
    parts[f"arm_{side}"] = Part(f"arm_{side}", start, elbow, 0.05 * b, 0.041 * b, blend=0.05, paint=skin)
    parts[f"forearm_{side}"] = Part(f"forearm_{side}", elbow, wrist, 0.041 * b, 0.033 * b, blend=0.02, paint=skin)
    palm = wrist + along * 0.055 * b
    parts[f"palm_{side}"] = Part(f"hand_{side}", wrist + along * 0.02, palm, 0.042 * b, 0.038 * b, (1, 1, 0.72),
                                 blend=0.02, paint=skin)
    fingers = palm + along * 0.045 * b
    parts[f"fingers_{side}"] = Part(
        f"hand_{side}", palm, fingers, 0.036 * b, 0.026 * b, (1, 1, 0.62), blend=0.02, paint=skin
    )
    thumb = wrist + along * 0.035 * b + Z * 0.018
    parts[f"thumb_{side}"] = Part(f"hand_{side}", thumb, thumb + along * 0.03 * b + Z * 0.035 * b, 0.018 * b, 0.014 * b,
                                  blend=0.02, paint=skin)


def _leg(parts: dict, s: Skeleton, style: BodyStyle, side: str, sign: float) -> None:
    b = s.build
    hip, knee, ankle = (s.joint(f"{n}_{side}") for n in ("thigh", "shin", "foot"))
    leg: Paint = Banded(Plain(style.skin), style.under, ((hip[1] - 0.035, hip[1] + 0.1),))
    if style.sock is not None:
        top = ankle[1] + style.sock_height * (knee[1] - ankle[1])
        leg = Banded(leg, style.sock, ((-1.0, top),))
    parts[f"thigh_{side}"] = Part(f"thigh_{side}", hip, knee, 0.078 * b, 0.056 * b, blend=0.03, paint=leg)
    parts[f"shin_{side}"] = Part(f"shin_{side}", knee, ankle, 0.055 * b, 0.042 * b, blend=0.02, paint=leg)
    calf = knee * 0.68 + ankle * 0.32 + [0, 0, -0.014]
    parts[f"calf_{side}"] = Part(f"shin_{side}", calf, calf, 0.053 * b, 0.053 * b, (1, 1.6, 1), blend=0.03, paint=leg)
    _shoe(parts, style, side, sign, ankle, b, knee)


def _shoe(parts: dict, style: BodyStyle, side: str, sign: float, ankle: np.ndarray, b: float, knee: np.ndarray) -> None:
    paint = Banded(Plain(style.shoe), style.sole, ((-1.0, 0.022),))
    heel = np.array([ankle[0], 0.05, ankle[2] - 0.005])
    toe = heel + np.array([sign * 0.018, -0.006, 0.085 * b**0.5 + 0.02])
    bone, width = f"foot_{side}", 0.056 * b**0.5
    frame = np.stack([np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), Z], axis=1)  # flat soles: the cut is horizontal
    sole: dict[str, Any] = dict(blend=0.025, paint=paint, low=-0.05, frame=frame)
    parts[f"heel_{side}"] = Part(bone, heel, heel, width * 1.02, width * 1.02, (0.95, 1.1, 1.15), **sole)
    middle = heel * 0.45 + toe * 0.55
    parts[f"instep_{side}"] = Part(bone, middle, middle, width, width, (1, 0.92, 1.35), **(sole | {"low": -middle[1]}))
    parts[f"toe_{side}"] = Part(bone, toe, toe, width, width, (1.02, 0.78, 1.05), **(sole | {"low": -toe[1]}))
    if style.boots:
        top = ankle + (knee - ankle) * 0.62
        shaft = Stripes(style.shoe, style.shoe) if style.sole == style.shoe else Banded(
            Plain(style.shoe), style.sole, ((top[1] - 0.03, top[1] + 0.1),))
        parts[f"boot_{side}"] = Part(f"shin_{side}", ankle, top, 0.058 * b, 0.066 * b, high=float(np.linalg.norm(top - ankle)),
                                     blend=0.015, paint=shaft)
