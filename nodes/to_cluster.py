"""The open graph's Batch List goes to a cluster: a driver in a process of its own works on it (``cluster/drive.py``).

Results appear below ``lift123/<name>`` of the output folder as they come, where Results finds them.  The run goes on when
this ComfyUI ends, and sending the same graph again goes on with it.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from ..cluster import journal
from ..host import runs
from ..pipelines.core.errors import InputError
from ..pipelines.io import runs as records
from .batch import PICTURES, crossed, folder_of, listed, words_of

log = logging.getLogger(__name__)
ROUTE = "/lift123/cluster"
ADDRESS = re.compile(r"auto|local|ray://[A-Za-z0-9.\-_\[\]:]+")
DRIVER = Path(__file__).resolve().parent.parent / "cluster" / "drive.py"
MOST_WORKERS = 10_000


@dataclass
class Sent:
    """A run that this server has started."""

    process: subprocess.Popen
    folder: Path


_sent: list[Sent] = []


def rows(graph: dict) -> tuple[str, list[dict]]:
    """(run's name, table rows) of the graph's one Batch List; InputError where that can't be."""
    lists = [key for key, entry in graph.items() if entry.get("class_type") == runs.LIST]
    if len(lists) != 1:
        raise InputError("graph", "one Batch List", f"{len(lists)}", "Put what the batch runs over into one Batch List.")
    given = graph[lists[0]]["inputs"]
    wired = [name for name, value in given.items() if records.is_link(value, graph)]
    if wired:
        raise InputError(wired[0], "a value in Batch List itself", "a wire", "Write it into the node.")
    name, source = folder_of(given["name"]), given["source"]
    elements, contents, seconds = crossed(*listed(source, given["folder"], given["values"], name), given.get("also", ""))
    found = []
    for index, (element, content, second) in enumerate(zip(elements, contents, seconds, strict=True)):
        outputs = ["", "", *words_of(index, element, content, source), "", *second]
        row = {"name": element.prefix.rpartition("/")[2], "list": {lists[0]: outputs}}
        found.append({**row, "picture": _inside_input(content)} if source == PICTURES else row)
    return name, found


def _inside_input(path: Path) -> str:
    import folder_paths

    return path.relative_to(Path(folder_paths.get_input_directory())).as_posix()


def send(graph: dict, address: str, workers: int) -> str:
    """Starts the run; a sentence for the person."""
    import folder_paths

    if not ADDRESS.fullmatch(address):
        raise InputError("cluster", "auto or ray://head:10001", repr(address[:60]), "Set it in Settings > Lift123 > Cluster.")
    if any(sent.process.poll() is None for sent in _sent):
        return "A batch is on the cluster already. Stop it first, or wait for its end."
    name, found = rows(graph)
    output = Path(folder_paths.get_output_directory())
    folder = output / "lift123" / name
    folder.mkdir(parents=True, exist_ok=True)
    table, work = folder / "cluster_table.jsonl", folder / "cluster_graph.json"
    table.write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")
    work.write_text(json.dumps(graph), encoding="utf-8")
    told = {"source": str(table), "workflow": str(work), "output": str(output), "name": name, "cluster": address,
            "workers": workers or None, "pictures": str(Path(folder_paths.get_input_directory()))}
    with open(folder / "cluster.log", "wb") as printed:
        process = subprocess.Popen([sys.executable, str(DRIVER), json.dumps(told)], stdin=subprocess.DEVNULL, stdout=printed,
                                   stderr=subprocess.STDOUT, start_new_session=os.name != "nt")
    _sent[:] = [Sent(process, folder)]
    return f"{len(found)} items go to the cluster; results appear in output/lift123/{name}."


def state() -> dict:
    """Of the run that was sent last."""
    if not _sent:
        return {"running": False, "text": "Nothing was sent to the cluster."}
    sent = _sent[-1]
    last = {event["k"]: event["e"] for event in journal.read(sent.folder / journal.FILE) if "k" in event and "e" in event}
    kinds = list(last.values())
    running = sent.process.poll() is None
    counts = {"done": kinds.count("done"), "failed": kinds.count("failed") + kinds.count("aside")}
    words = "On the cluster" if running else "The cluster's batch has ended"
    text = f"{words}: {counts['done']} done, {counts['failed']} failed."
    if not running and sent.process.returncode not in (0, 130):
        text += f" {_last_line(sent.folder / 'cluster.log')}"
    return {"running": running, "name": sent.folder.name, **counts, "text": text}


def _last_line(file: Path) -> str:
    lines = file.read_text(encoding="utf-8", errors="replace").strip().splitlines() if file.is_file() else []
    return lines[-1][:300] if lines else ""


def stop() -> str:
    """Asks the run to end as Ctrl-C does."""
    running = [sent for sent in _sent if sent.process.poll() is None]
    for sent in running:
        sent.process.send_signal(signal.SIGTERM)
    return "The cluster's batch is being stopped; send it again to go on." if running else "No batch is on the cluster."


def register_routes(routes) -> None:
    """POST /lift123/cluster sends a graph, GET tells the state, POST /lift123/cluster/stop ends; 400 with a sentence."""
    from aiohttp import web

    @routes.post(ROUTE)
    async def begin(http):
        try:
            body = await http.json()
            text = send(dict(body["prompt"]), str(body.get("address") or ""), _count(body.get("workers")))
        except (InputError, OSError) as problem:
            return web.json_response({"text": str(problem)}, status=400)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return web.json_response({"text": "expected a graph in API format"}, status=400)
        return web.json_response({"text": text})

    @routes.get(ROUTE)
    async def tell(_):
        return web.json_response(state())

    @routes.post(f"{ROUTE}/stop")
    async def end(_):
        return web.json_response({"text": stop()})


def _count(value) -> int:
    count = int(value or 0)
    if not 0 <= count <= MOST_WORKERS:
        raise InputError("workers", f"0 to {MOST_WORKERS}", str(value)[:20], "Set it in Settings > Lift123 > Workers.")
    return count
