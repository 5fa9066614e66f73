"""Runs long stages in children of one process and ends them in the middle: kill, interrupt, trouble with the disk.

    python tests/helpers/faults.py < jobs > results

A job a line: {"stage": name, "folder": output folder, "fault": one of FAULTS, "moment" or "", "at": state, "every": seconds}.
A result a line: {"code": exit status, 130 for an interruption, or minus the signal; "key": fingerprint of what the node gave;
"said": texts in the nodes; "left": files below lift123/unfinished; "partial": partial results; "steps": how many states the
stage offered; "states": their steps (of a job with "map"); "times": when it had looked for a state, offered each of its own, and
came to its end; "over": whether it did; "ended": when the process had; "found": step of the state that it went on from, or
None}.
The process imports everything once and computes nothing itself, so that its children are like new processes.
"""

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
FAULTS = {"kill": False, "terminate": False, "interrupt": False, "full": True, "readonly": True, "deleted": True}  # killed later?
CODES = {"kill": -9, "terminate": -15, "interrupt": 130, "full": -9, "readonly": -9, "deleted": -9}


def prepare() -> None:
    """Imports the pack and ComfyUI's modules."""
    sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent / "training")]
    import pack  # noqa: F401

    from helpers.comfy_modules import prepare as comfy

    comfy()
    import diffusers.models.unets.unet_2d_condition  # noqa: F401  what stages import when they are needed
    import diffusers.schedulers.scheduling_ddim  # noqa: F401
    import warp  # noqa: F401

    from helpers import fault_stages  # noqa: F401


class Fault:
    """Counts the states that a stage keeps and does its damage after one of them, once it is written.

    name: "kill", "terminate" (the process ends at once), "interrupt" (a person stops the stage), "full", "readonly" (no
    state can be written so far; killed two steps after that has changed), "deleted" (the folder of states is removed; killed
    two steps later), "moment" (the parent kills it ``at`` seconds after the first step, whatever it does then), or "" for none.
    """

    def __init__(self, name: str, at: int, folder: Path):
        self.name, self.at, self.folder, self.steps = name, at, folder, 0
        self.write = None

    def begin(self) -> None:
        """Trouble with the disk is there from the beginning."""
        from lift123.pipelines.io import sealed

        if self.name in ("full", "readonly"):
            number = errno.ENOSPC if self.name == "full" else errno.EROFS

            def refuse(*_):
                raise OSError(number, os.strerror(number))

            self.write, sealed.write = sealed.write, refuse

    def told(self) -> None:
        """Called before a step is told, when ComfyUI's interruption is noticed."""
        if self.name == "interrupt" and self.steps + 1 >= self.at:
            import comfy.model_management as mm

            mm.interrupt_current_processing(True)

    def kept(self) -> None:
        """Called when a state was kept."""
        self.steps += 1
        if self.steps != self.at or self.name in ("", "interrupt", "moment"):
            return
        if self.name in ("kill", "terminate"):
            os.kill(os.getpid(), signal.SIGKILL if self.name == "kill" else signal.SIGTERM)
        if self.name == "deleted":
            shutil.rmtree(self.folder / "lift123" / "unfinished")
        else:
            from lift123.pipelines.io import sealed

            sealed.write = self.write
        self.name, self.at = "kill", self.at + 2


class Marks:
    """What a child has done and when, in a file that outlives it: a line a time (``time.monotonic`` is the system's)."""

    def __init__(self, path: Path):
        self.path = path

    def tell(self, **what) -> None:
        """One line, at the disk of the system when this returns."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**what, "time": time.monotonic()}) + "\n")

    def lines(self) -> list[dict]:
        """All so far; a line that the child was killed in is none."""
        text = self.path.read_text(encoding="utf-8") if self.path.is_file() else ""
        return [json.loads(line) for line in text.split("\n")[:-1]]

    def told(self) -> dict:
        """The part of a result that a killed child leaves, too."""
        lines = self.lines()
        offered = [line for line in lines if "step" in line]
        found = [line["found"] for line in lines if "found" in line]
        over = any("over" in line for line in lines)
        return {"found": found[-1] if found else None, "steps": len(offered), "over": over,
                "states": [line["step"] for line in offered], "times": [line["time"] for line in lines]}


def run(job: dict, folder: Path, marks: Marks) -> dict:
    """One stage in this process."""
    import comfy.model_management as mm
    import folder_paths
    from lift123.host import runner, unfinished
    from lift123.pipelines.io import autosave
    from lift123.pipelines.io.fingerprint import fingerprint

    from helpers import fault_stages

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    folder_paths.set_output_directory(str(folder))
    folder_paths.folder_names_and_paths["embeddings"] = ([str(folder / "embeddings")], {".safetensors"})
    fault_stages.BEFORE.get(job["stage"], lambda: None)()
    fault, said = Fault(job["fault"], job["at"], folder), []
    runner.say = lambda text, key: said.append(text)
    unfinished.EVERY = job["every"]
    if job["every"]:
        autosave.LONGEST *= job["every"] / autosave.EVERY  # a short stage, and its rhythm with it
    shown, kept, find, finish = runner.Monitor.__call__, *(getattr(unfinished.Shelf, n) for n in ("keep", "find", "end"))

    def show(self, step):
        fault.told()
        shown(self, step)

    def keep(self, make, now=False):
        kept(self, make, now)
        marks.tell(step=make().step if job["map"] else None)
        fault.kept()

    def end(self, result=None):
        marks.tell(over=True)
        finish(self, result)

    def look(self, unpack):
        state = find(self, unpack)
        marks.tell(found=None if state is None else state.step)
        return state

    runner.Monitor.__call__ = show
    unfinished.Shelf.keep, unfinished.Shelf.find, unfinished.Shelf.end = keep, look, end
    fault.begin()
    result = {"code": 0, "key": ""}
    try:
        result["key"] = fingerprint(fault_stages.STAGES[job["stage"]]())
    except mm.InterruptProcessingException:
        result["code"] = 130
    return {**result, "said": said}


def in_child(job: dict) -> dict:
    """:func:`run` in a process of its own."""
    folder = Path(job["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        told, marks = Path(scratch) / "result.json", Marks(Path(scratch) / "marks")
        child = os.fork()
        if child == 0:
            code = 1
            with contextlib.suppress(BaseException):
                try:
                    told.write_text(json.dumps(run(job, folder, marks)))
                    code = 0
                except BaseException:
                    traceback.print_exc()
            os._exit(code)
        code = waited(child, marks, job["at"]) if job["fault"] == "moment" else os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        ended = time.monotonic()
        result = json.loads(told.read_text()) if code == 0 else {"code": code, "key": "", "said": []}
        return {**result, "ended": ended, **marks.told(), **files(folder)}


def waited(child: int, marks: Marks, after: float) -> int:
    """Kills the child so many seconds after its first step, unless it has come to its end; its exit status."""
    due = None
    while due is None or time.monotonic() < due:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        due = due or next((line["time"] + after for line in marks.lines() if "step" in line), None)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def files(folder: Path) -> dict[str, list[str]]:
    """Names of states and of partial results."""
    places = {"left": folder / "lift123" / "unfinished", "partial": folder / "lift123"}
    return {name: sorted(p.name for p in place.iterdir() if p.is_file()) if place.is_dir() else []
            for name, place in places.items()}


class Worker:
    """This file as a process, asked for one job after the other."""

    def __init__(self):
        self.process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, stage: str, folder: Path, fault: str = "", at: float = 0, every: float = 0.0, states: bool = False) -> dict:
        """The result of a job."""
        job = {"stage": stage, "folder": str(folder), "fault": fault, "at": at, "every": every, "map": states}
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        """Ends the process."""
        self.process.stdin.close()
        self.process.wait()


def main() -> None:
    """Jobs from the standard input, one JSON object a line; results to the standard output, one a line."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no result
    prepare()
    with tempfile.TemporaryDirectory() as given:
        os.environ["LIFT123_GIVEN"] = given
        for line in sys.stdin:
            out.write(json.dumps(in_child(json.loads(line))) + "\n")
            out.flush()


if __name__ == "__main__":
    main()
