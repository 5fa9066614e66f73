"""The live table: done, running, failed, left, rate, time left; on a terminal also what every worker does."""

from __future__ import annotations

import shutil
import sys
import time

from ..launcher.terminal import bar
from .driver import Driver

MOST_ROWS = 16
EVERY = 5.0  # seconds between lines where there is no terminal
WORDS = {"starts": "starts ComfyUI", "idle": "waits", "gone": "left out"}


def duration(seconds: float) -> str:
    """75 -> "1 min 15 s"."""
    whole = int(round(seconds))
    hours, minutes = divmod(whole // 60, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {whole % 60:02d} s" if minutes else f"{whole} s"


def summary(driver: Driver) -> str:
    """One line."""
    counts = driver.counts
    running = sum(hand.job is not None or bool(hand.fetching) for hand in driver.hands.values())
    left, rate = max(0, counts.left(running)), counts.rate()
    share = (counts.done + counts.failed) / max(1, counts.total)
    ahead = f"{rate * 60:.1f} a minute, {duration((left + running) / rate)} to go" if counts.worked else "no rate yet"
    return (f"{bar(share)} {counts.total}: {counts.done} done, {running} running, {counts.failed} failed, {left} left; "
            f"{ahead}")


def rows(driver: Driver) -> list[str]:
    """A line for every worker, as far as they fit."""
    now, lines = time.monotonic(), []
    for number, hand in list(driver.hands.items())[:MOST_ROWS]:
        what = hand.job.item.shown if hand.job else WORDS.get(hand.state, hand.state)
        lines.append(f"  {number:>3} {hand.host:<24.24} {duration(now - hand.since):>10}  {what}")
    more = len(driver.hands) - MOST_ROWS
    return lines + ([f"  ... and {more} more"] if more > 0 else [])


class Table:
    """Rewrites itself on a terminal; elsewhere prints its first line every few seconds."""

    def __init__(self, stream=None):
        self.stream = stream or sys.stdout
        self.live = hasattr(self.stream, "isatty") and self.stream.isatty()
        self._height, self._when, self._last = 0, 0.0, ""

    def show(self, driver: Driver) -> None:
        """The state as it is now."""
        now = time.monotonic()
        if now - self._when < (0.2 if self.live else EVERY):
            return
        self._when = now
        first = summary(driver)
        if not self.live:
            if first != self._last:
                self.stream.write(first + "\n")
                self.stream.flush()
            self._last = first
            return
        width = shutil.get_terminal_size((100, 24)).columns - 1
        self.clear()
        lines = [line[:width] for line in [first, *rows(driver)]]
        self.stream.write("\n".join(lines) + "\n")
        self.stream.flush()
        self._height = len(lines)

    def clear(self) -> None:
        """Takes the table away, so that a line can be printed above it."""
        if self._height:
            self.stream.write(f"\x1b[{self._height}F\x1b[J")
            self._height = 0

    def say(self, text: str) -> None:
        """A line that stays."""
        self.clear()
        self._when = 0.0
        self.stream.write(text + "\n")
        self.stream.flush()
