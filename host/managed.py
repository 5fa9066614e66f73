"""ComfyUI's memory management for our own frozen networks: they take turns with every other model on the device.

Networks used without gradient (UNets, text and picture towers, depth estimators) are registered as ComfyUI's
models.  ComfyUI may move them away whenever something else needs the room, and every use brings them back first.
Autoencoders stay on the device: a backward pass may be waiting for them.  On a CPU there is nothing to manage.
"""

from __future__ import annotations

import copy
import inspect
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import TypeVar, cast

import comfy.model_management as mm
import comfy.model_patcher
import torch

Same = TypeVar("Same")
DIFFERENTIATED = {"vae"}  # fields whose networks gradients cross
LARGE = 50_000_000  # weights
ENCODE_BYTES = 3 * 1767 * 4  # per pixel: an autoencoder's forward and backward in float32 (core's own estimate, thrice)


class TurnTaker:
    """Stands in for an object on frozen networks; calling it or its methods loads the networks first.

    target: a module, or an object whose fields hold modules; device: where it works; room: bytes to keep free.
    Everything that is not a method is passed through, and it counts as an instance of the target's class.  A deep
    copy is a copy of the target alone.
    """

    def __init__(self, target, device: torch.device, room: int = 0):
        self._target, self._room = target, room
        holder = torch.nn.Module()  # the patcher sets attributes that some networks define as read-only properties
        holder.parts = torch.nn.ModuleList(modules_of(target))
        self._patcher = comfy.model_patcher.ModelPatcher(holder, torch.device(device), mm.unet_offload_device())

    def load(self) -> None:
        """Brings all weights to the device, moving other models away where that is needed."""
        mm.load_models_gpu([self._patcher], memory_required=self._room, force_full_load=True)
        device, holder = self._patcher.load_device, self._patcher.model
        if any(p.device.type != device.type for p in holder.parameters()):
            holder.to(device)  # --novram leaves plain modules behind, which cannot cast their weights as they go
        if not torch.is_inference_mode_enabled():
            make_ordinary(holder)

    @property
    def __class__(self):
        return type(self._target)

    def __call__(self, *args, **kwargs):
        self.load()
        return self._target(*args, **kwargs)

    def at_hand(self):
        """What it stands for, loaded: for who keeps the addresses of its weights for a while."""
        self.load()
        return self._target

    def __getattr__(self, name: str):
        if name.startswith("__") or name in ("_target", "_patcher", "_room"):
            raise AttributeError(name)
        value = getattr(self._target, name)
        if not inspect.ismethod(value):
            return value

        def loaded(*args, **kwargs):
            self.load()
            return value(*args, **kwargs)

        return loaded

    def __deepcopy__(self, memo):
        return copy.deepcopy(self._target, memo)


def make_ordinary(module: torch.nn.Module) -> None:
    """Replaces inference tensors among the weights: what was moved while another node ran could not be differentiated."""
    for part in module.modules():
        for name, value in part._parameters.items():
            if value is not None and value.is_inference():
                part._parameters[name] = torch.nn.Parameter(value.detach().clone(), False)
        for name, value in part._buffers.items():
            if value is not None and value.is_inference():
                part._buffers[name] = value.detach().clone()


def modules_of(thing) -> list[torch.nn.Module]:
    """The networks of an object: itself, or what its fields hold, each once."""
    if isinstance(thing, torch.nn.Module):
        return [thing]
    if isinstance(thing, (list, tuple)):
        values = thing
    else:
        values = vars(thing).values() if hasattr(thing, "__dict__") else ()
    nested = [m for v in values if isinstance(v, (torch.nn.Module, list, tuple)) or is_dataclass(v) for m in modules_of(v)]
    return list({id(m): m for m in nested}.values())


def is_large(network) -> bool:
    """Whether a network has so many weights that one thread is not enough for it."""
    return sum(p.numel() for m in modules_of(network) for p in m.parameters()) > LARGE


def take_turns(network: Same, device: torch.device) -> Same:
    """A loaded network of ``pipelines.networks`` with everything but its autoencoder under ComfyUI's management.

    On a CPU, the network itself.
    """
    device = torch.device(device)
    if device.type == "cpu":
        return network
    return cast(Same, under_management(network, device))  # what stands in for it counts as an instance of its class


def under_management(network, device: torch.device):
    """:func:`take_turns` on any device."""
    runtime = getattr(network, "runtime", None)
    if runtime is None:
        return TurnTaker(network, device)
    room = ENCODE_BYTES * network.image_size**2
    parts = {f.name: getattr(network, f.name) for f in fields(network) if f.init and f.name not in ("runtime", "conditioner")}
    wrapped = {name: TurnTaker(part, device) for name, part in parts.items() if _holds_networks(part)}
    inner = {f.name: getattr(runtime, f.name) for f in fields(runtime) if f.name not in DIFFERENTIATED}
    taking = {name: TurnTaker(part, device, room) for name, part in inner.items() if isinstance(part, torch.nn.Module)}
    return replace(network, runtime=replace(runtime, **taking), **wrapped)


def _holds_networks(part) -> bool:
    return (isinstance(part, torch.nn.Module) or is_dataclass(part)) and bool(modules_of(part))


def make_room(path: Path, device: torch.device) -> None:
    """Moves other models away so that the network at ``path`` (a file or a folder) fits.  Nothing on a CPU."""
    device = torch.device(device)
    if device.type != "cpu":
        mm.free_memory(1.1 * disk_size(path) + mm.extra_reserved_memory(), device)


def disk_size(path: Path) -> int:
    """Bytes of weights in a file, or in a folder of them."""
    path = Path(path)
    if path.is_file():
        return path.stat().st_size
    kinds = (".safetensors", ".bin", ".ckpt", ".pt")
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file() and p.suffix in kinds)
