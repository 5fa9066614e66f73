"""Writes the cards of StdGEN's embedded canonicalizer and multi-view network from what was measured.

    python training/stdgen_networks.py measure --work WORKDIR --weights FOLDER
    python training/stdgen_cards.py --work WORKDIR --weights FOLDER

Steps and minutes are those of the checkpoints in WORKDIR; S-LRM's card is written by ``slrm_measure.py --card``.
"""

import argparse
import json
import platform
from pathlib import Path

import pack
import torch

BANK = "procedural toy characters (seeds from 0), each also mirrored, 64 px: A-pose views of three levels with colors, normals \
and outlines, and pictures in other poses"
CARDS = {
    "multiview": ("Small multi-view network", (
        "The network class of StdGEN's multi-view UNet (diffusers' UNet2DConditionModel with row-wise attention over six views, "
        "attention between colors and normals, level in the class vector), in squares of 2 x 2 pixels instead of latents, 64 x "
        "40 pixels, v-prediction, mostly from pure noise and sampled in one step; no guidance. Behind it, color pictures take "
        "pixels from the given front, each from its own row (`networks/stdgen/copying.py`)"), (
        "What the front does not show is a mean over what it could be: soft, and the back in the front's colors. Third round of "
        "training (--start): earlier ones had 4,381 steps in 88 minutes on 1,260 characters without copying; then 1,625 steps at "
        "a rate of 7e-4, with copying by attention alone (the last 325 with a term for what is copied), and those counted above "
        "at 5e-4, with offsets as well, all on a growing bank (characters 0 to 849 and from 1,260 on). Four steps of sampling "
        "instead of one were about 2 dB worse after the first round, on three characters, and grainy.")),
    "canonical": ("Small canonicalizer", (
        "The network classes of StdGEN's canonicalizer (a UNet whose self-attention sees a reference UNet's keys and values), in "
        "squares of 2 x 2 pixels instead of latents, 64 x 40 pixels, v-prediction, mostly from pure noise and sampled in one "
        "step; no guidance. Cells carry a learned code of their place, and attention began with what is alike "
        "(`small.start_alike`). Behind it, each pixel takes what it finds in the given picture "
        "(`networks/stdgen/copying.py`), and the answer is the mean of the picture's and of its mirror image's"), (
        "Hands, faces and hems are soft, stripes and plaid become one color, and what the pose hides is guessed. Third round of "
        "training (--start, --anew): the first had 4,664 steps in 55 minutes on 1,260 characters without copying; those counted "
        "above, in two rounds at a rate of 8e-4, with it. In the second half of the last round held-out characters gained "
        "nothing any more, while the loss still fell: it wants more characters rather than more steps.")),
}


def rows(name: str, found: dict) -> list[tuple[str, float]]:
    """What was measured of one network; behind the canonicalizer also what multi-view makes of its pictures."""
    parts = [("", found["multi-view"])] if name == "multiview" else [("", found["canonical"])]
    if name == "canonical" and "multi-view of the canonical picture" in found:
        parts.append(("six views of its picture, ", found["multi-view of the canonical picture"]))
    return [(prefix + key, value) for prefix, figures in parts for key, value in figures.items()]


def card(name: str, found: dict, state: dict, size: float, characters: int) -> str:
    """The markdown."""
    title, kind, limits = CARDS[name]
    lines = "\n".join(f"| {key} | {value:.3f} |" for key, value in rows(name, found))
    return (
        f"# {title}\n\n{kind}.\n\nFile: stdgen_{name}.safetensors ({size:.1f} MB, fp16). License: Apache-2.0, like the code.\n\n"
        f"**Data.** {characters} {BANK}.\n\n"
        f"**Training.** {state['step']} steps, {state['spent'] / 60:.0f} minutes on one shared CPU core ({platform.machine()}); "
        f"`training/stdgen_networks.py`, learning curve `docs/training/stdgen_{name}_curve.png`.\n\n"
        f"**Measured** on {found['held-out characters']} characters never trained on (seeds from 10,000,000) by "
        f"`training/stdgen_networks.py measure`; PSNR in dB over the six views, overlap of outlines, mean angle between normals "
        f"in degrees. 'white' is an empty picture's PSNR.\n\n| figure | value |\n|---|---|\n{lines}\n\n"
        f"**Limits.** Toy characters only. {limits}\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=pack.ROOT / ".lift123" / "train")
    parser.add_argument("--weights", type=Path, default=pack.ROOT / "pipelines" / "embedded")
    args = parser.parse_args()
    found = json.loads((args.work / "stdgen_measured.json").read_text(encoding="utf-8"))
    characters = json.loads((args.work / "characters" / "done.json").read_text(encoding="utf-8"))["done"]
    for name in (n for n in CARDS if (args.weights / f"stdgen_{n}.safetensors").is_file()):
        state = torch.load(args.work / f"stdgen_{name}" / "checkpoint.pt", weights_only=True, map_location="cpu")
        size = (args.weights / f"stdgen_{name}.safetensors").stat().st_size / 1e6
        (args.weights / f"stdgen_{name}.md").write_text(card(name, found, state, size, characters), encoding="utf-8")


if __name__ == "__main__":
    main()
