"""What a loader is told besides path and device, by a network's name and the node's option ("auto" = by the name)."""

from __future__ import annotations

from . import registry


def view(name: str, option: str, is_file: bool) -> dict:
    """The pose convention, which the files do not tell."""
    return {"pose": registry.pose_of(name) if option == "auto" else option}


def clip(name: str, option: str, is_file: bool) -> dict:
    """open_clip's name of a single file's architecture; InputError where the registry does not know the file."""
    return {"architecture": registry.known(name).architecture} if is_file else {}


def depth(name: str, option: str, is_file: bool) -> dict:
    """What large numbers mean; "auto" is left to the network's configuration."""
    return {"convention": option}


def multiview(name: str, option: str, is_file: bool) -> dict:
    """Whether it is stock Era3D instead of StdGEN's."""
    return {"stock": is_stock(name) if option == "auto" else option == "era3d"}


def is_stock(name: str) -> bool:
    """Whether a multi-view network is stock Era3D by its name."""
    return "era3d" in name.lower()
