"""CLIP's byte-pair tokenizer without a download: the vocabulary comes with open_clip, because checkpoints hold none."""

from __future__ import annotations

import json
import tempfile
from functools import lru_cache
from pathlib import Path

END = 49407  # the end token, with which Stable Diffusion 1 fills the rest of a prompt; Stable Diffusion 2 fills with 0


class ZeroPadded:
    """A tokenizer that fills the rest of a prompt with token 0; everything else is the wrapped tokenizer's.

    Token 0 is also "!" inside a word, so that naming it as the padding token would change prompts that hold one.
    """

    def __init__(self, tokenizer):
        self._tokenizer = tokenizer

    def __getattr__(self, name):
        return getattr(self._tokenizer, name)

    def __len__(self) -> int:
        return len(self._tokenizer)

    def __call__(self, texts, **options):
        """As the wrapped tokenizer; tensors are filled with 0 after the end token."""
        found = self._tokenizer(texts, **options)
        if options.get("return_tensors") == "pt":
            found["input_ids"] = found["input_ids"].masked_fill(found["attention_mask"] == 0, 0)
        return found


@lru_cache(maxsize=2)
def openai_tokenizer(pad: int):
    """A transformers CLIPTokenizer (77 tokens).  pad: END or 0, what fills the rest of a prompt."""
    from open_clip.tokenizer import SimpleTokenizer
    from transformers import CLIPTokenizer

    source = SimpleTokenizer()
    special = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {special.get(token, token): index for token, index in source.encoder.items()}
    merges = [" ".join(pair) for pair, _ in sorted(source.bpe_ranks.items(), key=lambda item: item[1])]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
        Path(folder, "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8")
        made = CLIPTokenizer.from_pretrained(folder, local_files_only=True, model_max_length=77)
    return made if pad == END else ZeroPadded(made)
