"""Edits of API-format prompts: another picture, caption, seed or file name.  Every function returns a copy."""

import copy
import re
from pathlib import Path

from .settings import LaunchError

REFERENCE, TOY = "Lift123_ReferenceView", "Lift123_ToyCharacter"
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

    Without such a node, a toy character of which only picture and mask are used becomes one.  Raises LaunchError where
    neither is there: what compares with a toy's truth can't take a picture.
    """
    prompt = set_inputs(prompt, REFERENCE, prompt=caption)
    for node in prompt.values():
        if node["class_type"] == "LoadImage":
            node["inputs"]["image"] = name
            return prompt
    for key, node in prompt.items():
        if node["class_type"] == TOY and _used_outputs(prompt, key) <= {0, 1}:
            prompt[key] = {"class_type": "LoadImage", "inputs": {"image": name}, "_meta": {"title": "Load Image"}}
            for reader in prompt.values():  # a toy's mask marks the object, Load Image's the background
                if reader["inputs"].get("mask") == [key, 1] and reader["inputs"].get("mask_marks", "auto") != "auto":
                    reader["inputs"]["mask_marks"] = "background"
            return prompt
    raise LaunchError("this workflow has no Load Image node to put a picture into")


def _used_outputs(prompt: dict, key: str) -> set[int]:
    """Output slots of a node that other nodes read."""
    wires = [v for node in prompt.values() for v in node["inputs"].values() if isinstance(v, list) and len(v) == 2]
    return {slot for source, slot in wires if source == key}


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


def folder_name(stem: str) -> str:
    """A picture's name as a folder that every system takes: no device names, colons, or dots at the end."""
    name = re.sub(r'[<>:"/\\|?*\x00-\x1f]', "_", stem).rstrip(". ") or "picture"
    return f"_{name}" if re.fullmatch(r"(?i)con|prn|aux|nul|(com|lpt)[0-9]", name.split(".")[0].rstrip()) else name


def picture_files(folder: Path) -> list:
    """Pictures of a folder (not its subfolders), sorted by name."""
    return sorted(p for p in folder.iterdir() if p.is_file() and p.suffix.lower() in PICTURES)
