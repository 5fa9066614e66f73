"""Runs a function over files in a child process with little memory, and says for each how it ended."""

import json
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]

SCRIPT = """
import json, resource, sys, time, traceback
from pathlib import Path
sys.path[:0] = {paths!r}
import pack, numpy, PIL.Image, torch, zipfile
from safetensors.torch import load_file
{imports}
from lift123.pipelines.core.errors import InputError
def field(name):
    return next(int(l.split()[1]) * 1024 for l in open("/proc/self/status") if l.startswith(name + ":"))
read = {reader}
for file in {warm!r}:
    read(Path(file))
for file in {files!r}:
    open("/proc/self/clear_refs", "w").write("5")  # the highest mark begins anew
    before = field("VmRSS")
    resource.setrlimit(resource.RLIMIT_AS, (field("VmSize") + {room}, resource.RLIM_INFINITY))
    print(json.dumps(["begin", file]), flush=True)
    start = time.process_time()
    try:
        result = repr(read(Path(file)))[:100]
        how = "valid"
    except InputError as error:
        how, result = "refused", str(error)
    except BaseException as error:
        how, result = type(error).__name__, traceback.format_exc()[-2000:]
    seconds = time.process_time() - start
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print(json.dumps(["end", file, how, result, seconds, field("VmHWM") - before]), flush=True)
"""


def caged(reader: str, imports: str, files: list, room: int = 500 << 20, timeout: float = 60, warm: list = ()) -> list:
    """[(file, how, words, seconds, bytes)] for each of ``files``, in their order.

    reader: an expression, a function of a path.  how: "valid", "refused" (an InputError), an exception's name, "died"
    (the process ended) or "hang" (longer than ``timeout`` for all).  seconds: of the processor, because other work on
    the machine must not decide.  room: bytes that may be taken beyond the start.  warm: good files read before, so that
    first imports are not counted.
    """
    left, found = [str(f) for f in files], []
    while left:
        paths = [str(TESTS.parent / "training")]
        script = SCRIPT.format(paths=paths, imports=imports, reader=reader, files=left, room=room, warm=[str(f) for f in warm])
        try:
            done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=timeout)
            lines, tail, ended = done.stdout, done.stderr[-2000:], "died"
        except subprocess.TimeoutExpired as error:
            lines, tail, ended = (error.stdout or b"").decode(), "", "hang"
        events = [json.loads(line) for line in lines.splitlines() if line.startswith("[")]
        ends = [event[1:] for event in events if event[0] == "end"]
        found += [tuple(event) for event in ends]
        left = left[len(ends):]
        if left:
            if not events or events[-1][0] != "begin":
                raise RuntimeError(f"the child process did not start: {tail}")
            found.append((left.pop(0), ended, tail, timeout, 0))
    return found
