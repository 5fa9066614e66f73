"""``run``: what the command line, the graph's page and a script call."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..launcher import graph, shipped
from ..launcher.settings import Paths, default_paths
from . import graphs, identity, items, placement, pools, results
from .driver import Driver
from .state import Finished

__all__ = ["Finished", "Options", "run"]
ALONE = (None, "", "none")


@dataclass(frozen=True)
class Options:
    """Where and how a run works.

    cluster: None (this process, or a Ray of this machine where ``workers`` says more than one), "auto", "local" or
    "ray://host:port".  workers: None for as many as there is room for.  gpus, cpus, memory (GB): of one worker, None
    for what fits (``placement``).  share: "auto" (look), "folder" (all machines see the output folder), "send" (results
    come through Ray).  timeout: seconds an item, 0 for none.  retry: also what was set aside.  arguments: for ComfyUI.
    device: "auto", "cpu" or "gpu".  stand_in: a file whose class Worker takes ComfyUI's place (measurements).
    """

    cluster: str | None = None
    workers: int | None = None
    gpus: float | None = None
    cpus: float | None = None
    memory: float | None = None
    share: str = "auto"
    timeout: float = 0.0
    retry: bool = False
    take_over: bool = False
    arguments: tuple[str, ...] = ()
    device: str = "auto"
    stand_in: str = ""
    kind: str = ""


def run(source, workflow: str | dict = "consistent123_quickstart", *, prompt: str = "an object", seed: int | None = None,
        output=None, name: str = "", sweep: Sequence[str] = (), pictures=None, paths: Paths | None = None,
        watch: Callable[[Driver], None] | None = None, **options) -> Iterator[Finished]:
    """Every item of a folder or table through a graph; finished ones as they come, in the order of their end.

    source: a folder of pictures, or a table (``items``).  workflow: a shipped one's name or title, a file in API format,
    or the graph itself.  output: results go to ``output/lift123/name`` (default: the launcher's output folder, the
    source's name).  sweep: "NAME=VALUES", every item once for each.  pictures: where a table's pictures are.  options:
    see ``Options``.  watch: called with the driver about once a second and after every item.  The same call goes on where
    an earlier one ended.
    Raises LaunchError for what can't begin, and where another driver has the run.
    """
    chosen, paths = Options(**options), paths or default_paths()
    given = workflow if isinstance(workflow, dict) else shipped.load(workflow, paths.root)[0]
    base = graph.with_seed(given, seed)
    source = Path(source).expanduser()
    listed = items.read(source, base, sweep, None if pictures is None else Path(pictures))
    for item in listed[:1]:  # a graph without a place for a picture is refused before any work
        graphs.prompt_of(base, item, "picture.png" if item.picture else "", prompt)
    folder = Path(output or paths.output).expanduser().resolve() / "lift123" / (graph.folder_name(name or source.stem))
    return _begin(chosen, paths, base, prompt, folder, listed, watch)


def _begin(chosen: Options, paths: Paths, base: dict, caption: str, folder: Path, listed: list, watch) -> Iterator[Finished]:
    names = graphs.weight_names(base)
    mine = {"code": identity.code(paths.root), "commit": identity.commit(paths.root),
            "weights": identity.weights(paths.base / "models", names, paths.home / "cluster" / "hashes.json")}
    if names and not mine["weights"]:
        mine["weights"] = None  # a machine without networks, such as a notebook computer: the first worker tells
    folder.mkdir(parents=True, exist_ok=True)
    mark = "" if chosen.share == "send" else f"{results.MARK}{uuid.uuid4().hex[:12]}"
    if mark:
        (folder / mark).touch()
    pool = _Later(lambda: _pool(chosen, paths, base, names))
    try:
        driver = Driver(listed, base, caption, folder, pool, mine, mark, chosen.retry, chosen.take_over)
    except BaseException:
        if mark:
            (folder / mark).unlink(missing_ok=True)
        raise
    for finished in driver.run():
        if watch:
            watch(driver)
        if finished is not None:
            yield finished


def _pool(chosen: Options, paths: Paths, base: dict, names: list[str]):
    alone = chosen.cluster in ALONE and (chosen.workers or 1) == 1
    settings = {"root": str(paths.root), "home": str(paths.home), "gpu": False, "weights": names, "timeout": chosen.timeout,
                "arguments": list(chosen.arguments), "stand_in": chosen.stand_in}
    if alone:
        from ..launcher import environment

        return pools.LocalPool({**settings, "gpu": environment.uses_gpu(paths, chosen.device)}, paths.root, paths.home)
    address = chosen.cluster or "local"
    need = placement.need_of(base) if chosen.memory is None and not chosen.stand_in else 0
    ray = pools.connect(address, chosen.workers, chosen.cpus or 1.0)
    has_gpus = chosen.device != "cpu" and ray.cluster_resources().get("GPU", 0) > 0
    sizes = placement.sizes(chosen.gpus, chosen.cpus, chosen.memory, has_gpus, need, chosen.kind)
    return pools.RayPool(ray, {**settings, "gpu": sizes.gpus > 0}, sizes, chosen.workers)


class _Later:
    """A pool that is made when it is needed: a finished run starts none."""

    def __init__(self, make):
        self._make, self._pool = make, None

    def start(self) -> list[int]:
        self._pool = self._make()
        return self._pool.start()

    def close(self) -> None:
        if self._pool is not None:
            self._pool.close()

    def __getattr__(self, name):
        return getattr(self._pool, name)
