"""Whether what a wire carries is whole: values that other packs, older files or a person's own code put on it."""

from __future__ import annotations

import torch

from ..pipelines.core.errors import InputError
from .convert import check_shape

# Nodes that take Words Only and Edit Scene: a reference without a picture.
WORDS_DO = ("Lift123_NerfStage1", "Lift123_InitialShape", "Lift123_Estimate")


def check_value(name: str, kind: str, value, words_do: bool = False) -> None:
    """InputError for a scene, a reference or layers (by the wire's ``kind``) that no node of this pack hands on.

    words_do: a reference may be words and a camera alone.
    """
    if kind == "LIFT123_REFERENCE" and words_do and value.blank and value.prompt.strip():
        return
    known = {"LIFT123_SCENE": _scene, "LIFT123_REFERENCE": _reference, "LIFT123_LAYERS": _layers}
    if kind in known:
        known[kind](name, value)


def _scene(name: str, scene) -> None:
    from ..pipelines.stages.loop.scene_checks import check_meta

    try:
        if not isinstance(scene.tensors, dict):
            raise ValueError("it has no tensors")
        check_meta(scene.meta, scene.tensors)
    except (KeyError, TypeError, ValueError) as problem:
        raise InputError(name, "a whole scene", f"one that is not ({str(problem)[:120]})",
                         "Connect the output of a stage or of Load Scene.") from problem


def _reference(name: str, reference) -> None:
    views = reference.views
    if not bool(torch.isfinite(views.rgb).all() & torch.isfinite(views.alpha).all()):
        raise InputError(name, "a picture of finite numbers", "NaN or infinity", "Connect the output of Reference View.")
    if float(views.alpha.max()) <= 0:
        raise InputError(name, "a picture with an object", "nothing but background", "Connect the output of Reference View.")


def _layers(name: str, refined) -> None:
    for part, mesh in refined.layers.layers.items():
        check_shape(mesh.vertices, mesh.faces, f"{name}, {part}")
