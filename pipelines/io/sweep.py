"""Metrics over a parameter that several runs differ in, with standard errors where a value was run more than once."""

from __future__ import annotations

from .plot import Line, Panel
from .runs import FIRST, Run, mean_and_error

MOST_PANELS = 6
NO_PARAMETERS = ("seed", "filename_prefix")


def swept(runs: list[Run]) -> list[str]:
    """Names of what the finished runs differ in, the likeliest parameter first: a batch's values, then settings.

    A setting counts where every run has it.  The seed is no parameter: runs that differ in it alone are repetitions.
    """
    done = [run for run in runs if not run.error]
    if len(done) < 2:
        return []
    names = ["value"] if all("value" in run.values for run in done) else []
    names += [name for name in done[0].settings if name.split(".")[-1] not in NO_PARAMETERS
              and all(name in run.settings for run in done)]
    differing = [name for name in names if len({str(value_of(run, name)) for run in done}) > 1]
    repeated = [n for n in differing if n != "value" or len({str(value_of(run, n)) for run in done}) < len(done)]
    return repeated + [n for n in differing if n not in repeated]


def value_of(run: Run, name: str):
    """What a run had for a swept parameter; None where it has none."""
    return run.values.get("value") if name == "value" else run.settings.get(name, run.values.get(name))


def measured(runs: list[Run]) -> list[str]:
    """Names of numbers that finished runs have: metrics first, then seconds and faces."""
    names = dict.fromkeys(name for run in runs if not run.error for name in run.values if _number(run.values[name]) is not None)
    first = [name for name in (*FIRST, "seconds") if name in names]
    return first + [name for name in names if name not in first and name not in ("seed", "value")]


def panels(runs: list[Run], over: str, metrics: list[str]) -> list[Panel]:
    """One panel per metric: its means over the values of ``over``, with standard errors; words are set side by side."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        if not run.error and value_of(run, over) is not None:
            groups.setdefault(str(value_of(run, over)), []).append(run)
    found = {key: _number(value_of(members[0], over)) for key, members in groups.items()}
    numeric = all(value is not None for value in found.values())
    order = sorted(groups, key=lambda key: (found[key] or 0.0) if numeric else 0.0)
    made = []
    for metric in metrics[:MOST_PANELS]:
        points = []
        for place, key in enumerate(order):
            mean, error = mean_and_error([run.values.get(metric) for run in groups[key]])
            if mean is not None:
                points.append(((found[key] or 0.0) if numeric else float(place), mean, error))
        made.append(Panel(metric, over, (Line("", tuple(points)),), () if numeric else tuple(order)))
    return made


def _number(value) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        return float(value) if abs(float(value)) < 1e300 else None  # NaN is not, either
    except (TypeError, ValueError, OverflowError):
        return None
