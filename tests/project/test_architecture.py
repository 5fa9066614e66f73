"""The import table of the design, executed; rules of text, size and documentation that keep the pack readable."""

import ast
import re
import subprocess
import sys
import tokenize
from functools import lru_cache
from pathlib import Path

import pytest
from helpers.sources import ROOT, python_files, relative

PAPERS = {"magic123", "consistent123", "hifi123", "stdgen"}
L1 = {"ops", "losses", "io"}
L2 = {"render", "fields", "distill", "priors", "networks", "loaders", "catalog", "methods", "metrics", "toybox", "rigging"}

# stages are handed networks, not files
STAGE = {"core", "render", "fields", "distill", "priors", "networks", "methods", "metrics", "rigging"} | L1

# room of pipelines/ -> rooms that it may import (besides itself): imports run downwards only, without exceptions
MAY_IMPORT = {
    "core": set(),
    "ops": {"core"},
    "losses": {"core", "ops"},
    "io": {"core", "ops"},
    "render": {"core"} | L1,
    "fields": {"core"} | L1,
    "distill": {"core"},
    "priors": {"core", "distill"} | L1,
    "networks": {"core"} | L1,
    "loaders": {"core", "networks"} | L1,
    "catalog": {"core", "loaders"},
    "methods": {"core", "networks"} | L1,
    "metrics": {"core"} | L1,
    "toybox": {"core", "render"} | L1,
    "rigging": {"core"} | L1,
    "embedded": set(),
    "stages.inputs": STAGE,
    "stages.loop": STAGE | {"stages.inputs"},
    "stages.objects": STAGE | {"stages.inputs", "stages.loop"},
    "stages.results": STAGE | {"stages.inputs", "stages.loop", "stages.objects"},
    "stages.characters": STAGE | {"stages.inputs", "stages.results"},
}
STAGES = {room for room in MAY_IMPORT if room.startswith("stages.")}
MAY_IMPORT["presets"] = {"core", "render", "fields", "distill", "priors"} | L1 | STAGES
MAY_IMPORT["papers"] = {"core", "presets"} | L1 | L2 | STAGES
HOST = {"comfy", "comfy_api", "comfy_extras", "comfy_execution", "folder_paths", "server", "execution", "nodes"}
NEVER_AT_IMPORT = ("comfy", "diffusers", "nvdiffrast", "tinycudann", "open_clip", "xatlas", "fast_simplification", "transformers")


@lru_cache(maxsize=None)  # of the names only: trees of all files would fill the memory
def imports_of(path: Path) -> list:
    """(absolute dotted module as seen from the repository root or installed packages, line) of every import."""
    package = list(path.relative_to(ROOT).parent.parts)
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno, False) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join(base + ([node.module] if node.module else []))
            if node.level:  # "from . import x": x may be the module
                names = [f"{module}.{alias.name}" if module else alias.name for alias in node.names]
                found += [(name, node.lineno, True) for name in names]
            else:
                found.append((module, node.lineno, False))
    return found


def layer_of(dotted: str):
    """The key of MAY_IMPORT that a module of pipelines/ belongs to, or None."""
    parts = dotted.split(".")
    if parts[0] != "pipelines" or len(parts) < 2:
        return None
    room = ".".join(parts[1:3]) if parts[1] == "stages" else parts[1]
    return "papers" if room in PAPERS else room if room in MAY_IMPORT else None


def test_pipelines_import_downwards_only():
    wrong = []
    for path in python_files("pipelines"):
        layer = layer_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
        if layer is None:
            continue
        for module, line, _ in imports_of(path):
            target = layer_of(module)
            allowed = MAY_IMPORT[layer] | {layer}
            if target and target not in allowed:
                wrong.append(f"{relative(path)}:{line}: {layer} imports {target} ({module})")
    assert not wrong, "\n".join(wrong)


def test_every_folder_of_pipelines_has_a_layer():
    folders = {p.name for p in (ROOT / "pipelines").iterdir() if p.is_dir() and p.name != "__pycache__"}
    stages = {f"stages.{p.name}" for p in (ROOT / "pipelines" / "stages").iterdir() if p.name[0] != "_"}
    files = {p.stem for p in (ROOT / "pipelines").glob("*.py")} - {"__init__"}
    assert (folders - {"stages"}) | stages == set(MAY_IMPORT) - {"papers"}
    assert files <= PAPERS, f"top-level modules of pipelines/ are papers: {files - PAPERS}"


def test_core_imports_torch_only():
    outside = {
        (relative(path), module)
        for path in python_files("pipelines/core")
        for module, _, is_relative in imports_of(path)
        if not is_relative and module.split(".")[0] not in sys.stdlib_module_names | {"torch"}
    }
    assert not outside


def test_only_nodes_know_the_host():
    wrong = [
        f"{relative(path)}:{line}: {module}"
        for path in python_files("pipelines", "launcher", "cluster", "verification", "training", "benchmarks", "launch.py")
        for module, line, is_relative in imports_of(path)
        if (not is_relative and module.split(".")[0] in HOST) or (is_relative and module.startswith(("nodes", "host")))
    ]
    assert not wrong, "\n".join(wrong)


def test_accelerators_have_one_importer():
    wrong = [
        f"{relative(path)}:{line}: {module}"
        for path in python_files("pipelines", "nodes", "host")
        for module, line, _ in imports_of(path)
        if module.split(".")[0] in {"nvdiffrast", "tinycudann"} and path.name != "accelerators.py"
    ]
    assert not wrong, "\n".join(wrong)


def test_the_pack_imports_itself_relatively():
    own = {"pipelines", "nodes", "host", "launcher", "cluster", "lift123"}
    wrong = [
        f"{relative(path)}:{line}: {module}"
        for path in python_files("__init__.py", "nodes", "host", "pipelines", "launcher", "cluster")
        if path.name != "drive.py"  # a script, started by its path
        for module, line, is_relative in imports_of(path)
        if not is_relative and module.split(".")[0] in own
    ]
    assert not wrong, "\n".join(wrong)


def test_launcher_needs_the_standard_library_only():
    wrong = [
        f"{relative(path)}:{line}: {module}"
        for path in python_files("launch.py", "launcher")
        for module, line, is_relative in imports_of(path)
        if not is_relative and module.split(".")[0] not in sys.stdlib_module_names | {"launcher"}
    ]
    assert not wrong, "\n".join(wrong)


def test_importing_the_pack_and_its_core_is_light(tmp_path):
    """Importing the pack, and everything of it that needs no host, loads neither comfy nor CUDA nor heavy packages."""
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in python_files("pipelines", "launcher", "verification")
        if path.name != "worker.py" and "accelerators" not in path.name and "kernels" not in path.parts
    ]
    script = tmp_path / "light.py"
    script.write_text(
        "import importlib, importlib.util, sys\n"
        f"root = {str(ROOT)!r}\n"
        "spec = importlib.util.spec_from_file_location('pack-with-hyphens', root + '/__init__.py',"
        " submodule_search_locations=[root])\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "sys.modules['pack-with-hyphens'] = module\n"
        "spec.loader.exec_module(module)\n"
        "assert 'torch' not in sys.modules, 'importing the pack itself imports torch'\n"
        f"for name in {modules!r}:\n"
        "    importlib.import_module('pack-with-hyphens.' + name)\n"
        f"heavy = [m for m in {NEVER_AT_IMPORT!r} if m in sys.modules]\n"
        "assert not heavy, heavy\n"
        "import torch\n"
        "assert not torch.cuda.is_initialized()\n"
        "print('light')\n",
        encoding="utf-8",
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0 and "light" in done.stdout, done.stdout + done.stderr


# What comfy-test refuses anywhere in a .py (tests included), and what a reader of ours should never meet.
def forbidden_text() -> dict:
    """Pattern -> reason.  Built from pieces, because this file is scanned, too."""
    layers = "Linear|Conv[123]d|ConvTranspose[12]d|LayerNorm|GroupNorm|Embedding"
    return {
        r"\.cu" + r"da\(": "devices come from the inputs",
        r"\.to\([\"']cu" + r"da": "devices come from the inputs",
        r"torch\.auto" + r"cast\(|torch\.(cuda\.)?amp\.auto" + r"cast": "no autocast",
        r"nn\.(" + layers + r")\(": "alias the class: Linear = torch.nn.Linear",
        r"torch\.lo" + r"ad\((?!.*weights_only=True)": "safetensors, never pickle",
        r"torch\.manual_s" + r"eed\(|np\.random\.s" + r"eed\(": "a torch.Generator argument",
        r"\bimport pic" + r"kle|^from pic" + r"kle": "never pickle",
        r"/(wo" + r"rk|ro" + r"ot|ho" + r"me)/[A-Za-z.]": "no path of one machine",
    }


def test_no_forbidden_text():
    wrong = []
    for path in python_files():
        text = path.read_text(encoding="utf-8")
        for pattern, reason in forbidden_text().items():
            for match in re.finditer(pattern, text, re.MULTILINE):
                line = text.count("\n", 0, match.start()) + 1
                if pattern.startswith("torch") and "manual" in pattern and relative(path).startswith("training/"):
                    continue  # initializing networks: training scripts are programs, not library code
                wrong.append(f"{relative(path)}:{line}: {match.group()!r}: {reason}")
    assert not wrong, "\n".join(wrong)


def test_sources_are_ascii():
    wrong = [relative(path) for path in python_files() if not path.read_bytes().isascii()]
    assert not wrong, wrong


def test_priors_are_used_by_their_members():
    """Every prior has every member of ``core.prior.Prior``; nobody has to look whether it does."""
    plug = ast.parse((ROOT / "pipelines/core/prior.py").read_text(encoding="utf-8"))
    body = next(node for node in plug.body if isinstance(node, ast.ClassDef) and node.name == "Prior").body
    members = {node.name if isinstance(node, ast.FunctionDef) else node.target.id
               for node in body if isinstance(node, (ast.FunctionDef, ast.AnnAssign))}
    assert members == {"name", "knows_reference", "backdrop", "clock", "loss", "at", "choose", "on_surface", "memory", "recall",
                       "evaluations"}
    wrong = []
    for path in python_files("pipelines", "nodes", "host"):
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)) if re.search("hasattr|getattr|callable", text) else ():
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("hasattr", "getattr", "callable"):
                owner, asked = ast.unparse(node.args[0]).lower(), [getattr(a, "value", None) for a in node.args[1:2]]
                if "prior" in owner or (members - {"name"}) & set(asked):
                    wrong.append(f"{relative(path)}:{node.lineno}: {ast.unparse(node)}")
    assert not wrong, "\n".join(wrong)


def test_no_print_in_library_code():
    wrong = []
    for path in python_files("nodes", "host", "pipelines"):
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)) if "print" in text else ():
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                wrong.append(f"{relative(path)}:{node.lineno}")
    assert not wrong, wrong


def test_files_stay_readable():
    lines = {relative(p): len(p.read_text(encoding="utf-8").splitlines()) for p in python_files()}
    wrong = {name: count for name, count in lines.items() if count > 400}
    assert not wrong, wrong


def undocumented(path: Path) -> list:
    """Public functions, classes and methods without a docstring, as path:line: name.

    Left out: what a protocol or ComfyUI's base class already says (CONTRACTS), methods of a single statement, and
    nodes, which describe themselves in their schema.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = [] if ast.get_docstring(tree) or not tree.body else [f"{relative(path)}:1: module"]

    def visit(body, owner):
        for node in body:
            if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) or node.name[0] == "_":
                continue
            is_class = isinstance(node, ast.ClassDef)
            methods = {getattr(inner, "name", "") for inner in node.body}
            said = ast.get_docstring(node) or (is_class and "define_schema" in methods)
            short = owner and not is_class and len(node.body) == 1
            if not (said or short or (owner and node.name in CONTRACTS) or _is_kernel(node)):
                found.append(f"{relative(path)}:{node.lineno}: {owner}{node.name}")
            if is_class:
                visit(node.body, f"{node.name}.")

    visit(tree.body, "")
    return found


# Methods whose meaning a protocol (pipelines/core/protocols.py), torch or ComfyUI states.
CONTRACTS = {
    "encode", "predict_noise", "loss", "density", "albedo", "extract", "forward", "backward",
    "define_schema", "run", "execute", "validate_inputs", "fingerprint_inputs", "get_node_list", "on_load",
}


def _is_kernel(node) -> bool:
    """Warp kernels and functions are described by the public function that launches them."""
    names = {ast.unparse(d).split("(")[0] for d in getattr(node, "decorator_list", [])}
    return bool(names & {"wp.kernel", "wp.func", "wp.struct"})


# Modules whose functions are entries of one table that the module's docstring describes.
TABLES = {f"pipelines/toybox/{name}.py" for name in ("recipes", "creatures", "things", "vehicles")}


def test_public_functions_are_documented():
    files = [path for path in python_files("nodes", "host", "pipelines", "launcher", "cluster", "sync")
             if relative(path) not in TABLES]
    wrong = [entry for path in files for entry in undocumented(path)]
    assert not wrong, "\n".join(wrong)


def test_no_unfinished_marks():
    """TODO and the like belong in the issue tracker."""
    wrong = []
    for path in python_files("nodes", "host", "pipelines", "launcher", "sync", "launch.py", "verification", "training",
                             "benchmarks"):
        with open(path, "rb") as file:
            for token in tokenize.tokenize(file.readline):
                if token.type == tokenize.COMMENT and re.search(r"\b(TODO|FIXME|XXX|HACK)\b", token.string):
                    wrong.append(f"{relative(path)}:{token.start[0]}: {token.string}")
    assert not wrong, "\n".join(wrong)


def test_ruff():
    pytest.importorskip("ruff")
    done = subprocess.run([sys.executable, "-m", "ruff", "check", "--quiet", "--output-format", "concise", "."],
                          cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
