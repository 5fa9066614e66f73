"""Reads StdGEN's and Era3D's UNets: published configuration and weights into diffusers' UNet2DConditionModel.

Key map (names in the files -> names here; ``tests/networks/test_stdgen_networks.py`` runs it on the complete lists of keys):

  all 686 names of Stable Diffusion 2.1's UNet         the same; conv_in has 8 input channels in the multi-view network
  <block>.norm_mv.*, <block>.attn_mv.to_{q,k,v,out.0}.*  the same, attached by ``attention.add_row_attention``
  class_embedding.linear_{1,2}.*                       multi-view: the same; canonicalizer: dead, not loaded
  camera_embedding.linear_{1,2}.*                      multi-view: the same (pose of the heads)
  camera_embedding.{0,2}.*                             canonicalizer: dead, not loaded
  {elevation,focal}_regressor.*                        the same, attached by ``conditions.add_pose_heads``
  reference UNet: conv_norm_out, conv_out, and of its
  last transformer everything behind norm1             never used; may be in the file, not loaded

Loading is strict: a name that is missing, left over, or of another shape is an InputError that says which.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ..core.errors import InputError
from ..core.modules import AnyModule
from .folders import config_of, read_json, read_state

log = logging.getLogger(__name__)
DEAD = re.compile(r"(class_embedding\.linear_[12]|camera_embedding\.[02])\.(weight|bias)$")
TAIL = re.compile(r"conv_norm_out\.|conv_out\.|up_blocks\.3\.attentions\.2\.(proj_out|transformer_blocks\.0\.(?!norm1\.))")
UNUSED = re.compile(f"(?:{DEAD.pattern})|(?:{TAIL.pattern})")  # what a reference UNet's file may hold besides
HEADED, HEADLESS = "a multi-view network with pose heads", "a multi-view network without pose heads (Era3D's -ortho release)"
CANONICAL = "a canonicalization network"


def variant_of(keys) -> str:
    """What kind of network has these keys, in words."""
    keys = set(keys)
    if any(".attn_mv." in k for k in keys):
        return HEADED if any(k.startswith("elevation_regressor.") for k in keys) else HEADLESS
    if "camera_embedding.0.weight" in keys:
        return CANONICAL
    if any(k.startswith(("synthesizer.", "lrm_generator.")) for k in keys):
        return "S-LRM"
    return "a plain Stable Diffusion UNet" if "conv_in.weight" in keys else "another network"


def check_variant(keys, wanted: tuple[str, ...], place: Path, remedy: str) -> None:
    """InputError naming the variant when it is none of ``wanted``."""
    found = variant_of(keys)
    if found not in wanted:
        raise InputError("checkpoint", " or ".join(wanted) + f" in {place}", found, remedy)


def fill(module: AnyModule, state: dict[str, Tensor], place, unused: re.Pattern | None = None,
         dtype: torch.dtype | None = None) -> AnyModule:
    """Puts ``state`` into a ``module`` built on the meta device, without a second copy; frozen, eval mode.

    unused: pattern of names that the state may have in excess.  InputError names what does not fit.
    """
    own = module.state_dict()
    missing, spare = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    shapes = [k for k in own if k in state and own[k].shape != state[k].shape]
    left = [k for k in spare if unused is None or not unused.match(k)]
    for what, names in (("missing", missing), ("unused", left), ("of another shape", shapes)):
        if names:
            shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            raise InputError("checkpoint", f"exactly the weights of this network in {place}", f"{what}: {shown}",
                             "The file is incomplete or belongs to another network; download it again.")
    if spare:
        log.info("%s: %d tensors are never used by this network, for example %s", place, len(spare), spare[0])
    wanted = {k: state[k].to(dtype) if dtype and state[k].is_floating_point() else state[k] for k in own}
    module.load_state_dict(wanted, strict=True, assign=True)
    return module.eval().requires_grad_(False)


def read_unet(folder: Path, component: str, wanted: tuple[str, ...], remedy: str) -> tuple[dict, dict[str, Tensor]]:
    """(configuration, weights) of a component folder that holds one of the ``wanted`` variants."""
    config = config_of(folder, component)
    state = read_state(folder / component)
    check_variant(state, wanted, folder / component, remedy)
    return config, state


def on_meta(build: Callable[[], AnyModule]) -> AnyModule:
    """The module with its shapes only; :func:`fill` brings the numbers."""
    with torch.device("meta"):
        return build()


def read_schedule_file(folder: Path, name: str, otherwise: dict) -> dict:
    """The scheduler's settings in ``folder/name``; ``otherwise`` where there is no such file."""
    path = Path(folder) / name / "scheduler_config.json"
    return read_json(path) if path.is_file() else dict(otherwise)
