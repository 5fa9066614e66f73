"""What the page draws while a stage runs: its curve once a second, and its surface every few seconds.

Both are sent only to a page that listens, and both wait longer where drawing would cost more than ``SHARE`` of the time.
"""

from __future__ import annotations

import logging
import math
import os
import time
from pathlib import Path

from ..pipelines.core.curve import Curve
from ..pipelines.core.step import Step

log = logging.getLogger(__name__)
CURVE, SURFACE = "lift123.curve", "lift123.surface"  # events for the page
CURVE_SECONDS, SURFACE_SECONDS = 1.0, 5.0
VARIABLE = "LIFT123_VIEW_SECONDS"  # of the environment: another number of seconds between two surfaces, 0 = none
SHARE = 0.01  # of a stage's time, for each of the two


class Turn:
    """Whose turn it is: at most every ``seconds``, and less often where one turn takes more than ``SHARE`` of that."""

    def __init__(self, seconds: float, now: float):
        self.seconds, self.next = seconds, now + seconds

    def due(self, now: float) -> bool:
        """Whether another turn is allowed."""
        return now >= self.next

    def over(self, began: float, now: float) -> None:
        """A turn lasted from ``began`` to ``now``."""
        self.next = now + max(self.seconds, (now - began) / SHARE)


class Live:
    """One run of a stage as the page sees it.  Nothing that goes wrong here stops the work.

    node_key: of the node that shows it; None = nobody.
    """

    def __init__(self, node_key: str | None, clock=time.monotonic):
        self.node_key, self.clock, self.curve, self.surfaces = node_key, clock, Curve(), 0
        self.plot, self.view = Turn(CURVE_SECONDS, clock()), Turn(surface_seconds(), clock())

    def __call__(self, step: Step) -> None:
        """After every iteration."""
        if step.losses or step.scores:  # stages that only count steps have no curve
            self.curve.add(step.index, step.losses, step.scores)
        if self.node_key is None:
            return
        now, last = self.clock(), step.index >= step.total
        if self.curve.spans and (last or self.plot.due(now)):
            send(CURVE, {"node": self.node_key, "total": step.total, **self.curve.to_json()})
            self.plot.over(now, self.clock())
        began = self.clock()
        if step.surface is not None and self.view.due(began) and heard():
            self._show(step)
            self.view.over(began, self.clock())

    def _show(self, step: Step) -> None:
        try:
            assert step.surface is not None
            mesh = step.surface()
            if mesh is None or not len(mesh.faces):
                return
            self.surfaces += 1
            file = write_surface(mesh, f"{self.node_key}_{self.surfaces % 2}")  # the page may still read the one before
            send(SURFACE, {"node": self.node_key, "step": step.index, "total": step.total, "file": file})
        except Exception as problem:  # a view is never worth a run
            log.warning("Lift123: the surface is not shown: %s", problem)


def surface_seconds() -> float:
    """Between two surfaces; infinity for none."""
    try:
        given = float(os.environ.get(VARIABLE, SURFACE_SECONDS))
    except ValueError:
        return SURFACE_SECONDS
    return given if given > 0 else math.inf


def write_surface(mesh, name: str) -> dict:
    """A GLB in ComfyUI's temp folder, as ``/view`` names it."""
    import folder_paths

    from ..pipelines.io.glb import write_glb

    folder = Path(folder_paths.get_temp_directory())
    folder.mkdir(parents=True, exist_ok=True)
    file = f"lift123_live_{os.getpid()}_{''.join(c if c.isalnum() else '_' for c in name)}.glb"
    (folder / file).write_bytes(write_glb(None, mesh))
    return {"filename": file, "subfolder": "", "type": "temp"}


def heard() -> bool:
    """Whether a page waits for what the running prompt sends."""
    try:
        from server import PromptServer

        server = getattr(PromptServer, "instance", None)
        return server is not None and server.client_id in server.sockets
    except Exception:
        return False


def send(event: str, data: dict) -> None:
    """To the page that queued the prompt; without one, to nobody."""
    try:
        from server import PromptServer

        if heard():
            PromptServer.instance.send_sync(event, data, PromptServer.instance.client_id)
    except Exception as problem:  # a picture is never worth a run
        log.debug("%s skipped: %s", event, problem)
