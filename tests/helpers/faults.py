"""Runs long stages in children of one process and ends them in the middle: kill, interrupt, trouble with the disk.

    python tests/helpers/faults.py < jobs > results

A job a line: {"stage": name, "folder": output folder, "fault": one of FAULTS or "", "at": state, "every": seconds}.  A result
a line: {"code": exit status, 130 for an interruption, or minus the signal; "key": fingerprint of what the node gave; "said":
last texts in the node; "left": files below lift123/unfinished; "partial": partial results; "steps": states that were kept}.
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
    two steps later), or "" for none.
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
        if self.steps != self.at or self.name in ("", "interrupt"):
            return
        if self.name in ("kill", "terminate"):
            os.kill(os.getpid(), signal.SIGKILL if self.name == "kill" else signal.SIGTERM)
        if self.name == "deleted":
            shutil.rmtree(self.folder / "lift123" / "unfinished")
        else:
            from lift123.pipelines.io import sealed

            sealed.write = self.write
        self.name, self.at = "kill", self.at + 2


def run(job: dict, folder: Path) -> dict:
    """One stage in this process."""
    import comfy.model_management as mm
    import folder_paths
    from lift123.host import runner, unfinished
    from lift123.pipelines.io.fingerprint import fingerprint

    from helpers import fault_stages

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    folder_paths.set_output_directory(str(folder))
    folder_paths.folder_names_and_paths["embeddings"] = ([str(folder / "embeddings")], {".safetensors"})
    fault_stages.BEFORE.get(job["stage"], lambda: None)()
    fault, said = Fault(job["fault"], job["at"], folder), []
    runner.say = lambda text, key: said.append(text)
    unfinished.EVERY = job["every"]
    shown, kept = runner.Monitor.__call__, unfinished.Shelf.keep

    def show(self, step):
        fault.told()
        shown(self, step)

    def keep(self, make, now=False):
        kept(self, make, now)
        fault.kept()

    runner.Monitor.__call__, unfinished.Shelf.keep = show, keep
    fault.begin()
    result = {"code": 0, "key": ""}
    try:
        result["key"] = fingerprint(fault_stages.STAGES[job["stage"]]())
    except mm.InterruptProcessingException:
        result["code"] = 130
    return {**result, "said": said[-3:], "steps": fault.steps, **files(folder)}


def in_child(job: dict) -> dict:
    """:func:`run` in a process of its own."""
    folder = Path(job["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        told = Path(scratch) / "result.json"
        child = os.fork()
        if child == 0:
            code = 1
            with contextlib.suppress(BaseException):
                try:
                    told.write_text(json.dumps(run(job, folder)))
                    code = 0
                except BaseException:
                    traceback.print_exc()
            os._exit(code)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        return json.loads(told.read_text()) if code == 0 else {
            "code": code, "key": "", "said": [], "steps": 0, **files(folder)}


def files(folder: Path) -> dict[str, list[str]]:
    """Names of states and of partial results."""
    places = {"left": folder / "lift123" / "unfinished", "partial": folder / "lift123"}
    return {name: sorted(p.name for p in place.iterdir() if p.is_file()) if place.is_dir() else []
            for name, place in places.items()}


class Worker:
    """This file as a process, asked for one job after the other."""

    def __init__(self):
        self.process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, stage: str, folder: Path, fault: str = "", at: int = 0, every: float = 0.0) -> dict:
        """The result of a job."""
        job = {"stage": stage, "folder": str(folder), "fault": fault, "at": at, "every": every}
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
