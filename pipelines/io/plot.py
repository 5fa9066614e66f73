"""Plots as pictures: panels with lines, standard errors, ticks and a legend."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .table_picture import number

SCALE = 2  # drawn twice as large, then halved: smooth lines
COLORS = ((31, 111, 235), (214, 93, 14), (26, 127, 55), (190, 24, 60), (130, 80, 223), (9, 150, 150))
_INK, _QUIET, _GRID = (24, 24, 28), (110, 110, 120), (228, 229, 233)
LEFT, RIGHT, TOP, BOTTOM = 76, 18, 40, 50  # pixels around a panel's frame


@dataclass(frozen=True)
class Line:
    """name: for the legend, "" for none; points: (x, y, standard error or None), ascending in x; dots: mark each."""

    name: str
    points: tuple[tuple[float, float, float | None], ...]
    dots: bool = True


@dataclass(frozen=True)
class Panel:
    """Lines in one frame.  labels: words in place of the numbers 0, 1, 2 ... along x; log: a logarithmic y axis."""

    title: str
    x: str
    lines: tuple[Line, ...]
    labels: tuple[str, ...] = ()
    log: bool = False


def plot_picture(panels: list[Panel], columns: int = 2, width: int = 520, height: int = 340) -> Tensor:
    """[H, W, 3] in [0, 1]: the panels side by side on white, each of ``width`` x ``height`` pixels."""
    from PIL import Image

    columns = max(1, min(columns, len(panels)))
    rows = max(1, math.ceil(len(panels) / columns))
    whole = Image.new("RGB", (columns * width, rows * height), "white")
    for k, panel in enumerate(panels):
        whole.paste(_Drawing(panel, width, height).picture(), (k % columns * width, k // columns * height))
    return torch.from_numpy(np.array(whole)).float() / 255


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers (1, 2, 2.5 or 5 times a power of ten apart) within [low, high], at most ``most`` of them."""
    span = max(high - low, 1e-12)
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(power * k for k in (1, 2, 2.5, 5, 10, 20) if span / (power * k) <= most - 1)
    return [round(k * step, 12) for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Logarithms (base 10) of round numbers within [low, high]: powers of ten, of which at most ``most``; where those are
    fewer than three, 2 and 5 times them, too; else what :func:`ticks` says of the numbers."""
    for marks in ((1,), (1, 2, 5)):
        powers = range(math.floor(low), math.ceil(high) + 1)
        found = [place for k in powers for mark in marks if low <= (place := k + math.log10(mark)) <= high]
        if len(found) >= 3:
            return found[:: math.ceil(len(found) / most)]
    return [math.log10(value) for value in ticks(10**low, 10**high, most) if value > 0]


def spread(values: list[float]) -> tuple[float, float]:
    """The least and largest of finite values, apart."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    return (low, high) if high > low else (low - max(abs(low), 1.0) * 0.05, high + max(abs(high), 1.0) * 0.05)


class _Drawing:
    """One panel at ``SCALE``."""

    def __init__(self, panel: Panel, width: int, height: int):
        from PIL import Image, ImageDraw, ImageFont

        self.panel, self.size = panel, (width, height)
        self.image = Image.new("RGB", (width * SCALE, height * SCALE), "white")
        self.draw = ImageDraw.Draw(self.image)
        self.fonts = {size: ImageFont.load_default(size * SCALE) for size in (13, 16)}
        points = [p for line in panel.lines for p in line.points]
        self.across = spread([x for x, _, _ in points])
        if panel.labels:
            self.across = -0.4, len(panel.labels) - 0.6
        ends = [y + sign * (e or 0.0) for _, y, e in points for sign in (-1, 1)]
        self.log = panel.log and bool(points) and min(y for _, y, _ in points) > 0
        if self.log:
            ends = [math.log10(y) for _, y, _ in points]
        low, high = spread(ends)
        self.up = low - 0.05 * (high - low), high + 0.05 * (high - low)

    def picture(self):
        """The panel as a PIL image of its own size."""
        from PIL import Image

        self._axes()
        for k, line in enumerate(self.panel.lines):
            self._line(line, COLORS[k % len(COLORS)])
        self._legend()
        return self.image.resize(self.size, Image.Resampling.LANCZOS)

    def _at(self, x: float, y: float) -> tuple[float, float]:
        width, height = self.size
        (left, right), (low, high) = self.across, self.up
        y = math.log10(y) if self.log else y
        across = LEFT + (x - left) / (right - left) * (width - LEFT - RIGHT)
        down = height - BOTTOM - (y - low) / (high - low) * (height - TOP - BOTTOM)
        return across * SCALE, down * SCALE

    def _text(self, place: tuple[float, float], text: str, anchor: str, size: int = 13, color=_QUIET) -> None:
        font = self.fonts[size]
        while len(text) > 4 and font.getlength(text) > (self.size[0] - 20) * SCALE:
            text = text[:-4] + "..."
        self.draw.text(place, text, fill=color, font=font, anchor=anchor)

    def _axes(self) -> None:
        (width, height), panel = self.size, self.panel
        left, right, top, bottom = LEFT * SCALE, (width - RIGHT) * SCALE, TOP * SCALE, (height - BOTTOM) * SCALE
        for value in log_ticks(*self.up) if self.log else ticks(*self.up):
            y = self._at(self.across[0], 10**value if self.log else value)[1]
            self.draw.line((left, y, right, y), fill=_GRID, width=SCALE)
            self._text((left - 8 * SCALE, y), number(float(10**value if self.log else value)), "rm")
        for value, text in self._along():
            x = self._at(value, 10 ** self.up[0] if self.log else self.up[0])[0]
            self.draw.line((x, bottom, x, bottom + 5 * SCALE), fill=_QUIET, width=SCALE)
            self._text((x, bottom + 9 * SCALE), text, "mt")
        self.draw.rectangle((left, top, right, bottom), outline=_QUIET, width=SCALE)
        self._text(((left + right) / 2, (height - 8) * SCALE), panel.x, "mb")
        self._text((14 * SCALE, 12 * SCALE), panel.title, "lt", 16, _INK)

    def _along(self) -> list[tuple[float, str]]:
        labels = self.panel.labels
        if not labels:
            return [(value, number(float(value))) for value in ticks(*self.across)]
        letters = max(3, int((self.size[0] - LEFT - RIGHT) / len(labels) / 8))
        return [(float(k), text if len(text) <= letters else text[: letters - 2] + "..") for k, text in enumerate(labels)]

    def _line(self, line: Line, color) -> None:
        places = [self._at(x, y) for x, y, _ in line.points]
        if len(places) > 1 and not self.panel.labels:
            self.draw.line(places, fill=color, width=2 * SCALE, joint="curve")
        for (x, y, error), (across, down) in zip(line.points, places, strict=True):
            if error and not self.log:
                low, high = self._at(x, y - error)[1], self._at(x, y + error)[1]
                self.draw.line((across, low, across, high), fill=color, width=SCALE)
                for end in (low, high):
                    self.draw.line((across - 5 * SCALE, end, across + 5 * SCALE, end), fill=color, width=SCALE)
            if line.dots:
                reach = 4 * SCALE
                self.draw.ellipse((across - reach, down - reach, across + reach, down + reach), fill=color)

    def _legend(self) -> None:
        """Beside the title where there is room for all names, else below each other on the plot's right."""
        names = [(line.name, COLORS[k % len(COLORS)]) for k, line in enumerate(line for line in self.panel.lines if line.name)]
        right, font = (self.size[0] - RIGHT - 8) * SCALE, self.fonts[13]
        long = sum(font.getlength(name) + 14 * SCALE for name, _ in names)
        if 14 * SCALE + self.fonts[16].getlength(self.panel.title) + long < right:
            for name, color in reversed(names):
                self._text((right, 13 * SCALE), name, "rt", 13, color)
                right -= font.getlength(name) + 14 * SCALE
            return
        for k, (name, color) in enumerate(names):
            self._text((right, (TOP + 8 + 18 * k) * SCALE), name, "rt", 13, color)
