"""Trains the embedded networks from nothing.  Resumable: run it again and it continues.

    python training/train.py all --work WORKDIR [--objects 18000] [--minutes 60]
    python training/train.py bank|vae|clip|depth|view|text|depth_text --work WORKDIR

Order: bank, vae, clip, depth, view, text, depth_text; each needs the earlier ones (depth needs the bank only).
"""

import argparse
from pathlib import Path

import torch
from pack import ROOT

STAGES = ("bank", "vae", "clip", "depth", "view", "text", "depth_text")
STEPS = {"vae": 4000, "clip": 3000, "depth": 2500, "text": 6000, "view": 20000, "depth_text": 4000}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=(*STAGES, "all"))
    parser.add_argument("--work", type=Path, default=ROOT / ".lift123" / "train", help="bank, checkpoints, logs")
    parser.add_argument("--weights", type=Path, default=ROOT / "pipelines" / "embedded", help="where weights are written")
    parser.add_argument("--objects", type=int, default=18000)
    parser.add_argument("--views", type=int, default=7)
    parser.add_argument("--steps", type=int, help="overrides the default number of steps")
    parser.add_argument("--minutes", type=float, help="stop each network after this much training time")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(7)  # network initialisation only; batches use generators of their own
    for stage in STAGES if args.stage == "all" else (args.stage,):
        run(stage, args)


def run(stage: str, args) -> None:
    """Runs one stage."""
    import networks
    from bank import Bank, make_bank
    from lift123.pipelines.toybox.objects import train_seed

    folder = args.work / "bank"
    if stage == "bank":
        make_bank(folder, [train_seed(i) for i in range(args.objects)], args.views)
        return
    bank, out = Bank(folder, args.device), args.work / stage
    options = {"steps": args.steps or STEPS[stage], "minutes": args.minutes}
    args.weights.mkdir(parents=True, exist_ok=True)
    if stage in ("vae", "clip", "depth"):
        getattr(networks, f"train_{stage}")(bank, out, args.weights, **options)
    else:
        getattr(networks, f"train_{stage}")(bank, folder, out, args.weights, **options)


if __name__ == "__main__":
    main()
