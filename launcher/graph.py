"""Edits of API-format prompts: another picture, caption, seed or file name.  Every function returns a copy."""

import copy
from pathlib import Path

from .settings import LaunchError

REFERENCE = "Lift123_ReferenceView"
PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}


def set_inputs(prompt: dict, class_type: str, /, **values) -> dict:
    """Every node of a class gets these literal inputs."""
    prompt = copy.deepcopy(prompt)
    for node in prompt.values():
        if node["class_type"] == class_type:
            node["inputs"].update(values)
    return prompt


def with_picture(prompt: dict, name: str, caption: str) -> dict:
    """The first LoadImage node loads ``name`` (as ``Client.upload`` returns it); the object is called ``caption``.

    Raises LaunchError when the graph does not start with a LoadImage node.
    """
    prompt = set_inputs(prompt, REFERENCE, prompt=caption)
    for node in prompt.values():
        if node["class_type"] == "LoadImage":
            node["inputs"]["image"] = name
            return prompt
    raise LaunchError("this workflow has no Load Image node to put a picture into")


def with_seed(prompt: dict, seed) -> dict:
    """Every literal ``seed`` input gets this value; ``None`` leaves the workflow's own."""
    prompt = copy.deepcopy(prompt)
    for node in prompt.values():
        if seed is not None and isinstance(node["inputs"].get("seed"), int):
            node["inputs"]["seed"] = seed
    return prompt


def with_prefix(prompt: dict, folder: str) -> dict:
    """File name prefixes move into ``folder``, so that results of different pictures stay apart."""
    prompt = copy.deepcopy(prompt)
    for node in prompt.values():
        prefix = node["inputs"].get("filename_prefix")
        if isinstance(prefix, str):
            node["inputs"]["filename_prefix"] = f"{folder}/{prefix.rsplit('/', 1)[-1] or 'result'}"
    return prompt


def picture_files(folder: Path) -> list:
    """Pictures of a folder (not its subfolders), sorted by name."""
    return sorted(p for p in folder.iterdir() if p.is_file() and p.suffix.lower() in PICTURES)
