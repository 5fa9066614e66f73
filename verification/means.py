"""Means with their errors, and comparisons of two methods on the same objects.

Runs of one object with several seeds are no independent objects.  So every figure here knows two levels: seeds are
averaged within their object, and the error that counts for "on new objects" is the one over objects.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Summary:
    """Mean of a figure over objects, each the mean over its seeds; same unit as the figure.

    over_objects: standard error of the mean over objects; nan with fewer than 2.
    over_seeds:   standard error that the choice of seeds alone leaves in the mean, objects held fixed; nan where no
                  object has 2 seeds.
    objects, runs: how many.
    """

    mean: float
    over_objects: float
    over_seeds: float
    objects: int
    runs: int


@dataclass(frozen=True)
class Paired:
    """Difference of two methods, first minus second, over the runs that both have.

    low, high: the interval that holds the true mean with CONFIDENCE (Student's t over objects); nan with one object.
    wins:      objects whose difference is above 0.
    """

    difference: Summary
    low: float
    high: float
    wins: int

    def sign(self) -> int:
        """+1 or -1 where the interval excludes 0, else 0: within noise.  Without an interval (one object) 0."""
        return 1 if self.low > 0 else -1 if self.high < 0 else 0


def standard_error(values: Sequence[float]) -> float:
    """Sample standard deviation over the square root of the count; nan for fewer than 2 values."""
    return stdev(values) / len(values) ** 0.5 if len(values) > 1 else math.nan


def summary(figures: Mapping[tuple, float]) -> Summary:
    """Summary of {(object, seed): figure}.  ValueError for none, or for a figure that is not finite."""
    if not figures or not all(math.isfinite(v) for v in figures.values()):
        raise ValueError(f"figures must be finite and at least one, got {dict(figures)}")
    groups: dict[object, list[float]] = {}
    for (thing, _), value in figures.items():
        groups.setdefault(thing, []).append(float(value))
    means = [fmean(group) for group in groups.values()]
    return Summary(fmean(means), standard_error(means), _seed_error(list(groups.values())), len(groups), len(figures))


def paired(first: Mapping[tuple, float], second: Mapping[tuple, float]) -> Paired:
    """First minus second over the keys (object, seed) of both.  ValueError where they share none."""
    shared = first.keys() & second.keys()
    gaps = {key: first[key] - second[key] for key in first if key in shared}
    result = summary(gaps)
    reach = math.nan
    if result.objects > 1:
        reach = student_quantile((1 + CONFIDENCE) / 2, result.objects - 1) * result.over_objects
    by_object: dict[object, list[float]] = {}
    for (thing, _), gap in gaps.items():
        by_object.setdefault(thing, []).append(gap)
    wins = sum(fmean(group) > 0 for group in by_object.values())
    return Paired(result, result.mean - reach, result.mean + reach, wins)


def student_cdf(t: float, freedom: int) -> float:
    """P(T <= t) of Student's distribution with ``freedom`` >= 1 degrees: the finite sums of Abramowitz and Stegun 26.7."""
    if freedom < 1:
        raise ValueError(f"degrees of freedom must be at least 1, got {freedom}")
    angle = math.atan(t / freedom**0.5)
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term = total = cosine if odd and freedom > 1 else 0.0 if odd else 1.0
    for k in range(3 if odd else 2, freedom - 1, 2):
        term *= cosine * cosine * (k - 1) / k
        total += term
    inside = 2 / math.pi * (angle + sine * total) if odd else sine * total
    return (1 + inside) / 2


def student_quantile(probability: float, freedom: int) -> float:
    """The t with ``student_cdf(t) == probability``, 0 < probability < 1, by bisection."""
    if not 0 < probability < 1:
        raise ValueError(f"probability must lie in (0, 1), got {probability}")
    if probability < 0.5:
        return -student_quantile(1 - probability, freedom)
    low, high = 0.0, 1.0
    while student_cdf(high, freedom) < probability:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if student_cdf(middle, freedom) < probability else (low, middle)
    return (low + high) / 2


def _seed_error(groups: list[list[float]]) -> float:
    """Error of the mean of group means from the pooled variance within groups."""
    freedom = sum(len(group) - 1 for group in groups)
    if freedom == 0:
        return math.nan
    pooled = sum((len(group) - 1) * stdev(group) ** 2 for group in groups if len(group) > 1) / freedom
    return math.sqrt(pooled * sum(1 / len(group) for group in groups)) / len(groups)
