"""Self-attention that looks at another picture: the reference's keys and values in place of a view's own.

Mutual self-attention as in MasaCtrl (Cao et al. 2023) and HiFi-123 (Yu et al. 2024), on diffusers' UNet2DConditionModel.
The reference's keys and values are recorded once per noise level (a :class:`Bank`) and injected while other pictures
are denoised; or reference and views share a batch ("paired"), which costs a network evaluation more per step and gives
the same numbers.  Layers are chosen by name, never by a position in some dictionary (H-A.5).
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from torch import Tensor

from ..core.errors import InputError
from ..core.modules import AnyModule

SELF = re.compile(r"(down_blocks\.\d+|mid_block|up_blocks\.\d+)\.attentions\.\d+\.transformer_blocks\.\d+\.attn1")
RELEASED = 12  # the released code injects from this layer on, out of 16 in order of execution
SHARE = RELEASED / 16
Inject = Literal["attention", "features"]
INJECT = get_args(Inject)


def self_attentions(unet: AnyModule) -> list[str]:
    """Names of the UNet's self-attention layers in order of execution: down, middle, up."""
    unet = getattr(unet, "attention_unet", unet)
    order = {"down_blocks": 0, "mid_block": 1, "up_blocks": 2}
    names = [name for name, module in unet.named_modules() if SELF.fullmatch(name) and hasattr(module, "to_k")]
    return sorted(names, key=lambda n: (order[n.split(".")[0]], [int(p) for p in n.split(".") if p.isdigit()]))


def late_layers(unet: AnyModule, share: float = SHARE) -> tuple[str, ...]:
    """The self-attentions after ``share`` of all of them have run.

    0.75 gives the four layers of Stable Diffusion that the released code injects into: ``up_blocks.2.attentions.2`` and
    the three of ``up_blocks.3``.
    """
    names = self_attentions(unet)
    return tuple(names[round(share * len(names)) :])


def check_layers(unet: AnyModule, layers) -> tuple[str, ...]:
    """Full names of ``layers``, each a name or its beginning ("up_blocks.3"); InputError for what matches nothing."""
    names, chosen = self_attentions(unet), []
    for layer in layers:
        found = [n for n in names if n == layer or n.startswith(layer + ".")]
        if not found:
            raise InputError("layers", "names of self-attention layers, such as " + ", ".join(names[-3:]), repr(layer),
                             "Choose among: " + ", ".join(n.split(".transformer")[0] for n in names) + ".")
        chosen += found
    return tuple(n for n in names if n in chosen)


@dataclass(frozen=True)
class Seen:
    """What one layer saw of the reference at one rung: key and value [1, heads, L, d], output features [1, L, C] or None."""

    key: Tensor
    value: Tensor
    features: Tensor | None = None

    def only(self, tokens: Tensor) -> "Seen":
        """Restricted to the tokens [L] that are true; features, which belong to places, are dropped."""
        return Seen(self.key[:, :, tokens], self.value[:, :, tokens])


@dataclass
class Bank:
    """The reference's attention by (rung, layer), in the network's own precision.

    mask: [h, w] latent-sized coverage or None: with one, views see only the reference's covered tokens.
    """

    mask: Tensor | None = None
    entries: dict[tuple[int, str], Seen] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """Memory of all entries."""
        tensors = [t for s in self.entries.values() for t in (s.key, s.value, s.features) if t is not None]
        return sum(t.numel() * t.element_size() for t in tensors)

    def put(self, rung: int, layer: str, seen: Seen) -> None:
        """Keeps an entry of one reference, without the tokens that the mask hides."""
        if len(seen.key) != 1:
            raise ValueError(f"one reference at a time, got {len(seen.key)}")
        if self.mask is not None:
            tokens = covered_tokens(self.mask, seen.key.shape[2])
            seen = seen.only(tokens.to(seen.key.device))
        self.entries[rung, layer] = seen

    def get(self, rung: int, layer: str) -> Seen:
        """The entry; ValueError when nothing was recorded there."""
        if (rung, layer) not in self.entries:
            raise ValueError(f"the reference was not recorded at rung {rung} in {layer}")
        return self.entries[rung, layer]


def covered_tokens(mask: Tensor, count: int) -> Tensor:
    """[count] bool: which of a square layer's tokens lie at least half in ``mask`` [h, w]; all, if none does."""
    height, width = mask.shape
    shrink = round((height * width / count) ** 0.5)
    small = torch.nn.functional.adaptive_avg_pool2d(mask[None, None].float(), (height // shrink, width // shrink))
    tokens = small.flatten() >= 0.5
    return tokens if bool(tokens.any()) else torch.ones_like(tokens)


class SharedAttention:
    """Controls the chosen layers of one UNet; made by :func:`shared_attention`.

    Outside the three modes every layer computes what it always did, by the processor it came with.
    """

    def __init__(self, layers: tuple[str, ...]):
        self.layers, self.mode, self.bank, self.rung = layers, "off", Bank(), 0
        self.parts, self.with_features, self.what = 1, False, "attention"

    @contextmanager
    def recording(self, bank: Bank, rung: int, features: bool = False):
        """The network's next pictures are the reference's, at ``rung``."""
        self.bank, self.rung, self.with_features = bank, rung, features
        with self._in("record"):
            yield

    @contextmanager
    def injecting(self, bank: Bank, rung: int, what: Inject = "attention"):
        """The network's next pictures see the reference as ``bank`` has it at ``rung``.

        what: "attention" replaces keys and values; "features" the layers' outputs (Plug-and-Play's way, Tumanyan et
              al. 2023; only sensible for a view in which everything is where it is in the reference).
        """
        if what not in INJECT:
            raise ValueError(f"what must be one of {INJECT}, got {what!r}")
        self.bank, self.rung, self.what = bank, rung, what
        with self._in("inject"):
            yield

    @contextmanager
    def paired(self, parts: int = 2):
        """The next batch is ``parts`` equal groups (guidance halves), the first of each group being the reference."""
        self.parts = parts
        with self._in("pair"):
            yield

    @contextmanager
    def _in(self, mode: str):
        before, self.mode = self.mode, mode
        try:
            yield
        finally:
            self.mode = before

    def swap(self, layer: str, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [B, heads, L, d] that ``layer`` shall attend to, for its own ones."""
        if self.mode == "pair":
            return _first_of_group(key, self.parts), _first_of_group(value, self.parts)
        if self.mode == "inject":
            seen = self.bank.get(self.rung, layer)
            return _fill(seen.key, len(key)), _fill(seen.value, len(key))
        return key, value


@contextmanager
def shared_attention(unet: AnyModule, layers):
    """A :class:`SharedAttention` on ``layers`` (names, or their beginnings) of the UNet; undone at the end."""
    names, unet = check_layers(unet, layers), getattr(unet, "attention_unet", unet)
    control = SharedAttention(names)
    modules = {name: unet.get_submodule(name) for name in names}
    before = {name: module.processor for name, module in modules.items()}
    try:
        for name, module in modules.items():
            module.processor = _Processor(control, name, before[name])
        yield control
    finally:
        for name, module in modules.items():
            module.processor = before[name]


class _Processor:
    """diffusers' attention processor of one self-attention layer."""

    def __init__(self, control: SharedAttention, layer: str, usual):
        self.control, self.layer, self.usual = control, layer, usual

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None, **extra):
        control = self.control
        if control.mode == "off":
            return self.usual(attn, hidden_states, encoder_hidden_states, attention_mask, temb, **extra)
        if encoder_hidden_states is not None or attention_mask is not None or _unusual(attn):
            raise InputError("layers", "plain self-attention", self.layer, "Leave this layer out.")
        query, key, value = (_heads(f(hidden_states), attn.heads) for f in (attn.to_q, attn.to_k, attn.to_v))
        seen_key, seen_value = control.swap(self.layer, key, value)
        mixed = torch.nn.functional.scaled_dot_product_attention(query, seen_key, seen_value)
        mixed = mixed.transpose(1, 2).reshape(hidden_states.shape[0], -1, query.shape[1] * query.shape[3])
        output = attn.to_out[1](attn.to_out[0](mixed)) / attn.rescale_output_factor
        if control.mode == "record":
            features = output.detach().clone() if control.with_features else None
            control.bank.put(control.rung, self.layer, Seen(key.detach().clone(), value.detach().clone(), features))
        if control.mode == "inject" and control.what == "features":
            features = control.bank.get(control.rung, self.layer).features
            if features is None:
                raise ValueError(f"no features were recorded at rung {control.rung} in {self.layer}")
            return _fill(features, len(output))
        return output


def _unusual(attn) -> bool:
    """Whether the layer does more than the transformer blocks of Stable Diffusion's UNets do."""
    return any(getattr(attn, name, None) is not None for name in ("group_norm", "spatial_norm", "norm_q", "norm_k"))


def _heads(x: Tensor, heads: int) -> Tensor:
    """[B, L, C] -> [B, heads, L, C / heads]."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _first_of_group(x: Tensor, parts: int) -> Tensor:
    groups = x.unflatten(0, (parts, -1))
    return groups[:, :1].expand_as(groups).flatten(0, 1)


def _fill(x: Tensor, batch: int) -> Tensor:
    """The one reference's row for each of ``batch`` pictures."""
    return x.expand(batch, *x.shape[1:])
