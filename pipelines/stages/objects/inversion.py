"""A learned word, finished or not, and its file.

The file is what ComfyUI's CLIP loader reads from its ``embeddings`` folder: one [K, D] tensor per text tower, nothing else;
the optimizer's state travels in the header.
"""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...core.errors import InputError
from ...io import plain_json, sealed
from ...networks.learned_words import LearnedWord

FORMAT = "lift123-embedding"
MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Inversion:
    """A word, learned or half learned.

    moments: the optimizer's, by tower; meta: JSON: steps done and planned, seed, settings, losses every few steps.
    """

    word: LearnedWord
    moments: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    meta: dict = field(default_factory=dict)

    @property
    def step(self) -> int:
        return self.meta.get("step", 0)

    @property
    def finished(self) -> bool:
        return self.step >= self.meta.get("total", 0)

    def pack(self) -> tuple[dict[str, Tensor], dict]:
        """(tensors, JSON); inverse of :meth:`unpack`."""
        tensors = {f"vectors/{k}": v for k, v in self.word.vectors.items()}
        tensors |= {f"{m}/{k}": v for k, part in self.moments.items() for m, v in part.items()}
        return tensors, {"name": self.word.name, "meta": self.meta}

    @staticmethod
    def unpack(tensors: dict[str, Tensor], packed: dict) -> "Inversion":
        """What :meth:`pack` gave."""
        parts: dict[str, dict] = {}
        for name, value in tensors.items():
            part, key = name.split("/", 1)
            parts.setdefault(part, {})[key] = value
        vectors = parts["vectors"]
        moments = {k: {m: parts[m][k] for m in MOMENTS} for k in vectors if k in parts.get(MOMENTS[0], {})}
        return Inversion(LearnedWord(packed["name"], vectors), moments, packed["meta"])

    def save(self, path) -> Path:
        """Writes the embedding file whole or not at all; InputError when that is impossible."""
        from safetensors.torch import save_file

        path = Path(path)
        packed = {f"{k}/{m}": _pack(v) for k, part in self.moments.items() for m, v in part.items()}
        header = {"format": FORMAT, "name": self.word.name, "meta": json.dumps(self.meta), "moments": json.dumps(packed)}
        partial = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file({k: v.detach().float().cpu().contiguous() for k, v in self.word.vectors.items()}, str(partial), header)
            os.replace(partial, path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise InputError("embedding file", "a writable folder", f"{path.parent}: {error}", "Make room there.") from error
        return path

    @staticmethod
    def load(path) -> "Inversion":
        """Reads a file that :meth:`save` wrote, or any embedding file with a [K, D] tensor per tower."""
        from safetensors import SafetensorError, safe_open

        path = Path(path)
        try:
            with safe_open(str(path), "pt") as file:
                header = file.metadata() or {}
                vectors = {key: file.get_tensor(key).float() for key in file.keys()}
            meta = plain_json.parse(header["meta"]) if header.get("format") == FORMAT else {}
            packed = plain_json.parse(header["moments"]) if meta else {}
        except (OSError, SafetensorError, ValueError, KeyError) as error:
            raise InputError("embedding file", "a safetensors file of vectors", f"{path.name} ({error})",
                             "Choose another name, or delete the file.") from error
        vectors = {k: v[None] if v.ndim == 1 else v for k, v in vectors.items()}
        if not vectors or any(v.ndim != 2 for v in vectors.values()):
            got = ", ".join(f"{k} {tuple(v.shape)}" for k, v in list(vectors.items())[:3]) or "nothing"
            raise InputError("embedding file", "a [K, D] tensor per text tower", got, "Choose another file.")
        try:
            sealed.check_finite(vectors)
            moments = _moments(packed, vectors)
            if not isinstance(meta, dict) or any(type(meta.get(k, 0)) is not int for k in ("step", "total", "seed")):
                raise ValueError("its meta has no steps")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            got = f"{path.name}, damaged ({error})"
            raise InputError("embedding file", "vectors and what Textual Inversion knows of them", got,
                             "Choose another name, or delete the file.") from error
        return Inversion(LearnedWord(header.get("name", path.stem), vectors), moments, meta)


def _moments(packed: dict, vectors: dict[str, Tensor]) -> dict:
    """tower -> name -> what the optimizer knew, of the shape of the tower's vectors."""
    found: dict = {}
    for name, text in packed.items():
        key, moment = name.split("/")
        found.setdefault(key, {})[moment] = _unpack(text, vectors[key].shape)
    return found


def _pack(value: Tensor) -> str:
    return base64.b64encode(value.detach().float().cpu().numpy().astype("<f4").tobytes()).decode()


def _unpack(text: str, shape) -> Tensor:
    return torch.from_numpy(np.frombuffer(base64.b64decode(text), "<f4").copy()).reshape(shape)
