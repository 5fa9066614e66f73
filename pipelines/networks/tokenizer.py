"""A word-level tokenizer for the embedded text towers."""

from __future__ import annotations

import re

import torch
from torch import Tensor

PAD, START, UNKNOWN = 0, 1, 2
SPECIAL = 3


class WordTokenizer:
    """Whole words from a fixed list; unknown words share one token.

    The end token is the vocabulary's last index, because open_clip pools at the largest token.
    """

    def __init__(self, words: list[str], length: int = 16):
        self.words, self.length = list(words), length
        self.index = {word: i + SPECIAL for i, word in enumerate(words)}

    @property
    def vocab_size(self) -> int:
        return len(self.words) + SPECIAL + 1

    def split(self, text: str) -> list[str]:
        """Lower-case words without punctuation; a plural or unknown form falls back to its stem when known."""
        found = re.findall(r"[a-z]+", text.lower())
        return [w[:-1] if w not in self.index and w.endswith("s") and w[:-1] in self.index else w for w in found]

    def unknown(self, text: str) -> list[str]:
        """The words of ``text`` the tokenizer does not know."""
        return [w for w in self.split(text) if w not in self.index]

    def __call__(self, texts: list[str]) -> Tensor:
        """[N, length] int64, cut when too long."""
        out = torch.full((len(texts), self.length), PAD, dtype=torch.int64)
        for row, text in enumerate(texts):
            ids = [self.index.get(w, UNKNOWN) for w in self.split(text)][: self.length - 2]
            ids = [START, *ids, self.vocab_size - 1]
            out[row, : len(ids)] = torch.tensor(ids)
        return out
