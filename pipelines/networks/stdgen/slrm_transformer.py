"""S-LRM's image-to-triplane transformer (S-C.5) with LoRA in its attentions (Hu et al. 2022; S-C.6)."""

from __future__ import annotations

import torch
from torch import Tensor

from .slrm_config import SlrmConfig

Linear, LayerNorm, ConvTranspose2d = torch.nn.Linear, torch.nn.LayerNorm, torch.nn.ConvTranspose2d
Parameter = torch.nn.Parameter
functional = torch.nn.functional
# LoRA's name -> the weight that it updates
LORA_TARGETS = {"q": "q_proj_weight", "k": "k_proj_weight", "v": "v_proj_weight", "qkv": "in_proj_weight",
                "o": "out_proj.weight"}


class Attention(torch.nn.Module):
    """Multi-head attention without biases, from its input to itself or to tokens of another width.

    With ``rank`` > 0 every projection is W x + (B A x) / rank with trainable A and B, B starting at zero.
    """

    q_proj_weight: Parameter
    k_proj_weight: Parameter
    v_proj_weight: Parameter
    in_proj_weight: Parameter

    def __init__(self, width: int, heads: int, context: int | None = None, rank: int = 0):
        super().__init__()
        self.heads, self.rank, self.is_cross = heads, rank, context is not None
        if context is not None:
            for name, inputs in (("q", width), ("k", context), ("v", context)):
                self._add(name, LORA_TARGETS[name], width, inputs)
        else:
            self._add("qkv", "in_proj_weight", 3 * width, width)
        self._add("o", None, width, width)
        self.out_proj = Linear(width, width, bias=False)

    def _add(self, name: str, weight: str | None, outputs: int, inputs: int) -> None:
        if weight is not None:
            self.register_parameter(weight, Parameter(torch.nn.init.xavier_uniform_(torch.empty(outputs, inputs))))
        if self.rank:
            first = torch.nn.init.kaiming_uniform_(torch.empty(self.rank, inputs), a=5**0.5)
            self.register_parameter(f"{name}_lora_A", Parameter(first))
            self.register_parameter(f"{name}_lora_B", Parameter(torch.zeros(outputs, self.rank)))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """[B, L, C] (and [B, M, D]) -> [B, L, C]."""
        if self.is_cross:
            assert context is not None, "cross-attention wants tokens to attend to"
            parts = (self._project("q", self.q_proj_weight, x), self._project("k", self.k_proj_weight, context),
                     self._project("v", self.v_proj_weight, context))
        else:
            parts = self._project("qkv", self.in_proj_weight, x).chunk(3, -1)
        parts = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        mixed = functional.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2)
        return self._project("o", self.out_proj.weight, mixed)

    def _project(self, name: str, weight: Tensor, x: Tensor) -> Tensor:
        out = functional.linear(x, weight)
        if not self.rank:
            return out
        a, b = getattr(self, f"{name}_lora_A"), getattr(self, f"{name}_lora_B")
        return out + functional.linear(functional.linear(x, a), b) / self.rank


class Block(torch.nn.Module):
    """Cross-attention to the pictures' tokens, self-attention, perceptron; each behind a normalization."""

    def __init__(self, config: SlrmConfig):
        super().__init__()
        width = config.width
        self.norm1, self.norm2, self.norm3 = (LayerNorm(width) for _ in range(3))
        self.cross_attn = Attention(width, config.heads, config.encoder.width, config.lora_rank)
        self.self_attn = Attention(width, config.heads, rank=config.lora_rank)
        nothing = torch.nn.Identity()  # dropout, in training of old; keeps the released file's numbering
        self.mlp = torch.nn.Sequential(Linear(width, 4 * width), torch.nn.GELU(), nothing, Linear(4 * width, width))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        x = x + self.cross_attn(self.norm1(x), context)
        x = x + self.self_attn(self.norm2(x))
        return x + self.mlp(self.norm3(x))


class TriplaneTransformer(torch.nn.Module):
    """Learned tokens, plane by plane, row by row, that gather a triplane from the pictures' tokens."""

    def __init__(self, config: SlrmConfig):
        super().__init__()
        self.side = config.plane_tokens
        self.pos_embed = Parameter(torch.randn(1, 3 * self.side**2, config.width) * config.width**-0.5)
        self.layers = torch.nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = LayerNorm(config.width, eps=1e-6)
        self.deconv = ConvTranspose2d(config.width, config.plane_channels, kernel_size=2, stride=2)

    def forward(self, context: Tensor) -> Tensor:
        """[B, M, D] tokens -> planes [B, 3, C, 2 side, 2 side]."""
        x = self.pos_embed.expand(len(context), -1, -1)
        for layer in self.layers:
            x = layer(x, context)
        x = self.norm(x).reshape(len(context) * 3, self.side, self.side, -1).permute(0, 3, 1, 2)
        return self.deconv(x).unflatten(0, (-1, 3))
