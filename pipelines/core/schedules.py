"""Weights as functions of progress in [0, 1]; frozen, comparable, and describable in JSON."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Literal, get_args

Form = Literal["exponential", "linear", "log"]  # of the dynamic prior's ramp, see :func:`rise`
EPS = 1e-5  # both ends of the dynamic prior keep this much of the other prior (Consistent123's code)


@dataclass(frozen=True)
class Constant:
    """``value`` at every progress."""

    value: float = 1.0

    def __call__(self, progress: float) -> float:
        return self.value


@dataclass(frozen=True)
class Linear:
    """From ``first`` at progress ``start`` to ``last`` at progress ``stop``, clamped outside."""

    first: float
    last: float
    start: float = 0.0
    stop: float = 1.0

    def __call__(self, progress: float) -> float:
        span = max(self.stop - self.start, 1e-12)
        x = min(max((progress - self.start) / span, 0.0), 1.0)
        return self.first + (self.last - self.first) * x


@dataclass(frozen=True)
class Piecewise:
    """Linear interpolation through (progress, value) knots with increasing progress."""

    knots: tuple[tuple[float, float], ...]

    def __post_init__(self):
        xs = [x for x, _ in self.knots]
        if len(xs) < 1 or any(b <= a for a, b in zip(xs, xs[1:])):
            raise ValueError(f"knots need increasing progress, got {xs}")

    def __call__(self, progress: float) -> float:
        knots = self.knots
        if progress <= knots[0][0]:
            return knots[0][1]
        for (x0, y0), (x1, y1) in zip(knots, knots[1:]):
            if progress <= x1:
                return y0 + (y1 - y0) * (progress - x0) / (x1 - x0)
        return knots[-1][1]


def rise(form: Form, x: float) -> float:
    """The 2D weight of Consistent123's dynamic prior at clock x in [0, 1] (C-D.3).

    exponential: 1 - exp(-x); linear: x; log: log2(1 + x); each squeezed into [EPS, 1].
    """
    x = min(max(x, 0.0), 1.0)
    if form not in get_args(Form):
        raise ValueError(f"schedule form must be one of {sorted(get_args(Form))}, got {form!r}")
    curves = {"exponential": 1 - math.exp(-x), "linear": x, "log": math.log2(1 + x)}
    return EPS + (1 - EPS) * curves[form]


@dataclass(frozen=True)
class DynamicRise:
    """2D weight of the dynamic prior (Consistent123, Eq. 7-9 as the released code computes them)."""

    form: Form = "exponential"

    def __call__(self, progress: float) -> float:
        return rise(self.form, progress)


@dataclass(frozen=True)
class DynamicFall:
    """3D weight of the dynamic prior: the complement of :class:`DynamicRise`."""

    form: Form = "exponential"

    def __call__(self, progress: float) -> float:
        return 1 + EPS - rise(self.form, progress)


# What a stage calls with its progress; every form can be written as JSON.
Schedule = Constant | Linear | Piecewise | DynamicRise | DynamicFall

FORMS = {c.__name__: c for c in (Constant, Linear, Piecewise, DynamicRise, DynamicFall)}


def to_json(schedule: Schedule) -> dict:
    """A JSON object that :func:`from_json` turns back into the same schedule."""
    return {"form_of_schedule": type(schedule).__name__, **asdict(schedule)}


def from_json(data: dict) -> Schedule:
    """Inverse of :func:`to_json`."""
    fields = dict(data)
    name = fields.pop("form_of_schedule")
    if "knots" in fields:
        fields["knots"] = tuple(tuple(k) for k in fields["knots"])
    return FORMS[name](**fields)
