"""What a seed decides: proportions, face, hair, clothes, and the words for them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..patterns import PALETTE, jittered
from .body import BodyStyle
from .clothing import Outfit
from .hair import FRINGES, STYLES, HairStyle
from .paint import Color, Dots, Paint, Plaid, Plain, Stripes, Upright

SKINS = ((0.99, 0.87, 0.78), (0.97, 0.81, 0.70), (0.90, 0.70, 0.55), (0.74, 0.53, 0.39), (0.52, 0.35, 0.25))
HAIRS = {
    "black": (0.16, 0.15, 0.19), "brown": (0.42, 0.26, 0.17), "blond": (0.95, 0.80, 0.45), "red": (0.76, 0.25, 0.17),
    "silver": (0.80, 0.83, 0.90), "pink": (0.96, 0.62, 0.74), "blue": (0.28, 0.42, 0.80), "teal": (0.25, 0.70, 0.70),
    "green": (0.38, 0.65, 0.36), "purple": (0.52, 0.38, 0.72), "orange": (0.93, 0.52, 0.22),
}
IRISES = (
    (0.25, 0.45, 0.85),
    (0.30, 0.62, 0.35),
    (0.55, 0.35, 0.18),
    (0.78, 0.25, 0.28),
    (0.55, 0.35, 0.75),
    (0.85, 0.62, 0.18),
)
TOPS = {"tank": "tank top", "tee": "t-shirt", "long": "shirt", "wide": "blouse", "hoodie": "hoodie"}
BALD, UNDRESSED = 0.07, 0.03  # shares of characters without hair, without clothes


@dataclass(frozen=True)
class Look:
    """All choices of one character and the caption they add up to."""

    body: BodyStyle
    outfit: Outfit | None
    hair: HairStyle
    caption: str


def choose(rng: np.random.Generator) -> Look:
    """The look of a random generator's next character."""
    names = [str(n) for n in rng.permutation(list(PALETTE))[:5]]
    tones = [_tone(name, rng) for name in names]
    hair_name = str(rng.choice(list(HAIRS)))
    hair = _hair(rng, hair_name, tones)
    outfit, clothes = _outfit(rng, names, tones)
    body = _body(rng, hair, tones, outfit)
    head = "a bald character" if hair.style is None else f"a character with {hair_name} {_styled(hair)}"
    return Look(body, outfit, hair, f"{head} {clothes}")


def _tone(name: str, rng) -> Color:
    return tuple(float(c) for c in jittered(name, rng))


def _vary(color: Color, rng, amount: float = 0.03) -> Color:
    return tuple(float(c) for c in np.clip(np.asarray(color) + rng.normal(0, amount, 3), 0.03, 1.0))


def _a(word: str) -> str:
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"


def _styled(hair: HairStyle) -> str:
    words = {"twintails": "twintails", "bob": "bob hair", "bun": "hair in buns", "braid": "braided hair"}
    if hair.style in ("ponytail", "side ponytail"):
        return f"hair in a {hair.style}"
    return words.get(str(hair.style), f"{hair.style} hair")


def _hair(rng, name: str, tones) -> HairStyle:
    style = None if rng.uniform() < BALD else str(rng.choice(STYLES))
    fringe = str(rng.choice(FRINGES, p=(0.4, 0.25, 0.25, 0.1)))
    base = _vary(HAIRS[name], rng)
    dyed = rng.uniform() < 0.25
    tip = _vary(HAIRS[str(rng.choice(list(HAIRS)))], rng) if dyed else tuple(0.88 * c for c in base)
    side = 1.0 if rng.uniform() < 0.5 else -1.0
    length = float(rng.uniform(0, 1))
    return HairStyle(
        style, fringe, side, length, base, tip, tones[3], bool(rng.uniform() < 0.12), bool(rng.uniform() < 0.2)
    )


def _body(rng, hair: HairStyle, tones, outfit) -> BodyStyle:
    skin = _vary(SKINS[int(rng.choice(len(SKINS), p=(0.32, 0.28, 0.18, 0.12, 0.1)))], rng, 0.012)
    brow = tuple(0.6 * c for c in hair.base)
    shoe = tuple(
        float(c) for c in np.asarray(PALETTE[str(rng.choice(["black", "brown", "white", "red", "blue", "grey"]))])
    )
    sole = tuple(0.45 * c for c in shoe) if rng.uniform() < 0.5 else (0.93, 0.93, 0.92)
    bare = outfit is None or outfit.bottom in ("skirt", "shorts", "dress")
    sock = None if rng.uniform() < 0.25 else ((0.95, 0.95, 0.95) if rng.uniform() < 0.5 else tones[4])
    wide = float(rng.uniform(0.15, 0.2))
    face = dict(
        eye_size=(wide, wide * float(rng.uniform(1.15, 1.6))), eye_gap=float(rng.uniform(0.37, 0.43)),
        eye_height=float(rng.uniform(-0.22, -0.12)), smile=float(rng.uniform(0.0, 0.09)), blush=float(rng.uniform(0.1, 0.7)),
        mouth_width=float(rng.uniform(0.1, 0.18)), open_mouth=bool(rng.uniform() < 0.15),
        brow_tilt=float(rng.uniform(-0.25, 0.3)),
    )
    iris = _vary(IRISES[int(rng.integers(len(IRISES)))], rng)
    under = (0.96, 0.96, 0.97) if rng.uniform() < 0.6 else (0.35, 0.36, 0.42)
    return BodyStyle(skin, iris, brow, shoe, sole, under, sock, float(rng.uniform(0.1, 0.95)),
                     bool(bare and rng.uniform() < 0.3), face)


def _cloth(
    rng, first: Color, second: Color, allowed=("plain", "striped", "upright", "dotted", "plaid")
) -> tuple[Paint, str]:
    kind = str(rng.choice(allowed))
    if kind == "striped":
        return Stripes(
            first, second, period=float(rng.uniform(0.08, 0.16)), share=float(rng.uniform(0.3, 0.6))
        ), "striped "
    if kind == "upright":
        return Upright(first, second, int(rng.integers(8, 17)), 0.4), "striped "
    if kind == "dotted":
        return Dots(first, second, period=float(rng.uniform(0.08, 0.12))), "dotted "
    if kind == "plaid":
        return Plaid(first, second, period=float(rng.uniform(0.08, 0.13))), "plaid "
    return Plain(first), ""


def _outfit(rng, names, tones) -> tuple[Outfit | None, str]:
    if rng.uniform() < UNDRESSED:
        return None, "without clothes over its underwear"
    top = str(rng.choice(list(TOPS), p=(0.12, 0.26, 0.26, 0.14, 0.22)))
    bottom = str(rng.choice(["shorts", "trousers", "flared", "skirt", "dress"], p=(0.16, 0.3, 0.08, 0.26, 0.2)))
    over = str(rng.choice(["jacket", "vest"])) if top in ("tank", "tee", "long") and rng.uniform() < 0.3 else None
    top_paint, top_word = _cloth(rng, tones[0], tones[1])
    if rng.uniform() < 0.45:
        top_paint, top_word = Plain(tones[0]), ""
    bottom_paint, bottom_word = _cloth(rng, tones[2], tones[3], ("plain", "plain", "upright", "plaid"))
    collar = tones[3] if top in ("tee", "long", "wide") and rng.uniform() < 0.4 else None
    outfit = Outfit(
        top, bottom, over, top_paint, bottom_paint, tones[1] if over else tones[0], tones[3], collar,
        _marks(rng, over, tones), float(rng.uniform(0.35, 0.95)), float(rng.uniform(0.03, 0.16)),
        float(rng.choice([0.0, 0.0, 0.012])),
    )
    if bottom == "dress":
        words = f"in {_a(names[0])} {top_word}dress"
    else:
        noun = {"flared": "flared trousers", "skirt": "skirt"}.get(bottom, bottom)
        color = _a(names[2]) if bottom == "skirt" else names[2]
        words = f"in {_a(names[0])} {top_word}{TOPS[top]} and {color} {bottom_word}{noun}"
    return outfit, words + (f" under {_a(names[1])} {over}" if over else "")


def _marks(rng, over: str | None, tones) -> tuple:
    """Marks relative to the chest's joint height; the builder moves them there."""
    kind = str(rng.choice(["none", "buttons", "disc", "star", "heart", "tie", "zip"]))
    tone = tones[3]
    if kind == "buttons":
        return tuple(("disc", 0.0, -0.07 - 0.075 * i, 0.0145, tone) for i in range(4))
    if kind in ("disc", "star", "heart"):
        return ((kind, 0.0, -0.12, 0.055 if kind == "disc" else 0.07, tone),)
    if kind == "tie":
        return (("tie", 0.0, -0.13, (0.03, 0.1), tone),)
    if kind == "zip":
        return (("strip", 0.0, -0.25, (0.009, 0.25), tone),)
    return ()
