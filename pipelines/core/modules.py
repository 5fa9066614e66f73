"""The type of networks that other libraries define."""

from typing import Any

# A torch.nn.Module of diffusers, transformers, open_clip or of a checkpoint's own shape.  Their attributes (config, dtype,
# submodules) are made at run time, so a checker knows nothing of them: it sees Tensor | Module for each.
AnyModule = Any
