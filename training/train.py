"""Trains all nine embedded networks from nothing, or on from earlier weights.  Resumable: run it again and it continues.

    python training/train.py all --work WORKDIR [--objects 18000 8000] [--characters 1260] [--minutes 60]
    python training/train.py bank|lift|vae|clip|depth|view|text|depth_text --work WORKDIR
    python training/train.py characters|multiview|canonical|points|drawn|slrm --work WORKDIR
    python training/train.py all --work WORKDIR --start EARLIER --weights NEW

Order: bank, lift, vae, clip, depth, view, text, depth_text; each needs the earlier ones (lift and depth need the bank
only).  ``view``, a UNet, is the view prior that ships, from which the text priors start; ``lift`` is its successor.
Then StdGEN's three, multiview, canonical and slrm, from banks of toy characters: ``characters`` and ``points``, and
``drawn``, the views that the first two make of the characters.  They are stages of ``characters.py`` (launch.py
train-characters), which trains them on other characters, too.  ``--start`` does not concern them.

The bank stage renders one bank per version of the toybox: ``bank`` (first version) and ``bank2`` (second).  Batches take
half of their objects from each, so that neither is forgotten; ``--banks`` names others.  Every network writes a
checkpoint every two minutes and its learning curve to WORKDIR/<network>/curve.csv (step, running loss, seconds);
``training/curves.py`` draws them.

``--start``: a folder of earlier embedded weights (a copy of ``pipelines/embedded``).  Every network then starts there,
at a lower rate.  The autoencoder is copied, since all others live in its latents; the text tower keeps what it knew, so
that networks which read it stay valid.  The second version's weights were made in this way from the first version's.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from pack import ROOT

OBJECTS = ("bank", "lift", "vae", "clip", "depth", "view", "text", "depth_text")
CHARACTERS = {"characters": "bank", "multiview": "multiview", "canonical": "canonical", "points": "points", "drawn": "drawn",
              "slrm": "slrm"}  # stage -> its name in characters.py
STAGES = (*OBJECTS, *CHARACTERS)
STEPS = {"lift": 30000, "vae": 4000, "clip": 3000, "depth": 2500, "text": 6000, "view": 20000, "depth_text": 4000}
BANKS = ("bank", "bank2")  # by version of the toybox


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=(*STAGES, "all"))
    parser.add_argument("--work", type=Path, default=ROOT / ".lift123" / "train", help="bank, checkpoints, logs")
    parser.add_argument("--weights", type=Path, default=ROOT / "pipelines" / "embedded", help="where weights are written")
    parser.add_argument("--start", type=Path, help="folder of earlier weights to continue from")
    parser.add_argument("--objects", type=int, nargs=2, default=[18000, 8000], help="of the toybox's first and second version")
    parser.add_argument("--characters", type=int, default=1260, help="of the toybox, for StdGEN's networks")
    parser.add_argument("--banks", nargs="+", default=list(BANKS), help="folders in WORKDIR to train on")
    parser.add_argument("--views", type=int, default=7)
    parser.add_argument("--steps", type=int, help="overrides the default number of steps")
    parser.add_argument("--minutes", type=float, help="stop each network after this much training time")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(7)  # network initialization only; batches use generators of their own
    for stage in STAGES if args.stage == "all" else (args.stage,):
        run(stage, args)


def run(stage: str, args) -> None:
    """Runs one stage."""
    if stage in CHARACTERS:
        run_characters(stage, args)
        return
    import lift
    import networks
    from bank import Bank, make_bank
    from lift123.pipelines.toybox.objects import train_seed

    if stage == "bank":
        for version, (name, count) in enumerate(zip(BANKS, args.objects), start=1):
            make_bank(args.work / name, [train_seed(i) for i in range(count)], args.views, version=version)
        return
    args.weights.mkdir(parents=True, exist_ok=True)
    if stage == "vae" and args.start is not None:
        shutil.copy(args.start / "vae.safetensors", args.weights)
        settings = json.loads((args.start / "settings.json").read_text())
        (args.weights / "settings.json").write_text(json.dumps(settings, indent=1), encoding="utf-8")
        return
    bank, out = Bank(*(args.work / name for name in args.banks), device=args.device), args.work / stage
    options = {"steps": args.steps or STEPS[stage], "minutes": args.minutes}
    if stage != "vae":
        options["start"] = args.start
    getattr(lift if stage == "lift" else networks, f"train_{stage}")(bank, out, args.weights, **options)


def run_characters(stage: str, args) -> None:
    """Runs a stage of StdGEN's networks on the toybox, as ``launch.py train-characters toybox`` does."""
    import characters

    words = ["toybox", "--work", args.work, "--weights", args.weights, "--count", args.characters, "--device", args.device,
             "--threads", args.threads, "--stages", CHARACTERS[stage]]
    words += [word for name in ("steps", "minutes") if getattr(args, name) for word in (f"--{name}", getattr(args, name))]
    characters.run(characters.options().parse_args([str(word) for word in words]), record=False)


if __name__ == "__main__":
    main()
