"""The pack's own python files, for tests that read them."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OURS = ("__init__.py", "launch.py", "nodes", "host", "pipelines", "launcher", "cluster", "sync", "verification", "training",
        "benchmarks", "tests")


def python_files(*folders: str) -> list:
    """Python files of the pack's own folders."""
    found = []
    for name in folders or OURS:
        path = ROOT / name
        found += [path] if path.is_file() else sorted(path.rglob("*.py"))
    return [p for p in found if "node_modules" not in p.parts]


def relative(path: Path) -> str:
    """Path from the repository root, with slashes."""
    return path.relative_to(ROOT).as_posix()
