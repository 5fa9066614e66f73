"""Words that a text network did not know: a few vectors in place of a token (Gal et al. 2022, "An Image is Worth One Word").

A prompt names such a word as ``embedding:<name>``, ComfyUI's notation, so one prompt serves every network.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..core.errors import InputError
from ..core.modules import AnyModule
from .clip import ClipScorer
from .text import TextDenoiser
from .tokenizer import UNKNOWN, WordTokenizer
from .towers import TextEncoder, TextTower, TwoTextTowers

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
FILLER = "x"  # one token in every vocabulary here; its vector is replaced
KEYS = {1024: "clip_h", 1280: "clip_g"}  # ComfyUI's names of text towers by width; all others are "clip_l"


@dataclass(frozen=True)
class LearnedWord:
    """name: as in ``embedding:<name>``; vectors: [K, D] for each text tower, by ComfyUI's name of the tower."""

    name: str
    vectors: dict[str, Tensor]

    def __post_init__(self):
        if not NAME.fullmatch(self.name):
            raise InputError("name", "1 to 64 letters, digits, - and _", repr(self.name), "Choose a plain name.")

    @property
    def mention(self) -> str:
        """How a prompt names it."""
        return f"embedding:{self.name}"

    @property
    def count(self) -> int:
        """Vectors, which is tokens."""
        return len(next(iter(self.vectors.values())))


@dataclass(frozen=True)
class Tower:
    """One text tower: its key in embedding files, its table of token vectors, and words -> token ids."""

    key: str
    table: AnyModule
    ids: Callable[[str], list[int]]
    length: int

    @property
    def width(self) -> int:
        return self.table.weight.shape[1]


def text_towers(encoder: TextEncoder) -> tuple[Tower, ...]:
    """The towers of a text encoder of ours; InputError for one whose tokens cannot be reached."""
    if isinstance(encoder, LearnedEncoder):
        return text_towers(encoder.encoder)
    if isinstance(encoder, TwoTextTowers):
        first, second = text_towers(encoder.first)[0], text_towers(encoder.second)[0]
        return replace(first, key="clip_l"), replace(second, key="clip_g")
    if isinstance(encoder, TextTower):
        table, tokenizer = encoder.model.get_input_embeddings(), encoder.tokenizer
        length = encoder.model.config.max_position_embeddings
        return (Tower(_key(table), table, lambda text: tokenizer(text, add_special_tokens=False).input_ids, length),)
    if isinstance(encoder, ClipScorer) and isinstance(encoder.tokenizer, WordTokenizer):
        table, words = encoder.model.token_embedding, encoder.tokenizer
        return (Tower(_key(table), table, lambda text: [words.index.get(w, UNKNOWN) for w in words.split(text)], words.length),)
    raise InputError("text network", "one whose text tower can learn words", type(encoder).__name__,
                     "Choose a Stable Diffusion style network or the embedded one.")


def _key(table: AnyModule) -> str:
    return KEYS.get(table.weight.shape[1], "clip_l")


@dataclass(frozen=True)
class LearnedEncoder:
    """A text encoder that also knows some learned words; differentiable in their vectors."""

    encoder: TextEncoder
    words: tuple[LearnedWord, ...]

    def text_condition(self, texts: list[str], negative: bool = False) -> dict[str, Tensor]:
        """As the encoder's own, with ``embedding:<name>`` standing for the word's vectors."""
        with ExitStack() as hooks:
            for tower in text_towers(self.encoder):
                clean, spots = zip(*(self._located(text, tower) for text in texts))
                hooks.callback(tower.table.register_forward_hook(_Insert(tower.key, spots)).remove)
            return self.encoder.text_condition(list(clean), negative)

    def text_tokens(self, texts: list[str]) -> Tensor:
        """[N, L, D] context."""
        return self.text_condition(texts)["context"]

    def _located(self, text: str, tower: Tower) -> tuple[str, list]:
        """The text with fillers for learned words, and (position, vector [D]) of every filler."""
        known = {word.name: word for word in self.words}
        pattern = re.compile(rf"embedding:({'|'.join(map(re.escape, sorted(known, key=len, reverse=True)))})(?![\w-])")
        clean, spots, end = "", [], 0
        for match in pattern.finditer(text):
            clean, end = clean + text[end : match.start()], match.end()
            vectors = known[match[1]].vectors[tower.key]
            first = 1 + len(tower.ids(clean))  # after the start token
            if first + len(vectors) >= tower.length:
                raise InputError("prompt", f"at most {tower.length - 2} tokens", f"{match[0]!r} at token {first}",
                                 "Shorten the prompt before it.")
            spots += [(first + i, vector) for i, vector in enumerate(vectors)]
            clean += " " + " ".join([FILLER] * len(vectors)) + " "
        return clean + text[end:], spots


class _Insert:
    """A forward hook on a token table: replaces the vectors at given places of each row."""

    def __init__(self, key: str, spots):
        self.key = key
        self.places = [(row, column) for row, found in enumerate(spots) for column, _ in found]
        self.vectors = [vector for found in spots for _, vector in found]

    def __call__(self, module, args, output: Tensor) -> Tensor:
        if not self.places:
            return output
        rows, columns = torch.tensor(self.places, device=output.device).unbind(1)
        return output.index_put((rows, columns), torch.stack(self.vectors).to(output))


@dataclass(frozen=True)
class DenoiserInverter:
    """A ``stages.textual_inversion.TextInverter`` around a text denoiser of ours (embedded, diffusers, ldm files)."""

    denoiser: TextDenoiser

    @property
    def alphas_cumprod(self) -> Tensor:
        return self.denoiser.alphas_cumprod

    @property
    def image_size(self) -> int:
        return self.denoiser.image_size

    @property
    def half(self) -> bool:
        """Whether the network computes in half precision, so that its gradients may underflow."""
        return self.denoiser.runtime.unet.dtype == torch.float16

    def widths(self) -> dict[str, int]:
        """Width of a token by tower."""
        return {tower.key: tower.width for tower in text_towers(self.denoiser.encoder)}

    def start(self, text: str) -> dict[str, Tensor]:
        """[N, D] by tower: the vectors of a text's tokens, float32 on the CPU."""
        out = {}
        for tower in text_towers(self.denoiser.encoder):
            ids = tower.ids(text) or tower.ids("object")
            out[tower.key] = tower.table.weight[torch.tensor(ids)].detach().float().cpu()
        return out

    def encode(self, images: Tensor) -> Tensor:
        return self.denoiser.encode(images)

    def condition(self, texts: list[str], word: LearnedWord):
        """What ``noise`` needs to know of the texts; differentiable in the word's vectors."""
        condition = LearnedEncoder(self.denoiser.encoder, (word,)).text_condition(texts)
        each = torch.eye(len(texts), device=condition["context"].device)
        return self.denoiser.condition(condition["context"], condition.get("pooled"), each)

    def noise(self, noisy: Tensor, t: Tensor, condition) -> Tensor:
        """eps_hat [B, C, h, w] without guidance; differentiable in the condition."""
        return self.denoiser.runtime.noise(noisy, t, condition)

    def conditioned(self, word: LearnedWord) -> TextDenoiser:
        """The denoiser, knowing the word."""
        return knowing(self.denoiser, word)


def knowing(denoiser: TextDenoiser, *words: LearnedWord) -> TextDenoiser:
    """A copy whose prompts may use the words; InputError where they do not fit its text towers."""
    towers = text_towers(denoiser.encoder)
    for word in words:
        got = {key: tuple(v.shape) for key, v in word.vectors.items()}
        if {t.key: t.width for t in towers} != {k: s[-1] for k, s in got.items()}:
            raise InputError("embedding", ", ".join(f"{t.key} of width {t.width}" for t in towers),
                             f"{word.name!r} with {got}", "It was learned for another network: learn it again for this one.")
    device = towers[0].table.weight.device
    placed = tuple(replace(w, vectors={k: v.to(device) for k, v in w.vectors.items()}) for w in words)
    return replace(denoiser, encoder=LearnedEncoder(denoiser.encoder, placed))
