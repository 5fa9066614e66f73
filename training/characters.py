"""Trains StdGEN's networks on characters: the toybox's, or layered files of one's own.  Resumable: run it again.

    python3 launch.py train-characters FOLDER [--work WORKDIR] [--minutes 60]
    python3 launch.py train-characters toybox --count 1260

FOLDER holds GLB files with nodes named body, clothing and hair, in A-pose, facing +Z: what Export Character writes
(NAME.pose1.glb ... beside NAME.glb are other poses of it).  Stages, in order:

  bank       six views of three levels and pictures in other poses
  arms       the same with the arms at other angles (--arms N; characters with a skeleton)
  multiview, canonical   the two diffusion networks
  points, drawn, slrm    S-LRM by what is where at points: how the embedded one was made    (--recipe embedded)
  pictures, slrm1, slrm2, slrm3   S-LRM's three stages from the paper's views               (--recipe paper)

WORKDIR/weights then holds the networks: copy that folder to ComfyUI/models/diffusers/NAME and choose NAME in Load
Canonicalizer, Load Multi-View Network and Load S-LRM.  ``--recipe embedded`` is how a toybox is trained unless told,
``paper`` how a folder is.
"""

import argparse
import hashlib
import json
from pathlib import Path

import character_bank
import torch
from pack import ROOT
from subjects import Subject, arm_variants, subjects_of

RECIPES = {"embedded": ("points", "drawn", "slrm"), "paper": ("pictures", "slrm1", "slrm2", "slrm3")}
ALWAYS = ("bank", "arms", "multiview", "canonical")
STAGES = (*ALWAYS, *RECIPES["embedded"], *RECIPES["paper"])
STEPS = {"multiview": 4400, "canonical": 4700, "slrm": 6600, "slrm1": 4000, "slrm2": 4000, "slrm3": 4000}
RATES = {"multiview": 1e-3, "canonical": 1e-3, "slrm": 7e-4}
TOYS = 1260  # characters of the toybox that the embedded networks were trained on


class Joined:
    """Two banks as one."""

    def __init__(self, first, second):
        self.banks, self.device = (first, second), first.device

    @property
    def count(self) -> int:
        """Characters of both."""
        return sum(bank.count for bank in self.banks)

    def get(self, name: str, pick: int, *index) -> torch.Tensor:
        """Of the character ``pick``, which may be of either."""
        first, second = self.banks
        return first.get(name, pick, *index) if pick < first.count else second.get(name, pick - first.count, *index)


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="launch.py train-characters", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="'toybox', or a folder of layered characters")
    parser.add_argument("--work", type=Path, default=ROOT / ".lift123" / "characters", help="banks, checkpoints, weights")
    parser.add_argument("--weights", type=Path, help="where weights are written; default: weights in --work")
    parser.add_argument("--stages", nargs="+", choices=STAGES, help="only these; default: all of the recipe")
    parser.add_argument("--recipe", choices=RECIPES, help="how S-LRM is taught; default: toybox embedded, folder paper")
    parser.add_argument("--count", type=int, help=f"at most so many characters; of the toybox {TOYS}")
    parser.add_argument("--held-out", type=float, default=0.0, help="share of the characters to set aside; paper: 0.01")
    parser.add_argument("--size", type=int, default=64, help="pixels per side of the views, a multiple of 16")
    parser.add_argument("--poses", type=int, default=1, help="pictures in other poses per character")
    parser.add_argument("--arms", type=int, default=0, help="variants per character with other arm angles")
    parser.add_argument("--batch", type=int, help="characters per step of the diffusion networks")
    parser.add_argument("--steps", type=int, help="of every network, in place of the default")
    parser.add_argument("--minutes", type=float, help="ends every network after so much training time")
    parser.add_argument("--rate", type=float, help="of every network, in place of the default")
    parser.add_argument("--anew", action="store_true", help="begins a second round of multiview, canonical and slrm")
    parser.add_argument("--randoms", type=int, default=20, help="random views per character of the paper's protocol")
    parser.add_argument("--compared", type=int, default=2, help="views per step of slrm1 to slrm3")
    parser.add_argument("--samples", type=int, default=64, help="along a ray, and as many again where something is")
    parser.add_argument("--paper-sizes", action="store_true", help="192, 144 and 512 pixels in slrm1 to slrm3; wants a GPU")
    parser.add_argument("--slrm", type=Path, help="a public S-LRM file from which slrm1 or slrm3 begins")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    return parser


def stages_of(args) -> tuple[str, ...]:
    """Names of the stages to run, in order."""
    if args.stages:
        return tuple(name for name in STAGES if name in args.stages)
    recipe = args.recipe or ("embedded" if args.source == "toybox" else "paper")
    return (*ALWAYS, *RECIPES[recipe])


def run(args, slrm_config=None, record: bool = True) -> Path:
    """Runs the stages; returns the folder of weights.  slrm_config: of S-LRM, None = the embedded one's.

    record: also writes characters.json, which tells loaders the size.
    """
    if args.size % 16:
        raise SystemExit(f"--size must be a multiple of 16, got {args.size}")
    torch.manual_seed(7)  # network initialization only; batches use generators of their own
    count = args.count or (TOYS if args.source == "toybox" else None)
    subjects, aside = set_aside(subjects_of(args.source, count), args.held_out)
    unposed = sum(not s.poses for s in subjects)
    print(f"{len(subjects)} characters" + (f", {unposed} of them in A-pose only" if unposed else ""), flush=True)
    if aside:
        some = ", ".join(str(s.key) for s in aside[:5])
        print(f"{len(aside)} held out: {some}{' ...' * (len(aside) > 5)}", flush=True)
    weights = args.weights or args.work / "weights"
    weights.mkdir(parents=True, exist_ok=True)
    for name in stages_of(args):
        STAGE[name](args, subjects, weights, slrm_config)
    if record:
        told = {"size": [args.size, round(args.size * character_bank.WIDE)], "characters": len(subjects),
                "source": "toybox" if args.source == "toybox" else Path(args.source).name,
                **({"held_out": [str(s.key) for s in aside]} if aside else {})}
        (weights / "characters.json").write_text(json.dumps(told, indent=1), encoding="utf-8")
    return weights


def set_aside(subjects: list[Subject], share: float) -> tuple[list[Subject], list[Subject]]:
    """(to train on, held out): ``share`` of all, at least one where it is above 0.

    SystemExit where none would be left to train on.
    Chosen by the characters' own keys, in whatever order they come.
    """
    if not 0 <= share < 1:
        raise SystemExit(f"--held-out must be a share from 0 to below 1, got {share}")
    count = max(1, round(share * len(subjects))) if share else 0
    if count >= len(subjects):
        raise SystemExit(f"--held-out {share:g} of {len(subjects)} characters leaves none to train on")
    ranked = sorted(subjects, key=lambda s: hashlib.sha256(str(s.key).encode()).hexdigest())
    aside = {id(s) for s in ranked[:count]}
    return [s for s in subjects if id(s) not in aside], [s for s in subjects if id(s) in aside]


def draw_views(args, subjects: list[Subject], weights, config) -> None:
    """The bank of A-poses and poses."""
    character_bank.make_bank(args.work / "characters", subjects, args.size, args.poses)


def draw_arms(args, subjects: list[Subject], weights, config) -> None:
    """The bank with other arm angles; none where nothing is to be drawn."""
    variants = arm_variants(subjects, args.arms) if args.arms else []
    if args.arms and not variants:
        print("no character has a skeleton: arms stay as they are", flush=True)
    if variants:
        character_bank.make_bank(args.work / "arms", variants, args.size, 1)


def bank_of(args):
    """The bank of views, with the one of other arm angles where it was drawn."""
    bank = character_bank.CharacterBank(args.work / "characters", args.device)
    arms = args.work / "arms"
    return bank, Joined(bank, character_bank.CharacterBank(arms, args.device)) if args.arms and arms.is_dir() else bank


def loop_of(args, name: str) -> dict:
    """Steps, minutes, rate and rounds of a network's training."""
    return {"steps": args.steps or STEPS[name], "minutes": args.minutes, "rate": args.rate or RATES[name], "anew": args.anew}


def train_diffusion(name: str):
    """The stage of one of the two diffusion networks."""

    def stage(args, subjects, weights, config) -> None:
        import stdgen_networks as nets

        bank, joined = bank_of(args)
        train = nets.train_multiview if name == "multiview" else nets.train_canonical
        batch = {"batch": args.batch} if args.batch else {}
        train(joined if name == "multiview" else bank, args.work / f"stdgen_{name}", weights, **batch, **loop_of(args, name))

    return stage


def sample_points(args, subjects: list[Subject], weights, config) -> None:
    """What is where at points of the characters."""
    from character_points import make_points

    make_points(args.work / "points", lambda i: subjects[i], len(subjects))


def draw_drawn(args, subjects, weights, config) -> None:
    """The views that the diffusion networks make of the same characters."""
    import stdgen_slrm
    from character_points import PointBank

    if not (args.work / "points" / "drawn.npy").is_file():
        bank = character_bank.CharacterBank(args.work / "characters")
        stdgen_slrm.draw_bank(PointBank(args.work / "points"), bank, weights)


def train_points(args, subjects, weights, config) -> None:
    """S-LRM at points."""
    import stdgen_slrm
    from character_points import PointBank

    out = args.work / stdgen_slrm.NAME
    stdgen_slrm.train_slrm(PointBank(args.work / "points"), out, **loop_of(args, "slrm"))
    stdgen_slrm.export(out / "checkpoint.pt", weights)


def protocol_of(args):
    """What the paper's views are drawn with: large enough for every stage."""
    from character_pictures import Protocol
    from slrm_pictures import sizes

    return Protocol(max(args.size, *sizes(args.paper_sizes)) if args.paper_sizes else args.size, randoms=args.randoms)


def draw_pictures(args, subjects: list[Subject], weights, config) -> None:
    """The paper's views."""
    from character_pictures import make_pictures

    make_pictures(args.work / "pictures", subjects, protocol_of(args))


def train_pictures(stage: int):
    """One of S-LRM's three stages."""

    def run_stage(args, subjects, weights, config) -> None:
        import slrm_pictures
        from character_pictures import PictureBank

        size = slrm_pictures.sizes(args.paper_sizes)[stage - 1]
        settings = slrm_pictures.StageSettings(
            size if args.paper_sizes else min(size, args.size), args.compared, args.steps or STEPS[f"slrm{stage}"],
            args.minutes, args.rate, args.samples, args.samples)
        if config is not None:
            settings = slrm_pictures.replace(settings, config=config)
        path = slrm_pictures.train_stage(stage, PictureBank(args.work / "pictures"), args.work, settings, args.slrm)
        if stage == 3:
            (weights / "stdgen_slrm.safetensors").write_bytes(path.read_bytes())

    return run_stage


STAGE = {"bank": draw_views, "arms": draw_arms, "multiview": train_diffusion("multiview"),
         "canonical": train_diffusion("canonical"), "points": sample_points, "drawn": draw_drawn, "slrm": train_points,
         "pictures": draw_pictures, **{f"slrm{k}": train_pictures(k) for k in (1, 2, 3)}}


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    args = options().parse_args(arguments)
    torch.set_num_threads(args.threads)
    try:
        print(f"weights: {run(args)}")
    except ValueError as problem:  # an InputError, or a bank of other characters
        raise SystemExit(str(problem)) from None


if __name__ == "__main__":
    main()
