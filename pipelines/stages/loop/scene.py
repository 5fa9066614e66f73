"""What stages pass on: everything needed to render, resume or refine, as plain tensors on the CPU."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from ...core.cameras import Cameras
from ...core.errors import InputError
from ...core.views import Views
from ...io import plain_json, sealed
from ..inputs.reference import ReferenceView
from .scene_checks import check_meta

Kind = Literal["nerf", "mesh"]
KINDS = get_args(Kind)
FORMAT = "lift123-scene"
VERSION = 1
TOLD_ONLY = ("seconds", "curves")  # entries of the meta that say how a scene came about and change nothing
FILE = sealed.Kind("scene file", FORMAT, VERSION, ("kind", "meta"), "Save Scene or of an interrupted stage",
                   "Use an earlier copy or queue the stage again.", unsealed=True)


@dataclass(frozen=True)
class Scene:
    """A trained (or half trained) object.

    kind:    "nerf" or "mesh".
    tensors: by name with a prefix: ``field/`` colors and density, ``grid/`` occupancy, ``tet/``
             surface, ``ema/`` averaged weights, ``optim/`` optimizer state, ``prior/`` what a prior
             remembers, ``reference/`` the input views.  Detached, CPU.
    meta:    JSON: configuration, steps done and planned, switch step, boundary history, seed,
             reference settings; of scenes made by nodes also ``stages`` and ``seconds`` (``core.story``)
             and ``curves`` (``core.curve``).
    """

    kind: Kind
    tensors: dict
    meta: dict

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"scene kind must be one of {KINDS}, got {self.kind!r}")

    @property
    def step(self) -> int:
        """Iterations finished in the current kind's stage."""
        return self.meta["step"]

    @property
    def total(self) -> int:
        """Iterations planned in the current kind's stage."""
        return self.meta["total"]

    @property
    def finished(self) -> bool:
        return self.step >= self.total

    @property
    def switch_step(self) -> int | None:
        """NeRF iteration (finished steps) at which the dynamic phase began, or None."""
        return self.meta.get("switch_step")

    @property
    def seed(self) -> int:
        return self.meta["seed"]

    @property
    def boundary(self) -> dict | None:
        """The CLIP boundary's history, explanation and switch step, or None."""
        return self.meta.get("boundary")

    @cached_property
    def reference(self) -> ReferenceView:
        """The reference view this scene was made from."""
        return unpack_reference(self.tensors, self.entry("reference"))

    def entry(self, name: str):
        """An entry of the meta that a stage needs; InputError where it is not there."""
        if self.meta.get(name) is None:
            raise _without(name)
        return self.meta[name]

    def tensor(self, name: str) -> Tensor:
        """A tensor that a stage needs, by its whole name; InputError where it is not there."""
        if name not in self.tensors:
            raise _without(name)
        return self.tensors[name]

    def part(self, prefix: str) -> dict:
        """Tensors under ``prefix/``, without the prefix."""
        return {k[len(prefix) + 1 :]: v for k, v in self.tensors.items() if k.startswith(prefix + "/")}

    def identity(self) -> tuple:
        """What makes it this scene: everything but the time that it took."""
        return self.kind, self.tensors, {k: v for k, v in self.meta.items() if k not in TOLD_ONLY}

    def pack(self) -> tuple[dict, dict]:
        """(tensors, JSON); inverse of :meth:`unpack`."""
        return self.tensors, {"kind": self.kind, "meta": self.meta}

    @staticmethod
    def unpack(tensors: dict, packed: dict) -> "Scene":
        """What :meth:`pack` gave."""
        return Scene(packed["kind"], tensors, packed["meta"])

    def without_optimizer(self) -> "Scene":
        """A smaller copy that renders the same but restarts the optimizer when continued."""
        return replace(self, tensors={k: v for k, v in self.tensors.items() if not k.startswith(("optim/", "prior/"))})

    def save(self, path) -> Path:
        """Writes sealed safetensors whole or not at all; the same scene gives the same bytes.  InputError without room."""
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return sealed.write(path, FILE, self.tensors, {"kind": self.kind, "meta": json.dumps(self.meta, sort_keys=True)})
        except OSError as error:
            got = f"{path.parent}: {error}"
            raise InputError("scene file", "a writable folder", got, "Choose another folder.") from error

    @staticmethod
    def load(path, remark: Callable[[str], None] = sealed.log.warning) -> "Scene":
        """Reads a saved scene; a damaged or foreign file gives an InputError.

        remark: told of a file that was saved before there were checksums.
        """
        tensors, header = sealed.read(path, FILE, remark)
        try:
            sealed.check_finite(tensors)
            meta = plain_json.parse(header["meta"], finite=True)
            check_meta(meta, tensors)
            if meta.get("reference") is not None:
                unpack_reference(tensors, meta["reference"])  # its shapes
            return Scene(header["kind"], tensors, meta)
        except (ValueError, TypeError, KeyError) as error:
            raise sealed.damaged(Path(path), FILE, error) from error


def _without(name: str) -> InputError:
    return InputError("scene", f"a whole scene, with its {name}", "one without",
                      "Connect the output of a stage or of Load Scene.")


def pack_reference(reference: ReferenceView) -> tuple[dict, dict]:
    """(tensors, meta) of a reference view; inverse of :func:`unpack_reference`."""
    views = reference.views
    tensors = {"reference/c2w": views.cameras.c2w, "reference/fovy": views.cameras.fovy}
    for name in ("rgb", "alpha", "depth", "normal"):
        value = getattr(views, name)
        if value is not None:
            tensors[f"reference/{name}"] = value
    meta = {
        "size": reference.size,
        "prompt": reference.prompt,
        "negative": reference.negative,
        "depth_is_metric": views.depth_is_metric,
    }
    return {k: v.detach().cpu().clone() for k, v in tensors.items()}, meta


def unpack_reference(tensors: dict, meta: dict) -> ReferenceView:
    """The reference view kept in a scene's tensors and meta."""
    part = {k[len("reference/") :]: v for k, v in tensors.items() if k.startswith("reference/")}
    cameras = Cameras(part["c2w"], part["fovy"], meta["size"], meta["size"])
    views = Views(cameras, part["rgb"], part["alpha"], part.get("depth"), part.get("normal"), meta["depth_is_metric"])
    return ReferenceView(views, meta["prompt"], meta["negative"])


def to_cpu(tensors: dict) -> dict:
    """Detached copies on the CPU that later training cannot change."""
    return {k: v.detach().to("cpu", copy=True).contiguous() for k, v in tensors.items()}


def load_strict(module: torch.nn.Module, state: dict[str, Tensor], what: str) -> None:
    """Loads a state dict; names or shapes that do not fit give an InputError."""
    try:
        module.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise InputError(
            what, "tensors that fit the configuration", str(error).splitlines()[-1].strip(),
            "The scene was made with another configuration: use the same, or start again.",
        ) from error
