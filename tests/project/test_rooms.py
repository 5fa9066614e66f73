"""Rooms: who may know whom beyond the table of ``test_architecture.py``, no import circles, short functions."""

import ast
from pathlib import Path

from test_architecture import ROOT, imports_of, python_files, relative

INSTRUMENTS = {"verification", "training", "benchmarks", "tests"}


def test_plumbing_does_not_know_the_nodes_and_instruments_stay_outside():
    """nodes -> host -> pipelines; verification, training and benchmarks look at them and are never imported by them."""
    forbidden = {"nodes": INSTRUMENTS, "host": {"nodes", "cluster"} | INSTRUMENTS,
                 "pipelines": {"nodes", "host", "launcher", "cluster"} | INSTRUMENTS,
                 "cluster": {"nodes", "host"} | INSTRUMENTS, "launcher": {"nodes", "host", "pipelines", "cluster"} | INSTRUMENTS,
                 "verification": {"nodes", "host", "training", "benchmarks"}}
    wrong = [
        f"{relative(path)}:{line}: {module}"
        for room, rooms in forbidden.items()
        for path in python_files(room)
        for module, line, is_relative in imports_of(path)
        if module.removeprefix("lift123.").split(".")[0] in rooms and (is_relative or module.startswith("lift123."))
    ]
    assert not wrong, "\n".join(wrong)


def import_graph() -> dict:
    """Module -> modules of ours that it imports, at its top or inside of functions."""
    paths = {p: ".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
             for p in python_files("pipelines", "host", "nodes", "launcher", "cluster", "verification")}
    known = set(paths.values())

    def module_of(dotted: str):
        found = dotted if dotted in known else dotted.rpartition(".")[0]  # "from .x import name" or "from . import x"
        return found if found in known else None

    return {module: {module_of(name) for name, _, is_relative in imports_of(path) if is_relative} - {None, module}
            for path, module in paths.items()}


def circle_in(graph: dict) -> list:
    """Modules that import each other in a ring, or nothing."""
    left = {module: set(targets) for module, targets in graph.items()}
    while free := [module for module, targets in left.items() if not targets & left.keys()]:
        for module in free:
            del left[module]
    if not left:
        return []
    way = [next(iter(left))]
    while way[-1] not in way[:-1]:
        way.append(min(left[way[-1]] & left.keys()))
    return way[way.index(way[-1]):]


def test_no_import_circles():
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) in (["b", "c", "b"], ["c", "b", "c"])
    circle = circle_in(import_graph())
    assert not circle, " -> ".join(circle)


def long_functions(path: Path) -> list:
    """Functions of more than 60 lines, decorators left out."""
    return [f"{relative(path)}:{node.lineno}: {node.name}: {node.end_lineno - node.lineno + 1} lines"
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.end_lineno - node.lineno >= 60]


def test_functions_stay_readable():
    wrong = [entry for path in python_files() for entry in long_functions(path)]
    assert not wrong, "\n".join(wrong)


def test_every_room_says_what_it_is_for():
    wrong = [relative(path) for path in python_files("pipelines", "host", "nodes", "verification", "launcher")
             if path.name == "__init__.py" and not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))]
    assert not wrong, wrong
