"""Optional CUDA libraries behind our own interfaces: the only importer of them, and only when called.

nvdiffrast's license allows non-commercial use only; nothing here needs it.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.errors import InputError
from .hashgrid import HashGridConfig
from .rasterize import Raster, check_faces
from .rasterizers import WARP, Rasterizer
from .tiny_cuda import TinyCudaField


@dataclass(frozen=True)
class _NativeRaster(Raster):
    """A raster that keeps the library's own buffer: [B, H, W, 4] (u, v, z/w, id + 1), bottom row first."""

    native: Tensor | None = None


RASTERIZERS = ("built-in", "fastest", "nvdiffrast")
ENGINES = ("built-in", "fastest", "tiny-cuda-nn")
LIBRARIES = {"nvdiffrast": "mesh renders in DMTet Refine", "tinycudann": "hash grid and network of fields",
             "kiui": "LPIPS where the package lpips is absent"}


def found() -> dict[str, bool]:
    """Which optional libraries are installed here, by name; none is imported."""
    return {name: importlib.util.find_spec(name) is not None for name in LIBRARIES}


def told() -> str:
    """One line about them, for the log at start."""
    there = [f"{name} ({LIBRARIES[name]})" for name, here in found().items() if here]
    return f"optional accelerators found: {', '.join(there) or 'none'}; built-in ones are used unless Stage Options say otherwise"


def choose_rasterizer(name: str, device: torch.device | str) -> Rasterizer:
    """The rasterizer of that name; "fastest" is the library's where it and a CUDA device are there, else the built-in one.

    InputError for "nvdiffrast" where it cannot run, ValueError for a name that is not in RASTERIZERS.
    """
    if name not in RASTERIZERS:
        raise ValueError(f"rasterizer must be one of {RASTERIZERS}, got {name!r}")
    usable = found()["nvdiffrast"] and torch.device(device).type == "cuda" and torch.cuda.is_available()
    return nvdiffrast_rasterizer(device) if name == "nvdiffrast" or (name == "fastest" and usable) else WARP


def choose_engine(name: str, grid: HashGridConfig, hidden: int, layers: int, device: torch.device | str) -> TinyCudaField | None:
    """Who computes a field's hash grid and network: None = the built-in kernels.

    "fastest" is tiny-cuda-nn where it and a CUDA device are there.  It has **never been run** on a device by this project's
    tests, which hand it a stand-in; ``ops.hashgrid`` says what it has to compute.  InputError for "tiny-cuda-nn" where it
    cannot run, ValueError for a name that is not in ENGINES.
    """
    if name not in ENGINES:
        raise ValueError(f"field_engine must be one of {ENGINES}, got {name!r}")
    on_cuda = torch.device(device).type == "cuda" and torch.cuda.is_available()
    if name == "built-in" or (name == "fastest" and not (on_cuda and found()["tinycudann"])):
        return None
    if not on_cuda:
        raise InputError("field_engine", "a CUDA device for tiny-cuda-nn", str(device), "Use 'built-in': it runs anywhere.")
    try:
        library = importlib.import_module("tinycudann")
    except (ImportError, OSError) as error:
        raise InputError("field_engine", "the library tiny-cuda-nn", f"it cannot be imported ({error})",
                         "Install it as its page says (it is compiled for one GPU), or use 'built-in'.") from error
    return TinyCudaField(library, grid, hidden, layers)


def kiui_lpips(net: str) -> torch.nn.Module:
    """kiui's LPIPS network "alex" or "vgg" with random numbers: with its own it would download (0.2.20 was tried).

    Of kiui nothing else is imported; ``kiui.render`` never, it installs packages.
    """
    return importlib.import_module("kiui.lpips").LPIPS(net=net, pretrained=False)


def _native(raster: Raster) -> Tensor:
    assert isinstance(raster, _NativeRaster) and raster.native is not None  # made by the same rasterizer
    return raster.native


def nvdiffrast_rasterizer(device: torch.device | str = "cuda") -> Rasterizer:
    """A rasterizer that runs on nvdiffrast (CUDA context), for comparison and speed.

    Differences: its silhouettes come only from the triangles of the two neighboring pixels, ties between equally
    near triangles are its own, and its gradients are atomic sums.  Written from the library's published
    interface (``RasterizeCudaContext``, ``rasterize``, ``interpolate``, ``antialias``); it has **never been run** by
    this project's tests, which have no CUDA device with the library: try it against ``WARP`` before relying on it.
    InputError when the library or a CUDA device is missing.
    """
    if torch.device(device).type != "cuda" or not torch.cuda.is_available():
        raise InputError(
            "rasterizer", "a CUDA device for nvdiffrast", str(device), "Use the built-in rasterizer: it runs anywhere."
        )
    try:
        library = importlib.import_module("nvdiffrast.torch")
    except ImportError as error:
        raise InputError(
            "rasterizer",
            "the nvdiffrast library (non-commercial license)",
            f"no such module ({error})",
            "Install nvdiffrast yourself, or use the built-in rasterizer.",
        ) from error
    return _Nvdiffrast(library, library.RasterizeCudaContext(device=device))


class _Nvdiffrast:
    """The library draws the bottom row first and numbers triangles from 1; both are undone here."""

    def __init__(self, library, context):
        self.library, self.context = library, context

    def rasterize(self, clip: Tensor, faces: Tensor, height: int, width: int) -> Raster:
        check_faces(faces, clip.shape[1])
        native, _ = self.library.rasterize(self.context, clip.contiguous(), faces.int(), resolution=[height, width])
        top_first = native.flip(1)
        triangle = top_first[..., 3].int() - 1
        seen = (triangle >= 0)[..., None]
        u, v = top_first[..., 0:1], top_first[..., 1:2]
        barycentric = torch.cat([u, v, 1 - u - v], dim=-1) * seen
        depth, _ = self.library.interpolate(clip[..., 3:].contiguous(), native, faces.int())
        return _NativeRaster(triangle, barycentric, depth.flip(1)[..., 0], native)

    def interpolate(self, attributes: Tensor, raster: Raster, faces: Tensor) -> Tensor:
        shared = attributes if attributes.ndim == 3 else attributes[None]
        check_faces(faces, shared.shape[1])
        out, _ = self.library.interpolate(shared.contiguous(), _native(raster), faces.int())
        return out.flip(1)

    def antialias(self, color: Tensor, raster: Raster, clip: Tensor, faces: Tensor) -> Tensor:
        blended = self.library.antialias(color.flip(1).contiguous(), _native(raster), clip.contiguous(), faces.int())
        return blended.flip(1)
