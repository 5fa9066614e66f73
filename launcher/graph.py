"""Edits of API-format prompts: another picture, other widget values.  Graphs are edited as copies."""

import copy
from pathlib import Path

from .settings import LaunchError

TOY_NODE = "Lift123_ToyObject"


def has_alpha(data: bytes) -> bool:
    """Whether the bytes of a PNG or WebP say that they carry transparency; False for any other format."""
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return data[25] in (4, 6) or b"tRNS" in data[:4096]
    if data[:4] == b"RIFF" and data[8:16] == b"WEBPVP8X":
        return bool(data[20] & 0x10)
    return data[:4] == b"RIFF" and data[8:16] == b"WEBPVP8L" and bool(data[24] & 0x10)


def nodes_of(prompt: dict, class_type: str) -> list:
    """Ids of the nodes of a class, in order."""
    return [key for key, node in prompt.items() if node["class_type"] == class_type]


def set_inputs(prompt: dict, class_type: str, **values) -> dict:
    """A copy in which every node of a class has these literal inputs."""
    prompt = copy.deepcopy(prompt)
    for key in nodes_of(prompt, class_type):
        prompt[key]["inputs"].update(values)
    return prompt


def links_from(prompt: dict, source: str):
    """(node id, input name, slot) of every link that starts at ``source``."""
    for key, node in prompt.items():
        for name, value in node["inputs"].items():
            if isinstance(value, list) and len(value) == 2 and str(value[0]) == source:
                yield key, name, value[1]


def with_picture(prompt: dict, name: str, alpha: bool, info: dict, caption: str = "") -> dict:
    """A copy that starts from the uploaded picture ``name`` (as LoadImage names it).

    A graph with a LoadImage node gets the picture there.  A graph that starts with a toy object gets a LoadImage in
    its place: IMAGE links follow, MASK links follow when the picture has ``alpha`` (through InvertMask, because
    LoadImage's mask is 1 where the picture is transparent), STRING links become ``caption``, all other links (depth,
    ground truth) are cut, and nodes that cannot run without them are removed.  ``info`` is ComfyUI's /object_info.
    """
    prompt = copy.deepcopy(prompt)
    loaders = nodes_of(prompt, "LoadImage")
    if loaders:
        prompt[loaders[0]]["inputs"]["image"] = name
        return prompt
    toys = nodes_of(prompt, TOY_NODE)
    if not toys:
        raise LaunchError("this workflow has neither a LoadImage nor a toy object node to put a picture into")
    kinds = info[TOY_NODE]["output"]
    prompt["picture"] = {"class_type": "LoadImage", "inputs": {"image": name}, "_meta": {"title": "Picture"}}
    if alpha:
        prompt["picture_mask"] = {"class_type": "InvertMask", "inputs": {"mask": ["picture", 1]},
                                  "_meta": {"title": "Mask from transparency"}}
    for toy in toys:
        images = [i for i, kind in enumerate(kinds) if kind == "IMAGE"]
        for node, key, slot in list(links_from(prompt, toy)):
            inputs = prompt[node]["inputs"]
            if kinds[slot] == "IMAGE" and slot == images[0]:
                inputs[key] = ["picture", 0]
            elif kinds[slot] == "MASK" and alpha:
                inputs[key] = ["picture_mask", 0]
            elif kinds[slot] == "STRING":
                inputs[key] = caption
            else:
                del inputs[key]
        del prompt[toy]
    return prune(prompt, info)


def prune(prompt: dict, info: dict) -> dict:
    """Removes nodes that lack a required input, and then those that depended on them, until none is left."""
    while True:
        broken = [
            key for key, node in prompt.items()
            if any(name not in node["inputs"] and "." not in name
                   for name, spec in info.get(node["class_type"], {}).get("input", {}).get("required", {}).items()
                   if not (len(spec) > 1 and isinstance(spec[1], dict) and "default" in spec[1]))
            and not _has_dynamic(info, node)
        ]
        if not broken:
            return prompt
        for key in broken:
            for node, name, _ in list(links_from(prompt, key)):
                del prompt[node]["inputs"][name]
            del prompt[key]


def _has_dynamic(info: dict, node: dict) -> bool:
    """Autogrow inputs are named by their slots, not by the schema's name; such nodes are kept."""
    required = info.get(node["class_type"], {}).get("input", {}).get("required", {})
    return any(str(spec[0]).startswith("COMFY_AUTOGROW") for spec in required.values() if spec)


def picture_files(folder: Path) -> list:
    """Pictures of a folder (not its subfolders), sorted by name."""
    kinds = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}
    return sorted(p for p in folder.iterdir() if p.is_file() and p.suffix.lower() in kinds)
