"""Every key of a checkpoint and what became of it: nothing is left over in silence."""

from __future__ import annotations

import re
from collections import Counter

from torch import Tensor

from ..core.errors import InputError

# What published checkpoints carry and these networks do not need: pattern of whole names, reason.
_NEEDLESS = (
    (r"(betas|alphas_cumprod(_prev)?|sqrt_(one_minus_|recip_|recipm1_)?alphas_cumprod|log_one_minus_alphas_cumprod"
     r"|posterior_\w+|lvlb_weights|logvar|scale_factor|denoiser\.sigmas)", "noise schedule"),
    (r"model_ema\.(decay|num_updates)", "bookkeeping of the moving average"),
    (r"first_stage_model\.(loss|discriminator)\..+", "training loss of the autoencoder"),
    (r"(cond_stage_model|conditioner)\..*position_ids", "counted positions"),
)


class Ledger:
    """Takes a checkpoint apart.  ``state``: name -> tensor; ``used``: part -> number of its tensors."""

    def __init__(self, state: dict[str, Tensor]):
        self.state = state
        self._left = dict(state)
        self.used: Counter[str] = Counter()

    def take(self, prefix: str, part: str) -> dict[str, Tensor]:
        """All tensors under ``prefix``, without it; they are ``part`` from now on."""
        found = [name for name in self._left if name.startswith(prefix)]
        self.used[part] += len(found)
        return {name[len(prefix) :]: self._left.pop(name) for name in found}

    def give_back(self, prefix: str, names, part: str) -> None:
        """Names of ``part`` that had no place in it count as not used."""
        for name in names:
            self._left[prefix + name] = self.state[prefix + name]
            self.used[part] -= 1

    def drop(self, pattern: str, reason: str) -> None:
        """Accounts for names that match ``pattern`` as a whole and are known not to be needed."""
        self.drop_names([name for name in self._left if re.fullmatch(pattern, name)], reason)

    def drop_names(self, names, reason: str) -> None:
        """Accounts for these names, which are known not to be needed."""
        for name in names:
            del self._left[name]
            self.used[f"not needed: {reason}"] += 1

    def close(self, title: str) -> dict[str, int]:
        """part -> count; InputError naming the keys that nobody asked for."""
        for pattern, reason in _NEEDLESS:
            self.drop(pattern, reason)
        if self._left:
            names = sorted(self._left)
            shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
            raise InputError("checkpoint", "a file of which every tensor has a known place", f"{title} with {shown}",
                             "It is another kind of network. If ComfyUI loads it, wire its MODEL through Model as Text "
                             "Network or Model as View Network instead.")
        return dict(self.used)
