"""What nodes write into the story of a result (``pipelines.core.story``): which stage, with which settings, how long."""

from __future__ import annotations

import hashlib
import os
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import TypeVar

from torch import Tensor

from ..pipelines.core import schedules
from ..pipelines.core.story import Story
from ..pipelines.io.manifest import describe_picture, pack_version

Result = TypeVar("Result")
REMEMBERED = 256  # pictures: an IMAGE carries nothing but pixels
_pictures: OrderedDict[str, Story] = OrderedDict()


class Chapter:
    """One stage of a character's story, from now on until it is signed.

    before: the story so far; settings: anything :func:`told` knows; other words go into the entry as they are.
    """

    def __init__(self, before: Story, stage: str, settings=None, **more):
        self.before, self.began = before, time.monotonic()
        self.entry = {"stage": stage, "settings": told(settings or {}), **more, "pack": pack_version()}

    def end(self) -> Story:
        """The story with this stage."""
        return self.before.then(self.entry, time.monotonic() - self.began)

    def sign(self, result):
        """``result`` (views or layers) with its story."""
        return replace(result, story=self.end())


def telling(stage: Callable[[dict], Result], before, name: str) -> Callable[[dict], Result]:
    """``stage`` (as ``run_stage`` takes it) whose scenes, finished and partial ones, tell all stages up to this one.

    before: the scene that the stage starts from, or None.
    """
    def sign(scene: Result) -> Result:
        return with_stage(scene, before, name) if hasattr(scene, "meta") else scene

    def run(hooks: dict) -> Result:
        keep = hooks["on_checkpoint"]
        return sign(stage({**hooks, "on_checkpoint": lambda scene: keep(sign(scene))}))

    return run


def with_stage(scene, before, name: str):
    """The scene with its stages in ``meta["stages"]``: those of ``before`` and the one that made it."""
    meta = scene.meta
    entry = {"stage": name, "kind": getattr(scene, "kind", None), "seed": meta.get("seed"), "steps": meta.get("step"),
             "total": meta.get("total"), "settings": meta.get("config", {}), "pack": pack_version()}
    earlier = Story(tuple(before.meta.get("stages", ())) if before is not None else ())
    return replace(scene, meta={**meta, "stages": list(earlier.then(entry).stages)})


def with_settings(scene, **more):
    """The scene with more settings of its last stage: its prior, its boundary; None is left out."""
    *earlier, last = scene.meta["stages"]
    given = {name: told(value) for name, value in more.items() if value is not None}
    return replace(scene, meta={**scene.meta, "stages": [*earlier, {**last, **given}]})


def told(value):
    """Settings as JSON: dataclasses by their fields, networks also by their name, objects of others by their type.

    Of paths only the last part is told: a manifest can be shared.
    """
    if type(value).__name__ in schedules.FORMS:
        return schedules.to_json(value)
    if is_dataclass(value) and not isinstance(value, type):
        found = {f.name: told(getattr(value, f.name)) for f in fields(value) if f.name != "node_key"}
        name = getattr(value, "name", None)
        return found | ({"name": told(name)} if isinstance(name, str) else {})
    if isinstance(value, dict):
        return {str(k): told(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [told(v) for v in value]
    if isinstance(value, str | os.PathLike):
        text = os.fspath(value)
        return os.path.basename(text) if os.path.isabs(text) else text
    return value if value is None or isinstance(value, bool | int | float) else type(value).__name__


def remember(picture: Tensor, story: Story) -> None:
    """Keeps the story of an IMAGE while this process lives, for :func:`recall`."""
    _pictures[_key(picture)] = story
    while len(_pictures) > REMEMBERED:
        _pictures.popitem(last=False)


def recall(picture: Tensor, name: str) -> Story:
    """The story of an IMAGE that a node of this pack made; of any other, that it was given as ``name``."""
    known = _pictures.get(_key(picture))
    return Story().given(**{name: describe_picture(picture)}) if known is None else known


def _key(picture: Tensor) -> str:
    plain = picture.detach().cpu().contiguous()
    return f"{hashlib.sha256(plain.numpy().tobytes()).hexdigest()} {tuple(plain.shape)}"


def comfyui_version() -> str:
    """Of the ComfyUI that runs, or an empty string."""
    try:
        from comfyui_version import __version__
    except ImportError:
        return ""
    return __version__
