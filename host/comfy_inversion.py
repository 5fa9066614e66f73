"""Textual inversion with a MODEL and CLIP: a ``pipelines.stages.objects.textual_inversion.TextInverter`` on ComfyUI's networks.

The word's vectors are the only thing that learns, but gradients cross the text towers and the UNet, so both are
private copies here, made when the search starts, with all weight patches applied.
"""

from __future__ import annotations

import copy
import re
from dataclasses import replace

import torch
from torch import Tensor

from ..pipelines.core.errors import InputError
from ..pipelines.core.modules import AnyModule
from ..pipelines.networks.learned_words import LearnedWord
from .comfy_denoiser import ModelTextDenoiser
from .comfy_twin import applied, differentiable


def without_overwriting(network: AnyModule) -> AnyModule:
    """The network, its normalizations reading copies: core's text towers add in place to what backward needs."""
    for module in network.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.register_forward_pre_hook(lambda _, inputs: (inputs[0].clone(), *inputs[1:]))
    return network


def towers(clip) -> dict[str, tuple]:
    """(text tower, tokenizer) by ComfyUI's name of the tower, for the kinds whose embedding files it can read."""
    found = {name: (getattr(clip.cond_stage_model, name, None), getattr(clip.tokenizer, name, None))
             for name in ("clip_l", "clip_h", "clip_g")}
    found = {name: pair for name, pair in found.items() if None not in pair}
    extra = [n for n, m in clip.cond_stage_model.named_children() if n not in found and any(True for _ in m.parameters())]
    if not found or extra:
        raise InputError("text_network", "a text network with CLIP text towers only",
                         ", ".join(extra) or type(clip.cond_stage_model).__name__,
                         "Learn the word with Stable Diffusion 1.x, 2.x or SDXL.")
    return found


def knowing(clip, word: LearnedWord):
    """A CLIP whose prompts may name the word; files of embeddings are found as before."""
    known = clip.clone()
    known.tokenizer = copy.copy(clip.tokenizer)
    for name, (tower, tokenizer) in towers(clip).items():
        width = _table(tower).shape[1]
        if name not in word.vectors or word.vectors[name].shape[-1] != width:
            got = {key: tuple(v.shape) for key, v in word.vectors.items()}
            raise InputError("embedding", f"{name} of width {width}", f"{word.name!r} with {got}",
                             "It was learned for another network: learn it again for this one.")
        taught = copy.copy(tokenizer)
        taught.embedding_directory = taught.embedding_directory or []
        taught._try_get_embedding = _lookup(tokenizer, word, name)
        setattr(known.tokenizer, name, taught)
    return known


def _lookup(tokenizer, word: LearnedWord, tower: str):
    """What core's tokenizer asks about the text after 'embedding:': (vectors, name, rest of the text)."""
    def find(text: str):
        match = re.match(rf"{re.escape(word.name)}(?![\w-])", text)
        if match is None:
            return tokenizer._try_get_embedding(text) if tokenizer.embedding_directory else (None, text.split()[0], "")
        return word.vectors[tower], word.name, text[match.end():].strip()

    return find


class ModelInverter:
    """See ``TextInverter``; built from a :class:`ModelTextDenoiser`.

    half: whether the UNet computes in half precision, so that the loss has to be scaled.
    """

    def __init__(self, denoiser: ModelTextDenoiser):
        self.denoiser, backbone = denoiser, denoiser.backbone
        towers(denoiser.clip)  # refuses before anything is copied
        self.network = differentiable(backbone.model)
        self.clip = copy.copy(denoiser.clip)
        self.clip.cond_stage_model = without_overwriting(differentiable(denoiser.clip.patcher))
        self.options = backbone.model.model_options.get("transformer_options", {})
        self.device, self.path = backbone.model.load_device, backbone.path
        self.half = self.network.get_dtype_inference() == torch.float16

    @property
    def alphas_cumprod(self) -> Tensor:
        """[T] cumulative noise schedule."""
        return self.denoiser.alphas_cumprod

    @property
    def image_size(self) -> int:
        """Side of the pictures ``encode`` wants, pixels."""
        return self.denoiser.image_size

    def widths(self) -> dict[str, int]:
        """Width of a token by text tower."""
        return {name: _table(tower).shape[1] for name, (tower, _) in towers(self.clip).items()}

    def start(self, text: str) -> dict[str, Tensor]:
        """[N, D] by tower: the vectors of a text's tokens, float32 on the CPU."""
        out = {}
        for name, (tower, tokenizer) in towers(self.clip).items():
            ids = tokenizer.tokenizer(text)["input_ids"][1:-1] or tokenizer.tokenizer("object")["input_ids"][1:-1]
            out[name] = _table(tower)[torch.tensor(ids)].detach().float().cpu()
        return out

    def encode(self, images: Tensor) -> Tensor:
        return self.denoiser.encode(images)

    def condition(self, texts: list[str], word: LearnedWord) -> dict:
        """The network's conditions, one row per text; differentiable in the word's vectors."""
        encoder = self._encoder(word)
        encoded = [encoder.cond_stage_model.encode_token_weights(encoder.tokenize(text)) for text in texts]
        if len({e[0].shape for e in encoded}) != 1:
            raise InputError("templates", "sentences that fit the text encoder's window", "longer ones", "Shorten them.")
        noise = torch.zeros((1, *self.denoiser.backbone.latent_shape), device=self.device)
        side = self.denoiser.image_size
        found = self.network.extra_conds(
            cross_attn=torch.cat([e[0] for e in encoded]).to(self.device), noise=noise, device=self.device, width=side,
            height=side, prompt_type="positive", seed=0, latent_shapes=[noise.shape],
            pooled_output=None if encoded[0][1] is None else torch.cat([e[1] for e in encoded]).to(self.device))
        return {name: value.cond for name, value in found.items()}

    def noise(self, noisy: Tensor, t: Tensor, condition: dict) -> Tensor:
        """eps_hat [B, C, h, w] without guidance; differentiable in the condition."""
        return applied(self.network, self.path, self.options, noisy, t, condition)

    def conditioned(self, word: LearnedWord) -> ModelTextDenoiser:
        """The denoiser, its prompts free to name the word."""
        kept = LearnedWord(word.name, {name: v.detach().clone() for name, v in word.vectors.items()})
        return replace(self.denoiser, clip=knowing(self.denoiser.clip, kept))

    def _encoder(self, word: LearnedWord):
        """CLIP on the private towers, with the node's CLIP skip and the word."""
        learned = knowing(self.clip, word)
        model = learned.cond_stage_model = self.clip.cond_stage_model
        model.reset_clip_options()
        model.set_clip_options({"execution_device": self.clip.patcher.load_device})
        if learned.layer_idx is not None:
            model.set_clip_options({"layer": learned.layer_idx})
        return learned


def _table(tower) -> Tensor:
    return tower.transformer.get_input_embeddings().weight
