"""Where the files of public networks are on this machine.  Local files only: nothing is ever downloaded from here.

Kinds are in ``pipelines/catalog/kinds.py``, published names in ``pipelines/catalog/registry.py``; a name that is in no
table works as well, if it is a folder (or file) in the right place.  A hub name "org/name" means the folder
``org/name``, ``org--name`` or ``name`` of that place, or a snapshot in Hugging Face's own cache.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from ..pipelines.catalog import registry
from ..pipelines.catalog.kinds import CHECKPOINTS, KINDS
from ..pipelines.core.errors import InputError

EMBEDDED = "embedded"
LONGEST = 200  # letters of a name that is not on the list: what file systems take
CHARACTERS = "stdgen_"  # how names of the embedded files begin that are one network of a character each
_WEIGHTS = (".safetensors", ".bin", ".ckpt", ".pt", ".pth")
_UNSAFE = re.compile(r"[\\:\x00-\x1f\x7f]|^~")  # other systems' paths, streams, control characters, homes


def names(kind: str) -> list[str]:
    """What a loader's list shows: the table's folders, the embedded network, then local folders and files.

    A single file is listed only where it is present, so that the browser can offer to get a template's missing one.
    """
    known = [w.name for w in registry.of_kind(kind) if not w.single]
    local = [n for n in (*_local_folders(kind), *_local_files(kind)) if n not in known]
    return [*known, *[EMBEDDED] * has_embedded(kind), *dict.fromkeys(local)]


def has_embedded(kind: str) -> bool:
    """Whether a network of this kind ships with the pack."""
    return bool(KINDS[kind].embedded)


def _local_folders(kind: str) -> list[str]:
    found = []
    for root in roots(KINDS[kind].folder):
        for folder in _folders(root):
            inner = [] if _marked(kind, folder) else [f"{folder.name}/{p.name}" for p in _folders(folder) if _marked(kind, p)]
            found += [folder.name] if _marked(kind, folder) else inner
    return found


def _folders(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.is_dir()) if root.is_dir() else []


def _marked(kind: str, folder: Path) -> bool:
    return any((folder / mark).exists() for mark in KINDS[kind].marks)


def _local_files(kind: str) -> list[str]:
    """Single files: the table's and, of models/checkpoints/, all that may be of the kind by their name."""
    import folder_paths

    table = [w.name for w in registry.of_kind(kind) if w.single]
    if KINDS[kind].single != CHECKPOINTS:
        return [n for n in table if _file(kind, n) is not None]
    others = {w.name for w in registry.TABLE if w.single and w.kind != kind}
    listed = [n.replace(os.sep, "/") for n in folder_paths.get_filename_list(CHECKPOINTS) if registry.is_single(n)]
    return [n for n in listed if (last := n.rpartition("/")[2]) not in others
            and (last in table or KINDS[kind].owns(last))]


def roots(category: str) -> list[Path]:
    """Folders ComfyUI searches for a category (models/<category> where it has no category of that name)."""
    import folder_paths

    if category in folder_paths.folder_names_and_paths:
        return [Path(p) for p in folder_paths.get_folder_paths(category)]
    return [Path(folder_paths.models_dir) / category]


def register_folders() -> None:
    """Tells ComfyUI the pack's own model folders, so that extra_model_paths.yaml and the browser know them."""
    import folder_paths

    for category in dict.fromkeys((*(k.folder for k in KINDS.values()), *(k.single for k in KINDS.values() if k.single))):
        if category not in folder_paths.folder_names_and_paths:
            folder_paths.add_model_folder_path(category, str(Path(folder_paths.models_dir) / category))


def location(weights: registry.Weights) -> Path:
    """The folder into which the files of an entry belong: where some of them are, else ComfyUI's first."""
    places = roots(weights.category)
    if weights.single:
        return next((p for p in places if (p / weights.name).is_file()), places[0])
    return next((p / weights.name for p in places if (p / weights.name).is_dir()), places[0] / weights.name)


def find(kind: str, name: str) -> Path:
    """The local folder or file of a network, complete; InputError says what is missing and where it goes."""
    if not _stays_inside(name) or (_odd(name) and name not in names(kind)):
        raise InputError("checkpoint", "a name from the list, a folder name or a hub name (org/name)", repr(name[:60]),
                         "Paths are not taken: put or link the files into ComfyUI's models folder.")
    if registry.is_single(name):
        return _find_file(kind, name)
    folder = _find_folder(kind, name)
    known = registry.BY_NAME.get(name)
    if known is not None and known.kind == kind:
        missing = known.missing(folder)
        if missing:
            raise _absent(known, [f.path for f in missing], "none" if folder is None else "some")
    if folder is None:
        where = f"models/{KINDS[kind].folder}/{name}/"
        raise InputError("checkpoint", "one of " + ", ".join(names(kind)), repr(name),
                         f"Choose a name from the list, or put the folder at {where}.")
    return folder


def _stays_inside(name: str) -> bool:
    """Whether a name, appended to a folder, leads to something below it."""
    return not Path(name).is_absolute() and all(part.strip(" ") not in ("", ".", "..") for part in name.split("/"))


def _odd(name: str) -> bool:
    """Whether a name is taken only where the list offers it."""
    return len(name) > LONGEST or _UNSAFE.search(name) is not None


def weight_files(kind: str, name: str) -> dict[str, Path]:
    """{name for people: file} of a network's weights, for records; empty where it is not here.

    kind: a kind of network, or one of ComfyUI's categories for its own loaders' files.  Of a folder that holds several
    sets (precisions), all are named; the embedded networks for objects are one set.
    """
    import folder_paths

    from ..pipelines.loaders.embedded import FOLDER

    if name == EMBEDDED:
        own = f"{CHARACTERS}{kind}.safetensors"
        return {p.name: p for p in sorted(FOLDER.glob("*.safetensors"))
                if p.name == own or not ((FOLDER / own).is_file() or p.name.startswith(CHARACTERS))}
    if kind not in KINDS:
        path = folder_paths.get_full_path(kind, name)
        return {} if path is None else {name: Path(path)}
    try:
        path = find(kind, name)
    except InputError:
        return {}
    if path.is_file():
        return {name: path}
    return {f"{name}/{p.relative_to(path).as_posix()}": p for p in sorted(path.rglob("*"))
            if p.suffix.lower() in _WEIGHTS and p.is_file()}


def _find_folder(kind: str, name: str) -> Path | None:
    spellings = dict.fromkeys((name, name.replace("/", "--"), name.rpartition("/")[2]))
    for root in roots(KINDS[kind].folder):
        for spelling in spellings:
            if (root / spelling).is_dir():
                return root / spelling
    return _cached_snapshot(name) if name.count("/") == 1 else None


def _cached_snapshot(name: str) -> Path | None:
    """A complete download that other tools have made, in Hugging Face's cache."""
    try:
        from huggingface_hub.constants import HF_HUB_CACHE
    except ImportError:
        return None
    base = Path(HF_HUB_CACHE) / f"models--{name.replace('/', '--')}"
    try:
        folder = base / "snapshots" / (base / "refs" / "main").read_text(encoding="utf-8").strip()
    except OSError:
        return None
    return folder if folder.is_dir() else None


def _file(kind: str, name: str) -> Path | None:
    category = KINDS[kind].single
    return None if not category else next((p / name for p in roots(category) if (p / name).is_file()), None)


def _find_file(kind: str, name: str) -> Path:
    found, known = _file(kind, name), registry.BY_NAME.get(name)
    if known is not None and known.kind != kind:
        raise InputError("checkpoint", f"a {kind} network", f"{name} (a {known.kind} network)", "Use the other loader.")
    if found is None and known is not None:
        raise _absent(known, [name], "none")
    if found is None:
        where = f"models/{KINDS[kind].single}/" if KINDS[kind].single else "a folder (this kind has no single files)"
        raise InputError("checkpoint", f"the file {name} in {where}", "no such file", "Put it there, or choose another name.")
    return found


def _absent(weights: registry.Weights, missing: list[str], got: str) -> InputError:
    sources = " or ".join(s.removeprefix("https://").removesuffix("/resolve/main/").rstrip("/") for s in weights.sources)
    return InputError(
        "checkpoint", f"the files of {weights.name!r} in {weights.location}", got,
        f"Put {', '.join(missing)} into {weights.location}. They are published at {sources} (about {weights.gigabytes:g} GB, "
        f"license: {weights.license}). {weights.note}{' ' * bool(weights.note)}Nothing is downloaded automatically: the node "
        f"Download Weights gets them when you ask it to. Choose {EMBEDDED!r} to run without any download.")
