"""Loads S-LRM checkpoints strictly: every weight found, every weight used, the variant named (S-C.1, S-C.6, S-K).

Names in the file are the network's own (``encoder.``, ``transformer.``, ``synthesizer.``), bare or behind ``lrm_generator.``
and ``module.``.  A file may hold LoRA updates beside their base weights; they are merged in float32 unless training wants
them apart.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ..core.errors import InputError
from ..networks.stdgen.slrm import Slrm, SlrmFile
from ..networks.stdgen.slrm_config import RELEASED, SlrmConfig
from ..networks.stdgen.slrm_transformer import LORA_TARGETS
from .folders import first_line
from .safe_pickle import load_pickle
from .stdgen_files import fill, on_meta

PREFIXES = ("module.", "lrm_generator.")
PARTS = ("encoder.", "transformer.", "synthesizer.")
UNUSED = re.compile(r".*(plane_axes|position_ids|num_batches_tracked)$")  # buffers that hold no trained number
_LORA = re.compile(r"^(?P<layer>.+\.)(?P<name>qkv|q|k|v|o)_lora_(?P<half>[AB])$")


def load_slrm(
    path: Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    kind: str = "mesh",
    merge: bool = True,
    config: SlrmConfig = RELEASED,
) -> SlrmFile:
    """A checkpoint (.safetensors, or .pth / .ckpt read as data only) as a frozen network in eval mode.

    kind:  "mesh" or "nerf": the variant that is needed; the other one is refused by name.
    dtype: of encoder and transformer; the decoders stay in float32.
    merge: LoRA updates are added to their weights; otherwise they stay trainable parameters of their own.
    config: sizes of the network that the file is expected to hold; its kind and rank follow the file.
    Raises InputError naming a missing weight, one too many, one of another shape, or the wrong variant.
    """
    path = Path(path)
    network, report = from_state(read_checkpoint(path), path.name, kind=kind, merge=merge, config=config)
    network = network.to(device=device, dtype=dtype)
    network.synthesizer.float()  # small, and distances need their digits
    return SlrmFile(network, report)


def load_network(path: Path, device: torch.device | str = "cpu") -> Slrm:
    """The network of :func:`load_slrm` alone, as the nodes use it."""
    return load_slrm(path, device=device).network


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """name -> tensor of a checkpoint file, names without prefixes."""
    path = Path(path)
    if not path.is_file():
        raise InputError("checkpoint", "the file of an S-LRM network", f"no file {path}", "Check the path.")
    if path.suffix.lower() == ".safetensors":
        from safetensors.torch import load_file

        try:
            state = load_file(str(path))
        except Exception as problem:  # whatever the library says, the file is what is wrong
            raise InputError(
                "checkpoint", f"readable weights in {path.name}", first_line(problem), "Download the file again."
            ) from problem
    else:
        state = load_pickle(path)
    return strip(state)


def strip(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state without the prefixes of training frameworks; names behind other prefixes are left out then."""
    for prefix in PREFIXES * 2:
        inner = {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
        if inner and not any(k.startswith(PARTS) for k in state):
            state = inner
    return state


def variant_of(state: dict) -> str:
    """ "mesh", "nerf", or in words what else has these names."""
    decoder = "synthesizer.decoder."
    if not all(any(k.startswith(part) for k in state) for part in ("encoder.model.", "transformer.", "synthesizer.")):
        return "another network"
    if not any(k.startswith(decoder + "semantic_net.") for k in state):
        return "an InstantMesh network without semantics"
    mesh, nerf = (any(k.startswith(decoder + name) for k in state) for name in ("net_sdf.", "net."))
    return "mesh" if mesh else "nerf" if nerf else "an S-LRM without decoders"


def from_state(
    state: dict[str, Tensor], place: str, *, kind: str = "mesh", merge: bool = True, config: SlrmConfig = RELEASED
) -> tuple[Slrm, list[str]]:
    """(frozen network, report) from tensors by name; ``place`` is what errors call the file.  May be on the meta device."""
    found = variant_of(state)
    if found != kind:
        words = {"mesh": "the mesh variant of S-LRM", "nerf": "the NeRF variant of S-LRM (training stages 1 and 2)"}
        raise InputError(
            "checkpoint",
            f"{words[kind]} in {place}",
            words.get(found, found),
            "Choose the other file; the surface extraction needs StdGEN-mesh-slrm.",
        )
    rank = lora_rank(state)
    report = [
        f"{found} variant, {len(state)} weights, " + (f"LoRA of rank {rank}" if rank else "no LoRA: used as it is")
    ]
    unmerged = replace(config, kind=kind, lora_rank=rank)
    network = on_meta(lambda: Slrm(unmerged))
    if rank:
        report += _look_at_lora(state)
        check_names(network, state, place)  # before merging, so that errors speak of the names in the file
    if rank and merge:
        state = merged(state)
        network = on_meta(lambda: Slrm(replace(unmerged, lora_rank=0)))
    return fill(network, state, place, UNUSED, torch.float32), report


def check_names(network: Slrm, state: dict[str, Tensor], place: str) -> None:
    """InputError naming weights of ``network`` that the state lacks."""
    missing = sorted(network.state_dict().keys() - state.keys())
    if missing:
        shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise InputError(
            "checkpoint",
            f"exactly the weights of an S-LRM in {place}",
            f"missing: {shown}",
            "The file is incomplete; download it again.",
        )


def lora_rank(state: dict[str, Tensor]) -> int:
    """Rank of the updates in a state, 0 without any."""
    ranks = {v.shape[0] for k, v in state.items() if k.endswith("_lora_A")}
    return max(ranks, default=0)


def merged(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state with every W replaced by W + B A / rank, computed in float32, and without the updates.

    Raises InputError for an update without its other half or without its weight.
    """
    out = {k: v for k, v in state.items() if not _LORA.match(k)}
    for key in sorted(state):
        match = _LORA.match(key)
        if not match or match["half"] == "B":
            continue
        partner, target = key[:-1] + "B", match["layer"] + LORA_TARGETS[match["name"]]
        for needed in (partner, target):
            if needed not in state:
                raise InputError("checkpoint", f"{needed} beside {key}", "no such weight", "Download the file again.")
        first, second = state[key].float(), state[partner].float()
        out[target] = state[target].float() + second @ first / first.shape[0]
    return out


def _look_at_lora(state: dict[str, Tensor]) -> list[str]:
    """What a person should know about the updates (S-K.4)."""
    halves = {k: v for k, v in state.items() if k.endswith("_lora_B")}
    if any(v.is_meta for v in halves.values()):
        return []
    idle = sorted(k for k, v in halves.items() if not bool(v.any()))
    if not idle:
        return [f"{len(halves)} LoRA updates, none of them zero"]
    return [f"warning: {len(idle)} of {len(halves)} LoRA updates are zero, for example {idle[0]}"]
