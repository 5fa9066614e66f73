"""``launch.py sync``: runs in the launcher's environment, prints what it wrote (``--check``: what is stale, exit 1)."""

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
# ComfyUI has a nodes.py, too:
sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() not in (HERE, HERE.parent)]
sys.path.append(str(HERE.parent / "training"))
import pack  # noqa: E402, F401  (the repository becomes the package lift123)
from lift123.launcher import settings  # noqa: E402
from lift123.sync import files  # noqa: E402
from lift123.sync.definitions import SyncError, prepare  # noqa: E402


def main(arguments: list) -> int:
    """0: nothing was stale, or it was written; 1: stale (``--check``), or something to decide by hand."""
    parser = argparse.ArgumentParser(prog="launch.py sync")
    parser.add_argument("--check", action="store_true", help="write nothing; print what is stale and exit 1")
    check = parser.parse_args(arguments).check
    try:
        prepare(settings.default_paths().comfyui)
        wanted = files.wanted()
    except SyncError as problem:
        print(f"sync: {problem}", file=sys.stderr)
        return 1
    done = files.stale(wanted) if check else files.write(wanted)
    for file in done:
        print(f"{'stale' if check else 'wrote'} {file.relative_to(files.ROOT).as_posix()}")
    print(f"{len(wanted)} generated files, {len(done)} {'stale: ' + files.REMEDY if check and done else 'changed'}")
    return 1 if check and done else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
