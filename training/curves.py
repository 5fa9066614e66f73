"""Draws the learning curves from the training logs (needs matplotlib).

    python training/curves.py --work WORKDIR [--before EARLIER_WORKDIR] [--out docs/training]

A log is WORKDIR/<network>/curve.csv: step, running loss, seconds of training so far.  Losses of two runs that are not
the same function (other data, other weights of the noise levels) are drawn in panels of their own.
"""

import argparse
from pathlib import Path

import numpy as np
from pack import ROOT

NETWORKS = ("vae", "clip", "depth", "view", "text", "depth_text", "stdgen_canonical", "stdgen_multiview", "stdgen_slrm")


def read_curve(path: Path) -> np.ndarray:
    """[N, 3] step, running loss, seconds; a run that was resumed repeats steps, of which the last entry counts."""
    rows = np.loadtxt(path, delimiter=",", ndmin=2)
    last = {int(row[0]): row for row in rows}
    return np.stack([last[step] for step in sorted(last)])


def draw(runs: dict, title: str, path: Path) -> None:
    """One panel per run, side by side; runs: name -> [N, 3]."""
    import matplotlib  # pyright: ignore[reportMissingImports]  (installed by who draws)

    matplotlib.use("Agg")
    from matplotlib import pyplot  # pyright: ignore[reportMissingImports]

    figure, axes = pyplot.subplots(1, len(runs), figsize=(4.2 * len(runs), 2.8), dpi=80, squeeze=False)
    for panel, (name, data) in zip(axes[0], runs.items(), strict=True):
        panel.plot(data[:, 0], data[:, 1], linewidth=1)
        panel.set(xlabel=f"step ({data[-1, 2] / 60:.0f} minutes in all)", ylabel="running loss", yscale="log", title=name)
        panel.grid(True, which="both", alpha=0.3)
    figure.suptitle(title)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=ROOT / ".lift123" / "train")
    parser.add_argument("--before", type=Path, help="work folder of the run that this one continued")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "training")
    args = parser.parse_args()
    folders = {"first run": args.before, "continued": args.work} if args.before else {"": args.work}
    for name in NETWORKS:
        logs = {title: folder / name / "curve.csv" for title, folder in folders.items()}
        runs = {title: read_curve(log) for title, log in logs.items() if log.is_file()}
        if runs:
            draw(runs, name.replace("_", "-"), args.out / f"{name}_curve.png")


if __name__ == "__main__":
    main()
