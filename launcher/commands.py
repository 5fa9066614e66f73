"""The words of the command line.  Each ``command_*`` takes parsed arguments and returns an exit code."""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import webbrowser
from pathlib import Path

from . import browser, cluster, environment, graph, jobs, settings, shipped, torch_build, verify
from .batch import run_batch
from .server import ComfyServer, HttpError, free_port
from .settings import LaunchError, Paths
from .terminal import ProgressLine, complain, say

_KINDS = {  # what a result file is, by its ending
    ".glb": "textured mesh", ".obj": "mesh", ".png": "picture", ".webp": "animated turntable",
    ".gif": "animated turntable", ".mp4": "animated turntable", ".json": "run manifest", ".safetensors": "scene state",
}


def load_workflow(paths: Paths, name: str) -> tuple:
    """(API-format prompt, UI-format workflow or None) of a shipped workflow's name or title, or of a file in API format."""
    prompt, known = shipped.load(name, paths.root)
    file = None if known is None else shipped.graph_file(known, paths.root)
    return prompt, json.loads(file.read_text(encoding="utf-8")) if file and file.is_file() else None


def start_server(paths: Paths, device: str, name: str, **more) -> ComfyServer:
    """A ComfyUI on our own base directory, with the pack linked into its custom nodes (not started yet)."""
    environment.link_pack(paths, paths.base / "custom_nodes")
    gpu = environment.uses_gpu(paths, device)
    return ComfyServer(paths, paths.base, gpu=gpu, log=paths.home / f"{name}.log", **more)


def describe(files: list) -> None:
    """Prints result files with what they are; a PNG that names itself a sheet is called so."""
    for file in files:
        kind = "contact sheet" if file.suffix == ".png" and "sheet" in file.stem else _KINDS.get(file.suffix, "file")
        size = f"{file.stat().st_size / 1e6:.2f} MB" if file.exists() else "missing"
        say(f"  {kind:<19} {file}  ({size})")


def remarks(files: list) -> list[str]:
    """Sentences that stages left in the manifests among ``files``: what was done with the picture, or could not be."""
    said = []
    for file in (f for f in files if f.name.endswith("_manifest.json") and f.is_file()):
        try:
            stages = json.loads(file.read_text(encoding="utf-8"))["settings"]["stages"]
            said += [str(stage["said"]) for stage in stages if "said" in stage]
        except (ValueError, KeyError, TypeError):  # the manifest of another kind of run
            continue
    return said


def memory_of(pid: int, field: str = "VmHWM") -> float:
    """Peak resident memory of a process in GB, from /proc; nan where there is none."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) / 1e6
    except (OSError, ValueError, IndexError):
        pass
    return float("nan")


def command_demo(args, paths: Paths) -> int:
    """One picture (or the shipped sample) through the quickstart workflow."""
    picture = Path(args.picture).expanduser() if args.picture else None
    if picture and not picture.is_file():
        raise LaunchError(f"no picture at {picture}")
    given, workflow = load_workflow(paths, args.workflow)
    prompt = graph.with_seed(given, args.seed)
    environment.ensure(paths)
    begin = time.monotonic()
    say("Starting ComfyUI ...")
    with start_server(paths, args.device, "demo") as server:
        idle = memory_of(server.pid)
        if picture:
            prompt = graph.with_picture(prompt, server.client.upload(picture, "lift123"), args.prompt)
        if prompt != given:
            workflow = None  # the edited graph has no UI twin
        say(f"Queued {args.workflow} on {picture or 'the sample picture'} (ComfyUI at {server.client.url})")
        started, clock = time.monotonic(), time.time()
        entry = jobs.run(server.client, prompt, ProgressLine(), workflow, server.alive)
        seconds, peak = time.monotonic() - started, memory_of(server.pid)
        jobs.wait_until_settled(paths.output, clock)
        files = jobs.saved_files(entry, paths.output)
        if not files:  # graphs of pictures save nothing by themselves
            short = shipped.short_name(args.workflow) or Path(args.workflow).stem
            files = jobs.keep_previews(server.client, entry, paths.output / "lift123", f"{short}_previews")
    missing = [str(file) for file in files if not file.exists()]
    if not files or missing:
        raise LaunchError(f"the workflow finished but its results are missing: {', '.join(missing) or 'none named'}")
    say(f"Done in {seconds:.0f} s ({time.monotonic() - begin:.0f} s with ComfyUI's start). Results:")
    describe(files)
    for sentence in remarks(files):
        say(f"  {sentence}")
    if peak > 0:  # not nan
        say(f"  Peak memory {peak:.1f} GB, {peak - idle:.1f} GB of it beyond ComfyUI's own.")
    return 0


def command_serve(args, paths: Paths) -> int:
    """ComfyUI with the pack, until Ctrl-C."""
    environment.ensure(paths)
    database = f"sqlite:///{(paths.base / 'user' / 'comfyui.db').as_posix()}"
    port = args.port or free_port(8188)
    server = start_server(paths, args.device, "serve", port=port, arguments=["--database-url", database, *args.extra])
    if server.client.port != port:
        raise LaunchError(f"port {port} is taken")
    say("Starting ComfyUI ...")
    with server:
        say(f"ComfyUI is at {server.client.url} - templates are under 'lift123' in the workflow browser. Ctrl-C stops.")
        if not args.no_browser:
            webbrowser.open(server.client.url)
        shown = 0
        while server.alive():
            with open(server.log, "rb") as log:
                log.seek(shown)
                text = log.read()
            shown += len(text)
            sys.stdout.write(text.decode("utf-8", "replace"))
            sys.stdout.flush()
            time.sleep(0.3)
        raise LaunchError(f"ComfyUI ended (code {server.exit_code()})")


def command_setup(args, paths: Paths) -> int:
    """The environment alone, so that nothing has to be fetched later; with --tests also what the tests need."""
    environment.ensure(paths, tests=args.tests)
    if args.tests:
        cluster.ensure(paths)
    say(f"Everything is ready in {paths.home}.")
    return 0


# Three workers on two cores, as many tests wait for servers and pages; each has one thread and about 2 GB (tests/conftest.py).
SIDE_BY_SIDE = ("-n", "3", "--dist", "loadscope", "--no-loadscope-reorder")


def command_test(args, paths: Paths) -> int:
    """All tests, those in the real server and the real browser included; more arguments go to pytest."""
    environment.ensure(paths, tests=True)
    cluster.ensure(paths)
    reason = browser.ensure(paths)
    env = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", **os.environ, "LIFT123_HOME": str(paths.home)}
    env["LIFT123_NO_BROWSER"] = reason
    env["LIFT123_CHROMIUM"] = browser.find_chromium(paths)
    command = [str(paths.python), "-m", "pytest", *(args.extra or ["tests", *SIDE_BY_SIDE])]
    return subprocess.run(command, cwd=paths.root, env=env).returncode


def command_batch(args, paths: Paths) -> int:
    """Every picture of a folder, skipping those that are done; tables, sweeps and clusters are ``cluster``'s."""
    if cluster.wanted(args):
        return cluster.batch(args, paths)
    folder = Path(args.folder).expanduser()
    if not folder.is_dir():
        raise LaunchError(f"no folder at {folder}")
    pictures = graph.picture_files(folder)
    if not pictures:
        raise LaunchError(f"no pictures in {folder}")
    prompt, _ = load_workflow(paths, args.workflow)
    environment.ensure(paths)
    failed = run_batch(paths, pictures, graph.with_seed(prompt, args.seed), args.prompt,
                       lambda: start_server(paths, args.device, "batch"), describe, args.retry)
    return 1 if failed else 0


def _run_script(paths: Paths, script: Path, extra: list) -> int:
    environment.ensure(paths, tests=True)
    say(f"$ {script.relative_to(paths.root)} {' '.join(extra)}".rstrip())
    return subprocess.run([str(paths.python), str(script), *extra], cwd=paths.root).returncode


def command_bench(args, paths: Paths) -> int:
    """One benchmark by name, or all of them; without a name, the list."""
    files = sorted((paths.root / "benchmarks").glob("bench_*.py"))
    scripts = {p.stem[len("bench_"):]: p for p in files if "__main__" in p.read_text(encoding="utf-8")}
    if not args.name:
        say("Benchmarks: " + ", ".join(scripts) + "  (launch.py bench NAME [ARGUMENTS], or 'all')")
        return 0
    if args.name != "all" and args.name not in scripts:
        raise LaunchError(f"no benchmark '{args.name}'; there are: {', '.join(scripts)}")
    chosen = list(scripts.values()) if args.name == "all" else [scripts[args.name]]
    return max(_run_script(paths, script, args.extra) for script in chosen)


def command_train(args, paths: Paths) -> int:
    """Trains the embedded networks again; arguments go to the training script."""
    return _run_script(paths, paths.root / "training" / "train.py", args.extra or ["all"])


def command_characters(args, paths: Paths) -> int:
    """Trains StdGEN's networks on layered characters; arguments go to the training script."""
    return _run_script(paths, paths.root / "training" / "characters.py",
                       ["--help" if args.source == "help" else args.source, *args.extra])


def command_sync(args, paths: Paths) -> int:
    """Writes what is generated from the nodes' schemas; with ``--check`` only says what is stale."""
    environment.ensure(paths)
    command = [str(paths.python), str(paths.root / "sync" / "run.py"), *(["--check"] if args.check else [])]
    return subprocess.run(command, cwd=paths.root, env={**os.environ, "LIFT123_HOME": str(paths.home)}).returncode


def command_verify(args, paths: Paths) -> int:
    """Every public network whose files are here: loaded strictly, one step, a picture."""
    environment.ensure(paths)
    models = [Path(folder).expanduser().resolve() for folder in args.models]
    absent = [str(folder) for folder in models if not folder.is_dir()]
    if absent:
        raise LaunchError(f"no folder at {absent[0]}")
    return verify.verify(paths, args.networks, models, args.device, args.steps)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="launch.py", description="Lift123: one picture becomes a 3D asset, in ComfyUI.")
    commands = top.add_subparsers(dest="command", required=True)

    def add(name, function, text, job=False, device=False):
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(function=function, extra=[])
        if job:
            sub.add_argument("--workflow", default=settings.QUICKSTART, help="a shipped workflow's name or title, or an API JSON")
            sub.add_argument("--prompt", default="an object", help="what your picture shows, in a few words")
            sub.add_argument("--seed", type=int, help="another seed than the workflow's")
        if device or job:
            sub.add_argument("--device", choices=["auto", "cpu", "gpu"], default="auto")
            sub.add_argument("--torch", choices=torch_build.BUILDS, help=f"which PyTorch is set up; {torch_build.MEANING}")
        return sub

    demo = add("demo", command_demo, "set up, then turn a picture into a textured GLB", job=True)
    demo.add_argument("picture", nargs="?", help="RGBA, or RGB with a plain background; default: a sample object")
    serve = add("serve", command_serve, "set up, then open ComfyUI with the pack; unknown arguments go to ComfyUI",
                device=True)
    serve.add_argument("--port", type=int, default=0, help="default: 8188, or a free one")
    serve.add_argument("--no-browser", action="store_true", help="do not open a browser window")
    add("setup", command_setup, "set up and do nothing else").add_argument(
        "--tests", action="store_true", help="also what the tests need, but for the browser")
    add("test", command_test, "set up, then run all tests; other arguments go to pytest")
    batch = add("batch", command_batch, "every picture in a folder, skipping those that are done", job=True)
    batch.add_argument("folder", help="with pictures; or a table: .csv, .tsv, .jsonl (docs/cluster.md)")
    batch.add_argument("--retry", action="store_true", help="also the pictures that were set aside")
    cluster.add_arguments(batch)
    node = add("worker-setup", cluster.worker_setup, "prepare this machine to work for a batch on a Ray cluster")
    node.add_argument("--wheels", help="a folder of packages to install from, without a network")
    node.add_argument("--collect", metavar="FOLDER", help="instead: fill such a folder on a machine of the same kind")
    add("bench", command_bench, "run a benchmark; other arguments go to it").add_argument("name", nargs="?")
    sync = add("sync", command_sync, "write what is generated from the nodes: translations, help pages, graphs")
    sync.add_argument("--check", action="store_true", help="write nothing; print what is stale and exit 1")
    weights = add("verify-weights", command_verify, "load every public network that is present, run one step, report",
                  device=True)
    weights.add_argument("networks", nargs="*", help="names or files; default: all that are present ('embedded': our own)")
    weights.add_argument("--models", action="append", default=[], help="a models folder of ComfyUI; may be repeated")
    weights.add_argument("--steps", type=int, default=0, help="sampling steps of the pictures (20 on a GPU, 4 on a CPU)")
    add("train-embedded", command_train, "train the embedded networks again; other arguments go to the script")
    own = add("train-characters", command_characters, "train StdGEN's networks on layered characters of your own; other "
              "arguments go to the script")
    own.add_argument("source", help="a folder of GLB files with nodes body, clothing and hair; 'toybox'; or 'help'")
    return top


def _raise_interrupt(*_):
    raise KeyboardInterrupt


def main(arguments: list) -> int:
    """Runs one command; 0 is success, 1 a failure told in one message, 130 an interruption."""
    args, extra = parser().parse_known_args(arguments)
    passes_on = args.function in (command_test, command_serve, command_bench, command_train, command_characters)
    if extra and not passes_on:
        parser().error(f"unknown arguments: {' '.join(extra)}")
    args.extra = extra
    if getattr(args, "torch", None):
        os.environ["LIFT123_TORCH_BUILD"] = args.torch
    for name in ("SIGTERM", "SIGHUP", "SIGBREAK"):  # so that the server is stopped then, too
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) != signal.SIG_IGN:  # as under nohup
            signal.signal(getattr(signal, name), _raise_interrupt)
    try:
        return args.function(args, settings.default_paths())
    except (LaunchError, jobs.PromptFailed, HttpError, OSError) as error:  # OSError: the server went away, a full disk
        complain(str(error) or type(error).__name__)
        return 1
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):  # a closed terminal
            complain("stopped")
        return 130
