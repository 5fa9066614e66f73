"""What a stage's losses and scores did, in a few hundred points however long it ran."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

MOST = 512  # points; above them two neighbors become one
DIGITS = 5  # significant ones of every value


@dataclass
class Curve:
    """Means of each loss over equal spans of iterations, and scores at the iterations at which they were taken.

    A term that only some iterations have (the reference's and the prior's may take turns) is averaged over those.

    every:  iterations in one span; a power of two.
    spans:  span number (iteration - 1) // every -> name -> (sum, count); ascending, of at most ``MOST`` entries.
    scores: name -> [(iteration, value)].
    """

    every: int = 1
    spans: dict[int, dict[str, tuple[float, int]]] = field(default_factory=dict)
    scores: dict[str, list[tuple[int, float]]] = field(default_factory=dict)

    def add(self, index: int, losses: Mapping[str, float], scores: Mapping[str, float]) -> None:
        """Takes iteration ``index`` (1-based, ascending); what is not finite is left out."""
        while (index - 1) // self.every not in self.spans and len(self.spans) >= MOST:
            self._halve()
        span = self.spans.setdefault((index - 1) // self.every, {})
        for name, value in losses.items():
            if math.isfinite(value):
                total, count = span.get(name, (0.0, 0))
                span[name] = total + value, count + 1
        for name, value in scores.items():
            if math.isfinite(value):
                self.scores.setdefault(name, []).append((index, value))

    def to_json(self) -> dict:
        """{"every", "steps": [N], "losses": {name: [N numbers or None]}, "scores": {name: [[iteration, value]]}}.

        A step is the last iteration of its span.
        """
        names = dict.fromkeys(name for span in self.spans.values() for name in span)
        columns = {name: [short(span[name]) if name in span else None for span in self.spans.values()] for name in names}
        scores = {name: [[index, short((value, 1))] for index, value in taken] for name, taken in self.scores.items()}
        return {"every": self.every, "steps": [(number + 1) * self.every for number in self.spans], "losses": columns,
                "scores": scores}

    def _halve(self) -> None:
        self.every *= 2
        merged: dict[int, dict[str, tuple[float, int]]] = {}
        for number, span in self.spans.items():
            into = merged.setdefault(number // 2, {})
            for name, (total, count) in span.items():
                before = into.get(name, (0.0, 0))
                into[name] = before[0] + total, before[1] + count
        self.spans = merged


def short(cell: tuple[float, int]) -> float:
    """The mean of (sum, count) with ``DIGITS`` digits."""
    return float(f"{cell[0] / cell[1]:.{DIGITS}g}")


def joined(earlier: dict | None, later: dict) -> dict:
    """One curve of two in JSON form, where ``later`` goes on after the last iteration of ``earlier``; else ``later``."""
    if not earlier or not earlier["steps"] or not later["steps"] or later["steps"][0] - later["every"] < earlier["steps"][-1]:
        return later
    before, after = len(earlier["steps"]), len(later["steps"])
    names = dict.fromkeys([*earlier["losses"], *later["losses"]])
    losses = {n: [*earlier["losses"].get(n, [None] * before), *later["losses"].get(n, [None] * after)] for n in names}
    scored = dict.fromkeys([*earlier["scores"], *later["scores"]])
    scores = {n: [*earlier["scores"].get(n, []), *later["scores"].get(n, [])] for n in scored}
    return {"every": max(earlier["every"], later["every"]), "steps": [*earlier["steps"], *later["steps"]], "losses": losses,
            "scores": scores}


def rows(curves: Mapping[str, dict]) -> tuple[list[str], list[list]]:
    """(head, rows) of a table of several stages' curves: stage, step, one column per loss, one per score."""
    names = dict.fromkeys(name for curve in curves.values() for name in curve["losses"])
    scored = dict.fromkeys(name for curve in curves.values() for name in curve["scores"])
    table = []
    for stage, curve in curves.items():
        found: dict[int, list] = {}
        for k, step in enumerate(curve["steps"]):
            found[step] = [curve["losses"][n][k] if n in curve["losses"] else None for n in names] + [None] * len(scored)
        for place, name in enumerate(scored, len(names)):
            for step, value in curve["scores"].get(name, []):
                found.setdefault(step, [None] * (len(names) + len(scored)))[place] = value
        table += [[stage, step, *found[step]] for step in sorted(found)]
    return ["stage", "step", *names, *scored], table
