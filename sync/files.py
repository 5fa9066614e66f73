"""All generated files: what they should hold, which are stale, writing them."""

from __future__ import annotations

import json
from pathlib import Path

from ..host import renamed
from ..launcher import shipped
from . import blueprints, graphs, languages, pages, presets, translations
from .definitions import SyncError, object_info, pack_nodes

ROOT = Path(__file__).resolve().parent.parent
REMEDY = "run launch.py sync"


def wanted(root: Path = ROOT) -> dict[Path, str]:
    """File -> what it should hold, for everything that is generated below ``root``.

    ``definitions.prepare`` comes first.  SyncError names what has to be decided by hand.
    """
    nodes = pack_nodes()
    graphs_there = workflows(root)
    english = locales(nodes, root / "locales" / "en")
    words = {file.stem: json.loads(text) for file, text in english.items()}
    return (english | languages.written(words, root / "sync" / "languages", root / "locales") | documents(nodes, root)
            | graphs_there | subgraphs(root, graphs_there)
            | {root / "web" / "js" / "renamed_tables.js": former_names(),
               root / "web" / "js" / "preset_numbers.js": presets.module(),
               root / "web" / "js" / "node_rooms.js": node_rooms(nodes)})


def locales(nodes: dict, folder: Path) -> dict[Path, str]:
    """The two files of translations.  SyncError for a node that has gone and has no new name."""
    names = folder / "nodeDefs.json"
    before = set(json.loads(names.read_text(encoding="utf-8"))) if names.is_file() else set()
    lost = sorted(before - set(nodes) - set(renamed.NODES))
    if lost:
        raise SyncError(f"{lost[0]} has gone, but saved graphs have it: say in host/renamed.py what it is called now")
    return {names: dump(translations.node_definitions(nodes), 2),
            folder / "main.json": dump(translations.main_words(nodes), 2)}


def documents(nodes: dict, root: Path) -> dict[Path, str]:
    """Help pages, and the list of nodes where there is one."""
    found = {root / "web" / "docs" / f"{name}.md": node.GET_SCHEMA() for name, node in nodes.items()}
    titles = {name: node.GET_SCHEMA().display_name for name, node in nodes.items()}
    pictures = {picture.stem for picture in (ROOT / "web" / "docs" / pages.PICTURES).glob("*.jpg")}
    done = {page: pages.help_page(schema, read(page), page.stem in pictures, titles) for page, schema in found.items()}
    listing = root / "docs" / "nodes.md"
    return done | ({listing: pages.node_list(nodes, read(listing))} if listing.is_file() else {})


def node_rooms(nodes: dict) -> str:
    """Every node's place in the menu, in the pack's own words, as a JavaScript module: the page only knows translated ones."""
    rooms = {name: node.GET_SCHEMA().category.rpartition("/")[2] for name, node in sorted(nodes.items())}
    return f"// Written by launch.py sync from the nodes.\nexport const ROOMS = {dump(rooms, 1).rstrip()};\n"


def former_names() -> str:
    """The tables of ``host/renamed.py`` that the page needs, as a JavaScript module."""
    choices: dict[str, dict] = {}
    for (node, name), words in renamed.CHOICES.items():
        choices.setdefault(node, {})[name] = words
    return ("// Written by launch.py sync from host/renamed.py.\n"
            f"export const NODES = {dump({old: node.new for old, node in renamed.NODES.items()}, 2).rstrip()};\n"
            f"export const CHOICES = {dump(choices, 2).rstrip()};\n")


def workflows(root: Path) -> dict[Path, str]:
    """UI graphs and their API twins.  SyncError for a graph without a title in ``launcher/shipped.py``."""
    found = {shipped.graph_file(name, root): name for name in shipped.TITLES}
    given = {file: json.loads(read(file)) for file in sorted((root / "workflows").glob("*.json"))}
    if strange := [file.name for file in given if file not in found]:
        raise SyncError(f"workflows/{strange[0]}: no short name has this title in launcher/shipped.py")
    info = object_info(set().union(*map(graphs.core_nodes, given.values())))
    done = {}
    for file, workflow in given.items():
        try:
            full = graphs.filled_in(workflow, info)
        except SyncError as problem:
            raise SyncError(f"{file.name}: {problem}") from problem
        done[file] = dump(full, 1)
        done[shipped.twin_file(found[file], root)] = dump(graphs.ui_to_api(full, info), 2)
    return done


def subgraphs(root: Path, made: dict[Path, str]) -> dict[Path, str]:
    """Blueprints of those graphs of ``made`` (see :func:`workflows`) that are there."""
    found = {name: shipped.graph_file(entry.graph, root) for name, entry in blueprints.BLUEPRINTS.items()}
    return {root / "subgraphs" / f"{name}.json": dump(blueprints.blueprint(
        name, blueprints.BLUEPRINTS[name], json.loads(made[file])), 1) for name, file in found.items() if file in made}


def stale(files: dict[Path, str]) -> list[Path]:
    """Those of :func:`wanted` that hold something else, or are not there."""
    return [file for file, text in files.items() if read(file) != text]


def write(files: dict[Path, str]) -> list[Path]:
    """Writes those that are stale; returns them."""
    done = stale(files)
    for file in done:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(files[file], encoding="utf-8", newline="\n")
    return done


def read(file: Path) -> str:
    """A text file; empty where there is none."""
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def dump(data: dict, indent: int) -> str:
    """JSON as these files have it."""
    return json.dumps(data, indent=indent) + "\n"
