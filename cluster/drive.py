"""The command behind ``launch.py batch`` with a table, a cluster, or several workers; runs in the launcher's environment.

    python cluster/drive.py '{"source": "pictures", "workflow": "consistent123_quickstart", "cluster": "auto", ...}'

The argument is JSON: what ``api.run`` takes.  It ends with 0, with 1 where items failed or nothing could begin, and with
130 where a person stopped it.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

if __name__ == "__main__":  # run by its path: the pack is not known yet
    sys.path.pop(0)
    import importlib.util

    _spec = importlib.util.spec_from_file_location("lift123_bootstrap", Path(__file__).with_name("bootstrap.py"))
    assert _spec is not None and _spec.loader is not None
    _module = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(_module)
    _module.load_pack(Path(__file__).resolve().parent.parent)


def interrupted(*_):
    """SIGTERM and a closed terminal end a run as Ctrl-C does."""
    raise KeyboardInterrupt


def identify() -> int:
    """Says what this machine runs."""
    from lift123.cluster import identity
    from lift123.launcher.settings import default_paths

    root = default_paths().root
    print(f"commit {identity.commit(root) or 'unknown'}, code {identity.code(root)[:16]}")
    return 0


def main(text: str) -> int:
    """One run, told on the terminal."""
    from lift123.cluster import api, show
    from lift123.launcher.settings import LaunchError
    from lift123.launcher.terminal import complain

    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) != signal.SIG_IGN:
            signal.signal(getattr(signal, name), interrupted)
    table, drivers, told = show.Table(), [], json.loads(text)
    if told.get("identity"):
        return identify()

    def watch(driver):
        drivers[:] = [driver]
        while driver.notes:
            table.say(f"  {driver.notes.popleft()}")
        table.show(driver)

    try:
        for item in api.run(told.pop("source"), told.pop("workflow"), watch=watch, **told):
            if item.status != "already done":
                table.say(f"  {item.shown}: {item.status}" + (f", {item.error}" if item.error else f" in {item.seconds:.0f} s"))
    except LaunchError as problem:
        table.clear()
        complain(str(problem))
        return 1
    except KeyboardInterrupt:
        table.say("stopped; the same command goes on")
        return 130
    counts = drivers[0].counts if drivers else None
    if counts is None:
        return 0
    table.say(f"{counts.total} items: {counts.done} done ({counts.skipped} of them before), {counts.failed} failed; results "
              f"are in {drivers[0].run_folder}")
    return 1 if counts.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
