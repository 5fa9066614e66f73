"""What a person sees: plain messages, and one progress line that rewrites itself on a terminal."""

import shutil
import sys
import time


def say(text: str = "") -> None:
    """Prints a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def complain(text: str) -> None:
    """Prints one error line to stderr."""
    sys.stdout.flush()
    sys.stderr.write(f"launch.py: {text}\n")
    sys.stderr.flush()


def bar(fraction: float, width: int = 20) -> str:
    """``[######....]`` for a fraction in [0, 1]."""
    done = round(max(0.0, min(1.0, fraction)) * width)
    return "[" + "#" * done + "." * (width - done) + "]"


class ProgressLine:
    """One line, rewritten in place on a terminal; elsewhere (a log file) a line every ``interval`` seconds."""

    def __init__(self, stream=None, interval: float = 5.0):
        self.stream = stream or sys.stdout
        self.live = hasattr(self.stream, "isatty") and self.stream.isatty()
        self.interval = interval
        self._last = ""
        self._when = -1e9

    def show(self, text: str, force: bool = False) -> None:
        """Shows ``text`` as the current state; ``force`` prints it to a log even when the last line is recent."""
        if text == self._last:
            return
        now = time.monotonic()
        if self.live:
            width = shutil.get_terminal_size((100, 24)).columns - 1
            self.stream.write("\r" + text[:width].ljust(width))
        elif force or now - self._when >= self.interval:
            self.stream.write(text + "\n")
            self._when = now
        else:
            return
        self._last = text
        self.stream.flush()

    def close(self) -> None:
        """Leaves the last state standing and starts a new line."""
        if self.live and self._last:
            self.stream.write("\n")
            self.stream.flush()
        self._last = ""
