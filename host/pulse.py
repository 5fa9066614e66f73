"""Listens to work without steps (``pipelines/core/pulse.py``): ComfyUI's cancel button, its progress bar and a line of text."""

from __future__ import annotations

import time

import comfy.model_management as mm
import comfy.utils

from .runner import say

ASK_SECONDS, SHOW_SECONDS = 0.05, 0.5


class Pulse:
    """A listener for one node; raises ComfyUI's interruption from within the work."""

    def __init__(self, node_key: str | None, clock=time.monotonic):
        self.node_key, self.clock = node_key, clock
        self.bar: comfy.utils.ProgressBar | None = None
        self._what, self._next_ask = "", 0.0
        self._next_show = clock() + SHOW_SECONDS  # quick nodes show nothing

    def __call__(self, what: str, done: int, total: int) -> None:
        now = self.clock()
        if now >= self._next_ask:
            self._next_ask = now + ASK_SECONDS
            mm.throw_exception_if_processing_interrupted()
        if now < self._next_show or not (total or what):
            return
        self._next_show = now + SHOW_SECONDS
        if total:
            self.bar = self.bar or comfy.utils.ProgressBar(total)
            self.bar.update_absolute(min(done, total), total)
        if what:
            say(f"{what} {done}/{total}" if total else what, self.node_key)
