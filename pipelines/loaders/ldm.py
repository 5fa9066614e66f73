"""Single-file checkpoints in the ldm layout: Zero-1-to-3, Stable Zero123, Stable Diffusion 1.x and 2.x.

``load_view_file`` and ``load_text_file`` make our denoisers of ``.safetensors`` or ``.ckpt`` files.  Strictly: every
tensor of the file has a place in a network, or a known reason to have none (``ldm_ledger``), and every parameter of the
networks comes from the file.  Moving averages (EMA) replace the raw weights where the file has both, as the released
codes of Zero-1-to-3 and its users do.  Layouts: ``ldm_layout`` (UNet, autoencoder) and ``ldm_clip`` (towers).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from ..core.choices import Pose
from ..core.errors import InputError
from ..core.modules import AnyModule
from ..networks.latent import LatentRuntime, prepared
from ..networks.noise import Prediction, scaled_linear_alphas
from ..networks.openai_tokens import END, openai_tokenizer
from ..networks.text import TextDenoiser
from ..networks.view import ViewConditioner, ViewDenoiser
from . import ldm_clip, ldm_layout
from .ldm_kinds import check_kind
from .ldm_ledger import Ledger

UNET, EMA, VAE = "model.diffusion_model.", "model_ema.", "first_stage_model."
_VISION = "cond_stage_model.model.visual."
_TEXT = ("cond_stage_model.transformer.", "conditioner.embedders.0.transformer.")  # transformers' layout
_OPEN_TEXT = ("cond_stage_model.model.", "conditioner.embedders.0.model.")  # open_clip's
_V_MARK = "transformer_blocks.0.norm1.bias"  # in the last attention of the UNet
_V_SPREAD = 0.09  # its spread is larger in the v-prediction networks of Stable Diffusion 2 (ComfyUI's criterion)


@dataclass(frozen=True)
class Network:
    """One network of a checkpoint: constructor arguments and its state, in the classes' own names; tensors not copied."""

    config: dict
    state: dict[str, Tensor]


@dataclass(frozen=True)
class Parts:
    """What a checkpoint holds.  tower: CLIP's picture tower (view) or text tower (text); pad: the text tower's padding token.

    projection: {"weight", "bias"} of the pose projection (view) or None; used: part -> number of tensors, for reports.
    """

    kind: str
    unet: Network
    vae: Network
    tower: Network
    projection: dict[str, Tensor] | None
    alphas: Tensor
    prediction: Prediction
    pad: int
    used: dict[str, int]


def read_file(path: Path) -> dict[str, Tensor]:
    """name -> tensor of a ``.safetensors`` or pickled file.  InputError if it is absent, damaged or unsafe."""
    path = Path(path)
    if not path.is_file():
        raise InputError("checkpoint", f"the file {path.name}", "no such file", f"Put it at {path}.")
    if path.suffix.lower() != ".safetensors":
        from .safe_pickle import load_pickle

        return load_pickle(path)
    from safetensors.torch import load_file

    try:
        return load_file(str(path))
    except Exception as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError("checkpoint", "a safetensors file", f"{path.name}, which is damaged ({error})",
                      "Download it again and compare its size.")


def check_file(path: Path, kind: str) -> dict[str, int]:
    """part -> number of tensors of a whole file, without reading its numbers: what a loader would refuse is refused now.

    kind: "view" or "text".  Raises InputError as :func:`take_apart` does.
    """
    path = Path(path)
    if path.suffix.lower() != ".safetensors" or not path.is_file():
        state = read_file(path)  # a pickle's tensors stay on the disk
        return take_apart({k: v.to("meta") for k, v in state.items()}, kind, path.name).used
    from safetensors import safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}
    except Exception as error:
        raise _damaged(path, error) from None
    return take_apart({k: torch.empty(v, device="meta") for k, v in shapes.items()}, kind, path.name).used


def take_apart(state: dict[str, Tensor], kind: str, title: str = "the file", ema: bool = True) -> Parts:
    """The networks in an ldm state dict.  kind: "view" or "text"; ema: take moving averages where the file has them.

    Raises InputError for a checkpoint of another kind, with parts missing, or with a tensor that has no known place.
    Tensors without numbers (on the meta device) do; then schedule and prediction are not looked at.
    """
    check_kind(state, kind, title)
    ledger = Ledger(state)
    try:
        unet = _unet(ledger, ema)
        vae = _network(ledger, VAE, "autoencoder", ldm_layout.vae_config, ldm_layout.convert_vae)
        tower, pad = (_vision(ledger), 0) if kind == "view" else _text(ledger)
    except ValueError as problem:
        raise InputError("checkpoint", f"a complete {kind} network in the ldm layout", f"{title}: {problem}",
                         "The file is incomplete or another kind of network; choose another checkpoint.") from None
    projection = None
    if kind == "view":
        projection = {k: v.float() for k, v in ledger.take("cc_projection.", "pose projection").items()}
        ledger.drop(r"cond_stage_model\.(mean|std|model\.(?!visual\.).+)", "CLIP's text half")
    prediction = _prediction(ledger, unet)
    alphas = _schedule(state.get("alphas_cumprod"), title)
    _check_widths(kind, unet, vae, tower, projection, title)
    return Parts(kind, unet, vae, tower, projection, alphas, prediction, pad, ledger.close(title))


def load_view_file(path: Path, device: torch.device | str = "cpu", pose: Pose = "zero123", dtype: torch.dtype | None = None,
                   ema: bool = True) -> ViewDenoiser:
    """A Zero-1-to-3 network from one file.

    pose: "zero123", or "stable" for Stable Zero123, whose file looks the same (M-C.5).  dtype of UNet and picture
    tower: float32 on a CPU and float16 elsewhere unless given; the autoencoder stays in float32, gradients pass it.
    """
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    from ..networks.towers import VisionTower

    path = Path(path)
    parts, dtype = take_apart(read_file(path), "view", path.name, ema), dtype or _dtype(device)
    assert parts.projection is not None, "every view file has one"
    context, given = parts.projection["weight"].shape
    conditioner = ViewConditioner(given - 4, context)
    conditioner.load_state_dict({f"cc_projection.{k}": v for k, v in parts.projection.items()}, strict=True)
    tower = assemble(lambda: CLIPVisionModelWithProjection(CLIPVisionConfig(**parts.tower.config)), parts.tower.state,
                     device, dtype)
    return ViewDenoiser(_runtime(parts, device, dtype), conditioner.to(device).eval().requires_grad_(False),
                        VisionTower(tower), pose=pose)


def load_text_file(path: Path, device: torch.device | str = "cpu", dtype: torch.dtype | None = None, ema: bool = True,
                   prediction: Prediction | Literal["auto"] = "auto") -> TextDenoiser:
    """A Stable Diffusion 1.x or 2.x network from one file; dtype as in :func:`load_view_file`.

    prediction: "epsilon", "v_prediction", or "auto": the file does not say, so it is told by a weight whose spread
    differs between the two published kinds.
    """
    from transformers import CLIPTextConfig, CLIPTextModel

    from ..networks.towers import TextTower

    path = Path(path)
    parts, dtype = take_apart(read_file(path), "text", path.name, ema), dtype or _dtype(device)
    tower = assemble(lambda: CLIPTextModel(CLIPTextConfig(**parts.tower.config)), parts.tower.state, device, dtype)
    runtime = _runtime(parts, device, dtype, parts.prediction if prediction == "auto" else prediction)
    return TextDenoiser(runtime, TextTower(tower, openai_tokenizer(parts.pad)))


def assemble(build: Callable[[], AnyModule], state: dict[str, Tensor], device, dtype: torch.dtype) -> AnyModule:
    """The network that ``build`` describes with ``state`` in it, strictly; frozen, in eval mode.

    It is built without memory of its own and takes the tensors over, so that nothing is held twice.
    Raises InputError where the two do not fit.
    """
    with torch.device("meta"):
        module = build()
    names = list(module.state_dict())
    if any(n.startswith("text_model.") for n in names) and not any(n.startswith("text_model.") for n in state):
        state = {f"text_model.{k}": v for k, v in state.items()}  # transformers before version 5
    moved = {k: v.to(device=device, dtype=dtype) if v.is_floating_point() else v.to(device) for k, v in state.items()}
    try:
        module.load_state_dict(moved, strict=True, assign=True)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise InputError("checkpoint", f"all weights of a {type(module).__name__}", " ".join(lines[1:3])[:300],
                         "The file is incomplete or of another kind.") from None
    for name, buffer in list(module.named_buffers()):
        if buffer.is_meta:  # the only ones that are not in files: counted positions
            owner = module.get_submodule(name.rpartition(".")[0])
            setattr(owner, name.rpartition(".")[2], torch.arange(buffer.shape[-1], device=device)[None])
    return module.eval().requires_grad_(False)


def _dtype(device) -> torch.dtype:
    return torch.float32 if torch.device(device).type == "cpu" else torch.float16


def _runtime(parts: Parts, device, dtype: torch.dtype, prediction: Prediction | None = None) -> LatentRuntime:
    from diffusers import AutoencoderKL, UNet2DConditionModel

    prediction = prediction or parts.prediction
    shrink = 2 ** (len(parts.vae.config["block_out_channels"]) - 1)
    side = 32 if parts.kind == "view" else 96 if prediction == "v_prediction" else 64  # the published latent sizes
    unet = assemble(lambda: UNet2DConditionModel(**parts.unet.config, sample_size=side), parts.unet.state, device, dtype)
    vae = assemble(lambda: AutoencoderKL(**parts.vae.config), parts.vae.state, device, torch.float32)
    runtime = LatentRuntime(unet, vae, parts.alphas.to(device), prediction, side * shrink)
    return prepared(runtime, device, f"{parts.kind} network")


def _network(ledger: Ledger, prefix: str, part: str, config, convert) -> Network:
    taken = ledger.take(prefix, part)
    if not taken:
        raise ValueError(f"no {part} in it ({prefix}*)")
    new, unknown = convert(taken)
    ledger.give_back(prefix, unknown, part)
    return Network(config(taken), new)


def _unet(ledger: Ledger, ema: bool) -> Network:
    """The UNet; with ``ema`` its moving average where the file has one (its names are the raw ones without dots)."""
    names = [name for name in ledger.state if name.startswith(UNET)]
    averages = {name: EMA + name[len("model.") :].replace(".", "") for name in names}
    network = _network(ledger, UNET, "UNet", ldm_layout.unet_config, _convert_unet)
    if not any(name.startswith(EMA + "diffusion_model") for name in ledger.state):
        return network  # files that were reduced to the average keep it under the raw names, and only a counter here
    missing = [average for average in averages.values() if average not in ledger.state]
    if missing:
        raise ValueError(f"no moving average {missing[0]}")
    ledger.drop_names(averages.values(), f"{'raw weights' if ema else 'moving average'} of the UNet")
    if not ema:
        return network
    ledger.used["UNet (moving average)"] = ledger.used.pop("UNet")
    state, _ = _convert_unet({name[len(UNET) :]: ledger.state[average] for name, average in averages.items()})
    return Network(network.config, state)


def _convert_unet(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    return ldm_layout.convert_unet(state, ldm_layout.unet_config(state)["layers_per_block"])


def _vision(ledger: Ledger) -> Network:
    return _network(ledger, _VISION, "CLIP picture tower", ldm_clip.vision_config, ldm_clip.convert_vision)


def _text(ledger: Ledger) -> tuple[Network, int]:
    """The text tower and its padding token."""
    for prefix in _TEXT:
        taken = ledger.take(prefix, "text tower")
        if taken:
            state = {name.removeprefix("text_model."): value for name, value in taken.items()}
            places = ("embeddings.token", "embeddings.position_embedding", "encoder.layers.", "final_layer_norm.")
            unknown = [name for name in taken if not name.removeprefix("text_model.").startswith(places)]
            ledger.give_back(prefix, unknown, "text tower")
            state = {name: value for name, value in state.items() if name.startswith(places)}
            return Network(ldm_clip.text_config(state), state), END
    for prefix in _OPEN_TEXT:
        if prefix + "token_embedding.weight" in ledger.state:
            network = _network(ledger, prefix, "text tower", ldm_clip.open_text_config, ldm_clip.convert_open_text)
            last = network.config["num_hidden_layers"]
            ledger.drop(rf"{re.escape(prefix)}transformer\.resblocks\.{last}\..+", "last layer of the text tower")
            ledger.drop(rf"{re.escape(prefix)}(text_projection|logit_scale|attn_mask)", "scores of the text tower")
            return network, 0
    raise ValueError(f"no text tower in it ({_TEXT[0]}* or {_OPEN_TEXT[0]}*)")


def _prediction(ledger: Ledger, unet: Network) -> Prediction:
    """What the network predicts; files say it only now and then, by an empty tensor ``v_pred``."""
    if "v_pred" in ledger.state:
        ledger.drop("v_pred", "mark of v-prediction")
        return "v_prediction"
    config = unet.config
    mark = f"up_blocks.{len(config['block_out_channels']) - 1}.attentions.{config['layers_per_block']}.{_V_MARK}"
    if not config["use_linear_projection"] or mark not in unet.state or unet.state[mark].is_meta:
        return "epsilon"
    return "v_prediction" if float(unet.state[mark].float().std(correction=0)) > _V_SPREAD else "epsilon"


def _schedule(given: Tensor | None, title: str) -> Tensor:
    """[1000] the schedule these networks share; InputError when the file carries another one."""
    standard = scaled_linear_alphas()
    if given is not None and given.is_meta:
        return standard
    same = given is None or (given.shape == standard.shape and bool((given.float() - standard).abs().max() < 2e-3))
    if not same:
        raise InputError("checkpoint", "the noise schedule of Stable Diffusion", f"{title} with another one",
                         "Load it with ComfyUI's Load Checkpoint and wire its MODEL through Model as Text Network.")
    return standard


def _check_widths(kind: str, unet: Network, vae: Network, tower: Network, projection, title: str) -> None:
    """InputError unless the parts fit each other."""
    latent, context = vae.config["latent_channels"], unet.config["cross_attention_dim"]
    pairs = [("latent channels", latent, unet.config["out_channels"])]
    if kind == "view":
        pairs += [("context width", projection["weight"].shape[0], context),
                  ("embedding width", tower.config["projection_dim"] + 4, projection["weight"].shape[1])]
    else:
        pairs += [("context width", tower.config["hidden_size"], context)]
    for what, first, second in pairs:
        if first != second:
            raise InputError("checkpoint", f"parts of one family (equal {what})", f"{title} with {first} and {second}",
                             "The file was put together from different families; choose another checkpoint.")
