"""Reads one component (a UNet, a text tower, ...) of a published folder, strictly and without a network.

A folder in the diffusers layout has one sub-folder per component, each with a ``config.json`` and weights.  The
component classes of diffusers and transformers read them; what this module adds is that nothing is left to luck:
every key of the file is used, every parameter of the network is in the file, and pickles are read as data only.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

import torch
from torch import Tensor

from ..core.errors import InputError
from ..core.modules import AnyModule
from ..io import plain_json
from ..io.archives import check_archive
from ..networks.noise import Prediction

log = logging.getLogger(__name__)
STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")
# Buffers that old files carry and newer classes compute; they hold no trained number.
COMPUTED = re.compile(r"(position_ids|relative_position_index)$")
_WEIGHTS = re.compile(r"^(?P<stem>[a-z_]+?)(?:\.(?P<variant>[A-Za-z_]\w*))?(?:-\d{5}-of-\d{5})?\.(?P<suffix>safetensors|bin)$")


def read_json(path: Path) -> dict:
    """A JSON object; InputError names the file when it is absent or broken."""
    try:
        data = plain_json.parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise InputError("checkpoint", f"the file {path.name} in {path.parent}", str(problem).splitlines()[0],
                         "Download this file again.") from problem
    if not isinstance(data, dict):
        raise InputError("checkpoint", f"a JSON object in {path}", type(data).__name__, "Download this file again.")
    return data


def optional_json(path: Path) -> dict:
    """A JSON object, or {} where there is no such file."""
    return read_json(path) if path.is_file() else {}


def config_of(folder: Path, component: str) -> dict:
    """The ``config.json`` of a component; InputError names the component when its folder is absent."""
    if not (folder / component).is_dir():
        have = sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
        raise InputError("checkpoint", f"a folder {component}/ in {folder}", ", ".join(have) or "no folders",
                         "This is not a folder of the expected kind, or its download is incomplete.")
    return read_json(folder / component / "config.json")


def weight_files(folder: Path) -> list[tuple[str, str]]:
    """(variant, suffix) of all complete sets of weights in a component folder, best first.

    EMA weights come before plain ones (which may be the raw training weights beside them), then half precision;
    ``non_ema`` is last.  safetensors come before pickles.
    """
    found = set()
    for path in folder.iterdir() if folder.is_dir() else ():
        match = _WEIGHTS.match(path.name)
        if match and match["stem"] in STEMS:
            found.add((match["variant"] or "", match["suffix"]))
    return sorted(found, key=lambda f: (_rank(f[0]), f[1] != "safetensors", f[0]))


def _rank(variant: str) -> int:
    if "non_ema" in variant:
        return 3
    return 0 if "ema" in variant else 1 if not variant else 2


def load_component(kind: type, folder: Path, component: str, device, dtype: torch.dtype, unused=COMPUTED,
                   absent=None) -> AnyModule:
    """A component of class ``kind`` (diffusers or transformers), frozen, in eval mode.

    unused: pattern of keys that the file may have in excess; absent: of parameters that it may lack (both are
    matched against full names; None = none may).  Raises InputError naming the first keys that do not fit.
    """
    place = folder / component if component else folder
    files = weight_files(place)
    if not files:
        raise InputError("checkpoint", f"a file of weights in {place}", "none",
                         "Put its .safetensors file there (or a .bin file of weights).")
    variant, suffix = files[0]
    for file in place.glob("*.bin"):
        check_archive(file)
    try:
        options = {"variant": variant} if variant else {}
        module, info = kind.from_pretrained(str(place), local_files_only=True, output_loading_info=True,
                                            use_safetensors=suffix == "safetensors", **options, **_quiet(kind))
    except Exception as problem:  # whatever the two libraries raise, the file is what is wrong
        raise InputError("checkpoint", f"weights of a {kind.__name__} in {place}", first_line(problem),
                         "The file is damaged or of another kind of network; download it again.") from problem
    _account(kind.__name__, place, info, unused, absent)
    return module.to(device=device, dtype=dtype).eval().requires_grad_(False)


def _quiet(kind: type) -> dict:
    """diffusers: ordinary loading, because the other way needs a package that ComfyUI does not bring."""
    return {"low_cpu_mem_usage": False} if kind.__module__.startswith("diffusers") else {}


def _account(name: str, place: Path, info: dict, unused, absent) -> None:
    """InputError unless every key of the file and every parameter of the network has found its partner."""
    def left(keys, pattern) -> list[str]:
        names = [k if isinstance(k, str) else str(k[0]) for k in keys]
        return sorted(k for k in names if pattern is None or not pattern.search(k))

    for what, keys in (("missing", left(info["missing_keys"], absent)), ("unused", left(info["unexpected_keys"], unused)),
                       ("of another shape", left(info["mismatched_keys"], None))):
        if keys:
            shown = ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
            raise InputError("checkpoint", f"exactly the weights of a {name} in {place}", f"{what}: {shown}",
                             "The file belongs to another network than its config.json; download both from one place.")
    extra = [str(k) for k in info["unexpected_keys"]]
    if extra:
        log.info("%s: %d keys hold nothing this network uses, for example %s", place, len(extra), sorted(extra)[0])


def first_line(problem: BaseException) -> str:
    """The first non-empty line of an error, short enough for a sentence."""
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    return (lines[0] if lines else type(problem).__name__)[:200].rstrip(".")


def read_state(folder: Path) -> dict[str, Tensor]:
    """The tensors of a small component without a class of its own, by name.  Pickles are read as data only."""
    files = weight_files(folder)
    if not files:
        raise InputError("checkpoint", f"a file of weights in {folder}", "none", "Download the folder again.")
    variant, suffix = files[0]
    matches = [p for p in sorted(folder.iterdir()) if (m := _WEIGHTS.match(p.name)) and m["stem"] in STEMS
               and (m["variant"] or "", m["suffix"]) == (variant, suffix)]
    check_archive(matches[0])
    try:
        if suffix == "safetensors":
            from safetensors.torch import load_file

            return load_file(str(matches[0]))
        return torch.load(matches[0], map_location="cpu", weights_only=True)
    except Exception as problem:
        raise InputError("checkpoint", f"readable weights in {matches[0]}", first_line(problem),
                         "Download the file again.") from problem


def read_schedule(folder: Path) -> tuple[Tensor, Prediction]:
    """(alphas_cumprod [T], prediction) of ``scheduler/scheduler_config.json``.

    Without the file: Stable Diffusion's schedule and epsilon.  A schedule rescaled to zero terminal signal
    (Lin et al. 2024) keeps 2^-24 of it, so that nothing is divided by zero.
    """
    from diffusers import DDPMScheduler

    config = optional_json(folder / "scheduler" / "scheduler_config.json")
    wanted = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "rescale_betas_zero_snr")
    standard = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    given = {k: config[k] for k in wanted if config.get(k) is not None}
    alphas = DDPMScheduler(**{**standard, **given}).alphas_cumprod.float().clamp_min(2.0**-24)
    prediction = config.get("prediction_type", "epsilon")
    if prediction not in ("epsilon", "v_prediction", "sample"):
        raise InputError("checkpoint", "a model that predicts epsilon, v or the sample", repr(prediction),
                         "Load it with ComfyUI's own loaders and wire it through Model as Text Network.")
    return alphas, prediction
