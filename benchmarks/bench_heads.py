"""The picture's own head on the A-pose that the canonicalizer draws: found or not, and how near the face is to the truth.

    python benchmarks/bench_heads.py [--first 10] [--characters 5] [--poses 2] [--out FOLDER]

Held-out toy characters, posed pictures of 512 pixels (``Canonicalize``, head = from the picture).  Face region: pixels of the
A-pose's front view at 512 in which the truth shows the head's skin.  PSNR punishes a sharp eye a few pixels beside its place
more than a smear; detail is the region's mean gradient of luminance over the truth's.  Limits were chosen on characters 0 to 8.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch
from bench_tools import machine, table  # loads the pack
from lift123.pipelines import stdgen
from lift123.pipelines.core.ortho import six_views
from lift123.pipelines.loaders.embedded_characters import load_small_canonical
from lift123.pipelines.metrics.image import psnr
from lift123.pipelines.stages.characters.canonicalize import canonicalize
from lift123.pipelines.stages.characters.head_transfer import transfer_head
from lift123.pipelines.stages.characters.picture import CharacterPicture, scale
from lift123.pipelines.toybox.characters import heldout_character, input_picture, render_levels, render_semantics
from lift123.pipelines.toybox.characters.field import SEMANTICS
from torch import Tensor

SIZE = 512
SHOWN = (16, 240)  # rows of the pictures that show the head
RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True)
class Head:
    """drawn, laid: (PSNR dB, detail) of the network's face and of the one with the picture's pixels, None where not found."""

    drawn: tuple[float, float]
    laid: tuple[float, float] | None
    said: str
    strip: Tensor


def squared(picture: Tensor) -> Tensor:
    """An A-pose picture [H, W, 3] on white as a square of SIZE."""
    width = round(SIZE * picture.shape[1] / picture.shape[0])
    out = torch.ones(SIZE, SIZE, 3)
    out[:, (SIZE - width) // 2 : (SIZE - width) // 2 + width] = scale(picture, (SIZE, width))
    return out


def gradient(picture: Tensor, region: Tensor) -> float:
    """Mean length of the gradient of luminance over a region [H, W]."""
    gray = picture @ torch.tensor([0.2126, 0.7152, 0.0722])
    down, across = torch.gradient(gray)
    return float((down.square() + across.square()).sqrt()[region].mean())


def measured(index: int, pose: int, network) -> Head:
    """One picture."""
    character = heldout_character(index)
    truth = render_levels(character.layers, SIZE, (0,)).color[0, 0]
    face = render_semantics(character.field(), character.layers, six_views(SIZE)[0], (0,))[0, 0] == SEMANTICS.index("face")
    rgba = input_picture(character, pose, SIZE)
    picture = CharacterPicture(rgba[..., :3], rgba[..., 3])
    drawn = canonicalize(network, picture, stdgen.QUICKSTART.canonical).picture
    laid, said = transfer_head(picture, drawn)

    def near(made: Tensor) -> tuple[float, float]:
        error = float(psnr(squared(made)[None], truth[None], face[None].float())[0])
        return error, gradient(squared(made), face) / gradient(truth, face)

    rows = slice(*SHOWN)
    given = scale(rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:], (SHOWN[1] - SHOWN[0],) * 2)
    heads = (squared(drawn), squared(drawn if laid is None else laid), truth)
    cut = [given, *(p[rows, 144 : SIZE - 144] for p in heads)]
    return Head(near(drawn), None if laid is None else near(laid), said, torch.cat(cut, 1))


def cells(figures: tuple[float, float] | None) -> list[str]:
    """PSNR and detail."""
    return ["", ""] if figures is None else [f"{figures[0]:.1f}", f"{figures[1]:.2f}"]


def page(found: dict[tuple[int, int], Head]) -> str:
    """The results page."""
    known = [h for h in found.values() if h.laid is not None]
    rows = [[i, k, *cells(h.drawn), *cells(h.laid), h.said] for (i, k), h in found.items()]

    def mean(which: str, part: int) -> float:
        return sum(getattr(h, which)[part] for h in known) / len(known)

    text = f"# Heads of posed pictures\n\n{machine()}\n\n" + (__doc__ or "").split("\n\n", 2)[2].strip() + "\n\n"
    if known:
        text += (f"{len(known)} of {len(found)} heads were found. On these the face region goes from {mean('drawn', 0):.1f} to "
                 f"{mean('laid', 0):.1f} dB, its detail from {mean('drawn', 1):.2f} to {mean('laid', 1):.2f} of the truth's.\n\n")
    head = ["character", "pose", "drawn, dB", "detail", "with the picture's head, dB", "detail", "said"]
    return text + table(head, rows) + "\n![the picture; the head as drawn; with the picture's pixels; the truth](heads.jpg)\n"


def main() -> None:
    """Measures, and writes the page and its picture."""
    from PIL import Image

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=10)
    parser.add_argument("--characters", type=int, default=5)
    parser.add_argument("--poses", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    network = load_small_canonical()
    found = {(i, k): measured(i, k, network) for i in range(args.first, args.first + args.characters) for k in range(args.poses)}
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "heads.md").write_text(page(found), encoding="utf-8")
    strips = [h.strip for h in found.values()]
    columns = [torch.cat(strips[k :: args.poses]) for k in range(args.poses)]
    pixels = (torch.cat(columns, 1).clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    Image.fromarray(pixels).save(args.out / "heads.jpg", quality=85)


if __name__ == "__main__":
    main()
