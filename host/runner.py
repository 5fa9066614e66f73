"""Runs a long stage inside ComfyUI: progress, preview, text line, interruption, early finish, rescue.

A stage calls ``on_step(Step)`` after every iteration.  :class:`Monitor` is that callback.  It never lets
a display problem stop the work, and never lets ComfyUI's interruption cut through the stage: it raises
``StopStage`` instead, so that the stage returns what it has, which is then saved.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import comfy.model_management as mm
import comfy.utils
import torch
from torch import Tensor

from ..pipelines.core import pulse
from ..pipelines.core.curve import Curve, joined
from ..pipelines.core.errors import InputError, StopStage
from ..pipelines.core.step import Step
from . import finish
from .live import Live
from .outputs import check_stage_room, claim, disk_problem
from .story import telling
from .unfinished import Shelf

log = logging.getLogger(__name__)
Result = TypeVar("Result")
PREVIEW_SECONDS = 0.5  # each preview is JPEG-encoded on the server's own loop: two per second are plenty
TEXT_SECONDS = 0.5
WARM_UP = 8  # iterations before a time is promised: two periods of reference and novel views
PREVIEW_SIDE = 512
AGAIN = "queueing the same graph again"


class Monitor:
    """``on_step`` for one stage.

    interrupted: the exception ComfyUI wants to see raised, once the stage has returned.
    finished_early: whether the user asked to finish with what there is.
    peak:        asked for the peak memory so far, bytes; None shows none.
    remarks:     sentences that are shown all the time, among them those that are added on the way.
    standing:    further ones, known before.
    """

    def __init__(self, node_key: str | None, asked: finish.threading.Event, clock=time.monotonic, peak=None,
                 remarks: list[str] | None = None, standing: Sequence[str] = ()):
        self.standing = list(standing)
        self.node_key, self.asked, self.clock, self.peak = node_key, asked, clock, peak
        self.remarks = [] if remarks is None else remarks
        self.bar: comfy.utils.ProgressBar | None = None
        self.interrupted: BaseException | None = None
        self.finished_early = False
        self.last: Step | None = None
        self.started: tuple[float, int] | None = None  # after the first iteration, which loads and compiles
        self.live = Live(node_key, clock)
        self.scores: dict = {}  # the last ones
        self._next_preview = self._next_text = 0.0

    def __call__(self, step: Step) -> None:
        self.last = step
        self.scores |= step.scores
        now = self.clock()
        if self.started is None:
            self.started = (now, step.index)
        try:
            mm.throw_exception_if_processing_interrupted()
            self._show(step, now)  # the progress hook may notice an interruption too
            self.live(step)
        except mm.InterruptProcessingException as stop:
            self.interrupted = stop
            raise StopStage() from None
        if self.asked.is_set():
            self.finished_early = True
            raise StopStage()

    def _show(self, step: Step, now: float) -> None:
        if self.bar is None:
            self.bar = comfy.utils.ProgressBar(step.total)
        picture = None
        if step.preview is not None and now >= self._next_preview:
            picture = preview_tuple(step.preview)
            self._next_preview = now + PREVIEW_SECONDS
        self.bar.update_absolute(step.index, step.total, picture)
        if now >= self._next_text or step.note or step.index >= step.total:
            self._next_text = now + TEXT_SECONDS
            say(self.status(now), self.node_key)

    def status(self, now: float) -> str:
        """For people: how far, how long, how much memory; losses and the last scores; stage, iteration, remarks."""
        step = self.last
        assert step is not None and self.started is not None, "it speaks of the last step"
        began, before = self.started
        done = step.index - before
        state = [f"{100 * step.index // max(step.total, 1)} %"]
        if done > 0 and step.index < step.total:
            left = duration((now - began) / done * (step.total - step.index))
            warm = done >= min(WARM_UP, step.total // 2)
            state.append(f"{left} left" if warm else f"{left} left, measuring")
        if self.peak is not None:
            state.append(f"{self.peak() / 2**30:.1f} GB")
        numbers = [f"{name} {value:.4g}" for name, value in {**step.losses, **self.scores}.items()]
        words = [f"{step.stage} {step.index}/{step.total}", step.note, *self.remarks, *self.standing]
        return "\n".join(" | ".join(filter(None, line)) for line in (state, numbers, words) if line)


def preview_tuple(pixels: Tensor):
    """[H, W, 3] in [0, 1] -> what ProgressBar wants, or None.

    Anything but an RGB picture kills ComfyUI's server loop, so this converts and never raises.
    """
    try:
        from PIL import Image

        data = (torch.nan_to_num(pixels.detach().float().cpu()).clamp(0, 1) * 255).round().to(torch.uint8)
        return ("JPEG", Image.fromarray(data.contiguous().numpy()).convert("RGB"), PREVIEW_SIDE)
    except Exception as problem:  # a picture is never worth a run
        log.warning("preview skipped: %s", problem)
        return None


def say(text: str, node_key: str | None) -> None:
    """Lines of text inside the running node (a no-op without a server).

    Nodes 2.0 reads them as Markdown, in which two spaces end a line; the other renderer does not show them.
    """
    log.info("%s", text)
    try:
        from server import PromptServer

        if node_key is not None and getattr(PromptServer, "instance", None) is not None:
            PromptServer.instance.send_progress_text(text.replace("\n", "  \n"), node_key)
    except Exception as problem:  # text is never worth a run
        log.debug("progress text skipped: %s", problem)


def peak_bytes(device: torch.device | None = None) -> int:
    """Peak memory so far: of the GPU in use, otherwise of this process (current where the system keeps no peak)."""
    device = device or mm.get_torch_device()
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    except ImportError:  # Windows
        import psutil

        return psutil.Process().memory_info().rss


def duration(seconds: float) -> str:
    """12.3 -> "12 s", 90 -> "1 min 30 s", 7300 -> "2 h 2 min"."""
    seconds = int(round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


def run_stage(name: str, stage: Callable[[dict], Result], node_key: str | None, before=None, loader: str = "Load Scene",
              shelf: Shelf | None = None, unpack: Callable[..., Result] | None = None, remarks: Sequence[str] = ()) -> Result:
    """Runs ``stage({"on_step": ..., "on_checkpoint": ...})`` and returns its scene (or whatever else it makes).

    before: the scene the stage starts from, if any; its stages and their seconds are carried on.
    loader: the node that reads partial results back.
    shelf: keeps the stage's state while it works and when it is interrupted; the stage is then given ``autosave``, too.
    remarks: sentences that the node's text shows all the time.
    unpack: the inverse of the result's ``pack``.  With it the shelf also keeps the result until the prompt has ended well,
        and the stage is not run where an earlier attempt at the same graph has come to its end.

    On interruption or an error the partial result is saved under output/lift123/ and named in the log, in
    the node's text and in the error; ``loader`` continues from it.  Results without ``save`` are not kept, but for
    what the stage has handed to ``on_checkpoint`` in their place.
    """
    if shelf is not None and unpack is not None and (known := shelf.finished(unpack)) is not None:
        say(" | ".join([f"{name}: taken from the attempt before, which had finished it", *shelf.remarks, *remarks]), node_key)
        return known
    check_stage_room(name)
    checkpoints: list = []
    began, stage = time.monotonic(), telling(stage, before, name)

    def keep(scene) -> None:
        checkpoints[:] = [scene]

    hooks: dict = {"on_checkpoint": keep} | ({} if shelf is None else {"autosave": shelf.keep})
    with finish.listening(node_key or name) as asked:  # before the first word, which may be answered at once
        if shelf is not None and shelf.remarks:  # also where no step follows
            say(" | ".join([name, *shelf.remarks]), node_key)
        monitor = Monitor(node_key, asked, peak=peak_bytes, remarks=None if shelf is None else shelf.remarks, standing=remarks)
        try:
            with pulse.heard_by(None):  # the monitor asks; a stage is never cut through
                scene = stage({"on_step": monitor, **hooks})
        except Exception as problem:
            left = None if shelf is None else shelf.left()
            if isinstance(problem, InputError) and not checkpoints and left is None:
                raise  # refused before any work
            where = what_is_left(checkpoints[-1:], name, loader, left, None if shelf is None else shelf.problem)
            told = failure(problem, name, where, node_key)
            if told is problem:
                raise
            raise told from problem
    if monitor.interrupted is not None:
        partial = [scene] if hasattr(scene, "save") or not checkpoints else checkpoints[-1:]
        left = None if shelf is None else shelf.left()
        where = what_is_left(partial, name, loader, left, None if shelf is None else shelf.problem)
        if where:
            say(f"{name} interrupted. {where}", node_key)
        raise monitor.interrupted
    if monitor.finished_early and monitor.last is not None:
        say(f"{name} finished early at {monitor.last.index}/{monitor.last.total}", node_key)
    spent = time.monotonic() - began + (0.0 if shelf is None else shelf.seconds)
    made = timed(scene, before, name, spent) if hasattr(scene, "meta") else scene
    made = drawn(made, before, name, monitor.live.curve) if hasattr(made, "meta") else made
    if shelf is not None:
        shelf.end(None if unpack is None or monitor.finished_early else made)
    return made


def failure(problem: Exception, name: str, where: str, node_key: str | None) -> Exception:
    """What to raise in place of ``problem``; where: a sentence about what is left, or none."""
    advice = " Out of memory: lower render_size, novel_batch or grid." if mm.is_oom(problem) else ""
    if not where and not advice:
        return problem
    message = f"{name} failed: {problem}.{advice}{' ' * bool(where)}{where}"
    say(message, node_key)
    if isinstance(problem, InputError):
        return InputError(problem.name, problem.expected, problem.got, f"{problem.remedy} {where}".rstrip())
    return RuntimeError(message)


def what_is_left(partial: list, name: str, loader: str, left: str | None, problem: BaseException | None) -> str:
    """Saves a partial result (none or one); the sentence that says where it is and who goes on from it, or "".

    left: the file of the stage's state, relative to ComfyUI's output folder, if there is one; problem: why the last state
    could not be written, or None.
    """
    path, trouble = rescue(partial[0], name) if partial else (None, None)
    trouble = trouble or (problem if path is None else None)
    if trouble is not None:
        lost = f"What it has so far could not be saved: {disk_problem(trouble) or trouble}"
        return lost + (f" A state of some time before is in output/{left}; {AGAIN} continues from it." if left else "")
    if path is None and left is None:
        return ""
    who = f"{loader} continues from it" + (f", and so does {AGAIN}" if left else "") if path else f"{AGAIN} continues from it"
    return f"What it has so far is in output/{path or left}; {who}."


def timed(scene, before, name: str, seconds: float):
    """The scene with the seconds its stages took, by name; a resumed stage adds up."""
    spent = dict(before.meta.get("seconds", {})) if before is not None else {}
    spent[name] = round(spent.get(name, 0.0) + seconds, 3)
    return replace(scene, meta={**scene.meta, "seconds": spent})


def drawn(scene, before, name: str, curve: Curve):
    """The scene with the curves of its stages, by name; a stage that went on from its own scene has one curve."""
    curves = dict(before.meta.get("curves", {})) if before is not None else {}
    if curve.spans:
        curves[name] = joined(curves.get(name), curve.to_json())
    return replace(scene, meta={**scene.meta, "curves": curves}) if curves else scene


def rescue(scene, name: str) -> tuple[str | None, BaseException | None]:
    """Saves a partial result; (its path relative to ComfyUI's output folder, None), or (None, why it could not be saved)."""
    if not hasattr(scene, "save"):
        return None, None
    try:
        slot = claim(f"lift123/partial_{name.lower().replace(' ', '_')}")
        scene.save(slot.path("safetensors"))
        return slot.relative("safetensors"), None
    except Exception as problem:  # the interruption or the first error matters more
        log.warning("the partial result could not be saved: %s", problem)
        return None, problem
