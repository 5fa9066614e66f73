"""A prompt proposed from a picture: the words that a CLIP network finds most alike."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...core.errors import InputError
from ...networks.clip import ClipScorer
from .color_model import to_lab

COLORS = {  # sRGB of names that people and the toybox use
    "red": (0.84, 0.13, 0.14), "orange": (0.96, 0.52, 0.10), "yellow": (0.97, 0.83, 0.18), "green": (0.18, 0.62, 0.25),
    "lime": (0.62, 0.83, 0.25), "teal": (0.10, 0.60, 0.60), "blue": (0.15, 0.33, 0.82), "sky": (0.45, 0.72, 0.95),
    "purple": (0.52, 0.25, 0.70), "pink": (0.96, 0.55, 0.70), "brown": (0.50, 0.31, 0.18), "beige": (0.88, 0.78, 0.60),
    "white": (0.93, 0.93, 0.92), "grey": (0.55, 0.56, 0.58), "black": (0.13, 0.13, 0.15),
}
PATTERNS = ("striped with", "upright striped with", "dotted with", "two-tone with", "shaded with", "checkered with")
NOUNS = ("ball, box, can, cone, vase, bottle, ring, mug, round table, table, chair, mushroom, fir tree, tree, snowman, bear, "
         "animal, fish, blob, lamp, house, car, banana, tower, cactus, robot, penguin, owl, turtle, butterfly, heron, snail, "
         "monster, doll, rabbit, sign, clock, television, basket, teapot, armchair, bookshelf, umbrella, guitar, hammer, cake, "
         "camera, block, flowerpot, glasses, flag, windmill, truck, bus, bicycle, airplane, boat, rocket, tank")
SHARE, MOST_COLORS = 0.06, 3  # of the object's pixels that a color has at least to be named; how many are tried
LIGHTNESS = 0.5  # weight of lightness against hue, since light and shadow change it
WHITE = 0.02  # difference from white below which a pixel is background
KEPT = 4  # colored nouns for which patterns are tried
BATCH = 256  # texts at a time
LONGEST = 1000  # nouns
MARGIN = 0.02  # by which a pattern has to raise the score: a plain name is the simpler guess


@dataclass(frozen=True)
class Caption:
    """A proposed prompt and its score, the cosine of CLIP's embeddings."""

    text: str
    score: float


def propose(picture: Tensor, clip: ClipScorer, nouns: str = NOUNS) -> list[Caption]:
    """At least one proposal, best first: color and noun, then the best of these with a pattern and a second color.

    picture: [H, W, 3], the object on white; nouns: words or phrases, separated by commas or lines.  InputError without any
    noun that the network's vocabulary has (where it has a closed one).
    """
    known = _known(nouns, clip)
    embedding = clip.image_embedding(picture[None])[0]
    colors = colors_of(picture)
    plain = _scored([f"{_article(color)} {color} {noun}" for color in colors for noun in known], embedding, clip)[:KEPT]
    richer = [f"{best.text} {pattern} {color}" for best in plain for pattern in PATTERNS for color in colors
              if color != best.text.split()[1]]
    scored = _scored(richer, embedding, clip)[:KEPT] if richer else []
    return sorted([*plain, *scored], key=lambda c: c.score - MARGIN * (" with " in c.text), reverse=True)


def colors_of(picture: Tensor) -> list[str]:
    """Names of those of COLORS that most pixels of an object on white [H, W, 3] are nearest to."""
    pixels = picture.reshape(-1, 3)
    pixels = pixels[(pixels < 1 - WHITE).any(-1)]
    weight = pixels.new_tensor([LIGHTNESS, 1.0, 1.0])
    named = to_lab(pixels.new_tensor(list(COLORS.values()))) * weight
    votes = torch.bincount(torch.cdist(to_lab(pixels) * weight, named).argmin(1), minlength=len(named)) if len(pixels) else None
    if votes is None:
        return ["white"]
    names, shares = list(COLORS), (votes / votes.sum()).tolist()
    order = sorted(range(len(names)), key=lambda i: -shares[i])[:MOST_COLORS]
    return [names[i] for i in order if shares[i] >= SHARE] or [names[order[0]]]


def _known(nouns: str, clip: ClipScorer) -> list[str]:
    wanted = list(dict.fromkeys(" ".join(noun.split()) for noun in nouns.replace("\n", ",").split(",") if noun.strip()))
    unknown = getattr(clip.tokenizer, "unknown", lambda _: [])
    known = [noun for noun in wanted if not unknown(noun)]
    if not known or len(known) > LONGEST:
        raise InputError("nouns", f"1 to {LONGEST} names of things that the CLIP network knows", f"{len(known)} of {len(wanted)}",
                         "Write plain English nouns; the embedded network knows those of the default list only.")
    return known


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _scored(texts: list[str], embedding: Tensor, clip: ClipScorer) -> list[Caption]:
    """All texts with their scores, best first."""
    rows = [clip.text_embedding(texts[i : i + BATCH]) @ embedding for i in range(0, len(texts), BATCH)]
    scores = torch.cat(rows)
    return [Caption(texts[i], float(scores[i])) for i in scores.argsort(descending=True).tolist()]
