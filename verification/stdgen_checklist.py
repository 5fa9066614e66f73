"""What was assumed about StdGEN's published diffusion folders, checked against the files themselves (S-K.1 to S-K.3).

Reads configurations and names only, no weights, so that it can run before each load and be shown to the person.
"""

from __future__ import annotations

from pathlib import Path

import torch

from ..pipelines.core.errors import InputError
from ..pipelines.loaders.folders import optional_json, read_state, weight_files
from ..pipelines.loaders.multiview_folder import PROMPT_FILES, make_prompts, read_prompts
from ..pipelines.networks.stdgen.schedule import LEADING, ZERO_SNR

# component -> number of tensors that the reference definitions give it (S-G)
CANONICAL_COUNTS, MULTIVIEW_COUNTS = {"unet": 694, "ref_unet": 670}, {"unet": 838}
STOCK_COUNTS = {"unet": (838, 802)}
SCHEDULERS = {"canonical": ("scheduler-zerosnr", ZERO_SNR), "multiview": ("scheduler", LEADING), "stock": ("scheduler", LEADING)}
COUNTS = {"canonical": CANONICAL_COUNTS, "multiview": MULTIVIEW_COUNTS, "stock": STOCK_COUNTS}
DEFAULTS = {"num_train_timesteps": 1000, "prediction_type": "epsilon", "timestep_spacing": "leading", "set_alpha_to_one": True,
            "rescale_betas_zero_snr": False}  # of diffusers' class, for entries that a file leaves out


def checklist(folder: Path, kind: str) -> list[str]:
    """Remarks on a folder; each begins with "ok" or "differs".  kind: "canonical", "multiview" or "stock"."""
    folder = Path(folder)
    lines = [_count(folder / component, count) for component, count in COUNTS[kind].items()]
    return [*lines, *_scheduler(folder, *SCHEDULERS[kind])]


def _count(place: Path, expected) -> str:
    found, expected = len(tensor_names(place)), expected if isinstance(expected, tuple) else (expected,)
    words = " or ".join(str(e) for e in expected)
    if found in expected:
        return f"ok: {place.name} has {found} tensors"
    return f"differs: {place.name} has {found} tensors, expected {words}; missing ones would be an error, extra ones are not used"


def _scheduler(folder: Path, name: str, expected: dict) -> list[str]:
    given = optional_json(folder / name / "scheduler_config.json")
    if not given:
        return [f"differs: no {name}/scheduler_config.json; used instead: {_words(expected)}"]
    found = {k: given.get(k, DEFAULTS.get(k)) for k in expected}
    wrong = {k: found[k] for k in expected if found[k] != expected[k]}
    if not wrong:
        return [f"ok: {name} is {_words(expected)}"]
    return [f"differs: {name} says {_words(wrong)}, expected {_words({k: expected[k] for k in wrong})}; the file is followed"]


def _words(settings: dict) -> str:
    return ", ".join(f"{k} {v}" for k, v in settings.items())


def tensor_names(place: Path) -> list[str]:
    """Names of the tensors in a component folder's safetensors file, from its header; of a pickle, by reading it."""
    files = weight_files(place)
    if not files:
        raise InputError("checkpoint", f"a file of weights in {place}", "none", "Put its .safetensors file there.")
    if files[0][1] == "safetensors":
        from safetensors import safe_open

        variant = f".{files[0][0]}" if files[0][0] else ""
        with safe_open(str(sorted(place.glob(f"*{variant}.safetensors"))[0]), "pt") as file:
            return sorted(file.keys())
    return sorted(read_state(place))


def prompt_difference(folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> float:
    """Largest difference between the published prompt embeddings and what the folder's text encoder makes (S-B.1).

    Half precision's rounding (about 0.01) is expected.  InputError where the published files are not in the folder.
    """
    if not all((Path(folder) / name).is_file() for name in PROMPT_FILES):
        raise InputError("checkpoint", " and ".join(PROMPT_FILES) + f" in {folder}", "not both", "Copy them there.")
    return float((read_prompts(folder, device, dtype) - make_prompts(folder, device, dtype)).abs().max())
