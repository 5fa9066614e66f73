"""``launch.py verify-weights``: every network whose files are here, loaded strictly and run for one step.

The work is done by ``verification/worker.py``, one process per network, so that one that fails or fills the memory
does not take the others with it.  Results: a block per network on the screen, ``report.md``, ``report.json`` and
pictures in ``.lift123/verify/``.
"""

import json
import re
import subprocess
from pathlib import Path

from .settings import LaunchError, Paths
from .terminal import say

SCRIPT = Path("verification") / "worker.py"
_SKIP = ("name", "kind", "path", "error", "absent", "doubts", "networks", "tensors", "picture", "pictured", "missing", "known")
_WHERE = """No files of public networks in:
{}
docs/verification.md lists what can be put there; --models names another models folder. 'verify-weights embedded' runs
the same checks on the networks that ship with the pack."""


def default_models(paths: Paths) -> list:
    """The models folders of the ComfyUI that the launcher runs."""
    return [paths.base / "models", paths.comfyui / "models"]


def chosen(found: list, names: list) -> list:
    """The networks of ``found`` that were asked for: by name, "embedded" (all that ship), or a path; without
    names, all that do not ship.

    Raises LaunchError for a name that is neither present nor a path.
    """
    shipped, found = [i for i in found if i.get("shipped")], [i for i in found if not i.get("shipped")]
    if not names:
        return found
    result, here = [], [item for item in found if installed(item)]
    for name in names:
        match = [item for item in here if name in (item["name"], item["path"])]
        if not match and name == "embedded":
            match = shipped
        if not match and Path(name).is_file():
            match = [{"kind": "file", "name": Path(name).name, "path": str(Path(name).resolve()), "missing": [], "known": True}]
        if not match:
            place = next((item["path"] for item in found if item["name"] == name), None)
            if place is not None:
                raise LaunchError(f"'{name}' is not installed; put its files into {place}")
            present = ", ".join(item["name"] for item in here) or "none"
            raise LaunchError(f"no network '{name}' here; present are: {present}")
        result += match
    return result


def installed(item: dict) -> bool:
    """Whether some of its files are here."""
    return item.get("installed", True)


def run_script(paths: Paths, arguments: list, out: Path):
    """What the script wrote into ``out``; None (and its last words on the screen) when it died."""
    out.unlink(missing_ok=True)
    command = [str(paths.python), str(paths.root / SCRIPT), *map(str, arguments), "--out", str(out)]
    done = subprocess.run(command, cwd=paths.root, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    if done.returncode == 0 and out.is_file():
        return json.loads(out.read_text(encoding="utf-8"))
    lines = (done.stderr or done.stdout).strip().splitlines()
    return {"died": f"code {done.returncode}: " + (" | ".join(lines[-2:]) if lines else "no message; out of memory?")}


def verify(paths: Paths, names: list, models: list, device: str = "auto", steps: int = 0) -> int:
    """Verifies and reports; 0 when every known network passed, 1 otherwise.  Raises LaunchError where nothing is present."""
    folder = paths.home / "verify"
    folder.mkdir(parents=True, exist_ok=True)
    models = models or default_models(paths)
    found = run_script(paths, ["list", *(a for m in models for a in ("--models", m))], folder / "list.json")
    if isinstance(found, dict):
        raise LaunchError(f"the list of networks could not be made: {found['died']}")
    items = chosen(found, names)
    if not any(map(installed, items)):
        say("\n".join(f"{i['name']}: not installed; its files go into {i['path']}" for i in items))
        raise LaunchError(_WHERE.format("\n".join(f"  {m}" for m in models)))
    reports = []
    for item in items:
        say(f"{item['name']} ({item['path']})")
        report = one(paths, item, folder, device, steps)
        say("\n".join("  " + line for line in lines_of(report)))
        reports.append(report)
    (folder / "report.json").write_text(json.dumps(reports, indent=1) + "\n", encoding="utf-8")
    (folder / "report.md").write_text(markdown(reports), encoding="utf-8")
    say(f"Report: {folder / 'report.md'}")
    return 1 if any(r["known"] and verdict(r) == "failed" for r in reports) else 0


def one(paths: Paths, item: dict, folder: Path, device: str, steps: int) -> dict:
    """The report of one network."""
    facts = {key: item[key] for key in ("name", "kind", "path", "known")}
    if not installed(item):
        return {**facts, "absent": f"its files go into {item['path']}"}
    if item["missing"]:
        return {**facts, "error": f"incomplete: {', '.join(item['missing'])}"}
    out = folder / (re.sub(r"\W+", "_", f"{item['kind']}_{item['name']}") + ".json")
    arguments = ["one", item["kind"], item["name"], item["path"], "--device", device, "--steps", steps]
    report = run_script(paths, arguments, out)
    if "died" in report:
        return {**facts, "error": f"the process ended with {report['died']}"}
    return {**facts, **report}


def verdict(report: dict) -> str:
    """"passed", "look" (it ran, but something is odd), "failed" or "not installed"."""
    if "absent" in report:
        return "not installed"
    return "failed" if "error" in report else "look" if report.get("doubts") else "passed"


def lines_of(report: dict) -> list:
    """A report as short lines, the verdict first."""
    said = report.get("error") or report.get("absent") or "; ".join(report.get("doubts", [])) or "nothing odd"
    lines = [f"{verdict(report)}: {said}"]
    for name, size in report.get("networks", {}).items():
        lines.append(f"{name}: {size['parameters'] / 1e6:.1f} M parameters, {size['dtype']}")
    if report.get("tensors"):
        lines.append("tensors: " + ", ".join(f"{count} {part}" for part, count in report["tensors"].items()))
    lines += [f"{key}: {value(key, report[key])}" for key in report if key not in _SKIP]
    if "picture" in report:
        lines.append(f"picture ({report['pictured']}): {report['picture']}")
    return lines


def value(key: str, number) -> str:
    """A figure for people: gigabytes, seconds, three digits."""
    if key.endswith("bytes"):
        return f"{number / 1e9:.2f} GB"
    if key.endswith("seconds"):
        return f"{number:.2f}"
    return f"{number:.3g}" if isinstance(number, float) else str(number)


def markdown(reports: list) -> str:
    """The report as a page: a table, then a section per network with its picture."""
    text = "# Weights, verified\n\n| network | verdict | loading s | network call s | GB on the device |\n|---|---|---|---|---|\n"
    for report in reports:
        memory = report.get("device bytes", report.get("host bytes"))
        figures = [report.get("loading seconds"), report.get("network seconds"), memory and memory / 1e9]
        cells = ["-" if f is None else f"{f:.2f}" for f in figures]
        text += f"| {report['name']} ({report['kind']}) | {verdict(report)} | {' | '.join(cells)} |\n"
    for report in reports:
        text += f"\n## {report['name']} ({report['kind']})\n\n" + "".join(f"- {line}\n" for line in lines_of(report))
        if "picture" in report:
            text += f"\n![{report['pictured']}]({Path(report['picture']).name})\n"
    return text
