"""JSON of files that somebody else may have written: whatever is wrong with it is a ValueError."""

from __future__ import annotations

import json


def parse(text: str | bytes, finite: bool = False):
    """The value of a JSON text; ValueError for what is none or is nested without end, ``finite``: also for NaN and infinity."""
    def no_number(word: str):
        raise ValueError(f"its JSON holds {word}")

    try:
        return json.loads(text, parse_constant=no_number) if finite else json.loads(text)
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None
