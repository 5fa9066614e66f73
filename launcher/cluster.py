"""Ray for ``launch.py batch`` on several workers or machines, and the set-up of a machine that works for others."""

import json
import os
import subprocess
from pathlib import Path

from . import environment, settings
from .settings import LaunchError, Paths
from .terminal import say

NODE = "node.json"  # in the launcher's home: where the pack is (cluster/bootstrap.py reads it)
PLACED = ("cluster", "workers", "gpus", "cpus", "memory", "share", "timeout", "retry", "take_over", "device", "sweep", "name",
          "output", "prompt", "seed")
TABLES = (".csv", ".tsv", ".jsonl", ".ndjson")


def wanted(args) -> bool:
    """Whether a batch needs more than the plain one: other machines, several workers, a table, a sweep, its own place."""
    return bool(args.cluster or (args.workers or 1) != 1 or args.sweep or args.name or args.output
                or Path(args.folder).suffix.lower() in TABLES)


def needs_ray(args) -> bool:
    """Whether it runs on Ray; a table on one worker does not."""
    return bool(args.cluster) or (args.workers or 1) != 1


def add_arguments(batch) -> None:
    """The options of ``batch`` that choose machines and items."""
    batch.add_argument("--cluster", help="auto (the Ray cluster of this machine, else one of its own) or ray://HEAD:10001")
    batch.add_argument("--workers", type=int, help="ComfyUIs side by side; default: 1, on a cluster what there is room for")
    batch.add_argument("--gpus-per-worker", dest="gpus", type=float, help="default: 1 where the cluster has GPUs, else 0")
    batch.add_argument("--cpus-per-worker", dest="cpus", type=float, help="default: 1")
    batch.add_argument("--memory-per-worker", dest="memory", type=float, help="GB; default without a GPU: what the graph takes")
    batch.add_argument("--sweep", action="append", default=[], metavar="NAME=VALUES",
                       help="every picture once for each value: 'seed=0:4', 'NeRF Stage 1.iterations=200,400'; may be repeated")
    batch.add_argument("--name", default="", help="of the run, and of its folder below output/lift123")
    batch.add_argument("--output", help="where the run's folder goes, for example a folder that all machines share")
    batch.add_argument("--share", choices=["auto", "folder", "send"], default="auto",
                       help="send: results come through Ray although the machines seem to share the output folder")
    batch.add_argument("--item-timeout", dest="timeout", type=float, default=0.0, help="seconds; default: none")
    batch.add_argument("--take-over", action="store_true", help="from another driver, although it seems to live")


def command_of(args, paths: Paths) -> list:
    """The command of a run: ``cluster/drive.py`` in the launcher's environment."""
    for name in ("workers", "gpus", "cpus", "memory", "timeout"):
        value = getattr(args, name)
        if value is not None and not 0 <= value < 1e6 or name == "workers" and value == 0:
            raise LaunchError(f"--{name}: expected a number above 0, got {value}")
    told = {"source": str(Path(args.folder).expanduser().resolve()), "workflow": args.workflow,
            **{name: getattr(args, name) for name in PLACED}}
    if Path(args.workflow).is_file():
        told["workflow"] = str(Path(args.workflow).resolve())
    return [str(paths.python), str(paths.root / "cluster" / "drive.py"), json.dumps(told)]


def batch(args, paths: Paths) -> int:
    """Runs it; on POSIX in the place of this process, so that signals and a killed launcher reach the driver itself."""
    environment.ensure(paths)
    if needs_ray(args):
        ensure(paths)
    command = command_of(args, paths)
    env = {**os.environ, "LIFT123_HOME": str(paths.home)}
    if os.name == "nt":
        return subprocess.run(command, env=env).returncode
    os.execve(command[0], command, env)


def ensure(paths: Paths, wheels: str = "") -> None:
    """Installs Ray as an addition: no version that is there may change.  Notes where the pack is.

    wheels: a folder to install from, without a network.
    """
    file = paths.root / "requirements-cluster.txt"
    stamp, key = environment.Stamp(paths.stamp), environment.file_key(file)
    if not stamp.has("cluster", key):
        present = subprocess.run([str(paths.python), "-m", "pip", "--disable-pip-version-check", "list", "--format=freeze"],
                                 capture_output=True, text=True, check=False).stdout
        kept = paths.home / "present.txt"
        kept.write_text(present, encoding="utf-8")
        where = ["--no-index", "--find-links", wheels] if wheels else []
        environment.pip(paths, "Ray (once)", *where, "--constraint", str(kept), "-r", str(file))
        stamp.set("cluster", key)
    note(paths)


def note(paths: Paths) -> None:
    """Processes that Ray starts here find the pack by this."""
    (paths.home / NODE).write_text(json.dumps({"root": str(paths.root)}) + "\n", encoding="utf-8")


def worker_setup(args, paths: Paths) -> int:
    """Prepares this machine to work for others; from a folder of packages without a network."""
    if args.collect:
        return collect(paths, Path(args.collect).expanduser().resolve())
    wheels = ""
    if args.wheels:
        folder = Path(args.wheels).expanduser().resolve()
        if not folder.is_dir():
            raise LaunchError(f"no folder at {folder}")
        wheels = str(folder)
        os.environ.update(PIP_NO_INDEX="1", PIP_FIND_LINKS=wheels)  # also for ComfyUI's and torch's packages
    environment.ensure(paths)
    ensure(paths, wheels)
    told = subprocess.run([str(paths.python), str(paths.root / "cluster" / "drive.py"), json.dumps({"identity": True})],
                          capture_output=True, text=True, check=False)
    if told.returncode:
        raise LaunchError(f"the pack does not load here:\n{told.stderr.strip()}")
    say(told.stdout.strip())
    ray = paths.python.parent / ("ray.exe" if os.name == "nt" else "ray")
    say("This machine can work now. On the machine that leads:\n"
        f"  {ray} start --head --node-ip-address ADDRESS --ray-client-server-port 10001\n"
        "on every other one:\n"
        f"  {ray} start --address ADDRESS:6379\n"
        "Ray's ports let anybody who reaches them run programs here: never open them to a network that you do not trust.")
    return 0


def collect(paths: Paths, folder: Path) -> int:
    """Fills a folder with the packages of this machine's environment, for machines of its kind without a network."""
    environment.ensure(paths)
    ensure(paths)
    folder.mkdir(parents=True, exist_ok=True)
    present = subprocess.run([str(paths.python), "-m", "pip", "--disable-pip-version-check", "list", "--format=freeze"],
                             capture_output=True, text=True, check=True).stdout
    (folder / "packages.txt").write_text(present, encoding="utf-8")
    index = ["--extra-index-url", settings.TORCH_INDEX] if settings.TORCH_INDEX else []
    pip = [paths.python, "-m", "pip", "--disable-pip-version-check", "download", "--progress-bar=off", "--no-deps", *index,
           "-d", folder]
    environment.run_logged([*pip, "-r", folder / "packages.txt"], "Packages", paths)
    environment.run_logged([*pip, "--no-binary", ":all:", "--no-build-isolation", settings.COMFYUI_SDIST], "ComfyUI", paths)
    say(f"{len(list(folder.iterdir()))} files are in {folder}: copy it and run 'launch.py worker-setup --wheels FOLDER'")
    return 0
