"""When to stop relying on the 3D prior alone: Consistent123's CLIP boundary judgment (Eq. 6).

Every ``interval`` steps the object's similarity to its prompt is scored from ``views`` sides; when
the score's mean relative change over ``window`` checks falls below ``threshold``, the 3D prior has
given what it has.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor

from ...core.cameras import HOME, Cameras
from ...core.errors import InputError
from ...priors.combine import DynamicPrior, dynamic_clock


@dataclass(frozen=True)
class ClipBoundary:
    """Consistent123's numbers; sources in C-D.1 (paper) and C-D.2 (code).

    interval:  steps between checks (code 21, paper 20).
    views:     pictures on a turntable.
    window:    L, relative changes averaged.
    threshold: delta.
    floor, ceiling: fractions of the NeRF iterations between which it may fire; at the ceiling it
               fires anyway (code 2000 and 3500 of 5000; the paper does not mention them).
    signed:    the paper prints the signed mean, which also fires while the score falls; the code
               takes the absolute value.
    size:      pixels of the scored pictures.
    elevation, radius, fovy: of the turntable; radians, scene units, radians.
    """

    interval: int = 21
    views: int = 8
    window: int = 5
    threshold: float = 2.5e-4
    floor: float = 0.4
    ceiling: float = 0.7
    signed: bool = False
    size: int = 128
    elevation: float = 0.0
    radius: float = HOME.radius
    fovy: float = HOME.fovy

    def __post_init__(self):
        for name in ("interval", "views", "window", "size"):
            if getattr(self, name) < 1:
                raise InputError(f"boundary {name}", "at least 1", str(getattr(self, name)), "Raise it.")
        if not 0 <= self.floor <= self.ceiling <= 1:
            got = f"floor {self.floor} and ceiling {self.ceiling}"
            raise InputError("boundary window", "0 <= floor <= ceiling <= 1", got, "Both are shares of the NeRF stage.")

    def cameras(self) -> Cameras:
        """The turntable the score is taken on."""
        azimuth = torch.arange(self.views) * (2 * math.pi / self.views)
        return Cameras.orbit(azimuth, self.elevation, self.radius, self.fovy, self.size, self.size)


@dataclass(frozen=True)
class Boundary:
    """A boundary with its scorer.

    score: [V, H, W, 3] sRGB pictures on white -> mean similarity to the prompt.
    """

    config: ClipBoundary
    score: Callable[[Tensor], float]


def clip_boundary(clip, prompt: str, config: ClipBoundary = ClipBoundary()) -> Boundary:
    """The boundary scored by CLIP: mean cosine between the pictures and the bare prompt."""
    if not prompt.strip():
        raise InputError(
            "prompt", "a short description of the object", "an empty text",
            "The CLIP boundary compares renders with the prompt: write one in the reference view node.",
        )
    text = clip.text_embedding([prompt])

    def score(images: Tensor) -> float:
        return float((clip.image_embedding(images) @ text.T).mean())

    return Boundary(config, score)


@dataclass
class BoundaryState:
    """The decision, without any rendering: feed it scores.

    Scores count from the floor on.  With L + 1 of them there is a rate R, the mean of the last L
    relative changes; it fires at the first |R| < delta (R < delta when ``signed``), else at the
    ceiling.
    """

    config: ClipBoundary
    history: list = field(default_factory=list)  # (step, score, rate or None)
    switch_step: int | None = None
    reason: str = ""

    def due(self, step: int, total: int) -> bool:
        """Whether finished step ``step`` (1-based) of ``total`` needs a decision."""
        if self.switch_step is not None:
            return False
        first, last = self._limits(total)
        return step >= last or (step >= first and (step - first) % self.config.interval == 0)

    def observe(self, step: int, score: float, total: int) -> bool:
        """Takes the score after ``step``; True when the boundary fires now."""
        scores = [s for _, s, _ in self.history][-self.config.window :] + [score]
        rate = None
        if len(scores) == self.config.window + 1:
            changes = [(b - a) / a if a else math.inf for a, b in zip(scores, scores[1:])]
            rate = sum(changes) / len(changes)
        self.history.append((int(step), float(score), rate))
        small = rate is not None and (rate if self.config.signed else abs(rate)) < self.config.threshold
        if small:
            self._fire(step, f"the score's mean relative change {rate:+.2e} is below {self.config.threshold:.2e}")
        elif step >= self._limits(total)[1]:
            shown = "unknown" if rate is None else f"{rate:+.2e}"
            self._fire(step, f"the ceiling was reached; the last rate was {shown}")
        return self.switch_step is not None

    def explanation(self) -> str:
        """One sentence for people."""
        if self.switch_step is None:
            return f"The CLIP boundary has not fired after {len(self.history)} checks."
        return f"The CLIP boundary fired at step {self.switch_step} after {len(self.history)} checks: {self.reason}."

    def to_json(self) -> dict:
        return {
            "config": asdict(self.config),
            "history": [list(h) for h in self.history],
            "switch_step": self.switch_step,
            "reason": self.reason,
            "explanation": self.explanation(),
        }

    @staticmethod
    def from_json(data: dict) -> "BoundaryState":
        """Inverse of :meth:`to_json`."""
        history = [tuple(h) for h in data["history"]]
        return BoundaryState(ClipBoundary(**data["config"]), history, data["switch_step"], data["reason"])

    def _limits(self, total: int) -> tuple[int, int]:
        return round(self.config.floor * total), round(self.config.ceiling * total)

    def _fire(self, step: int, reason: str) -> None:
        self.switch_step, self.reason = int(step), reason


def plot_history(state: BoundaryState | dict, width: int = 512, height: int = 256) -> Tensor:
    """[height, width, 3] picture: scores (blue) over steps, the switch (red line), gray frame."""
    state = BoundaryState.from_json(state) if isinstance(state, dict) else state
    picture = torch.ones(height, width, 3)
    margin = 8
    picture[[margin, -margin - 1], margin:-margin] = 0.6
    picture[margin:-margin, [margin, -margin - 1]] = 0.6
    if not state.history:
        return picture
    steps = torch.tensor([h[0] for h in state.history], dtype=torch.float64)
    scores = torch.tensor([h[1] for h in state.history], dtype=torch.float64)
    x = _fit(steps, margin + 6, width - margin - 7)
    y = height - 1 - _fit(scores, margin + 6, height - margin - 7)
    if state.switch_step is not None:
        at = int(x[(steps - state.switch_step).abs().argmin()])
        picture[margin:-margin, at] = torch.tensor([0.85, 0.1, 0.1])
    blue = torch.tensor([0.1, 0.25, 0.8])
    for (x0, y0), (x1, y1) in zip(zip(x, y), zip(x[1:], y[1:])):
        t = torch.linspace(0, 1, int(max(abs(x1 - x0), abs(y1 - y0))) + 2, dtype=torch.float64)
        picture[(y0 + (y1 - y0) * t).round().long(), (x0 + (x1 - x0) * t).round().long()] = blue
    for px, py in zip(x.round().long().tolist(), y.round().long().tolist()):
        picture[py - 2 : py + 3, px - 2 : px + 3] = blue
    return picture


def plot_weights(prior: DynamicPrior, switch: int | None, nerf: int, mesh: int, width: int = 512, height: int = 256) -> Tensor:
    """[height, width, 3] picture: the 3D weight (blue) and the 2D weight (orange) over all iterations (Consistent123, Fig. 11).

    switch: iteration of the boundary (red line), None = it has not fired; nerf, mesh: iterations of the two representations,
    with a gray line between them.  The lower frame is weight 0, the upper one 1 (or the highest weight).
    """
    picture, margin, total = torch.ones(height, width, 3), 8, max(nerf + mesh, 1)
    picture[[margin, -margin - 1], margin:-margin] = 0.6
    picture[margin:-margin, [margin, -margin - 1]] = 0.6
    left, right, top, bottom = margin + 2, width - margin - 3, margin + 2, height - margin - 3

    def across(step: float) -> int:
        return round(left + (right - left) * step / total)

    picture[margin:-margin, across(nerf)] = 0.75
    if switch is not None:
        picture[margin:-margin, across(switch)] = torch.tensor([0.85, 0.1, 0.1])
    steps = torch.linspace(0, total, right - left + 1)
    clocks = [dynamic_clock(int(s), switch, nerf, mesh, prior.clock) for s in steps.tolist()]
    weights = torch.tensor([prior.weights(clock) for clock in clocks])
    rows = (bottom - (bottom - top) * (weights / max(float(weights.max()), 1.0)).clamp(0, 1)).round().long()
    for k, color in enumerate(((0.1, 0.25, 0.8), (0.9, 0.5, 0.1))):
        for x in range(len(steps)):
            low, high = sorted((int(rows[max(x - 1, 0), k]), int(rows[x, k])))
            picture[low - 1 : high + 2, left + x] = torch.tensor(color)
    return picture


def _fit(values: Tensor, low: float, high: float) -> Tensor:
    span = (values.max() - values.min()).clamp_min(1e-12)
    return low + (values - values.min()) / span * (high - low)
