"""One record per kind of network: where its files lie, how they are told, checked and loaded.

Loader nodes, lists of names, wires (``host/specs.py``), ``registry.py`` and ``launch.py verify-weights`` read these
records; a new kind is a record here, a loader, and a node.  Functions are named as "module:function" below
``pipelines/`` and imported when they are first called, so that reading the records costs nothing.

Licenses belong to published networks, not to kinds: ``registry.licenses`` collects a kind's.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

CHECKPOINTS = "checkpoints"  # ComfyUI's folder of single files of all kinds


@dataclass(frozen=True)
class Kind:
    """A kind of network.

    folder: category of model folders for its folders, ``models/<folder>/<name>/``; layouts: of these, in words.
    default: what its loader node proposes, a name of the registry.
    loader: (folder, device, **options) -> network.  With ``pair`` it wants a text network's folder first, and no node or
    script loads it alone.
    marks: a local folder is offered when one of these is in it; none = no folders are.
    checker: (folder, kind name), reads no weights; raises InputError for another kind's folder.
    single, file_loader, file_checker: the same for single files, empty where there are none; file_checker returns
    {part: number of tensors}.
    word: in ``models/checkpoints/``, files whose names have it are of this kind; none = files without any kind's word.
    options: (name, option, is a file) -> keyword arguments of the loader.  option: as in ``specs.Network``.
    embedded: device -> the network that ships, or a set with one ``member`` per kind; empty where none ships.
    takes_turns: under ComfyUI's memory management (``host/managed.py``).
    announced: verify-weights also lists what is absent.
    """

    name: str
    folder: str
    layouts: str
    default: str
    loader: str
    marks: tuple[str, ...]
    checker: str = ""
    single: str = ""
    file_loader: str = ""
    file_checker: str = ""
    word: str = ""
    options: str = ""
    embedded: str = ""
    member: str = ""
    takes_turns: bool = True
    announced: bool = False
    pair: bool = False

    def load(self, path: Path, name: str, device, option: str = "auto"):
        """The network of a folder or single file that is there, known as ``name``."""
        is_file = bool(self.file_loader) and path.is_file()
        given = resolve(self.options)(name, option, is_file) if self.options else {}
        return resolve(self.file_loader if is_file else self.loader)(path, device, **given)

    def check(self, path: Path) -> dict[str, int]:
        """InputError for files of another kind; of a single file, its parts and their numbers of tensors."""
        checker = self.checker if path.is_dir() else self.file_checker
        return (resolve(checker)(path, self.name) if checker else None) or {}

    def load_embedded(self, device):
        """The network that ships with the pack."""
        return self.pick(resolve(self.embedded)(device))

    def pick(self, shipped):
        """This kind's network of what ``embedded`` returned."""
        return getattr(shipped, self.member) if self.member else shipped

    def owns(self, file: str) -> bool:
        """Whether a file in ``models/checkpoints/`` may be of this kind, by its name."""
        if self.word:
            return self.word in file.lower()
        return not any(kind.word and kind.word in file.lower() for kind in KINDS.values())


def resolve(function: str) -> Callable:
    """The function that "module:function" below ``pipelines/`` names."""
    module, _, name = function.partition(":")
    return getattr(importlib.import_module(f"..{module}", __package__), name)


_SET = "loaders.embedded:load_embedded"
_RECORDS = (
    Kind(
        "view", "diffusers", "diffusers layout", "zero123-xl",
        "loaders.public:load_view_folder", ("cc_projection", "clip_camera_projection"),
        checker="loaders.public:check_folder", single=CHECKPOINTS, file_loader="loaders.ldm:load_view_file",
        file_checker="loaders.ldm:check_file", word="zero123", options="catalog.options:view", embedded=_SET, member="view",
    ),
    Kind(
        "text", "diffusers", "diffusers layout", "stable-diffusion-2-1-base",
        "loaders.public:load_text_folder", ("text_encoder",),
        checker="loaders.public:check_folder", single=CHECKPOINTS, file_loader="loaders.ldm:load_text_file",
        file_checker="loaders.ldm:check_file", embedded=_SET, member="text",
    ),
    Kind(
        "clip", "lift123_clip", "open_clip's or transformers' layout", "clip-vit-base-patch16",
        "loaders.public:load_clip_folder", ("open_clip_config.json", "config.json"),
        single="lift123_clip", file_loader="loaders.public:load_clip_file", options="catalog.options:clip",
        embedded=_SET, member="clip",
    ),
    Kind(
        "depth", "lift123_depth", "transformers layout", "depth-anything-v2-small",
        "loaders.public:load_depth_folder", ("config.json",), options="catalog.options:depth", embedded=_SET, member="depth",
    ),
    Kind(
        "depth_text", "diffusers", "diffusers layout, UNet with 5 input channels",
        "stable-diffusion-2-depth", "loaders.depth_text_folder:load_depth_text_folder", ("depth_estimator",),
        checker="loaders.public:check_folder", embedded=_SET, member="depth_text", announced=True,
    ),
    Kind(
        "depth_control", "diffusers", "diffusers layout", "control-v11f1p-sd15-depth",
        "loaders.depth_control:load_depth_control", ("config.json",), pair=True,
    ),
    Kind(
        "canonical", "diffusers", "the published folder, with unet/ and ref_unet/, or one of train-characters",
        "StdGEN-canonicalize-1024", "loaders.own_characters:load_canonical", ("ref_unet", "stdgen_canonical.safetensors"),
        embedded="loaders.embedded_characters:load_small_canonical", takes_turns=False, announced=True,
    ),
    Kind(
        "multiview", "diffusers",
        "the published folder, with unet/ and image_encoder/, or one of train-characters", "StdGEN-multiview-1024",
        "loaders.own_characters:load_multiview",
        ("image_normalizer", "image_noising_scheduler", "stdgen_multiview.safetensors"),
        options="catalog.options:multiview", embedded="loaders.embedded_characters:load_small_multiview",
        takes_turns=False, announced=True,
    ),
    Kind(
        "slrm", "diffusers", "folders of train-characters", "StdGEN-mesh-slrm.pth",
        "loaders.own_characters:load_slrm_folder", ("stdgen_slrm.safetensors",),
        single="lift123_slrm", file_loader="loaders.slrm_files:load_network",
        embedded="loaders.embedded_slrm:load_small_slrm", takes_turns=False, announced=True,
    ),
)
KINDS: dict[str, Kind] = {record.name: record for record in _RECORDS}
